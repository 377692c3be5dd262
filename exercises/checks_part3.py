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
from exercises.judge import Function, Result, Task


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
    "one_pixel": lambda f, text: f(text) + 1,
    "half_pixel": lambda f, text: f(text) + 0.5,
    "xy_exchanged": lambda f, text: f(text).flip(1),
    "whole_pixels": lambda f, text: (f(text) + 1).floor() - 1,
    "three_lines": lambda f, text: f(text.split("\n", 3)[3]),
    "header_assumed": lambda f, text: f("\n".join(text.splitlines()[3:-1])),
    "no_last_point": lambda f, text: f(text)[:-1],
    "flat_shape": lambda f, text: f(text).flatten(),
}


def square_crop(boxes: Tensor, scale: float, side: int) -> Tensor:
    """``crops.crop_matrices`` of ``crops.square_boxes``: (N, 2, 3)."""
    return crop_matrices(square_boxes(boxes, scale), side, side)


def _about_centre(boxes: Tensor, size: Tensor, side: int) -> Tensor:
    """Crops of boxes about the same centres, of a size (N, 1) or (N, 2)."""
    corner = boxes[:, :2] + boxes[:, 2:] / 2 - size / 2
    return crop_matrices(torch.cat([corner, size.expand(-1, 2)], dim=1), side, side)


def _from_corner(f: Function, boxes: Tensor, scale: float, side: int) -> Tensor:
    square = torch.cat([boxes[:, :2], square_boxes(boxes, scale)[:, 2:]], dim=1)
    return crop_matrices(square, side, side)


def _half_pixel(f: Function, boxes: Tensor, scale: float, side: int) -> Tensor:
    """``x -> (x - left) * scale``, without the halves of pixels."""
    matrices = f(boxes, scale, side)
    matrices[:, :, 2] += 0.5 - 0.5 * matrices[:, [0, 1], [0, 1]]
    return matrices


def _shift_unscaled(f: Function, boxes: Tensor, scale: float, side: int) -> Tensor:
    """``x -> x * scale + 1/2 - left - 1/2``."""
    matrices = f(boxes, scale, side)
    matrices[:, :, 2] = (matrices[:, :, 2] + 0.5) / matrices[:, [0, 1], [0, 1]] - 0.5
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
    "shorter_side": lambda f, boxes, scale, side: _about_centre(
        boxes, scale * boxes[:, 2:].amin(dim=1, keepdim=True), side
    ),
    "not_square": lambda f, boxes, scale, side: _about_centre(boxes, scale * boxes[:, 2:], side),
    "from_corner": _from_corner,
    "half_pixel": _half_pixel,
    "shift_unscaled": _shift_unscaled,
    "no_scale": lambda f, boxes, scale, side: f(boxes, 1.0, side),
    "inverse_scale": lambda f, boxes, scale, side: f(boxes, 1 / scale, side),
    "inverse": lambda f, *given: inverse(f(*given)),
}


def back_to_picture(points: Tensor, matrices: Tensor) -> Tensor:
    """``crops.transform_points`` by ``crops.inverse``: pixels of crops -> of their pictures."""
    return transform_points(points, inverse(matrices))


def _in_crops(index: int) -> tuple[Tensor, Tensor]:
    """Points (2, 68, 2) of two crops of ``close_up(index)``, and the matrices of these crops."""
    matrices = transforms(index, 0.4)
    return transform_points(close_up(index)[1].expand(2, -1, -1), matrices), matrices


BACK_TO_PICTURE = {
    "same_direction": lambda f, *given: transform_points(*given),
    "not_inverted": lambda f, points, m: (points - m[:, None, :, 2]) @ m[:, :, :2].mT,
    "no_shift": lambda f, points, m: f(points + m[:, None, :, 2], m),
    "shift_last": lambda f, points, m: f(points + m[:, None, :, 2], m) - m[:, None, :, 2],
    "transposed": lambda f, points, m: (points - m[:, None, :, 2]) @ m[:, :, :2],
    "turn_kept": lambda f, points, m: (points - m[:, None, :, 2]) @ inverse(m)[:, :, :2],
    "xy_exchanged": lambda f, *given: f(*given).flip(-1),
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
    "over_points": lambda f, scores: heatmaps.soft_argmax(scores.log_softmax(dim=1))[0],
    "over_rows": lambda f, scores: heatmaps.soft_argmax(scores.log_softmax(dim=-1))[0],
    "no_softmax": lambda f, scores: heatmaps.soft_argmax(scores)[0],
    "half_cell": lambda f, scores: f(scores) - 0.5 / torch.tensor(scores.shape[:1:-1]),
    "cells": lambda f, scores: to_pixels(f(scores), *scores.shape[-2:]) + 0.5,
    "cells_half": lambda f, scores: to_pixels(f(scores), *scores.shape[-2:]),
    "highest": lambda f, scores: f(1e6 * scores),
    "xy_exchanged": lambda f, scores: f(scores).flip(-1),
}


def second_peak(heatmaps: Tensor, radius: int, rows: int = 0, columns: int = 0) -> Tensor:
    """The highest value outside of the square about the highest cell, over the highest: (B, K).

    rows, columns: by how much farther the square reaches down and across.
    """
    height, width = heatmaps.shape[-2:]
    highest, place = heatmaps.flatten(2).max(dim=-1)  # (B, K)
    down = (torch.arange(height) - (place // width)[..., None]).abs() <= radius + rows
    across = (torch.arange(width) - (place % width)[..., None]).abs() <= radius + columns
    near = down[..., :, None] & across[..., None, :]  # (B, K, h, w)
    return heatmaps.masked_fill(near, 0).flatten(2).amax(-1) / highest


def _two_peaks(index: int) -> tuple[Tensor, int]:
    """Heatmaps of ``_scores`` with a second peak of another height, and a radius."""
    first = _scores(index)[0].flatten(2).softmax(-1).unflatten(2, _scores(index)[0].shape[2:])
    share = torch.rand(*first.shape[:2], 1, 1, generator=random(90 + index))
    return first + share * first.roll((5, 6), dims=(2, 3)), (2, 3)[index]


SECOND_PEAK = {
    "neighbour": lambda f, maps, radius: maps.flatten(2).topk(2)[0][..., 1] / maps.amax((2, 3)),
    "smaller": lambda f, maps, radius: f(maps, radius - 1),
    "larger": lambda f, maps, radius: f(maps, radius + 1),
    "both_axes": lambda f, maps, radius: torch.minimum(
        f(maps, radius, rows=999), f(maps, radius, columns=999)
    ),
    "not_divided": lambda f, maps, radius: f(maps, radius) * maps.amax((2, 3)),
    "inverse": lambda f, *given: 1 / f(*given),
    "of_all_points": lambda f, maps, radius: (
        f(maps, radius) * maps.amax((2, 3)) / maps.amax((1, 2, 3))[:, None]
    ),
    "difference": lambda f, maps, radius: (1 - f(maps, radius)) * maps.amax((2, 3)),
}


def _predictions(index: int) -> tuple[Tensor, Tensor, float, float]:
    """Fractions (3 or 2, 68, 2), most errors small, some large; the wing's width and curvature."""
    off = torch.randn(3 - index, 68, 2, generator=random(40 + index))
    truth = fractions(close_up, 0).repeat(3 - index, 1, 1)
    return truth + 0.02 * off * off.abs(), truth, *((0.04, 0.008), (0.03, 0.01))[index]


def _heatmaps(index: int) -> tuple[Tensor, Tensor, float]:
    truth = _predictions(index)[0][:2]
    return _log_heatmaps(*_scores(index)), truth, (1.5, 0.8)[index]


def _not_normalised(f: Function, maps: Tensor, truth: Tensor, sigma: float) -> Tensor:
    """The loss with targets whose highest value is 1, not their sum."""
    cells = torch.tensor(maps.shape[:1:-1])  # (w, h)
    x, y = (
        torch.exp(-((torch.arange(n) + 0.5 - truth[..., axis, None] * n) / sigma).square() / 2)
        for axis, n in enumerate(cells)
    )  # (B, K, w), (B, K, h)
    return -torch.einsum("bkhw,bkh,bkw->bk", maps, y, x).mean()


HEATMAP_LOSS = {
    "sign": lambda f, *given: -f(*given),
    "sum": lambda f, maps, *given: f(maps, *given) * maps[..., 0, 0].numel(),
    "mean_of_cells": lambda f, maps, *given: f(maps, *given) / maps[0, 0].numel(),
    "half_cell": lambda f, maps, truth, sigma: f(
        maps, truth + 0.5 / torch.tensor(maps.shape[:1:-1]), sigma
    ),
    "xy_exchanged": lambda f, maps, truth, sigma: f(maps, truth.flip(-1), sigma),
    "sigma_not_squared": lambda f, maps, truth, sigma: f(maps, truth, sigma**0.5),
    "no_half": lambda f, maps, truth, sigma: f(maps, truth, sigma / 2**0.5),
    "not_normalised": _not_normalised,
}


def _per_coordinate(
    predicted: Tensor, truth: Tensor, width: float, curvature: float, *flaws: str
) -> Tensor:
    """The wing loss before its mean, (N, 68, 2); flaws: "jump", "exchanged", "no_one"."""
    error = (predicted - truth).abs()
    near = width * torch.log(error / curvature + ("no_one" not in flaws))
    offset = 0 if "jump" in flaws else width - width * math.log1p(width / curvature)
    return torch.where((error < width) != ("exchanged" in flaws), near, error - offset)


WING_LOSS = {
    "jump": lambda f, *given: _per_coordinate(*given, "jump").mean(),
    "no_abs": lambda f, *given: f(*given) * torch.nan,
    "no_one": lambda f, *given: _per_coordinate(*given, "no_one").mean(),
    "pieces_exchanged": lambda f, *given: _per_coordinate(*given, "exchanged").mean(),
    "arguments_exchanged": lambda f, predicted, truth, w, c: f(predicted, truth, c, w),
    "sum": lambda f, *given: f(*given) * given[0].numel(),
    "per_coordinate": lambda f, *given: _per_coordinate(*given),
    "distance": lambda f, predicted, truth, *_: (predicted - truth).abs().mean(),
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
    "passing": lambda f, *given: (100 - f(*given)[0], f(*given)[1]),
    "fractions": lambda f, *given: tuple(value / 100 for value in f(*given)),
    "failures_fraction": lambda f, *given: (f(*given)[0] / 100, f(*given)[1]),
    "at_limit": lambda f, e, limit: (f(e, limit - 1e-4)[0], f(e, limit)[1]),
    "area_above": lambda f, *given: (f(*given)[0], 100 - f(*given)[1]),
    "below_zero": lambda f, e, limit: (f(e, limit)[0], 100 * (1 - e / limit).mean()),
    "not_divided": lambda f, *given: (f(*given)[0], f(*given)[1] * given[1]),
    "count": lambda f, e, limit: ((e > limit).sum(), f(e, limit)[1]),
}

CURVE = ("the failure rate", "the area")
TASKS = (
    Task("read_pts", read_pts, _pts, READ_PTS, points_on(close_up)),
    Task("square_crop", square_crop, _boxes, SQUARE_CROP, _in_the_right_crop),
    Task("back_to_picture", back_to_picture, _in_crops, BACK_TO_PICTURE, points_on(close_up)),
    Task("soft_argmax", soft_argmax, _scores, SOFT_ARGMAX, fractions_on(close_up)),
    Task("second_peak", second_peak, _two_peaks, SECOND_PEAK),
    Task("heatmap_loss", cross_entropy, _heatmaps, HEATMAP_LOSS),
    Task("wing_loss", wing, _predictions, WING_LOSS),
    Task("failures_and_area", failures_and_area, _errors, FAILURES_AND_AREA, names=CURVE),
)
