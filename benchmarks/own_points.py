"""Labels for the numbers of docs/your_own_points.md: ``python -m benchmarks.own_points DIR``.

Writes, from 300-W and IMM below FACE_DATA, as COCO keypoints:

- ``complete.json``, ``removed.json``: all 68 points, and without 30 % of those of training faces.
  Train with ``python run_part.py 3 --dataset DIR/removed.json --epochs 16``, and compare with
  ``python run_part.py evaluate reports/own-removed/checkpoint.pt --dataset DIR/complete.json``.
- ``ten.json``: ten points of 100 training faces. Train with and without ``--pretrained
  parts/assets/weights/part3.pt``.
- ``imm/labels.json``: IMM with the nine eyes that are numbered from the wrong corner, and
  ``small/labels.json``: the training faces of ``helen_small.csv``. Both for ``data FILE --audit``.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from common.faces import Faces
from common.keypoints import IBUG_68
from datasets import ibug, imm
from datasets.location import require_folder
from datasets.own.scheme import TOML

REMOVED = 0.3  # of the points of training faces
TEN = {
    "left_eye_outer": 36, "left_eye_inner": 39, "right_eye_inner": 42, "right_eye_outer": 45,
    "nose": 30, "nose_base": 33, "left_mouth": 48, "right_mouth": 54, "lip": 51, "chin": 8,
}  # fmt: skip


def write_coco(
    file: Path, faces: Faces, names: dict[str, int], removed: Tensor | None = None
) -> None:
    """Write the points ``names`` of faces, by their indices, without those that are ``removed``,
    bool (N, K), and their groups."""
    images, annotations = [], []
    for index, (picture, group) in enumerate(zip(faces.files, faces.groups, strict=True)):
        images.append({"id": index, "file_name": str(picture.resolve()), "group": group})
        values: list[float] = []
        for point in names.values():
            gone = removed is not None and bool(removed[index, point])
            values += [0, 0, 0] if gone else [*faces.points[index, point].tolist(), 2]
        annotations.append(
            {"id": index, "image_id": index, "category_id": 1, "keypoints": values}
        )  # fmt: skip
    categories = [{"id": 1, "name": "face", "keypoints": list(names)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def main(folder: Path) -> None:
    """Write all files into ``folder``."""
    train, test = (ibug.load(None, name) for name in ("train", "lfpw/testset"))
    groups = ("train",) * len(train) + ("test",) * len(test)
    points, boxes = (torch.cat([getattr(each, name) for each in (train, test)])
                     for name in ("points", "boxes"))  # fmt: skip
    files, views = train.files + test.files, train.views + test.views
    joined = Faces("300-W", "ibug", IBUG_68, files, points, boxes, groups, views)
    every = {str(index): index for index in range(IBUG_68.n_points)}
    torch.manual_seed(0)
    gone = torch.rand(len(joined), IBUG_68.n_points) < REMOVED
    gone[len(train) :] = False
    write_coco(folder / "complete.json", joined, every)
    write_coco(folder / "removed.json", joined, every, gone)
    some = torch.randperm(len(train))[:100].tolist()
    some += range(len(train), len(joined))
    write_coco(folder / "ten.json", joined.take(some), TEN)

    with patch.object(imm, "number_eyes_from_outside", lambda points: points):
        faces = imm.load(None)
    write_coco(folder / "imm" / "labels.json", faces, {str(i): i for i in range(58)})
    pairs = [list(pair) for pair in faces.scheme.flip_pairs]
    (folder / "imm" / TOML).write_text(f"pairs = {pairs}\n")
    listed = require_folder("ibug", ibug.FOLDER, None) / "helen_small.csv"
    with listed.open() as lines:
        names = {row["name"] for row in csv.DictReader(lines)}
    small = [index for index, file in enumerate(train.files) if file.stem in names]
    write_coco(folder / "small" / "labels.json", train.take(small), every)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
