"""What is in a picture beside the person: glasses, hands and objects in front, the background."""

from __future__ import annotations

import cv2
import numpy as np

from common.keypoints import IBUG_68
from datasets.synthetic import head
from datasets.synthetic.head import Array, soft
from datasets.synthetic.people import Random, Scene, linear
from datasets.synthetic.scene import Posed
from datasets.synthetic.shading import LUMINANCE, dot, mix, noise

Rod = tuple[Array, Array, float]  # its ends (2,) and its radius, in pixels


def _filled(outline: Array, size: tuple[int, int]) -> Array:
    """A mask, uint8 (H, W), of a polygon (P, 2), with smooth edges."""
    mask = np.zeros(size, np.uint8)
    return cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


def _under(mask: Array) -> tuple[Array, Array]:
    """The numbers (N,) of the pixels that a mask covers, and how much of each, 0 to 1."""
    n = np.flatnonzero(mask)
    return n, mask.ravel()[n].astype(np.float32) / 255


def _superellipse(turn: Array, power: float) -> Array:
    """Points (N, 2) at angles (N,), from a rectangle (0) over the ellipse (1) on."""
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    return np.sign(circle) * np.abs(circle) ** power


def draw_glasses(picture: Array, distance: Array, subject: Posed) -> None:
    """Draws lenses, rims and temples, and the shadow of the rims, where no skin hides them."""
    glasses = subject.person.glasses
    size, scale = distance.shape, subject.camera.focal / subject.camera.distance
    lens, rim = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    outlines, others = _glasses_lines(subject)
    for outline, depth in outlines:
        inside = _filled(outline, size)
        inside[distance < depth.mean() - 9] = 0
        lens = np.maximum(lens, inside)
    thick = max(1, round(glasses.thickness * scale))
    for line, depth in outlines + others:
        columns, rows = np.clip(np.round(line).astype(int), 0, [size[1] - 1, size[0] - 1]).T
        in_front = depth < distance[rows, columns] + 4
        ends = np.round(line * 16).astype(int)
        for start, end in zip(ends[:-1][in_front[:-1]], ends[1:][in_front[:-1]], strict=True):
            cv2.line(rim, start.tolist(), end.tolist(), 255, thick, cv2.LINE_AA, 4)

    flat = picture.reshape(-1, 3)
    below = cv2.warpAffine(rim, np.float32([[1, 0, 0], [0, 1, 3 * scale]]), size[::-1])
    shade = cv2.GaussianBlur(below, (0, 0), 1 + 2 * scale).ravel()
    n = np.flatnonzero(shade)
    flat[n] *= 1 - (0.35 / 255) * shade[n, None].astype(np.float32)
    n, share = _under(lens)
    level = float(np.median(dot(flat[n], LUMINANCE))) if len(n) else 1.0
    sheen = soft(0.6, 1.0, np.sin((n // size[1] + n % size[1]) * (0.03 / scale)).astype(np.float32))
    tinted = mix(flat[n], glasses.tint_colour * level, share * glasses.tint)
    flat[n] = tinted + (share * sheen * (glasses.shine * 0.35 * level))[:, None]
    n, share = _under(rim)
    flat[n] = mix(flat[n], glasses.colour * level * 2.5, share)


def _glasses_lines(subject: Posed) -> tuple[list, list]:
    """Outlines of the lenses, and the other lines of the frame: pixels (P, 2) and depth (P,)."""
    glasses = subject.person.glasses
    *eyes, bridge = head.on_sheet(subject.grid, head.places(IBUG_68)[[36, 39, 42, 45, 27]])
    eyes = np.array(eyes)
    half = (abs(eyes[:2, 0].mean()) + abs(eyes[2:, 0].mean())) / 2
    height = eyes[:, 1].mean() + glasses.low
    front = max(bridge[2] + 1, eyes[:, 2].mean() + 10)
    curved = _superellipse(np.linspace(0, 2 * np.pi, 40), 2 / glasses.power)
    outlines, others = [], []
    for side in (-1, 1):
        x = half + glasses.width * 0.98 * curved[:, 0]
        y = height + glasses.height * curved[:, 1]
        outlines.append(subject.seen(np.stack([side * x, y, front - 14 * (x / 62) ** 2], -1)))
        hinge = np.array([side * (half + glasses.width), height - 0.3 * glasses.height, front - 18])
        hook = np.array([side * 78.0, height - 4, -62.0])
        others.append(subject.seen(hinge + np.linspace(0, 1, 24)[:, None] * (hook - hinge)))
    inner = max(half - glasses.width, 8.0)
    x = np.linspace(-inner, inner, 9)
    arch = np.stack([x, height - 3 - 2 * np.cos(x / inner * 1.5), 0 * x + front], -1)
    return outlines, [*others, subject.seen(arch)]


def draw_occluder(random: Random, picture: Array, subject: Posed, brightness: float) -> None:
    """Draws a hand, or something held, in front of part of a face of some brightness."""
    points, _ = subject.camera.project(subject.face)
    low, high = points.min(0), points.max(0)
    extent = float((high - low).max())
    angle = random.uniform(-0.4, np.pi + 0.4)  # from the sides or from below
    away = np.array([np.cos(angle), np.sin(angle)])
    place = (low + high) / 2 + away * extent * random.uniform(0.35, 0.65)
    brightness *= random.uniform(0.6, 1.3)
    if random.random() < 0.5:
        skin, towards_light = subject.person.skin, subject.scene.lights[0][0]
        tone = skin / float(skin @ LUMINANCE) * brightness
        _draw_rods(picture, _hand(random, place, -away, extent), tone, towards_light)
        return
    turn = random.uniform(0, 2 * np.pi)
    frame = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    ring = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corners = _superellipse(ring, random.uniform(0.2, 1.0))
    corners = (corners * random.uniform(0.12, 0.45, 2) * extent) @ frame.T + place
    n, share = _under(_filled(corners, picture.shape[:2]))
    rows, columns = np.divmod(n, picture.shape[1])
    ramp = (columns * np.cos(turn) + rows * np.sin(turn)) / extent
    shade = 0.8 + 0.4 * np.sin(ramp * random.uniform(1, 4))
    if random.random() < 0.4:
        shade *= np.where(np.sin(ramp * random.uniform(20, 60)) > random.uniform(-0.5, 0.8), 1, 0.4)
    colour = linear(random.uniform(5, 250, 3)) * 2.5 * brightness * shade[:, None]
    flat = picture.reshape(-1, 3)
    flat[n] = mix(flat[n], colour.astype(np.float32), share)


def _hand(random: Random, palm: Array, towards: Array, extent: float) -> list[Rod]:
    """Arm, palm, thumb and four fingers that point at the face: ends (2,) and radius of rods."""
    towards = towards + random.normal(size=2) * 0.4
    towards /= np.linalg.norm(towards)
    across = np.array([-towards[1], towards[0]]) * random.choice([-1, 1])
    thick = extent * random.uniform(0.052, 0.066)
    # Start and end, along and across the hand, and radius of each rod, in thicknesses.
    rods = [((-3, 0), (-20, 0), 2.2), ((-1.2, -0.4), (-1.2, 0.4), 2.7)]
    rods += [((-1.5, 2.2), (1.5, 4.2), 1.05), ((1.5, 4.2), (3.6, 4.6), 0.9)]
    spread, bend = random.uniform(1.7, 2.8), random.uniform(0.6, 1.0)
    for finger, length in enumerate((5.2, 6.0, 5.6, 4.4)):
        aside = 1.5 - finger
        knuckle = (0.5 * length + 0.3, (1.75 + 0.5 * (spread - 1.75)) * aside)
        tip = (0.3 + length * (0.5 + 0.5 * bend), spread * aside)
        rods += [((0.3, 1.75 * aside), knuckle, 0.98), (knuckle, tip, 0.88)]
    return [
        (*(palm + thick * (x * towards + y * across) for x, y in ends), thick * width)
        for *ends, width in rods
    ]


def _draw_rods(picture: Array, rods: list[Rod], tone: Array, towards_light: Array) -> None:
    """Draws rounded rods of a colour, one over the other."""
    flat = picture.reshape(-1, 3)
    rows, columns = np.divmod(np.arange(len(flat), dtype=np.float32), picture.shape[1])
    for start, end, radius in rods:
        way = end - start
        x, y = columns - start[0], rows - start[1]
        along = np.clip((x * way[0] + y * way[1]) / max(way @ way, 1e-6), 0, 1)
        x, y = x - along * way[0], y - along * way[1]
        n = np.flatnonzero(x * x + y * y < (radius + 0.5) ** 2)
        x, y = x[n] / radius, y[n] / radius
        away = np.sqrt(x * x + y * y)
        normal = np.stack([x, y, np.sqrt(np.maximum(1 - away**2, 0))], 1)
        shade = 0.4 + 0.8 * np.maximum(dot(normal, towards_light) + 0.2, 0)
        share = np.clip((1 - away) * radius + 0.5, 0, 1).astype(np.float32)
        flat[n] = mix(flat[n], (tone * shade[:, None]).astype(np.float32), share)


def clutter(random: Random, size: tuple[int, int]) -> Array:
    """A background (H, W, 3) of light and blurred things, as behind faces on the web."""
    height, width = size
    tones = random.uniform(10, 240, (5, 1)) + random.normal(size=(5, 3)) * random.gamma(2, 11)
    palette = linear(np.clip(tones, 2, 252))
    ramp = np.linspace(0, 1, height)[:, None, None]
    ramp = palette[0] * (1 - ramp) + palette[1] * ramp
    canvas = np.repeat(ramp, width, 1).astype(np.float32)
    for _ in range(random.integers(0, 40)):
        _draw_shape(random, canvas, palette)
    if random.random() < 0.7:
        canvas = cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.5, 5.0) * width / 128)
    offset = random.integers(0, 128, 2)
    grain = np.roll(noise(random.choice(["fine", "coarse"])), offset, (0, 1))
    grain = cv2.resize(grain[:128, :128], (width, height))
    return np.clip(canvas * (1 + random.uniform(0, 0.3) * grain[..., None]), 0, 1.5)


def _draw_shape(random: Random, canvas: Array, palette: Array) -> None:
    """Draws an ellipse, a box, a line or a polygon."""
    height, width = canvas.shape[:2]
    colour = (palette[random.integers(5)] * random.uniform(0.5, 1.5)).tolist()
    place = random.uniform(-0.1, 1.1, 2) * [width, height]
    reach = np.abs(random.normal(size=2)) * 0.2 * width + 2
    kind = random.integers(4)
    if kind == 0:
        box = (place.tolist(), reach.tolist(), random.uniform(0, 180))
        cv2.ellipse(canvas, box, colour, -1, cv2.LINE_AA)
    elif kind == 1:
        turn = random.choice([0.0, random.uniform(0, 90)])
        corners = cv2.boxPoints((place.tolist(), (2 * reach).tolist(), turn))
        cv2.fillConvexPoly(canvas, corners.astype(np.int32), colour, cv2.LINE_AA)
    elif kind == 2:
        end = place + random.normal(size=2) * width
        ends = (place.astype(int).tolist(), end.astype(int).tolist())
        cv2.line(canvas, *ends, colour, random.integers(1, 6), cv2.LINE_AA)
    else:
        corners = place + random.normal(size=(random.integers(3, 7), 2)) * reach
        cv2.fillPoly(canvas, [corners.astype(np.int32)], colour, cv2.LINE_AA)


def wall(random: Random, scene: Scene, size: tuple[int, int]) -> Array:
    """The plain dark wall (H, W, 3) of IMM's pictures, lighter where the light falls."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / height
    colour = linear(random.normal(size=3) * 6 + [32, 66, 62])
    towards, strength = scene.lights[0]
    ramp = 1 + 0.7 * towards[0] * (columns - 0.66) - 0.5 * (rows - 0.5)
    grain = cv2.resize(noise("coarse"), (width, height))
    strong = max(1.0, float(strength.mean())) ** 2
    return colour * strong * np.clip(ramp + 0.04 * grain, 0.2, 3)[..., None]
