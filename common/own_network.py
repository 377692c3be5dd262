"""A network class in a file of your own, named as ``my_file.py:MyNet``."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import torch
from torch import nn

from common.system.errors import UserError


def name_in(named: str | None) -> str | None:
    """The class in ``my_file.py:MyNet``; None where nothing of the kind is named."""
    return named.rpartition(":")[2] if named and ":" in named else None


def load_class(named: str) -> type[nn.Module]:
    """The class of ``my_file.py:MyNet``; its ``own_file`` is the file, for checkpoints.

    The file is run. Raises UserError where it is missing, fails or has no such class.
    """
    file, _, name = named.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise UserError(f"--network {named}: there is no file {path}; name FILE.py:CLASS")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--network {named}: not a Python file; name FILE.py:CLASS")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as fault:  # whatever is wrong in somebody's file
        raise UserError(f"{path}: {type(fault).__name__}: {fault}; mend it") from None
    kind = getattr(module, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UserError(f"{path}: has no nn.Module called {name}; name FILE.py:CLASS")
    kind.own_file = str(path)
    return kind


def new_network(named: str, height: int, width: int, n_points: int) -> nn.Module:
    """A network of that class: called with those of ``height``, ``width`` and ``n_points`` that it
    takes, and tried on empty crops.

    It takes float (B, 1, height, width) in -0.5..0.5 and returns fractions (B, n_points, 2).
    Raises UserError where it fails or returns something else.
    """
    kind = load_class(named)
    sizes = {"height": height, "width": width, "n_points": n_points}
    taken = inspect.signature(kind).parameters
    arguments = {name: size for name, size in sizes.items() if name in taken}
    try:
        network = kind(**arguments)
        with torch.no_grad():
            shape = tuple(network.eval()(torch.zeros(2, 1, height, width)).shape)
    except Exception as fault:
        raise UserError(f"{named}: {type(fault).__name__}: {fault}; mend the class") from None
    if shape != (2, n_points, 2):
        raise UserError(
            f"{named}: returns {shape} for crops (2, 1, {height}, {width}); it must return "
            f"fractions (2, {n_points}, 2)"
        )
    network.arguments = getattr(network, "arguments", arguments)
    return network.train()
