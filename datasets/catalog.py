"""The data sets that the course knows: what ``run_part.py data`` prints and fetches."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from common.system.errors import UserError
from common.system.files import cache_folder
from datasets import ibug, imm, youtube_faces, yunet
from datasets.download import RemoteFile, install
from datasets.location import data_folder, fetch_command, find_root
from datasets.synthetic import cached


class DataSet(Protocol):
    """What a data set's module offers to be listed and fetched."""

    TITLE: str
    LICENCE: str
    FOLDER: str
    ARCHIVE: RemoteFile

    def counts(self, folder: Path) -> dict[str, tuple[int, int]]:
        """Faces (there, in the complete set) per split, without decoding anything."""

    def find_in(self, unpacked: Path) -> Path | None:
        """The data set's folder among what an archive unpacked to."""

    def verify(self, folder: Path) -> list[str]:
        """Warnings; raises UserError where the set cannot be used."""


DRAWN_LICENCE = "as the code; these people do not exist"
SETS: dict[str, DataSet] = {"imm": imm, "ibug": ibug, "youtube_faces": youtube_faces}


def list_sets(data: Path | None, name: str | None = None) -> str:
    """For each set, or for one: found or not, where, faces per split, licence. Decodes nothing.

    Raises UserError for an unknown name.
    """
    told = {known: _describe(known, data) for known in SETS}
    told |= {"synthetic": _describe_drawn(), "yunet": yunet.describe(data)}
    if name is None:
        return "\n\n".join(told.values())
    if name not in told:
        raise UserError(f"{name}: no such data set; known are {', '.join(told)}")
    return told[name]


def download(name: str, data: Path | None) -> str:
    """Fetch a set, or YuNet, into the data folder, unless it is there; what to tell.

    Raises UserError for an unknown name, or where the set cannot be fetched or written.
    """
    if name == "yunet":
        return yunet.download(data)
    if name not in SETS:
        raise UserError(f"{name}: no such data set; known are {', '.join(SETS)}, yunet")
    data_set = SETS[name]
    target = data_folder(data)[0] / data_set.FOLDER
    if (there := _find(data_set, data)) is not None:
        return f"{name}: is at {there} already; nothing was fetched"
    warnings = install(data_set.ARCHIVE, target, data_set.find_in, data_set.verify)
    return "\n".join([*warnings, _describe(name, data)])


def _find(data_set: DataSet, data: Path | None) -> Path | None:
    """The set's folder, if it is there."""
    root = data_folder(data)[0]
    if data_set is youtube_faces:  # also where the course's own instructions put it
        return youtube_faces.find(root)
    return root / data_set.FOLDER if find_root(data, data_set.FOLDER) else None


def _describe_drawn() -> str:
    counts = [f"  {' '.join(kind):<16}{n:>5} faces" for kind, n in cached.COUNTS.items()]
    return "\n      ".join(
        [
            f"{'synthetic':<12}drawn when first asked for, --dataset synthetic; 58 or 68 points",
            f"kept in {cache_folder()}",
            *counts,
            f"licence: {DRAWN_LICENCE}",
        ]
    )


def _describe(name: str, data: Path | None) -> str:
    data_set = SETS[name]
    folder = _find(data_set, data)
    lines = [f"{name:<5} {data_set.TITLE}"]
    if folder is None:
        missing = data_folder(data)[0] / data_set.FOLDER
        lines.append(f"not found in {missing}; fetch it: {fetch_command(name, data)}")
    else:
        lines.append(f"found in {folder}")
        try:
            lines += [
                f"  {split:<16}{there:>5} of {complete} faces"
                for split, (there, complete) in data_set.counts(folder).items()
            ]
        except UserError as fault:
            lines.append(f"error: {fault}")
    lines.append(f"licence: {data_set.LICENCE}")
    return "\n      ".join(lines)


def licence(dataset: str) -> str:
    """The licence of what a network learned from, as its makers state it; ``dataset`` as in
    checkpoints."""
    if dataset == "synthetic":
        return DRAWN_LICENCE
    return SETS["ibug" if dataset == "mixed" else dataset].LICENCE
