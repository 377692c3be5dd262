"""One picture of a person in a scene: lit, covered, before a background, photographed."""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from common.keypoints import Scheme
from datasets.synthetic import head, props
from datasets.synthetic.body import HAIR_COLUMNS, HAIR_ROWS
from datasets.synthetic.head import Array, soft
from datasets.synthetic.paint import paint_head
from datasets.synthetic.people import Person, Random, Scene, linear
from datasets.synthetic.scene import EARS, HEAD, TORSO, Posed, bust
from datasets.synthetic.shading import LUMINANCE, dot, light, mix, rasterise, sample_noise

SUPERSAMPLING = 1.5
"""Everything is rendered this much larger and shrunk at the end, so that edges are smooth."""

_HAIR_TRIANGLES = head.sheet_triangles(HAIR_ROWS, HAIR_COLUMNS)


def draw(
    person: Person,
    scene: Scene,
    random: Random,
    scheme: Scheme,
    size: tuple[int, int],
    setting: str,
    leave_out: Collection[str] = (),
    dots: Collection[int] = (),
) -> tuple[NDArray[np.uint8], Array, NDArray[np.bool_]]:
    """The picture (3, H, W) RGB, keypoints (K, 2) in its pixels, which of them are visible (K,).

    size: (H, W).
    setting, leave_out: see ``render.render``.
    dots: keypoints around which 2.2 mm of skin are painted green, for tests.
    """
    height, width = size
    big = (round(height * SUPERSAMPLING), round(width * SUPERSAMPLING))
    subject = Posed(person, scene, scheme, big)
    picture = np.zeros((*big, 3), np.float32)
    distance = np.full(big, np.inf, np.float32)
    brightness = _draw_person(picture, distance, subject, dots)
    # A camera brings out dark skin, but not to the brightness of light skin.
    wanted = float(0.75 * scene.exposure**2.2 * (person.skin @ LUMINANCE) ** 0.4)
    scale = wanted / max(brightness, 1e-3)

    if "background" in leave_out:
        behind = np.full((*size, 3), linear((120, 120, 120)), np.float32)
    elif setting == "crop":
        behind = props.clutter(random, size)
    else:
        behind = props.wall(random, scene, size)
    behind = cv2.resize(behind, big[::-1])
    np.copyto(picture, behind / np.float32(scale), where=np.isinf(distance)[..., None])
    if person.glasses is not None:
        props.draw_glasses(picture, distance, subject)
    if person.hair is not None:
        _draw_hair(picture, distance, subject)
    if setting == "crop" and "occluders" not in leave_out and random.random() < 0.2:
        props.draw_occluder(random, picture, subject, wanted / scale)

    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) * scale
    small = small / (1 + 0.1 * small)
    image = (np.clip(small, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8)
    if "camera" not in leave_out:
        image = _photograph(random, image, setting)
    pixels, depth = subject.camera.project(subject.points)
    column, row = np.clip(np.round(pixels).astype(int), 0, [big[1] - 1, big[0] - 1]).T
    visible = depth < distance[row, column] + 2.0
    visible &= subject.facing > 0.25  # else skin that is seen along its surface
    visible |= np.isin(np.arange(len(depth)), scheme.lines[0])  # the outline always is
    shrink = np.array([width / big[1], height / big[0]], np.float32)
    return image.transpose(2, 0, 1), (pixels + 0.5) * shrink - 0.5, visible


def _draw_person(picture: Array, distance: Array, subject: Posed, dots: Collection[int]) -> float:
    """Draws head, ears, neck and shoulders, and their depth; returns the face's brightness."""
    person = subject.person
    vertices, triangles, kinds, attributes = bust(subject)
    pixels, depth = subject.camera.project(vertices)
    hit, triangle, near, value = rasterise(pixels, depth, triangles, attributes, distance)
    distance.ravel()[hit] = near
    normal, place, angles, arriving = np.split(value, [3, 6, 8], 1)
    normal /= np.sqrt(np.einsum("nd,nd->n", normal, normal))[:, None] + 1e-6

    face, ears, body = (np.flatnonzero(kinds[triangle] == kind) for kind in (HEAD, EARS, TORSO))
    colour = np.empty((len(value), 3), np.float32)
    gloss, softness = np.full((2, len(value)), [[0.4], [1]], np.float32)
    colour[face], gloss[face], softness[face] = paint_head(subject, angles[face], place[face])
    colour[ears] = person.skin * np.array([1.0, 0.80, 0.78], np.float32)
    x, y, z = place[body].T
    neckline = person.neckline - 22 * np.cos(np.arctan2(x, z + 90)) * (person.neckline > 142)
    clothed = soft(0, 3, y - neckline)
    folds = 1 + 0.15 * sample_noise("coarse", x * 0.7, y * 0.7 + person.offsets[0])
    colour[body] = mix(person.skin[None], person.cloth * folds[:, None], clothed)
    gloss[body] *= 1 - clothed
    softness[body] -= clothed

    rows, columns = np.divmod(hit, picture.shape[1])
    view = subject.camera.towards(columns, rows)
    lit = light((colour, gloss, softness), normal, view, arriving.T, subject.scene)
    brightness = float(np.median(dot(lit[face], LUMINANCE)))
    for point in dots:
        away = place[face] - head.on_sheet(subject.grid, subject.places[point])
        lit[face[(away**2).sum(1) < 2.2**2]] = np.array([0, 3 * brightness, 0])
    picture.reshape(-1, 3)[hit] = lit
    return brightness


def _draw_hair(picture: Array, distance: Array, subject: Posed) -> None:
    hair = subject.hair
    tangent = np.gradient(hair, axis=0).reshape(-1, 3)
    length = np.sqrt((tangent**2).sum(1, keepdims=True))
    # Columns 0-2 normal, 3-5 strand's direction, 6 azimuth, 7 place along it, 8 its length.
    normal, strands = head.normals(hair).reshape(-1, 3), subject.strands.reshape(-1, 2)
    attributes = (normal, tangent / np.maximum(length, 1e-3), strands, length)
    attributes = np.concatenate(attributes, 1, dtype=np.float32)
    pixels, depth = subject.camera.project(hair.reshape(-1, 3))
    flat = picture.reshape(-1, 3)
    # First what hangs behind, seen from within; it shines through the tips of what is in front.
    for triangles in (_HAIR_TRIANGLES[:, ::-1], _HAIR_TRIANGLES):
        hit, _, _, value = rasterise(pixels, depth, triangles, attributes, distance)
        colour, alpha = _hair_light(value, subject.person, subject.scene)
        flat[hit] = mix(flat[hit], colour, alpha)


def _hair_light(value: Array, person: Person, scene: Scene) -> tuple[Array, Array]:
    """Colour (N, 3) and opacity (N,) of hair, shining across its strands (Kajiya and Kay, 1989)."""
    normal, tangent, azimuth, along = value[:, :3], value[:, 3:6], value[:, 6], value[:, 7]
    u, v = azimuth * 130 + person.offsets[0], along * 120 + person.offsets[1]
    strands = sample_noise("strands", u, v)
    colour = person.hair_colour * np.clip(1 + 0.32 * strands, 0.25, 2.2)[:, None]
    total = scene.ambient * colour * (0.7 - 0.3 * normal[:, 1:2])
    roots = 0.35 + 0.65 * soft(0.3, 0.8, along)
    for direction, strength in scene.lights:
        half = direction + np.array([0, 0, 1], np.float32)
        half /= np.linalg.norm(half)
        facing = np.clip((dot(normal, direction) + 0.35) / 1.35, 0, 1) * roots
        across = np.sqrt(np.clip(1 - dot(tangent, direction) ** 2, 0, 1))
        high = np.clip(1 - (dot(tangent, half) + 0.12 * strands) ** 2, 0, 1) ** 20 * facing
        high *= value[:, 8] > 0.5
        diffuse = colour * (facing * (0.5 + 0.5 * across))[:, None]
        total += strength * (diffuse + 0.04 * high[:, None])
    return total, soft(1.0, 0.90, along + (0.015 + 0.08 * person.hair.tip) * strands)


def _photograph(random: Random, image: NDArray[np.uint8], setting: str) -> NDArray[np.uint8]:
    """White balance, blur, noise and JPEG; in the wild also small and grey pictures."""
    wild = setting == "crop"
    height, width = image.shape[:2]
    value = image.astype(np.float32) * (1 + random.normal(size=3) * (0.05 if wild else 0.01))
    if wild:
        grey = dot(value, LUMINANCE)
        keep = 0.0 if random.random() < 0.12 else random.uniform(0.7, 1.15)
        value = grey[..., None] + keep * (value - grey[..., None])
        value = 128 + (value - 128) * random.uniform(0.85, 1.35)
        if random.random() < 0.25:
            part = random.uniform(0.4, 0.9)
            small = cv2.resize(value, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
            value = cv2.resize(small, (width, height))
        elif random.random() < 0.4:
            value = cv2.GaussianBlur(value, (0, 0), random.uniform(0.3, 1.0) * width / 128)
    amount = random.gamma(1.2, 2.5) if wild else 1.5
    value += random.normal(size=value.shape).astype(np.float32) * amount
    image = np.clip(value, 0, 255).astype(np.uint8)
    quality = int(random.integers(40, 98)) if wild else 92
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)
