"""``python run_part.py export``: a trained network as an ONNX file, or as a page that runs in a
browser, or as a package without PyTorch; needs the extra ``export``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from common import checkpoints
from common.checkpoints import Checkpoint
from common.keypoints import Scheme, flip_order_within
from common.photos.onnx_runtime import INPUT, OUTPUT, OnnxNetwork, as_onnx, onnx_packages
from common.recipe import Recipe
from common.system.errors import UserError
from common.system.files import make_writable, write_atomically
from datasets import catalog
from parts import package, web_page
from parts.commands.options import add_checkpoint, add_data
from parts.toolkit import choose_network, rendered_faces

CHECKED = 16  # synthetic faces on which the file is compared with PyTorch
ALLOWED = 0.05  # pixels of the crop by which its predictions may differ


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``export``."""
    add_checkpoint(parser)
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="as --checkpoint FILE")
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="OUT.onnx, or with --web or --package a folder"
    )
    parser.add_argument("--overwrite", action="store_true", help="OUT if it is there already")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--web", action="store_true", help="a page that runs in a browser")
    kind.add_argument("--package", metavar="NAME", help="a package without PyTorch, for pip")
    parser.add_argument(
        "--onnxruntime-web", type=Path, metavar="DIR",
        help="--web: take ONNX Runtime from this folder, not from a CDN",
    )  # fmt: skip
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Write a checkpoint as an ONNX file and print its size and accuracy, or as a page or package.

    Raises UserError where ONNX Runtime's predictions are not PyTorch's, to within ``ALLOWED``
    pixels, where packages or checkpoint are missing or damaged, or where the file exists already
    and may not be overwritten.
    """
    onnx_packages()
    output = options.output
    if output.exists() and not options.overwrite:
        raise UserError(f"{output}: is there already; add --overwrite or choose another name")
    trained = choose_network(options.checkpoint or options.file)
    if output.exists() and output.samefile(trained.path):
        raise UserError(f"{output}: is the checkpoint itself; choose another name")
    make_writable(output.parent)
    if options.web:
        print(web_page.write(trained, output, options.data, options.onnxruntime_web))
        return
    if options.package:
        print(package.write(trained, output, options.package, options.data))
        return
    network, recipe, facts = trained.network, trained.recipe, crop_facts(trained.checkpoint)
    model = as_onnx(network, recipe.height, recipe.width, facts)
    scheme = checkpoints.scheme_of(trained.checkpoint)
    off = largest_difference(network, OnnxNetwork(model), scheme, recipe)
    if not off <= ALLOWED:  # also where it is NaN
        raise UserError(
            f"{output}: not written, ONNX Runtime's predictions differ from PyTorch's by "
            f"{off:.3g} px; install other versions of onnxscript and onnxruntime"
        )
    write_atomically(output, lambda file: file.write(model))
    print(
        f"{output}: {len(model) / 1e6:.1f} MB; on {CHECKED} synthetic faces of "
        f"{recipe.width} × {recipe.height} pixels its predictions differ from PyTorch's by at "
        f"most {off:.2g} px"
    )


def crop_facts(trained: Checkpoint) -> dict[str, str]:
    """What a program must know to crop faces for the network and to read its predictions."""
    recipe, scheme = checkpoints.recipe_of(trained), checkpoints.scheme_of(trained)
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
        "point_names": ",".join(map(scheme.name_of, kept)),
        "flip_order": ",".join(map(str, flip_order_within(scheme, kept).tolist())),
        "flip_average": f"{recipe.flip_tta}: whether the project predicts the mean of the face "
        "and of its mirror image, flipped back and its points reordered by flip_order",
        "data": trained["dataset"],
        "data_licence": catalog.licence(trained["dataset"]),
    }


@torch.inference_mode()
def largest_difference(
    network: nn.Module, other: OnnxNetwork, scheme: Scheme, recipe: Recipe
) -> float:
    """The largest difference of two networks' predictions for synthetic faces, one at a time and
    all at once, in pixels of the crop."""
    faces = rendered_faces(scheme, recipe, CHECKED)  # (CHECKED, 1, h, w)
    off = torch.cat([network(batch) - other(batch) for batch in (*faces.split(1), faces)])
    return (off * torch.tensor([recipe.width, recipe.height])).abs().max().item()
