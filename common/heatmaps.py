"""Maps of where a point may be: how a place is read from them, and how far they are from the truth.

A map is a distribution over the cells of a grid that covers the crop, kept as the logarithm of
each cell's chance, so that small chances are not lost.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_argmax(log_maps: Tensor) -> tuple[Tensor, Tensor]:
    """The mean place of each map, and how widely the map is spread about it.

    log_maps: (B, K, h, w). Returns fractions of the crop (B, K, 2) and their standard deviation
    (B, K), a fraction of the crop's side. Being a mean, the answer is finer than a cell, and a
    loss on it trains every cell (Sun et al., Integral Human Pose Regression, ECCV 2018, arXiv
    1711.08229).
    """
    maps = log_maps.exp()
    x, wide = _mean_and_variance(maps.sum(dim=2))  # over columns: (B, K) each
    y, high = _mean_and_variance(maps.sum(dim=3))  # over rows
    return torch.stack([x, y], dim=-1), (wide + high).sqrt()


def cross_entropy(log_maps: Tensor, truth: Tensor, width: float) -> Tensor:
    """How badly maps (B, K, h, w) foretell the truth, fractions (B, K, 2): one number.

    The truth is blurred to a Gaussian of ``width`` cells, whose mean is the truth; within two
    widths of the crop's edge, which cuts some of it off, the mean lies up to a width further in.
    Unlike a loss on the mean alone, it tells every cell what it should be: a map with two
    peaks can have the right mean. Points outside the crop draw towards its edge.
    """
    height, wide = log_maps.shape[-2:]
    across = _gaussian(truth[..., 0], wide, width)  # (B, K, w)
    down = _gaussian(truth[..., 1], height, width)  # (B, K, h)
    rows = torch.einsum("bkhw,bkw->bkh", log_maps, across)
    return -(rows * down).sum(dim=-1).mean()


def _gaussian(place: Tensor, cells: int, width: float) -> Tensor:
    """Chances of ``cells`` cells that fill 0..1 about places (B, K): (B, K, cells)."""
    middles = torch.arange(cells, device=place.device) + 0.5
    return ((middles - place[..., None] * cells) / width).square().mul(-0.5).softmax(dim=-1)


def _mean_and_variance(chances: Tensor) -> tuple[Tensor, Tensor]:
    """Of distributions (B, K, n) over n cells that fill 0..1: (B, K), (B, K)."""
    cells = (torch.arange(chances.shape[-1], device=chances.device) + 0.5) / chances.shape[-1]
    mean = (chances * cells).sum(dim=-1)
    return mean, (chances * (cells - mean[..., None]).square()).sum(dim=-1)
