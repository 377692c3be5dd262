"""Every picture is opened and decoded once; training reads crops from one tensor.

``load_crops`` cuts the faces that a reader lists into a cache file and returns that file as a
uint8 tensor (N, C, H, W) beside their points. The file is mapped, not read: the system brings in
what is used and lets go of it where memory is short, so a set may be larger than memory, and the
next run starts at once.

A cache file holds the pixels of crop after crop, then the notes about them as JSON, then ``END``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.crops import crop_and_resize, crop_boxes, crop_matrices, read_picture, transform_points
from common.faces import Faces, stop_if_many_damaged
from common.keypoints import flip_order_within
from common.recipe import Recipe
from common.system.distributed import on_main_process
from common.system.errors import UserError
from common.system.files import cache_folder, write_atomically

CACHE_VERSION = 3  # raised when the way of cutting changes, so that older caches are rebuilt
STRIP = 256  # faces that are in memory at once while they are cut
CHECKED = 1 << 30  # bytes whose checksums are compared at every start: about a second's work
END = struct.Struct("<QI")  # length and checksum of the notes


@dataclass(frozen=True)
class Crops:
    """N faces, cut.

    faces: what the reader said of them; damaged pictures are gone from it.
    images: uint8 (N, C, H, W), C = 1 grey or 3 RGB, values 0..255; the cache file, to read only.
    matrices: float32 (N, 2, 3), from pixels of the picture to pixels of the crop.
    point_ids: the k points of the scheme that a network learns, by their indices.
    """

    faces: Faces
    images: Tensor
    matrices: Tensor
    point_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.faces)

    def take(self, wanted: list[int] | Tensor) -> Crops:
        """The faces at the indices ``wanted``, in that order."""
        wanted = torch.as_tensor(wanted, dtype=torch.long)
        images, matrices = self.images[wanted], self.matrices[wanted]
        return replace(self, faces=self.faces.take(wanted), images=images, matrices=matrices)

    @property
    def all_points(self) -> Tensor:
        """float32 (N, K, 2): every annotated point, in pixels of the crop."""
        return transform_points(self.faces.points, self.matrices)

    @property
    def points(self) -> Tensor:
        """float32 (N, k, 2): the points that a network learns, in pixels of the crop."""
        return self.all_points[:, list(self.point_ids)]

    @property
    def eye_distance(self) -> Tensor:
        """float32 (N,): distance of the outer eye corners in pixels of the crop."""
        return self.faces.scheme.eye_distance(self.all_points)

    @property
    def flip_order(self) -> Tensor:
        """Index tensor (k,) that exchanges left and right among the kept points."""
        return flip_order_within(self.faces.scheme, self.point_ids)


def load_crops(faces: Faces, recipe: Recipe, point_ids: tuple[int, ...] | None = None) -> Crops:
    """Cut the faces as ``recipe`` says, with ``recipe.margin`` pixels around the network's crop.

    The crops come from the cache file if it was made from the same pictures, boxes and size. A
    damaged cache is rebuilt with a warning. Damaged pictures are left out and named.
    point_ids: the points that a network learns; all of the scheme by default.
    Raises UserError when more than 1 % of the pictures are damaged, or another process makes the
    same cache file of other crops.
    """
    (height, width), boxes = recipe.cached_size, crop_boxes(faces.boxes, recipe)
    name = f"{faces.name.replace('/', '_')}-{width}x{height}{'-colour' * recipe.colour}.crops"
    path = cache_folder() / name
    key = _cache_key(faces.files, boxes, height, width, recipe.colour)

    def make() -> None:
        if not _is_whole(path, key):
            shape = 3 if recipe.colour else 1, height, width
            write_atomically(
                path,
                lambda file: _cut_all(faces, boxes, shape, key, file),
                "set FACE_CACHE to another folder",
            )

    on_main_process(make)
    images, notes = _open(path)
    if notes["key"] != key:
        raise UserError(
            f"{path}: another run cut these faces in its own way meanwhile; start again, or set "
            "FACE_CACHE to a folder of this run's own"
        )
    faces = replace(faces.take(notes["kept"]), left_out=faces.left_out + tuple(notes["left_out"]))
    for line in faces.left_out:
        print(f"left out: {line}", file=sys.stderr)
    matrices = crop_matrices(boxes[notes["kept"]], height, width)
    if point_ids is None:
        point_ids = tuple(range(faces.scheme.n_points))
    return Crops(faces, images, matrices, point_ids)


def _cut_all(
    faces: Faces, boxes: Tensor, shape: tuple[int, int, int], key: str, file: BinaryIO
) -> None:
    """Write a cache file, strip by strip. shape: (C, H, W) of a crop."""

    def cut_one(index: int) -> bytes | str:
        try:
            picture = read_picture(faces.files[index], shape[0] == 3)
        except Exception as fault:  # a damaged picture fails wherever the damage is met first
            return f"{faces.files[index]}: {fault}"
        return crop_and_resize(picture, boxes[index], *shape[1:]).tobytes()

    kept, left_out, sums = [], [], []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow decodes outside Python's lock
        tqdm(total=len(faces), desc=f"cutting {faces.name}") as bar,
    ):
        for strip in torch.arange(len(faces)).split(STRIP):
            crops = []
            for index, crop in zip(strip.tolist(), pool.map(cut_one, strip.tolist()), strict=True):
                bar.update()
                if isinstance(crop, str):
                    left_out.append(crop)
                else:
                    kept.append(index)
                    crops.append(crop)
            pixels = b"".join(crops)
            file.write(pixels)
            sums.append((len(pixels), zlib.crc32(pixels)))
    stop_if_many_damaged(faces.name, tuple(left_out), len(faces))
    notes = json.dumps(
        {"key": key, "shape": (len(kept), *shape), "kept": kept, "left_out": left_out, "sums": sums}
    ).encode()
    file.write(notes + END.pack(len(notes), zlib.crc32(notes)))


def _cache_key(
    files: tuple[Path, ...], boxes: Tensor, height: int, width: int, colour: bool
) -> str:
    key = hashlib.sha256(repr((CACHE_VERSION, height, width, colour)).encode())
    for path in files:
        try:
            stat = path.stat()
        except OSError as fault:
            raise UserError(f"{path}: {fault.strerror}; unpack the data set again") from None
        key.update(os.fsencode(path) + f"|{stat.st_size}|{stat.st_mtime_ns}".encode())
    key.update(boxes.numpy().tobytes())
    return key.hexdigest()


def _is_whole(path: Path, key: str) -> bool:
    """Whether the cache file is there, made from the same as ``key``, and undamaged.

    Notes and size are always checked. The pixels' checksums are compared strip by strip, of
    a file much larger than ``CHECKED`` on strips that chance chooses, others at every start.
    """
    if not path.exists():
        return False
    try:
        images, notes = _open(path)
        lengths, checksums = zip(*notes["sums"], strict=True)
        strips = list(zip(images.flatten().split(lengths), checksums, strict=True))
        some = random.sample(strips, min(len(strips), CHECKED // (max(lengths) or 1) + 1))
        if any(zlib.crc32(strip.numpy()) != checksum for strip, checksum in some):
            raise ValueError("checksum")
    except Exception:  # a damaged file fails wherever the damage is met first
        print(f"{path}: the cache is damaged and is made anew", file=sys.stderr)
        return False
    return notes["key"] == key


def _open(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """The pixels (N, C, H, W) of a cache file, mapped, and the notes about them."""
    with open(path, "rb") as file:
        end = file.seek(-END.size, os.SEEK_END)
        length, checksum = END.unpack(file.read())
        begin = file.seek(end - length)
        notes = file.read(length)
    if zlib.crc32(notes) != checksum:
        raise ValueError("checksum")
    notes = json.loads(notes)
    pixels = np.memmap(path, np.uint8, "r", shape=(begin,))
    with warnings.catch_warnings():  # that nobody may write there is as it should be
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels).view(notes["shape"]), notes
