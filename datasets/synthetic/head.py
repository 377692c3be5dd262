"""A human head in three dimensions: a surface through anatomical points, and its keypoints.

The head is one closed sheet over the directions from its centre. A direction is given by azimuth
(0 straight ahead, positive to the right of a picture of the face) and elevation (positive down).
A thin-plate spline maps the directions of the anatomical points to their places in space: a wider
jaw, a smile or a closing eye displaces these few points, and the whole sheet, with the keypoints
on it, moves with them.

Lengths are mm; x to the right of the picture, y down, z towards the camera; the origin lies between
the outer eye corners. ``head_points.csv`` holds the anatomical points of the half with x >= 0 that
are no iBUG points; ``head_bumps.csv`` what one standard deviation of a proportion, or the amount 1
of an expression, displaces: Gaussian bumps (their reach is a standard deviation) on both sides.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common.keypoints import IBUG_68, IMM_58, Scheme
from common.photos.pose import MEAN_HEAD

Array = NDArray[np.float32]

_POINTS, _CHANGES = (Path(__file__).with_name(f"head_{name}.csv") for name in ("points", "bumps"))
_HALF = np.loadtxt(_POINTS, delimiter=",", skiprows=1, usecols=(1, 2, 3))
_KINDS = np.loadtxt(_CHANGES, str, delimiter=",", skiprows=1, usecols=(0, 1)).tolist()
_BUMPS = np.loadtxt(_CHANGES, delimiter=",", skiprows=1, usecols=range(2, 9))
_NAMES = list(dict.fromkeys(name for _, name in _KINDS))
PROPORTIONS = list(dict.fromkeys(name for kind, name in _KINDS if kind == "proportion"))

CENTRE = np.array([0.0, 35.0, -60.0])
"""Where the directions start; the head also turns about it."""


def soft(low: float, high: float, value: Array) -> Array:
    """0 at ``low``, 1 at ``high`` (which may be the smaller one), smooth between."""
    t = np.clip((value - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def _directions(points: Array) -> Array:
    """Unit vectors (..., 3) from CENTRE to points (..., 3)."""
    rays = points - CENTRE
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def angles_of(points: Array) -> Array:
    """Azimuth and elevation (..., 2), in radians, of points (..., 3)."""
    x, y, z = np.moveaxis(_directions(points), -1, 0)
    return np.stack([np.arctan2(x, z), np.arcsin(y)], -1)


def _steps(*stretches: tuple[float, float, float]) -> Array:
    """Degrees from first to last of each stretch with about the given step, in radians."""
    parts = [np.linspace(a, b, round((b - a) / step), endpoint=False) for a, b, step in stretches]
    return np.radians(np.concatenate([*parts, [stretches[-1][1]]]))


# The vertices are closest, about 2 mm apart, on lids and lips.
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


_IBUG = MEAN_HEAD * (1, 1, -1)
# Edges that meet when eyes and lips close, upper and lower, from left to right: iBUG points.
# TEMPLATE has one more point between each two, after the 68 iBUG points and in this order.
_EDGES = (
    [36, 37, 38, 39], [36, 41, 40, 39], [42, 43, 44, 45], [42, 47, 46, 45],
    [60, 61, 62, 63, 64], [60, 67, 66, 65, 64],
)  # fmt: skip
# Each the numbers of the points of the upper edge, and of those of the lower edge that they meet.
_LEFT_EYE = [37, 38, 68, 69, 70], [41, 40, 71, 72, 73]
_RIGHT_EYE = [43, 44, 74, 75, 76], [47, 46, 77, 78, 79]
_MOUTH = [61, 62, 63, 80, 81, 82, 83], [67, 66, 65, 84, 85, 86, 87]
_FREE = 88  # the first point that is neither iBUG's nor on an edge
RIGHT_LIDS = [45, 44, 43, 42], [42, 47, 46, 45]
"""The iBUG points around the right eye, along the upper lid and back along the lower."""


_BETWEEN = [curve(_IBUG[edge], np.arange(len(edge) - 1) + 0.5) for edge in _EDGES]
TEMPLATE = np.concatenate([_IBUG, *_BETWEEN, _HALF, _HALF[_HALF[:, 0] > 0] * (-1, 1, 1)])
"""The anatomical points (C, 3) of the mean head; the first 68 are the iBUG points."""

# How far the sheet may pass beside a point, for smoothness: not at all where lids and lips meet.
_SLACK = np.repeat([1e-4, 1e-6, 1e-3], [36, _FREE - 36, len(TEMPLATE) - _FREE])


def _kernel(a: Array, b: Array) -> Array:
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return 0.5 * squared * np.log(squared + 1e-9)


@lru_cache
def _spline() -> Array:
    """Weights (ROWS * COLUMNS, C): vertices of the sheet = weights @ anatomical points.

    The thin-plate spline of Bookstein (1989), over directions instead of the plane.
    """
    known = _directions(TEMPLATE)
    plane = np.c_[np.ones(len(known)), known]
    bent = _kernel(known, known) + np.diag(_SLACK)
    system = np.block([[bent, plane], [plane.T, np.zeros((4, 4))]])
    azimuth, elevation = GRID_ANGLES.reshape(-1, 2).T
    flat = np.cos(elevation)
    grid = np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], -1)
    basis = np.c_[_kernel(grid, known), np.ones(len(grid)), grid]  # (ROWS * COLUMNS, C + 4)
    return np.ascontiguousarray(np.linalg.solve(system, basis.T)[: len(known)].T, np.float32)


def sheet(controls: Array) -> Array:
    """Vertices (ROWS, COLUMNS, 3) of the head whose anatomical points are ``controls`` (C, 3)."""
    # numpy's product would start threads, and takes ten times as long for three columns.
    vertices = cv2.gemm(_spline(), controls.astype(np.float32), 1, None, 0)
    return vertices.reshape(ROWS, COLUMNS, 3)


def normals(grid: Array) -> Array:
    """Outward unit normals (R, C, 3), float32, of a sheet of vertices (R, C, 3)."""
    down, across = np.gradient(np.asarray(grid, np.float32), axis=(0, 1))
    outward = np.cross(across, down)
    return outward / (np.linalg.norm(outward, axis=-1, keepdims=True) + 1e-9)


def sheet_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Vertex numbers (T, 3) of the triangles of a sheet, clockwise as seen from outside."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    return np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, d), (a, d, c))])


CLOSED_JAW = -1.45
"""The "jaw" at which the lips of the mean head meet."""

_UPPER_LIP = [49, 50, 51, 52, 53, *_MOUTH[0]]
_LOWER_LIP = [55, 56, 57, 58, 59, *_MOUTH[1]]


@lru_cache
def _displacements() -> Array:
    """What the amount 1 of each of ``_NAMES`` displaces, left and right: (names, 2, C * 3)."""
    total = np.zeros((len(_NAMES), 2, *TEMPLATE.shape))
    for (_, name), bump in zip(_KINDS, _BUMPS, strict=True):
        centre, (reach,), shift = np.split(bump, [3, 4])
        half = 1.0 if centre[0] else 0.5  # on the middle line each side has half of it
        for side, mirror in enumerate(((-1, 1, 1), (1, 1, 1))):
            away = (TEMPLATE - centre * mirror) / reach
            weight = half * np.exp(-0.5 * (away**2).sum(1, keepdims=True))
            total[_NAMES.index(name), side] += weight * shift * mirror
    return total.reshape(len(_NAMES), 2, -1)


@lru_cache
def _jaw_share() -> Array:
    """How far each anatomical point goes with the lower jaw, (C,), 0 to 1."""
    x, y, z = TEMPLATE.T
    side = soft(56, 88, y) * soft(-75, -45, z)
    share = np.where(np.abs(x) > 26, side, soft(71.2, 71.4, y)) * (z > -70)
    share[_LOWER_LIP] = 1
    share[_UPPER_LIP] = 0
    share[[48, 54, 60, 64]] = 0.4  # the corners
    share[np.hypot(np.abs(x) - 31, y - 67) < 7] = 0.4
    share[(np.abs(x) < 20) & (y > 68.8) & (y < 71.6) & (z < 14) & (z > 0)] = 0.5  # within the mouth
    # Near its corners the mouth opens less: it is round, not square.
    share[[55, 59]] = 0.85
    share[[_MOUTH[1][3], _MOUTH[1][6]]], share[[_MOUTH[0][3], _MOUTH[0][6]]] = 0.75, 0.15
    return share


def _close_eyes(points: Array, expression: dict[str, float]) -> None:
    """Moves the upper lids of anatomical points (C, 3), and what lies on and above the eyeballs."""
    y, inner = TEMPLATE[:, 1], np.arange(len(TEMPLATE)) >= _FREE
    for side, name, (upper, lower) in ((-1, "left", _LEFT_EYE), (1, "right", _RIGHT_EYE)):
        amount = expression.get(f"close {name}", 0.0)
        shift = amount * (points[lower] - points[upper] + [0, 0, 1.5 * max(amount, 0)])
        x = TEMPLATE[:, 0] * side
        around = inner & (x > 20) & (x < 42)
        mean = shift[: len(upper) // 2].mean(0)
        points[around & (np.abs(y) < 1)] += 0.5 * mean  # on the eyeball
        points[around & (y < -7) & (y > -10)] += 0.25 * mean  # in the fold above
        points[upper] += shift


def _open_mouth(points: Array, expression: dict[str, float]) -> None:
    """Turns the lower jaw of anatomical points (C, 3) about its hinge, and lifts the upper lip."""
    angle = np.radians(3.2) * expression.get("jaw", 0.0)
    share = _jaw_share()[:, None]
    if angle < 0:  # the lips close the last millimetres more than the jaw does
        share = share * np.where(np.isin(np.arange(len(points)), _LOWER_LIP), 1.0, 0.5)[:, None]
    arm = points - np.array([0, 12, -52])
    x, y, z = arm.T
    sine, cosine = np.sin(angle), np.cos(angle)
    points += share * (np.stack([x, cosine * y + sine * z, cosine * z - sine * y], 1) - arm)
    points[_UPPER_LIP, 1] -= expression.get("upper lip up", 0.0)
    upper, lower = _MOUTH  # lips meet, they do not pass each other
    overlap = np.minimum(points[lower, 1] - points[upper, 1], 0)
    points[upper, 1] += overlap / 2
    points[lower, 1] -= overlap / 2


def shaped(proportions: dict[str, float], scale: Array, expression: dict[str, float]) -> Array:
    """The anatomical points (C, 3) of one head.

    proportions: standard deviations by name in PROPORTIONS.
    scale: (3,), of width, height and depth.
    expression: amounts by name in ``head_bumps.csv``, or pairs (left, right of the picture); "jaw",
        "upper lip up", "mouth aside"; "close left" and "close right", 1 for closed eyes. 0 is the
        mean face of 300-W, whose lips part by 5 mm.
    """
    amounts = proportions | expression
    sides = np.stack([np.broadcast_to(amounts.get(name, 0.0), 2) for name in _NAMES])
    moved = np.einsum("ns,nsp->p", sides, _displacements())  # (C * 3)
    points = TEMPLATE + moved.reshape(TEMPLATE.shape)
    _close_eyes(points, expression)
    _open_mouth(points, expression)
    points[:, 0] += expression.get("mouth aside", 0.0) * soft(50, 75, TEMPLATE[:, 1])
    return CENTRE + (points - CENTRE) * scale


@lru_cache
def places(scheme: Scheme) -> Array:
    """Where the points of a scheme lie on the sheet: azimuth and elevation (K, 2), in radians.

    For the jaw this is the bone; ``keypoints`` moves it to the outline.
    """
    ibug = angles_of(TEMPLATE[:68])
    if scheme is IBUG_68:
        return ibug
    if scheme is not IMM_58:
        raise ValueError(f"no places for the scheme {scheme.name}")
    right_brow = curve(ibug[22:27], np.array([0.15, 1.0, 2.1, 2.85, 3.75]))
    right_brow += np.radians([[0, 1.5], [0, 0], [0, 0], [0, 0.4], [0, 2.0]])
    right_eye = np.concatenate([curve(ibug[lid], np.arange(0, 3, 0.75)) for lid in RIGHT_LIDS])
    other = np.array([-1.0, 1.0])
    right_nose = angles_of(np.array([(17.6, 41, 22), (16.5, 31, 19), (10.5, 22, 24), (7.7, 2, 20)]))
    nostril = angles_of(np.array([(9.6, 46.8, 25.0)]))
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
    # The two triangles of ``sheet_triangles``, not the bilinear patch: what is rendered, exactly.
    a, b, c, d = grid[i, j], grid[i, j + 1], grid[i + 1, j], grid[i + 1, j + 1]
    upper = a + across * (b - a) + down * (d - b)
    lower = a + down * (c - a) + across * (d - c)
    return np.where(across >= down, upper, lower).reshape(*where.shape[:-1], -1)


@lru_cache
def _jaw_paths(scheme: Scheme) -> Array:
    """For each jaw point, a path over the sheet from the front of the face to the bone and beyond.

    (J, 48, 2) azimuth and elevation. By the ears it ends at the bone; below the chin it goes on
    underneath, where the outline of a lifted face lies.
    """
    bone = places(scheme)[list(scheme.lines[0])]
    turn = np.abs(np.linspace(-8, 8, len(bone))) * (1.0 if scheme is IBUG_68 else 0.67)
    down = soft(0, 1, np.clip((6.5 - turn) / 5, 0, 1))[:, None]
    mouth = np.radians([0.0, 18.0])
    level = np.stack([0.35 * bone[:, 0], 0.75 * bone[:, 1] + 0.25 * np.radians(6.0)], 1)
    start = down * (0.55 * bone + 0.45 * mouth) + (1 - down) * level
    beyond = bone + np.stack([0 * turn, np.radians(16.0) * down[:, 0]], 1)
    t = np.linspace(0, 1, 48)[None, :, None]
    first = start[:, None] + (bone - start)[:, None] * np.minimum(t / 0.75, 1)
    return first + (beyond - bone)[:, None] * np.maximum(t - 0.75, 0) / 0.25


def keypoints(scheme: Scheme, posed: Array, facing: Array) -> tuple[Array, Array]:
    """Places (K, 3) of a scheme's points in the camera's frame; azimuth and elevation (K, 2).

    Jaw points go from the front of the face outwards until the sheet turns away, at most to the
    bone: they lie on the visible outline, as people mark them in 300-W (landmark marching, Zhu et
    al., CVPR 2015).
    posed: vertices (ROWS, COLUMNS, 3) in the camera's frame.
    facing: (ROWS, COLUMNS), positive where the sheet turns towards the camera.
    """
    where, jaw = places(scheme).copy(), list(scheme.lines[0])
    paths = _jaw_paths(scheme)  # (J, 48, 2)
    turned = on_sheet(facing[..., None], paths)[..., 0]  # (J, 48)
    # Of several places where the skin turns away (beside the mouth, at the cheek) the outermost.
    middle = np.stack([where[jaw[len(jaw) // 2]], places(IBUG_68)[27]])
    chin, brow = on_sheet(posed, middle)[:, :2]
    down = (chin - brow) / np.linalg.norm(chin - brow)
    sideways = np.sign(where[jaw, :1]) * np.array([[down[1], -down[0]]])  # (J, 2)
    straight = np.minimum(np.abs(where[jaw, :1]) / np.radians(40), 1)
    outwards = straight * sideways + (1 - straight) * down
    outside = (on_sheet(posed, paths)[..., :2] * outwards[:, None]).sum(-1)  # (J, 48)
    away = (turned[:, :-1] > 0) & (turned[:, 1:] <= 0)
    step = np.where(away, outside[:, :-1], -np.inf).argmax(1)
    rows = np.arange(len(jaw))
    before, after = turned[rows, step], turned[rows, step + 1]
    share = np.clip(before / np.maximum(before - after, 1e-9), 0, 1)[:, None]
    crossing = paths[rows, step] + share * (paths[rows, step + 1] - paths[rows, step])
    where[jaw] = np.where(away.any(1, keepdims=True), crossing, where[jaw])
    return on_sheet(posed, where), where
