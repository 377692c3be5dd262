"""Where the faces of a picture are: three detectors behind one interface.

Every detector draws its boxes in its own way; one ends at the brows, another takes half the hair
along. Each is therefore moved and scaled to where the boxes of landmarks lie on average, by three
numbers that were fitted on training faces (``python -m benchmarks.detectors fit``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from common.crops import refit
from common.errors import UserError

NAMES = ("haar", "lbp", "yunet")
OVERLAP = 0.3  # intersection over union from which two boxes are one face


@dataclass(frozen=True)
class Detection:
    """One face that a detector found.

    box: left, top, width, height in pixels counted from the picture's edge, where the box of the
        landmarks would lie. score: in the detector's own unit, the higher the surer.
    angle: by how many degrees the face is turned clockwise in the picture; the box stands upright
        and is to be turned with it about its own centre.
    """

    box: tuple[float, float, float, float]
    score: float
    angle: float = 0.0


@dataclass(frozen=True)
class Detector:
    """One way to find faces, and how its boxes become boxes of landmarks.

    find: takes uint8 (H, W, 3) RGB or (H, W) grey, returns boxes (N, 4) and scores (N,).
    longest: larger pictures are shrunk to this many pixels on the longer side before.
    fit: right, down and scale of ``common.crops.refit``.
    """

    name: str
    find: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    longest: int
    fit: tuple[float, float, float]


def load(name: str, model: Path | None = None) -> Detector:
    """The detector ``haar``, ``lbp`` or ``yunet``.

    model: YuNet's file, face_detection_yunet_2023mar.onnx; the other two need none.
    Raises UserError for another name, or where the file is missing or damaged.
    """
    if name == "haar":
        return Detector("haar", _haar(), 640, (0.0, 0.1, 0.85))
    raise UserError(f"--detector {name}: no such detector; choose {', '.join(NAMES)}")


def detect(image: np.ndarray, detector: Detector) -> list[Detection]:
    """The faces in one picture, the surest first; overlapping boxes are merged.

    image: uint8 (H, W, 3) RGB or (H, W) grey.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, detector.longest / max(height, width))
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    boxes, scores = detector.find(image)
    if not len(boxes):
        return []
    scale = np.tile([width / image.shape[1], height / image.shape[0]], 2)
    boxes = refit(torch.as_tensor(boxes * scale, dtype=torch.float32), *detector.fit).numpy()
    kept = distinct(boxes, scores)
    return [Detection(tuple(boxes[i].tolist()), float(scores[i])) for i in kept]


def distinct(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Non-maximum suppression: the indices of boxes (N, 4) that show different faces, the best
    score first."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if all(overlap(boxes[index], boxes[other]) < OVERLAP for other in kept):
            kept.append(index)
    return kept


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (4,), 0 to 1."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    common = np.prod(np.clip(high - low, 0, None))
    return float(common / (np.prod(one[2:]) + np.prod(other[2:]) - common))


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _haar() -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Viola and Jones, CVPR 2001, as trained by R. Lienhart; the file comes with OpenCV."""
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, _, weights = cascade.detectMultiScale3(
            _grey(image), scaleFactor=1.1, minNeighbors=5, minSize=(24, 24), outputRejectLevels=True
        )
        return np.asarray(boxes, float).reshape(-1, 4), np.asarray(weights, float).reshape(-1)

    return find
