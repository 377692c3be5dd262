"""What the page of moving figures shows: ``python -m benchmarks.moving``.

Writes ``common/report/moving/``: ``face.png`` and ``face.json``, a synthetic face with its points,
and ``boxes.json``, the error of the network that ships where faces of lfpw/testset are cropped by
boxes that are larger, smaller or beside the face. Without 300-W the boxes are left as they are.
"""

from __future__ import annotations

import json
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from benchmarks import parser_of, run
from common.augmentation import grey
from common.inference import predict_keypoints
from common.keypoints import IBUG_68
from common.loading import load_crops
from common.metrics import errors_per_face
from common.report.moving_page import FOLDER
from common.system.errors import NotHereError
from common.system.files import put_bytes, write_atomically
from datasets.splits import split
from datasets.synthetic.render import render
from parts.toolkit import SHIPPED, named

SEED, SIDE = 58, 96  # of the face
LEFT_OUT = ("occluders", "glasses", "light", "camera", "beard")  # of its variations
SCALES = (0.9, 1.0, 1.2, 1.5, 2.0)  # of the crop's side over the box's
SHIFTS = (0.0, 0.05, 0.1, 0.2, 0.3)  # of the box, over its longer side
EVERY = 3  # of the 224 faces
GOLDEN = 2.39996  # radians: angles that spread evenly, however many there are


def main() -> None:
    """Write the face; measure the boxes where 300-W is here."""
    parser_of(__doc__).parse_args()
    picture, points = face()
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(picture.numpy()).save(FOLDER / "face.png", optimize=True)
    (FOLDER / "face.json").write_text(json.dumps(points.tolist()) + "\n", encoding="utf-8")
    try:
        measured = json.dumps(box_errors()) + "\n"
    except NotHereError as fault:
        print(fault)
    else:
        write_atomically(FOLDER / "boxes.json", put_bytes(measured.encode()))


def face() -> tuple[Tensor, Tensor]:
    """A synthetic face, grey uint8 (SIDE, SIDE), and its points (68, 2) to a tenth of a pixel."""
    images, points, _ = render([SEED], IBUG_68, "crop", (SIDE, SIDE), LEFT_OUT)
    return grey(images.float())[0, 0].round().byte(), points[0].double().round(decimals=1)


def box_errors() -> dict[str, object]:
    """The number of ``faces``, ``scales`` and ``shifts``, and ``nme`` in %, a row a scale.

    Each face's box is shifted in a direction of its own.
    Raises NotHereError where 300-W is missing.
    """
    shipped = named(SHIPPED)
    faces = split("ibug", "lfpw/testset", None, "landmarks", IBUG_68)
    faces = faces.take(range(0, len(faces), EVERY))
    angles = GOLDEN * torch.arange(len(faces))
    along = torch.stack([angles.cos(), angles.sin()], dim=1)  # (N, 2)
    sides = faces.boxes[:, 2:].amax(dim=1, keepdim=True)  # (N, 1)
    rows = []
    for scale in SCALES:
        recipe, row = replace(shipped.recipe, box_scale=scale), []
        for shift in SHIFTS:
            boxes = faces.boxes.clone()
            boxes[:, :2] += shift * sides * along
            crops = load_crops(replace(faces, boxes=boxes), recipe)
            predicted = predict_keypoints(shipped.network, crops.images, crops.flip_order, recipe)
            nme = errors_per_face(predicted, crops, recipe)["nme"].mean().item()
            row.append(round(nme, 2))
            print(f"side {scale}, shift {shift}: {nme:.2f} %", flush=True)
        rows.append(row)
    return {"faces": len(faces), "scales": SCALES, "shifts": SHIFTS, "nme": rows}


if __name__ == "__main__":
    run(main)
