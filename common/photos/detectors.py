"""Where the faces of a picture are: three detectors behind one interface.

Every detector draws its boxes in its own way; one ends at the brows, another includes half the
hair. Each box is therefore moved and scaled to where the landmarks' box lies on average, by three
numbers fitted on training faces (``python -m benchmarks.detectors fit``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from torch import Tensor
from torchvision.ops import box_iou, nms

from common.crops import adjust_box
from common.system.errors import UserError

Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From a picture, uint8 (H, W, 3) RGB or (H, W), to boxes (N, 4) and scores (N,)."""

FITS = {
    "haar": (0.009, 0.146, 0.866),
    "lbp": (0.014, 0.143, 0.908),
    "yunet": (0.004, 0.125, 0.792),
}
"""Right, down and scale of ``common.crops.adjust_box`` for each detector: medians over the training
faces of 300-W that it finds."""

TURNS = (-45.0, -30.0, 30.0, 45.0)  # degrees that are tried where no face is upright
SMALLEST = 24  # pixels of a face that a detector sees, and of a picture that it looks at
OVERLAP = 0.3  # intersection over union from which two boxes are one face


@dataclass(frozen=True)
class Detection:
    """One face that a detector found.

    box: left, top, width, height in pixels counted from the picture's edge, where the box of the
        landmarks would lie.
    score: in the detector's own unit, higher is surer; None where no detector found the face.
    angle: degrees by which the face is turned clockwise in the picture; the box is upright and is
        to be turned with it about its own centre.
    """

    box: tuple[float, float, float, float]
    score: float | None
    angle: float = 0.0


@dataclass(frozen=True)
class Detector:
    """One way to find faces, and how its boxes become boxes of landmarks.

    name: "haar", "lbp" or "yunet".
    find: the detector itself.
    longest: pixels of the longer side to which larger pictures are shrunk before.
    fit: right, down and scale of ``common.crops.adjust_box``.
    """

    name: str
    find: Find
    longest: int
    fit: tuple[float, float, float]


def load(name: str, model: Path | None = None) -> Detector:
    """The detector "haar", "lbp" or "yunet".

    model: YuNet's file, face_detection_yunet_2023mar.onnx; the other two need none.
    Raises UserError for another name, or where the file is missing or damaged.
    """
    if name not in FITS:
        raise UserError(f"--detector {name}: no such detector; choose {', '.join(FITS)}")
    if name == "haar":
        find, longest = haar(), 640
    elif name == "lbp":
        find, longest = lbp(), 320
    else:
        find, longest = yunet(model), 640
    return Detector(name, find, longest, FITS[name])


def detect(image: np.ndarray, detector: Detector, angle: float = 0.0) -> list[Detection]:
    """The faces in one picture, the best score first; overlapping boxes are merged.

    image: uint8 (H, W, 3) RGB or (H, W) grey.
    angle: degrees by which the picture is turned counter-clockwise before, for faces that are
        turned clockwise by about as many.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, detector.longest / max(height, width))
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if min(image.shape[:2]) < SMALLEST:
        return []
    image, back = turned_back(image, angle)
    boxes, scores = detector.find(image)
    boxes = adjust_box(torch.as_tensor(boxes, dtype=torch.float32), *detector.fit).numpy()  # (N, 4)
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) @ back[:, :2].T + back[:, 2]  # (N, 2)
    boxes = np.concatenate([centres - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1) / shrink
    return merged(
        [
            Detection(tuple(box.tolist()), float(score), angle)
            for box, score in zip(boxes, scores, strict=True)
        ]
    )


def merged(found: list[Detection]) -> list[Detection]:
    """The detections that show different faces, the best score first."""
    boxes = np.array([face.box for face in found]).reshape(-1, 4)
    return [found[i] for i in distinct(boxes, np.array([face.score for face in found]))]


def turned_back(image: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The whole picture (H, W) or (H, W, 3), turned counter-clockwise by ``angle`` degrees, and
    the matrix (2, 3) that takes places in it, counted from its edge, back to the picture's."""
    if not angle:
        return image, np.eye(2, 3)
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((0, 0), angle, 1.0)[:, :2]  # (2, 2)
    size = np.abs(turn) @ (width, height)  # of the upright box that holds it
    shift = size / 2 - turn @ (width / 2, height / 2)
    matrix = np.c_[turn, shift + turn @ (0.5, 0.5) - 0.5]  # of the middles of pixels
    image = cv2.warpAffine(image, matrix, tuple(np.ceil(size).astype(int).tolist()))
    return image, np.c_[turn.T, -turn.T @ shift]


def distinct(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Non-maximum suppression: the indices of boxes (N, 4) that show different faces, the best
    score (N,) first."""
    return nms(_corners(boxes), torch.as_tensor(scores).double(), OVERLAP).tolist()


def overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, 0 to 1, of boxes (N, 4) with others (M, 4): (N, M)."""
    return box_iou(_corners(boxes), _corners(others)).numpy()


def _corners(boxes: np.ndarray) -> Tensor:
    """Left, top, width, height -> left, top, right, bottom: float64 (N, 4)."""
    boxes = boxes.astype(np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return torch.from_numpy(boxes)


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
