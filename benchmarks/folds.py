"""Evaluate a recipe without the test faces: ``python -m benchmarks.folds 1 loss=mse``.

Parts 1 and 2: four-fold cross-validation over persons 1-32. Part 3: every tenth training face is
held out; with ``--network`` a network of the Udacity route is trained on YouTube Faces, every tenth
person held out. Arguments such as ``loss=mse`` change the recipe. ``--harder`` also evaluates part
3 on the same faces in dlib's and YuNet's boxes, and rotated, covered, blurred and so on. ``--test``
trains on all training faces and evaluates on test faces a recipe that is chosen already.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, replace

import torch
from torch import nn

from benchmarks import parser_of, run
from common.augmentation import augment
from common.crops import to_pixels
from common.inference import predict_keypoints
from common.keypoints import IBUG_68
from common.loading import Crops, load_crops
from common.losses import LOSSES
from common.metrics import errors_per_face, mean_shape, measure, nme
from common.photos import detectors
from common.recipe import Recipe
from common.system.errors import UserError
from common.training import OPTIMIZERS
from datasets import yunet
from datasets.splits import split, train_and_test
from datasets.synthetic import cached
from datasets.synthetic.render import VARIATIONS
from parts import udacity_networks
from parts.part3_large_dataset import HEADS
from parts.part3_variants import NETWORKS
from parts.protocols_300w import predict_faces
from parts.studies.experiment import FOLDS, PARTS, Experiment, crops_of, trained

SHOWN = ("mse_ratio", "mse_px", "nme", "fr8", "auc8", "mae_px_original")
HARDER = {  # one change at a time, of every face
    "turned": {"rotation": 30.0},
    "covered": {"occlusion": 1.0},
    "blurred": {"blur": 1.0},
    "compressed": {"compression": 1.0},
    "lit from one side": {"side_light": 0.3},
    "darker or brighter": {"brightness": 0.3},
}


def main() -> None:
    """Print one line per fold and seed, then mean and standard deviation, and the mean face."""
    parser = parser_of(__doc__, seeds=1)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--recipe", choices=("course", "best"), default="best")
    parser.add_argument("--network", choices=NETWORKS, default="", help="of part 3, see above")
    folds = range(1, FOLDS + 1)
    parser.add_argument("--folds", type=int, choices=folds, default=FOLDS, help="only the first N")
    parser.add_argument("--harder", action="store_true", help="part 3: harder faces as well")
    parser.add_argument("--test", action="store_true", help="the test faces instead of held-out")
    parser.add_argument("--synthetic", type=int, metavar="N", help="part 3: train on N such faces")
    without = "of synthetic faces: a kind of variation"
    parser.add_argument("--without", action="append", choices=VARIATIONS, default=[], help=without)
    options = parser.parse_intermixed_args()

    detector = None
    if options.harder:  # refused before the training, not after it
        if options.part != "3" or options.network or options.test:
            raise UserError("--harder: is for part 3's own network on 300-W; leave it out")
        detector = detectors.load("yunet", yunet.place(None))
        split("ibug", "train", None, "file", IBUG_68)
    if options.synthetic and options.part != "3":
        raise UserError("--synthetic: is for part 3; leave it out")
    part = udacity_networks if options.network else PARTS[options.part][0]
    recipe = changed(part.RECIPES[options.recipe](), options.changes)
    experiment = Experiment(options.part, recipe, network=options.network)
    scores = []
    for fold in range(1 if options.part == "3" or options.test else options.folds):
        train, others = (
            with_test_faces(experiment) if options.test else crops_of(experiment, None, fold)
        )
        if options.synthetic:
            faces = cached.load("crop", "train", options.synthetic, options.without)
            train = load_crops(faces, recipe)
        for seed in range(options.seeds):
            began = time.monotonic()
            network, _ = trained(replace(experiment, seed=seed), train)
            seconds = time.monotonic() - began
            predicted = predict_keypoints(network, others.images, others.flip_order, recipe)
            scores.append(measure(predicted, others, mean_shape(train, recipe), recipe))
            print(f"fold {fold} seed {seed}: {_line(scores[-1])}, {seconds:.0f} s", flush=True)
            if detector:
                errors = in_other_boxes(network, recipe, others, detector)
                errors |= harder(network, recipe, others)
                print(", ".join(f"{name} {error:.2f} %" for name, error in errors.items()))
    columns = {name: [score[name] for score in scores] for name in SHOWN}
    print(f"mean of {len(scores)}: {_line({k: statistics.mean(v) for k, v in columns.items()})}")
    if len(scores) > 1:
        spread = {name: statistics.stdev(column) for name, column in columns.items()}
        print(f"standard deviation: {_line(spread)}")
    print(f"mean face: {_line(scores[-1]['baseline_mean_face'])}")


def _line(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {metrics[name]:.4g}" for name in SHOWN)


def with_test_faces(experiment: Experiment) -> tuple[Crops, Crops]:
    """The training faces of the part or, with a network, of YouTube Faces; and the test faces."""
    part, dataset = PARTS[experiment.part]
    faces = train_and_test(dataset, "youtube_faces" if experiment.network else None, None)
    train, test = (
        load_crops(some, experiment.recipe, getattr(part, "NOSE", None)) for some in faces
    )
    return train, test


def in_other_boxes(
    network: nn.Module, recipe: Recipe, held_out: Crops, yunets: detectors.Detector
) -> dict[str, float]:
    """The NME in % of part 3's held-out faces in dlib's boxes and in YuNet's, of those found."""
    data, errors = held_out.faces, {}
    files = set(data.files)
    for name, boxes, detector in (("dlib's boxes", "file", None), ("YuNet's", "landmarks", yunets)):
        faces = split("ibug", "train", None, boxes, data.scheme)
        places = [i for i, file in enumerate(faces.files) if file in files]
        faces = faces.take(places, f"{faces.name}-held_out")
        # Flip disagreement 1: every detection counts, however uncertain a briefly trained network.
        crops, predicted, _ = predict_faces(
            network, recipe, faces, held_out.point_ids, detector, flip_disagreement=1.0
        )
        errors[name] = errors_per_face(predicted, crops, recipe)["nme"].mean().item()
    return errors


@torch.inference_mode()
def harder(network: nn.Module, recipe: Recipe, held_out: Crops) -> dict[str, float]:
    """The NME in % of the held-out faces after each of ``HARDER``, without test-time flip."""
    plain = Recipe(height=recipe.height, width=recipe.width, margin=recipe.margin)
    errors = {}
    for name, change in HARDER.items():
        torch.manual_seed(1)  # the same faces for every network
        changed_recipe, batch = replace(plain, **change), (held_out.images, held_out.points)
        faces, truth = augment(*batch, changed_recipe, held_out.flip_order)
        fractions = torch.cat([network.eval()(batch) for batch in faces.split(64)])  # (N, k, 2)
        predicted = to_pixels(fractions, recipe.height, recipe.width)
        errors[name] = nme(predicted, truth, held_out.norm_distance).mean().item()
    return errors


def changed(recipe: Recipe, changes: list[str]) -> Recipe:
    """The recipe with values replaced, each read as the type that the recipe has there.

    Raises UserError for an unknown name, a value of another type, or one that is unknown there.
    """
    known = {"loss": LOSSES, "optimizer": OPTIMIZERS, "head": HEADS}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in asdict(recipe):
            raise UserError(f"{change}: no such value; common/recipe.py lists them")
        kind = type(getattr(recipe, name))
        try:
            read = {"True": True, "False": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            kinds = "True or False" if kind is bool else f"of type {kind.__name__}"
            raise UserError(f"{change}: the value is not {kinds}; change it") from None
        if name in known and read not in known[name]:
            raise UserError(f"{change}: no such {name}; known are {', '.join(known[name])}")
        if name in ("batch", "epochs") and read < 1:
            raise UserError(f"{change}: nothing would be learned; take 1 or more")
        recipe = replace(recipe, **{name: read})
    return recipe


if __name__ == "__main__":
    run(main)
