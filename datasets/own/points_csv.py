"""Tables of points: ``image,x0,y0,x1,y1,...``, which ``predict --format csv`` writes, too, and
``training.csv`` of Kaggle's Facial Keypoints Detection, which holds the pictures' pixels.

A line is a face; an empty cell is a missing point; coordinates count from the middle of the first
pixel. Columns ``NAME_x,NAME_y`` name a point. More columns count where they are there: ``left``,
``top``, ``width``, ``height`` of the box, and ``group``, ``person`` or ``subject`` for the split.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common.system.errors import UserError
from common.system.files import cache_folder
from datasets.annotations import DamagedError, Face, read_text
from datasets.own.labels import NO_BOX, Labels, Pictures, own_face

TITLE = "CSV of points"
ENDING = ".csv"
BOX = ("left", "top", "width", "height")
GROUPS = ("group", "person", "subject")
AXES = re.compile(r"x(\d+)|(.+)_x")

Row = tuple[Path, int, dict[str, str]]  # a file, the number of a line, and its cells by column


def matches(text: str) -> bool:
    """Whether the text of a file is in this format."""
    header = next(csv.reader([text.partition("\n")[0]]), [])
    return "image" in map(str.lower, header) and any(map(AXES.fullmatch, header))


def labels(files: list[Path]) -> Labels:
    """The labels of one file, or of several with the same points."""
    rows: list[Row] = []
    columns: dict[str, tuple[str, str]] = {}  # of x and y, by the point's name
    for file in files:
        reader = csv.DictReader(io.StringIO(read_text(file)))
        header = reader.fieldnames or []
        found = {(axes[1] or axes[2]): (name, name.replace("x", "y") if axes[1] else axes[2] + "_y")
                 for name in header if (axes := AXES.fullmatch(name))}  # fmt: skip
        if without := [y for _, y in found.values() if y not in header]:
            raise UserError(f"{file}: has no column {without[0]}; add it")
        if columns and found != columns:
            raise UserError(f"{file}: has other columns of points than {files[0]}; name one file")
        columns = found
        rows += [(file, reader.line_num, row) for row in reader]
    pictures = {file: Pictures(file) for file in files}
    return Labels(tuple(columns), (), rows, partial(_face, pictures, columns))


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
    picture = _kaggle_picture(where, file, line, row.get("Image") or "")
    with Image.open(picture) as image:
        return own_face(where, picture, points, (0.0, 0.0, *map(float, image.size)), group)


def _kaggle_picture(where: str, file: Path, line: int, text: str) -> Path:
    """A picture of Kaggle's ``Image`` column, grey values row by row, kept as a file."""
    stat = file.stat()
    key = hashlib.sha256(repr((str(file.resolve()), stat.st_size, stat.st_mtime_ns)).encode())
    picture = cache_folder() / f"pixels-{key.hexdigest()[:16]}" / f"line-{line:05d}.png"
    if not picture.is_file():
        try:
            values = np.array(text.split(), dtype=np.uint8)
            side = round(len(values) ** 0.5)
            image = Image.fromarray(values.reshape(side, side))
        except (ValueError, OverflowError):
            raise DamagedError(f"{where}: its Image is not a square of values 0..255") from None
        picture.parent.mkdir(parents=True, exist_ok=True)
        image.save(picture.with_suffix(".tmp"), "PNG")
        picture.with_suffix(".tmp").replace(picture)
    return picture
