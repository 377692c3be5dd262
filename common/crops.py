"""From a face's box to the network's crop, and the way back to the picture's own pixels.

One 2x3 matrix per face says where each pixel of the picture lands in the crop. Pictures and
points are moved by that same matrix, so they cannot come apart.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from common.recipe import Recipe


def crop_boxes(boxes: Tensor, recipe: Recipe) -> Tensor:
    """What is cut out around faces: the network's crop and ``recipe.margin`` pixels around it.

    boxes: (N, 4) face boxes left, top, width, height, counted from the picture's edge.
    Returns (N, 4) of the same kind; cut to ``recipe.cached_size``, they have the network's scale.
    """
    if not recipe.box_scale:
        return boxes
    return square_boxes(boxes, recipe.box_scale * recipe.cached_size[1] / recipe.width)


def square_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Squares about the boxes' centres, ``scale`` times their longer side.

    boxes: (N, 4) left, top, width, height in pixels counted from the picture's edge.
    Returns (N, 4) of the same kind; they may reach outside the picture.
    """
    centre = boxes[:, :2] + boxes[:, 2:] / 2  # (N, 2)
    side = boxes[:, 2:].amax(dim=1, keepdim=True) * scale  # (N, 1)
    return torch.cat([centre - side / 2, side, side], dim=1)  # (N, 4)


def adjust_box(boxes: Tensor, right: float, down: float, scale: float) -> Tensor:
    """A detector's boxes -> squares where the landmarks' boxes lie on average: (N, 4) -> (N, 4).

    right, down: how far the landmarks' box lies from the detector's, in its longer sides.
    scale: the longer side of the landmarks' box over the detector's.
    """
    side = boxes[:, 2:].amax(dim=1, keepdim=True)  # (N, 1)
    corner = boxes[:, :2] + side * boxes.new_tensor([right, down])  # (N, 2)
    return square_boxes(torch.cat([corner, boxes[:, 2:]], dim=1), scale)


def crop_matrices(boxes: Tensor, height: int, width: int) -> Tensor:
    """Matrices (N, 2, 3) that take pixels of the picture to pixels of the crop.

    boxes: (N, 4) left, top, width, height counted from the picture's edge; each is stretched to
    a crop of height x width pixels: ``x -> (x + 1/2 - left) * width / box width - 1/2``.
    """
    scale = torch.tensor([width, height]) / boxes[:, 2:]  # (N, 2)
    offset = (0.5 - boxes[:, :2]) * scale - 0.5  # (N, 2)
    return torch.cat([torch.diag_embed(scale), offset[:, :, None]], dim=2)  # (N, 2, 3)


def network_matrices(boxes: Tensor, recipe: Recipe) -> Tensor:
    """Matrices (N, 2, 3) that take pixels of the picture to pixels of the network's crop.

    boxes: (N, 4) as ``crop_boxes`` returns them; they reach ``recipe.margin`` pixels farther.
    """
    matrices = crop_matrices(boxes, *recipe.cached_size)
    matrices[:, :, 2] -= recipe.margin
    return matrices


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Points (N, K, 2) moved by matrices (N, 2, 3): pixels in, pixels out."""
    return points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]


def inverse(matrices: Tensor) -> Tensor:
    """The matrices (N, 2, 3) that undo ``matrices``: crop pixels back to picture pixels."""
    turn = torch.linalg.inv(matrices[:, :, :2])  # (N, 2, 2)
    return torch.cat([turn, -turn @ matrices[:, :, 2:]], dim=2)


def to_fractions(points: Tensor, height: int, width: int) -> Tensor:
    """Pixels of a height x width crop -> fractions of it, 0..1 from edge to edge."""
    return (points + 0.5) / points.new_tensor([width, height])


def to_pixels(fractions: Tensor, height: int, width: int) -> Tensor:
    """Fractions of a height x width crop -> its pixels. The inverse of ``to_fractions``."""
    return fractions * fractions.new_tensor([width, height]) - 0.5


def crop_and_resize(
    picture: Image.Image | np.ndarray, box: Tensor, height: int, width: int, mode: str | None = None
) -> np.ndarray:
    """Cut ``box`` out of a picture and resize it to uint8 (C, height, width).

    picture: of mode "L" (C = 1) or "RGB" (C = 3), or such a picture's pixels, uint8 (H, W) or
    (H, W, 3).
    mode: one of these two, to which it is turned first; only what is cut is turned.
    box: (4,) left, top, width, height counted from the picture's edge. Where it reaches outside,
    the edge pixels are repeated, as ``augmentation.warp`` repeats them: a black margin would be
    an edge for the network to hold on to.

    Training, testing and prediction all cut with this function. Shrinking averages over all
    pixels (PIL's antialiased bilinear filter), so that small crops of large photos stay smooth.
    """
    pixels, (left, top, box_width, box_height) = np.asarray(picture), box.tolist()
    columns, before_x, after_x = _source_window(left, box_width, pixels.shape[1], width)
    rows, before_y, after_y = _source_window(top, box_height, pixels.shape[0], height)
    left, top = left - columns.start + before_x, top - rows.start + before_y
    area = pixels[rows, columns]
    if before_x or after_x or before_y or after_y:
        margins = before_y, after_y, before_x, after_x
        area = cv2.copyMakeBorder(area, *margins, cv2.BORDER_REPLICATE)
    inside = (left, top, left + box_width, top + box_height)
    patch = Image.fromarray(area).convert(mode)
    crop = patch.resize((width, height), Image.Resampling.BILINEAR, inside)
    return np.atleast_3d(np.asarray(crop)).transpose(2, 0, 1)


def _source_window(start: float, length: float, size: int, cells: int) -> tuple[slice, int, int]:
    """What a resize of ``length`` pixels to ``cells`` looks at, of ``size`` pixels there are: the
    pixels, and how often the edge's are repeated before and after them."""
    stop, blur = start + length, max(length / cells, 1.0) + 1  # how far the filter looks beyond
    first = min(max(math.floor(start - blur), 0), size - 1)
    last = max(min(math.ceil(stop + blur), size), first + 1)
    return slice(first, last), max(math.ceil(-start), 0), max(math.ceil(stop - size), 0)


def crop_and_resize_turned(
    picture: Image.Image | np.ndarray,
    box: Tensor,
    angle: float,
    height: int,
    width: int,
    mode: str | None = None,
) -> tuple[np.ndarray, Tensor]:
    """``crop_and_resize`` for a face that is turned in the picture: the crop shows it upright.

    angle: degrees by which the face, and the box (4,) about its own centre, are turned clockwise.
    Returns uint8 (C, height, width) and the matrix (2, 3) from the picture's pixels to the crop's.
    """
    pixels, box = np.asarray(picture), box.double().numpy()
    middle, side = box[:2] + box[2:] / 2 - 0.5, box[2:]  # (2,), (2,)
    sides = np.ceil(side) + 2  # of the upright patch, with a pixel to spare around the box
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cosine, sine], [-sine, cosine]])  # counter-clockwise, back upright
    reach = math.hypot(*sides)  # no turn of the patch is wider
    (columns, *_), (rows, *_) = (
        _source_window(middle[axis] - reach / 2, reach, pixels.shape[1 - axis], round(reach))
        for axis in (0, 1)
    )
    area = Image.fromarray(pixels[rows, columns]).convert(mode)
    shift = (sides - 1) / 2 - turn @ (middle - (columns.start, rows.start))  # area to patch
    patch = cv2.warpAffine(
        np.asarray(area),
        np.column_stack([turn, shift]),
        sides.astype(int).tolist(),
        borderMode=cv2.BORDER_REPLICATE,
    )
    upright = torch.from_numpy(np.concatenate([(sides - side) / 2, side])).float()
    scale = (width, height) / side
    offset = (np.array([width, height]) - 1) / 2 - scale * (turn @ middle)  # middle to middle
    matrix = np.column_stack([scale[:, None] * turn, offset])
    return crop_and_resize(patch, upright, height, width), torch.from_numpy(matrix).float()


def read_picture(path: Path | BinaryIO, colour: bool) -> Image.Image:
    """Decode a picture to mode "RGB" or, grey, "L" (ITU-R 601 luma), turned as EXIF says.

    Values of more than 8 bits, floats too, are stretched to 8: from 0, or the least below, to the
    highest that the bits in use can hold. Palettes are resolved, transparency is dropped.
    Raises whatever Pillow raises for a picture that cannot be decoded whole.
    """
    with Image.open(path) as picture:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":
        values = np.nan_to_num(np.asarray(picture).astype(np.float64), posinf=0, neginf=0)
        values -= min(values.min(), 0)
        bits = math.ceil(math.log2(values.max() + 1))  # 12 of a 12-bit picture
        top = 2**bits - 1 if values.max() > 1 else 1
        picture = Image.fromarray((values * (255 / top)).astype(np.uint8))
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    return picture.convert("RGB" if colour else "L")
