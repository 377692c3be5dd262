"""Synthetic faces as a data set: rendered once and kept as pictures below the cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Collection
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68, IMM_58
from common.system.distributed import on_main_process
from common.system.errors import UserError
from common.system.files import cache_folder, clear_abandoned, write_atomically
from common.system.parallel import map_unordered
from datasets.synthetic.head import TEMPLATE
from datasets.synthetic.render import FIRST_SEED, names, render

SCHEMES = {"portrait": IMM_58, "crop": IBUG_68}
SIZES = {"portrait": (240, 320), "crop": (144, 144)}
COUNTS = {
    ("portrait", "train"): 192,  # 32 people in six views, as IMM's training set
    ("portrait", "test"): 48,  # 8 others
    ("crop", "train"): 2000,  # what is rendered in about a minute on two cores
    ("crop", "test"): 250,
}
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of every PNG file, and its checksum
BATCH = 24  # faces that a process renders before it reports them; whole people of six views


def load(
    setting: str, split: str, count: int | None = None, leave_out: Collection[str] = ()
) -> Faces:
    """Synthetic faces of one split, pictures and points on disk; rendered if new, with a bar.

    setting: "portrait" (IMM's setting and 58 points, boxes are the whole picture) or "crop"
        (300-W's setting and 68 points, boxes around the landmarks).
    split: "train" or "test"; no person is in both.
    count: by default that of COUNTS.
    leave_out: names of ``render.VARIATIONS``.
    A damaged set is rendered again, with a warning. Raises UserError where the disk is full.
    """
    count = COUNTS[setting, split] if count is None else count
    plain = "".join(f"-no_{name}" for name in sorted(leave_out))
    folder = cache_folder() / f"synthetic-{setting}-{split}-{count}{plain}-{_renderer()}"
    on_main_process(
        lambda: _is_whole(folder, count) or _fill(folder, setting, split, count, leave_out)
    )
    notes = torch.load(folder / "notes.pt", weights_only=True)
    points = notes["points"]  # (N, K, 2)
    height, width = SIZES[setting]
    whole = torch.tensor([[0.0, 0.0, width, height]]).expand(count, 4)
    return Faces(
        name=f"synthetic/{split}{plain}-{count}",
        dataset="synthetic",
        scheme=SCHEMES[setting],
        files=tuple(folder / f"{index:05d}.png" for index in range(count)),
        points=points,
        boxes=landmark_boxes(points) if setting == "crop" else whole,
        groups=tuple(notes["groups"]),
        views=tuple(notes["views"]),
        synthetic=True,
    )


def _renderer() -> str:
    """Names the code that renders, so that pictures of an older version are not taken for its."""
    folder = Path(__file__).parent
    sources = sorted({*folder.glob("*.py"), *folder.glob("*.csv")} - {Path(__file__)})
    code = b"".join(file.read_bytes() for file in sources)
    return hashlib.sha256(code + TEMPLATE.tobytes()).hexdigest()[:8]


def _is_whole(folder: Path, count: int) -> bool:
    """Whether a set is there and neither its notes nor any of its pictures was cut short."""
    if not folder.is_dir():
        return False
    with suppress(Exception):  # a damaged file fails in whichever layer meets the damage first
        torch.load(folder / "notes.pt", weights_only=True)
        pictures = (folder / f"{index:05d}.png" for index in range(count))
        if all(picture.read_bytes().endswith(PNG_END) for picture in pictures):
            return True
    print(f"{folder}: the synthetic faces are damaged and are rendered again", file=sys.stderr)
    return False


def _fill(folder: Path, setting: str, split: str, count: int, leave_out: Collection[str]) -> None:
    """Fill a temporary folder, on all cores, and rename it: a kill leaves no half set behind."""
    shutil.rmtree(folder, ignore_errors=True)  # a damaged one
    clear_abandoned(folder.parent.glob(f"{folder.name}.*.unfinished"))
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}-{time.time_ns()}.unfinished")
    render_some = partial(_render_some, unfinished, setting, split, count, leave_out)
    starts, cores = [(first,) for first in range(0, count, BATCH)], os.cpu_count() or 1
    faces = []
    try:
        unfinished.mkdir(parents=True)
        with (
            closing(map_unordered(render_some, starts, min(cores, len(starts)), cores)) as rendered,
            tqdm(total=count, desc=f"rendering {split} faces", unit=" faces") as bar,
        ):
            for _, batch in rendered:
                faces += batch
                bar.update(len(batch))
        _, points, groups, views = map(list, zip(*sorted(faces), strict=True))
        notes = {"points": torch.tensor(points), "groups": groups, "views": views}  # (N, K, 2)
        write_atomically(unfinished / "notes.pt", lambda file: torch.save(notes, file))
        unfinished.rename(folder)
    except OSError as fault:
        if folder.is_dir():  # another process was quicker
            return
        raise UserError(
            f"{folder}: cannot be written ({fault.strerror or fault}); free some space or set "
            "FACE_CACHE to another folder"
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _render_some(
    folder: Path, setting: str, split: str, count: int, leave_out: Collection[str], first: int
) -> list[tuple[int, list, str, str]]:
    """Render faces ``first`` and following into ``folder``; number, points, group, view of each."""
    numbers = range(first, min(first + BATCH, count))
    seeds = [FIRST_SEED[split] + number for number in numbers]
    images, points, _ = render(seeds, SCHEMES[setting], setting, SIZES[setting], leave_out)
    for number, image in zip(numbers, images.permute(0, 2, 3, 1).numpy(), strict=True):
        Image.fromarray(image).save(folder / f"{number:05d}.png", compress_level=1)
    who = [names(seed, setting, leave_out) for seed in seeds]
    return [(n, face, *one) for n, face, one in zip(numbers, points.tolist(), who, strict=True)]
