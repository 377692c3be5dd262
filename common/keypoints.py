"""Point schemes: which points a face has, which mirror each other, how they are joined.

Keypoints are float32 tensors ``(..., K, 2)`` in the order (x, y), in pixels of the image that
they lie on. A whole number is the middle of a pixel. "Left" and "right" in this file are those
of the picture, not of the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from common.system.errors import UserError


@dataclass(frozen=True)
class Scheme:
    """The points that one data set annotates."""

    name: str  # short name, written into checkpoints
    n_points: int  # K, the number of points
    # Pairs of indices that change places when the face is mirrored; a point in no pair lies on the
    # middle line. None where nobody said which: such faces are not mirrored.
    flip_pairs: tuple[tuple[int, int], ...] | None
    lines: tuple[tuple[int, ...], ...]  # indices that a drawing joins; may be closed
    outer_eyes: tuple[int, int] | None  # the outer eye corners, whose distance NME divides by
    point_names: tuple[str, ...] = ()  # of each point; empty where they have numbers alone

    def name_of(self, point: int) -> str:
        """What a point is called: its name, else its number."""
        return self.point_names[point] if self.point_names else str(point)

    @property
    def flip_order(self) -> Tensor:
        """Index tensor (K,): ``points[..., flip_order, :]`` exchanges left and right."""
        order = torch.arange(self.n_points)
        for left, right in self.flip_pairs or ():
            order[left], order[right] = right, left
        return order

    def eye_distance(self, points: Tensor) -> Tensor:
        """Distance of the outer eye corners: (..., K, 2) pixels -> (...) pixels.

        NaN where a corner is missing, or the scheme has none.
        """
        if self.outer_eyes is None:
            return torch.full_like(points[..., 0, 0], torch.nan)
        left, right = self.outer_eyes
        return (points[..., left, :] - points[..., right, :]).norm(dim=-1)


def scheme_within(scheme: Scheme, kept: Sequence[int]) -> Scheme:
    """The scheme of the points ``kept`` alone, in their order; the whole scheme comes back as it
    is. Raises UserError where they cannot be mirrored, see ``flip_order_within``."""
    if tuple(kept) == tuple(range(scheme.n_points)):
        return scheme
    order = flip_order_within(scheme, kept).tolist()
    pairs = tuple((place, other) for place, other in enumerate(order) if place < other)
    return replace(
        scheme,
        name=f"{scheme.name}:{','.join(map(str, kept))}",
        n_points=len(kept),
        flip_pairs=None if scheme.flip_pairs is None else pairs,
        lines=tuple(neighbours(scheme, kept)),
        outer_eyes=None,
        point_names=tuple(scheme.name_of(point) for point in kept),
    )


def neighbours(scheme: Scheme, kept: Sequence[int]) -> list[tuple[int, int]]:
    """Which of the points ``kept`` a line of the scheme joins, as pairs of places in ``kept``."""
    place = {index: position for position, index in enumerate(kept)}
    return [
        (place[start], place[end])
        for line in scheme.lines
        for start, end in pairwise(line)
        if start in place and end in place
    ]


def flip_order_within(scheme: Scheme, kept: Sequence[int]) -> Tensor:
    """``scheme.flip_order`` for a network that learns only the points ``kept``.

    Raises UserError where a point is kept and its mirror image is not: such a choice of points
    cannot be mirrored.
    """
    place = {index: position for position, index in enumerate(kept)}
    mirrored = scheme.flip_order[list(kept)].tolist()
    if missing := [index for index in mirrored if index not in place]:
        raise UserError(
            f"{scheme.name}: points {missing} mirror kept points and are not kept; keep them, too"
        )
    return torch.tensor([place[index] for index in mirrored])


def fit_similarity(source: Tensor, target: Tensor) -> Tensor:
    """The rotation, scale and shift that bring points onto others with least squared error.

    source, target: (..., K, 2), of the same shape after broadcasting.
    Returns matrices (..., 2, 3) as ``crops.transform_points`` applies them.
    """
    source, target = (torch.view_as_complex(points.contiguous()) for points in (source, target))
    middle, aim = source.mean(dim=-1, keepdim=True), target.mean(dim=-1, keepdim=True)
    source, target = source - middle, target - aim
    # In the complex plane one factor is a rotation and a scale: least squares in one variable.
    size = source.abs().square().sum(dim=-1)
    factor = (source.conj() * target).sum(dim=-1) / size  # (...)
    shift = aim[..., 0] - factor * middle[..., 0]  # (...)
    rows = (factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)  # (..., 2, 3)


def _run(first: int, last: int, closed: bool = False) -> tuple[int, ...]:
    return (*range(first, last + 1), first) if closed else tuple(range(first, last + 1))


def _mirror(*runs: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Pairs (first, last), (first + 1, last - 1), ... of runs that go from side to side."""
    return tuple(
        (first + step, last - step)
        for first, last in runs
        for step in range((last - first + 1) // 2)
    )


IMM_58 = Scheme(
    name="imm58",
    n_points=58,
    # 0-12 jaw, 13-20 and 21-28 eyes, 29-33 and 34-38 brows, 39-46 mouth, 47-57 nose.
    # Eyes and brows of both sides are numbered outwards or inwards alike, so they pair in order.
    flip_pairs=(
        *_mirror((0, 12), (39, 43), (47, 57)),
        *((index, index + 8) for index in range(13, 21)),
        *((index, index + 5) for index in range(29, 34)),
        (46, 44),
    ),
    lines=(
        _run(0, 12),
        _run(13, 20, closed=True),
        _run(21, 28, closed=True),
        _run(29, 33),
        _run(34, 38),
        _run(39, 46, closed=True),
        _run(47, 57),
    ),
    outer_eyes=(21, 13),
)
"""Stegmann's 58 points of the IMM Face Database (http://www2.imm.dtu.dk/~aam/)."""

IBUG_68 = Scheme(
    name="ibug68",
    n_points=68,
    # 0-16 jaw, 17-21 and 22-26 brows, 27-30 bridge, 31-35 nostrils, 36-41 and 42-47 eyes,
    # 48-59 outer lip, 60-67 inner lip.
    flip_pairs=(
        *_mirror((0, 16), (17, 26), (31, 35), (48, 54), (60, 64)),
        *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
        *((55, 59), (56, 58), (65, 67)),
    ),
    lines=(
        _run(0, 16),
        _run(17, 21),
        _run(22, 26),
        _run(27, 30),
        _run(31, 35),
        _run(36, 41, closed=True),
        _run(42, 47, closed=True),
        _run(48, 59, closed=True),
        _run(60, 67, closed=True),
    ),
    outer_eyes=(36, 45),
)
"""The 68 points of iBUG 300-W (https://ibug.doc.ic.ac.uk/resources/300-W/)."""

SCHEMES = {scheme.name: scheme for scheme in (IMM_58, IBUG_68)}
