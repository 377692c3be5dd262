"""The tasks of part 3, and the known mistakes; feedback.ini says what each one is."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from common import heatmaps
from common.augmentation import warp
from common.crops import crop_matrices, inverse, square_boxes, to_pixels, transform_points
from common.faces import landmark_boxes
from common.heatmaps import cross_entropy
from common.losses import wing
from common.metrics import area_under_curve, failure_rate
from datasets import ibug
from exercises.faces import SIZES, close_up, fractions, fractions_on, points_on, random, transforms
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


READ_PTS = {
    "one_pixel": lambda text: read_pts(text) + 1,
    "half_pixel": lambda text: read_pts(text) + 0.5,
    "xy_exchanged": lambda text: read_pts(text).flip(1),
    "whole_pixels": lambda text: (read_pts(text) + 1).floor() - 1,
    "three_lines": lambda text: read_pts(text.split("\n", 3)[3]),
    "no_last_point": lambda text: read_pts(text)[:-1],
    "flat_shape": lambda text: read_pts(text).flatten(),
}


def square_crop(boxes: Tensor, scale: float, side: int) -> Tensor:
    """``crops.crop_matrices`` of ``crops.square_boxes``: (N, 2, 3)."""
    return crop_matrices(square_boxes(boxes, scale), side, side)


def _about_centre(boxes: Tensor, size: Tensor, side: int) -> Tensor:
    """Crops of boxes about the same centres, of a size (N, 1) or (N, 2)."""
    corner = boxes[:, :2] + boxes[:, 2:] / 2 - size / 2
    return crop_matrices(torch.cat([corner, size.expand(-1, 2)], dim=1), side, side)


def _from_corner(boxes: Tensor, scale: float, side: int) -> Tensor:
    square = torch.cat([boxes[:, :2], square_boxes(boxes, scale)[:, 2:]], dim=1)
    return crop_matrices(square, side, side)


def _half_pixel(boxes: Tensor, scale: float, side: int) -> Tensor:
    """``x -> (x - left) * scale``, without the halves of pixels."""
    matrices = square_crop(boxes, scale, side)
    matrices[:, :, 2] += 0.5 - 0.5 * matrices[:, [0, 1], [0, 1]]
    return matrices


def _boxes(index: int) -> tuple[Tensor, float, int]:
    """Three boxes about ``close_up(index)``, the first one the landmarks' own."""
    box = landmark_boxes(close_up(index)[1][None])
    off = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-9.0, 4.0, 15.0, -6.0], [8.0, 2.0, -12.0, 9.0]])
    return box + off, (1.3, 1.6)[index], (48, 64)[index]


def _in_the_right_crop(index: int, result: Result) -> tuple[Tensor, Tensor]:
    (image, points), given = close_up(index), _boxes(index)
    crop = warp(image[None].float(), square_crop(*given)[:1], given[2], given[2])[0]
    return crop, transform_points(points[None], result[0][:1].float())[0]


SQUARE_CROP = {
    "shorter_side": lambda boxes, scale, side: _about_centre(
        boxes, scale * boxes[:, 2:].amin(dim=1, keepdim=True), side
    ),
    "not_square": lambda boxes, scale, side: _about_centre(boxes, scale * boxes[:, 2:], side),
    "from_corner": _from_corner,
    "half_pixel": _half_pixel,
    "no_scale": lambda boxes, scale, side: square_crop(boxes, 1.0, side),
    "inverse_scale": lambda boxes, scale, side: square_crop(boxes, 1 / scale, side),
    "inverse": lambda *given: inverse(square_crop(*given)),
}


def back_to_picture(points: Tensor, matrices: Tensor) -> Tensor:
    """``crops.transform_points`` by ``crops.inverse``: pixels of crops -> of their pictures."""
    return transform_points(points, inverse(matrices))


def _in_crops(index: int) -> tuple[Tensor, Tensor]:
    """Points (2, 68, 2) of two crops of ``close_up(index)``, and the matrices of these crops."""
    matrices = transforms(index, 0.4)
    return transform_points(close_up(index)[1].expand(2, -1, -1), matrices), matrices


BACK_TO_PICTURE = {
    "same_direction": transform_points,
    "no_shift": lambda points, m: points @ inverse(m)[:, :, :2].mT,
    "shift_last": lambda points, m: points @ inverse(m)[:, :, :2].mT - m[:, None, :, 2],
    "transposed": lambda points, m: (points - m[:, None, :, 2]) @ m[:, :, :2],
    "turn_kept": lambda points, m: (points - m[:, None, :, 2]) @ inverse(m)[:, :, :2],
    "xy_exchanged": lambda *given: back_to_picture(*given).flip(-1),
}


def soft_argmax(scores: Tensor) -> Tensor:
    """``heatmaps.soft_argmax`` of the softmax of scores (B, K, h, w): (B, K, 2)."""
    return heatmaps.soft_argmax(_log_heatmaps(scores))[0]


def _log_heatmaps(scores: Tensor) -> Tensor:
    return scores.flatten(2).log_softmax(dim=-1).view_as(scores)


def _scores(index: int) -> tuple[Tensor]:
    """Scores (2, 68, h, w) of the points of ``close_up(index)``, cells of about four pixels."""
    height, width = (size // 4 for size in SIZES[index])
    truth, generator = fractions(close_up, index), random(20 + index)
    truth = torch.stack([truth, truth + 0.05 * torch.rand(68, 2, generator=generator)])
    across = (torch.arange(width) + 0.5) - truth[..., :1] * width  # (2, 68, w)
    down = (torch.arange(height) + 0.5) - truth[..., 1:] * height  # (2, 68, h)
    spot = -0.3 * (across[..., None, :].square() + down[..., None].square())
    level = 4 * torch.rand(2, 68, 1, 1, generator=generator)  # that softmax takes away
    return (spot + level + 0.3 * torch.rand(spot.shape, generator=generator),)


SOFT_ARGMAX = {
    "over_points": lambda scores: heatmaps.soft_argmax(scores.log_softmax(dim=1))[0],
    "over_rows": lambda scores: heatmaps.soft_argmax(scores.log_softmax(dim=-1))[0],
    "no_softmax": lambda scores: heatmaps.soft_argmax(scores)[0],
    "half_cell": lambda scores: soft_argmax(scores) - 0.5 / torch.tensor(scores.shape[:1:-1]),
    "cells": lambda scores: to_pixels(soft_argmax(scores), *scores.shape[-2:]) + 0.5,
    "cells_half": lambda scores: to_pixels(soft_argmax(scores), *scores.shape[-2:]),
    "highest": lambda scores: soft_argmax(1e6 * scores),
    "xy_exchanged": lambda scores: soft_argmax(scores).flip(-1),
}


def _predictions(index: int) -> tuple[Tensor, Tensor, float, float]:
    """Fractions (3 or 2, 68, 2), most errors small, some large; the wing's width and curvature."""
    off = torch.randn(3 - index, 68, 2, generator=random(40 + index))
    truth = fractions(close_up, 0).repeat(3 - index, 1, 1)
    return truth + 0.02 * off * off.abs(), truth, *((0.04, 0.008), (0.03, 0.01))[index]


def _heatmaps(index: int) -> tuple[Tensor, Tensor, float]:
    truth = _predictions(index)[0][:2]
    return _log_heatmaps(*_scores(index)), truth, (1.5, 0.8)[index]


HEATMAP_LOSS = {
    "sign": lambda *given: -cross_entropy(*given),
    "sum": lambda maps, *given: cross_entropy(maps, *given) * maps[..., 0, 0].numel(),
    "mean_of_cells": lambda maps, *given: cross_entropy(maps, *given) / maps[0, 0].numel(),
    "half_cell": lambda maps, truth, sigma: cross_entropy(
        maps, truth + 0.5 / torch.tensor(maps.shape[:1:-1]), sigma
    ),
    "xy_exchanged": lambda maps, truth, sigma: cross_entropy(maps, truth.flip(-1), sigma),
    "sigma_not_squared": lambda maps, truth, sigma: cross_entropy(maps, truth, sigma**0.5),
    "no_half": lambda maps, truth, sigma: cross_entropy(maps, truth, sigma / 2**0.5),
}


def _per_coordinate(
    predicted: Tensor, truth: Tensor, width: float, curvature: float, *flaws: str
) -> Tensor:
    """The wing loss before its mean, (N, 68, 2); flaws: "jump" and "exchanged"."""
    error = (predicted - truth).abs()
    near = width * torch.log1p(error / curvature)
    offset = 0 if "jump" in flaws else width - width * math.log1p(width / curvature)
    return torch.where((error < width) != ("exchanged" in flaws), near, error - offset)


WING_LOSS = {
    "jump": lambda *given: _per_coordinate(*given, "jump").mean(),
    "no_abs": lambda *given: wing(*given) * torch.nan,
    "pieces_exchanged": lambda *given: _per_coordinate(*given, "exchanged").mean(),
    "arguments_exchanged": lambda predicted, truth, w, c: wing(predicted, truth, c, w),
    "sum": lambda *given: wing(*given) * given[0].numel(),
    "per_coordinate": _per_coordinate,
    "distance": lambda predicted, truth, *_: (predicted - truth).abs().mean(),
}


def failures_and_area(errors: Tensor, limit: float) -> tuple[float, float]:
    """``metrics.failure_rate`` and ``metrics.area_under_curve``, in %."""
    return failure_rate(errors, limit), area_under_curve(errors, limit)


def _errors(index: int) -> tuple[Tensor, float]:
    """NME in % of 41 or 26 faces, one of them exactly the limit."""
    count, limit = ((40, 8.0), (25, 10.0))[index]
    errors = limit * (0.2 + 1.2 * torch.rand(count, generator=random(index)))
    return torch.cat([errors, torch.tensor([limit])]), limit


FAILURES_AND_AREA = {
    "passing": lambda *given: (100 - failure_rate(*given), area_under_curve(*given)),
    "fractions": lambda *given: (failure_rate(*given) / 100, area_under_curve(*given) / 100),
    "at_limit": lambda e, limit: (failure_rate(e, limit - 1e-4), area_under_curve(e, limit)),
    "area_above": lambda *given: (failure_rate(*given), 100 - area_under_curve(*given)),
    "below_zero": lambda e, limit: (failure_rate(e, limit), 100 * (1 - e / limit).mean()),
    "not_divided": lambda *given: (failure_rate(*given), area_under_curve(*given) * given[1]),
    "count": lambda e, limit: ((e > limit).sum(), area_under_curve(e, limit)),
}

TASKS = (
    Task("read_pts", read_pts, _pts, READ_PTS, points_on(close_up)),
    Task("square_crop", square_crop, _boxes, SQUARE_CROP, _in_the_right_crop),
    Task("back_to_picture", back_to_picture, _in_crops, BACK_TO_PICTURE, points_on(close_up)),
    Task("soft_argmax", soft_argmax, _scores, SOFT_ARGMAX, fractions_on(close_up)),
    Task("heatmap_loss", cross_entropy, _heatmaps, HEATMAP_LOSS),
    Task("wing_loss", wing, _predictions, WING_LOSS),
    Task("failures_and_area", failures_and_area, _errors, FAILURES_AND_AREA),
)
