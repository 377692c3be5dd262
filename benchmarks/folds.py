"""Try a recipe without looking at a test face: ``python -m benchmarks.folds 1 loss=mse``.

Parts 1 and 2: persons 1-32 are dealt into four folds; each fold is answered by a network that
learned from the other three. Part 3: every tenth training face is held out. The rest of the line
changes the part's best recipe, value by value, such as ``loss=mse rotation=15``.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from common.errors import UserError
from common.loading import Crops, load_crops
from common.metrics import errors_per_face
from common.options import Options
from common.prediction import predict_keypoints
from common.recipe import Recipe
from common.training import fit
from datasets.splits import train_and_test

FOLDS = 4
PARTS = {  # module, data set, and its network for a recipe
    "1": ("parts.part1_nose_tip", "imm", lambda part, _: part.NoseNet()),
    "2": ("parts.part2_full_face", "imm", lambda part, _: part.FaceNet()),
    "3": ("parts.part3_large_dataset", "ibug", lambda part, recipe: part.HEADS[recipe.head]()),
}


def main() -> None:
    """Print one line per fold and seed, then their mean."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--recipe", choices=("course", "best"), default="best")
    parser.add_argument("--folds", type=int, default=FOLDS, help="only the first N")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_intermixed_args()

    module, dataset, network = PARTS[asked.part]
    part = importlib.import_module(module)
    recipe = changed(part.RECIPES[asked.recipe](), asked.changes)
    faces, _ = train_and_test(dataset, None, None)
    crops = load_crops(faces, recipe, getattr(part, "NOSE", None))
    scores = []
    for fold in range(1 if asked.part == "3" else asked.folds):
        held_out = torch.tensor(
            [i % 10 == 0 for i in range(len(crops))]
            if asked.part == "3"
            else [int(person) % FOLDS == fold for person in crops.faces.groups]
        )
        for seed in range(asked.seeds):
            torch.manual_seed(seed)
            began = time.monotonic()
            learner = network(part, recipe)
            scores.append(
                score(
                    learner,
                    crops.take((~held_out).nonzero().flatten()),
                    crops.take(held_out.nonzero().flatten()),
                    recipe,
                    seed,
                )
            )
            print(
                f"fold {fold} seed {seed}: mse_ratio {scores[-1][0]:.6f}, "
                f"nme {scores[-1][1]:.3f} %, "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
    means = [statistics.mean(column) for column in zip(*scores, strict=True)]
    print(
        f"part {asked.part} {' '.join(asked.changes) or asked.recipe}: mean of {len(scores)}:",
        end=" ",
    )
    print(f"mse_ratio {means[0]:.6f}, nme {means[1]:.3f} %")


def changed(recipe: Recipe, changes: list[str]) -> Recipe:
    """The recipe with values replaced, each read as the type that the recipe has there."""
    for change in changes:
        name, _, value = change.partition("=")
        if not hasattr(recipe, name):
            raise UserError(f"{change}: the recipe has no {name}")
        kind = type(getattr(recipe, name))
        recipe = replace(recipe, **{name: value == "True" if kind is bool else kind(value)})
    return recipe


def score(
    network: torch.nn.Module, train: Crops, held_out: Crops, recipe: Recipe, seed: int
) -> tuple[float, float]:
    """Train, answer the faces held out, return mean ``mse_ratio`` and mean NME in %."""
    with tempfile.TemporaryDirectory() as folder:
        fit(network, train, held_out, recipe, Options(seed=seed), Path(folder) / "checkpoint.pt")
    predicted = predict_keypoints(network, held_out.images, held_out.flip_order, recipe)
    errors = errors_per_face(predicted, held_out, recipe)
    return errors["mse_ratio"].mean().item(), errors["nme"].mean().item()


if __name__ == "__main__":
    main()
