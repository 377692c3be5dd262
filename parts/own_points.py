"""Part 3 on your own points: ``python run_part.py 3 --dataset PATH``.

The networks and recipes are the lesson's. What differs follows from the labels: the number of
points, whether faces may be mirrored, how much of the picture a crop shows, and the epochs.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from common import checkpoints, own_network
from common.faces import Faces, landmark_boxes
from common.loading import Crops
from common.metrics import NORMS
from common.photos import detectors
from common.photos.finder import FaceKeypoints
from common.photos.framing import measure_framing
from common.recipe import Options, Recipe
from common.report.lesson import Lesson, read_lesson
from common.system.device import best_device
from common.system.errors import UserError
from datasets import yunet
from datasets.own import reading, split
from parts.part3_large_dataset import PAGES, UNMEASURED

WEIGHTS = PAGES.parent / "assets/weights/part3.pt"
LESSON = read_lesson(PAGES / "part3-own.md", UNMEASURED)
FEW = 20  # points; fewer leave out much of a face, so the crop is wider
LESSON_FACES = 3105  # on which the lesson's number of epochs is enough


def train_and_test(options: Options) -> tuple[Faces, Faces, Lesson]:
    """The faces of ``options.dataset``, and the lesson with what the page must say of them.

    Raises UserError where they cannot be read or split, or a point is in no training face.
    """
    path = Path(options.dataset)
    faces = reading.load(path, options.pairs)
    train, test, notes = split.train_and_test(faces, options.seed)
    never = (~train.points.isfinite()).all(dim=0).any(dim=-1).nonzero().flatten().tolist()
    if never:
        name = train.scheme.name_of(never[0])
        raise UserError(f"{path}: no training face has point {name}; take another --seed")
    notes += (
        f"NME is in % of {NORMS[test.has_eyes]}, the mean over the points that are labelled.",
    )
    if train.scheme.flip_pairs is None:
        notes += ("Left-right pairs are not known, so faces are not mirrored.",)
    print("\n".join(notes), file=sys.stderr)
    stem = re.sub(r"[^\w.-]", "_", path.resolve().stem)
    kind = own_network.name_in(options.network) or options.network or options.step
    folder = f"own-{stem}" if kind == "heatmaps" else f"own-{stem}-{kind}"
    return train, test, replace(LESSON, folder=folder, notes=notes)


def fitted(recipe: Recipe, train: Faces, options: Options) -> Recipe:
    """A recipe of the lesson for these training faces.

    Fewer faces take more epochs, but fewer steps, so that 20 pictures train for a minute or two.
    The crop is 1.2 times the points' own box, as in the lesson, and 1.6 times of few points.
    """
    changes: dict[str, object] = {}
    if options.epochs is None:
        changes["epochs"] = max(round(recipe.epochs * (LESSON_FACES / len(train)) ** 0.6), 1)
    sides = landmark_boxes(train.points)[:, 2:].amax(dim=1).clamp(min=1)
    ratio = (train.boxes[:, 2:].amax(dim=1) / sides).median().item()
    around = 1.6 if train.scheme.n_points < FEW else 1.2
    if recipe.box_scale:
        changes["box_scale"] = round(max(around / ratio, 1.0), 3)
    if train.scheme.flip_pairs is None:
        changes |= {"flip": 0.0, "flip_tta": False}
    return replace(recipe, **changes)


def add_framing(checkpoint: Path, train: Crops, options: Options) -> None:
    """Measure where the training boxes lie about the faces that the network that ships finds, and
    write it into the checkpoint."""
    shipped = checkpoints.read(WEIGHTS)
    detector = detectors.load("auto", yunet.place(options.data))
    device = best_device(options.device)
    finder = FaceKeypoints(shipped.network, shipped.recipe, detector, device)
    framing = measure_framing(train.faces, finder.predict)
    if framing is None:
        print(
            "faces are found on too few of the training pictures: predict with --boxes whole or "
            "--boxes FILE",
            file=sys.stderr,
        )
    found = None if framing is None else tuple(framing)
    checkpoints.save({**checkpoints.load(checkpoint), "framing": found}, checkpoint)
