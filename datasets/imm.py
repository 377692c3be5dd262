"""The IMM Face Database: 240 pictures, 40 people in 6 views each, 58 points a face.

Source: http://www2.imm.dtu.dk/~aam/, Technical University of Denmark, 2001; described in
M. M. Nordstrøm, M. Larsen, J. Sierakowski, M. B. Stegmann, "The IMM Face Database: An Annotated
Dataset of 240 Face Images", 2004. Free for education and research; cite M. B. Stegmann,
B. K. Ersbøll, R. Larsen, "FAME - A Flexible Appearance Modelling Environment", IEEE Transactions
on Medical Imaging 22(10), 2003.

Pictures are 640x480, RGB; persons 02, 03 and 04 are grey. Point 52, which courses call the nose
tip, lies at the middle of the nose's base. In nine of the faces (06-5m, 10-4m, 18-4m, 33-3m,
36-4m, 36-5m, 36-6m, 39-3m, 40-5m) one eye is numbered from its inner corner; the reader numbers it
from the outer one, as in the other 231.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from common.crops import read_picture
from common.faces import Faces
from common.keypoints import IMM_58
from common.system.errors import UserError
from datasets.annotations import (
    DamagedError,
    Face,
    check_points,
    gather,
    picture_size,
    placed,
    read_text,
)
from datasets.download import RemoteFile
from datasets.location import find_folder, require_folder

TITLE = "IMM Face Database: 240 faces, 40 people in 6 views, 58 points"
LICENCE = "free for education and research; cite Stegmann, Ersbøll, Larsen, IEEE TMI 22(10), 2003"
FOLDER = "imm_face_db"
ARCHIVE = RemoteFile(
    name="imm_face_db.tar.gz",
    url="http://www2.imm.dtu.dk/~aam/datasets/imm_face_db.tar.gz",
    mirrors=(
        "https://web.archive.org/web/20210305094647/"
        "http://www2.imm.dtu.dk/~aam/datasets/imm_face_db.tar.gz",
        "http://datasets.openimaj.org/imm_face_db.zip",
    ),
)
MARKER = "01-1m.asf"
SHA256_SUMS = Path(__file__).with_name("imm_sha256.txt")  # 480 lines, as `sha256sum` writes them

VIEWS = {
    "1": "frontal, neutral",
    "2": "frontal, happy",
    "3": "turned about 30° to the person's right",
    "4": "turned about 30° to the person's left",
    "5": "frontal, spot light from the person's left",
    "6": "any expression",
}
LAST_TRAINING_PERSON = 32

_NAME = re.compile(r"(?P<person>\d\d)-(?P<view>[1-6])[mf]", re.IGNORECASE)


def find(root: Path) -> Path | None:
    """The data set's folder below ``root``, None if it is not there."""
    return find_folder(root, FOLDER)


def load(data: Path | None) -> Faces:
    """All 240 faces, less damaged ones; decodes no picture.

    data: see ``location.data_folder``.
    Returns points (240, 58, 2), whole pictures as boxes, persons "01" to "40" as groups, and as
    views values of ``VIEWS``.
    Raises UserError where the folder is missing or more than 1 % of the faces are damaged.
    """
    folder = require_folder("imm", FOLDER, data)
    return gather("imm", "", IMM_58, sorted(folder.glob("*.asf")), read_asf)


def train_and_test(faces: Faces) -> tuple[Faces, Faces]:
    """Persons 1 to 32 and persons 33 to 40, as the course splits them: 192 and 48 faces.

    The first has ``left_out`` of all faces, so that each is reported once.
    """
    in_training = torch.tensor([int(person) <= LAST_TRAINING_PERSON for person in faces.groups])
    train = faces.take(in_training.nonzero()[:, 0], f"{faces.name}/train")
    test = faces.take((~in_training).nonzero()[:, 0], f"{faces.name}/test")
    return train, replace(test, left_out=())


def read_asf(file: Path) -> Face:
    """Read one annotation file of the AAM-API.

    Without comments and blank lines, it holds: the number of points, a row for each (path, type,
    x, y, index, from, to, and in 41 of the files three unused columns), the picture's name.

    x is a fraction of the width W, y of the height H, not of W - 1 and H - 1: x differ by
    multiples of 1/992, y of 1/744.25, which makes 1.55 steps a pixel of 640 and of 480. Fractions
    count from the picture's edge, so f lies at f·W - 1/2 if a whole number is the middle of a
    pixel: the strongest edges across both jaw lines lie 0.25 ± 0.06 px left of f·W on average,
    0.4 px in the median.
    Raises DamagedError for anything that cannot be used.
    """
    name = _NAME.fullmatch(file.stem)
    if name is None:
        raise DamagedError(f"{file}: the name does not give person and view, like 01-1m.asf")
    lines = [line.strip() for line in read_text(file).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) < 2 or not lines[0].isdigit():
        raise DamagedError(f"{file}: not an .asf file")
    *rows, picture_name = lines[1:]
    if len(rows) != int(lines[0]):
        raise DamagedError(f"{file}: {len(rows)} points, its first line says {lines[0]}")
    columns = [row.split() for row in rows]
    if any(len(row) not in (7, 10) for row in columns):
        raise DamagedError(f"{file}: a point has neither 7 nor 10 columns")
    picture = file.parent / picture_name
    size = picture_size(picture)
    fractions = placed(file, [row[2:4] for row in columns])  # (58, 2)
    points = check_points(file, fractions * torch.tensor(size) - 0.5, IMM_58, size)
    points = number_eyes_from_outside(points)
    return Face(picture, points, (0, 0, *size), name["person"], VIEWS[name["view"]])


def number_eyes_from_outside(points: Tensor) -> Tensor:
    """The 58 points (58, 2) with each eye numbered from its outer corner.

    The eye on the right of the picture is 13-20, the one on the left 21-28; the first and the
    fifth of each eight are its corners.
    """
    points = points.clone()
    for first, towards_nose in ((13, -1), (21, 1)):
        if (points[first + 4, 0] - points[first, 0]) * towards_nose < 0:
            points[first : first + 8] = points[[first + i for i in (4, 3, 2, 1, 0, 7, 6, 5)]]
    return points


def counts(folder: Path) -> dict[str, tuple[int, int]]:
    """Annotation files (in the folder, in the complete set) of each split, by their names."""
    names = [_NAME.fullmatch(file.stem) for file in folder.glob("*.asf")]
    persons = [int(name["person"]) for name in names if name]
    in_training = sum(person <= LAST_TRAINING_PERSON for person in persons)
    return {"train": (in_training, 192), "test": (len(persons) - in_training, 48)}


def verify(folder: Path) -> list[str]:
    """Compare the 480 files with the sums recorded from the original; warnings, one a line.

    Raises UserError where files are missing, or differ and cannot be read.
    """
    recorded = dict(reversed(line.split()) for line in SHA256_SUMS.read_text().splitlines())
    if missing := [name for name in sorted(recorded) if not (folder / name).is_file()]:
        raise UserError(
            f"imm: {len(missing)} of {len(recorded)} files missing, the first is {missing[0]}"
        )
    files = {folder / name: sha256 for name, sha256 in sorted(recorded.items())}
    differing = [
        file
        for file, sha256 in files.items()
        if hashlib.sha256(file.read_bytes()).hexdigest() != sha256
    ]
    for file in differing:
        try:
            if file.suffix == ".asf":
                read_asf(file)
            else:
                read_picture(file, colour=True)
        except (OSError, ValueError, SyntaxError) as fault:
            raise UserError(f"{file}: not a readable picture ({fault})") from None
    if not differing:
        return []
    return [f"imm: differs from the original: {', '.join(file.name for file in differing)}"]
