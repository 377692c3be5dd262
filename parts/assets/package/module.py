"""Facial keypoints without PyTorch: ``predict(image)`` finds every face of a photo and its points.

Needs numpy, opencv-python and onnxruntime; network, detector and settings lie beside this file.
Keypoints and boxes are pixels of the photo, boxes counted from its edge; a whole number is the
middle of a pixel.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
SETTINGS: dict[str, Any] = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
HEAD = np.array(SETTINGS["mean_head"])  # (68, 3), right, down and away from the camera
LEAST_CONFIDENCE, OVERLAP, LONGEST, SMALLEST = 0.1, 0.3, 640, 24
BITS, HALF, FAR = 22, 2**21, 8.0  # of fixed-point weights; face sizes from head to camera


@dataclass(frozen=True)
class Pose:
    """Degrees from a head that looks straight ahead: to the picture's right, down, clockwise."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class FoundFace:
    """One face of a photo."""

    box: tuple[float, float, float, float]  # of the landmarks: left, top, width, height
    score: float | None  # the detector's; None where the box was given
    confidence: float  # 0 to 1, of the network that the keypoints are those of a face
    keypoints: np.ndarray  # float32 (68, 2), x and y
    pose: Pose
    eyes_open: float  # distance of the lids over the eye's width, about 0 to 0.5
    mouth_open: float  # distance of the lips over the mouth's width, from 0
    uncertainty: np.ndarray  # float32 (68,), pixels


@dataclass(frozen=True)
class _Look:
    crop: np.ndarray  # float32 (1, 1, side, side), its input
    matrix: np.ndarray  # (2, 3), from pixels of the photo to those of the crop
    fractions: np.ndarray  # (68, 2), of the crop
    spread: np.ndarray  # (68,), how far each point may be elsewhere, fraction of the crop

    def side(self) -> float:  # of the crop, pixels of the photo
        return self.crop.shape[-1] / math.sqrt(abs(np.linalg.det(self.matrix[:, :2])))

    def points(self, fractions: np.ndarray) -> np.ndarray:  # (68, 2), pixels of the photo
        pixels = fractions * self.crop.shape[-1] - 0.5
        return (pixels - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T


def predict(image: np.ndarray, boxes: np.ndarray | None = None) -> list[FoundFace]:
    """Every face of a photo that is about upright, the most confident first.

    image: uint8 (H, W, 3), RGB, or (H, W), grey.
    boxes: (N, 4) landmarks' boxes, left, top, width, height, in place of the detector; then the
        result has one face for each, in their order.
    Raises ValueError for anything else.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"image: uint8 (H, W, 3) or (H, W), not {image.dtype} {image.shape}")
    if boxes is not None:
        return [_face(image, box, None) for box in np.asarray(boxes, float).reshape(-1, 4)]
    found = (_face(image, box, score) for box, score in _detect(image))
    faces = [face for face in found if face.confidence >= LEAST_CONFIDENCE]
    around = [_box(face.keypoints) + [0, 0, 4, 4] for face in faces]
    return [faces[i] for i in _distinct(around, [face.confidence for face in faces])]


def _detect(image: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Boxes where the landmarks' boxes lie on average, and scores, the best first."""
    shrink = min(1.0, LONGEST / max(image.shape[:2]))
    if shrink < 1:
        size = [max(1, round(length * shrink)) for length in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if min(image.shape[:2]) < SMALLEST:
        return []
    boxes, scores = _yunet(image) if (HERE / "yunet.onnx").is_file() else _haar(image)
    right, down, scale = SETTINGS["fit"]
    adjusted = []
    for left, top, box_width, box_height in boxes:
        longer = max(box_width, box_height)
        corner = np.array([left + right * longer, top + down * longer, box_width, box_height])
        adjusted.append(_square(corner, scale) / shrink)
    return [(adjusted[i], float(scores[i])) for i in _distinct(adjusted, scores)]


def _yunet(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code, size = cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR, image.shape[1::-1]
    detector = cv2.FaceDetectorYN.create(str(HERE / "yunet.onnx"), "", size, score_threshold=0.6)
    _, found = detector.detect(cv2.cvtColor(image, code))
    found = np.zeros((0, 15)) if found is None else found.astype(float)
    return found[:, :4], found[:, 14]


def _haar(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    boxes, _, scores = cascade.detectMultiScale3(
        grey, scaleFactor=1.1, minNeighbors=5, minSize=(SMALLEST,) * 2, outputRejectLevels=True
    )
    return np.asarray(boxes, float).reshape(-1, 4), np.ravel(scores)


def _distinct(boxes: list[np.ndarray], scores: list[float] | np.ndarray) -> list[int]:
    """Non-maximum suppression: which boxes show different faces, the best score first."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(_overlap(boxes[index], boxes[other]) <= OVERLAP for other in kept):
            kept.append(index)
    return kept


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return float(both / (np.prod(one[2:]) + np.prod(other[2:]) - both))


def _face(image: np.ndarray, box: np.ndarray, score: float | None) -> FoundFace:
    """The keypoints in a box, after a second look where it was off, and what follows from them."""
    look = _second_look(image, box)
    mirrored = _run(look.crop[..., ::-1])[0][SETTINGS["flip_order"]] * [-1, 1] + [1, 0]
    apart = np.linalg.norm(look.fractions - mirrored, axis=1)  # (68,)
    unsure = SETTINGS["uncertainty"] * np.hypot(look.spread, apart)
    by, value = SETTINGS["calibration"], unsure.mean()
    if SETTINGS["weak"]:
        by, value = SETTINGS["flip_calibration"], apart.mean()
    odds = by["slope"] * (math.log(by["midpoint"]) - math.log(max(value, 1e-6)))
    confidence = 1 / (1 + math.exp(-min(max(odds, -500), 500)))
    points = look.points((look.fractions + mirrored) / 2).astype(np.float32)
    measured = _pose(points), *_openness(points), (unsure * look.side()).astype(np.float32)
    return FoundFace(tuple(np.asarray(box).tolist()), score, confidence, points, *measured)


def _second_look(image: np.ndarray, box: np.ndarray) -> _Look:
    """The look at a box, or at that of the points where the box was off or the face leans."""
    look, around, angle = _look(image, box, 0.0), box, 0.0
    for first in (True, *[False] * 4):
        points = look.points(look.fractions)
        left, right = points[SETTINGS["outer_eyes"]]
        lean = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
        leaning = abs((lean - angle + 180) % 360 - 180) > SETTINGS["leaning"]
        turned = leaning or angle != 0
        angle = lean if turned else angle
        own = _box(points, angle)
        again = leaning or ((turned or first) and _off(around, own) > SETTINGS["box_off"])
        if not again or min(own[2:]) <= 1:
            break
        own = _square(own, SETTINGS["room"]) if leaning else own
        other = _look(image, own, angle)
        wide, before = (one.spread.mean() * one.side() for one in (other, look))
        if leaning or wide <= SETTINGS["wider"] * before:
            look, around = other, own
    return look


def _box(points: np.ndarray, angle: float = 0.0) -> np.ndarray:
    """The box of points that is turned clockwise by an angle about its own centre."""
    turn = _turn(angle)
    upright = points @ turn.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    centre = (low + high) / 2 @ turn + 0.5
    return np.concatenate([centre - (high - low) / 2, high - low])


def _turn(angle: float) -> np.ndarray:  # counter-clockwise, back upright
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[cosine, sine], [-sine, cosine]])


def _square(box: np.ndarray, scale: float) -> np.ndarray:
    """The square about a box's centre, ``scale`` times its longer side."""
    centre, side = box[:2] + box[2:] / 2, max(box[2:]) * scale
    return np.concatenate([centre - side / 2, [side, side]])


def _off(old: np.ndarray, new: np.ndarray) -> float:
    """By how many sides two boxes differ in place, or in size by the logarithm."""
    old, new = _square(old, 1.0), _square(new, 1.0)
    moved = np.abs(new[:2] + new[2:] / 2 - old[:2] - old[2:] / 2).max() / old[2]
    return max(moved, abs(math.log(new[2] / old[2])))


def _look(image: np.ndarray, box: np.ndarray, angle: float) -> _Look:
    """What the network predicts in a box that is turned clockwise by an angle."""
    side, turn = SETTINGS["side"], _turn(angle)
    square = _square(box, SETTINGS["box_scale"])
    middle, scale = square[:2] + square[2:] / 2 - 0.5, side / square[2]
    matrix = np.column_stack([scale * turn, (side - 1) / 2 - scale * (turn @ middle)])
    grey, corner = _grey_around(image, middle, square[2] + max(1 / scale, 1) + 2)
    square[:2] -= corner
    if angle:  # an upright patch first, with a pixel to spare
        width = math.ceil(square[2]) + 2
        there = np.column_stack([turn, (width - 1) / 2 - turn @ (middle - corner)])
        grey = cv2.warpAffine(grey, there, (width, width), borderMode=cv2.BORDER_REPLICATE)
        square[:2] = (width - square[2]) / 2
    across, down = (_filter(square[i], square[2], grey.shape[1 - i], side) for i in (0, 1))
    rows, columns = down[0], across[0]  # as Pillow: first along the rows, 8 bits between the two
    crop = (grey[rows][:, columns].astype(np.int64) @ across[1].T + HALF) >> BITS
    crop = (down[1] @ crop + HALF) >> BITS
    crop = (crop.astype(np.float32) / 255 - 0.5)[None, None]
    return _Look(crop, matrix, *_run(crop))


def _grey_around(image: np.ndarray, middle: np.ndarray, reach: float) -> list[np.ndarray]:
    """The grey values of an image within reach of a place, and where their first pixel lies."""
    last = np.array(image.shape[1::-1]) - 1
    low, high = (np.clip(np.floor(middle + far), 0, last).astype(int) for far in (-reach, reach))
    area = image[low[1] : high[1] + 1, low[0] : high[0] + 1]
    if area.ndim == 3:  # ITU-R 601 luma in whole numbers
        area = (area.astype(int) @ [19595, 38470, 7471] + 32768) >> 16
    return [area.astype(np.uint8), low]


def _filter(start: float, length: float, size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of an axis that the cells of a crop are made of, and weights (cells, pixels): a
    triangle filter, which averages where the crop shrinks. The edge's pixels are repeated."""
    step = length / cells
    reach = max(step, 1.0)
    pixels = np.arange(math.floor(start - reach), math.ceil(start + length + reach))
    centres = start + (np.arange(cells)[:, None] + 0.5) * step  # (cells, 1)
    weights = np.clip(1 - np.abs(pixels + 0.5 - centres) / reach, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(pixels, 0, size - 1), np.floor(weights * 2**BITS + 0.5).astype(np.int64)


@cache
def _network() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(HERE / "face.onnx", providers=["CPUExecutionProvider"])


def _run(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fractions (68, 2) and spreads (68,): mean and standard deviation of each heatmap."""
    (logs,) = _network().run(None, {"faces": np.ascontiguousarray(crop)})
    heatmaps = np.exp(logs[0].astype(np.float64))  # (68, h, w)
    middles = [(np.arange(n) + 0.5) / n for n in heatmaps.shape[1:]]
    means, variance = [], -2 * (SETTINGS["sigma"] / heatmaps.shape[1]) ** 2  # without the target's
    for axis, place in ((1, middles[1]), (2, middles[0])):
        probabilities = heatmaps.sum(axis=axis)  # (68, w) or (68, h)
        mean = probabilities @ place
        means.append(mean)
        variance = variance + probabilities @ place**2 - mean**2
    return np.stack(means, axis=1), np.sqrt(np.clip(variance, 0, None))


def _pose(points: np.ndarray) -> Pose:
    points = points.astype(np.float64)  # the mean head is turned until its points fall on them
    flat = (HEAD[:, 0] + 1j * HEAD[:, 1]) - np.mean(HEAD[:, 0] + 1j * HEAD[:, 1])
    seen = (points[:, 0] + 1j * points[:, 1]) - np.mean(points[:, 0] + 1j * points[:, 1])
    roll = np.array([0, 0, np.angle((flat.conj() * seen).sum())])
    low, high = points.min(axis=0), points.max(axis=0)
    focal, (x, y) = FAR * (high - low).max(), (low + high) / 2
    camera = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]])
    away = np.array([0, 0, FAR * np.ptp(HEAD, axis=0).max()])
    _, turn, _ = cv2.solvePnP(HEAD, points, camera, None, roll, away, True)
    turn = cv2.Rodrigues(turn)[0] * np.outer([1, 1, -1], [1, 1, -1])
    yaw, pitch = math.atan2(-turn[2, 0], turn[2, 2]), math.asin(np.clip(-turn[2, 1], -1, 1))
    return Pose(*map(math.degrees, (yaw, pitch, math.atan2(-turn[0, 1], turn[1, 1]))))


def _openness(points: np.ndarray) -> tuple[float, float]:
    def distance(name: str) -> float:
        ends = points[np.array(SETTINGS[name])]  # (P, 2, 2)
        return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).mean())

    return distance("lids") / distance("eye_corners"), distance("lips") / distance("mouth_corners")


def main() -> None:
    """The command: prints the faces of each photo as one line of JSON."""
    parser = argparse.ArgumentParser(description="Facial keypoints of photos as lines of JSON.")
    parser.add_argument("photos", nargs="+", type=Path)
    status = 0
    for path in parser.parse_args().photos:
        if (image := cv2.imread(str(path))) is None:  # turned as EXIF says
            print(f"error: {path}: not a picture; save it as JPEG", file=sys.stderr)
            status = 2
            continue
        faces = [asdict(face) for face in predict(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))]
        print(json.dumps({"photo": str(path), "faces": faces}, default=np.ndarray.tolist))
    sys.exit(status)
