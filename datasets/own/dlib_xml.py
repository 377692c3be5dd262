"""dlib's XML, as its ``imglab`` writes it, with any names and number of parts; counts from 0."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from common.system.errors import UserError
from datasets.annotations import DamagedError, Face, numbers, read_text
from datasets.ibug import Entry, xml_entries
from datasets.own.labels import Labels, Pictures, own_face

TITLE = "dlib XML"
ENDING = ".xml"
MOST_POINTS = 4096


def matches(file: Path) -> bool:
    """Whether a file is in this format."""
    return "<dataset" in read_text(file)


def labels(files: list[Path]) -> Labels:
    """The labels of one file; parts with numbers for names are in the order of these."""
    (file,) = files
    sources = xml_entries(file)
    names = dict.fromkeys(_plain(part.get("name", "")) for _, box in sources
                          for part in box.iter("part"))  # fmt: skip
    if names and all(name.isdecimal() for name in names):
        names = [str(index) for index in range(max(map(int, names)) + 1)]
    if len(names) > MOST_POINTS:
        raise UserError(f"{file}: has a part of number {len(names) - 1}; number them from 0")
    order = {name: index for index, name in enumerate(names)}
    return Labels(tuple(names), (), sources, partial(_face, Pictures(file), file, order))


def _plain(name: str) -> str:
    """``0`` for ``00``: imglab pads numbers, others do not."""
    return str(int(name)) if name.isdecimal() else name


def _face(pictures: Pictures, file: Path, order: dict[str, int], source: Entry) -> Face:
    name, box = source
    where = f"{file}, {name}"
    parts = {_plain(part.get("name", "")): part for part in box.iter("part")}
    if len(parts) < len(list(box.iter("part"))):
        raise DamagedError(f"{where}: one of its points is there twice")
    points = torch.full((len(order), 2), torch.nan, dtype=torch.float64)
    rows = [(part.get("x", ""), part.get("y", "")) for part in parts.values()]
    points[[order[part] for part in parts]] = numbers(file, rows).view(-1, 2)
    sides = [box.get(side, "") for side in ("left", "top", "width", "height")]
    around = tuple(numbers(file, [sides[:2], sides[2:]]).flatten().tolist())
    return own_face(where, pictures.find(where, name), points, around)
