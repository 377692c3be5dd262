"""The tasks of part 3, and the mistakes that are known by name."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from common import heatmaps
from common.augmentation import affine_matrices, warp
from common.crops import (
    crop_matrices,
    inverse,
    square_boxes,
    to_fractions,
    to_pixels,
    transform_points,
)
from common.faces import landmark_boxes
from common.losses import LOSSES, wing
from common.metrics import area_under_curve, failure_rate
from datasets import ibug
from exercises.faces import SIZES, close_up, random, side_by_side
from exercises.judge import Task

# Reading an annotation


def read_pts(text: str) -> Tensor:
    """``ibug.read_pts`` of a file with that text: (68, 2)."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "face.pts")
        file.write_text(text)
        return ibug.read_pts(file)


def _pts(index: int) -> tuple[str]:
    """An annotation of ``close_up(index)``; the second one has lost its header."""
    rows = [f"{x:.6f} {y:.6f}" for x, y in (close_up(index)[1] + 1).tolist()]
    whole = ["version: 1", f"n_points: {len(rows)}", "{", *rows, "}"]
    return ("\n".join([*(rows if index else whole), ""]),)


def _without_three_lines(text: str) -> Tensor:
    return read_pts(text.split("\n", 3)[3])


READ_PTS = Task(
    name="read_pts",
    right=read_pts,
    mistakes={
        "one pixel off: the file counts from 1, we count from 0: subtract 1":
            lambda text: read_pts(text) + 1,
        "half a pixel off: the file counts pixels from 1, so subtract 1, not 1/2":
            lambda text: read_pts(text) + 0.5,
        "x and y are exchanged": lambda text: read_pts(text).flip(1),
        "cut to whole pixels: the file tells fractions of a pixel, float keeps them":
            lambda text: (read_pts(text) + 1).floor() - 1,
        "three lines were left out where there is no header: take the lines of two numbers":
            _without_three_lines,
        "the last point is missing": lambda text: read_pts(text)[:-1],
        "one row of 136 numbers: asked is one row a point, (68, 2)":
            lambda text: read_pts(text).flatten(),
    },
    trials=lambda: [_pts(index) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: side_by_side(
        *((close_up(index)[0], answer[0]) for answer in (right, yours))
    ),
)  # fmt: skip


# From a face's box to the crop


def square_crop(boxes: Tensor, scale: float, side: int) -> Tensor:
    """``crops.crop_matrices`` of ``crops.square_boxes``: (N, 2, 3)."""
    return crop_matrices(square_boxes(boxes, scale), side, side)


def _shorter(boxes: Tensor, scale: float, side: int) -> Tensor:
    short = boxes[:, 2:].amin(dim=1, keepdim=True)  # (N, 1)
    corner = boxes[:, :2] + (boxes[:, 2:] - short) / 2
    return square_crop(torch.cat([corner, short, short], dim=1), scale, side)


def _stretched(boxes: Tensor, scale: float, side: int) -> Tensor:
    corner = boxes[:, :2] - boxes[:, 2:] * (scale - 1) / 2
    return crop_matrices(torch.cat([corner, boxes[:, 2:] * scale], dim=1), side, side)


def _from_the_corner(boxes: Tensor, scale: float, side: int) -> Tensor:
    longer = scale * boxes[:, 2:].amax(dim=1, keepdim=True)  # (N, 1)
    return crop_matrices(torch.cat([boxes[:, :2], longer, longer], dim=1), side, side)


def _from_pixel_middles(boxes: Tensor, scale: float, side: int) -> Tensor:
    """``x -> (x - left) * scale``, without the halves of pixels."""
    matrices = square_crop(boxes, scale, side)
    matrices[:, :, 2] += 0.5 - 0.5 * matrices[:, [0, 1], [0, 1]]
    return matrices


def _boxes(index: int) -> tuple[Tensor, float, int]:
    """Three boxes about ``close_up(index)``, the first one the landmarks' own."""
    box = landmark_boxes(close_up(index)[1][None])
    off = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-9.0, 4.0, 15.0, -6.0], [8.0, 2.0, -12.0, 9.0]])
    return box + off, (1.3, 1.6)[index], (48, 64)[index]


SQUARE_CROP = Task(
    name="square_crop",
    right=square_crop,
    mistakes={
        "the shorter side of the box was taken: the longer one, or the chin is cut off": _shorter,
        "not a square: a face in a long box comes out squeezed": _stretched,
        "the square grows from the box's corner: it must grow from its centre": _from_the_corner,
        "half a pixel is missing: x -> (x + 1/2 - left) · side / box side - 1/2":
            _from_pixel_middles,
        "the square is as long as the box: scale was not used":
            lambda boxes, scale, side: square_crop(boxes, 1.0, side),
        "divided by scale where it must be multiplied":
            lambda boxes, scale, side: square_crop(boxes, 1 / scale, side),
        "that is the way back, from the crop to the picture":
            lambda *asked: inverse(square_crop(*asked)),
    },
    trials=lambda: [_boxes(index) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: side_by_side(
        *(
            (_cropped(index, right[0], asked[2]), _into_crop(close_up(index)[1], answer[0]))
            for answer in (right, yours)
        )
    ),
)  # fmt: skip


def _cropped(index: int, matrices: Tensor, side: int) -> Tensor:
    return warp(close_up(index)[0][None].float(), matrices[:1].float(), side, side)[0]


def _into_crop(points: Tensor, matrices: Tensor) -> Tensor:
    return transform_points(points[None], matrices[:1].float())[0]


def back_to_picture(points: Tensor, matrices: Tensor) -> Tensor:
    """``crops.move`` by ``crops.inverse``: (N, K, 2) pixels of crops -> of their pictures."""
    return transform_points(points, inverse(matrices))


def _in_crops(index: int) -> tuple[Tensor, Tensor]:
    """Points (2, 68, 2) of two crops of ``close_up(index)``, and the matrices that cut them."""
    height, width = SIZES[index]
    chance = random(10 + index)
    angle = 0.5 * torch.rand(2, generator=chance)  # radians
    size = 0.4 + 0.2 * torch.rand(2, generator=chance)
    shift = 20 * torch.rand(2, 2, generator=chance)  # pixels
    side = torch.tensor([width, height])
    matrices = affine_matrices(angle, size, shift, torch.zeros(2, dtype=torch.bool), side)
    return transform_points(close_up(index)[1].expand(2, -1, -1), matrices), matrices


BACK_TO_PICTURE = Task(
    name="back_to_picture",
    right=back_to_picture,
    mistakes={
        "that is the way there once more, from the picture to the crop": transform_points,
        "the shift was not undone: subtract the matrix's last column first":
            lambda points, m: points @ torch.linalg.inv(m[:, :, :2]).mT,
        "the shift was undone last: it came last, so it goes first":
            lambda points, m: points @ torch.linalg.inv(m[:, :, :2]).mT - m[:, None, :, 2],
        "turned back, but not brought back to size: a matrix that also shrinks is undone by its "
        "inverse, not by its transpose": lambda points, m: (points - m[:, None, :, 2])
            @ m[:, :, :2],
        "the turn was not undone: rows of points are multiplied by the transposed inverse":
            lambda points, m: (points - m[:, None, :, 2]) @ torch.linalg.inv(m[:, :, :2]),
        "x and y are exchanged": lambda *asked: back_to_picture(*asked).flip(-1),
    },
    trials=lambda: [_in_crops(index) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: side_by_side(
        *((close_up(index)[0], answer[0][0]) for answer in (right, yours))
    ),
)  # fmt: skip


# Maps


def soft_argmax(scores: Tensor) -> Tensor:
    """``heatmaps.soft_argmax`` of scores (B, K, h, w) that softmax makes chances: (B, K, 2)."""
    return heatmaps.soft_argmax(_log_maps(scores))[0]


def _log_maps(scores: Tensor) -> Tensor:
    return scores.flatten(2).log_softmax(dim=-1).view_as(scores)


def _cells(scores: Tensor) -> Tensor:
    """Columns and rows of maps, (2,)."""
    return torch.tensor([scores.shape[-1], scores.shape[-2]])


def _highest(scores: Tensor) -> Tensor:
    row, column = torch.unravel_index(scores.flatten(2).argmax(dim=-1), scores.shape[-2:])
    return to_fractions(torch.stack([column, row], dim=-1).float(), *scores.shape[-2:])


def _scores(index: int) -> tuple[Tensor]:
    """Scores (2, 68, h, w) of the points of ``close_up(index)``, cells of about four pixels."""
    height, width = (size // 4 for size in SIZES[index])
    truth = to_fractions(close_up(index)[1], *SIZES[index])
    chance = random(20 + index)
    truth = torch.stack([truth, truth + 0.05 * torch.rand(68, 2, generator=chance)])
    across = (torch.arange(width) + 0.5) - truth[..., :1] * width  # (2, 68, w)
    down = (torch.arange(height) + 0.5) - truth[..., 1:] * height  # (2, 68, h)
    spot = -0.3 * (across[..., None, :].square() + down[..., None].square())
    level = 4 * torch.rand(2, 68, 1, 1, generator=chance)  # that softmax takes away
    return (spot + level + 0.3 * torch.rand(spot.shape, generator=chance),)


SOFT_ARGMAX = Task(
    name="soft_argmax",
    right=soft_argmax,
    mistakes={
        "softmax over the wrong axis: the cells of a map must sum to 1, not the 68 points":
            lambda scores: heatmaps.soft_argmax(scores.log_softmax(dim=1))[0],
        "softmax over each row: all cells of a map together must sum to 1, so flatten(2) first":
            lambda scores: heatmaps.soft_argmax(scores.log_softmax(dim=-1))[0],
        "softmax is missing: exp alone does not sum to 1":
            lambda scores: heatmaps.soft_argmax(scores)[0],
        "half a cell off: the middle of cell 0 lies at 1/2 cell":
            lambda scores: soft_argmax(scores) - 0.5 / _cells(scores),
        "these are cells: divide by their number":
            lambda scores: soft_argmax(scores) * _cells(scores),
        "these are cells, and half a cell off": lambda scores: to_pixels(
            soft_argmax(scores), *scores.shape[-2:]),
        "the highest cell, which knows nothing finer than a cell: asked is the mean of all cells":
            _highest,
        "x and y are exchanged: x is the mean over columns, the last dimension":
            lambda scores: soft_argmax(scores).flip(-1),
    },
    trials=lambda: [_scores(index) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: side_by_side(
        *(
            (close_up(index)[0], to_pixels(answer[0][0], *SIZES[index]))
            for answer in (right, yours)
        )
    ),
)  # fmt: skip


def map_loss(log_maps: Tensor, truth: Tensor, width: float) -> Tensor:
    """``heatmaps.cross_entropy``: one number."""
    return heatmaps.cross_entropy(log_maps, truth, width)


MAP_LOSS = Task(
    name="map_loss",
    right=map_loss,
    mistakes={
        "the sign: logarithms of chances are negative, and a loss is to become small":
            lambda *asked: -map_loss(*asked),
        "the sum over the maps, not their mean":
            lambda maps, truth, width: map_loss(maps, truth, width) * truth[..., 0].numel(),
        "the mean over the cells as well: over cells it is a sum":
            lambda maps, truth, width: map_loss(maps, truth, width) / maps[0, 0].numel(),
        "half a cell off: the middle of cell 0 lies at 1/2 cell":
            lambda maps, truth, width: map_loss(maps, truth + 0.5 / _cells(maps), width),
        "the truth's x and y are exchanged":
            lambda maps, truth, width: map_loss(maps, truth.flip(-1), width),
        "divided by the width, not by its square: exp(-(distance / width)² / 2)":
            lambda maps, truth, width: map_loss(maps, truth, width**0.5),
        "the 2 of exp(-(distance / width)² / 2) is missing":
            lambda maps, truth, width: map_loss(maps, truth, width / math.sqrt(2)),
    },
    trials=lambda: [
        (_log_maps(_scores(index)[0]), _answers(30 + index, 2)[0], (1.5, 0.8)[index])
        for index in range(len(SIZES))
    ],
)  # fmt: skip


# The loss on coordinates


def _answers(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Predicted and true fractions (count, 68, 2): most errors small, some large."""
    truth = to_fractions(close_up(0)[1], *SIZES[0]).expand(count, -1, -1)
    off = torch.randn(count, 68, 2, generator=random(seed))
    return truth + 0.02 * off * off.abs(), truth.clone()


def _jump(predicted: Tensor, truth: Tensor, width: float, curvature: float) -> Tensor:
    """How much the wing loss grows where the far piece is not lowered to meet the near one."""
    far = (predicted - truth).abs() >= width
    return far.float().mean() * (width - width * math.log1p(width / curvature))


def _exchanged(predicted: Tensor, truth: Tensor, width: float, curvature: float) -> Tensor:
    error = (predicted - truth).abs()
    offset = width - width * math.log1p(width / curvature)
    near = width * torch.log1p(error / curvature)
    return torch.where(error < width, error - offset, near).mean()


WING = Task(
    name="wing_loss",
    right=wing,
    mistakes={
        "a jump where the two pieces meet: the far one is |error| - C":
            lambda *asked: wing(*asked) + _jump(*asked),
        "not a number: the logarithm of a negative error; take the absolute value first":
            lambda predicted, truth, width, curvature: (
                width * torch.log((predicted - truth) / curvature - 1)).mean(),
        "the two pieces are exchanged: the logarithm is for errors below width": _exchanged,
        "width and curvature are exchanged":
            lambda predicted, truth, width, curvature: wing(predicted, truth, curvature, width),
        "the sum, not the mean":
            lambda predicted, truth, *more: wing(predicted, truth, *more) * truth.numel(),
        "one loss a coordinate: end with .mean()":
            lambda predicted, truth, *more: torch.stack([
                wing(one, other, *more) for one, other in
                zip(predicted.flatten(), truth.flatten(), strict=True)]).view_as(truth),
        "the distance |error| everywhere: near zero the logarithm is missing":
            lambda predicted, truth, *more: LOSSES["l1"](predicted, truth),
    },
    trials=lambda: [(*_answers(40, 3), 0.04, 0.008), (*_answers(41, 2), 0.03, 0.01)],
)  # fmt: skip


# What a test set says


def failures_and_area(errors: Tensor, limit: float) -> tuple[float, float]:
    """``metrics.failure_rate`` and ``metrics.area_under_curve``, in %."""
    return failure_rate(errors, limit), area_under_curve(errors, limit)


def _errors(seed: int, count: int, limit: float) -> tuple[Tensor, float]:
    """NME in % of ``count`` faces, one of them exactly ``limit``."""
    errors = limit * (0.2 + 1.2 * torch.rand(count, generator=random(seed)))
    return torch.cat([errors, torch.tensor([limit])]), limit


FAILURES_AND_AREA = Task(
    name="failures_and_area",
    right=failures_and_area,
    mistakes={
        "the share of faces that pass, not of those that fail":
            lambda *asked: (100 - failures_and_area(*asked)[0], failures_and_area(*asked)[1]),
        "shares, not per cent: multiply by 100":
            lambda *asked: tuple(part / 100 for part in failures_and_area(*asked)),
        "a face that is exactly at the limit has not failed: greater, not equal":
            lambda errors, limit: (failure_rate(errors, limit - 1e-4),
                                   area_under_curve(errors, limit)),
        "the area above the curve":
            lambda *asked: (failures_and_area(*asked)[0], 100 - failures_and_area(*asked)[1]),
        "faces beyond the limit took from the area: they count 0, not less":
            lambda errors, limit: (failure_rate(errors, limit),
                                   100 * (1 - errors / limit).mean()),
        "the area in its own units: divide by the limit, so that 100 % is the best there can be":
            lambda errors, limit: (failure_rate(errors, limit),
                                   area_under_curve(errors, limit) * limit),
        "the number of faces that fail, not their share in %":
            lambda errors, limit: (failure_rate(errors, limit) * len(errors) / 100,
                                   area_under_curve(errors, limit)),
    },
    trials=lambda: [_errors(1, 40, 8.0), _errors(2, 25, 10.0)],
)  # fmt: skip

TASKS = (READ_PTS, SQUARE_CROP, BACK_TO_PICTURE, SOFT_ARGMAX, MAP_LOSS, WING, FAILURES_AND_AREA)
