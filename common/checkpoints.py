"""One file that holds a trained network and all that is needed to use it or to go on training."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.files import write_atomically
from common.recipe import Recipe

WEIGHTS = Path(__file__).resolve().parent.parent / "parts" / "weights"  # what the course ships

Checkpoint = dict[str, Any]
"""Keys: ``network`` (module and class), ``arguments`` (of the class), ``weights``, ``recipe``
(its values), ``recipe_name``, ``pretrained`` (as in ``Options``), ``scheme``, ``kept``,
``dataset``, ``metrics``, ``versions`` and ``training`` (what ``--resume`` needs: weights,
optimizer, average, history, seed). When training has ended also ``doubt``, see
``prediction.usual_doubt``."""


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write to a temporary file and rename: a kill leaves the last good checkpoint."""
    write_atomically(path, lambda file: torch.save(checkpoint, file))


def newest() -> Path:
    """The checkpoint for those who name none: the one in parts/weights, else the newest of part 3
    in ``reports``.

    Raises UserError where there is none.
    """
    shipped = sorted(WEIGHTS.glob("*.pt"))
    trained = Path("reports").glob("part3*/checkpoint.pt")
    found = shipped or sorted(trained, key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(
            "reports/part3/checkpoint.pt: no trained network yet; make one with: "
            "python run_part.py 3"
        )
    return found[-1]


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
    return checkpoint


def network_of(checkpoint: Checkpoint) -> nn.Module:
    """The trained network, ready to predict.

    ``network`` names a class in ``parts``; nothing else is imported for a checkpoint's sake.
    Raises UserError where there is no such network or its weights do not fit.
    """
    module, _, name = checkpoint["network"].rpartition(".")
    try:
        if not module.startswith("parts."):
            raise ImportError
        network = getattr(importlib.import_module(module), name)(**checkpoint["arguments"])
        network.load_state_dict(checkpoint["weights"])
    except (ImportError, AttributeError, TypeError, RuntimeError):
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
