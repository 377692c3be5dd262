"""What a reader of a data set returns: files, points, boxes and groups, nothing decoded yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from common.keypoints import Scheme
from common.system.errors import UserError


@dataclass(frozen=True)
class Faces:
    """N annotated faces, one entry of every field per face.

    name: the data set and split, for pages and caches, e.g. ``"imm/train"``.
    dataset: the data set alone: "imm", "ibug", "youtube_faces", "mixed" or "synthetic", or the path
        of your own.
    scheme: which K points the annotation has.
    files: the picture of each face (one picture may hold several faces).
    points: float32 (N, K, 2), (x, y) in pixels of the picture as a viewer shows it (its EXIF
        turn applied); a whole number is the middle of a pixel. A missing point is NaN.
    boxes: float32 (N, 4), left, top, width, height of the face in pixels counted from the
        picture's edge (so that a whole picture is 0, 0, W, H); may reach outside the picture.
    groups: what splits and folds keep together: the person in IMM, the folder in 300-W.
    views: what errors are broken down by on a page: the view in IMM, the folder in 300-W.
    left_out: one line for each face whose annotation could not be used, naming file and fault.
    synthetic: whether all faces are rendered ones.
    """

    name: str
    dataset: str
    scheme: Scheme
    files: tuple[Path, ...]
    points: Tensor
    boxes: Tensor
    groups: tuple[str, ...]
    views: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    synthetic: bool = False

    def __post_init__(self) -> None:
        count = len(self.files)
        if self.points.shape != (count, self.scheme.n_points, 2) or self.boxes.shape != (count, 4):
            raise ValueError(
                f"{self.name}: {count} files, points {tuple(self.points.shape)}, "
                f"boxes {tuple(self.boxes.shape)}"
            )
        if not len(self.groups) == len(self.views) == count:
            raise ValueError(f"{self.name}: groups and views must name each of {count} faces")

    def __len__(self) -> int:
        return len(self.files)

    def take(self, keep: list[int] | Tensor, name: str | None = None) -> Faces:
        """The faces at the indices ``keep``, in that order, under a new name."""
        keep = torch.as_tensor(keep, dtype=torch.long)
        indices = keep.tolist()
        return replace(
            self,
            name=name or self.name,
            files=tuple(self.files[i] for i in indices),
            points=self.points[keep],
            boxes=self.boxes[keep],
            groups=tuple(self.groups[i] for i in indices),
            views=tuple(self.views[i] for i in indices),
        )

    @property
    def has_eyes(self) -> bool:
        """Whether every face has both outer eye corners, so that NME can divide by their distance;
        else it divides by the diagonal of the box."""
        return bool(self.scheme.eye_distance(self.points).isfinite().all())

    @property
    def norm_distance(self) -> Tensor:
        """float32 (N,): what NME divides by, see ``has_eyes``, in pixels of the picture."""
        if self.has_eyes:
            return self.scheme.eye_distance(self.points)
        return self.boxes[:, 2:].norm(dim=1)


def landmark_boxes(points: Tensor) -> Tensor:
    """Bounding boxes of the points: (N, K, 2) -> (N, 4) left, top, width, height.

    Counted from the picture's edge, as ``Faces.boxes`` are: a point in the middle of the first
    pixel, x = 0, lies half a pixel from the edge. Missing points, NaN, do not count.
    """
    low = points.nan_to_num(torch.inf).amin(dim=1)  # (N, 2)
    high = points.nan_to_num(-torch.inf).amax(dim=1)  # (N, 2)
    return torch.cat([low + 0.5, high - low], dim=1)  # (N, 4)


def eye_angles(points: Tensor, scheme: Scheme) -> Tensor:
    """By how many degrees the eye lines of points (N, K, 2) are turned clockwise: (N,)."""
    left, right = (points[:, index] for index in scheme.outer_eyes)
    across, down = (right - left).unbind(dim=-1)
    return torch.rad2deg(torch.atan2(down, across))


def turned_boxes(points: Tensor, angles: Tensor) -> Tensor:
    """Bounding boxes of the points (N, K, 2) that are turned clockwise by angles (N,) in degrees.

    Returns boxes (N, 4), each to be turned about its own centre.
    """
    along = torch.stack([angles.deg2rad().cos(), angles.deg2rad().sin()], dim=-1)  # (N, 2)
    turn = torch.stack([along, along.flip(-1) * along.new_tensor([-1, 1])], dim=1)  # back upright
    boxes = landmark_boxes(points @ turn.mT)
    centre = ((boxes[:, None, :2] + boxes[:, None, 2:] / 2 - 0.5) @ turn)[:, 0] + 0.5  # (N, 2)
    return torch.cat([centre - boxes[:, 2:] / 2, boxes[:, 2:]], dim=1)


def upright_boxes(points: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Bounding boxes that are turned with the faces, whose eye lines they run along.

    points: (N, K, 2). Returns boxes (N, 4), each to be turned about its own centre, and by how
    many degrees clockwise, (N,), -180 to 180.
    """
    angles = eye_angles(points, scheme)
    return turned_boxes(points, angles), angles


def stop_if_many_damaged(
    name: str, left_out: tuple[str, ...], total: int, remedy: str = "unpack the data set again"
) -> None:
    """A few damaged files are left out and named; more than 1 % of ``total`` stop the run.

    Raises UserError with the first damaged file, the count and what to do.
    """
    if len(left_out) > 0.01 * total:
        raise UserError(
            f"{name}: {len(left_out)} of {total} faces are damaged, more than 1 %; the first is "
            f"{left_out[0]}; {remedy}"
        )
