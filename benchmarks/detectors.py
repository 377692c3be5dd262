"""The detectors on 300-W: ``python -m benchmarks.detectors`` prints what each finds and misses.

``turned`` turns the same pictures about their middle, and prints the same for each angle.
``fit`` runs the detectors on the training faces and prints the three numbers that move their boxes
to where landmarks' boxes lie, for ``detectors.FITS``. ``confidence`` compares training faces, with
boxes as scattered as a detector's, and windows beside them, and prints at which flip disagreement
both are as likely, for ``finder.FLIP_CALIBRATION``. The test set chooses nothing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common import checkpoints
from common.augmentation import to_network_input
from common.crops import read_picture, square_boxes
from common.faces import Faces
from common.inference import predict_flipped
from common.keypoints import IBUG_68
from common.metrics import nme
from common.photos import detectors
from common.photos.detectors import Detector
from common.photos.finder import LEAST_CONFIDENCE, Calibration, FaceKeypoints, crop_faces
from common.recipe import Recipe
from datasets import yunet
from datasets.splits import split
from parts.commands.evaluate import metrics_of
from parts.protocols_300w import SAME_FACE
from parts.toolkit import default_checkpoint, face_keypoints

ANGLES = (-45, -30, -15, 0, 15, 30, 45)  # degrees, clockwise

SCATTER = (0.085, 0.046, 0.094)  # of Haar's boxes about landmarks': right, down, size; see ``fit``


def main() -> None:
    """Print one of the tables, a line for each detector."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    kinds = ("table", "turned", "fit", "confidence")
    parser.add_argument("what", nargs="?", choices=kinds, default="table")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE")
    parser.add_argument("--detectors", nargs="+", default=list(detectors.FITS), metavar="NAME")
    parser.add_argument("--split", default="lfpw/testset", metavar="NAME", help="of the tables")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th face")
    options = parser.parse_args()
    if options.what == "table":
        table(options.checkpoint, options.split, options.detectors)
        return
    of = options.split if options.what == "turned" else "train"
    faces = split("ibug", of, None, "landmarks", IBUG_68)
    faces = faces.take(range(0, len(faces), options.every))
    if options.what == "turned":
        for name in options.detectors:
            turned(face_keypoints(options.checkpoint, name), faces)
    elif options.what == "confidence":
        trained = checkpoints.load(options.checkpoint or default_checkpoint())
        confidence(checkpoints.network_of(trained), checkpoints.recipe_of(trained), faces)
    else:
        for name in options.detectors:
            fit(detectors.load(name, yunet.place(None)), faces)


def table(checkpoint: Path | None, name: str, detectors: list[str]) -> None:
    """Print the share of faces that each detector finds and the network's metrics on those."""
    print(f"{name:14}{'found %':>9}{'nme %':>8}{'fr8 %':>8}{'seconds':>9}")
    for boxes in ("landmarks", *detectors):
        began = time.monotonic()
        metrics = metrics_of(
            argparse.Namespace(
                checkpoint=checkpoint, dataset=None, split=name, boxes=boxes, data=None, device=None
            )
        )
        print(
            f"{boxes:14}{metrics.get('found', 100):9.1f}{metrics['nme']:8.3f}{metrics['fr8']:8.2f}"
            f"{time.monotonic() - began:9.0f}",
            flush=True,
        )


def turned(finder: FaceKeypoints, faces: Faces) -> None:
    """Print, for each of ANGLES, the share of faces found and the NME of those."""
    truth = square_boxes(faces.boxes, 1.0)
    for angle in ANGLES:
        errors = []
        for index, file in enumerate(faces.files):
            image, back = detectors.turned_back(np.asarray(read_picture(file, colour=True)), -angle)
            there = np.linalg.inv(back[:, :2])  # from the picture, counted from its edge
            points = (faces.points[index].numpy() + 0.5 - back[:, 2]) @ there.T - 0.5
            middle = (truth[index, :2] + truth[index, 2:] / 2).numpy()
            box = np.tile(truth[index, 2:].numpy(), 2)
            box[:2] = (middle - back[:, 2]) @ there.T - box[2:] / 2
            found = finder.predict(image)
            overlaps = detectors.overlap(np.array([face.box for face in found]), box)  # (N, 1)
            if overlaps.max(initial=0) >= SAME_FACE:
                predicted, true = (
                    torch.as_tensor(place, dtype=torch.float32)[None]
                    for place in (found[overlaps.argmax()].keypoints, points)
                )
                errors.append(nme(predicted, true, IBUG_68.eye_distance(true)).item())
        share = 100 * len(errors) / len(faces)
        print(
            f"{finder.detector.name}, turned {angle:+d}°: {share:.1f} % of {len(faces)} found, "
            f"nme {np.mean(errors):.3f} %",
            flush=True,
        )


def fit(detector: Detector, faces: Faces) -> None:
    """Print median and standard deviation of where landmarks' boxes lie from the detector's."""
    raw = replace(detector, fit=(0.0, 0.0, 1.0))
    rows, began = [], time.monotonic()
    for file, truth in zip(faces.files, faces.boxes.numpy(), strict=True):
        for face in detectors.detect(np.asarray(read_picture(file, colour=True)), raw):
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


def confidence(network: nn.Module, recipe: Recipe, faces: Faces) -> None:
    """Print the calibration, and which share of faces and windows it takes for faces."""
    random = np.random.default_rng(0)
    seen: list[Tensor] = []
    beside: list[Tensor] = []
    for file, truth in zip(faces.files, square_boxes(faces.boxes, 1.0).numpy(), strict=True):
        image = np.asarray(read_picture(file, colour=True))
        seen.append(_disagreement(network, recipe, image, _as_detected(truth, random)))
        if (window := _window_beside(truth, image.shape[:2], random)) is not None:
            beside.append(_disagreement(network, recipe, image, window))
    calibration = _calibrated(torch.cat(seen), torch.cat(beside))
    shares = [
        100 * (calibration.confidence(torch.cat(some)) >= LEAST_CONFIDENCE).double().mean()
        for some in (seen, beside)
    ]
    print(
        f"{calibration}; a confidence of {LEAST_CONFIDENCE} or more have {shares[0]:.1f} % of "
        f"{len(seen)} faces and {shares[1]:.1f} % of {len(beside)} windows"
    )


def _as_detected(truth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    side = truth[2] * np.exp(random.normal() * SCATTER[2])
    middle = truth[:2] + truth[2:] / 2 + random.normal(size=2) * SCATTER[:2] * truth[2]
    return np.array([*(middle - side / 2), side, side])


def _window_beside(
    truth: np.ndarray, size: tuple[int, int], random: np.random.Generator
) -> np.ndarray | None:
    """A square in the picture (H, W) that hardly touches the face; None if 40 draws give none."""
    for _ in range(40):
        side = random.uniform(0.25, 0.9) * truth[2]
        corner = random.uniform(-0.1, np.array(size[::-1]) / side - 0.9) * side
        window = np.array([*corner, side, side])
        inside = np.all(np.abs(corner + side / 2 - truth[:2] - truth[2:] / 2) < truth[2:] / 2)
        if detectors.overlap(window, truth) < 0.1 and not inside:
            return window
    return None


@torch.inference_mode()
def _disagreement(network: nn.Module, recipe: Recipe, image: np.ndarray, box: np.ndarray) -> Tensor:
    """The flip disagreement in one box (4,), (1,)."""
    crop = to_network_input(crop_faces(image, box[None], np.zeros(1), recipe)[0], recipe)
    other = predict_flipped(network, crop, IBUG_68.flip_order)
    return (network(crop) - other).norm(dim=-1).mean(dim=1)


def _calibrated(face: Tensor, other: Tensor) -> Calibration:
    """Fisher's linear discriminant (1936) of the logarithms: the odds of two normal distributions
    of the same width. Logistic regression diverges where the two do not overlap."""
    face, other = face.double().log(), other.double().log()
    apart, variance = other.mean() - face.mean(), (face.var() + other.var()) / 2
    midpoint = ((face.mean() + other.mean()) / 2).exp()
    return Calibration(round(midpoint.item(), 4), slope=round((apart / variance).item(), 1))


if __name__ == "__main__":
    main()
