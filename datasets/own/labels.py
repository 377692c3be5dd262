"""What the readers of your own points share: the labels of a file, and the check of one face."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datasets.annotations import PICTURE_ENDINGS, DamagedError, Face, NoPointsError, picture_size

PICTURES = (*PICTURE_ENDINGS, ".webp", ".bmp", ".gif", ".tif", ".tiff")  # compared in lower case
OUTSIDE = 0.05  # of the picture's longer side, by which a point may lie outside
NO_BOX = (torch.nan,) * 4  # to be derived from the points


class Labels(NamedTuple):
    """The labels of a file, or a folder, not yet checked."""

    names: tuple[str, ...]  # of the K points
    lines: tuple[tuple[int, ...], ...]  # indices that a drawing joins
    sources: list[Any]  # one for each face
    read: Callable[[Any], Face]  # from a source; raises DamagedError


def own_face(
    where: str,
    picture: Path,
    points: Tensor,
    box: tuple[float, ...] = NO_BOX,
    group: str = "",
) -> Face:
    """One face of your own, checked.

    where: file and place, for errors.
    points: float64 (K, 2), pixels of the picture, whole numbers the middles of pixels; missing
        points are NaN.
    box: left, top, width, height, counted from the picture's edge, or ``NO_BOX``.
    group: what the split keeps together, "" where the file does not say it.
    Raises DamagedError for fractions in place of pixels, a point outside the picture or a box
    without size, and NoPointsError where all points are missing.
    """
    size = torch.tensor(picture_size(picture))
    known = points.isfinite().all(dim=-1)  # (K,)
    if not known.any():
        raise NoPointsError(f"{where}: none of its points is placed")
    seen = points[known]
    if seen.min() >= 0 and seen.max() <= 1 and size.min() > 8:
        raise DamagedError(
            f"{where}: coordinates are fractions of {picture.name}; multiply them by its sides"
        )
    margin = OUTSIDE * size.max() + 0.5
    outside = ((seen < -margin) | (seen > size - 1 + margin)).any(dim=-1)
    if outside.any():
        number, (width, height) = int(known.nonzero()[outside][0]), size.tolist()
        raise DamagedError(f"{where}: point {number} lies outside the {width} x {height} pixels")
    if box is not NO_BOX and not (len(box) == 4 and min(box[2:]) > 0):
        raise DamagedError(f"{where}: its box is {' x '.join(f'{side:g}' for side in box[2:])}")
    points = torch.where(known[:, None], points, torch.nan)
    return Face(picture, points.float(), box, group, "")


class Pictures:
    """Finds the pictures that a file of labels names: beside it, in ``images``, or below."""

    def __init__(self, file: Path) -> None:
        self.beside = file.parent
        self.root = file.parent.parent if file.parent.name == "annotations" else file.parent

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for file in sorted(self.root.rglob("*")):
            found[file.name].append(file)
        return found

    def find(self, where: str, name: str) -> Path:
        """The picture of that name; raises DamagedError where there is none, or several are."""
        name = str(name).replace("\\", "/")
        for folder in (self.beside, self.root, self.root / "images", Path()):
            if name and (folder / name).is_file():
                return folder / name
        found = self._by_name.get(PurePosixPath(name).name, [])
        if len(found) != 1:
            fault = f"{len(found)} pictures are called" if found else "there is no picture"
            raise DamagedError(f"{where}: {fault} {name}")
        return found[0]
