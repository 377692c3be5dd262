"""The tasks of part 3, and the known mistakes with their names."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from common import heatmaps
from common.augmentation import warp
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
from exercises.faces import SIZES, close_up, random, random_matrices
from exercises.judge import Result, Task


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


READ_PTS = Task(
    right=read_pts,
    mistakes={
        "one pixel off: the file counts from 1, we count from 0: subtract 1":
            lambda text: read_pts(text) + 1,
        "half a pixel off: the file counts pixels from 1, so subtract 1, not 1/2":
            lambda text: read_pts(text) + 0.5,
        "x and y are exchanged": lambda text: read_pts(text).flip(1),
        "cut to whole pixels: the file has fractions of a pixel, float keeps them":
            lambda text: (read_pts(text) + 1).floor() - 1,
        "three lines were left out where there is no header: take the lines of two numbers":
            lambda text: read_pts(text.split("\n", 3)[3]),
        "the last point is missing": lambda text: read_pts(text)[:-1],
        "one row of 136 numbers: expected is one row per point, (68, 2)":
            lambda text: read_pts(text).flatten(),
    },
    trial=_pts,
    view=lambda index, given, result: (close_up(index)[0], result[0]),
)  # fmt: skip


def square_crop(boxes: Tensor, scale: float | Tensor, side: int) -> Tensor:
    """``crops.crop_matrices`` of ``crops.square_boxes``: (N, 2, 3)."""
    return crop_matrices(square_boxes(boxes, scale), side, side)


def _shorter(boxes: Tensor, scale: float, side: int) -> Tensor:
    ratio = boxes[:, 2:].amin(dim=1) / boxes[:, 2:].amax(dim=1)  # (N,)
    return square_crop(boxes, scale * ratio[:, None], side)


def _stretched(boxes: Tensor, scale: float, side: int) -> Tensor:
    corner = boxes[:, :2] - boxes[:, 2:] * (scale - 1) / 2
    return crop_matrices(torch.cat([corner, boxes[:, 2:] * scale], dim=1), side, side)


def _from_the_corner(boxes: Tensor, scale: float, side: int) -> Tensor:
    square = torch.cat([boxes[:, :2], square_boxes(boxes, scale)[:, 2:]], dim=1)
    return crop_matrices(square, side, side)


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


def _in_the_right_crop(index: int, given: tuple, result: Result) -> tuple[Tensor, Tensor]:
    (image, points), side = close_up(index), given[2]
    crop = warp(image[None].float(), square_crop(*given)[:1], side, side)[0]
    return crop, transform_points(points[None], result[0][:1].float())[0]


SQUARE_CROP = Task(
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
        "that is the inverse, from the crop to the picture":
            lambda *given: inverse(square_crop(*given)),
    },
    trial=_boxes,
    view=_in_the_right_crop,
)  # fmt: skip


def back_to_picture(points: Tensor, matrices: Tensor) -> Tensor:
    """``crops.transform_points`` by ``crops.inverse``: pixels of crops -> of their pictures."""
    return transform_points(points, inverse(matrices))


def _in_crops(index: int) -> tuple[Tensor, Tensor]:
    """Points (2, 68, 2) of two crops of ``close_up(index)``, and the matrices of these crops."""
    matrices = random_matrices(index, 0.4)
    return transform_points(close_up(index)[1].expand(2, -1, -1), matrices), matrices


BACK_TO_PICTURE = Task(
    right=back_to_picture,
    mistakes={
        "that is the same direction again, from the picture to the crop": transform_points,
        "the shift was not undone: subtract the matrix's last column first":
            lambda points, m: points @ torch.linalg.inv(m[:, :, :2]).mT,
        "the shift was undone last: it came last, so it goes first":
            lambda points, m: points @ torch.linalg.inv(m[:, :, :2]).mT - m[:, None, :, 2],
        "turned back, but not scaled back: a matrix that also shrinks is undone by its inverse, "
        "not by its transpose": lambda points, m: (points - m[:, None, :, 2]) @ m[:, :, :2],
        "the turn was not undone: rows of points are multiplied by the transposed inverse":
            lambda points, m: (points - m[:, None, :, 2]) @ torch.linalg.inv(m[:, :, :2]),
        "x and y are exchanged": lambda *given: back_to_picture(*given).flip(-1),
    },
    trial=_in_crops,
    view=lambda index, given, result: (close_up(index)[0], result[0][0]),
)  # fmt: skip


def soft_argmax(scores: Tensor) -> Tensor:
    """``heatmaps.soft_argmax`` of the softmax of scores (B, K, h, w): (B, K, 2)."""
    return heatmaps.soft_argmax(_log_heatmaps(scores))[0]


def _log_heatmaps(scores: Tensor) -> Tensor:
    return scores.flatten(2).log_softmax(dim=-1).view_as(scores)


def _cells(scores: Tensor) -> Tensor:
    """Columns and rows of heatmaps, (2,)."""
    return torch.tensor([scores.shape[-1], scores.shape[-2]])


def _highest(scores: Tensor) -> Tensor:
    row, column = torch.unravel_index(scores.flatten(2).argmax(dim=-1), scores.shape[-2:])
    return to_fractions(torch.stack([column, row], dim=-1).float(), *scores.shape[-2:])


def _scores(index: int) -> tuple[Tensor]:
    """Scores (2, 68, h, w) of the points of ``close_up(index)``, cells of about four pixels."""
    height, width = (size // 4 for size in SIZES[index])
    truth, generator = to_fractions(close_up(index)[1], *SIZES[index]), random(20 + index)
    truth = torch.stack([truth, truth + 0.05 * torch.rand(68, 2, generator=generator)])
    across = (torch.arange(width) + 0.5) - truth[..., :1] * width  # (2, 68, w)
    down = (torch.arange(height) + 0.5) - truth[..., 1:] * height  # (2, 68, h)
    spot = -0.3 * (across[..., None, :].square() + down[..., None].square())
    level = 4 * torch.rand(2, 68, 1, 1, generator=generator)  # that softmax takes away
    return (spot + level + 0.3 * torch.rand(spot.shape, generator=generator),)


SOFT_ARGMAX = Task(
    right=soft_argmax,
    mistakes={
        "softmax over the wrong axis: the cells of a heatmap must sum to 1, not the 68 points":
            lambda scores: heatmaps.soft_argmax(scores.log_softmax(dim=1))[0],
        "softmax over each row: all cells of a heatmap together must sum to 1, so flatten(2) first":
            lambda scores: heatmaps.soft_argmax(scores.log_softmax(dim=-1))[0],
        "softmax is missing: exp alone does not sum to 1":
            lambda scores: heatmaps.soft_argmax(scores)[0],
        "half a cell off: the middle of cell 0 lies at 1/2 cell":
            lambda scores: soft_argmax(scores) - 0.5 / _cells(scores),
        "these are cells: divide by their number":
            lambda scores: soft_argmax(scores) * _cells(scores),
        "these are cells, and half a cell off":
            lambda scores: to_pixels(soft_argmax(scores), *scores.shape[-2:]),
        "the highest cell, which is never finer than a cell: expected is the mean of all cells":
            _highest,
        "x and y are exchanged: x is the mean over columns, the last dimension":
            lambda scores: soft_argmax(scores).flip(-1),
    },
    trial=_scores,
    view=lambda index, given, result: (close_up(index)[0], to_pixels(result[0][0], *SIZES[index])),
)  # fmt: skip


def heatmap_loss(log_heatmaps: Tensor, truth: Tensor, sigma: float) -> Tensor:
    """``heatmaps.cross_entropy``: one number."""
    return heatmaps.cross_entropy(log_heatmaps, truth, sigma)


HEATMAP_LOSS = Task(
    right=heatmap_loss,
    mistakes={
        "the sign: logarithms of probabilities are negative, and a loss is to become small":
            lambda *given: -heatmap_loss(*given),
        "the sum over the heatmaps, not their mean":
            lambda maps, truth, sigma: heatmap_loss(maps, truth, sigma) * truth[..., 0].numel(),
        "the mean over the cells as well: over cells it is a sum":
            lambda maps, truth, sigma: heatmap_loss(maps, truth, sigma) / maps[0, 0].numel(),
        "half a cell off: the middle of cell 0 lies at 1/2 cell":
            lambda maps, truth, sigma: heatmap_loss(maps, truth + 0.5 / _cells(maps), sigma),
        "the truth's x and y are exchanged":
            lambda maps, truth, sigma: heatmap_loss(maps, truth.flip(-1), sigma),
        "divided by sigma, not by its square: exp(-(distance / sigma)² / 2)":
            lambda maps, truth, sigma: heatmap_loss(maps, truth, sigma**0.5),
        "the 2 of exp(-(distance / sigma)² / 2) is missing":
            lambda maps, truth, sigma: heatmap_loss(maps, truth, sigma / math.sqrt(2)),
    },
    trial=lambda index: (
        _log_heatmaps(_scores(index)[0]), _predictions(30 + index, 2)[0], (1.5, 0.8)[index]
    ),
)  # fmt: skip


def wing_loss(predicted: Tensor, truth: Tensor, width: float, curvature: float) -> Tensor:
    """``losses.wing``: one number."""
    return wing(predicted, truth, width, curvature)


def _predictions(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Predicted and true fractions (count, 68, 2): most errors small, some large."""
    truth = to_fractions(close_up(0)[1], *SIZES[0]).expand(count, -1, -1)
    off = torch.randn(count, 68, 2, generator=random(seed))
    return truth + 0.02 * off * off.abs(), truth.clone()


def _per_coordinate(
    predicted: Tensor, truth: Tensor, width: float, curvature: float, **mistake: bool
) -> Tensor:
    """The wing loss before its mean, (N, 68, 2), with the mistake "jump" or "exchanged"."""
    error = (predicted - truth).abs()
    near = width * torch.log1p(error / curvature)
    offset = 0 if mistake.get("jump") else width - width * math.log1p(width / curvature)
    return torch.where((error < width) != mistake.get("exchanged", False), near, error - offset)


WING_LOSS = Task(
    right=wing_loss,
    mistakes={
        "a jump where the two pieces meet: the far one is |error| - C":
            lambda *given: _per_coordinate(*given, jump=True).mean(),
        "not a number: the logarithm of a negative error; take the absolute value first":
            lambda *given: wing_loss(*given) * torch.nan,
        "the two pieces are exchanged: the logarithm is for errors below width":
            lambda *given: _per_coordinate(*given, exchanged=True).mean(),
        "width and curvature are exchanged":
            lambda predicted, truth, width, curvature: wing(predicted, truth, curvature, width),
        "the sum, not the mean": lambda *given: wing_loss(*given) * given[0].numel(),
        "one loss per coordinate: end with .mean()": _per_coordinate,
        "the distance |error| everywhere: near zero the logarithm is missing":
            lambda predicted, truth, *more: LOSSES["l1"](predicted, truth),
    },
    trial=lambda index: (
        *_predictions(40 + index, 3 - index), (0.04, 0.03)[index], (0.008, 0.01)[index]
    ),
)  # fmt: skip


def failures_and_area(errors: Tensor, limit: float) -> tuple[float, float]:
    """``metrics.failure_rate`` and ``metrics.area_under_curve``, in %."""
    return failure_rate(errors, limit), area_under_curve(errors, limit)


def _errors(index: int) -> tuple[Tensor, float]:
    """NME in % of 41 or 26 faces, one of them exactly the limit."""
    count, limit = ((40, 8.0), (25, 10.0))[index]
    errors = limit * (0.2 + 1.2 * torch.rand(count, generator=random(index)))
    return torch.cat([errors, torch.tensor([limit])]), limit


FAILURES_AND_AREA = Task(
    right=failures_and_area,
    mistakes={
        "the fraction of faces that pass, not of those that fail":
            lambda *given: (100 - failure_rate(*given), area_under_curve(*given)),
        "fractions, not per cent: multiply by 100":
            lambda *given: (failure_rate(*given) / 100, area_under_curve(*given) / 100),
        "a face that is exactly at the limit has not failed: greater, not equal":
            lambda errors, limit: (failure_rate(errors, limit - 1e-4),
                                   area_under_curve(errors, limit)),
        "the area above the curve":
            lambda *given: (failure_rate(*given), 100 - area_under_curve(*given)),
        "faces beyond the limit were subtracted from the area: they count 0, not less":
            lambda errors, limit: (failure_rate(errors, limit), 100 * (1 - errors / limit).mean()),
        "the area in its own units: divide by the limit, so that 100 % is the best there can be":
            lambda *given: (failure_rate(*given), area_under_curve(*given) * given[1]),
        "the number of faces that fail, not their percentage":
            lambda *given: (failure_rate(*given) * len(given[0]) / 100, area_under_curve(*given)),
    },
    trial=_errors,
)  # fmt: skip

TASKS = (
    READ_PTS, SQUARE_CROP, BACK_TO_PICTURE, SOFT_ARGMAX, HEATMAP_LOSS, WING_LOSS, FAILURES_AND_AREA,
)  # fmt: skip
