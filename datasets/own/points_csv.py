"""Tables of points: ``image,x0,y0,x1,y1,...``, which ``predict --format csv`` writes, too, and
``training.csv`` of Kaggle's Facial Keypoints Detection, which holds the pictures' pixels.

A line is a face; an empty cell is a missing point; coordinates count from the middle of the first
pixel. Columns ``NAME_x,NAME_y`` name a point. More columns count where they are there: ``left``,
``top``, ``width``, ``height`` of the box, and ``group``, ``person`` or ``subject`` for the split.
"""

from __future__ import annotations

import csv
import hashlib
import re
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common.system.errors import UserError
from common.system.files import cache_folder
from datasets.annotations import DamagedError, Face, picture_size
from datasets.own.labels import NO_BOX, Labels, Pictures, own_face

TITLE = "CSV of points"
ENDING = ".csv"
BOX = ("left", "top", "width", "height")
GROUPS = ("group", "person", "subject")
AXES = re.compile(r"x(\d+)|(.+)_x")

Row = tuple[Path, int, dict[str, str]]  # a file, the number of a line, and its cells by column


def matches(file: Path) -> bool:
    """Whether a file is in this format."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        header = next(csv.reader([lines.readline()]), [])
    return "image" in map(str.lower, header) and any(map(AXES.fullmatch, header))


def labels(files: list[Path]) -> Labels:
    """The labels of one file, or of several with the same points."""
    rows: list[Row] = []
    columns: dict[str, tuple[str, str]] = {}  # of x and y, by the point's name
    for file in files:
        header, found_rows = _read(file)
        found = {(axes[1] or axes[2]): (name, name.replace("x", "y") if axes[1] else axes[2] + "_y")
                 for name in header if (axes := AXES.fullmatch(name))}  # fmt: skip
        if without := [y for _, y in found.values() if y not in header]:
            raise UserError(f"{file}: has no column {without[0]}; add it")
        if columns and found != columns:
            raise UserError(f"{file}: has other columns of points than {files[0]}; name one file")
        columns = found
        rows += found_rows
    pictures = {file: Pictures(file) for file in files}
    return Labels(tuple(columns), (), rows, partial(_face, pictures, columns))


def _read(file: Path) -> tuple[list[str], list[Row]]:
    """The header and the lines of a file; the pixels of a picture are replaced by the name of a
    file with it, or "" where they are none: as texts they would fill the memory."""
    rows: list[Row] = []
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.DictReader(lines)
            for row in reader:
                if "Image" in row:
                    row["Image"] = _kaggle_picture(file, reader.line_num, row["Image"] or "")
                rows.append((file, reader.line_num, row))
            return list(reader.fieldnames or []), rows
    except csv.Error as fault:
        raise UserError(f"{file}, line {reader.line_num}: {fault}; correct it") from None


def _face(pictures: dict[Path, Pictures], columns: dict[str, tuple[str, str]], source: Row) -> Face:
    file, line, row = source
    where = f"{file}, line {line}"
    try:
        cells = [[float(row[name] or "nan") for name in pair] for pair in columns.values()]
        box = tuple(float(row[side]) for side in BOX) if {*BOX} <= row.keys() else NO_BOX
    except (ValueError, TypeError):
        raise DamagedError(f"{where}: a cell is missing or not a number") from None
    points = torch.tensor(cells, dtype=torch.float64)  # (K, 2)
    group = next((row[name] for name in GROUPS if row.get(name)), "")
    if row.get("image"):
        return own_face(where, pictures[file].find(where, row["image"]), points, box, group)
    if not row.get("Image"):
        raise DamagedError(f"{where}: its Image is not a square of values 0..255")
    picture = Path(row["Image"])
    return own_face(where, picture, points, (0.0, 0.0, *map(float, picture_size(picture))), group)


def _kaggle_picture(file: Path, line: int, text: str) -> str:
    """The name of a file with a picture of Kaggle's ``Image`` column, grey values row by row; ""
    where they are not a square."""
    stat = file.stat()
    key = hashlib.sha256(repr((str(file.resolve()), stat.st_size, stat.st_mtime_ns)).encode())
    picture = cache_folder() / f"pixels-{key.hexdigest()[:16]}" / f"line-{line:05d}.png"
    if not picture.is_file():
        try:
            values = np.array(text.split(), dtype=np.uint8)
            side = round(len(values) ** 0.5)
            image = Image.fromarray(values.reshape(side, side))
        except (ValueError, OverflowError):
            return ""
        picture.parent.mkdir(parents=True, exist_ok=True)
        image.save(picture.with_suffix(".tmp"), "PNG")
        picture.with_suffix(".tmp").replace(picture)
    return str(picture)
