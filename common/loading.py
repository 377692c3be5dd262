"""Every picture is opened and decoded once; training reads crops from one tensor.

``load_crops`` turns the faces that a reader lists into a uint8 tensor (N, C, H, W) beside their
points, and keeps the tensor in a cache file, so that the next run starts at once.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from common.crops import boxes_to_keep, crop_matrices, cut, move
from common.errors import UserError
from common.faces import Faces, stop_if_many_damaged
from common.files import cache_folder, write_atomically
from common.keypoints import flip_order_within
from common.recipe import Recipe

CACHE_VERSION = 1  # raised when the way of cutting changes, so that older caches are rebuilt


@dataclass(frozen=True)
class Crops:
    """N faces, cut and in memory.

    faces: what the reader said of them; damaged pictures are gone from it.
    images: uint8 (N, C, H, W), C = 1 grey or 3 RGB, values 0..255.
    matrices: float32 (N, 2, 3), from pixels of the picture to pixels of the crop.
    kept: the k points of the scheme that a network learns, by their indices.
    """

    faces: Faces
    images: Tensor
    matrices: Tensor
    kept: tuple[int, ...]

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
        return move(self.faces.points, self.matrices)

    @property
    def points(self) -> Tensor:
        """float32 (N, k, 2): the points that a network learns, in pixels of the crop."""
        return self.all_points[:, list(self.kept)]

    @property
    def eye_distance(self) -> Tensor:
        """float32 (N,): distance of the outer eye corners in pixels of the crop."""
        return self.faces.scheme.eye_distance(self.all_points)

    @property
    def flip_order(self) -> Tensor:
        """Index tensor (k,) that exchanges left and right among the kept points."""
        return flip_order_within(self.faces.scheme, self.kept)


def load_crops(faces: Faces, recipe: Recipe, kept: tuple[int, ...] | None = None) -> Crops:
    """Cut the faces as ``recipe`` says, with ``recipe.margin`` pixels around the network's crop.

    The crops come from the cache file if it was made from the same pictures, boxes and size. A
    damaged cache is rebuilt with a warning. Damaged pictures are left out and named.
    kept: the points that a network learns; all of the scheme by default.
    Raises UserError when more than 1 % of the pictures are damaged.
    """
    (height, width), boxes = recipe.kept_size, boxes_to_keep(faces.boxes, recipe)
    name = f"{faces.name.replace('/', '_')}-{width}x{height}{'-colour' * recipe.colour}.pt"
    key = _cache_key(faces.files, boxes, height, width, recipe.colour)
    cache = _read_cache(cache_folder() / name, key)
    if cache is None:
        cut_faces = _cut_all(faces, boxes, height, width, recipe.colour)
        cache = {"key": key, **cut_faces}
        write_atomically(cache_folder() / name, lambda file: torch.save(cache, file))
    faces = replace(faces.take(cache["kept"]), left_out=faces.left_out + tuple(cache["left_out"]))
    for line in faces.left_out:
        print(f"left out: {line}", file=sys.stderr)
    matrices = crop_matrices(boxes[cache["kept"]], height, width)
    kept = tuple(range(faces.scheme.n_points)) if kept is None else kept
    return Crops(faces, cache["images"], matrices, kept)


def read_picture(path: Path | BinaryIO, colour: bool) -> Image.Image:
    """Decode a picture to mode "RGB" or, grey, "L" (ITU-R 601 luma), turned as EXIF says.

    16-bit pictures keep their upper 8 bits, palettes are resolved, transparency is dropped.
    Raises whatever Pillow raises for a picture that cannot be decoded whole.
    """
    with Image.open(path) as picture:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    return picture.convert("RGB" if colour else "L")


def _cut_all(faces: Faces, boxes: Tensor, height: int, width: int, colour: bool) -> dict:
    images = torch.empty(len(faces), 3 if colour else 1, height, width, dtype=torch.uint8)
    faults: dict[int, str] = {}

    def cut_one(index: int) -> None:
        try:
            picture = read_picture(faces.files[index], colour)
        except Exception as fault:  # a damaged picture fails wherever the damage is met first
            faults[index] = f"{faces.files[index]}: {fault}"
            return
        images[index] = torch.from_numpy(cut(picture, boxes[index], height, width).copy())

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside Python's lock
        list(tqdm(pool.map(cut_one, range(len(faces))), f"cutting {faces.name}", len(faces)))
    left_out = [faults[index] for index in sorted(faults)]
    stop_if_many_damaged(faces.name, tuple(left_out), len(faces))
    kept = [index for index in range(len(faces)) if index not in faults]
    return {"images": images[kept], "kept": kept, "left_out": left_out}


def _cache_key(
    files: tuple[Path, ...], boxes: Tensor, height: int, width: int, colour: bool
) -> str:
    key = hashlib.sha256(repr((CACHE_VERSION, height, width, colour)).encode())
    for path in files:
        try:
            stat = path.stat()
        except OSError as fault:
            raise UserError(f"{path}: {fault.strerror}; unpack the data set again") from None
        key.update(f"{path}|{stat.st_size}|{stat.st_mtime_ns}".encode())
    key.update(boxes.numpy().tobytes())
    return key.hexdigest()


def _read_cache(path: Path, key: str) -> dict | None:
    if not path.exists():
        return None
    try:
        if zipfile.ZipFile(path).testzip() is not None:  # compares the checksum of every part
            raise ValueError("checksum")
        cache = torch.load(path, weights_only=True, mmap=True)
    except Exception:  # a damaged file fails in whichever layer meets the damage first
        print(f"{path}: the cache is damaged and is made anew", file=sys.stderr)
        return None
    return cache if cache.get("key") == key else None
