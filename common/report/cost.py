"""What a network costs: multiply-adds and milliseconds."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from common.report.hooks import forward_hooks


@torch.inference_mode()
def multiply_adds(network: nn.Module, image: Tensor) -> int:
    """Multiplications with an addition that one image (1, C, H, W) costs, counted by hooks.

    Those of convolutions and dense layers; all others together are a small part.
    """
    counted = [0]

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        per_output = layer.weight[0].numel()  # the weights of one output channel
        counted[0] += output.numel() * per_output

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with forward_hooks(dict.fromkeys(layers, count)):
        network.eval()(image)
    return counted[0]


@torch.inference_mode()
def milliseconds(network: nn.Module, image: Tensor, times: int = 10) -> float:
    """The median time for one image (1, C, H, W), after two to warm up."""
    network.eval()
    spent = []
    for _ in range(times + 2):
        began = time.perf_counter()
        network(image)
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent[2:])
