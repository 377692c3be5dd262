"""Draws the filters that lie beside this file: ``python -m parts.filters.draw [NAME ...]``.

Coordinates are those of a plain drawn face: the middle between the eyes is (0, 0), the outer eye
corners lie at (-0.5, 0) and (0.5, 0), y points down. Everything is painted at ``FINE`` times the
final size and averaged down, which is all the antialiasing there is. Solid things are lit by the
oldest trick of relief: the distance from a shape's edge gives a height, the height's slope a
normal, the normal a light and a highlight.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from common import filters
from common.keypoints import IBUG_68
from datasets import synthetic

FINE = 4
TOWARDS_LIGHT = np.array([-0.42, -0.68, 0.6]) / np.linalg.norm([-0.42, -0.68, 0.6])
HALF_WAY = (TOWARDS_LIGHT + [0, 0, 1]) / np.linalg.norm(TOWARDS_LIGHT + [0, 0, 1])

Points = np.ndarray  # (N, 2) of the plain face
Colour = Sequence[float]  # red, green, blue in 0..1


def plain_face() -> Points:
    """The 68 points of the face for which the art is drawn, (68, 2)."""
    _, points, _ = synthetic.render([0], IBUG_68, leave_out=synthetic.VARIATIONS)
    face = points[0].numpy()
    left, right = face[list(IBUG_68.outer_eyes)]
    face = (face - (left + right) / 2) / np.linalg.norm(right - left)
    return (face + face[IBUG_68.flip_order.numpy()] * [-1, 1]) / 2  # exactly even


class Canvas:
    """A transparent sheet over the face, painted from the back to the front.

    box: left, top, right, bottom on the plain face. scale: pixels of the final picture per eye
    distance.
    """

    def __init__(self, box: tuple[float, float, float, float], scale: int) -> None:
        self.corner, self.scale = np.array(box[:2]), scale
        width, height = np.ceil((np.array(box[2:]) - box[:2]) * scale).astype(int)
        self.pixels = np.zeros((height * FINE, width * FINE, 4), np.float32)  # premultiplied

    def place(self, points: Points) -> Points:
        """Points of the face -> pixels of the fine sheet."""
        return (np.asarray(points) - self.corner) * self.scale * FINE - 0.5

    @property
    def spots(self) -> Points:
        """Where on the face each pixel of the sheet lies, (H, W, 2)."""
        height, width = self.pixels.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        return (np.dstack([columns, rows]) + 0.5) / (self.scale * FINE) + self.corner

    def mask(self, *outlines: Points) -> np.ndarray:
        """1 inside the outlines, 0 outside, (H, W); one within another is a hole."""
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        fixed = [np.round(self.place(outline) * 16).astype(np.int32) for outline in outlines]
        cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, shift=4)
        return mask.astype(np.float32) / 255

    def stroke(self, line: Points, widths: Sequence[float]) -> np.ndarray:
        """The mask of a line with round ends, as thick as ``widths`` say along it."""
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        widths = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)
        places = np.round(self.place(line) * 16).astype(int).tolist()
        radii = np.round(widths / 2 * self.scale * FINE * 16).astype(int).tolist()
        for (x, y), radius in zip(places, radii, strict=True):
            cv2.circle(mask, (x, y), radius, 255, -1, cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255

    def blurred(self, mask: np.ndarray, by: float) -> np.ndarray:
        """``mask`` with an edge as soft as ``by`` eye distances."""
        return cv2.GaussianBlur(mask, (0, 0), max(by * self.scale * FINE, 0.5))

    def window(self, mask: np.ndarray, room: float = 0) -> tuple[slice, slice]:
        """The rows and columns in which ``mask`` is not empty, and ``room`` eye distances more."""
        more = int(room * self.scale * FINE) + 1
        spans = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
        return tuple(slice(max(span[0] - more, 0), span[-1] + more + 1) for span in spans)

    def paint(self, mask: np.ndarray, colour: Colour | np.ndarray, alpha: float = 1) -> None:
        """Lay a colour, (3,) or (H, W, 3), over what is there."""
        here = self.window(mask)
        colour = np.asarray(colour, np.float32)
        colour = colour[here] if colour.ndim == 3 else colour
        cover = (mask[here] * alpha)[..., None]
        pixels = self.pixels[here]
        pixels[..., :3] += cover * (colour - pixels[..., :3])
        pixels[..., 3:] += cover * (1 - pixels[..., 3:])

    def shadow(
        self, mask: np.ndarray, down: float = 0.03, soft: float = 0.03, alpha: float = 0.45
    ) -> None:
        """The shadow that a shape throws on what lies behind it."""
        here = self.window(mask, down + 3 * soft)
        pixel = self.scale * FINE
        shift = np.float32([[1, 0, 0.4 * down * pixel], [0, 1, down * pixel]])
        moved = cv2.warpAffine(mask[here], shift, mask[here].shape[::-1])
        fallen = np.zeros_like(mask)
        fallen[here] = cv2.GaussianBlur(moved, (0, 0), soft * pixel)
        self.paint(fallen, (0.05, 0.03, 0.02), alpha)

    def relief(self, mask: np.ndarray, bulge: float) -> np.ndarray:
        """Normals (H, W, 3) of a shape whose edge is rounded over ``bulge`` eye distances."""
        radius = bulge * self.scale * FINE
        depth = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        depth = np.clip(depth / radius, 0, 1)
        height = cv2.GaussianBlur(np.sqrt(1 - (1 - depth) ** 2), (0, 0), 0.12 * radius) * radius
        slope_y, slope_x = np.gradient(height)
        normals = np.dstack([-slope_x, -slope_y, np.ones_like(height)])
        return normals / np.linalg.norm(normals, axis=2, keepdims=True)

    def solid(
        self,
        mask: np.ndarray,
        colour: Colour | np.ndarray,
        bulge: float,
        gloss: float = 0.4,
        hard: float = 30,
        dark: float = 0.42,
        normals: np.ndarray | None = None,
    ) -> None:
        """A rounded, lit thing. gloss: strength of the highlight; hard: how small it is; dark:
        the light that reaches even the far side."""
        here = self.window(mask, 0.01)
        normals = self.relief(mask[here], bulge) if normals is None else normals[here]
        colour = np.asarray(colour, np.float32)
        colour = colour[here] if colour.ndim == 3 else colour
        lit = np.clip(normals @ TOWARDS_LIGHT, 0, 1)[..., None]
        shine = np.clip(normals @ HALF_WAY, 0, 1)[..., None] ** hard
        surface = np.zeros_like(self.pixels[..., :3])
        surface[here] = np.clip(colour * (dark + (1.25 - dark) * lit) + gloss * shine, 0, 1)
        self.paint(mask, surface)

    def save(
        self, name: str, warp: str, anchors: Sequence[int | tuple[int, ...]], about: str
    ) -> None:
        """Write NAME.png, cut to what is painted, and NAME.txt."""
        height, width = self.pixels.shape[:2]
        art = self.pixels.reshape(height // FINE, FINE, width // FINE, FINE, 4).mean(axis=(1, 3))
        rows, columns = (np.flatnonzero((art[..., 3] > 1 / 255).any(axis=axis)) for axis in (1, 0))
        art = art[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        alpha = art[..., 3:]
        art = np.concatenate([art[..., :3] / np.maximum(alpha, 1e-3), alpha], axis=2)
        art = np.round(np.clip(art, 0, 1) * 255).astype(np.uint8)
        art[art[..., 3] == 0] = 0
        file = Path(__file__).with_name(f"{name}.png")
        Image.fromarray(art).save(file, optimize=True)
        face, corner = plain_face(), np.array([columns[0], rows[0]])
        lines = [f"# {about}", f"warp {warp}", "#  x       y    keypoints"]
        for points in anchors:
            points = (points,) if isinstance(points, int) else points
            x, y = (face[list(points)].mean(axis=0) - self.corner) * self.scale - 0.5 - corner
            lines.append(f"{x:7.1f} {y:7.1f}  {' '.join(map(str, points))}")
        file.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{file.name}: {art.shape[1]} x {art.shape[0]}, {file.stat().st_size / 1000:.0f} kB")


# Shapes


def curve(points: Sequence[Sequence[float]], closed: bool = False, fine: int = 24) -> Points:
    """A smooth line through ``points`` (Catmull and Rom, 1974)."""
    points = np.asarray(points, np.float64)
    if closed:
        padded = np.vstack([points[-1:], points, points[:2]])
    else:
        padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, fine, endpoint=False)[:, None]
    runs = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.vstack(runs if closed else [*runs, points[-1:]])


def ellipse(
    x: float, y: float, wide: float, high: float, first: float = 0, last: float = 360
) -> Points:
    """An arc by degrees, from the right over the bottom."""
    angle = np.radians(np.linspace(first, last, 160))
    return np.column_stack([x + wide * np.cos(angle), y + high * np.sin(angle)])


def mirrored(points: Points) -> Points:
    """The same on the other side of the face."""
    return np.asarray(points) * [-1, 1]


def mix(dark: Colour, light: Colour, share: np.ndarray) -> np.ndarray:
    """Colours between two, (..., 3), by a share (...) of the second."""
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(dark) * (1 - share) + np.asarray(light) * share


# Filters


def sunglasses() -> None:
    """Two dark lenses with the sky in them, in a frame of polished horn."""
    sheet = Canvas((-0.98, -0.42, 0.98, 0.42), 200)
    lens = curve(
        [(-0.62, -0.15), (-0.38, -0.19), (-0.15, -0.14), (-0.1, -0.03), (-0.14, 0.12),
         (-0.26, 0.23),
         (-0.42, 0.24), (-0.57, 0.16), (-0.65, 0.0)], closed=True
    )  # fmt: skip
    rim = curve(
        [(-0.75, -0.235), (-0.38, -0.255), (-0.13, -0.205), (-0.045, -0.06), (-0.09, 0.14),
         (-0.23, 0.29), (-0.43, 0.305), (-0.62, 0.215), (-0.715, 0.02)], closed=True
    )  # fmt: skip
    bridge = curve(
        [(-0.1, -0.12), (0, -0.155), (0.1, -0.12), (0.1, -0.03), (0, -0.075), (-0.1, -0.03)], True
    )
    temple = curve([(-0.68, -0.23), (-0.84, -0.16), (-0.84, -0.06), (-0.69, -0.06)], True)
    lenses = np.maximum(sheet.mask(lens), sheet.mask(mirrored(lens)))
    frame = np.maximum.reduce(
        [sheet.mask(rim, lens), sheet.mask(mirrored(rim), mirrored(lens)), sheet.mask(bridge)]
    )
    temples = np.maximum(sheet.mask(temple), sheet.mask(mirrored(temple)))
    whole = np.maximum.reduce([frame, lenses, temples])
    x, y = sheet.spots[..., 0], sheet.spots[..., 1]

    sheet.shadow(whole, down=0.035, soft=0.035, alpha=0.4)
    sheet.solid(temples, (0.2, 0.1, 0.05), 0.05, gloss=0.3)
    sheet.paint(lenses, mix((0.03, 0.04, 0.07), (0.34, 0.2, 0.12), (y + 0.1) / 0.33), 1.0)
    cover = 0.93 - 0.3 * np.clip((y + 0.05) / 0.3, 0, 1)  # the eyes shine through below
    inside = lenses > 0.99
    sheet.pixels[inside] *= cover[inside][:, None]
    for side in (-0.38, 0.38):
        here = np.abs(x - side) < 0.33
        streak = np.clip(1 - np.abs((x - side) + 0.75 * y + 0.1) / 0.055, 0, 1)
        thin = np.clip(1 - np.abs((x - side) + 0.75 * y - 0.02) / 0.018, 0, 1)
        glint = sheet.blurred(np.maximum(streak, thin) * here * lenses, 0.008)
        sheet.paint(glint * lenses, (0.85, 0.93, 1.0), 0.34)
    sky = np.clip(1 - (y + 0.19) / 0.13, 0, 1) * lenses
    sheet.paint(sky, (0.45, 0.62, 0.85), 0.35)
    sheet.paint(sheet.blurred(frame, 0.025) * lenses, (0, 0, 0), 0.45)  # the rim's shadow

    random = np.random.default_rng(3)
    horn = cv2.GaussianBlur(random.normal(size=x.shape).astype(np.float32), (0, 0), 20)
    horn = horn / horn.std()
    sheet.solid(
        frame, mix((0.09, 0.04, 0.025), (0.5, 0.24, 0.08), 0.35 * horn - 0.05), 0.035, gloss=0.75
    )
    for side in (-1, 1):
        for up in (-0.025, 0.025):
            pin = sheet.mask(ellipse(side * 0.685, -0.14 + up, 0.02, 0.011))
            sheet.solid(pin, (0.95, 0.8, 0.45), 0.012, gloss=0.9)
    sheet.save(
        "sunglasses",
        "bend",
        [0, 16, 17, 26, 36, 39, 42, 45, 27, 29],
        "Sunglasses of polished horn.",
    )


def moustache() -> None:
    """A handlebar moustache, combed and waxed, hair by hair."""
    sheet = Canvas((-0.72, 0.36, 0.72, 1.0), 240)
    random = np.random.default_rng(7)
    middle = curve(
        [
            (0.0, 0.63),
            (0.14, 0.66),
            (0.3, 0.735),
            (0.43, 0.76),
            (0.54, 0.7),
            (0.585, 0.6),
            (0.54, 0.545),
        ]
    )
    width = [0.1, 0.17, 0.165, 0.115, 0.065, 0.035, 0.012]
    wing = sheet.stroke(middle, width)
    whole = np.maximum(wing, wing[:, ::-1])
    sheet.shadow(whole, down=0.025, soft=0.02, alpha=0.5)
    sheet.paint(sheet.blurred(whole, 0.008), (0.13, 0.065, 0.03), 0.95)
    along = np.gradient(middle, axis=0)
    across = np.column_stack([-along[:, 1], along[:, 0]]) / np.linalg.norm(along, axis=1)[:, None]
    half = np.interp(np.linspace(0, 1, len(middle)), np.linspace(0, 1, len(width)), width) / 2
    hairs = sheet.pixels[..., :3].copy()
    cover = (sheet.pixels[..., 3] * 255).astype(np.uint8)
    for place in np.sort(random.uniform(0, 1, 3000)):
        side = random.choice([-1, 1])
        where = random.uniform(-1, 1) * random.uniform(0.7, 1.06)
        first = int((place * 1.1 - 0.1) * len(middle))
        last = min(first + int(random.uniform(0.16, 0.34) * len(middle)), len(middle))
        first = max(first, 0)
        if last - first < 4:
            continue
        drift = np.linspace(0, random.normal(0, 0.12), last - first)
        hair = (
            middle[first:last] + across[first:last] * ((where + drift) * half[first:last])[:, None]
        )
        hair[:, 0] *= side
        lit = np.clip(
            0.42 - 0.62 * where + 0.25 * np.sin(9 * place), 0, 1
        )  # the upper side is in the light
        tone = mix((0.1, 0.045, 0.02), (0.62, 0.36, 0.17), np.array(lit)) * random.uniform(0.7, 1.2)
        line = [np.round(sheet.place(hair) * 16).astype(np.int32)]
        thick = int(random.integers(1, 4))
        cv2.polylines(hairs, line, False, tone.tolist(), thick, shift=4)
        cv2.polylines(cover, line, False, 255, thick, cv2.LINE_AA, shift=4)
    sheet.pixels = np.dstack([hairs, cover.astype(np.float32) / 255])
    sheet.pixels[..., :3] *= np.where(sheet.pixels[..., 3:] > 0, 1, 0)
    sheet.save(
        "moustache", "bend", [31, 33, 35, 48, 50, 51, 52, 54, 3, 13, 30], "A handlebar moustache."
    )


def hat() -> None:
    """A silk top hat with a burgundy band and a feather."""
    sheet = Canvas((-1.35, -2.3, 1.35, 0.1), 160)
    x, y = sheet.spots[..., 0], sheet.spots[..., 1]
    brim_back = ellipse(0, -0.6, 1.12, 0.25)
    crown = np.vstack([
        curve([(-0.73, -0.62), (-0.72, -1.1), (-0.76, -1.6), (-0.83, -1.95)]),
        ellipse(0, -1.95, 0.83, 0.16, 180, 360),
        curve([(0.83, -1.95), (0.76, -1.6), (0.72, -1.1), (0.73, -0.62)]),
        ellipse(0, -0.62, 0.73, 0.2, 0, 180),
    ])  # fmt: skip
    sheet.shadow(sheet.mask(ellipse(0, -0.52, 0.86, 0.24)), down=0.1, soft=0.07, alpha=0.55)
    brim = sheet.mask(brim_back)
    bend = np.abs(x / 1.12)
    silk = (
        0.055
        + 0.13 * np.exp(-(((x + 0.62) / 0.17) ** 2))
        + 0.06 * np.exp(-(((x - 0.75) / 0.12) ** 2))
    )
    edge = np.clip((y + 0.6) / 0.25, -1, 1)
    brim_tone = silk + 0.05 * bend - 0.025 * edge
    sheet.paint(brim, np.dstack([brim_tone * 1.02, brim_tone, brim_tone * 1.12]))
    lip = sheet.mask(brim_back, ellipse(0, -0.61, 1.1, 0.235))
    sheet.paint(lip, mix((0.1, 0.1, 0.12), (0.62, 0.62, 0.68), 0.6 - 0.45 * x), 0.9)
    body = sheet.mask(crown)
    sheet.paint(sheet.blurred(sheet.mask(ellipse(0, -0.58, 0.8, 0.2)), 0.05) * brim, (0, 0, 0), 0.6)
    # Silk: a bright stripe on the side of the light, a narrow one on the other, and fine brushing.
    random = np.random.default_rng(5)
    brushed = cv2.GaussianBlur(
        random.normal(size=x.shape).astype(np.float32), (0, 0), 14, sigmaY=1.2
    )
    round_x = x / (0.72 + 0.11 * np.clip((-y - 1.1) / 0.85, 0, 1) ** 1.5)
    tone = (
        0.05 + 0.46 * np.exp(-((round_x + 0.52) / 0.13) ** 2) + 0.1 * np.exp(-((round_x
       + 0.5) / 0.3) ** 2)
        + 0.16 * np.exp(-((round_x - 0.8) / 0.09) ** 2) + 0.22 * brushed
    ).clip(0.02, 1)  # fmt: skip
    sheet.paint(body, np.dstack([tone * 0.98, tone, tone * 1.13]).clip(0, 1))
    top = sheet.mask(ellipse(0, -1.95, 0.83, 0.16))
    sheet.paint(top, mix((0.16, 0.16, 0.19), (0.05, 0.05, 0.06), (y + 2.1) / 0.3))
    sheet.paint(
        sheet.mask(ellipse(0, -1.95, 0.83, 0.16), ellipse(0, -1.94, 0.815, 0.148)),
        (0.5, 0.5, 0.56),
        0.7,
    )
    band_low = ellipse(0, -0.63, 0.735, 0.2, 0, 180)
    band_high = ellipse(0, -0.94, 0.722, 0.19, 180, 0)
    band = sheet.mask(np.vstack([band_low, band_high]))
    satin = (
        0.3
        + 0.75 * np.exp(-(((round_x + 0.5) / 0.22) ** 2))
        + 0.28 * np.exp(-(((round_x - 0.78) / 0.12) ** 2))
    )
    folds = 1 + 0.08 * np.sin(70 * (y - 0.19 * np.sqrt(np.clip(1 - round_x**2, 0, 1))))
    sheet.paint(
        band,
        np.dstack([0.62 * satin * folds, 0.06 * satin * folds, 0.14 * satin * folds]).clip(0, 1),
    )
    _feather(sheet)
    sheet.save(
        "hat", "rigid", [0, 16, 1, 15, 2, 14, 19, 24, 36, 45], "A silk top hat with a feather."
    )


def _feather(sheet: Canvas) -> None:
    """A peacock's green feather behind the hat's band."""
    random = np.random.default_rng(11)
    quill = curve([(0.5, -0.62), (0.62, -0.95), (0.84, -1.35), (1.14, -1.68)])
    along = np.gradient(quill, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.column_stack([-along[:, 1], along[:, 0]])
    leaf = np.interp(
        np.linspace(0, 1, len(quill)), [0, 0.3, 0.36, 0.6, 0.85, 1], [0, 0, 0.1, 0.17, 0.13, 0.02]
    )
    shape = np.vstack([quill + side * leaf[:, None], (quill - side * leaf[:, None])[::-1]])
    sheet.shadow(sheet.mask(shape), down=0.04, soft=0.03, alpha=0.4)
    barbs = np.zeros((*sheet.pixels.shape[:2], 3), np.float32)
    cover = np.zeros(sheet.pixels.shape[:2], np.uint8)
    for index in np.sort(random.integers(int(0.3 * len(quill)), len(quill), 1500)):
        for sign in (-1, 1):
            length = leaf[index] * random.uniform(0.8, 1.12)
            t = np.linspace(0, 1, 10)[:, None]
            barb = quill[index] + sign * side[index] * length * t + along[index] * 0.11 * t**1.7
            share = index / len(quill)
            tone = mix(
                (0.02, 0.25, 0.2), (0.2, 0.7, 0.35), np.array(share * random.uniform(0.5, 1.2))
            )
            tone = tone * (0.75 if sign > 0 else 1.1) * random.uniform(0.75, 1.2)
            line = [np.round(sheet.place(barb) * 16).astype(np.int32)]
            cv2.polylines(barbs, line, False, tone.tolist(), 3, shift=4)
            cv2.polylines(cover, line, False, 255, 3, cv2.LINE_AA, shift=4)
    sheet.paint(cover.astype(np.float32) / 255, barbs)
    eye = quill[int(0.78 * len(quill))]
    for size, colour in (
        (0.115, (0.75, 0.55, 0.12)),
        (0.085, (0.05, 0.5, 0.55)),
        (0.05, (0.05, 0.08, 0.35)),
    ):
        sheet.paint(sheet.blurred(sheet.mask(ellipse(*eye, 0.8 * size, size)), 0.008), colour, 0.85)
    sheet.solid(sheet.stroke(quill, [0.03, 0.022, 0.008]), (0.9, 0.85, 0.7), 0.012)


def mask() -> None:
    """A cloth mask with folds, and a cat's nose and whiskers on it."""
    sheet = Canvas((-1.0, -0.15, 1.0, 1.5), 170)
    x, y = sheet.spots[..., 0], sheet.spots[..., 1]
    half = [(0.0, 0.13), (0.09, 0.15), (0.2, 0.25), (0.42, 0.3), (0.7, 0.32), (0.765, 0.42),
   (0.735, 0.62),
            (0.66, 0.86), (0.52, 1.06), (0.34, 1.22), (0.17, 1.32)]  # fmt: skip
    outline = curve([*half, (0, 1.345), *mirrored(half[:0:-1]).tolist()], closed=True)
    for sign in (-1, 1):
        for start, end in (((0.74, 0.36), (0.815, 0.02)), ((0.66, 0.86), (0.8, 0.12))):
            bow = curve([start, ((start[0] + end[0]) / 2 + 0.04, (start[1] + end[1]) / 2), end]) * [
                sign,
                1,
            ]
            loop = sheet.stroke(bow, [0.035])
            sheet.shadow(loop, down=0.02, soft=0.012, alpha=0.4)
            sheet.solid(loop, (0.95, 0.95, 0.97), 0.017, gloss=0.1)
    cloth = sheet.mask(outline)
    sheet.shadow(cloth, down=0.045, soft=0.04, alpha=0.5)
    # The nose stands out, the cheeks fall back: a face's normals, with three folds across.
    normals = np.dstack([0.95 * x, 0.55 * (y - 0.62), np.ones_like(x)])
    normals[..., 0] += (
        0.55
        * np.sign(x)
        * np.exp(-(((np.abs(x) - 0.2) / 0.13) ** 2))
        * np.exp(-(((y - 0.35) / 0.2) ** 2))
    )
    shade = np.ones_like(x)
    for fold in (0.62, 0.82, 1.02):
        sag = y - fold - 0.06 * (1 - (x / 0.75) ** 2)
        shade *= 1 - 0.3 * np.exp(-np.clip(sag, 0, None) / 0.03) * (sag > 0)
        normals[..., 1] -= 0.5 * np.exp(-np.clip(-sag, 0, None) / 0.05) * (sag < 0)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    random = np.random.default_rng(2)
    weave = (
        1 + 0.03 * cv2.GaussianBlur(random.normal(size=x.shape).astype(np.float32), (0, 0), 3) * 6
    )
    colour = np.array([0.55, 0.78, 0.86]) * (shade * weave)[..., None]
    sheet.solid(cloth, colour, 0.05, gloss=0.05, hard=8, dark=0.5, normals=normals)
    inner = outline * [0.95, 0.94] + [0, 0.045]
    hem = sheet.mask(outline, inner)
    sheet.solid(hem, (0.93, 0.96, 0.98), 0.03, gloss=0.08, dark=0.55)
    _cat(sheet)
    sheet.save(
        "mask", "bend",
        [0, 16, 2, 14, 3, 13, 4, 12, 5, 11, 6, 10, 7, 9, 8, 27, 28, 30, (48, 60), (54, 64)],
        "A cloth mask with a cat's smile.",
    )  # fmt: skip


def _cat(sheet: Canvas) -> None:
    """Nose, mouth, whiskers and two blushing cheeks, as if embroidered."""
    ink = (0.16, 0.13, 0.2)
    for sign in (-1, 1):
        blush = sheet.blurred(sheet.mask(ellipse(sign * 0.5, 0.72, 0.13, 0.09)), 0.03)
        sheet.paint(blush, (1.0, 0.55, 0.6), 0.65)
        for y, tip in ((0.6, 0.5), (0.68, 0.67), (0.76, 0.83)):
            whisker = curve([(0.24, y), (0.42, (y + tip) / 2 - 0.02), (0.62, tip)]) * [sign, 1]
            sheet.paint(sheet.stroke(whisker, [0.03, 0.022, 0.008]), ink)
        smile = curve([(0, 0.67), (0.015, 0.77), (0.1, 0.83), (0.19, 0.79), (0.215, 0.72)]) * [
            sign,
            1,
        ]
        sheet.paint(sheet.stroke(smile, [0.03, 0.034, 0.03]), ink)
    nose = curve(
        [(-0.1, 0.52), (0, 0.5), (0.1, 0.52), (0.075, 0.6), (0, 0.66), (-0.075, 0.6)], closed=True
    )
    sheet.shadow(sheet.mask(nose), down=0.015, soft=0.012, alpha=0.4)
    sheet.solid(sheet.mask(nose), (0.95, 0.42, 0.5), 0.06, gloss=0.5)


def octopus() -> None:
    """An octopus that has made itself at home on somebody's head."""
    sheet = Canvas((-1.45, -2.15, 1.45, 1.35), 108)
    x, y = sheet.spots[..., 0], sheet.spots[..., 1]
    random = np.random.default_rng(4)
    spots = cv2.GaussianBlur(random.normal(size=x.shape).astype(np.float32), (0, 0), 20)
    skin = mix((0.86, 0.25, 0.22), (0.98, 0.52, 0.3), 0.45 + 0.28 * spots / spots.std())
    arms = [  # the line of each arm on the right, and its thickness from root to tip
        ([(0.35, -0.62), (0.66, -0.42), (0.86, -0.02), (0.86, 0.4), (0.97, 0.72), (1.14, 0.78),
          (1.18, 0.62), (1.08, 0.58)],
         [0.34, 0.29, 0.23, 0.17, 0.12, 0.085, 0.05, 0.02]),
        ([(0.5, -0.75), (0.95, -0.62), (1.14, -0.3), (1.08, 0.02), (1.2, 0.25), (1.34, 0.15),
          (1.28, 0.03)],
         [0.32, 0.26, 0.2, 0.14, 0.1, 0.06, 0.02]),
        ([(0.26, -0.58), (0.5, -0.43), (0.7, -0.2), (0.74, 0.16), (0.66, 0.5), (0.7, 0.8),
          (0.58, 0.95), (0.46, 0.86), (0.52, 0.78)],
         [0.34, 0.28, 0.22, 0.17, 0.13, 0.1, 0.07, 0.045, 0.02]),
        ([(0.1, -0.6), (0.24, -0.42), (0.4, -0.33), (0.54, -0.38), (0.58, -0.48), (0.5, -0.52)],
         [0.32, 0.24, 0.16, 0.1, 0.06, 0.025]),
    ]  # fmt: skip
    for line, widths in (arms[1], arms[0], arms[2]):
        for sign in (-1, 1):
            path = curve(line) * [sign, 1]
            arm = sheet.stroke(path, widths)
            sheet.shadow(arm, down=0.05, soft=0.035, alpha=0.5)
            sheet.solid(arm, skin, 0.085, gloss=0.55, hard=45, dark=0.35)
            _suckers(sheet, path, widths, -sign)
    head = curve(
        [(0, -2.05), (0.5, -1.93), (0.85, -1.52), (0.82, -1.08), (0.64, -0.78), (0.5, -0.6),
         (0.25, -0.5),
         (0, -0.47), (-0.25, -0.5), (-0.5, -0.6), (-0.64, -0.78), (-0.82, -1.08), (-0.85, -1.52),
         (-0.5, -1.93)],
        closed=True,
    )  # fmt: skip
    body = sheet.mask(head)
    sheet.shadow(body, down=0.06, soft=0.05, alpha=0.5)
    sheet.solid(body, skin, 0.75, gloss=0.0, dark=0.35)
    for line, widths in arms[3:]:
        for sign in (-1, 1):
            path = curve(line) * [sign, 1]
            arm = sheet.stroke(path, widths)
            sheet.shadow(arm, down=0.04, soft=0.03, alpha=0.4)
            sheet.solid(arm, skin, 0.08, gloss=0.5, hard=45, dark=0.35)
    for spot in (
        (0.35, -1.75, 0.1),
        (0.55, -1.55, 0.06),
        (0.1, -1.85, 0.05),
        (-0.45, -1.7, 0.08),
        (-0.3, -1.85, 0.04),
    ):
        sheet.paint(
            sheet.blurred(sheet.mask(ellipse(spot[0], spot[1], spot[2], 0.8 * spot[2])), 0.01),
            (0.72, 0.14, 0.2),
            0.45,
        )
    sheet.paint(sheet.blurred(sheet.mask(ellipse(-0.38, -1.72, 0.17, 0.1)), 0.04), (1, 1, 1), 0.35)
    for sign in (-1, 1):
        centre = sign * 0.34
        socket = sheet.mask(ellipse(centre, -1.02, 0.27, 0.29))
        sheet.solid(socket, (0.93, 0.42, 0.3), 0.1, gloss=0.2, dark=0.4)
        white = sheet.mask(ellipse(centre, -1.03, 0.215, 0.235))
        sheet.solid(white, (0.98, 0.97, 0.9), 0.22, gloss=0.2, dark=0.62)
        looks = (centre - sign * 0.05, -0.97)
        sheet.solid(
            sheet.mask(ellipse(*looks, 0.135, 0.15)), (0.98, 0.72, 0.15), 0.1, gloss=0.2, dark=0.6
        )
        sheet.paint(sheet.mask(ellipse(*looks, 0.105, 0.062)), (0.05, 0.03, 0.08))
        sheet.paint(
            sheet.mask(ellipse(looks[0] - 0.06, looks[1] - 0.07, 0.04, 0.045)), (1, 1, 1), 0.95
        )
        sheet.paint(
            sheet.mask(ellipse(looks[0] + 0.07, looks[1] + 0.06, 0.018, 0.02)), (1, 1, 1), 0.8
        )
        lid = sheet.mask(ellipse(centre, -1.03, 0.235, 0.255)) * (
            y < -1.1 + 0.25 * sign * (x - centre)
        )
        sheet.solid(lid, (0.9, 0.34, 0.26), 0.09, gloss=0.3, dark=0.4)
    smile = curve([(-0.12, -0.72), (0, -0.675), (0.12, -0.72)])
    sheet.paint(sheet.stroke(smile, [0.015, 0.035, 0.015]), (0.4, 0.06, 0.08), 0.9)
    sheet.save(
        "octopus", "bend",
        [0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 17, 19, 24, 26, 27, 8],
        "An octopus that has made itself at home on somebody's head.",
    )  # fmt: skip


def _suckers(sheet: Canvas, path: Points, widths: Sequence[float], side: int) -> None:
    """A row of pale suckers along one side of an arm."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.column_stack([-along[:, 1], along[:, 0]]) * side
    width = np.interp(np.linspace(0, 1, len(path)), np.linspace(0, 1, len(widths)), widths)
    travelled = np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))
    at, index = 0.45, 0
    while at < travelled[-1] - 0.03:
        index = int(np.searchsorted(travelled, at))
        size = 0.2 * width[index]
        x, y = path[index] + across[index] * 0.27 * width[index]
        sheet.solid(
            sheet.mask(ellipse(x, y, size, size)),
            (1.0, 0.78, 0.66),
            0.5 * size,
            gloss=0.3,
            dark=0.6,
        )
        sheet.paint(sheet.mask(ellipse(x, y, 0.45 * size, 0.45 * size)), (0.7, 0.25, 0.25), 0.75)
        at += 2.35 * size + 0.012


def diver() -> None:
    """A brass diving helmet; the face looks out through its window, and a fish looks in."""
    sheet = Canvas((-1.7, -1.7, 1.7, 2.2), 93)
    x, y = sheet.spots[..., 0], sheet.spots[..., 1]
    random = np.random.default_rng(8)
    worn = cv2.GaussianBlur(random.normal(size=x.shape).astype(np.float32), (0, 0), 26)
    worn = worn / worn.std()
    brass = mix((0.7, 0.47, 0.18), (0.86, 0.66, 0.32), 0.5 + 0.22 * worn)
    centre, radius = (0.0, 0.5), 0.99
    window = ellipse(*centre, radius, 1.06)
    glass = sheet.mask(window)
    solid = 1 - glass
    for level, wide, high in ((1.98, 1.5, 0.3), (1.84, 1.36, 0.26), (1.72, 1.2, 0.22)):
        collar = sheet.mask(ellipse(0, level, wide, high)) * solid
        sheet.shadow(collar, down=0.03, soft=0.02, alpha=0.4)
        sheet.solid(collar, brass, 0.14, gloss=0.7, dark=0.3)
    for sign in (-1, 1):
        pane = sheet.mask(ellipse(sign * 1.42, 0.45, 0.2, 0.5))
        sheet.solid(pane, brass, 0.12, gloss=0.8, dark=0.3)
    dome = curve(
        [(0, -1.6), (0.75, -1.38), (1.28, -0.78), (1.48, 0.1), (1.42, 0.95), (1.18, 1.6),
         (0.7, 1.86), (0, 1.95),
         (-0.7, 1.86), (-1.18, 1.6), (-1.42, 0.95), (-1.48, 0.1), (-1.28, -0.78),
         (-0.75, -1.38)], closed=True
    )  # fmt: skip
    shell = sheet.mask(dome) * solid
    ball = np.dstack([x / 1.55, (y - 0.2) / 1.85, np.zeros_like(x)])
    ball[..., 2] = np.sqrt(np.clip(1 - (ball[..., :2] ** 2).sum(axis=2), 0.02, 1))
    ball /= np.linalg.norm(ball, axis=2, keepdims=True)
    sheet.solid(shell, brass, 0.1, gloss=0.9, hard=40, dark=0.25, normals=ball)
    ridge = sheet.stroke(curve([(0, -1.58), (0, -1.2), (0, -0.6)]), [0.16])
    sheet.solid(ridge * shell, brass, 0.07, gloss=0.8, dark=0.3)
    valve = sheet.mask(ellipse(0.62, -1.05, 0.17, 0.15))
    sheet.shadow(valve, down=0.06, soft=0.03)
    sheet.solid(valve, brass, 0.1, gloss=0.9, dark=0.3)
    sheet.solid(sheet.mask(ellipse(0.62, -1.07, 0.08, 0.07)), (0.75, 0.3, 0.2), 0.06, gloss=0.8)
    ring = sheet.mask(ellipse(*centre, 1.2, 1.27)) * solid
    sheet.shadow(ring, down=0.07, soft=0.05, alpha=0.55)
    sheet.solid(ring, brass * 1.06, 0.1, gloss=0.95, hard=50, dark=0.28)
    for angle in np.radians(np.arange(0, 360, 30) + 15):
        bolt = ellipse(1.095 * np.cos(angle), centre[1] + 1.165 * np.sin(angle), 0.065, 0.065)
        sheet.shadow(sheet.mask(bolt), down=0.03, soft=0.015, alpha=0.6)
        sheet.solid(sheet.mask(bolt), brass * 1.12, 0.05, gloss=1, dark=0.3)
    sheet.pixels *= solid[..., None]  # the shadows that fell through it
    edge = glass * (1 - sheet.blurred(glass, 0.09)) * 1.6
    sheet.paint(edge, (0.03, 0.08, 0.1), 0.85)
    sheet.paint(glass, (0.35, 0.75, 0.85), 0.1)
    away = np.hypot((x - centre[0]) / radius, (y - centre[1]) / 1.06)
    arc = np.clip(1 - np.abs(away - 0.84) / 0.05, 0, 1) * np.clip(
        (np.arctan2(-(y - 0.5), -x) - 0.25) * 4, 0, 1
    )
    arc *= np.clip((1.25 - np.arctan2(-(y - 0.5), -x)) * 4, 0, 1)
    sheet.paint(sheet.blurred(arc * glass, 0.015), (1, 1, 1), 0.7)
    _fish(sheet)
    for bubble_x, bubble_y, size in (
        (0.98, 0.62, 0.06),
        (1.08, 0.42, 0.085),
        (0.97, 0.2, 0.05),
        (1.12, 0.02, 0.11),
        (1.0, -0.28, 0.07),
    ):
        _bubble(sheet, bubble_x, bubble_y, size)
    sheet.save(
        "diver", "rigid", [0, 16, 2, 14, 8, 17, 26, 36, 45, 27, 33, 48, 54],
        "A brass diving helmet, and a fish that looks in.",
    )  # fmt: skip


def _fish(sheet: Canvas) -> None:
    """A small orange fish at the window's lower right."""
    body = curve(
        [
            (0.5, 1.22),
            (0.62, 1.08),
            (0.84, 1.04),
            (1.02, 1.16),
            (1.05, 1.22),
            (1.0, 1.3),
            (0.82, 1.4),
            (0.62, 1.36),
        ],
        True,
    )
    tail = curve(
        [(1.0, 1.22), (1.2, 1.02), (1.28, 1.06), (1.2, 1.22), (1.27, 1.4), (1.18, 1.42)], True
    )
    fin = curve([(0.7, 1.08), (0.84, 0.94), (0.98, 1.02), (0.92, 1.12)], True)
    for part, colour in (
        (tail, (1.0, 0.62, 0.15)),
        (fin, (1.0, 0.62, 0.15)),
        (body, (1.0, 0.47, 0.08)),
    ):
        mask = sheet.mask(part)
        sheet.shadow(mask, down=0.05, soft=0.03, alpha=0.4)
        sheet.solid(mask, colour, 0.13, gloss=0.5, dark=0.4)
    fish = sheet.mask(body)
    for stripe in (0.74, 0.93):
        band = (
            sheet.stroke(curve([(stripe, 1.0), (stripe + 0.04, 1.22), (stripe, 1.44)]), [0.075])
            * fish
        )
        sheet.paint(band, (1, 1, 1), 0.9)
    sheet.solid(sheet.mask(ellipse(0.62, 1.17, 0.055, 0.058)), (1, 1, 1), 0.05, gloss=0.2, dark=0.7)
    sheet.paint(sheet.mask(ellipse(0.605, 1.172, 0.032, 0.036)), (0.03, 0.03, 0.05))
    sheet.paint(sheet.mask(ellipse(0.593, 1.158, 0.011, 0.012)), (1, 1, 1))
    sheet.paint(
        sheet.stroke(curve([(0.515, 1.25), (0.55, 1.275), (0.59, 1.27)]), [0.012]),
        (0.45, 0.1, 0.02),
    )


def _bubble(sheet: Canvas, x: float, y: float, size: float) -> None:
    bubble = sheet.mask(ellipse(x, y, size, size))
    rim = bubble * (1 - sheet.blurred(bubble, 0.3 * size) * bubble)
    sheet.paint(bubble, (0.75, 0.93, 1), 0.18)
    sheet.paint(rim, (0.9, 0.98, 1), 0.8)
    sheet.paint(
        sheet.mask(ellipse(x - 0.35 * size, y - 0.4 * size, 0.2 * size, 0.16 * size)),
        (1, 1, 1),
        0.95,
    )


FILTERS = {draw.__name__: draw for draw in (sunglasses, moustache, hat, mask, octopus, diver)}


def sheet(path: Path, seeds: Sequence[int] = (2, 9, 14, 21, 23, 31)) -> None:
    """Write a picture of drawn faces, one for each filter."""
    images, points, _ = synthetic.render(
        seeds, IBUG_68, size=(340, 220), leave_out=("glasses", "occluders")
    )
    shown = [
        filters.load(name).apply(image, face)
        for name, image, face in zip(
            FILTERS, images.permute(0, 2, 3, 1).numpy(), points.numpy(), strict=True
        )
    ]
    Image.fromarray(np.hstack(shown)).save(path, quality=90)


def main() -> None:
    """Draw the filters named, or all; or show them on faces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FILTERS)}")
    parser.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="show all on drawn faces")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FILTERS):
        parser.error(f"no drawing of {', '.join(sorted(unknown))}")
    if arguments.sheet:
        sheet(arguments.sheet)
    else:
        for name in arguments.names or FILTERS:
            FILTERS[name]()


if __name__ == "__main__":
    main()
