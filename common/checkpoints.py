"""One file that holds a trained network and all that is needed to use it or to go on training.

Networks register themselves by their class names, so a checkpoint names its network without this
module knowing any of them; files of older versions are translated by one table of renames.
"""

from __future__ import annotations

import math
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from common.inference import flip_disagreement_p99
from common.keypoints import SCHEMES, Scheme
from common.loading import Crops
from common.metrics import mean_shape
from common.own_network import load_class
from common.recipe import Options, Recipe
from common.system.distributed import is_main_process, on_main_process
from common.system.errors import UserError
from common.system.files import write_atomically

Network = TypeVar("Network", bound=type[nn.Module])
NETWORKS: dict[str, type[nn.Module]] = {}
"""The networks that a checkpoint may name, by their class names; filled by ``register``."""

Checkpoint = dict[str, Any]
"""Keys: ``network`` (class name), ``arguments`` (of the class), ``weights``, ``recipe`` (its
values), ``recipe_name``, ``pretrained`` (as in ``Options``), ``scheme``, ``point_ids``,
``dataset``, ``mean_shape``, ``metrics``, ``versions`` and ``training`` (what ``--resume`` needs:
network, optimizer, ema, snapshots, history, seed). Of your own: ``own_scheme``, the values of a
scheme that is not of SCHEMES; ``network_file``, which holds your class; and ``framing``, see
``common.photos.framing``. When training has ended also
``flip_disagreement``, see ``inference.flip_disagreement_p99``."""

KINDS = {
    "network": str, "arguments": dict, "weights": dict, "recipe": dict, "scheme": str,
    "point_ids": (list, tuple), "dataset": str,
}  # fmt: skip
"""What every checkpoint holds."""
DAMAGED = "damaged; delete it and train it again"
NOT_OURS = "not a checkpoint of this project; name another file"
LARGEST = 4096  # pixels of a crop's side, channels, points

RENAMED_KEYS = {"kept": "point_ids", "doubt": "flip_disagreement"}
RENAMED_TRAINING_KEYS = {"average": "ema", "film": "snapshots"}
RENAMED_HISTORY_KEYS = {"validation_loss": "test_loss", "validation_nme": "test_nme"}
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

    Raises UserError where the file is missing, damaged or something else, or where its points are
    unknown or its weights not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train one with: python run_part.py 3")
    checkpoint, whole = {}, False
    try:
        whole = zipfile.ZipFile(path).testzip() is None  # torch.load compares no checksums
        checkpoint = _renamed(torch.load(path, map_location="cpu", weights_only=True))
    except PermissionError:
        raise UserError(f"{path}: may not be read; change its permissions") from None
    except Exception:  # a damaged file fails in whichever layer meets the damage first
        checkpoint = {}
    if not (whole and all(isinstance(checkpoint.get(key), KINDS[key]) for key in KINDS)):
        damaged = not whole and _begins_as_ours(path)
        raise UserError(f"{path}: {DAMAGED if damaged else NOT_OURS}")
    if fault := _fault_of(checkpoint):
        raise UserError(f"{path}: {fault}; train it again, or take another one")
    return checkpoint


def _begins_as_ours(path: Path) -> bool:
    """Whether a file that is not whole begins as a checkpoint of this project does."""
    with open(path, "rb") as file:
        beginning = file.read(4096)
    return beginning.startswith(b"PK") and b"arguments" in beginning


def _fault_of(checkpoint: Checkpoint) -> str | None:
    """Why a whole checkpoint cannot be used; None where it can."""
    ids = checkpoint["point_ids"]
    try:
        scheme = scheme_of(checkpoint)
    except (KeyError, TypeError, ValueError):
        return f"its points are of {checkpoint['scheme']}, which this version does not know"
    mean = checkpoint.get("mean_shape", torch.zeros(len(ids), 2))
    ours = all(index in range(scheme.n_points) for index in ids) and len({*ids}) == len(ids)
    if not ours or getattr(mean, "shape", None) != (len(ids), 2):
        return f"its points are not those of {scheme.name}"
    numbers = [*checkpoint["weights"].values(), checkpoint.get("flip_disagreement", 0.0), mean]
    if not all(isinstance(value, Tensor | float | int) for value in numbers):
        return "it holds something else than numbers"
    if not all(torch.as_tensor(value).isfinite().all() for value in numbers):
        return "it holds numbers that are not finite, as its training diverged"
    return None


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
        training = {
            RENAMED_TRAINING_KEYS.get(key, key): value
            for key, value in checkpoint["training"].items()
        }
        rows = training.get("history", [])
        training["history"] = [
            {RENAMED_HISTORY_KEYS.get(key, key): value for key, value in row.items()}
            for row in rows
        ]
        checkpoint["training"] = training
    return checkpoint


def scheme_of(checkpoint: Checkpoint) -> Scheme:
    """The points of a checkpoint; raises KeyError, TypeError or ValueError where it has none."""
    if "own_scheme" not in checkpoint:
        return SCHEMES[checkpoint["scheme"]]
    scheme = Scheme(**checkpoint["own_scheme"])
    lists = *(scheme.flip_pairs or ()), *scheme.lines, scheme.outer_eyes or ()
    if not all(point in range(scheme.n_points) for points in lists for point in points):
        raise ValueError("a point that there is not")
    return scheme


def network_of(checkpoint: Checkpoint) -> nn.Module:
    """The trained network, ready to predict; one of your own is found in its file, which is run.

    Raises UserError where no such network is registered or its weights do not fit.
    """
    arguments = checkpoint["arguments"]
    if own := checkpoint.get("network_file"):
        kind = load_class(f"{own}:{checkpoint['network']}")
    else:
        kind = NETWORKS.get(checkpoint["network"])
    try:
        if any(value > LARGEST for value in arguments.values() if isinstance(value, int)):
            raise ValueError("more memory than there is")
        network = kind(**arguments)
        network.load_state_dict(checkpoint["weights"])
    except Exception:  # arguments of another version fail wherever they are used first
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
        recipe = Recipe(**checkpoint["recipe"])
        kinds = {field.name: type(field.default) for field in fields(Recipe)}
        numbers = {name: value for name, value in asdict(recipe).items() if kinds[name] is not str}
        sides = recipe.height, recipe.width, recipe.margin + 1
        known = all(math.isfinite(value) for value in numbers.values())
        known &= all(side in range(1, LARGEST) for side in sides) and recipe.box_scale >= 0
    except TypeError:
        known = False
    if not known:
        raise UserError(
            f"checkpoint of network {checkpoint['network']}: its recipe is of another version; "
            "train it again"
        )
    return recipe


@dataclass(frozen=True)
class Trained:
    """A trained network, ready to predict.

    path: the checkpoint's file.
    name: the same, or what it is called on the command line.
    """

    path: Path
    name: str
    checkpoint: Checkpoint
    network: nn.Module
    recipe: Recipe


def read(path: Path, name: str | None = None) -> Trained:
    """The network in a checkpoint, its file's name by default, tried on one empty crop.

    Raises UserError with the name where there is no such file or it cannot be used.
    """
    checkpoint = load(path)
    try:
        network, recipe = network_of(checkpoint), recipe_of(checkpoint)
    except UserError as fault:
        raise UserError(f"{path}: {fault}") from None
    try:
        with torch.inference_mode():
            points = network(torch.zeros(1, 1, recipe.height, recipe.width))[0]  # (k, 2)
    except RuntimeError:  # made for crops of another size
        points = ()
    if len(points) != len(checkpoint["point_ids"]):
        raise UserError(f"{path}: its network is for other crops or points; train it again")
    return Trained(path, name or str(path), checkpoint, network, recipe)


@dataclass(frozen=True)
class Run:
    """A training and its checkpoint.

    path: the checkpoint's file.
    states: what resuming restores (network, optimizer, ...), by its name.
    train: the faces that the network is trained on.
    """

    path: Path
    states: dict[str, Any]
    train: Crops
    recipe: Recipe
    options: Options

    def begin(self) -> list[dict[str, float]]:
        """Resume the run in ``path`` if that is wanted, else keep another run from being lost.

        Loads ``states`` and returns the history of the epochs that are done.
        Raises UserError where the checkpoint to resume is of another run.
        """
        if not self.options.resume:
            on_main_process(self._set_aside_other_run)
            return []
        if not self.path.is_file():  # stopped before the first checkpoint
            return []
        checkpoint = load(self.path)
        if fault := self._fault(checkpoint):
            raise UserError(f"{self.path}: {fault}; leave out --resume to start again")
        training = checkpoint["training"]
        try:
            for name in self.states.keys() & training.keys():  # older ones hold no snapshots
                self.states[name].load_state_dict(training[name])
        except (RuntimeError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{self.path}: is of another network; leave out --resume to start again"
            ) from None
        return training["history"]

    def save(self, network: nn.Module, history: list[dict[str, float]]) -> None:
        """Write the checkpoint; the first process alone does.

        network: what predicts, the EMA where there is one.
        history: one dict per epoch; where it is complete, the flip disagreement is added.
        """
        if not is_main_process():
            return
        faces = self.train.faces
        checkpoint = {
            "network": type(network).__name__,
            "arguments": getattr(network, "arguments", {}),
            "weights": network.state_dict(),
            "recipe": asdict(self.recipe),
            "recipe_name": self.options.recipe,
            "pretrained": self.options.pretrained,
            "scheme": faces.scheme.name,
            **({} if faces.scheme in SCHEMES.values() else {"own_scheme": asdict(faces.scheme)}),
            **({"network_file": own} if (own := getattr(network, "own_file", None)) else {}),
            "point_ids": self.train.point_ids,
            "dataset": faces.dataset,
            "mean_shape": mean_shape(self.train, self.recipe),
            "versions": {"torch": str(torch.__version__)},
            "training": {"history": history, "seed": self.options.seed}
            | {name: part.state_dict() for name, part in self.states.items()},
        }
        if len(history) == self.recipe.epochs and faces.scheme.flip_pairs is not None:
            disagreement = flip_disagreement_p99(network, self.train, self.recipe)
            checkpoint["flip_disagreement"] = disagreement
        save(checkpoint, self.path)

    def _fault(self, checkpoint: Checkpoint) -> str | None:
        """In what a checkpoint differs from this run; None where in nothing."""
        if "training" not in checkpoint:
            return "holds nothing to resume"
        known = asdict(recipe_of(checkpoint))  # fields added since have their defaults
        if known != asdict(self.recipe) or checkpoint["training"]["seed"] != self.options.seed:
            return "was trained with another recipe or seed"
        if checkpoint.get("pretrained") != self.options.pretrained:
            return "began with other weights (--pretrained)"
        faces = self.train.faces
        if checkpoint["dataset"] != faces.dataset:
            return f"was trained on {checkpoint['dataset']}, not on {faces.dataset}"
        points = scheme_of(checkpoint), tuple(checkpoint["point_ids"])
        if points != (faces.scheme, self.train.point_ids):
            return "was trained for other points"
        return None

    def _set_aside_other_run(self) -> None:
        """Rename the checkpoint of another run that would be overwritten."""
        try:
            other = load(self.path)
            if "training" not in other or self._fault(other) is None:
                return
        except (UserError, KeyError):  # none, or nothing that anybody would miss
            return
        aside = self.path.with_stem(f"{self.path.stem}-{other.get('recipe_name', 'before')}")
        self.path.replace(aside)
        print(f"{self.path}: was of another run and is {aside.name} now", file=sys.stderr)
