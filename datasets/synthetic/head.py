"""A human head in three dimensions: a surface through named anatomical points, and its keypoints.

The head is one closed sheet over the directions seen from its middle. Every direction is named by
two angles, azimuth (0 straight ahead, positive to the right of a picture of the face) and
elevation (positive down). A thin-plate spline carries the directions of the anatomical points
below to their places in space, so the whole sheet moves smoothly when they move: a wider jaw, a
smile or a closing eye is a displacement of these few points, and everything that lies on the sheet
(the keypoints above all) moves with it exactly.

Lengths are millimetres; x to the right of the picture, y down, z towards the camera; the origin
lies between the outer eye corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from common.keypoints import IBUG_68, IMM_58, Scheme

Array = NDArray[np.float32]

CENTRE = np.array([0.0, 35.0, -60.0])
"""Where the directions are seen from; the head also turns about it."""

# Mean places of the iBUG points with index as in IBUG_68, the half with x >= 0. They were measured
# by rigid structure from motion (Tomasi and Kanade, 1992) on the points of 300-W's training faces,
# scaled to 90 mm between the outer eye corners; the jaw is moved back to the bone.
_IBUG_HALF: dict[int, tuple[float, float, float]] = {
    16: (74.0, -3.5, -55.0),
    15: (73.0, 16.3, -54.0),
    14: (70.8, 36.4, -51.0),
    13: (68.0, 55.0, -46.0),
    12: (61.0, 72.5, -39.0),
    11: (50.0, 87.9, -29.3),
    10: (37.5, 97.3, -19.3),
    9: (20.5, 108.6, -10.2),
    8: (0.0, 111.5, -6.7),
    26: (59.9, -13.3, -7.0),
    25: (50.7, -20.8, 4.7),
    24: (37.7, -22.6, 13.6),
    23: (24.2, -20.2, 19.0),
    22: (11.6, -14.7, 22.5),
    27: (0.0, 0.0, 23.2),
    28: (0.0, 12.8, 29.2),
    29: (0.0, 25.5, 36.0),
    30: (0.0, 38.5, 42.6),
    33: (0.0, 50.8, 27.2),
    34: (7.8, 48.4, 25.1),
    35: (15.1, 45.5, 21.8),
    45: (45.0, 0.0, 0.0),
    44: (37.0, -4.2, 6.7),
    43: (27.4, -3.9, 8.8),
    42: (19.0, 2.3, 6.0),
    47: (28.0, 3.9, 7.5),
    46: (37.6, 3.6, 5.3),
    54: (28.6, 66.6, -1.3),
    53: (18.1, 63.6, 11.6),
    52: (7.4, 62.0, 19.5),
    51: (0.0, 63.9, 20.2),
    57: (0.0, 83.0, 12.2),
    56: (8.1, 82.1, 11.1),
    55: (18.4, 77.3, 6.3),
    64: (24.2, 67.3, 0.6),
    63: (7.5, 67.9, 17.4),
    62: (0.0, 68.7, 18.2),
    66: (0.0, 73.9, 15.6),
    65: (7.6, 72.9, 14.5),
}

_ANATOMY_HALF: tuple[tuple[float, float, float], ...] = (
    # forehead, temple
    (0, -27, 25.5), (0, -48, 24), (0, -72, 13), (28, -50, 17), (30, -76, 3), (52, -46, -4),
    (66, -32, -30), (68, -10, -32), (0, -95, -14), (12, -32, 24.5), (31, -34, 17.5),
    # cranium
    (0, -113, -55), (0, -112, -95), (42, -101, -60), (60, -76, -38), (73, -55, -72), (76, -30, -85),
    (42, -95, -105), (0, -80, -145), (45, -72, -130), (0, -25, -165), (50, -22, -150),
    (72, -22, -115), (0, 35, -152), (45, 30, -132), (72, 10, -88), (67, 45, -88), (52, 72, -95),
    (0, 85, -125),
    # cheek
    (38, 13, 7), (27, 13, 9.5), (55, 8, -9), (66, 10, -27), (46, 24, 3), (61, 28, -15),
    (48, 42, 2), (61, 46, -22), (36, 33, 13.5), (39, 56, -1), (52, 64, -16), (28, 48, 13),
    # nose
    (13.5, 1, 12.5), (17, 12, 12.5), (7.5, 5, 20.5), (8.5, 15, 22.5), (9.5, 26, 25.5),
    (18, 30, 16.5), (11.5, 34, 29), (8, 38.5, 36.5), (17.3, 38, 23), (20.5, 42, 16.5),
    (5.5, 45.5, 33), (0, 45.5, 37), (16.6, 43.5, 22.8),
    # lips, between their contours
    (0, 66.3, 21.2), (10, 65.6, 18.2), (18, 65.6, 11.8), (0, 78.5, 16.2), (10, 77.4, 14.2),
    (18, 73.5, 8), (0, 57.5, 22), (10, 56, 21), (22, 57, 12.5), (35, 67, -5), (33, 77, -6),
    # mouth, within
    (0, 71.3, 13), (9, 70.6, 11.5), (17, 69, 5.5),
    # chin and below the jaw
    (0, 89.5, 7.6), (15, 87.5, 4.5), (0, 102, 9.5), (14, 101, 5.5), (27, 93, -7), (43, 80, -15),
    (0, 119, -16), (0, 117, -38), (0, 110, -64), (24, 113, -30), (42, 95, -46), (24, 108, -55),
    (56, 76, -62),
    # eyeball between the lids, fold above, sack below
    (25, 0.3, 10.5), (31.5, -0.3, 11.8), (38.5, -0.3, 8.2), (30, -9.5, 11), (40, -9.5, 6.5),
    (21, -8, 11.5), (31, 8.3, 7), (40, 8, 3.5), (50, -6, -2), (51, 3, -4),
)  # fmt: skip


def _mirrored(points: Array) -> Array:
    return points * np.array([-1, 1, 1], points.dtype)


def _directions(points: Array) -> Array:
    """Unit vectors (..., 3) from CENTRE to points (..., 3)."""
    rays = points - CENTRE
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _angles(points: Array) -> Array:
    """Azimuth and elevation (..., 2), in radians, of points (..., 3)."""
    x, y, z = np.moveaxis(_directions(points), -1, 0)
    return np.stack([np.arctan2(x, z), np.arcsin(y)], -1)


def _unit(angles: Array) -> Array:
    """Unit vectors (..., 3) of azimuth and elevation (..., 2)."""
    azimuth, elevation = np.moveaxis(angles, -1, 0)
    flat = np.cos(elevation)
    return np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], -1)


def _steps(*stretches: tuple[float, float, float]) -> Array:
    """Degrees from first to last of each stretch with about the given step, in radians."""
    parts = [np.linspace(a, b, round((b - a) / step), endpoint=False) for a, b, step in stretches]
    return np.radians(np.concatenate([*parts, [stretches[-1][1]]]))


# Lines of the sheet are closest, about 2 mm, where lids and lips are.
_AZIMUTHS = _steps((-180, -75, 9), (-75, -25, 2.5), (-25, 25, 1.5), (25, 75, 2.5), (75, 180, 9))
_ELEVATIONS = _steps(
    (-89, -35, 6), (-35, -20, 1.5), (-20, 8, 2), (8, 42, 1.4), (42, 62, 2.2), (62, 86, 6)
)  # fmt: skip
ROWS, COLUMNS = len(_ELEVATIONS), len(_AZIMUTHS)
GRID_ANGLES = np.stack(np.meshgrid(_AZIMUTHS, _ELEVATIONS), -1)
"""Azimuth and elevation (ROWS, COLUMNS, 2) of the sheet's vertices, in radians."""


def curve(points: Array, at: Array) -> Array:
    """Catmull-Rom curve through points (P, 2), read at parameters ``at`` in 0..P-1."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    index = np.clip(np.floor(at).astype(int), 0, len(points) - 2)
    t = (at - index)[:, None]
    a, b, c, d = (padded[index + k] for k in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


# Edges that meet when eyes and lips close, upper and lower, both from left to right: iBUG points,
# and points between them, which ``_template`` puts behind the iBUG points in this order.
_EDGES = (
    ((36, 37, 38, 39), (36, 41, 40, 39)),
    ((42, 43, 44, 45), (42, 47, 46, 45)),
    ((60, 61, 62, 63, 64), (60, 67, 66, 65, 64)),
)


def _meeting() -> list[tuple[list[int], list[int]]]:
    """For both eyes and the mouth: control points of the upper edge, and those that they meet."""
    pairs, fresh = [], 68
    for upper, lower in _EDGES:
        between = len(upper) - 1
        above = [*upper[1:-1], *range(fresh, fresh + between)]
        below = [*lower[1:-1], *range(fresh + between, fresh + 2 * between)]
        pairs.append((above, below))
        fresh += 2 * between
    return pairs


_LEFT_EYE, _RIGHT_EYE, _MOUTH = _meeting()


def _template() -> Array:
    """The anatomical points (C, 3) of the mean head; the first 68 are the iBUG points."""
    flip = IBUG_68.flip_order.numpy()
    ibug = np.zeros((68, 3))
    for index, place in _IBUG_HALF.items():
        ibug[index] = place
        ibug[flip[index]] = _mirrored(np.array(place))
    between = [
        curve(ibug[list(edge)], np.arange(len(edge) - 1) + 0.5) for pair in _EDGES for edge in pair
    ]
    half = np.array(_ANATOMY_HALF, float)
    return np.concatenate([ibug, *between, half, _mirrored(half[half[:, 0] > 0])])


TEMPLATE = _template()

# How much the sheet may pass beside a point, for smoothness: not at all where lids and lips meet.
_SLACK = np.full(len(TEMPLATE), 1e-3)
_SLACK[:36], _SLACK[36 : max(_MOUTH[1]) + 1] = 1e-4, 1e-6


def _kernel(a: Array, b: Array) -> Array:
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return 0.5 * squared * np.log(squared + 1e-9)


@lru_cache
def _spline() -> Array:
    """Weights (ROWS * COLUMNS, C): vertices of the sheet = weights @ anatomical points.

    The thin-plate spline of Bookstein (1989), over directions instead of the plane.
    """
    known = _directions(TEMPLATE)
    count = len(known)
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = _kernel(known, known) + np.diag(_SLACK)
    system[:count, count:] = np.c_[np.ones(count), known]
    system[count:, :count] = system[:count, count:].T
    grid = _unit(GRID_ANGLES).reshape(-1, 3)
    basis = np.c_[_kernel(grid, known), np.ones(len(grid)), grid]  # (ROWS * COLUMNS, C + 4)
    return np.ascontiguousarray(np.linalg.solve(system, basis.T)[:count].T, np.float32)


def sheet(controls: Array) -> Array:
    """Vertices (ROWS, COLUMNS, 3) of the head whose anatomical points are ``controls`` (C, 3)."""
    # numpy's product would start threads, and takes ten times as long for three columns.
    vertices = cv2.gemm(_spline(), controls.astype(np.float32), 1, None, 0)
    return vertices.reshape(ROWS, COLUMNS, 3)


def normals(grid: Array) -> Array:
    """Outward unit normals (R, C, 3), float32, of a sheet of vertices (R, C, 3)."""
    planes = np.ascontiguousarray(np.moveaxis(grid, -1, 0), np.float32)  # (3, R, C)
    down, across = np.gradient(planes, axis=(1, 2))
    x = across[1] * down[2] - across[2] * down[1]
    y = across[2] * down[0] - across[0] * down[2]
    z = across[0] * down[1] - across[1] * down[0]
    return np.stack([x, y, z], -1) / (np.sqrt(x * x + y * y + z * z) + 1e-9)[..., None]


def sheet_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Vertex numbers (T, 3) of the triangles of a sheet, clockwise as seen from outside."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    return np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, d), (a, d, c))])


# ---------------------------------------------------------------------------- shape, expression

Bump = tuple[tuple[float, float, float], float, tuple[float, float, float]]
"""A place (x >= 0; done on both sides), how far it reaches, the shift in its middle; all in mm."""

PROPORTIONS: dict[str, tuple[Bump, ...]] = {
    "jaw width": (((58, 80, -35), 28, (4.0, 0, 0)),),
    "jaw angle": (((62, 66, -48), 18, (1.5, 5.0, 0)),),
    "chin length": (((0, 114, -6), 34, (0, 3.2, 0)),),
    "chin forward": (((0, 104, 5), 24, (0, 0, 3.5)),),
    "chin width": (((20, 108, -8), 15, (3.0, 0, 0)),),
    "cheekbones": (((64, 14, -20), 22, (2.5, 0, 1.5)),),
    "cheek fullness": (((52, 56, -12), 22, (3.0, 0, 3.0)),),
    "temples": (((70, -35, -45), 32, (3.0, 0, 0)),),
    "forehead height": (((0, -80, 0), 40, (0, -6.0, 0)),),
    "forehead slope": (((0, -60, 15), 34, (0, 0, -4.0)),),
    "brow height": (((36, -20, 12), 17, (0, -2.8, 0)),),
    "brow inner end": (((13, -16, 22), 10, (0.6, -1.8, 0)),),
    "brow outer end": (((57, -15, -2), 12, (0.8, -2.2, 0)),),
    "brow ridge": (((25, -20, 18), 20, (0, 0, 1.8)),),
    "eye distance": (((32, 0, 6), 17, (1.7, 0, 0)),),
    "eye height": (((32, -5, 8), 7, (0, -1.1, 0)), ((32, 5, 7), 7, (0, 0.7, 0))),
    "eye width": (((46, 0, 0), 8, (1.5, 0, -0.5)),),
    "eye tilt": (((46, 0, 0), 9, (0, -1.5, 0)),),
    "eye depth": (((32, 0, 6), 15, (0, 0, -1.8)),),
    "nose length": (((0, 43, 31), 17, (0, 3.0, 0)),),
    "nose forward": (((0, 40, 40), 17, (0, 0, 3.2)),),
    "nose bridge": (((0, 6, 26), 15, (0, 0, 2.4)),),
    "nose hump": (((0, 18, 31), 9, (0, 0, 1.4)),),
    "nose tip up": (((0, 38, 42), 10, (0, -2.0, 0)),),
    "nose wings": (((16, 43, 22), 9, (1.8, 0, 0)),),
    "nose width": (((9, 14, 23), 12, (1.2, 0, 0)),),
    "mouth height": (((0, 72, 14), 22, (0, 2.6, 0)),),
    "mouth width": (((26, 67, 0), 13, (2.6, 0, -0.8)),),
    "mouth forward": (((0, 72, 15), 18, (0, 0, 2.2)),),
    "upper lip": (((0, 62, 19), 8, (0, -1.3, 0.5)),),
    "lower lip": (((0, 84, 11), 8, (0, 1.5, 0.5)),),
    "child": (
        ((0, 100, 0), 45, (0, -7.0, 0)),
        ((32, -5, 8), 8, (0, -1.0, 0)),
        ((0, 12, 28), 20, (0, 0, -3.0)),
        ((52, 56, -10), 22, (2.0, 0, 3.0)),
    ),
}
"""What one standard deviation of each proportion shifts."""

_EXPRESSIONS: dict[str, tuple[Bump, ...]] = {
    "smile": (
        ((29, 67, -2), 12, (5.5, -5.5, -5.0)),
        ((0, 70, 17), 11, (0, 0, -2.0)),
        ((46, 36, 6), 15, (1.5, -3.0, 3.0)),
        ((32, 6, 6), 6, (0, -1.3, 0.5)),
        ((17, 42, 22), 9, (1.2, -0.8, 0)),
    ),
    "sad": (((29, 67, -2), 11, (0, 4.5, -1.0)),),
    "pout": (((26, 68, 0), 12, (-6.0, 0, 4.0)), ((0, 71, 17), 12, (0, 0, 4.0))),
    "brows up": (((34, -21, 14), 19, (0, -5.5, 0)),),
    "frown": (((14, -16, 22), 11, (-2.0, 3.5, 1.0)),),
    "sneer": (((14, 60, 17), 10, (0, -3.0, 0)), ((18, 40, 21), 9, (0, -1.6, 0))),
}
EXPRESSIONS = (*_EXPRESSIONS, "jaw", "upper lip up", "close left", "close right", "mouth aside")
"""Names that ``shaped`` understands: 0 is the mean face of 300-W, whose lips part by 5 mm."""

CLOSED_JAW = -1.45
"""The "jaw" at which the lips of the mean head meet."""

_UPPER_LIP = [49, 50, 51, 52, 53, *_MOUTH[0]]
_LOWER_LIP = [55, 56, 57, 58, 59, *_MOUTH[1]]
_CORNERS = [48, 54, 60, 64]


def _shift_of(bumps: tuple[Bump, ...], side: int) -> Array:
    """Displacements (C, 3), on the left (-1) or the right (1) half of the picture."""
    total = np.zeros_like(TEMPLATE)
    for place, reach, shift in bumps:
        away = (TEMPLATE - np.array(place) * [side, 1, 1]) / reach
        weight = np.exp(-0.5 * (away**2).sum(1))
        if place[0] == 0:  # on the middle line: half of it belongs to each side
            weight = weight / 2
        total += weight[:, None] * np.array(shift) * [side, 1, 1]
    return total


_SHIFTED = PROPORTIONS | _EXPRESSIONS


@lru_cache
def _shifts() -> Array:
    """What each name of ``_SHIFTED`` displaces, left and right: (names, 2, C * 3)."""
    return np.stack(
        [np.stack([_shift_of(b, side).ravel() for side in (-1, 1)]) for b in _SHIFTED.values()]
    )


def _smoothstep(low: float, high: float, value: Array) -> Array:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache
def _jaw_share() -> Array:
    """How far each anatomical point goes with the lower jaw, (C,), 0 to 1."""
    x, y, z = TEMPLATE.T
    side = _smoothstep(56, 88, y) * _smoothstep(-75, -45, z)
    share = np.where(np.abs(x) > 26, side, _smoothstep(71.2, 71.4, y)) * (z > -70)
    share[_LOWER_LIP] = 1
    share[_UPPER_LIP] = 0
    share[_CORNERS] = 0.4
    share[np.hypot(np.abs(x) - 31, y - 67) < 7] = 0.4
    within = (np.abs(x) < 20) & (y > 68.8) & (y < 71.6) & (z < 14) & (z > 0)
    share[within] = 0.5
    # Near its corners the mouth opens less: it is round, not square.
    share[[55, 59]] = 0.85
    share[[_MOUTH[1][3], _MOUTH[1][6]]], share[[_MOUTH[0][3], _MOUTH[0][6]]] = 0.75, 0.15
    return share


@lru_cache
def _around_eye(name: str) -> tuple[Array, Array]:
    """Control points on the eyeball and in the fold above it."""
    x, y = TEMPLATE[:, 0] * (-1 if name == "close left" else 1), TEMPLATE[:, 1]
    ours = np.arange(len(TEMPLATE)) > max(_MOUTH[1])
    ball = ours & (x > 20) & (x < 42) & (np.abs(y) < 1)
    fold = ours & (x > 20) & (x < 42) & (y < -7) & (y > -10)
    return np.flatnonzero(ball), np.flatnonzero(fold)


def shaped(proportions: dict[str, float], scale: Array, expression: dict[str, float]) -> Array:
    """The anatomical points (C, 3) of one head.

    proportions: standard deviations by name in PROPORTIONS; scale: (3,), whole width, height and
    depth; expression: amounts by name in EXPRESSIONS, or a pair (left, right of the picture).
    """
    amounts = proportions | expression
    sides = np.stack([np.broadcast_to(amounts.get(name, 0.0), 2) for name in _SHIFTED])
    moved = np.einsum("ns,nsp->p", sides, _shifts())  # (C * 3)
    points = TEMPLATE + moved.reshape(TEMPLATE.shape)

    for name, (upper, lower) in (("close left", _LEFT_EYE), ("close right", _RIGHT_EYE)):
        amount = expression.get(name, 0.0)
        way = amount * (points[lower] - points[upper] + [0, 0, 1.5 * max(amount, 0)])
        ball, fold = _around_eye(name)
        points[ball] += 0.5 * way[: len(upper) // 2].mean(0)
        points[fold] += 0.25 * way[: len(upper) // 2].mean(0)
        points[upper] += way

    angle = np.radians(3.2) * expression.get("jaw", 0.0)
    share = _jaw_share()[:, None]
    if angle < 0:  # the lips close the last millimetres more than the jaw does
        share = share * np.where(np.isin(np.arange(len(points)), _LOWER_LIP), 1.0, 0.5)[:, None]
    hinge = np.array([0, 12, -52])
    arm = points - hinge
    turned = np.stack(
        [
            arm[:, 0],
            np.cos(angle) * arm[:, 1] + np.sin(angle) * arm[:, 2],
            np.cos(angle) * arm[:, 2] - np.sin(angle) * arm[:, 1],
        ],
        1,
    )
    points += share * (turned - arm)
    points[_UPPER_LIP, 1] -= expression.get("upper lip up", 0.0)
    upper, lower = _MOUTH  # lips meet, they do not pass each other
    overlap = np.minimum(points[lower, 1] - points[upper, 1], 0)
    points[upper, 1] += overlap / 2
    points[lower, 1] -= overlap / 2
    points[:, 0] += expression.get("mouth aside", 0.0) * _smoothstep(50, 75, TEMPLATE[:, 1])
    return CENTRE + (points - CENTRE) * scale


# ---------------------------------------------------------------------------- keypoints


@lru_cache
def places(scheme: Scheme) -> Array:
    """Where the points of a scheme lie on the sheet: azimuth and elevation (K, 2), in radians.

    For the jaw this is the bone; ``keypoints`` moves it to the outline.
    """
    ibug = _angles(TEMPLATE[:68])
    if scheme is IBUG_68:
        return ibug
    if scheme is not IMM_58:
        raise ValueError(f"no places for the scheme {scheme.name}")
    right_brow = curve(ibug[22:27], np.array([0.15, 1.0, 2.1, 2.85, 3.75]))
    right_brow += np.radians([[0, 1.5], [0, 0], [0, 0], [0, 0.4], [0, 2.0]])
    upper = curve(ibug[[45, 44, 43, 42]], np.arange(0, 3, 0.75))
    lower = curve(ibug[[42, 47, 46, 45]], np.arange(0, 3, 0.75))
    right_eye = np.concatenate([upper, lower])
    other = np.array([-1.0, 1.0])
    right_nose = _angles(np.array([(17.6, 41, 22), (16.5, 31, 19), (10.5, 22, 24), (7.7, 2, 20.0)]))
    nostril = _angles(np.array([(9.6, 46.8, 25.0)]))
    nose = [right_nose[::-1] * other, nostril * other, ibug[[33]], nostril, right_nose]
    mouth = ibug[[48, 50, 51, 52, 54, 56, 57, 58]]
    jaw = curve(ibug[:17], np.linspace(2.4, 13.6, 13))
    return np.concatenate(
        [jaw, right_eye, right_eye * other, right_brow, right_brow * other, mouth, *nose]
    )


def on_sheet(grid: Array, where: Array) -> Array:
    """Values (..., D) of a grid (ROWS, COLUMNS, D) at azimuths and elevations (..., 2)."""
    flat = where.reshape(-1, 2)
    column = np.interp(flat[:, 0], _AZIMUTHS, np.arange(COLUMNS))
    row = np.interp(flat[:, 1], _ELEVATIONS, np.arange(ROWS))
    i = np.minimum(row.astype(int), ROWS - 2)
    j = np.minimum(column.astype(int), COLUMNS - 2)
    down, across = (row - i)[:, None], (column - j)[:, None]
    # The two triangles of ``sheet_triangles``, not the bilinear patch: what is drawn, exactly.
    a, b, c, d = grid[i, j], grid[i, j + 1], grid[i + 1, j], grid[i + 1, j + 1]
    upper = a + across * (b - a) + down * (d - b)
    lower = a + down * (c - a) + across * (d - c)
    return np.where(across >= down, upper, lower).reshape(*where.shape[:-1], -1)


_STEPS = 48
_BRIDGE = _angles(TEMPLATE[[27]])


@lru_cache
def _jaw_paths(scheme: Scheme) -> Array:
    """For each jaw point, a way over the sheet from the front of the face to the bone and beyond.

    (J, _STEPS, 2) azimuth and elevation. By the ears it ends at the bone; below the chin it goes
    on underneath, where the outline of a lifted face lies.
    """
    bone = places(scheme)[list(range(scheme.lines[0][0], scheme.lines[0][-1] + 1))]
    turn = np.abs(np.linspace(-8, 8, len(bone))) * (1.0 if scheme is IBUG_68 else 0.67)
    down = _smoothstep(0, 1, np.clip((6.5 - turn) / 5, 0, 1))[:, None]
    mouth = np.radians([0.0, 18.0])
    level = np.stack([0.35 * bone[:, 0], 0.75 * bone[:, 1] + 0.25 * np.radians(6.0)], 1)
    start = down * (0.55 * bone + 0.45 * mouth) + (1 - down) * level
    beyond = bone + np.stack([0 * turn, np.radians(16.0) * down[:, 0]], 1)
    t = np.linspace(0, 1, _STEPS)[None, :, None]
    first = start[:, None] + (bone - start)[:, None] * np.minimum(t / 0.75, 1)
    return first + (beyond - bone)[:, None] * np.maximum(t - 0.75, 0) / 0.25


def keypoints(scheme: Scheme, posed: Array, facing: Array) -> tuple[Array, Array]:
    """The points of a scheme on a head as the camera sees it.

    posed: vertices (ROWS, COLUMNS, 3) in the camera's frame; facing: (ROWS, COLUMNS), positive
    where the sheet turns towards the camera. Jaw points go from the front of the face outwards
    until the sheet turns away, at most to the bone: they lie on the visible outline, as people
    mark them in 300-W (landmark marching, Zhu et al., CVPR 2015).
    Returns places in the camera's frame (K, 3) and azimuth and elevation on the sheet (K, 2).
    """
    where = places(scheme).copy()
    jaw = list(scheme.lines[0])
    paths = _jaw_paths(scheme)  # (J, _STEPS, 2)
    turned = on_sheet(facing[..., None], paths)[..., 0]  # (J, _STEPS)
    # Of several places where the skin turns away (beside the mouth, at the cheek) the outermost.
    chin, brow = on_sheet(posed, where[[jaw[len(jaw) // 2]]])[0], on_sheet(posed, _BRIDGE)[0]
    down = (chin - brow)[:2] / np.linalg.norm((chin - brow)[:2])
    sideways = np.sign(where[jaw, :1]) * np.array([[down[1], -down[0]]])  # (J, 2)
    straight = np.minimum(np.abs(where[jaw, :1]) / np.radians(40), 1)
    outwards = straight * sideways + (1 - straight) * down
    outside = (on_sheet(posed, paths)[..., :2] * outwards[:, None]).sum(-1)  # (J, _STEPS)
    away = (turned[:, :-1] > 0) & (turned[:, 1:] <= 0)
    step = np.where(away, outside[:, :-1], -np.inf).argmax(1)
    rows = np.arange(len(jaw))
    before, after = turned[rows, step], turned[rows, step + 1]
    share = np.clip(before / np.maximum(before - after, 1e-9), 0, 1)[:, None]
    crossing = paths[rows, step] + share * (paths[rows, step + 1] - paths[rows, step])
    where[jaw] = np.where(away.any(1, keepdims=True), crossing, where[jaw])
    return on_sheet(posed, where), where


# ---------------------------------------------------------------------------- ears, body, hair


EAR_ROWS = 8


def ears(grid: Array, size: float, stand_out: float) -> tuple[Array, NDArray[np.int32]]:
    """Two ears on the sides of a head: vertices (V, 3), triangles (T, 3)."""
    ring, turn = np.linspace(0, 1, EAR_ROWS), np.linspace(0, 2 * np.pi, 25)
    r, t = np.meshgrid(ring, turn, indexing="ij")
    back = 15 * r * np.sin(t) * (1 - 0.25 * np.cos(t) * r)
    down = -29 * r * np.cos(t) + 5 * r * (np.sin(t) < 0)
    rim = 3.5 * np.exp(-(((r - 0.88) / 0.12) ** 2)) - 6 * np.exp(-((r / 0.5) ** 2)) - 5 * (r > 0.97)
    root = on_sheet(grid, _angles(np.array([[74.0, 20.0, -64.0]])))[0]
    lean = stand_out * (back + 14)
    x = root[0] - 1 + size * (lean + rim)
    y = root[1] + size * (down - 0.12 * back)
    z = root[2] - size * (0.92 * back - 0.15 * down - 0.3 * rim)
    right = np.stack([x, y, z], -1).reshape(-1, 3)
    triangles = sheet_triangles(EAR_ROWS, 25)[:, ::-1]
    left = right * [-1, 1, 1]
    return np.concatenate([right, left]), np.concatenate(
        [triangles, triangles[:, ::-1] + len(right)]
    )


_RINGS = np.array(
    # half width, half depth, height, middle in depth
    [(48, 34, 40, -86), (50, 36, 85, -88), (53, 38, 112, -90), (55, 44, 136, -95),
     (60, 54, 146, -98), (78, 64, 155, -100), (112, 74, 165, -100), (150, 84, 177, -100),
     (180, 92, 194, -100), (196, 98, 230, -100), (202, 104, 310, -100), (205, 108, 460, -100)],
    float,
)  # fmt: skip
BODY_ROWS, BODY_COLUMNS = 30, 49


def body(neck_width: float, shoulders: float) -> tuple[Array, Array]:
    """Neck and shoulders: vertices (BODY_ROWS, BODY_COLUMNS, 3), and which share (BODY_ROWS,) of
    the head's turn each row goes with."""
    t = np.linspace(0, len(_RINGS) - 1, BODY_ROWS)
    width, depth, height, middle = curve(_RINGS, t).T
    low = _smoothstep(135, 175, height)
    width = width * (neck_width * (1 - low) + shoulders * low)
    turn = np.linspace(-np.pi, np.pi, BODY_COLUMNS)
    x = width[:, None] * np.sin(turn)
    z = middle[:, None] + depth[:, None] * np.cos(turn)
    # Shoulders slope: rows that are low at the sides rise towards the neck in front and behind.
    y = height[:, None] + (low * 14)[:, None] * np.cos(turn) ** 2
    return np.stack([x, y, z], -1), 1 - _smoothstep(80, 155, height)


HAIR_ROWS, HAIR_COLUMNS = 44, 97
_HAIR_ON_HEAD = 30


@dataclass(frozen=True)
class Hair:
    """A hair cut. Lengths in mm, angles in radians.

    bulk: how far it stands off the scalp; fringe: elevation where it ends on the forehead;
    parting: azimuth at which the fringe is highest; arch: by how much; temple: elevation of the
    hairline there; sides: elevation where it ends beside the face; hang: how far it falls from
    there; front: azimuth from which on it falls; waves: how uneven its outline is; tip: share of
    the bulk that is left at the forehead, small where the hair is combed back.
    """

    bulk: float
    fringe: float
    parting: float
    arch: float
    temple: float
    sides: float
    hang: float
    front: float
    waves: float
    tip: float

    def mesh(self, grid: Array, outward: Array, wobble: Array) -> tuple[Array, Array]:
        """Vertices (HAIR_ROWS, HAIR_COLUMNS, 3) and, for each, azimuth and place along the strand
        (0 crown, 1 tip) (HAIR_ROWS, HAIR_COLUMNS, 2).

        grid, outward: head and its normals; wobble: (2, HAIR_COLUMNS), smooth noise in -1..1.
        """
        azimuth = np.linspace(-np.pi, np.pi, HAIR_COLUMNS)
        aside = np.abs(azimuth)
        front = self.fringe - self.arch * np.cos(2 * (azimuth - self.parting))
        line = front + (self.temple - front) * _smoothstep(*np.radians([28.0, 58.0]), aside)
        line += (self.sides - self.temple) * _smoothstep(
            self.front - 0.16, self.front + 0.12, aside
        )
        nape = np.radians(42.0)
        line += (nape - self.sides) * _smoothstep(*np.radians([100.0, 125.0]), aside)
        line += 0.05 * wobble[0]
        down = np.linspace(0, 1, _HAIR_ON_HEAD)[:, None]
        elevation = np.radians(-88) + (line - np.radians(-88)) * down
        where = np.stack([np.broadcast_to(azimuth, elevation.shape), elevation], -1)
        tip = self.tip + (0.5 - self.tip) * _smoothstep(0.9, 1.5, aside)
        tip = 1 - _smoothstep(0.55, 1.0, down) * (1 - tip)
        bulk = self.bulk * tip * (1 + self.waves * wobble[1] * down) + 1.0
        scalp = on_sheet(grid, where) + bulk[..., None] * on_sheet(outward, where)

        fall = np.linspace(0, 1, HAIR_ROWS - _HAIR_ON_HEAD + 1)[1:, None]
        length = self.hang * _smoothstep(self.front - 0.05, self.front + 0.2, aside)
        hanging = np.repeat(scalp[-1:], len(fall), 0)
        hanging[..., 1] += fall * length * (1 + 0.12 * wobble[0])
        push = 1 + 0.14 * np.sin(2.6 * fall) * np.minimum(length / 100, 1) * (1 + wobble[1])
        hanging[..., 0] *= push
        hanging[..., 2] += 10 * fall * np.minimum(length / 100, 1)
        vertices = np.concatenate([scalp, hanging])
        along = np.concatenate([down * 0.7, 0.7 + 0.3 * fall])
        along = along + (0.3 * down[-1] * (length < 5)) * np.concatenate([down, np.ones_like(fall)])
        return vertices, np.stack([np.broadcast_to(azimuth, along.shape), along], -1)
