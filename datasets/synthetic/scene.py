"""One picture from a person and a scene: put together, lit, covered and photographed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.keypoints import IBUG_68, Scheme
from datasets.synthetic import head, shading
from datasets.synthetic.head import Array
from datasets.synthetic.people import Glasses, Person, Scene, linear
from datasets.synthetic.shading import dot, mix, sample_noise, soft

SUPERSAMPLING = 1.5
"""Everything is drawn this much larger and shrunk at the end, so that edges are smooth."""

_HEAD, _EAR, _BODY = 0, 1, 2
_HEAD_TRIANGLES = head.sheet_triangles(head.ROWS, head.COLUMNS)
_BODY_TRIANGLES = head.sheet_triangles(head.BODY_ROWS, head.BODY_COLUMNS)
_HAIR_TRIANGLES = head.sheet_triangles(head.HAIR_ROWS, head.HAIR_COLUMNS)
_LUMINANCE = np.array([0.30, 0.59, 0.11], np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Matrix (3, 3) that turns a head by degrees: to the right of the picture, down, clockwise."""
    a, b, c = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (about_z @ about_x @ about_y).astype(np.float32)


@dataclass(frozen=True)
class Camera:
    """Pinhole: pixels = focal * (x, y) / depth + centre; depth = distance - z."""

    distance: float
    focal: float
    centre: Array

    @classmethod
    def framing(cls, points: Array, scene: Scene, size: tuple[int, int]) -> Camera:
        """The camera that sees points (K, 3) on the scene's share of a picture (H, W)."""
        flat, _ = cls(scene.distance, 1.0, np.zeros(2, np.float32)).project(points)
        low, high = flat.min(0), flat.max(0)
        focal = scene.share * min(size) / (high - low).max()
        middle = (np.array(size[::-1]) - 1) / 2 + np.array(scene.shift) * min(size)
        return cls(
            scene.distance, float(focal), (middle - focal * (low + high) / 2).astype(np.float32)
        )

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels (..., 2) and depth (...) of points (..., 3) in the camera's frame."""
        depth = self.distance - points[..., 2]
        pixels = points[..., :2] * (self.focal / depth)[..., None] + self.centre
        return pixels.astype(np.float32), depth.astype(np.float32)

    def towards(self, columns: Array, rows: Array) -> Array:
        """Unit vectors (N, 3) from what pixels show to the camera."""
        x = (self.centre[0] - columns) / self.focal
        y = (self.centre[1] - rows) / self.focal
        length = np.sqrt(x * x + y * y + 1)
        return np.stack([x / length, y / length, 1 / length], 1).astype(np.float32)


def _shadow(vertices: Array, casting: Array, light: Array) -> Array:
    """How much of a light reaches each vertex (V,), 0 to 1, past what casts shadows (W, 3)."""
    side = np.cross(light, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(side, light), light]).astype(np.float32)
    cells, cell = 96, 5.0  # mm

    def seen(points: Array) -> tuple[NDArray[np.int64], Array]:
        x, y, towards = frame @ points.T
        column = np.clip(x / cell + cells / 2, 0, cells - 1).astype(np.int64)
        row = np.clip(y / cell + cells / 2, 0, cells - 1).astype(np.int64)
        return row * cells + column, towards

    index, towards = seen(casting)
    nearest = np.full(cells * cells, -1e4, np.float32)
    np.maximum.at(nearest, index, towards)
    nearest = cv2.dilate(nearest.reshape(cells, cells), np.ones((3, 3), np.uint8))
    nearest = cv2.GaussianBlur(np.maximum(nearest, -150), (0, 0), 0.7).ravel()
    index, towards = seen(vertices)
    return soft(-18, -8, towards - nearest[index])


def _hollows(grid: Array, outward: Array) -> Array:
    """Share of the ambient light that reaches each vertex (ROWS, COLUMNS): less in hollows."""
    depth = ((cv2.GaussianBlur(grid, (0, 0), 2.2) - grid) * outward).sum(-1)
    return np.clip(1 - 0.14 * depth, 0.4, 1.1)


@dataclass(frozen=True)
class Posed:
    """A person in the camera's frame.

    grid: vertices (ROWS, COLUMNS, 3) in the head's own frame; posed, outward: the same and their
    normals in the camera's. points: keypoints (K, 3) in the camera's frame; places: azimuth and
    elevation (K, 2) on the sheet; facing: cosine (K,) between the skin's normal there and the way
    to the camera. face: the iBUG keypoints (68, 3), whatever the scheme. turn: rotation (3, 3).
    hair, strands: what ``Hair.mesh`` returns, None for bald heads.
    """

    grid: Array
    posed: Array
    outward: Array
    points: Array
    places: Array
    facing: Array
    face: Array
    camera: Camera
    turn: Array
    hair: Array | None
    strands: Array | None


def pose(person: Person, scene: Scene, scheme: Scheme, size: tuple[int, int]) -> Posed:
    """The head as the camera sees it in a picture of ``size`` (H, W)."""
    controls = head.shaped(person.proportions, person.scale, scene.expression) + person.unevenness
    grid = head.sheet(controls)
    turn = rotation(*scene.turn)
    posed = (grid - head.CENTRE.astype(np.float32)) @ turn.T
    outward = head.normals(posed)
    towards = np.array([0, 0, scene.distance], np.float32) - posed
    facing = np.einsum("rcd,rcd->rc", towards, outward)
    facing /= np.sqrt(np.einsum("rcd,rcd->rc", towards, towards))
    points, places = head.keypoints(scheme, posed, facing)
    at_points = head.on_sheet(facing[..., None], places)[..., 0]
    face = points if scheme is IBUG_68 else head.keypoints(IBUG_68, posed, facing)[0]
    camera = Camera.framing(face, scene, size)
    hair = strands = None
    if person.hair is not None:
        hair, strands = person.hair.mesh(posed, outward, person.wobble)
    return Posed(grid, posed, outward, points, places, at_points, face, camera, turn, hair, strands)


def draw(
    person: Person,
    scene: Scene,
    random: np.random.Generator,
    scheme: Scheme,
    size: tuple[int, int],
    setting: str,
    leave_out: Collection[str] = (),
    dots: Collection[int] = (),
) -> tuple[NDArray[np.uint8], Array, NDArray[np.bool_]]:
    """The picture (3, H, W) RGB, keypoints (K, 2) in its pixels, which of them are in sight (K,).

    dots: keypoints around which 2.2 mm of skin are painted green, for tests.
    """
    height, width = size
    big = (round(height * SUPERSAMPLING), round(width * SUPERSAMPLING))
    subject = pose(person, scene, scheme, big)
    camera = subject.camera
    picture = np.zeros((*big, 3), np.float32)
    distance, scale = _draw_person(picture, subject, person, scene, dots)

    if "background" in leave_out:
        behind = np.full((*size, 3), linear((120, 120, 120)), np.float32)
    else:
        behind = _clutter(random, size) if setting == "crop" else _wall(random, scene, size)
    behind = cv2.resize(behind, big[::-1], interpolation=cv2.INTER_LINEAR)
    np.copyto(picture, behind / np.float32(scale), where=np.isinf(distance)[..., None])
    if person.glasses is not None:
        _draw_glasses(picture, distance, subject, person.glasses)
    if person.hair is not None:
        _draw_hair(picture, distance, subject, person, scene)
    if setting == "crop" and "occluders" not in leave_out and random.random() < 0.2:
        pixels = camera.project(subject.face)[0]
        brightness = _face_brightness(person, scene) / scale
        light = scene.lights[0][0]
        _draw_occluder(random, picture, pixels, person.skin, brightness, light)

    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) * scale
    small = small / (1 + 0.1 * small)
    shrink = np.array([width / big[1], height / big[0]], np.float32)
    image = (np.clip(small, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8)
    if "camera" not in leave_out:
        image = _photograph(random, image, setting)
    pixels, depth = camera.project(subject.points)
    column, row = np.clip(np.round(pixels).astype(int), 0, [big[1] - 1, big[0] - 1]).T
    in_sight = depth < distance[row, column] + 2.0
    in_sight &= subject.facing > 0.25  # else skin that is seen along its surface
    in_sight |= np.isin(np.arange(len(depth)), scheme.lines[0])  # the outline is always in sight
    return image.transpose(2, 0, 1), (pixels + 0.5) * shrink - 0.5, in_sight


def _face_brightness(person: Person, scene: Scene) -> float:
    """Light 0..1 of the face in the picture.

    A camera brings out dark skin, but not to the brightness of light skin.
    """
    return float(0.75 * scene.exposure**2.2 * (person.skin @ _LUMINANCE) ** 0.4)


def _draw_person(
    picture: Array, subject: Posed, person: Person, scene: Scene, dots: Collection[int]
) -> tuple[Array, float]:
    """Draws head, ears, neck and shoulders; returns the depth (H, W) and the exposure."""
    size = picture.shape[:2]
    grid, posed, outward, turn = subject.grid, subject.posed, subject.outward, subject.turn
    centre = head.CENTRE.astype(np.float32)
    ears, ear_triangles = head.ears(grid, *person.ears)
    ear_count = len(ears) // 2
    ears_posed = (ears - centre) @ turn.T
    right, left = (e.reshape(head.EAR_ROWS, -1, 3) for e in np.split(ears_posed, 2))
    ear_normals = np.concatenate([-head.normals(right), head.normals(left)]).reshape(-1, 3)
    body, with_head = head.body(*person.neck)
    share = with_head[:, None, None].astype(np.float32)
    body_turn = rotation(*scene.body_turn)
    body_posed = share * ((body - centre) @ turn.T) + (1 - share) * ((body - centre) @ body_turn.T)

    first_ear = grid.shape[0] * grid.shape[1]
    first_body = first_ear + 2 * ear_count
    vertices = np.concatenate(
        [posed.reshape(-1, 3), ears_posed, body_posed.reshape(-1, 3)], dtype=np.float32
    )
    triangles = np.concatenate(
        [_HEAD_TRIANGLES, ear_triangles + first_ear, _BODY_TRIANGLES + first_body]
    )
    lengths = [len(_HEAD_TRIANGLES), len(ear_triangles), len(_BODY_TRIANGLES)]
    kinds = np.repeat(np.array([_HEAD, _EAR, _BODY], np.int8), lengths)

    casting = vertices
    if subject.hair is not None:
        casting = np.concatenate([vertices, subject.hair.reshape(-1, 3)], dtype=np.float32)
    reach = _shadow(vertices, casting, scene.lights[0][0])
    on_head = reach[:first_ear].reshape(head.ROWS, head.COLUMNS)
    on_body = reach[first_body:].reshape(head.BODY_ROWS, -1)
    reach = np.concatenate(
        [
            cv2.GaussianBlur(on_head, (0, 0), 1.3).ravel(),
            reach[first_ear:first_body],
            cv2.GaussianBlur(on_body, (0, 0), 1.0).ravel(),
        ]
    )
    hollow = np.concatenate(
        [
            _hollows(posed, outward).ravel(),
            np.full(2 * ear_count, 0.8),
            np.repeat(1 - 0.45 * with_head, head.BODY_COLUMNS),
        ]
    )
    normal = np.concatenate(
        [outward.reshape(-1, 3), ear_normals, head.normals(body_posed).reshape(-1, 3)]
    )
    angles = np.zeros((len(vertices), 2), np.float32)
    angles[:first_ear] = head.GRID_ANGLES.reshape(-1, 2)
    own = np.concatenate([grid.reshape(-1, 3), ears, body.reshape(-1, 3)])
    # Columns 0-2 normal, 3-5 place in the head's frame, 6-7 angles, 8 light, 9 ambient light.
    attributes = np.concatenate(
        [normal, own, angles, reach[:, None], hollow[:, None]], 1, dtype=np.float32
    )

    pixels, depth = subject.camera.project(vertices)
    triangle, weights, distance = shading.rasterise(pixels, depth, triangles, size)
    hit = np.flatnonzero(triangle >= 0)
    value = shading.interpolate(attributes, triangles[triangle[hit]], weights[hit])
    normal = value[:, :3]
    normal /= np.sqrt(np.einsum("nd,nd->n", normal, normal))[:, None] + 1e-6

    kind = kinds[triangle[hit]]
    colour = np.empty((len(value), 3), np.float32)
    gloss = np.full(len(value), 0.4, np.float32)
    softness = np.ones(len(value), np.float32)
    n = np.flatnonzero(kind == _HEAD)
    teeth = head.shaped(person.proportions, person.scale, {})[62, 1] + 3.5
    colour[n], gloss[n], softness[n] = shading.paint_head(
        person, scene, value[n, 6:8], value[n, 3:6], grid, teeth
    )
    face = n
    colour[kind == _EAR] = person.skin * np.array([1.0, 0.80, 0.78], np.float32)
    n = np.flatnonzero(kind == _BODY)
    x, y, z = value[n, 3:6].T
    cut = person.neckline - 22 * np.cos(np.arctan2(x, z + 90)) * (person.neckline > 142)
    clothed = soft(0, 3, y - cut)
    folds = 1 + 0.15 * sample_noise("coarse", x * 0.7, y * 0.7 + person.offsets[0])
    colour[n] = mix(
        np.broadcast_to(person.skin, (len(n), 3)), person.cloth * folds[:, None], clothed
    )
    gloss[n] *= 1 - clothed
    softness[n] -= clothed

    rows, columns = np.divmod(hit, size[1])
    view = subject.camera.towards(columns, rows)
    lit = shading.light(colour, normal, view, value[:, 8], value[:, 9], gloss, softness, scene)
    brightness = float(np.median(dot(lit[face], _LUMINANCE)))
    for point in dots:
        away = value[face, 3:6] - head.on_sheet(grid, subject.places[point])
        lit[face[(away**2).sum(1) < 2.2**2]] = np.array([0, 3 * brightness, 0])
    picture.reshape(-1, 3)[hit] = lit
    return distance.reshape(size), _face_brightness(person, scene) / max(brightness, 1e-3)


def _draw_hair(
    picture: Array, distance: Array, subject: Posed, person: Person, scene: Scene
) -> None:
    hair = subject.hair
    normal = head.normals(hair).reshape(-1, 3)
    tangent = np.gradient(hair, axis=0).reshape(-1, 3)
    length = np.sqrt((tangent**2).sum(1, keepdims=True))
    tangent = tangent / np.maximum(length, 1e-3)
    # Columns 0-2 normal, 3-5 strand's direction, 6 azimuth, 7 place along it, 8 its length.
    attributes = np.concatenate(
        [normal, tangent, subject.strands.reshape(-1, 2), length], 1, dtype=np.float32
    )
    pixels, depth = subject.camera.project(hair.reshape(-1, 3))
    # First what hangs behind, seen from within; it shines through the tips of what is in front.
    for triangles in (_HAIR_TRIANGLES[:, ::-1], _HAIR_TRIANGLES):
        triangle, weights, near = shading.rasterise(pixels, depth, triangles, distance.shape)
        hit = np.flatnonzero((triangle >= 0) & (near < distance.ravel()))
        value = shading.interpolate(attributes, triangles[triangle[hit]], weights[hit])
        colour, alpha = _hair_light(value, person, scene)
        flat = picture.reshape(-1, 3)
        flat[hit] = mix(flat[hit], colour, alpha)


def _hair_light(value: Array, person: Person, scene: Scene) -> tuple[Array, Array]:
    """Colour (N, 3) and opacity (N,) of hair, shining across its strands (Kajiya and Kay, 1989)."""
    normal, tangent, azimuth, along = value[:, :3], value[:, 3:6], value[:, 6], value[:, 7]
    strands = sample_noise(
        "strands", azimuth * 130 + person.offsets[0], along * 120 + person.offsets[1]
    )
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
        total += strength * (
            colour * (facing * (0.5 + 0.5 * across))[:, None] + 0.04 * high[:, None]
        )
    return total, soft(1.0, 0.90, along + (0.015 + 0.08 * person.hair.tip) * strands)


def _draw_glasses(picture: Array, distance: Array, subject: Posed, glasses: Glasses) -> None:
    eyes = head.on_sheet(subject.grid, head.places(IBUG_68)[[36, 39, 42, 45]])
    bridge = head.on_sheet(subject.grid, head.places(IBUG_68)[27])
    half = (abs(eyes[:2, 0].mean()) + abs(eyes[2:, 0].mean())) / 2
    height = eyes[:, 1].mean() + glasses.low
    front = max(bridge[2] + 1, eyes[:, 2].mean() + 10)
    turn = np.linspace(0, 2 * np.pi, 40)

    def curved(value: Array) -> Array:
        return np.sign(value) * np.abs(value) ** (2 / glasses.power)

    def seen(points: Array) -> tuple[Array, Array]:
        return subject.camera.project((points - head.CENTRE) @ subject.turn.T)

    size = distance.shape
    lens, rim = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    scale = subject.camera.focal / subject.camera.distance
    thick = max(1, round(glasses.thickness * scale))
    inner = max(half - glasses.width, 8.0)
    lines = []
    for side in (-1, 1):
        x = half + glasses.width * 0.98 * curved(np.cos(turn))
        y = height + glasses.height * curved(np.sin(turn))
        z = front - 14 * (x / 62) ** 2
        loop, depth = seen(np.stack([side * x, y, z], -1))
        inside = np.zeros(size, np.uint8)
        cv2.fillPoly(inside, [np.round(loop * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        inside[distance < depth.mean() - 9] = 0
        lens = np.maximum(lens, inside)
        lines.append((loop, depth))
        hinge = np.array([side * (half + glasses.width), height - 0.3 * glasses.height, front - 18])
        hook = np.array([side * 78.0, height - 4, -62.0])
        lines.append(seen(hinge + np.linspace(0, 1, 24)[:, None] * (hook - hinge)))
    arch = np.linspace(-inner, inner, 9)
    lines.append(
        seen(np.stack([arch, height - 3 - 2 * np.cos(arch / inner * 1.5), 0 * arch + front], -1))
    )
    for line, depth in lines:
        columns, rows = np.clip(np.round(line).astype(int), 0, [size[1] - 1, size[0] - 1]).T
        in_front = depth < distance[rows, columns] + 4
        ends = np.round(line * 16).astype(int).tolist()
        for start, end, drawn in zip(ends[:-1], ends[1:], in_front[:-1], strict=True):
            if drawn:
                cv2.line(rim, start, end, 255, thick, cv2.LINE_AA, 4)
    flat = picture.reshape(-1, 3)
    below = cv2.warpAffine(rim, np.float32([[1, 0, 0], [0, 1, 3 * scale]]), size[::-1])
    shade = cv2.GaussianBlur(below, (0, 0), 1 + 2 * scale).ravel()
    n = np.flatnonzero(shade)
    flat[n] *= 1 - (0.35 / 255) * shade[n, None].astype(np.float32)
    n = np.flatnonzero(lens)
    level = float(np.median(dot(flat[n], _LUMINANCE))) if len(n) else 1.0
    share = lens.ravel()[n].astype(np.float32) / 255
    sheen = soft(0.6, 1.0, np.sin((n // size[1] + n % size[1]) * (0.03 / scale)).astype(np.float32))
    tinted = mix(flat[n], glasses.tint_colour * level, share * glasses.tint)
    flat[n] = tinted + (share * sheen * (glasses.shine * 0.35 * level))[:, None]
    n = np.flatnonzero(rim)
    flat[n] = mix(flat[n], glasses.colour * level * 2.5, rim.ravel()[n].astype(np.float32) / 255)


def _draw_occluder(
    random: np.random.Generator,
    picture: Array,
    points: Array,
    skin: Array,
    brightness: float,
    towards_light: Array,
) -> None:
    """A hand, or something held, in front of part of the face."""
    low, high = points.min(0), points.max(0)
    extent = float((high - low).max())
    angle = random.uniform(-0.4, np.pi + 0.4)  # from the sides or from below
    away = np.array([np.cos(angle), np.sin(angle)])
    place = (low + high) / 2 + away * extent * random.uniform(0.35, 0.65)
    brightness *= random.uniform(0.6, 1.3)
    if random.random() < 0.5:
        tone = skin / float(skin @ _LUMINANCE) * brightness
        _draw_hand(random, picture, place, -away, extent, tone, towards_light)
        return
    turn = random.uniform(0, 2 * np.pi)
    frame = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    ring = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corners = np.stack([np.cos(ring), np.sin(ring)], 1)
    corners = np.sign(corners) * np.abs(corners) ** random.uniform(0.2, 1.0)
    corners = (corners * random.uniform(0.12, 0.45, 2) * extent) @ frame.T + place
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    n = np.flatnonzero(mask)
    rows, columns = np.divmod(n, picture.shape[1])
    ramp = (columns * np.cos(turn) + rows * np.sin(turn)) / extent
    shade = 0.8 + 0.4 * np.sin(ramp * random.uniform(1, 4))
    if random.random() < 0.4:
        shade *= np.where(np.sin(ramp * random.uniform(20, 60)) > random.uniform(-0.5, 0.8), 1, 0.4)
    colour = linear(random.uniform(5, 250, 3)) * 2.5 * brightness * shade[:, None]
    flat = picture.reshape(-1, 3)
    flat[n] = mix(flat[n], colour.astype(np.float32), mask.ravel()[n].astype(np.float32) / 255)


def _draw_hand(
    random: np.random.Generator,
    picture: Array,
    palm: Array,
    towards: Array,
    extent: float,
    tone: Array,
    towards_light: Array,
) -> None:
    """Arm, palm, thumb and four fingers: rounded rods that point at the face, more or less."""
    towards = towards + random.normal(size=2) * 0.4
    towards /= np.linalg.norm(towards)
    across = np.array([-towards[1], towards[0]]) * random.choice([-1, 1])
    thick = extent * random.uniform(0.052, 0.066)

    def at(along: float, aside: float) -> Array:
        return palm + thick * (along * towards + aside * across)

    rods = [(at(-3, 0), at(-20, 0), 2.2), (at(-1.2, -0.4), at(-1.2, 0.4), 2.7)]
    rods += [(at(-1.5, 2.2), at(1.5, 4.2), 1.05), (at(1.5, 4.2), at(3.6, 4.6), 0.9)]
    spread, bend = random.uniform(1.7, 2.8), random.uniform(0.6, 1.0)
    for finger, length in enumerate((5.2, 6.0, 5.6, 4.4)):
        aside = 1.5 - finger
        knuckle = at(0.5 * length + 0.3, (1.75 + 0.5 * (spread - 1.75)) * aside)
        rods.append((at(0.3, 1.75 * aside), knuckle, 0.98))
        rods.append((knuckle, at(0.3 + length * (0.5 + 0.5 * bend), spread * aside), 0.88))
    flat = picture.reshape(-1, 3)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    for start, end, width in rods:
        radius = thick * width
        way = end - start
        x, y = columns.ravel() - start[0], rows.ravel() - start[1]
        along = np.clip((x * way[0] + y * way[1]) / max(way @ way, 1e-6), 0, 1)
        x, y = x - along * way[0], y - along * way[1]
        n = np.flatnonzero(x * x + y * y < (radius + 0.5) ** 2)
        x, y = x[n] / radius, y[n] / radius
        away = np.sqrt(x * x + y * y)
        normal = np.stack([x, y, np.sqrt(np.maximum(1 - away**2, 0))], 1)
        shade = 0.4 + 0.8 * np.maximum(dot(normal, towards_light) + 0.2, 0)
        share = np.clip((1 - away) * radius + 0.5, 0, 1).astype(np.float32)
        flat[n] = mix(flat[n], (tone * shade[:, None]).astype(np.float32), share)


def _clutter(random: np.random.Generator, size: tuple[int, int]) -> Array:
    """A background (H, W, 3) of light and blurred things, as behind faces on the web."""
    height, width = size
    tones = random.uniform(10, 240, (5, 1)) + random.normal(size=(5, 3)) * random.gamma(2, 11)
    palette = linear(np.clip(tones, 2, 252))
    ramp = np.linspace(0, 1, height)[:, None, None]
    canvas = (palette[0] * (1 - ramp) + palette[1] * ramp) * np.ones((1, width, 1))
    canvas = canvas.astype(np.float32)
    for _ in range(random.integers(0, 40)):
        colour = (palette[random.integers(5)] * random.uniform(0.5, 1.5)).tolist()
        place = random.uniform(-0.1, 1.1, 2) * [width, height]
        reach = np.abs(random.normal(size=2)) * 0.2 * width + 2
        kind = random.integers(4)
        if kind == 0:
            box = (
                (float(place[0]), float(place[1])),
                (float(reach[0]), float(reach[1])),
                random.uniform(0, 180),
            )
            cv2.ellipse(canvas, box, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            corners = cv2.boxPoints(
                (place.tolist(), (2 * reach).tolist(), random.choice([0.0, random.uniform(0, 90)]))
            )
            cv2.fillConvexPoly(canvas, corners.astype(np.int32), colour, cv2.LINE_AA)
        elif kind == 2:
            end = place + random.normal(size=2) * width
            cv2.line(
                canvas,
                place.astype(int).tolist(),
                end.astype(int).tolist(),
                colour,
                random.integers(1, 6),
                cv2.LINE_AA,
            )
        else:
            corners = place + random.normal(size=(random.integers(3, 7), 2)) * reach
            cv2.fillPoly(canvas, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    if random.random() < 0.7:
        canvas = cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.5, 5.0) * width / 128)
    row, column = random.integers(0, 128, 2)
    grain = np.roll(shading.noise(random.choice(["fine", "coarse"])), (row, column), (0, 1))
    grain = cv2.resize(grain[:128, :128], (width, height))
    return np.clip(canvas * (1 + random.uniform(0, 0.3) * grain[..., None]), 0, 1.5)


def _wall(random: np.random.Generator, scene: Scene, size: tuple[int, int]) -> Array:
    """The plain dark wall of IMM's pictures, lighter where the light falls."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / height
    colour = linear(random.normal(size=3) * 6 + [32, 66, 62])
    towards = scene.lights[0][0]
    ramp = 1 + 0.7 * towards[0] * (columns - 0.66) - 0.5 * (rows - 0.5)
    grain = cv2.resize(shading.noise("coarse"), (width, height))
    strong = max(1.0, float(scene.lights[0][1].mean())) ** 2
    return colour * strong * np.clip(ramp + 0.04 * grain, 0.2, 3)[..., None]


def _photograph(
    random: np.random.Generator, image: NDArray[np.uint8], setting: str
) -> NDArray[np.uint8]:
    """White balance, blur, noise and JPEG; in the wild also small and grey pictures."""
    wild = setting == "crop"
    height, width = image.shape[:2]
    value = image.astype(np.float32) * (1 + random.normal(size=3) * (0.05 if wild else 0.01))
    if wild:
        grey = dot(value, _LUMINANCE)
        keep = 0.0 if random.random() < 0.12 else random.uniform(0.7, 1.15)
        value = grey[..., None] + keep * (value - grey[..., None])
        value = 128 + (value - 128) * random.uniform(0.85, 1.35)
        if random.random() < 0.25:
            part = random.uniform(0.4, 0.9)
            small = cv2.resize(value, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
            value = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        elif random.random() < 0.4:
            value = cv2.GaussianBlur(value, (0, 0), random.uniform(0.3, 1.0) * width / 128)
    amount = random.gamma(1.2, 2.5) if wild else 1.5
    value += random.normal(size=value.shape).astype(np.float32) * amount
    image = np.clip(value, 0, 255).astype(np.uint8)
    quality = int(random.integers(40, 98)) if wild else 92
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)
