"""What the readers share: one annotated face, and the checks that leave damaged ones out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import ExifTags, Image
from torch import Tensor

from common.faces import Faces, stop_if_many_damaged
from common.keypoints import Scheme
from common.system.errors import UserError

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")  # compared in lower case
NAMED = 20  # faces without a point that are named one by one
FAR_OUTSIDE = 0.5  # of the picture's longer side; no face of 300-W is 0.01 outside
_TURNED_BY_90_DEGREES = (5, 6, 7, 8)  # values of EXIF's orientation

Source = TypeVar("Source")


class Face(NamedTuple):
    """One entry of ``Faces``."""

    file: Path  # the picture
    points: Tensor  # float32 (K, 2), in pixels of the picture
    box: tuple[float, float, float, float]  # left, top, width, height in pixels
    group: str  # as in ``Faces``
    view: str  # as in ``Faces``


class DamagedError(UserError):
    """An annotation that cannot be used; the message is the line ``file: fault``."""


class NoPointsError(DamagedError):
    """A face on which nobody placed a point: it is left out, but not damaged."""


def gather(
    dataset: str,
    split: str,
    scheme: Scheme,
    sources: Iterable[Source],
    read: Callable[[Source], Face],
    remedy: str = "unpack the data set again",
) -> Faces:
    """Read one face from each source of a split.

    dataset, split: make the name "dataset/split", or "dataset" for an empty split.
    scheme: the points of every face.
    sources: what ``read`` takes, such as files.
    read: raises DamagedError for a face that cannot be used; ``left_out`` names it.
    remedy: what to do where faces are damaged.
    Raises UserError where there is no source, or more than 1 % of them are damaged.
    """
    name = f"{dataset}/{split}" if split else dataset
    faces: list[Face] = []
    left_out: list[str] = []
    empty: list[str] = []
    for source in sources:
        try:
            faces.append(read(source))
        except NoPointsError as fault:
            empty.append(str(fault))
        except DamagedError as fault:
            left_out.append(str(fault))
    total = len(faces) + len(left_out)
    stop_if_many_damaged(name, tuple(left_out), total, remedy)
    if len(empty) > NAMED:
        empty[NAMED:] = [f"{len(empty) - NAMED} more faces on which nobody placed a point"]
    if not faces:
        raise UserError(f"{name}: no annotated face in its folder; {remedy}")
    return Faces(
        name=name,
        dataset=dataset,
        scheme=scheme,
        files=tuple(face.file for face in faces),
        points=torch.stack([face.points for face in faces]),  # (N, K, 2)
        boxes=torch.tensor([face.box for face in faces], dtype=torch.float32),  # (N, 4)
        groups=tuple(face.group for face in faces),
        views=tuple(face.view for face in faces),
        left_out=(*left_out, *empty),
    )


def read_text(file: Path) -> str:
    """The text of an annotation file; raises DamagedError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise DamagedError(f"{file}: {fault.strerror or fault}") from None
    except UnicodeDecodeError:
        raise DamagedError(f"{file}: not a text file") from None


def numbers(file: Path, rows: Iterable[Sequence[str]]) -> Tensor:
    """Rows of x and y as text -> float64 (rows, 2), so that shifts are not rounded."""
    try:
        return torch.tensor([(float(x), float(y)) for x, y in rows], dtype=torch.float64)
    except ValueError:
        raise DamagedError(f"{file}: a coordinate is missing or not a number") from None


def placed(file: Path, rows: Iterable[Sequence[str]]) -> Tensor:
    """As ``numbers``, of points; raises DamagedError for one at 0 0 or -1 -1, which says that
    nobody placed it."""
    points = numbers(file, rows)
    for nowhere in (0, -1):
        if len(points) and (points == nowhere).all(dim=-1).any():
            raise DamagedError(f"{file}: a point at {nowhere} {nowhere}, which nobody placed")
    return points


def check_points(file: Path, points: Tensor, scheme: Scheme, size: tuple[int, int]) -> Tensor:
    """The points as float32, if they can be those of a face in the picture.

    points: (K, 2) in pixels.
    size: width and height of the picture in pixels.
    Raises DamagedError for a wrong count, values that are not finite, points farther outside the
    picture than half its longer side, x and y exchanged, or equal outer eye corners (NME divides
    by their distance).
    """
    if len(points) != scheme.n_points:
        raise DamagedError(f"{file}: {len(points)} points instead of {scheme.n_points}")
    if not points.isfinite().all():
        raise DamagedError(f"{file}: a coordinate is not a number")
    margin = FAR_OUTSIDE * max(size)
    if (points < -margin).any() or (points > torch.tensor(size) + margin).any():
        raise DamagedError(f"{file}: points lie far outside the picture of {size[0]}x{size[1]}")
    if scheme.eye_distance(points) == 0:
        raise DamagedError(f"{file}: both outer eye corners lie in the same spot")
    left, right = points[list(scheme.outer_eyes)]
    along, down = right - left, points.mean(dim=0) - (left + right) / 2
    mirrored = along[0] * down[1] < along[1] * down[0]
    if mirrored and along[1].abs() > along[0].abs():
        raise DamagedError(f"{file}: x and y are exchanged")
    return points.float()


def picture_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels with the EXIF turn applied, from the picture's header alone.

    Raises DamagedError where the picture is missing or its header cannot be read.
    """
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except FileNotFoundError:
        raise DamagedError(f"{file}: the picture is missing") from None
    except Exception:  # damaged headers raise errors of any kind in Pillow's layers
        raise DamagedError(f"{file}: not a readable picture") from None
    return (height, width) if orientation in _TURNED_BY_90_DEGREES else (width, height)
