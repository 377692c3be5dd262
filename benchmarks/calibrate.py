"""When to look twice, and how sure to be: ``python -m benchmarks.calibrate [--checkpoint FILE]``.

Prints what the constants of ``common/photos/placement.py`` are fitted by, on every twentieth
training face of 300-W and on synthetic heads turned by up to 90 degrees: the NME after a second
look where boxes differ by more than some share of their side, by what the uncertainty is multiplied
so that 90 % of the points lie within twice of it, and the logistic regression of the confidence.
``--checkpoint`` is of a network that held out every tenth face, as ``benchmarks.folds`` does: these
faces are among them. The network that ships was trained on these faces, so that its uncertainty is
multiplied by ``MEMORISED``. The test set chooses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from benchmarks import parser_of, run
from benchmarks.detectors import SCATTER, pixels, windows_beside
from common.crops import square_boxes
from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68
from common.photos import detectors
from common.photos.detectors import Detector
from common.photos.finder import FaceKeypoints
from common.photos.placement import (
    BOX_OFF,
    CALIBRATION,
    UNCERTAINTY,
    Look,
    off,
    place,
    second_look,
)
from datasets import yunet
from datasets.splits import split
from datasets.synthetic.render import render
from parts.toolkit import face_keypoints

OFF = (0.0, 0.02, 0.05, 0.08, 0.12, np.inf)  # sides of a box; the last means no second look
MEMORISED = 3.77 / 3.57  # NME on held-out over training faces of a shorter run, docs/part3.md
RIGHT = 6.0  # % of the longer side of the landmarks' box: mean error of points that are right
YAWS = (0, 20, 35, 50, 60, 70, 80, 90)  # degrees

Sample = tuple[np.ndarray, np.ndarray, Tensor]  # picture, box (4,), ground truth (68, 2)


@dataclass(frozen=True)
class Measured:
    """How well and how surely one face is placed."""

    errors: np.ndarray  # (68,), pixels
    unsure: np.ndarray  # (68,), the uncertainty, pixels
    eyes: float  # distance of the outer eye corners, pixels
    face: float  # longer side of the landmarks' box, pixels
    crop: float  # side of the crop, pixels


def main() -> None:
    """Print the fits."""
    parser = parser_of(__doc__, every=20, heads=6)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE")
    options = parser.parse_args()
    finder = face_keypoints(options.checkpoint, device="cpu")
    faces = split("ibug", "train", None, "landmarks", IBUG_68)
    faces = faces.take(range(0, len(faces), options.every))
    shown: list[Measured] = []
    for name in ("haar", "yunet"):
        shown += looks(finder, name, detected(detectors.load(name, yunet.place(None)), faces))
    factor = uncertainty(shown)
    shown += [
        measured(finder, second(finder, *some[:2]), some[2])
        for some in harder(faces, options.heads)
    ]
    middle, slope, right = confidence(shown)
    memorised = 1.0 if options.checkpoint else MEMORISED
    # The confidence is fitted to uncertainties of today's factor.
    middle *= factor * memorised / UNCERTAINTY
    print(f"constant         today   fitted\nBOX_OFF         {BOX_OFF:6.3f}   see the NME above")
    print(f"UNCERTAINTY     {UNCERTAINTY:6.3f}   {factor * memorised:.3f}", end="")
    print(f", {factor:.3f} on these faces times {memorised:.3f}")
    print(f"CALIBRATION     {CALIBRATION.midpoint:6.4f}   {middle:.4f}, the midpoint")
    print(
        f"                {CALIBRATION.slope:6.1f}   {slope:.1f}, the slope; {right:.0%} are right"
    )


def detected(detector: Detector, faces: Faces) -> Iterator[Sample]:
    """The picture, box (4,) and ground truth (68, 2) of each face that is found."""
    for file, points, box in zip(faces.files, faces.points, faces.boxes, strict=True):
        image, square = pixels(file), square_boxes(box[None], 1.0).numpy()
        boxes = np.array([face.box for face in detectors.detect(image, detector)]).reshape(-1, 4)
        near = detectors.overlap(boxes, square)[:, 0]  # (F,)
        if near.max(initial=0) > 0.3:
            yield image, boxes[near.argmax()], points


def harder(faces: Faces, heads: int) -> Iterator[Sample]:
    """As ``detected``, in boxes that are far off or beside the faces; and synthetic heads."""
    random = np.random.default_rng(0)
    for file, points, box in zip(faces.files, faces.points, faces.boxes, strict=True):
        image, square = pixels(file), square_boxes(box[None], 1.0)[0].numpy()
        move, size = random.uniform((-0.4, -0.4), (0.4, 0.6)), np.exp(random.uniform(-0.5, 0.5))
        yield image, scattered(square, move, size), points
        for beside in windows_beside(square, image.shape[:2], random):
            yield image, np.array(beside), points
    for yaw in YAWS:
        for index in range(heads):
            turned = yaw if index % 2 else -yaw
            images, points, _ = render([index], IBUG_68, size=(256, 256), yaw=turned)
            square = square_boxes(landmark_boxes(points), 1.0)[0].numpy()
            right, down, size = random.normal(size=3) * SCATTER
            box = scattered(square, np.array([right, down]), np.exp(size))
            yield images[0].permute(1, 2, 0).numpy(), box, points[0]


def scattered(square: np.ndarray, move: np.ndarray, size: float) -> np.ndarray:
    """A square (4,) moved by shares of its side, ``size`` times as large."""
    side = square[2] * size
    return np.array([*(square[:2] + square[2] * (move + 0.5) - side / 2), side, side])


def looks(finder: FaceKeypoints, name: str, samples: Iterator[Sample]) -> list[Measured]:
    """Print the NME with each of ``OFF``; return what the finder's own second look gives."""
    nme, shown = [], []  # (F, 1 + len(OFF)), in %
    for image, box, truth in samples:
        look = finder.look(image, box[None], np.zeros(1), flip=True)
        around = landmark_boxes(look.points())
        again = finder.look(image, around.numpy(), np.zeros(1), flip=True)
        both = [measured(finder, one, truth) for one in (look, again)]
        apart = off(torch.from_numpy(box[None]).float(), around).item()
        shown.append(measured(finder, second(finder, image, box), truth))
        chosen = [both[apart > least] for least in OFF]
        nme.append([100 * one.errors.mean() / one.eyes for one in (shown[-1], *chosen)])
    own, *others = np.mean(nme, axis=0)
    table = [f"from {least:g} {error:.3f}" for least, error in zip(OFF, others, strict=True)]
    print(f"{name}, {len(nme)} faces: NME {own:.3f} %; with every second look", ", ".join(table))
    return shown


def second(finder: FaceKeypoints, image: np.ndarray, box: np.ndarray) -> Look:
    """The look at one box (4,), or the second one."""
    return second_look(partial(finder.look, image), box[None], np.zeros(1))


@torch.inference_mode()
def measured(finder: FaceKeypoints, look: Look, truth: Tensor) -> Measured:
    """What a look at one face gives."""
    placed = place(look, finder.network, finder.flip_disagreement)
    errors = np.linalg.norm(placed.points[0] - truth.numpy(), axis=-1)  # (68,)
    face = landmark_boxes(truth[None])[0, 2:].max().item()
    eyes = IBUG_68.eye_distance(truth).item()
    return Measured(errors, placed.uncertainty[0], eyes, face, look.sides().item())


def uncertainty(shown: list[Measured]) -> float:
    """The factor; prints the share within twice of the uncertainty from its lowest fifth on."""
    errors, unsure = (np.concatenate([getattr(x, k) for x in shown]) for k in ("errors", "unsure"))
    factor = UNCERTAINTY * np.quantile(errors / (2 * unsure), 0.9)
    print(f"with UNCERTAINTY {UNCERTAINTY} there lie within twice of it, %:")
    fifths = np.array_split((errors <= 2 * unsure)[unsure.argsort()], 5)
    print("  ", *(f"{100 * fifth.mean():.1f}" for fifth in fifths), "from the surest fifth on")
    return factor


def confidence(shown: list[Measured]) -> tuple[float, float, float]:
    """The logistic regression of being right on the logarithm of the mean uncertainty: midpoint and
    slope; and the share that is right."""
    right = np.array([100 * face.errors.mean() / face.face < RIGHT for face in shown])
    fraction = np.log([face.unsure.mean() / face.crop for face in shown])

    def loss(fit: np.ndarray) -> float:
        odds = fit[1] * (fit[0] - fraction)
        return np.logaddexp(0, np.where(right, -odds, odds)).mean()

    middle, slope = minimize(loss, (np.log(0.03), 8.0), method="Nelder-Mead").x
    return np.exp(middle), slope, right.mean()


if __name__ == "__main__":
    run(main)
