"""The data sets of the course: what ``run_part.py data`` lists and downloads."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from common.system.errors import UserError
from common.system.files import cache_folder
from datasets import ibug, imm, youtube_faces, yunet
from datasets.download import install
from datasets.location import data_folder, fetch_command
from datasets.synthetic import cached

SYNTHETIC_LICENCE = "as the code; these people do not exist"
# Each has TITLE, LICENCE, FOLDER, ARCHIVE and MARKER (a file of its folder in the archive), and:
# find(root), its folder or None; counts(folder), faces there and in the complete set of each split,
# nothing decoded; verify(folder), warnings, or a UserError where the set cannot be used.
SETS: dict[str, ModuleType] = {"imm": imm, "ibug": ibug, "youtube_faces": youtube_faces}


def list_sets(data: Path | None, name: str | None = None) -> str:
    """For each set, or for one: found or not, where, faces per split, licence. Decodes nothing.

    Raises UserError for an unknown name.
    """
    entries = {known: _describe(known, data) for known in SETS}
    entries |= {"synthetic": _describe_synthetic(), "yunet": yunet.describe(data)}
    if name is None:
        return "\n\n".join(entries.values())
    if name not in entries:
        raise UserError(f"{name}: no such data set; known are {', '.join(entries)}")
    return entries[name]


def download(name: str, data: Path | None) -> str:
    """Download a set, or YuNet, unless it exists; returns the text to print.

    Raises UserError for an unknown name, or where the set cannot be downloaded or written.
    """
    if name == "yunet":
        return yunet.download(data)
    if name not in SETS:
        raise UserError(f"{name}: no such data set; known are {', '.join(SETS)}, yunet")
    data_set, (root, _) = SETS[name], data_folder(data)
    if folder := data_set.find(root):
        return f"{name}: is at {folder} already; nothing was fetched"
    target = root / data_set.FOLDER
    warnings = install(data_set.ARCHIVE, target, data_set.MARKER, data_set.verify)
    return "\n".join([*warnings, _describe(name, data)])


def _describe(name: str, data: Path | None) -> str:
    data_set, (root, _) = SETS[name], data_folder(data)
    lines = [f"{name:<5} {data_set.TITLE}"]
    if folder := data_set.find(root):
        lines.append(f"found in {folder}")
        try:
            lines += [
                f"  {split:<16}{count:>5} of {complete} faces"
                for split, (count, complete) in data_set.counts(folder).items()
            ]
        except UserError as fault:
            lines.append(f"error: {fault}")
    else:
        missing = root / data_set.FOLDER
        lines.append(f"not found in {missing}; fetch it: {fetch_command(name, data)}")
    lines.append(f"licence: {data_set.LICENCE}")
    return "\n      ".join(lines)


def _describe_synthetic() -> str:
    lines = [
        f"{'synthetic':<12}rendered when first used, --dataset synthetic; 58 or 68 points",
        f"kept in {cache_folder()}",
        *(f"  {' '.join(kind):<16}{n:>5} faces" for kind, n in cached.COUNTS.items()),
        f"licence: {SYNTHETIC_LICENCE}",
    ]
    return "\n      ".join(lines)


def licence(dataset: str) -> str:
    """The licence of training data, as its makers state it; ``dataset`` as in checkpoints."""
    if dataset == "synthetic":
        return SYNTHETIC_LICENCE
    named = "ibug" if dataset == "mixed" else dataset
    return SETS[named].LICENCE if named in SETS else f"unknown, that of {dataset}"
