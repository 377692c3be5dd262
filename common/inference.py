"""Cached crops in, keypoints out: what training monitors and reports measure."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common.augmentation import to_network_input
from common.crops import to_pixels
from common.loading import Crops
from common.recipe import Recipe


@torch.inference_mode()
def predict_keypoints(
    network: nn.Module, images: Tensor, flip_order: Tensor, recipe: Recipe
) -> Tensor:
    """Keypoints of N faces that were cut as ``recipe`` says.

    images: uint8 (N, C, H, W), H and W as ``recipe.kept_size``. flip_order: (k,).
    Returns float32 (N, k, 2) on the CPU, in pixels of the network's crop (without the margin).
    """
    network.eval()
    device = next(network.parameters()).device
    answers = []
    for batch in images.split(128):
        faces = to_network_input(batch.to(device), recipe)  # (B, 1, h, w)
        fractions = network(faces)  # (B, k, 2)
        if recipe.flip_tta:
            fractions = (fractions + predict_flipped(network, faces, flip_order)) / 2
        answers.append(to_pixels(fractions.float().cpu(), recipe.height, recipe.width))
    return torch.cat(answers)


def predict_flipped(network: nn.Module, faces: Tensor, flip_order: Tensor) -> Tensor:
    """What a network answers for the mirror images of (B, 1, h, w), mirrored back: (B, k, 2)."""
    answer = network(faces.flip(-1))[:, flip_order.to(faces.device)]  # left and right exchanged
    return torch.stack([1 - answer[..., 0], answer[..., 1]], dim=-1)


def flip_disagreement_p99(network: nn.Module, crops: Crops, recipe: Recipe) -> float:
    """The doubt that 99 of 100 faces stay below, as a fraction of the crop's side.

    A network that answers more coarsely than the one that ships, which ``BY_MIRROR`` was fitted
    on, doubts faces as much as that one doubts what is none. Measured on up to 100 faces.
    """
    some = crops.images[:: math.ceil(len(crops) / 100)]
    device = next(network.parameters()).device
    doubts = []
    with torch.inference_mode():
        for batch in some.split(recipe.batch):  # as much memory as a step takes
            faces = to_network_input(batch.to(device), recipe)  # (B, 1, h, w)
            other = predict_flipped(network, faces, crops.flip_order)
            doubts.append((network(faces) - other).norm(dim=-1).mean(dim=1).float().cpu())
    return torch.cat(doubts).quantile(0.99).item()
