"""A folder of pictures with a ``.pts`` file beside each, as 300-W has them, of any point count.

They count pixels from 1. A point at 0 0, at -1 -1 or at nan is missing.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from datasets.annotations import DamagedError, Face, numbers
from datasets.ibug import pts_rows
from datasets.own.labels import PICTURES, Labels, own_face

TITLE = "pictures with .pts"
ENDING = ".pts"


def matches(file: Path) -> bool:
    """Whether a file is in this format, which its ending says."""
    return True


def labels(files: list[Path]) -> Labels:
    """The labels of many files; the number of points is that of most of them."""
    sources = [(file, _points(file)) for file in files]
    counts = Counter(len(points) for _, points in sources if isinstance(points, Tensor))
    ((count, _),) = counts.most_common(1) or [(0, 0)]
    names = tuple(str(index) for index in range(count))
    return Labels(names, (), sources, partial(_face, count))


def _points(file: Path) -> Tensor | DamagedError:
    try:
        points = numbers(file, pts_rows(file)).view(-1, 2)
    except DamagedError as fault:
        return fault
    nowhere = (points == 0).all(dim=-1) | (points == -1).all(dim=-1)
    return torch.where(nowhere[:, None], torch.nan, points - 1)


def _face(count: int, source: tuple[Path, Tensor | DamagedError]) -> Face:
    file, points = source
    if isinstance(points, DamagedError):
        raise points
    if len(points) != count:
        raise DamagedError(f"{file}: {len(points)} points, and most files have {count}")
    stems = (file.stem, re.sub(r"\.face\d+$", "", file.stem))  # as ``predict --format pts``
    found = [beside for stem in stems for ending in PICTURES for beside in
             (file.with_name(stem + ending), file.with_name(stem + ending.upper()))
             if beside.is_file()]  # fmt: skip
    if not found:
        raise DamagedError(f"{file}: there is no picture of that name beside it")
    return own_face(str(file), found[0], points)
