"""Try a recipe without looking at a test face: ``python -m benchmarks.folds 1 loss=mse``.

Parts 1 and 2: persons 1-32 are dealt into four folds; each fold is answered by a network that
learned from the other three. Part 3: every tenth training face is held out; with ``--network`` a
network of the Udacity route learns from YouTube Faces, every tenth person held out. The rest of
the line changes the recipe, value by value, such as ``loss=mse rotation=15``. The trials are those
of ``python run_part.py ladder``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, replace

from common.errors import UserError
from common.recipe import Recipe
from parts import udacity_networks
from parts.part3_large_dataset import NETWORKS
from parts.trials import FOLDS, PARTS, Trial, crops_of, score


def main() -> None:
    """Print one line per fold and seed, then their mean."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--recipe", choices=("course", "best"), default="best")
    parser.add_argument("--network", choices=NETWORKS, default="", help="of part 3, see above")
    parser.add_argument("--folds", type=int, default=FOLDS, help="only the first N")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_intermixed_args()

    part = udacity_networks if asked.network else PARTS[asked.part][0]
    recipe = changed(part.RECIPES[asked.recipe](), asked.changes)
    trial = Trial(asked.part, recipe, network=asked.network)
    scores = []
    for fold in range(1 if asked.part == "3" else asked.folds):
        learned, held_out = crops_of(trial, None, fold)
        for seed in range(asked.seeds):
            began = time.monotonic()
            scores.append(score(trial, seed, learned, held_out))
            print(
                f"fold {fold} seed {seed}: mse_ratio {scores[-1]['mse_ratio']:.6f}, "
                f"nme {scores[-1]['nme']:.3f} %, "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
    means = {key: statistics.mean(one[key] for one in scores) for key in ("mse_ratio", "nme")}
    print(
        f"part {asked.part} {' '.join(asked.changes) or asked.recipe}: mean of {len(scores)}: "
        f"mse_ratio {means['mse_ratio']:.6f}, nme {means['nme']:.3f} %"
    )


def changed(recipe: Recipe, changes: list[str]) -> Recipe:
    """The recipe with values replaced, each read as the type that the recipe has there.

    Raises UserError where it has no such value, or not of that type.
    """
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
        recipe = replace(recipe, **{name: read})
    return recipe


if __name__ == "__main__":
    main()
