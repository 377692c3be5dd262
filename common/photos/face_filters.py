"""Face filters: art laid onto faces, such as sunglasses or a hat.

A face filter is two files beside each other, ``NAME.png`` with transparency and ``NAME.txt``, of
which each line names a pixel of the art and the keypoint that it lies on, such as ``150 10 33``;
several keypoints mean their middle. The line ``warp rigid`` turns, scales and shifts the art, the
best fit to all lines: for what is stiff, such as a hat. ``warp bend`` maps every named pixel
exactly onto its keypoint by a thin plate spline, so that the art moves with the face.

Source of the spline: F. L. Bookstein, Principal Warps, IEEE PAMI 11(6), 1989. It maps from the
photo back to the art, so that every pixel is looked up once; for speed on a grid of a few hundred
nodes, interpolated between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.interpolate import RBFInterpolator

from common.keypoints import fit_similarity
from common.system.errors import UserError

N_POINTS = 68
CELLS = 32  # of the grid on which the warp is evaluated, along the longer side
STIFFNESS = 1e-4  # smooths the spline where a turned face brings anchors onto each other
FLAT = 1e-3  # width over length of anchors from which they count as on one line
LEFT_CHEEK = ((1, 41), (2, 41), (2, 31), (3, 31), (3, 48), (4, 48))  # skin lies between these
RIGHT_CHEEK = ((15, 46), (14, 46), (14, 35), (13, 35), (13, 54), (12, 54))
USUAL_LIGHT = 140.0  # grey value of a well-lit cheek, for which art is drawn

Box = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels
Map = Callable[[np.ndarray], np.ndarray]  # (..., 2) pixels -> (..., 2) pixels


@dataclass(frozen=True)
class FaceFilter:
    """Art and where it lies on a face.

    levels: the art as uint8 (H, W, 4), colours multiplied by their alpha, then at half the size,
        at a quarter and so on: small faces take a small one, which avoids flicker.
    """

    name: str  # of its files, without the ending
    levels: tuple[np.ndarray, ...]
    anchors: np.ndarray  # float32 (A, 2), pixels of ``levels[0]``
    weights: np.ndarray  # float32 (A, 68): an anchor lies on ``weights @ keypoints``
    bend: bool  # whether the anchors are met exactly, or by the best similarity transform

    def apply(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """A copy of a photo with the art on one face, as far as it lies in the photo.

        image: uint8 (H, W, 3), RGB.
        keypoints: (68, 2), pixels of the photo; they may lie outside it. Where they are not a
            face, all in one place or not finite, nothing is drawn.
        Raises ValueError for other shapes.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image must be uint8 (H, W, 3), not {image.dtype} {image.shape}")
        if np.shape(keypoints) != (68, 2):
            raise ValueError(f"keypoints must be (68, 2), not {np.shape(keypoints)}")
        image, keypoints = image.copy(), np.asarray(keypoints, dtype=np.float64)
        if not (np.abs(keypoints) < 100 * max(image.shape)).all():  # nor is it for NaN
            return image
        targets = self.weights @ keypoints  # (A, 2)
        turn = fit_similarity(*map(torch.from_numpy, (self.anchors.astype(float), targets))).numpy()
        scale = np.hypot(turn[0, 0], turn[1, 0])  # pixels of the photo per pixel of the art
        height, width = self.levels[0].shape[:2]
        if scale * max(width, height) < 1:
            return image
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5
        box = _box(corners @ turn[:, :2].T + turn[:, 2], image.shape, 0.25 if self.bend else 0.0)
        if box is None:
            return image
        rigid = _affine(cv2.invertAffineTransform(turn))
        back = spline(targets, self.anchors) if self.bend else rigid
        level = int(np.clip(np.round(-np.log2(scale) - 0.3), 0, len(self.levels) - 1))
        _lay_on(image, box, (self.levels[level], 2.0**-level), back, _light(image, keypoints))
        return image


def names(folder: Path) -> list[str]:
    """The names of the face filters in ``folder``."""
    return sorted(file.stem for file in folder.glob("*.txt"))


def load(name_or_path: str | Path, folder: Path) -> FaceFilter:
    """A face filter of ``folder`` by its name, or any by the path of its art.

    Raises UserError where art or text file are missing or malformed.
    """
    path = Path(name_or_path)
    if str(name_or_path) in names(folder):
        path = folder / f"{name_or_path}.png"
    elif path.suffix == "" or not path.with_suffix(".txt").is_file():
        raise UserError(
            f"filter {name_or_path}: no such filter; there are {', '.join(names(folder))}, or give "
            "a PNG file with a text file of the same name beside it"
        )
    anchors, weights, bend = read_anchors(path.with_suffix(".txt"))
    levels = _pyramid(_read_art(path.with_suffix(".png")))
    return FaceFilter(path.stem, levels, anchors, weights, bend)


def read_anchors(file: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Anchors (A, 2), weights (A, 68) and whether to bend, from a face filter's text file.

    Raises UserError with the malformed line and how it should look.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{file}: cannot be read ({fault}); write it as plain text") from None
    anchors, weights, bend = [], [], False
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if words[:1] == ["warp"]:
            if words[1:] not in (["rigid"], ["bend"]):
                raise UserError(f"{file}, line {number}: write 'warp rigid' or 'warp bend'")
            bend = words[1] == "bend"
        elif words:
            try:
                x, y, points = float(words[0]), float(words[1]), [int(word) for word in words[2:]]
                usable = points and all(0 <= point < N_POINTS for point in points)
            except (ValueError, IndexError):
                usable = False
            if not usable or not max(abs(x), abs(y)) < 1e5:
                raise UserError(
                    f"{file}, line {number}: '{line.strip()}' is no anchor; write x, y and one or "
                    "more keypoints from 0 to 67, such as: 120 80 36"
                )
            anchors.append((x, y))
            weights.append(np.bincount(points, minlength=N_POINTS) / len(points))
    if len(np.unique(np.array(anchors).reshape(-1, 2), axis=0)) < (3 if bend else 2):
        raise UserError(
            f"{file}: too few anchors; 'warp rigid' takes 2 or more different pixels, "
            "'warp bend' 3 or more"
        )
    return np.array(anchors, np.float32), np.array(weights, np.float32), bend


def spline(source: np.ndarray, target: np.ndarray) -> Map:
    """The thin plate spline that maps (N, 2) onto (N, 2), up to ``STIFFNESS``.

    Where ``source`` lies on one line there is none, and the best affine map takes its place.
    """
    middle = source.mean(axis=0)
    size = max(np.abs(source - middle).max(), 1e-9)
    unit = (source - middle) / size  # (N, 2)
    if np.linalg.matrix_rank(unit, tol=FLAT) == 2:
        warp = RBFInterpolator(unit, target, smoothing=STIFFNESS, kernel="thin_plate_spline")
    else:
        ones = np.ones((len(unit), 1))
        warp = _affine(np.linalg.lstsq(np.hstack([unit, ones]), target, rcond=FLAT)[0].T)
    return lambda points: warp((points.reshape(-1, 2) - middle) / size).reshape(points.shape)


def _affine(matrix: np.ndarray) -> Map:
    return lambda points: points @ matrix[:, :2].T + matrix[:, 2]


def _box(corners: np.ndarray, shape: tuple[int, ...], more: float) -> Box | None:
    """Around (4, 2), widened by ``more`` times the longer side, within a photo of ``shape``; None
    where nothing of it lies inside."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    room = more * (high - low).max()
    size = (shape[1], shape[0])
    left, top = np.clip(np.floor(low - room), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(high + room) + 1, 0, size).astype(int)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _lay_on(
    image: np.ndarray, box: Box, level: tuple[np.ndarray, float], back: Map, light: Map
) -> None:
    """Blend art into ``image`` within ``box``.

    level: one level of the art, and how large it is compared with the full size.
    back: pixels of the photo -> pixels of the full-size art.
    light: pixels of the photo -> brightness of the art there, 1 as drawn, (..., 1).
    """
    art, art_scale = level
    left, top, right, bottom = box
    step = max(right - left, bottom - top) // CELLS | 1  # odd: a node lies on a pixel's middle
    across = np.arange(left, right + step, step)
    down = np.arange(top, bottom + step, step)
    nodes = np.stack(np.meshgrid(across, down), axis=-1).astype(np.float64)  # (h, w, 2)
    places = (back(nodes) + 0.5) * art_scale - 0.5  # (h, w, 2), pixels of the art
    limits = np.array([art.shape[1], art.shape[0]])
    inside = ((places > -1) & (places < limits)).all(axis=2)  # (h, w)
    if not inside.any():
        return
    x, y, width, height = cv2.boundingRect(inside.astype(np.uint8))
    columns, rows = slice(max(x - 1, 0), x + width + 1), slice(max(y - 1, 0), y + height + 1)
    fields = np.dstack([places, light(nodes)])[rows, columns].astype(np.float32)
    left, top = across[columns.start], down[rows.start]
    fields = _between(fields, step)[: image.shape[0] - top, : image.shape[1] - left]
    art = cv2.remap(art, fields[..., 0], fields[..., 1], cv2.INTER_LINEAR)  # outside: nothing
    part = image[top : top + len(art), left : left + art.shape[1]]
    # In bytes: on a large face floats would take four times as long.
    bright = cv2.convertScaleAbs(fields[..., 2], alpha=200)  # 200 means 1
    art_lit = cv2.multiply(_rgb(art), _rgb(bright), scale=1 / 200)
    behind = cv2.multiply(part, _rgb(255 - art[..., 3]), scale=1 / 255)
    part[:] = cv2.add(art_lit, behind)


def _rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, 4) -> (H, W, 3)."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_RGBA2RGB)


def _between(nodes: np.ndarray, step: int) -> np.ndarray:
    """Values (h, w, C) at every ``step``-th pixel -> at every pixel between, (H, W, C)."""
    height, width = nodes.shape[:2]
    grown = cv2.resize(nodes, (width * step, height * step), interpolation=cv2.INTER_LINEAR)
    cut = step // 2  # for cv2.resize nodes are middles of cells; its rim is no interpolation
    return grown[cut : height * step - cut, cut : width * step - cut]


def _light(image: np.ndarray, keypoints: np.ndarray) -> Map:
    """Brightness of the art, from one end of the jaw to the other: pixels -> (..., 1).

    1 for a well-lit cheek; half-way to the cheek's own light otherwise.
    """

    def of_cheek(cheek: tuple[tuple[int, int], ...]) -> float:
        places = keypoints[np.array(cheek)].mean(axis=1).round().astype(int)  # (P, 2)
        columns, rows = np.clip(places, 0, (image.shape[1] - 1, image.shape[0] - 1)).T
        return float(np.clip(np.sqrt(image[rows, columns].mean() / USUAL_LIGHT), 0.5, 1.1))

    left, right = of_cheek(LEFT_CHEEK), of_cheek(RIGHT_CHEEK)
    axis = keypoints[16] - keypoints[0]
    axis = axis / max(axis @ axis, 1e-9)
    return lambda points: left + (right - left) * np.clip((points - keypoints[0]) @ axis, 0, 1)


def _read_art(file: Path) -> np.ndarray:
    """uint8 (H, W, 4), not multiplied by alpha. Raises UserError where it cannot be read."""
    try:
        with Image.open(file) as picture:
            if "A" not in picture.getbands() and "transparency" not in picture.info:
                raise UserError(f"{file}: has no transparency; save it as a PNG with alpha")
            art = np.asarray(picture.convert("RGBA"))
    except FileNotFoundError:
        raise UserError(f"{file}: not found; a filter needs NAME.png beside NAME.txt") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise UserError(f"{file}: not a picture ({fault}); save it as a PNG") from None
    return art


def _pyramid(art: np.ndarray) -> tuple[np.ndarray, ...]:
    """Colours multiplied by alpha, at full size, a half, a quarter ... down to about 16 pixels."""
    halvings = max(int(np.log2(max(art.shape[:2]) / 16)), 0)
    block = 2**halvings
    art = np.pad(art, ((0, -art.shape[0] % block), (0, -art.shape[1] % block), (0, 0)))
    colours = art[..., :3].astype(np.float32) * art[..., 3:] / 255
    levels = [np.dstack([colours, art[..., 3]]).astype(np.float32)]
    for _ in range(halvings):
        height, width = levels[-1].shape[:2]
        half = width // 2, height // 2
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(np.round(level).astype(np.uint8) for level in levels)
