"""Crops of a data set, cut once and kept in a memory-mapped file.

A cache is a plain ``.npy`` file, uint8 (N, C, H, W), and a ``.json`` file of notes beside it,
both named by a key of what made them: pictures, boxes and size. The system loads the pages that
are used and drops them where memory is short, so a set may be larger than memory.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.crops import crop_and_resize, read_picture
from common.faces import Faces, stop_if_many_damaged
from common.system.distributed import on_main_process
from common.system.errors import UserError
from common.system.files import cache_folder, clear_abandoned, write_atomically

CACHE_VERSION = 4  # raised when the way of cutting changes, so that older caches are not used
REMEDY = "set FACE_CACHE to another folder"
STRIP = 256  # faces that are in memory at once while they are cut
CHECKED = 1 << 30  # bytes up to which a file's checksum is compared at each start: a second's work


def cached_crops(
    faces: Faces, boxes: Tensor, shape: tuple[int, int, int]
) -> tuple[Tensor, list[int], tuple[str, ...]]:
    """The crops of ``faces``, from the cache if it has them.

    boxes: (N, 4) what is cut out of each picture.
    shape: (C, H, W) of a crop; C is 1 (grey) or 3 (RGB).
    Returns uint8 (M, C, H, W), to read only, which of the N faces they are, and one line for each
    picture that is damaged and left out.
    Raises UserError when more than 1 % of the pictures are damaged or the disk is full.
    """
    key = _key(faces.files, boxes, shape)
    name = f"{faces.name.replace('/', '_')}-{shape[2]}x{shape[1]}{'-colour' * (shape[0] == 3)}"
    pixels = cache_folder() / f"{name}-{key}.npy"
    on_main_process(lambda: _is_whole(pixels) or _cut_all(faces, boxes, shape, pixels))
    try:
        images, notes = _open(pixels)
    except OSError:
        raise UserError(
            f"{pixels}: was deleted while this run started; start again, or set FACE_CACHE to a "
            "folder of this run's own"
        ) from None
    return images, notes["cut"], tuple(notes["left_out"])


def _key(files: tuple[Path, ...], boxes: Tensor, shape: tuple[int, int, int]) -> str:
    key = hashlib.sha256(repr((CACHE_VERSION, shape)).encode())
    for path in files:
        try:
            stat = path.stat()
        except OSError as fault:
            raise UserError(f"{path}: {fault.strerror}; unpack the data set again") from None
        key.update(os.fsencode(path) + f"|{stat.st_size}|{stat.st_mtime_ns}".encode())
    key.update(boxes.numpy().tobytes())
    return key.hexdigest()[:16]


def _is_whole(pixels: Path) -> bool:
    """Whether both files are there and fit together; a torn one is reported."""
    if not pixels.exists():
        return False
    try:
        images, notes = _open(pixels)
        if images.nbytes <= CHECKED and zlib.crc32(images.numpy()) != notes["pixels"]:
            raise ValueError("checksum")
    except Exception:  # a damaged file fails wherever the damage is met first
        print(f"{pixels}: the cache is damaged and is made again", file=sys.stderr)
        return False
    return True


def _open(pixels: Path) -> tuple[Tensor, dict[str, Any]]:
    """The crops (M, C, H, W), mapped, and the notes about them."""
    notes = json.loads(pixels.with_suffix(".json").read_text(encoding="utf-8"))
    if notes.pop("checksum") != _checksum(notes):
        raise ValueError("checksum")
    images = np.load(pixels, mmap_mode="r")[: len(notes["cut"])]
    with warnings.catch_warnings():  # that nobody may write there is as it should be
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images), notes


def _checksum(notes: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(notes).encode())


def _cut_all(faces: Faces, boxes: Tensor, shape: tuple[int, int, int], pixels: Path) -> None:
    """Write a cache, the notes first, and remove older caches of the same faces and size."""
    notes: dict[str, Any] = {"cut": [], "left_out": [], "pixels": 0}

    def cut_one(index: int) -> np.ndarray | str:
        try:
            picture = read_picture(faces.files[index], shape[0] == 3)
        except Exception as fault:  # a damaged picture fails wherever the damage is met first
            return f"{faces.files[index]}: {fault}"
        return crop_and_resize(picture, boxes[index], *shape[1:])

    def write(file: BinaryIO) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(faces), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow decodes outside Python's lock
            tqdm(total=len(faces), desc=f"cutting {faces.name}") as bar,
        ):
            for strip in torch.arange(len(faces)).split(STRIP):
                crops = pool.map(cut_one, strip.tolist())
                for index, crop in zip(strip.tolist(), crops, strict=True):
                    bar.update()
                    if isinstance(crop, str):
                        notes["left_out"].append(crop)
                        continue
                    notes["cut"].append(index)
                    notes["pixels"] = zlib.crc32(crop.tobytes(), notes["pixels"])
                    file.write(crop.tobytes())
        damaged = tuple(notes["left_out"])
        stop_if_many_damaged(faces.name, damaged, len(faces))
        file.write(bytes(len(damaged) * math.prod(shape)))  # as many rows as the header says
        text = json.dumps(notes | {"checksum": _checksum(notes)}).encode()
        write_atomically(pixels.with_suffix(".json"), lambda file: file.write(text), REMEDY)

    write_atomically(pixels, write, REMEDY)
    stem = pixels.stem.rpartition("-")[0]
    clear_abandoned(pixels.parent.glob(f".{glob.escape(stem)}-*.tmp"))
    for other in pixels.parent.glob(f"{glob.escape(stem)}-{'[0-9a-f]' * 16}.*"):
        if other.stem != pixels.stem:
            with suppress(OSError):  # another process was quicker, or still maps it
                other.unlink()
