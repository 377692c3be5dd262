"""A person before the camera: pose, projection, and the mesh of head, ears, neck and shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from common.keypoints import IBUG_68, Scheme
from datasets.synthetic import body, head
from datasets.synthetic.head import Array, soft
from datasets.synthetic.people import Person, Scene


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Matrix (3, 3) that turns a head by degrees: to the right of the picture, down, clockwise."""
    turn = Rotation.from_euler("yxz", [yaw, -pitch, roll], degrees=True)
    return turn.as_matrix().astype(np.float32)


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
        centre = middle - focal * (low + high) / 2
        return cls(scene.distance, float(focal), centre.astype(np.float32))

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


class Posed:
    """A person in a scene, as the camera sees them in a picture of ``size`` (H, W).

    grid: vertices (ROWS, COLUMNS, 3) in the head's own frame.
    posed, outward: the same turned by ``turn`` (3, 3), and their normals, in the camera's frame.
    points: keypoints (K, 3) in the camera's frame; places: azimuth and elevation (K, 2).
    facing: cosine (K,) between the skin's normal there and the direction of the camera.
    face: the iBUG keypoints (68, 3), whatever the scheme.
    hair, strands: what ``Hair.mesh`` returns, None for bald heads.
    """

    def __init__(self, person: Person, scene: Scene, scheme: Scheme, size: tuple[int, int]) -> None:
        self.person, self.scene = person, scene
        controls = head.shaped(person.proportions, person.scale, scene.expression)
        self.grid = head.sheet(controls + person.unevenness)
        self.turn = rotation(*scene.turn)
        self.posed = (self.grid - head.CENTRE.astype(np.float32)) @ self.turn.T
        self.outward = head.normals(self.posed)
        towards = np.array([0, 0, scene.distance], np.float32) - self.posed
        facing = np.einsum("rcd,rcd->rc", towards, self.outward)
        facing /= np.sqrt(np.einsum("rcd,rcd->rc", towards, towards))
        self.points, self.places = head.keypoints(scheme, self.posed, facing)
        self.facing = head.on_sheet(facing[..., None], self.places)[..., 0]
        self.face, _ = head.keypoints(IBUG_68, self.posed, facing)
        self.camera = Camera.framing(self.face, scene, size)
        self.hair = self.strands = None
        if person.hair is not None:
            self.hair, self.strands = person.hair.mesh(self.posed, self.outward, person.wobble)

    def seen(self, points: Array) -> tuple[Array, Array]:
        """Pixels (..., 2) and depth (...) of points (..., 3) in the head's own frame."""
        return self.camera.project((points - head.CENTRE) @ self.turn.T)


HEAD, EARS, TORSO = 0, 1, 2
_HEAD_TRIANGLES = head.sheet_triangles(head.ROWS, head.COLUMNS)
_TORSO_TRIANGLES = head.sheet_triangles(body.TORSO_ROWS, body.TORSO_COLUMNS)


def bust(subject: Posed) -> tuple[Array, NDArray[np.int32], NDArray[np.int8], Array]:
    """Head, ears, neck and shoulders in one mesh.

    Returns vertices float32 (V, 3) in the camera's frame; triangles (T, 3); their kinds (T,), HEAD,
    EARS or TORSO; attributes float32 (V, 10): 0-2 normal, 3-5 place in the head's own frame, 6-7
    azimuth and elevation, 8 and 9 share of the first light and of the ambient light that arrives.
    """
    centre, turn = head.CENTRE.astype(np.float32), subject.turn
    ears, ear_triangles = body.ears(subject.grid, *subject.person.ears)
    posed_ears = (ears - centre) @ turn.T
    right, left = posed_ears.reshape(2, body.EAR_ROWS, body.EAR_COLUMNS, 3)
    torso, with_head = body.torso(*subject.person.neck)
    share = with_head[:, None, None].astype(np.float32)
    with_body = (torso - centre) @ rotation(*subject.scene.body_turn).T
    posed_torso = share * ((torso - centre) @ turn.T) + (1 - share) * with_body

    vertices = _joined(subject.posed, posed_ears, posed_torso)
    normals = (-head.normals(right), head.normals(left), head.normals(posed_torso))
    on_head, on_torso = head.ROWS * head.COLUMNS, torso.size // 3
    angles = np.zeros((len(vertices), 2), np.float32)
    angles[:on_head] = head.GRID_ANGLES.reshape(-1, 2)
    casting = vertices if subject.hair is None else _joined(vertices, subject.hair)
    reach = _shadow(vertices, casting, subject.scene.lights[0][0])
    soften = ((reach[:on_head], head.ROWS, 1.3), (reach[-on_torso:], body.TORSO_ROWS, 1.0))
    for part, rows, blur in soften:
        part[:] = cv2.GaussianBlur(part.reshape(rows, -1), (0, 0), blur).ravel()
    smooth = cv2.GaussianBlur(subject.posed, (0, 0), 2.2)
    depth = ((smooth - subject.posed) * subject.outward).sum(-1)  # of hollows
    ambient = (
        np.clip(1 - 0.14 * depth, 0.4, 1.1).ravel(),
        np.full(len(ears), 0.8),
        np.repeat(1 - 0.45 * with_head, body.TORSO_COLUMNS),
    )
    places = _joined(subject.grid, ears, torso)
    arriving = np.stack([reach, np.concatenate(ambient)], 1)
    attributes = (_joined(subject.outward, *normals), places, angles, arriving)
    parts = (_HEAD_TRIANGLES, ear_triangles + on_head, _TORSO_TRIANGLES + on_head + len(ears))
    return (
        vertices,
        np.concatenate(parts),
        np.repeat(np.arange(3, dtype=np.int8), [len(part) for part in parts]),
        np.concatenate(attributes, 1, dtype=np.float32),
    )


def _joined(*parts: Array) -> Array:
    return np.concatenate([part.reshape(-1, 3) for part in parts], dtype=np.float32)


def _shadow(vertices: Array, casting: Array, light: Array) -> Array:
    """How much of a light reaches each vertex (V,), 0 to 1, past what casts shadows (W, 3)."""
    side = np.cross(light, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(side, light), light]).astype(np.float32)
    cells, cell = 96, 5.0  # mm

    def seen(points: Array) -> tuple[NDArray[np.int64], Array]:
        *across, towards = frame @ points.T
        column, row = (np.array(across) / cell + cells / 2).clip(0, cells - 1).astype(np.int64)
        return row * cells + column, towards

    index, towards = seen(casting)
    nearest = np.full(cells * cells, -1e4, np.float32)
    np.maximum.at(nearest, index, towards)
    nearest = cv2.dilate(nearest.reshape(cells, cells), np.ones((3, 3), np.uint8))
    nearest = cv2.GaussianBlur(np.maximum(nearest, -150), (0, 0), 0.7).ravel()
    index, towards = seen(vertices)
    return soft(-18, -8, towards - nearest[index])
