"""One file that holds a trained network and all that is needed to use it or to go on training.

Networks register themselves by their class names, so a checkpoint names its network without this
module knowing any of them; files of older versions are translated by one table of renames.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from common.loading import Crops
from common.metrics import mean_shape
from common.recipe import Options, Recipe
from common.system.errors import UserError
from common.system.files import write_atomically

Network = TypeVar("Network", bound=type[nn.Module])
NETWORKS: dict[str, type[nn.Module]] = {}
"""The networks that a checkpoint may name, by their class names; filled by ``register``."""

Checkpoint = dict[str, Any]
"""Keys: ``network`` (class name), ``arguments`` (of the class), ``weights``, ``recipe`` (its
values), ``recipe_name``, ``pretrained`` (as in ``Options``), ``scheme``, ``point_ids``,
``dataset``, ``mean_shape``, ``metrics``, ``versions`` and ``training`` (what ``--resume`` needs:
network, optimizer, ema, snapshots, history, seed). When training has ended also
``flip_disagreement``, see ``inference.flip_disagreement_p99``."""

RENAMED_KEYS = {"kept": "point_ids", "doubt": "flip_disagreement"}
RENAMED_TRAINING_KEYS = {"average": "ema", "film": "snapshots"}
RENAMED_RECIPE_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "average": ("ema_decay", float),
    "calm": ("no_aug_fraction", float),
    "cycles": ("restarts", lambda cycles: cycles - 1),
    "flip_average": ("flip_tta", bool),
    "map_weight": ("heatmap_weight", float),
    "map_width": ("heatmap_sigma", float),
    "start_at_mean": ("init_bias_to_mean", bool),
    "steps": ("max_steps", int),
}
"""What older versions called the fields of a recipe: the name since, and the value under it."""


def register(network: Network) -> Network:
    """Class decorator: checkpoints may name this network."""
    NETWORKS[network.__name__] = network
    return network


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write to a temporary file and rename: a kill leaves the last good checkpoint."""
    write_atomically(path, lambda file: torch.save(checkpoint, file))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; only tensors and plain values are accepted.

    Raises UserError where the file is missing, damaged or something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train one with: python run_part.py 3")
    try:
        if zipfile.ZipFile(path).testzip() is not None:  # torch.load compares no checksums
            raise ValueError("checksum")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        complete = {"network", "arguments", "weights", "recipe", "scheme"} <= checkpoint.keys()
    except PermissionError:
        raise UserError(f"{path}: may not be read; change its permissions") from None
    except Exception:  # a damaged file fails in whichever layer meets the damage first
        complete = False
    if not complete:
        raise UserError(
            f"{path}: damaged or not a checkpoint of this project; delete it and train it again"
        )
    return _renamed(checkpoint)


def _renamed(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint of any version under the names of this one."""
    checkpoint = {RENAMED_KEYS.get(key, key): value for key, value in checkpoint.items()}
    checkpoint["network"] = str(checkpoint["network"]).rpartition(".")[2]  # once with its module
    fields = {}
    for name, value in checkpoint["recipe"].items():
        name, convert = RENAMED_RECIPE_FIELDS.get(name, (name, lambda value: value))
        fields[name] = convert(value)
    checkpoint["recipe"] = fields
    if "training" in checkpoint:
        training = checkpoint["training"]
        checkpoint["training"] = {
            RENAMED_TRAINING_KEYS.get(key, key): value for key, value in training.items()
        }
    return checkpoint


def network_of(checkpoint: Checkpoint) -> nn.Module:
    """The trained network, ready to predict.

    Raises UserError where no such network is registered or its weights do not fit.
    """
    try:
        network = NETWORKS[checkpoint["network"]](**checkpoint["arguments"])
        network.load_state_dict(checkpoint["weights"])
    except (KeyError, TypeError, RuntimeError):
        raise UserError(
            f"checkpoint of network {checkpoint['network']}: not a network of this version; "
            "train it again"
        ) from None
    return network.eval()


def recipe_of(checkpoint: Checkpoint) -> Recipe:
    """The recipe that the network was trained with.

    Raises UserError where another version wrote a recipe with other values.
    """
    try:
        return Recipe(**checkpoint["recipe"])
    except TypeError:
        raise UserError(
            f"checkpoint of network {checkpoint['network']}: its recipe is of another version; "
            "train it again"
        ) from None


def describe(
    network: nn.Module,
    states: dict[str, Any],
    train: Crops,
    recipe: Recipe,
    options: Options,
    history: list[dict[str, float]],
) -> Checkpoint:
    """The checkpoint of a run so far: ``states`` are the parts that resuming restores."""
    return {
        "network": type(network).__name__,
        "arguments": getattr(network, "arguments", {}),
        "weights": network.state_dict(),
        "recipe": asdict(recipe),
        "recipe_name": options.recipe,
        "pretrained": options.pretrained,
        "scheme": train.faces.scheme.name,
        "point_ids": train.point_ids,
        "dataset": train.faces.dataset,
        "mean_shape": mean_shape(train, recipe),
        "versions": {"torch": str(torch.__version__)},
        "training": {
            "history": history,
            "seed": options.seed,
            **{name: part.state_dict() for name, part in states.items()},
        },
    }


def set_aside_other_run(path: Path, train: Crops, recipe: Recipe, options: Options) -> None:
    """Rename the checkpoint of another recipe, seed or data set that would be overwritten."""
    try:
        other = load(path)
        values = asdict(recipe_of(other))
        began = other["training"]["seed"], other.get("pretrained")
        found = values, began, other["dataset"], other["point_ids"]
    except (UserError, KeyError):  # none, or nothing that anybody would miss
        return
    began = options.seed, options.pretrained
    if found != (asdict(recipe), began, train.faces.dataset, train.point_ids):
        aside = path.with_stem(f"{path.stem}-{other.get('recipe_name', 'before')}")
        path.replace(aside)
        print(f"{path}: was of another run and is {aside.name} now", file=sys.stderr)


def restore(
    path: Path, states: dict[str, Any], train: Crops, recipe: Recipe, options: Options
) -> list[dict[str, float]]:
    """Load a stopped run into ``states`` and return its history; empty where there is no file.

    Raises UserError where the checkpoint is of another recipe, seed, data set or network.
    """
    if not path.is_file():  # stopped before the first checkpoint: the start is where it was
        return []
    checkpoint = load(path)
    if "training" not in checkpoint:
        raise UserError(f"{path}: holds nothing to go on from; leave out --resume to start anew")
    training = checkpoint["training"]
    dataset = train.faces.dataset
    known = asdict(recipe_of(checkpoint))  # values added since are at their default
    if known != asdict(recipe) or training["seed"] != options.seed:
        raise UserError(
            f"{path}: was trained with another recipe or seed; leave out --resume to start anew"
        )
    if checkpoint.get("pretrained") != options.pretrained:
        raise UserError(
            f"{path}: began with other weights (--pretrained); leave out --resume to start anew"
        )
    if checkpoint["dataset"] != dataset:
        raise UserError(
            f"{path}: was trained on {checkpoint['dataset']}, not on {dataset}; leave out --resume "
            "to start anew"
        )
    if (checkpoint["scheme"], checkpoint["point_ids"]) != (
        train.faces.scheme.name,
        train.point_ids,
    ):
        raise UserError(f"{path}: learned other points; leave out --resume to start anew")
    try:
        for name in states.keys() & training.keys():  # older checkpoints hold no snapshots
            states[name].load_state_dict(training[name])
    except (RuntimeError, ValueError):
        raise UserError(
            f"{path}: is of another network; leave out --resume to start anew"
        ) from None
    return training["history"]
