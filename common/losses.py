"""Losses on fractions: predicted and true keypoints (B, K, 2), 0..1 from edge to edge.

A network that predicts heatmaps has a loss on these as well, see ``training_loss``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from common.heatmaps import cross_entropy, soft_argmax
from common.recipe import Recipe


def wing(predicted: Tensor, truth: Tensor, width: float = 0.04, curvature: float = 0.008) -> Tensor:
    """Wing loss (Feng et al., CVPR 2018, arXiv 1711.06753): (B, K, 2) fractions -> mean.

    Like L1 far away, but steeper near zero, so that errors of a pixel or two still count.
    width, curvature: the paper's 10 and 2 pixels on 256-pixel crops, as fractions.
    """
    error = (predicted - truth).abs()
    offset = width - width * math.log1p(width / curvature)
    near = width * torch.log1p(error / curvature)
    return torch.where(error < width, near, error - offset).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    # Fractions are far below 1; at the default beta of 1 this would be MSE by another name.
    "smooth_l1": lambda predicted, truth: functional.smooth_l1_loss(predicted, truth, beta=0.02),
    # The nanodegree's: 1 in its unit is 50 of 224 pixels, so nearly every error is squared.
    "smooth_l1_course": lambda predicted, truth: functional.smooth_l1_loss(
        predicted, truth, beta=50 / 224
    ),
    "wing": wing,
}


def known_loss(name: str, predicted: Tensor, truth: Tensor) -> Tensor:
    """A loss of LOSSES over the points whose truth is known; NaN says that it is missing.

    predicted, truth: fractions (B, K, 2). A missing point has no error and no gradient.
    """
    known = truth.isfinite().all(dim=-1)  # (B, K)
    filled = torch.where(known[..., None], truth, predicted.detach())  # each loss of no error is 0
    return LOSSES[name](predicted, filled) * (known.numel() / known.sum().clamp(min=1))


def training_loss(predicted: Tensor, target: Tensor, recipe: Recipe) -> Tensor:
    """What a training step minimises: the coordinates' loss and, of heatmaps, their cross-entropy.

    predicted: fractions (B, K, 2), or log-probability heatmaps (B, K, h, w).
    target: fractions (B, K, 2), NaN where a point is missing.
    """
    loss = coordinate_loss(predicted, target, recipe)
    if predicted.ndim == 4:
        error = cross_entropy(predicted.float(), target, recipe.heatmap_sigma)
        loss = loss + recipe.heatmap_weight * error
    return loss


def coordinate_loss(predicted: Tensor, target: Tensor, recipe: Recipe) -> Tensor:
    """The recipe's loss on the coordinates alone, which the page shows; see ``training_loss``."""
    points = predicted.float() if predicted.ndim == 3 else soft_argmax(predicted.float())[0]
    return known_loss(recipe.loss, points, target)
