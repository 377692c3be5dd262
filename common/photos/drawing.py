"""Found faces drawn onto a photo: bright lines with dark edges, visible on any photo."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from common.photos.finder import FoundFace
from common.photos.pose import axes

SHOWN = ("boxes", "points", "mesh", "pose")
Colour = tuple[int, int, int]
ORANGE, SKY, YELLOW = (255, 176, 0), (86, 180, 233), (240, 228, 66)  # Okabe and Ito's, brightened
ICE, RED, GREEN = (150, 225, 255), (255, 90, 60), (0, 200, 130)
DARK = (20, 20, 20)
FEW = 20  # points; fewer have room to be drawn larger
_FINE = 4  # bits after the point in the coordinates that OpenCV draws with


def draw_faces(image: np.ndarray, faces: list[FoundFace], show: Collection[str]) -> np.ndarray:
    """A copy of a photo with faces drawn on it; the larger a face, the thicker its lines.

    image: uint8 (H, W, 3), RGB.
    show: names of SHOWN. "boxes": the detector's box and the confidence; "points": the keypoints,
        joined as the scheme joins them; "mesh": the Delaunay triangles between them; "pose":
        where the nose points (red), the chin (green) and the right-hand side of the face (orange).
    """
    image = image.copy()
    for face in faces:
        points = face.keypoints
        size = max(np.ptp(points, axis=0).max(), max(face.box[2:]) / 3)  # of few points the box's
        thick = max(1, round(size / 180))
        if "mesh" in show and len(points) > 2:
            net = image.copy()
            _lines(net, triangles(points), True, ICE, thick)
            cv2.addWeighted(net, 0.6, image, 0.4, 0, dst=image)  # dense: it would hide the face
        elif "points" in show:
            _lines(image, [points[list(run)] for run in face.scheme.lines], False, SKY, thick)
        if "points" in show:
            radius = max(1.0, size / (110 if len(points) >= FEW else 40))
            for colour, wide in ((DARK, radius + 1), (YELLOW, radius)):
                for point in _fixed(points).tolist():
                    cv2.circle(image, point, int(wide * 2**_FINE), colour, -1, cv2.LINE_AA, _FINE)
        if "boxes" in show:
            _box(image, face, thick)
        if "pose" in show and face.pose is not None:
            reach = points[30] + size / 2 * axes(face.pose)  # (3, 2), from the nose's tip
            for end, colour in zip(reach, (ORANGE, GREEN, RED), strict=True):
                _lines(image, [np.stack([points[30], end])], False, colour, 2 * thick)
    return image


def triangles(points: np.ndarray) -> np.ndarray:
    """The Delaunay triangles of points (K, 2): float32 (T, 3, 2)."""
    low, high = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 2
    plane = cv2.Subdiv2D(np.concatenate([low, high - low]).astype(int).tolist())
    plane.insert(points.astype(np.float32).tolist())
    return plane.getTriangleList().reshape(-1, 3, 2)


def _lines(
    image: np.ndarray, runs: Sequence[np.ndarray], closed: bool, colour: Colour, thick: int
) -> None:
    fixed = [_fixed(run) for run in runs]
    for shade, width in ((DARK, thick + 2), (colour, thick)):
        cv2.polylines(image, fixed, closed, shade, width, cv2.LINE_AA, _FINE)


def _box(image: np.ndarray, face: FoundFace, thick: int) -> None:
    left, top, width, height = face.box
    right, bottom = left + width, top + height
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) - 0.5
    _lines(image, [corners], True, ORANGE, thick)
    size, text = max(0.4, width / 400), f"{100 * face.confidence:.0f} %"
    at = max(round(left), 0), max(round(top - 8 * size), round(22 * size))
    for shade, extra in ((DARK, 3), (ORANGE, 0)):
        wide = max(1, round(2 * size)) + extra
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, shade, wide, cv2.LINE_AA)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Points as whole numbers with ``_FINE`` bits after the point; far away is cut off."""
    return np.round(np.clip(points, -(2**15), 2**15) * 2**_FINE).astype(np.int32)
