"""Where the data sets lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from common.system.errors import UserError


def data_folder(data: Path | None) -> tuple[Path, str]:
    """The folder of the data sets, and what named it.

    data: from ``--data DIR``; None takes the environment variable FACE_DATA, else
        ``datasets/files`` beside this code.
    """
    if data is not None:
        return Path(os.path.expanduser(data)), "--data"
    if named := os.environ.get("FACE_DATA"):
        return Path(os.path.expanduser(named)), "FACE_DATA"
    return Path(__file__).resolve().parent / "files", "the default"


def find_folder(data: Path | None, name: str) -> Path | None:
    """The folder ``name`` of the data folder, None if it is not there."""
    folder = data_folder(data)[0] / name
    return folder if folder.is_dir() else None


def require_folder(dataset: str, name: str, data: Path | None) -> Path:
    """The folder ``name`` of the data folder; raises UserError with how to fetch the data set."""
    folder = find_folder(data, name)
    if folder is None:
        raise UserError(not_found(dataset, name, data))
    return folder


def not_found(name: str, folder: str, data: Path | None) -> str:
    """One line: where the data set ``name`` was looked for, and how to fetch it."""
    root, named_by = data_folder(data)
    return (
        f"{name}: not found, looked for {root / folder} ({named_by}); fetch it with "
        f"`{fetch_command(name, data)}`"
    )


def fetch_command(name: str, data: Path | None) -> str:
    """The command that downloads a data set to the folder that ``data`` names."""
    where = f' --data "{data}"' if data is not None else ""
    return f"python run_part.py data {name} --download{where}"
