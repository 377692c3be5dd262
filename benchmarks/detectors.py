"""What detectors are fitted by: ``python -m benchmarks.detectors fit`` (or ``confidence``).

``fit`` runs the detectors on the training faces of 300-W and prints the three numbers that move
their boxes to where landmarks' boxes lie, for ``detectors.FITS``. ``confidence`` compares training
faces, with boxes as scattered as a detector's, and windows beside them, and prints at which flip
disagreement both are as likely, for ``placement.FLIP_CALIBRATION``. The test set chooses nothing;
what is found and missed there, ``python run_part.py evaluate --boxes NAME`` prints.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import parser_of, run
from common.augmentation import to_network_input
from common.crops import read_picture, square_boxes
from common.faces import Faces
from common.inference import predict_flipped
from common.keypoints import IBUG_68
from common.photos import detectors
from common.photos.detectors import Detector
from common.photos.finder import LEAST_CONFIDENCE, FaceKeypoints, crop_faces
from common.photos.placement import Calibration
from datasets import yunet
from datasets.splits import split
from parts.toolkit import face_keypoints

SCATTER = (0.085, 0.046, 0.094)  # of Haar's boxes about landmarks': right, down, size; see ``fit``


def main() -> None:
    """Print the numbers that fit each detector, or the calibration."""
    parser = parser_of(__doc__, every=1)
    parser.add_argument("what", choices=("fit", "confidence"))
    parser.add_argument("--checkpoint", type=Path, metavar="FILE")
    options = parser.parse_args()
    faces = split("ibug", "train", None, "landmarks", IBUG_68)
    faces = faces.take(range(0, len(faces), options.every))
    if options.what == "confidence":
        confidence(face_keypoints(options.checkpoint, device="cpu"), faces)
    else:
        for name in detectors.FITS:
            fit(detectors.load(name, yunet.place(None)), faces)


def fit(detector: Detector, faces: Faces) -> None:
    """Print median and standard deviation of where landmarks' boxes lie from the detector's."""
    raw = replace(detector, fit=(0.0, 0.0, 1.0))
    rows, began = [], time.monotonic()
    for file, truth in zip(faces.files, faces.boxes.numpy(), strict=True):
        for face in detectors.detect(pixels(file), raw):
            box = np.array(face.box)
            if detectors.overlap(box, truth) > 0.3:
                off = (truth[:2] + truth[2:] / 2 - box[:2] - box[2:] / 2) / box[2:].max()
                rows.append((*off, truth[2:].max() / box[2:].max()))
                break
    middle, spread = np.median(rows, axis=0), np.std(rows, axis=0)
    print(
        f"{detector.name}: found {len(rows)} of {len(faces)}; right, down, scale "
        f"{middle.round(3).tolist()} ± {spread.round(3).tolist()}; "
        f"{1000 * (time.monotonic() - began) / len(faces):.0f} ms a picture",
        flush=True,
    )


@torch.inference_mode()
def confidence(finder: FaceKeypoints, faces: Faces) -> None:
    """Print the calibration, and which share of faces and windows it takes for faces."""
    random = np.random.default_rng(0)
    seen, beside = [], []  # the flip disagreement of each
    for file, truth in zip(faces.files, square_boxes(faces.boxes, 1.0).numpy(), strict=True):
        image = pixels(file)
        detected = _as_detected(truth, random)
        boxes = np.array([detected, *windows_beside(truth, image.shape[:2], random)])  # (1..2, 4)
        crops, _ = crop_faces(image, boxes, np.zeros(len(boxes)), finder.recipe)
        inputs = to_network_input(crops, finder.recipe)
        flipped = predict_flipped(finder.network, inputs, IBUG_68.flip_order)
        disagreement = (finder.network(inputs) - flipped).norm(dim=-1).mean(dim=1)
        seen.append(disagreement[:1])
        beside.append(disagreement[1:])
    seen, beside = torch.cat(seen), torch.cat(beside)
    calibration = _calibrated(seen, beside)
    trusted = (calibration.confidence(some) >= LEAST_CONFIDENCE for some in (seen, beside))
    shares = [100 * some.double().mean() for some in trusted]
    print(
        f"{calibration}; a confidence of {LEAST_CONFIDENCE} or more have {shares[0]:.1f} % of "
        f"{len(seen)} faces and {shares[1]:.1f} % of {len(beside)} windows"
    )


def pixels(file: Path) -> np.ndarray:
    """A picture, uint8 (H, W, 3)."""
    return np.asarray(read_picture(file, colour=True))


def _as_detected(truth: np.ndarray, random: np.random.Generator) -> list[float]:
    side = truth[2] * np.exp(random.normal() * SCATTER[2])
    middle = truth[:2] + truth[2:] / 2 + random.normal(size=2) * SCATTER[:2] * truth[2]
    return [*(middle - side / 2), side, side]


def windows_beside(truth: np.ndarray, size: tuple[int, ...], random: np.random.Generator) -> list:
    """A square in the picture (H, W) that hardly touches the face; none if 40 draws give none."""
    for _ in range(40):
        side = random.uniform(0.25, 0.9) * truth[2]
        corner = random.uniform(-0.1, np.array(size[::-1]) / side - 0.9) * side
        inside = np.all(np.abs(corner + side / 2 - truth[:2] - truth[2:] / 2) < truth[2:] / 2)
        if detectors.overlap(np.array([*corner, side, side]), truth) < 0.1 and not inside:
            return [[*corner, side, side]]
    return []


def _calibrated(face: Tensor, other: Tensor) -> Calibration:
    """Fisher's linear discriminant (1936) of the logarithms: the odds of two normal distributions
    of the same width. Logistic regression diverges where the two do not overlap."""
    face, other = face.double().log(), other.double().log()
    apart, variance = other.mean() - face.mean(), (face.var() + other.var()) / 2
    midpoint = ((face.mean() + other.mean()) / 2).exp()
    return Calibration(round(midpoint.item(), 4), slope=round((apart / variance).item(), 1))


if __name__ == "__main__":
    run(main)
