"""A trained network as an ONNX file, for programs without PyTorch: ``python run_part.py export``.

The file holds, as metadata, all that is needed to cut the crops that the network knows.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoints
from common.augmentation import grey
from common.checkpoints import Checkpoint
from common.crops import to_pixels
from common.keypoints import SCHEMES, Scheme, flip_order_within
from common.recipe import Recipe
from common.system.errors import UserError
from common.system.files import write_atomically
from datasets import catalog
from datasets.synthetic import cached
from datasets.synthetic.render import render
from parts.commands.onnx_files import INPUT, OUTPUT, OnnxNetwork, as_onnx

CHECKED = 16  # drawn faces on which the file is held against PyTorch
ALLOWED = 0.05  # pixels of the crop by which its answers may differ


def export(checkpoint: Path, output: Path, overwrite: bool = False) -> str:
    """Write ``checkpoint`` as an ONNX file; returns what to tell.

    The file is written only if ONNX Runtime answers drawn faces as PyTorch does, to within
    ``ALLOWED`` pixels, one by one and all at once.
    Raises UserError where it does not, where the checkpoint is missing or damaged, or where
    ``output`` is there already and ``overwrite`` is not asked for.
    """
    if output.exists() and not overwrite:
        raise UserError(f"{output}: is there already; add --overwrite or choose another name")
    trained = checkpoints.load(checkpoint)
    network, recipe = checkpoints.network_of(trained), checkpoints.recipe_of(trained)
    model = as_onnx(network, recipe.height, recipe.width, crop_facts(trained))
    faces = drawn_faces(SCHEMES[trained["scheme"]], recipe)
    off = largest_difference(network, OnnxNetwork(model), faces)
    if not off <= ALLOWED:  # also where it is no number
        raise UserError(
            f"{output}: not written, ONNX Runtime answers {off:.3g} px beside PyTorch; install "
            "other versions of onnxscript and onnxruntime"
        )
    write_atomically(output, lambda file: file.write(model))
    return (
        f"{output}: {len(model) / 1e6:.1f} MB; on {len(faces)} drawn faces of "
        f"{recipe.width} × {recipe.height} pixels its answers differ from PyTorch's by at most "
        f"{off:.2g} px"
    )


def crop_facts(trained: Checkpoint) -> dict[str, str]:
    """What a program must know to cut crops for the network and to read its answers."""
    recipe, scheme = checkpoints.recipe_of(trained), SCHEMES[trained["scheme"]]
    crop = "the whole picture, resized"
    if recipe.box_scale:
        crop = (
            "a square about the centre of the box around the face's landmarks, its side box_scale "
            "times the box's longer side, resized; where it reaches outside the picture, the "
            "picture's edge is repeated"
        )
    kept = trained["point_ids"]
    return {
        "network": trained["network"],
        "crop": crop,
        "box_scale": f"{recipe.box_scale:g}",
        "height": str(recipe.height),
        "width": str(recipe.width),
        "resizing": "bilinear, averaging over all pixels where the picture shrinks",
        "input": INPUT,
        "input_colour": "grey, ITU-R 601 luma",
        "input_range": "-0.5..0.5: grey / 255 - 0.5",
        "output": OUTPUT,
        "output_unit": "x, y as fractions of the crop's width and height, 0..1 from edge to edge; "
        "in pixels of the crop, whose middles are whole numbers: fraction * side - 0.5",
        "scheme": scheme.name,
        "points": ",".join(map(str, kept)),
        "flip_order": ",".join(map(str, flip_order_within(scheme, kept).tolist())),
        "flip_average": f"{recipe.flip_tta}: whether the project answers the mean of the face "
        "and of its mirror image, mirrored back and its points reordered by flip_order",
        "data": trained["dataset"],
        "data_licence": catalog.licence(trained["dataset"]),
    }


def drawn_faces(scheme: Scheme, recipe: Recipe) -> Tensor:
    """Faces as the network gets them, float32 (CHECKED, 1, h, w); no data set is needed."""
    setting = next(name for name, points in cached.SCHEMES.items() if points is scheme)
    size = recipe.height, recipe.width
    images, _, _ = render(range(CHECKED), scheme, setting, size)
    return grey(images.float()) / 255 - 0.5


@torch.inference_mode()
def largest_difference(network: nn.Module, other: OnnxNetwork, faces: Tensor) -> float:
    """How far the answers lie apart at most, one face at a time and all at once, in pixels."""
    off = [
        to_pixels(network(batch), *faces.shape[-2:]) - to_pixels(other(batch), *faces.shape[-2:])
        for batch in (*faces.split(1), faces)
    ]
    return torch.cat(off).abs().max().item()
