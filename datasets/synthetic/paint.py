"""The paint of a head: skin, beard, brows, lips, mouth and eyes, pixel by pixel."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from common.keypoints import IBUG_68
from datasets.synthetic.head import RIGHT_LIDS, Array, curve, on_sheet, places, shaped, soft
from datasets.synthetic.people import Person, Scene
from datasets.synthetic.scene import Posed
from datasets.synthetic.shading import Paint, look_up, mix, sample_noise

_MAP_SCALE, _MAP_LEFT, _MAP_TOP = 4.0, -60.0, -50.0  # texels per degree; first azimuth, elevation
_MAP_SIZE = (500, 480)  # rows, columns
_MM_PER_TEXEL = np.radians(1 / _MAP_SCALE) * 85
_TEETH, _TONGUE, _THROAT = np.array(
    [[0.74, 0.68, 0.57], [0.20, 0.05, 0.045], [0.035, 0.010, 0.008]], np.float32
)


def _texels(angles: Array) -> Array:
    return (np.degrees(angles) - [_MAP_LEFT, _MAP_TOP]) * _MAP_SCALE


def _distance(outline: Array) -> Array:
    """Signed distance in mm from a closed outline (P, 2) of angles, positive within."""
    filled = np.zeros(_MAP_SIZE, np.uint8)
    cv2.fillPoly(filled, [np.round(_texels(outline) * 16).astype(np.int32)], 1, shift=4)
    inner = cv2.distanceTransform(filled, cv2.DIST_L2, 5)
    outer = cv2.distanceTransform(1 - filled, cv2.DIST_L2, 5)
    signed = np.where(filled > 0, inner - 0.5, 0.5 - outer) * _MM_PER_TEXEL
    return cv2.GaussianBlur(signed, (0, 0), 1.0).astype(np.float32)


def _line_distance(line: Array) -> Array:
    """Distance in mm from a line (P, 2) of angles."""
    empty = np.ones(_MAP_SIZE, np.uint8)
    cv2.polylines(empty, [np.round(_texels(line) * 16).astype(np.int32)], False, 0, 1, shift=4)
    return (cv2.distanceTransform(empty, cv2.DIST_L2, 5) * _MM_PER_TEXEL).astype(np.float32)


def _eye_maps(at: Array) -> tuple[Array, Array, Array]:
    """Signed distance from the eyes, distance from the upper lids and from the folds above."""
    fine = np.linspace(0, 3, 40)
    maps = []
    for upper, lower in (RIGHT_LIDS, ([36, 37, 38, 39], [39, 40, 41, 36])):
        top, bottom = curve(at[upper], fine), curve(at[lower], fine)
        fold = top - np.radians([0, 2.6]) * np.sin(fine / 3 * np.pi)[:, None] ** 0.5
        eye = _distance(np.concatenate([top, bottom]))
        maps.append((eye, _line_distance(top), _line_distance(fold)))
    eyes, lids, folds = zip(*maps, strict=True)
    return np.maximum(*eyes), np.minimum(*lids), np.minimum(*folds)


def _brow_maps(at: Array) -> tuple[Array, Array]:
    """A frame for each brow: 0..1 from inner to outer end, and mm below the line of its points."""
    rows, x = np.arange(_MAP_SIZE[0])[:, None], np.arange(_MAP_SIZE[1])
    along, below = np.full(_MAP_SIZE, -1, np.float32), np.full(_MAP_SIZE, 99, np.float32)
    for side, brow in ((1, at[22:27]), (-1, at[21:16:-1])):
        line = _texels(curve(brow, np.linspace(-0.2, 4.1, 200)))  # inner to outer end
        order = np.argsort(line[:, 0])
        share = np.interp(x, line[order, 0], np.linspace(-0.05, 1.03, 200)[order], -1, -1)
        height = np.interp(x, line[order, 0], line[order, 1], 0, 0)
        ours = (share > -1) & (np.sign(x - _MAP_SIZE[1] / 2) == side)
        along[:, ours] = share[ours]
        below[:, ours] = (rows - height)[:, ours] * _MM_PER_TEXEL
    return along, below


def _nostril_map() -> Array:
    """Distance in mm from the centre of the nearer nostril, which leans."""
    rows, columns = np.indices(_MAP_SIZE)
    away = []
    for side in (1, -1):
        x, y = _texels(np.radians([side * 4.6, 7.4]))
        away.append(np.hypot((columns - x) / 1.25, rows - y + 0.25 * side * (columns - x)))
    return (np.minimum(*away) * _MM_PER_TEXEL).astype(np.float32)


@lru_cache
def _paint_maps() -> tuple[Array, Array]:
    """Where on the sheet eyes, lips and brows are: two maps of four channels for ``cv2.remap``.

    [eye, upper lid, mouth, lips] and [brow along, brow below, lid fold, nostril].
    """
    at = places(IBUG_68)
    eyes, lids, folds = _eye_maps(at)
    lips = _distance(curve(at[[*range(48, 60), 48]], np.linspace(0, 12, 120)))
    mouth = _distance(curve(at[[*range(60, 68), 60]], np.linspace(0, 8, 80)))
    others = [*_brow_maps(at), folds, _nostril_map()]
    return np.stack([eyes, lids, mouth, lips], -1), np.stack(others, -1)


class _Points:
    """N points of a head, what lies near them, and the paint on them; see ``paint_head``."""

    def __init__(self, person: Person, angles: Array, place: Array) -> None:
        self.place = place
        self.x, self.y = 82 * angles[:, 0], 35 + 82 * angles[:, 1]  # about mm along the skin
        x, y, offset = self.x, self.y, person.offsets
        self.side = np.abs(x)
        self.fine = sample_noise("fine", x * 2.4 + offset[0], y * 2.4 + offset[1])
        self.coarse = sample_noise("coarse", x * 1.3 + offset[2], y * 1.3 + offset[3])
        texels = _texels(angles).T
        first, second = (np.ascontiguousarray(look_up(m, *texels).T) for m in _paint_maps())
        self.eye, self.lid, self.mouth, self.lips = first
        self.along, self.below, self.fold, self.nostril = second
        grain = 1 + person.blemish * (0.035 * self.fine + 0.06 * self.coarse)
        self.colour = person.skin * grain[:, None]
        self.gloss = 0.5 + 0.5 * self.spot(0, 38, 8) + 0.3 * self.spot(0, -45, 22)
        self.softness = np.ones(len(x), np.float32)

    def spot(self, x: float, y: float, reach: float) -> Array:
        """Gaussians (N,) about a place and its mirror image."""
        return np.exp(((self.side - x) ** 2 + (self.y - y) ** 2) * (-0.5 / reach**2))


def paint_head(subject: Posed, angles: Array, place: Array) -> Paint:
    """The paint of N points: angles (N, 2) on the sheet, place (N, 3) in the head's own frame."""
    person, scene = subject.person, subject.scene
    p = _Points(person, angles, place)
    lids = on_sheet(subject.grid, places(IBUG_68)[36:68])  # (32, 3), of eyes and mouth
    _paint_skin(p, person, scene)
    _paint_beard(p, person)
    _paint_brows(p, person)
    n = np.flatnonzero(p.nostril < 4.4)
    p.colour[n] *= (1 - 0.82 * soft(4.4, 2.2, p.nostril[n]))[:, None]
    _paint_lips(p, person)
    _paint_mouth(p, person, lids)
    _paint_eyes(p, person, scene, lids)
    return p.colour, p.gloss, p.softness


def _paint_skin(p: _Points, person: Person, scene: Scene) -> None:
    side, y = p.side, p.y
    red = (0.16 * p.spot(44, 36, 14) + 0.16 * p.spot(0, 40, 9)) * (0.4 + person.blemish)
    dark = (0.20 * p.spot(34, 0, 11) + 0.10 * p.spot(17, 1, 6)) * (0.4 + person.blemish)
    dark += person.freckles * 0.35 * soft(1.2, 2.0, p.fine) * soft(-0.5, 0.8, p.coarse)
    wrinkles = 0.3 * person.age**2 * np.abs(np.sin(y * 0.42 + 0.35 * p.coarse)) ** 6
    dark += wrinkles * p.spot(0, -52, 18)
    smile = max(0.0, float(np.mean(scene.expression.get("smile", 0.0))) + 0.3)
    crease = np.exp(-(((side - 24) * 0.86 - (y - 44) * 0.45 + 2) ** 2) / 4)
    crease *= soft(38, 46, y) * soft(76, 64, y) * (0.08 + 0.2 * person.age + 0.12 * smile)
    p.colour *= 1 - red[:, None] * np.array([0.0, 1.0, 0.9], np.float32)
    p.colour *= (1 - np.minimum(dark + crease, 0.85))[:, None]


def _paint_beard(p: _Points, person: Person) -> None:
    if person.beard is None:
        return
    (amount, grows), offset = person.beard, person.offsets
    n = np.flatnonzero((p.y > 14) & (p.lips < 0.5))
    x, y, side = p.x[n], p.y[n], p.side[n]
    chin = soft(78, 90, y + 0.10 * side) * soft(46, 36, side)
    cheeks = soft(66, 84, y + 0.012 * (side - 30).clip(0) ** 2 + 3 * p.coarse[n])
    cheeks *= soft(28, 42, side)
    lip = soft(51, 56, y) * soft(72, 66, y) * soft(36, 28, side)
    beside = soft(58, 66, y) * soft(84, 78, y) * soft(26, 31, side) * soft(42, 36, side)
    cover = np.maximum.reduce([chin, cheeks, lip, beside] * np.array(grows, np.float32)[:, None])
    hairs = sample_noise("strands", x * 3 + y * 0.5 + offset[4], y * 1.6 + offset[5])
    cover = cover * soft(0.3, -1.2, p.lips[n]) * amount
    cover *= np.clip(0.8 + 0.3 * hairs + 0.2 * p.fine[n], 0, 1.05)
    colour = person.hair_colour * np.clip(1 + 0.2 * hairs, 0.4, 1.6)[:, None]
    p.colour[n] = mix(p.colour[n], colour, np.minimum(cover, 0.95))


def _paint_brows(p: _Points, person: Person) -> None:
    n = np.flatnonzero((p.below > -2.5) & (p.below < 14) & (p.along > -0.06))
    x, y, along, below = p.x[n], p.y[n], p.along[n], p.below[n]
    a = along.clip(0, 1)
    taper = person.brow_thickness * (0.75 + 0.5 * a - 1.05 * a**2)
    inside = soft(-2.2, -0.3, below) * soft(taper, taper - 2.4, below)
    inside *= soft(-0.05, 0.06, along) * soft(1.03, 0.9, along)
    slanted = x * 4 + p.side[n] * 1.5 + y * 3 * np.sign(x)
    hairs = sample_noise("strands", slanted, y * 1.5 + person.offsets[6])
    hairs = np.clip(0.78 + 0.3 * hairs, 0.2, 1)
    p.colour[n] = mix(p.colour[n], person.brow_colour, inside * hairs * person.brow_density)


def _paint_lips(p: _Points, person: Person) -> None:
    n = np.flatnonzero(p.lips > -1.6)
    inside = p.lips[n]
    lip = person.skin * np.array([0.88, 0.52, 0.52], np.float32) ** person.lip_colour
    grain = sample_noise("strands", p.x[n] * 3 + person.offsets[4], p.y[n] * 2)
    lip = lip * (1 + 0.08 * grain)[:, None]
    p.colour[n] = mix(p.colour[n], lip, soft(-0.9, 0.7, inside) * 0.9)
    p.colour[n] *= (1 - 0.5 * soft(-1.8, 0, p.mouth[n]))[:, None]
    p.gloss[n] += 0.5 * soft(-0.5, 0.5, inside)


def _paint_mouth(p: _Points, person: Person, lids: Array) -> None:
    """Teeth, tongue and dark; the upper teeth stay with the skull, the lower go with the jaw."""
    n = np.flatnonzero(p.mouth > -0.2)
    x, y, inside = p.place[n, 0], p.place[n, 1], p.mouth[n]
    upper = shaped(person.proportions, person.scale, {})[62, 1] + 3.5  # where the teeth end
    lower = float(lids[66 - 36, 1]) - 2.0
    gaps = 1 - 0.3 * np.exp(-(((x / 7.4 + 0.5) % 1 - 0.5) ** 2) / 0.006)
    teeth = soft(upper + 0.6, upper - 0.6, y - 0.006 * x**2)
    teeth = np.maximum(teeth, 0.7 * soft(lower - 0.6, lower + 0.6, y))
    white = (gaps * (0.4 + 0.6 * np.exp(-((x / 18) ** 2))))[:, None] * _TEETH
    tongue = np.exp(-((x / 12) ** 2 + ((y - lower - 1) / 6) ** 2))[:, None]
    gap = np.float32(lids[66 - 36, 1] - lids[62 - 36, 1])  # between the lips
    colour = mix(tongue * _TONGUE + _THROAT, white, teeth)
    colour *= soft(0.0, 3.0, gap) * 0.9
    share = soft(-0.15, 0.45, inside)
    p.colour[n] = mix(p.colour[n], colour * soft(-0.2, 1.8, inside)[:, None], share)
    p.gloss[n] *= 1 - 0.7 * share


def _paint_eyes(p: _Points, person: Person, scene: Scene, lids: Array) -> None:
    n = np.flatnonzero((p.eye > -3) | (p.lid < 3) | (p.fold < 3))
    inside, lid = p.eye[n], p.lid[n]
    fold = (0.22 + 0.2 * person.age) * np.exp(-(p.fold[n] ** 2) / 1.2) * soft(0.5, -1.0, inside)
    p.colour[n] *= (1 - fold)[:, None]
    lashes = soft(1.4, 0.3, lid) * soft(-1.5, -0.5, inside) * soft(1.2, 0.2, inside)
    rim = 0.2 * np.exp(-((inside + 0.4) ** 2) / 0.5)
    p.colour[n] *= (1 - person.lashes * lashes - rim)[:, None]
    n = np.flatnonzero(p.eye > -0.3)
    inside = p.eye[n]
    gaps = lids[[5, 11], 1] - lids[[1, 7], 1] + lids[[4, 10], 1] - lids[[2, 8], 1]  # left, right
    opened = np.where(p.x[n] > 0, *soft(1.2, 3.5, gaps)[::-1])
    share = soft(-0.25, 0.35, inside) * opened
    p.colour[n] *= (1 - 0.6 * person.lashes * (1 - opened) * soft(2.0, 0.2, inside))[:, None]
    middle = np.where(p.x[n, None] > 0, lids[[6, 9]].mean(0), lids[[0, 3]].mean(0))
    ball = _eyeball(person, scene, p.place[n] - middle, inside, p.lid[n])
    p.colour[n] = mix(p.colour[n], ball, share)
    p.softness[n] -= share
    p.gloss[n] += 0.4 * share


def _eyeball(person: Person, scene: Scene, place: Array, inside: Array, lid: Array) -> Array:
    """Colours (N, 3) of an eye at places (N, 3), counted from between its corners."""
    dx = place[:, 0] - scene.gaze[0]
    dy = place[:, 1] + 0.9 - scene.gaze[1]
    r, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
    streaks = 0.12 * np.sin(turn * 17 + person.offsets[7]) * np.cos(turn * 7)
    iris = person.iris * ((0.55 + 0.06 * r + streaks) * (0.35 + 0.65 * soft(6.3, 5.2, r)))[:, None]
    shade = (0.5 + 0.5 * soft(0, 2.4, inside)) * (0.55 + 0.45 * soft(0.5, 3.5, lid))
    # Beside dark skin the camera takes more light, and white would be more than white.
    bright = 0.4 + 0.6 * min(1.0, float(person.skin.mean()) / 0.4)
    white = np.array([0.64, 0.59, 0.56], np.float32) * (bright * shade)[:, None]
    pupil = 0.02 + 0.98 * soft(person.pupil - 0.4, person.pupil + 0.4, r)
    ball = mix(white, iris, soft(6.4, 5.7, r)) * pupil[:, None]
    x, y, _ = 2.6 * scene.lights[0][0]
    spark = np.exp(-((dx - x) ** 2 + (dy - y) ** 2) / 0.7)
    return ball + 0.8 * spark[:, None]
