"""Where the faces of a picture are: three detectors behind one interface.

Every detector draws its boxes in its own way; one ends at the brows, another includes half the
hair. Each box is therefore moved and scaled to where the landmarks' box lies on average, by three
numbers fitted on training faces (``python -m benchmarks.detectors fit``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from torch import Tensor
from torchvision.ops import box_convert, box_iou, nms

from common.crops import adjust_box
from common.system.errors import UserError

Box = tuple[float, float, float, float]  # left, top, width, height, from the picture's edge
Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From a picture, uint8 (H, W, 3) RGB or (H, W), to boxes (N, 4) and scores (N,)."""

FITS = {
    "haar": (0.009, 0.146, 0.866),
    "lbp": (0.014, 0.143, 0.908),
    "yunet": (0.004, 0.125, 0.792),
}
"""Right, down and scale of ``common.crops.adjust_box`` for each detector: medians over the training
faces of 300-W that it finds."""

TURNS = (30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180)
"""Degrees by which a picture is turned where no face is upright; detectors bear half a step."""

LEANS = (0, 20, -20)  # degrees as well, with ``ROOM`` around the picture
ROOM = 0.25  # of the picture's size on each side, for faces that fill it or that its edge cuts
MOST = 32  # faces in turned pictures that the network checks; there can be hundreds of alarms
SMALLEST = 24  # pixels of a face that a detector sees, and of a picture that it looks at
OVERLAP = 0.3  # intersection over union from which two boxes are one face


@dataclass(frozen=True)
class Detection:
    """One face that a detector found, where the box of the landmarks would lie.

    angle: degrees by which the face is turned clockwise in the picture; the box is upright and is
        to be turned with it about its own centre.
    """

    box: Box
    score: float | None  # in the detector's own unit; None where no detector found the face
    angle: float = 0.0


@dataclass(frozen=True)
class Detector:
    """One way to find faces, and how its boxes become boxes of landmarks."""

    name: str  # "haar", "lbp" or "yunet"
    find: Find
    longest: int  # pixels of the longer side to which larger pictures are shrunk before
    fit: tuple[float, float, float]  # right, down and scale of ``common.crops.adjust_box``


def load(name: str, model: Path | None = None) -> Detector:
    """The detector "haar", "lbp" or "yunet"; "auto" is YuNet where its file is there, else Haar.

    model: YuNet's file, face_detection_yunet_2023mar.onnx; the other two need none.
    Raises UserError for another name, or where the file is missing or damaged.
    """
    if name == "auto":
        name = "yunet" if model is not None and model.is_file() else "haar"
    if name not in FITS:
        raise UserError(f"--detector {name}: no such detector; choose auto, {', '.join(FITS)}")
    finders = {"haar": haar, "lbp": lbp, "yunet": partial(yunet, model)}
    return Detector(name, finders[name](), 320 if name == "lbp" else 640, FITS[name])


def detect(
    image: np.ndarray, detector: Detector, angle: float = 0.0, room: float = 0.0
) -> list[Detection]:
    """The faces in one picture, the best score first; overlapping boxes are merged.

    image: uint8 (H, W, 3) RGB or (H, W) grey.
    angle: degrees by which the picture is turned counter-clockwise before, for faces that are
        turned clockwise by about as many.
    room: how much of the picture's size is added on each side, for faces that its edge cuts.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, detector.longest / max(height, width))
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if min(image.shape[:2]) < SMALLEST:
        return []
    image, back = turned_back(image, angle, room)
    boxes, scores = detector.find(image)
    boxes = adjust_box(torch.as_tensor(boxes, dtype=torch.float32), *detector.fit).numpy()  # (N, 4)
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) @ back[:, :2].T + back[:, 2]  # (N, 2)
    boxes = np.concatenate([centres - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1) / shrink
    each = zip(boxes.tolist(), scores.tolist(), strict=True)
    return distinct([Detection(tuple(box), score, angle) for box, score in each], scores)


def detect_turned(image: np.ndarray, detector: Detector, room: bool = True) -> list[Detection]:
    """What may be faces that lie in the picture in any direction: the ``MOST`` with the best
    scores, of which several may be one, found twice.

    image: as in ``detect``; searched with three quarters of the pixels on a side, for speed.
    room: search with room around the picture, too.
    """
    detector = replace(detector, longest=3 * detector.longest // 4)
    tries = [(angle, 0.0) for angle in TURNS] + [(angle, ROOM) for angle in LEANS] * room
    found = [face for angle, around in tries for face in detect(image, detector, angle, around)]
    return sorted(found, key=lambda face: face.score, reverse=True)[:MOST]


def turned_back(
    image: np.ndarray, angle: float, room: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The whole picture (H, W) or (H, W, 3), turned counter-clockwise by ``angle`` degrees, with
    ``room`` times its size on each side, and the matrix (2, 3) that takes places in it, counted
    from its edge, back to the picture's."""
    if not (angle or room):
        return image, np.eye(2, 3)
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((0, 0), angle, 1.0)[:, :2]  # (2, 2)
    size = np.abs(turn) @ (width, height) * (1 + 2 * room)  # of the upright box that holds it
    shift = size / 2 - turn @ (width / 2, height / 2)
    matrix = np.c_[turn, shift + turn @ (0.5, 0.5) - 0.5]  # of the middles of pixels
    image = cv2.warpAffine(image, matrix, tuple(np.ceil(size).astype(int).tolist()))
    return image, np.c_[turn.T, -turn.T @ shift]


def distinct(
    found: list[Any], scores: Sequence[float], boxes: np.ndarray | None = None
) -> list[Any]:
    """Non-maximum suppression: those of N faces that do not show the same face, the best of the N
    scores first. boxes: of the faces, (N, 4), by default each one's ``box``."""
    boxes = _corners(np.array([face.box for face in found]) if boxes is None else boxes)
    return [found[i] for i in nms(boxes, torch.tensor(scores, dtype=torch.float64), OVERLAP)]


def overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, 0 to 1, of boxes (N, 4) with others (M, 4): (N, M)."""
    return box_iou(_corners(boxes), _corners(others)).numpy()


def _corners(boxes: np.ndarray) -> Tensor:
    """Left, top, width, height -> left, top, right, bottom: float64 (N, 4)."""
    return box_convert(torch.from_numpy(boxes).double().reshape(-1, 4), "xywh", "xyxy")


def haar() -> Find:
    """P. Viola and M. Jones, CVPR 2001, as R. Lienhart trained it for OpenCV, which brings it.

    Raises UserError where OpenCV is of version 5, which dropped it.
    """
    if not hasattr(cv2, "CascadeClassifier"):
        raise UserError(
            f"OpenCV {cv2.__version__} has no Haar detector; install an older one with: "
            "python -m pip install 'opencv-python<5'"
        )
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, _, scores = cascade.detectMultiScale3(
            _grey(image),
            scaleFactor=1.1,
            minNeighbors=5,
            minSize=(SMALLEST, SMALLEST),
            outputRejectLevels=True,
        )
        return _rows(boxes, 4), np.ravel(scores)

    return find


def lbp() -> Find:
    """Local binary patterns in a cascade, S. Liao et al., ICB 2007; scikit-image brings it.

    It has no scores: all are 1.
    """
    cascade = Cascade(lbp_frontal_face_cascade_filename())

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        smallest, largest = (SMALLEST, SMALLEST), (min(image.shape[:2]),) * 2
        found = cascade.detect_multi_scale(_grey(image), 1.1, 1, smallest, largest)
        boxes = [(face["c"], face["r"], face["width"], face["height"]) for face in found]
        return _rows(boxes, 4), np.ones(len(boxes))

    return find


def yunet(model: Path | None) -> Find:
    """W. Wu, H. Peng, S. Yu, YuNet: a tiny millisecond-level face detector, MIR 2023.

    Raises UserError where the file is missing or not the network.
    """
    if model is None or not model.is_file():
        raise UserError(
            f"{model or 'YuNet'}: no such file; fetch it with: "
            "python run_part.py data yunet --download, and --data if it was given"
        )
    try:
        network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score_threshold=0.6)
    except cv2.error:
        raise UserError(f"{model}: damaged or not YuNet; remove it and fetch it again") from None

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        code = cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR
        network.setInputSize((image.shape[1], image.shape[0]))
        _, faces = network.detect(cv2.cvtColor(image, code))
        faces = _rows([] if faces is None else faces, 15)  # box, five points, score
        return faces[:, :4], faces[:, 14]

    return find


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _rows(values: Sequence[Sequence[float]] | np.ndarray, width: int) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(-1, width)
