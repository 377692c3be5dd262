"""From triangles to pixels: a z-buffer over all triangles at once, light and paint."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from common.keypoints import IBUG_68
from datasets.synthetic.head import Array, curve, on_sheet, places
from datasets.synthetic.people import Person, Scene


def rasterise(
    points: Array,
    depth: Array,
    triangles: NDArray[np.int32],
    size: tuple[int, int],
) -> tuple[NDArray[np.int32], Array, Array]:
    """Which triangle each pixel shows, without a loop over triangles.

    points: float32 (V, 2) in pixels; depth: float32 (V,), distance from the camera; triangles:
    (T, 3); those that do not run clockwise in the picture turn their back to the camera and are
    left out.
    Returns, for the H W pixels in reading order, the triangle (-1 for none), the weights (H W, 3)
    of its corners, and the depth (infinite for none).
    """
    height, width = size
    x, y = np.ascontiguousarray(points.T)
    a, b, c = np.ascontiguousarray(triangles.T)
    area = (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])
    seen = np.flatnonzero(area > 1e-6)
    ax, ay, bx, by, cx, cy = (v[corner[seen]] for corner in (a, b, c) for v in (x, y))
    left = np.maximum(np.ceil(np.minimum(np.minimum(ax, bx), cx)), 0)
    top = np.maximum(np.ceil(np.minimum(np.minimum(ay, by), cy)), 0)
    columns = np.minimum(np.floor(np.maximum(np.maximum(ax, bx), cx)), width - 1) - left + 1
    rows = np.minimum(np.floor(np.maximum(np.maximum(ay, by), cy)), height - 1) - top + 1
    some = np.flatnonzero((columns > 0) & (rows > 0))
    seen = seen[some]
    ax, ay, bx, by, cx, cy = (v[some] for v in (ax, ay, bx, by, cx, cy))
    left, top, columns, rows = (v[some] for v in (left, top, columns, rows))
    scale = 1 / area[seen]

    # The weights of corners b and c, and with them the depth, are linear in the pixel.
    gbx, gby = (cy - ay) * scale, (ax - cx) * scale
    gcx, gcy = (ay - by) * scale, (bx - ax) * scale
    b0 = gbx * (left - ax) + gby * (top - ay)  # at the first pixel of the bounding box
    c0 = gcx * (left - ax) + gcy * (top - ay)
    za, zb, zc = (depth[corner[seen]] for corner in (a, b, c))

    columns = columns.astype(np.int32)
    count = columns * rows.astype(np.int32)
    which = np.repeat(np.arange(len(seen), dtype=np.int32), count)  # one entry per pixel of a box
    start = (np.cumsum(count) - count).astype(np.int32)
    step = np.arange(len(which), dtype=np.int32) - start[which]
    down = step // columns[which]
    right = (step - down * columns[which]).astype(np.float32)
    down = down.astype(np.float32)
    wb = gbx[which] * right + gby[which] * down + b0[which]
    wc = gcx[which] * right + gcy[which] * down + c0[which]
    inside = np.flatnonzero((wb >= -1e-4) & (wc >= -1e-4) & (wb + wc <= 1.0001))
    which, wb, wc = which[inside], wb[inside], wc[inside]
    pixel = (top[which] + down[inside]) * width + left[which] + right[inside]
    pixel = pixel.astype(np.int32)
    near = za[which] + wb * (zb - za)[which] + wc * (zc - za)[which]

    # Far to near: of several writes to one pixel the last one, the nearest, stays. Depth in 16 bits
    # lets numpy sort by counting.
    nearness = near.max(initial=0) - near
    steps = (nearness * (65535 / nearness.max(initial=1))).astype(np.uint16)
    order = np.argsort(steps, kind="stable")
    chosen = np.full(height * width, -1, np.int64)
    chosen[pixel[order]] = order
    hit = np.flatnonzero(chosen >= 0)
    chosen = chosen[hit]
    found = np.full(height * width, -1, np.int32)
    weights = np.zeros((height * width, 3), np.float32)
    distance = np.full(height * width, np.inf, np.float32)
    found[hit], distance[hit] = seen[which[chosen]], near[chosen]
    weights[hit, 1], weights[hit, 2] = wb[chosen], wc[chosen]
    weights[hit, 0] = 1 - wb[chosen] - wc[chosen]
    return found, weights, distance


def interpolate(attributes: Array, corners: NDArray[np.int32], weights: Array) -> Array:
    """Attributes (V, D) of vertices at pixels (N, D): corners and their weights are (N, 3)."""
    total = attributes[corners[:, 0]] * weights[:, :1]
    total += attributes[corners[:, 1]] * weights[:, 1:2]
    total += attributes[corners[:, 2]] * weights[:, 2:]
    return total


# ---------------------------------------------------------------------------- paint

_MAP_SCALE, _MAP_LEFT, _MAP_TOP = 4.0, -60.0, -50.0  # texels per degree; first azimuth, elevation
_MAP_SIZE = (500, 480)  # rows, columns
_MM_PER_TEXEL = np.radians(1 / _MAP_SCALE) * 85
_NOSTRIL = np.radians([4.6, 7.4])  # azimuth and elevation of its middle


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
    drawn = np.ones(_MAP_SIZE, np.uint8)
    cv2.polylines(drawn, [np.round(_texels(line) * 16).astype(np.int32)], False, 0, 1, shift=4)
    return (cv2.distanceTransform(drawn, cv2.DIST_L2, 5) * _MM_PER_TEXEL).astype(np.float32)


@lru_cache
def paint_maps() -> list[Array]:
    """Where on the sheet eyes, lips and brows are, as maps of four channels for ``cv2.remap``.

    [eye, upper lid, mouth, lips] and [brow along, brow below, lid fold, nostril]: signed
    distances and distances in mm; the brow has its own frame: 0..1 from its inner to its outer
    end, and mm below its upper edge, on which the brow points lie.
    """
    at = places(IBUG_68)
    fine = np.linspace(0, 3, 40)
    eyes, lids, folds = [], [], []
    for upper, lower in (
        ((45, 44, 43, 42), (42, 47, 46, 45)),
        ((36, 37, 38, 39), (39, 40, 41, 36)),
    ):
        top, bottom = curve(at[list(upper)], fine), curve(at[list(lower)], fine)
        eyes.append(_distance(np.concatenate([top, bottom])))
        lids.append(_line_distance(top))
        folds.append(
            _line_distance(top - np.radians([0, 2.6]) * np.sin(fine / 3 * np.pi)[:, None] ** 0.5)
        )
    ring = np.linspace(0, 12, 120)
    lips = _distance(curve(at[[*range(48, 60), 48]], ring))
    mouth = _distance(curve(at[[*range(60, 68), 60]], np.linspace(0, 8, 80)))
    nostril = np.full(_MAP_SIZE, 99, np.float32)
    columns, rows = np.meshgrid(np.arange(_MAP_SIZE[1]), np.arange(_MAP_SIZE[0]))
    along, below = np.full(_MAP_SIZE, -1, np.float32), np.full(_MAP_SIZE, 99, np.float32)
    for side, brow in ((1, at[22:27]), (-1, at[21:16:-1])):
        line = _texels(curve(brow, np.linspace(-0.2, 4.1, 200)))  # inner to outer end
        order = np.argsort(line[:, 0])
        x = np.arange(_MAP_SIZE[1])
        share = np.interp(x, line[order, 0], np.linspace(-0.05, 1.03, 200)[order], -1, -1)
        height = np.interp(x, line[order, 0], line[order, 1], 0, 0)
        ours = (share > -1) & (np.sign(x - _MAP_SIZE[1] / 2) == side)
        along[:, ours] = share[ours]
        below[:, ours] = (rows - height)[:, ours] * _MM_PER_TEXEL
        hole = _texels(_NOSTRIL * np.array([side, 1]))
        away = np.hypot(
            (columns - hole[0]) / 1.25, rows - hole[1] + 0.25 * side * (columns - hole[0])
        )
        nostril = np.minimum(nostril, (away * _MM_PER_TEXEL).astype(np.float32))
    first = np.stack([np.maximum(*eyes), np.minimum(*lids), mouth, lips], -1)
    return [first, np.stack([along, below, np.minimum(*folds), nostril], -1)]


@lru_cache
def noise(kind: str) -> Array:
    """Tileable noise (256, 256) with deviation 1: "fine", "coarse" or "strands" (along columns)."""
    random = np.random.default_rng(7)
    total = np.zeros((256, 256), np.float32)
    octaves = {"fine": (1, 2, 4), "coarse": (8, 16, 32), "strands": (1, 2, 6)}[kind]
    for sigma in octaves:
        white = np.tile(random.normal(size=(256, 256)).astype(np.float32), (3, 3))
        size = (sigma * 14, sigma) if kind == "strands" else (sigma, sigma)
        layer = cv2.GaussianBlur(white, (0, 0), sigmaX=size[1], sigmaY=size[0])[256:512, 256:512]
        total += layer / layer.std()
    return total / total.std()


def look_up(image: Array, x: Array, y: Array, wrap: bool = False) -> Array:
    """Bilinear values (N, ...) of an image at positions (N,); beyond its edge: that or wrapped."""
    count = len(x)
    padded = np.zeros((2, -(-count // 256) * 256), np.float32)  # cv2.remap wants a picture
    padded[:, :count] = x, y
    if wrap:
        padded %= 256
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REPLICATE
    out = cv2.remap(image, *padded.reshape(2, -1, 256), cv2.INTER_LINEAR, borderMode=border)
    return out.reshape(-1, *image.shape[2:])[:count]


def sample_noise(kind: str, u: Array, v: Array) -> Array:
    """Noise at (N,) coordinates in texels, wrapped around."""
    return look_up(noise(kind), u, v, wrap=True)


def mix(base: Array, other: Array, share: Array) -> Array:
    """``base`` (N, 3) moved towards ``other`` (3,) or (N, 3) by ``share`` (N,)."""
    return base + share[:, None] * (other - base)


def dot(vectors: Array, direction: Array) -> Array:
    """Scalar products (...) of vectors (..., 3) with one (3,).

    Not ``@``: for that BLAS starts threads, which get in the way when faces are drawn in parallel.
    """
    return np.einsum("...d,d->...", vectors, direction)


def soft(low: float, high: float, value: Array) -> Array:
    """0 at ``low``, 1 at ``high`` (which may be the smaller one), smooth between."""
    t = np.clip((value - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def paint_head(
    person: Person, scene: Scene, angles: Array, place: Array, grid: Array, teeth_at: float
) -> tuple[Array, Array, Array]:
    """Colour (N, 3), gloss (N,) and softness (N,), 1 for skin, of points on the head.

    angles: (N, 2) on the sheet; place: (N, 3) in the head's own frame; grid: its vertices;
    teeth_at: where the upper teeth end, y in the head's own frame.
    """
    texels = _texels(angles).T
    first, second = (look_up(m, *texels) for m in paint_maps())
    eye, lid, mouth, lips = np.ascontiguousarray(first.T)
    along, below, fold, nostril = np.ascontiguousarray(second.T)
    x, y = 82 * angles[:, 0], 35 + 82 * angles[:, 1]  # about mm along the skin
    side = np.abs(x)
    offset = person.offsets

    def spot(cx: float, cy: float, reach: float) -> Array:
        return np.exp(((side - cx) ** 2 + (y - cy) ** 2) * (-0.5 / reach**2))

    fine = sample_noise("fine", x * 2.4 + offset[0], y * 2.4 + offset[1])
    coarse = sample_noise("coarse", x * 1.3 + offset[2], y * 1.3 + offset[3])

    red = (0.16 * spot(44, 36, 14) + 0.16 * spot(0, 40, 9)) * (0.4 + person.blemish)
    dark = (0.20 * spot(34, 0, 11) + 0.10 * spot(17, 1, 6)) * (0.4 + person.blemish)
    dark += person.freckles * 0.35 * soft(1.2, 2.0, fine) * soft(-0.5, 0.8, coarse)
    dark += 0.3 * person.age**2 * np.abs(np.sin(y * 0.42 + 0.35 * coarse)) ** 6 * spot(0, -52, 18)
    smile = max(0.0, float(np.mean(scene.expression.get("smile", 0.0))) + 0.3)
    crease = np.exp(-(((side - 24) * 0.86 - (y - 44) * 0.45 + 2) ** 2) / 4)
    crease *= soft(38, 46, y) * soft(76, 64, y) * (0.08 + 0.2 * person.age + 0.12 * smile)
    colour = person.skin * (1 + person.blemish * (0.035 * fine + 0.06 * coarse))[:, None]
    colour *= 1 - red[:, None] * np.array([0.0, 1.0, 0.9], np.float32)
    colour *= (1 - np.minimum(dark + crease, 0.85))[:, None]
    gloss = 0.5 + 0.5 * spot(0, 38, 8) + 0.3 * spot(0, -45, 22)
    softness = np.ones(len(x), np.float32)

    if person.beard.amount > 0:
        n = np.flatnonzero((y > 14) & (lips < 0.5))
        colour[n] = _paint_beard(person, colour[n], x[n], y[n], lips[n], coarse[n], fine[n])

    n = np.flatnonzero((below > -2.5) & (below < 14) & (along > -0.06))
    a, b = along[n].clip(0, 1), below[n]
    taper = person.brow_thickness * (0.75 + 0.5 * a - 1.05 * a**2)
    inside = soft(-2.2, -0.3, b) * soft(taper, taper - 2.4, b)
    inside *= soft(-0.05, 0.06, along[n]) * soft(1.03, 0.9, along[n])
    slanted = x[n] * 4 + side[n] * 1.5 + y[n] * 3 * np.sign(x[n])
    hairs = np.clip(0.78 + 0.3 * sample_noise("strands", slanted, y[n] * 1.5 + offset[6]), 0.2, 1)
    colour[n] = mix(colour[n], person.brow_colour, inside * hairs * person.brow_density)

    n = np.flatnonzero(nostril < 4.4)
    colour[n] *= (1 - 0.82 * soft(4.4, 2.2, nostril[n]))[:, None]

    n = np.flatnonzero(lips > -1.6)
    lip = person.skin * np.array([0.88, 0.52, 0.52], np.float32) ** person.lip_colour
    lip = lip * (1 + 0.08 * sample_noise("strands", x[n] * 3 + offset[4], y[n] * 2))[:, None]
    colour[n] = mix(colour[n], lip, soft(-0.9, 0.7, lips[n]) * 0.9)
    colour[n] *= (1 - 0.5 * soft(-1.8, 0, mouth[n]))[:, None]
    gloss[n] += 0.5 * soft(-0.5, 0.5, lips[n])

    lids = on_sheet(grid, places(IBUG_68)[36:68])
    n = np.flatnonzero(mouth > -0.2)
    gap = lids[66 - 36, 1] - lids[62 - 36, 1]
    inner = _paint_mouth(place[n], teeth_at, float(lids[66 - 36, 1]) - 2.0)
    inner *= soft(0.0, 3.0, np.float32(gap)) * 0.9
    share = soft(-0.15, 0.45, mouth[n])
    colour[n] = mix(colour[n], inner * soft(-0.2, 1.8, mouth[n])[:, None], share)
    gloss[n] *= 1 - 0.7 * share

    n = np.flatnonzero((eye > -3) | (lid < 3) | (fold < 3))
    outside = soft(0.5, -1.0, eye[n])
    colour[n] *= (1 - (0.22 + 0.2 * person.age) * np.exp(-(fold[n] ** 2) / 1.2) * outside)[:, None]
    lashes = soft(1.4, 0.3, lid[n]) * soft(-1.5, -0.5, eye[n]) * soft(1.2, 0.2, eye[n])
    colour[n] *= (1 - person.lashes * lashes - 0.2 * np.exp(-((eye[n] + 0.4) ** 2) / 0.5))[:, None]
    n = np.flatnonzero(eye > -0.3)
    gaps = lids[[5, 11], 1] - lids[[1, 7], 1] + lids[[4, 10], 1] - lids[[2, 8], 1]  # left, right
    open_ = np.where(x[n] > 0, *soft(1.2, 3.5, gaps)[::-1])
    share = soft(-0.25, 0.35, eye[n]) * open_
    colour[n] *= (1 - 0.6 * person.lashes * (1 - open_) * soft(2.0, 0.2, eye[n]))[:, None]
    ball = _paint_eye(person, scene, place[n], eye[n], lid[n], x[n] > 0, lids)
    colour[n] = mix(colour[n], ball, share)
    softness[n] -= share
    gloss[n] += 0.4 * share
    return colour, gloss, softness


def _paint_beard(
    person: Person, colour: Array, x: Array, y: Array, lips: Array, coarse: Array, fine: Array
) -> Array:
    beard, side = person.beard, np.abs(x)
    chin = soft(78, 90, y + 0.10 * side) * soft(46, 36, side)
    jaw = soft(66, 84, y + 0.012 * (side - 30).clip(0) ** 2 + 3 * coarse) * soft(28, 42, side)
    lip = soft(51, 56, y) * soft(72, 66, y) * soft(36, 28, side)
    beside = soft(58, 66, y) * soft(84, 78, y) * soft(26, 31, side) * soft(42, 36, side)
    cover = chin if beard.chin else np.zeros_like(chin)
    if beard.cheeks:
        cover = np.maximum(cover, jaw)
    if beard.moustache:
        cover = np.maximum(cover, lip)
    if beard.moustache and beard.chin:
        cover = np.maximum(cover, beside)
    hairs = sample_noise(
        "strands", x * 3 + y * 0.5 + person.offsets[4], y * 1.6 + person.offsets[5]
    )
    share = (
        cover
        * soft(0.3, -1.2, lips)
        * beard.amount
        * np.clip(0.8 + 0.3 * hairs + 0.2 * fine, 0, 1.05)
    )
    hair = person.hair_colour * np.clip(1 + 0.2 * hairs, 0.4, 1.6)[:, None]
    return mix(colour, hair, np.minimum(share, 0.95))


def _paint_mouth(place: Array, upper: float, lower: float) -> Array:
    """Teeth, tongue and dark; the upper teeth stay with the skull, the lower go with the jaw."""
    x, y = place[:, 0], place[:, 1]
    gaps = 1 - 0.3 * np.exp(-(((x / 7.4 + 0.5) % 1 - 0.5) ** 2) / 0.006)
    teeth = soft(upper + 0.6, upper - 0.6, y - 0.006 * x**2)
    teeth = np.maximum(teeth, 0.7 * soft(lower - 0.6, lower + 0.6, y))
    tongue = np.exp(-((x / 12) ** 2 + ((y - lower - 1) / 6) ** 2))[:, None]
    dark = np.array([0.035, 0.010, 0.008], np.float32) + tongue * np.array(
        [0.20, 0.05, 0.045], np.float32
    )
    white = (
        np.array([0.74, 0.68, 0.57], np.float32)
        * (gaps * (0.4 + 0.6 * np.exp(-((x / 18) ** 2))))[:, None]
    )
    return mix(dark, white, teeth)


def _paint_eye(
    person: Person, scene: Scene, place: Array, inside: Array, lid: Array, right: Array, lids: Array
) -> Array:
    middle = np.where(right[:, None], lids[[6, 9]].mean(0), lids[[0, 3]].mean(0))
    dx = place[:, 0] - middle[:, 0] - scene.gaze[0]
    dy = place[:, 1] - middle[:, 1] + 0.9 - scene.gaze[1]
    r, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
    streaks = 0.12 * np.sin(turn * 17 + person.offsets[7]) * np.cos(turn * 7)
    iris = person.iris * ((0.55 + 0.06 * r + streaks) * (0.35 + 0.65 * soft(6.3, 5.2, r)))[:, None]
    shade = (0.5 + 0.5 * soft(0, 2.4, inside)) * (0.55 + 0.45 * soft(0.5, 3.5, lid))
    # Beside dark skin the camera takes more light, and white would be more than white.
    bright = 0.4 + 0.6 * min(1.0, float(person.skin.mean()) / 0.4)
    white = np.array([0.64, 0.59, 0.56], np.float32) * (bright * shade)[:, None]
    ball = (
        mix(white, iris, soft(6.4, 5.7, r))
        * (0.02 + 0.98 * soft(person.pupil - 0.4, person.pupil + 0.4, r))[:, None]
    )
    toward = scene.lights[0][0]
    spark = np.exp(-((dx - 2.6 * toward[0]) ** 2 + (dy - 2.6 * toward[1]) ** 2) / 0.7)
    return ball + 0.8 * spark[:, None]


def light(
    colour: Array,
    normal: Array,
    view: Array,
    reach: Array,
    hollow: Array,
    gloss: Array,
    softness: Array,
    scene: Scene,
) -> Array:
    """Light (N, 3) that goes from lit points to the camera.

    normal, view: unit vectors (N, 3); reach: (N,) of the first light that arrives; hollow: (N,)
    of the ambient light that does; softness: (N,) how far light wraps around, as it does in skin.
    """
    total = scene.ambient * colour * ((0.82 - 0.28 * normal[:, 1]) * hollow)[:, None]
    wrap = softness[:, None] * np.array([0.30, 0.16, 0.12], np.float32)
    for number, (direction, strength) in enumerate(scene.lights):
        facing = dot(normal, direction)
        arrives = 0.06 + 0.94 * reach if number == 0 else hollow
        diffuse = np.maximum((facing[:, None] + wrap) / (1 + wrap), 0)
        half = view + direction
        shine = np.maximum(np.einsum("nd,nd->n", normal, half), 0)
        shine /= np.sqrt(np.einsum("nd,nd->n", half, half))
        power = shine**14
        high = gloss * scene.gloss * (0.16 * power + 0.12 * power**3.5) * (facing > 0)
        total += (arrives[:, None] * strength) * (colour * diffuse + high[:, None])
    return total
