"""Training and test faces of your own labels."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from common.faces import Faces
from common.system.errors import UserError

TEST_SHARE = 0.2  # of the faces
TEST_NAMES = ("test", "testset", "val", "valid", "validation")  # of a group of test faces
COPY = re.compile(r"[ _.-]*(mirror(ed)?|flip(ped)?|copy|aug(mented)?|frame)?[ _.-]*\(?\d*\)?$")


def train_and_test(faces: Faces, seed: int) -> tuple[Faces, Faces, tuple[str, ...]]:
    """Split faces by their groups: a group called test or val, else a fifth of them at random.

    seed: of the random choice.
    Returns training faces, test faces, and lines on how they were split and what is in both.
    Raises UserError where all faces are of one picture.
    """
    groups = sorted({*faces.groups})
    pictures = {*map(str, faces.files)}
    named = [group for group in groups if group.lower() in TEST_NAMES]
    if len(groups) == 1:  # one person, one folder
        groups, of = sorted(pictures), [str(file) for file in faces.files]
    else:
        of = list(faces.groups)
    if len(groups) < 2:
        raise UserError(f"{faces.dataset}: all faces are in one picture; label at least two")
    counts = Counter(of)
    chosen: set[str] = set(named) if 0 < len(named) < len(groups) else set()
    about = f"split by group: the test faces are those of {', '.join(named)}"
    if not chosen:
        order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
        left = TEST_SHARE * len(of)
        for place in order[:-1]:  # at least one is left for training
            chosen.add(groups[place])
            left -= counts[groups[place]]
            if left <= 0:
                break
        kind = "picture" if {*groups} == pictures else "group"
        about = f"split by {kind} with seed {seed}: {len(chosen)} of {len(groups)} are test faces"
    in_test = torch.tensor([group in chosen for group in of])
    train = faces.take((~in_test).nonzero()[:, 0], f"{faces.name}/train")
    test = faces.take(in_test.nonzero()[:, 0], f"{faces.name}/test")
    test = replace(test, left_out=())  # each is reported once
    twins = in_both(train.files, test.files)
    if twins:
        first, second = twins[0]
        about_twins = (
            f"{len(twins)} test pictures seem to be in the training, too, the first is {first} "
            f"({second}): the test looks better than it is; give both the same group"
        )
    return train, test, (about, *([about_twins] if twins else []))


def in_both(train: tuple[Path, ...], test: tuple[Path, ...]) -> list[tuple[Path, Path]]:
    """Test pictures whose name but for such an ending as "copy" a training picture in the same
    folder has, or whose bytes any of them has: pairs of both."""
    names = {(file.parent, _plain(file)): file for file in train}
    sizes, test_sizes = ({file: file.stat().st_size for file in side} for side in (train, test))
    common = {*sizes.values()} & {*test_sizes.values()}  # others need not be read
    same = {_bytes(file): file for file, size in sizes.items() if size in common}
    pairs = {}
    for file, size in test_sizes.items():
        twin = names.get((file.parent, _plain(file))) or (
            same.get(_bytes(file)) if size in common else None
        )
        if twin:
            pairs[file] = twin
    return list(pairs.items())


def _plain(file: Path) -> str:
    """The stem of a file without what marks a copy; numbers alone do not."""
    stem = file.stem.lower()
    found = COPY.search(stem)
    marked = found and (found[1] or "(" in found[0])
    return stem[: found.start()] if marked else stem


def _bytes(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
