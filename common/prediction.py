"""From crops to keypoints, in batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.augmentation import centre
from common.crops import to_pixels
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
        faces = centre(batch.to(device), recipe)  # (B, 1, h, w)
        fractions = network(faces)  # (B, k, 2)
        if recipe.flip_average:
            mirrored = network(faces.flip(-1))[:, flip_order.to(device)]  # (B, k, 2)
            mirrored = torch.stack([1 - mirrored[..., 0], mirrored[..., 1]], dim=-1)
            fractions = (fractions + mirrored) / 2
        answers.append(to_pixels(fractions.float().cpu(), recipe.height, recipe.width))
    return torch.cat(answers)
