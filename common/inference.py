"""Cached crops in, keypoints out: what training monitors and reports measure."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common.augmentation import to_network_input
from common.crops import to_pixels
from common.heatmaps import excess_spread, soft_argmax
from common.loading import Crops
from common.recipe import Recipe


@torch.inference_mode()
def predict_keypoints(
    network: nn.Module, images: Tensor, flip_order: Tensor, recipe: Recipe
) -> Tensor:
    """Keypoints of N faces that were cropped as ``recipe`` says.

    images: uint8 (N, C, H, W), H and W as ``recipe.cached_size``.
    flip_order: (k,), see ``Scheme.flip_order``.
    Returns float32 (N, k, 2) on the CPU, in pixels of the network's crop.
    """
    network.eval()
    device = next(network.parameters()).device
    points = []
    for batch in images.split(128):
        faces = to_network_input(batch.to(device), recipe)  # (B, 1, h, w)
        fractions = network(faces)  # (B, k, 2)
        if recipe.flip_tta:
            fractions = (fractions + predict_flipped(network, faces, flip_order)) / 2
        points.append(to_pixels(fractions.float().cpu(), recipe.height, recipe.width))
    return torch.cat(points)


def predict_flipped(network: nn.Module, faces: Tensor, flip_order: Tensor) -> Tensor:
    """Predictions for the mirror images of (B, 1, h, w), flipped back: fractions (B, k, 2)."""
    return flip_back(network(faces.flip(-1)), flip_order)


def flip_back(points: Tensor, flip_order: Tensor) -> Tensor:
    """From fractions (B, k, 2) of mirror images to those of the images themselves."""
    points = points[:, flip_order.to(points.device)]  # left and right exchanged
    return torch.stack([1 - points[..., 0], points[..., 1]], dim=-1)


def predict_with_spread(network: nn.Module, faces: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Predictions (B, k, 2) for (B, 1, h, w) and how far each point may be elsewhere, (B, k), both
    as fractions; NaN where no heatmaps are trained towards the points."""
    if not hasattr(network, "heatmaps") or not recipe.heatmap_weight:
        fractions = network(faces)
        return fractions, torch.full_like(fractions[..., 0], torch.nan)
    heatmaps = network.heatmaps(faces)  # (B, k, h, w)
    fractions, spread = soft_argmax(heatmaps)
    return fractions, excess_spread(spread, recipe.heatmap_sigma, heatmaps.shape[-2:])


@torch.inference_mode()
def flip_disagreement_p99(network: nn.Module, crops: Crops, recipe: Recipe) -> float:
    """The 99th percentile of the flip disagreement on faces, as a fraction of the crop's side.

    The flip disagreement of a face is the mean distance between its prediction and that of its
    mirror image. A weaker network disagrees with itself even on real faces, so the threshold
    that rejects false alarms is raised to this value. Measured on up to 100 faces.
    """
    network.eval()
    device = next(network.parameters()).device
    disagreements = []
    some = crops.images[:: math.ceil(len(crops) / 100)]
    for batch in some.split(recipe.batch):  # as much memory as a training step takes
        faces = to_network_input(batch.to(device), recipe)  # (B, 1, h, w)
        flipped = predict_flipped(network, faces, crops.flip_order)
        disagreements.append((network(faces) - flipped).norm(dim=-1).mean(dim=1).float().cpu())
    return torch.cat(disagreements).quantile(0.99).item()
