"""Heatmaps: how a point is read from one, and the loss that compares one with the ground truth.

A heatmap is a probability distribution over the cells of a grid that covers the crop, kept as
log-probabilities, so that small probabilities are not lost.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_argmax(log_heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of each heatmap and its standard deviation.

    log_heatmaps: (B, K, h, w), log-probabilities.
    Returns fractions of the crop (B, K, 2) and standard deviations (B, K), fractions of the
    crop's side. A mean is finer than a cell, and a loss on it trains every cell (Sun et al.,
    Integral Human Pose Regression, ECCV 2018, arXiv 1711.08229).
    """
    heatmaps = log_heatmaps.exp()
    x, x_variance = _mean_and_variance(heatmaps.sum(dim=2))  # over columns: (B, K) each
    y, y_variance = _mean_and_variance(heatmaps.sum(dim=3))  # over rows
    return torch.stack([x, y], dim=-1), (x_variance + y_variance).sqrt()


def excess_spread(spread: Tensor, sigma: float, cells: tuple[int, int]) -> Tensor:
    """By how much heatmaps are wider than the Gaussians that they are trained towards.

    spread: (B, K), standard deviations from ``soft_argmax``.
    sigma: of the targets, in cells. cells: (h, w) of the heatmaps.
    Returns (B, K), of the same unit: variances add, and the targets' is subtracted; from 0.
    """
    target = sum((sigma / n) ** 2 for n in cells)
    return (spread.square() - target).clamp(min=0).sqrt()


def cross_entropy(log_heatmaps: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Cross-entropy with a Gaussian around the target: one number.

    log_heatmaps: (B, K, h, w), log-probabilities.
    target: fractions (B, K, 2); points outside of the crop draw towards its edge, and missing ones,
        NaN, have no error and no gradient.
    sigma: standard deviation of the Gaussian, in cells. Within two sigma of the border the
        Gaussian is truncated, which shifts its mean inwards by up to sigma.
    A loss on the mean alone accepts a heatmap with two peaks; this one does not.
    """
    height, width = log_heatmaps.shape[-2:]
    known = target.isfinite().all(dim=-1)  # (B, K)
    target = target.nan_to_num(0.5)
    columns = _gaussian(target[..., 0], width, sigma)  # (B, K, w)
    rows = _gaussian(target[..., 1], height, sigma)  # (B, K, h)
    weighted = torch.einsum("bkhw,bkw->bkh", log_heatmaps, columns)
    errors = -(weighted * rows).sum(dim=-1)  # (B, K)
    return torch.where(known, errors, 0).mean() * (known.numel() / known.sum().clamp(min=1))


def _gaussian(mean: Tensor, cells: int, sigma: float) -> Tensor:
    """Probabilities of ``cells`` cells that fill 0..1, for means (B, K): (B, K, cells)."""
    middles = torch.arange(cells, device=mean.device) + 0.5
    return ((middles - mean[..., None] * cells) / sigma).square().mul(-0.5).softmax(dim=-1)


def _mean_and_variance(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Of distributions (B, K, n) over n cells that fill 0..1: (B, K), (B, K)."""
    n = probabilities.shape[-1]
    cells = (torch.arange(n, device=probabilities.device) + 0.5) / n
    mean = (probabilities * cells).sum(dim=-1)
    return mean, (probabilities * (cells - mean[..., None]).square()).sum(dim=-1)
