"""What a small convolution kernel responds to, read from its weights and shown with OpenCV.

A kernel is split into the patterns that a Taylor series begins with: an even grey, a slope, a
saddle (a line) and a bowl (a spot). The share of its energy in each says what it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

CLEAR = 0.2  # share of the energy from which a kernel is more than noise, which has 0.08 at 5x5
KINDS = ("edge", "line", "spot", "grey")


@dataclass(frozen=True)
class KernelKind:
    """What a kernel responds to."""

    kind: str  # of KINDS, the pattern with the largest share of the kernel's energy
    share: float  # that share, 0 to 1
    # Degrees clockwise from the picture's right: the side on which an edge is brighter, 0 to 360;
    # along which a bright line runs, 0 to 180; else 0.
    angle: float = 0.0
    sign: int = 1  # -1 for spots and areas that must be dark for a positive response


def kind_of(kernel: Tensor) -> KernelKind:
    """What a square kernel (n, n), n at least 3, correlates with."""
    side = torch.linspace(-1, 1, len(kernel), dtype=torch.float64)
    y, x = torch.meshgrid(side, side, indexing="ij")  # x to the right, y down
    bowl = x**2 + y**2
    patterns = [torch.ones_like(x), x, y, x**2 - y**2, 2 * x * y, bowl - bowl.mean()]
    patterns = torch.stack(patterns).flatten(1)  # (6, n²), at right angles on a square
    energy = patterns.square().sum(dim=1)  # (6,)
    weights = kernel.detach().double().flatten()
    amounts = patterns @ weights / energy  # (6,)
    shares = amounts.square() * energy / weights.square().sum().clamp(min=1e-30)
    grey, right, down, across, aslant, hollow = amounts.tolist()
    even, slope, saddle, spot = (part.sum().item() for part in shares.split([1, 2, 2, 1]))
    kinds = (
        KernelKind("edge", slope, math.degrees(math.atan2(down, right)) % 360),
        KernelKind("line", saddle, math.degrees(math.atan2(aslant, across)) / 2 % 180),
        KernelKind("spot", spot, sign=-1 if hollow > 0 else 1),
        KernelKind("grey", even, sign=1 if grey > 0 else -1),
    )
    return max(kinds, key=lambda one: one.share)


def choose(kernels: Tensor) -> dict[int, KernelKind]:
    """Of kernels (N, n, n), the purest of each kind, and of edges one of either direction; those
    below ``CLEAR`` only where no other is left."""
    purest: dict[tuple[int, bool], tuple[int, KernelKind]] = {}
    for index, one in enumerate(map(kind_of, kernels)):
        upright = one.kind == "edge" and abs(math.cos(math.radians(one.angle))) > math.sqrt(0.5)
        group = KINDS.index(one.kind), upright
        if group not in purest or one.share > purest[group][1].share:
            purest[group] = index, one
    found = [purest[group] for group in sorted(purest)]
    clear = [(index, one) for index, one in found if one.share >= CLEAR]
    return dict(clear or [max(found, key=lambda pair: pair[1].share)])


def respond(image: Tensor, kernel: Tensor) -> Tensor:
    """A kernel (n, n) slid over a picture, uint8 (H, W): float32 (H, W), by ``cv2.filter2D``, which
    correlates and sees values in -0.5..0.5, as a convolution of a network does."""
    values = image.numpy().astype(np.float32) / 255 - 0.5
    return torch.from_numpy(cv2.filter2D(values, cv2.CV_32F, kernel.detach().float().numpy()))
