"""Part 1, yours to fill in; part1.md describes each function.

Check with ``python run_part.py check 1``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def read_asf(text: str, width: int, height: int) -> Tensor:
    """Read the points of an annotation.

    text: a whole .asf file. width, height: of its picture, in pixels.
    Returns (58, 2): x and y of each point in pixels, a whole number is the middle of a pixel.
    """
    raise NotImplementedError


def to_fractions(points: Tensor, height: int, width: int) -> Tensor:
    """Turn pixels into fractions of the picture, 0 to 1 from edge to edge.

    points: (..., 2), x and y in pixels. height, width: of the picture, in pixels.
    Returns (..., 2).
    """
    raise NotImplementedError


def to_pixels(fractions: Tensor, height: int, width: int) -> Tensor:
    """Turn fractions of the picture back into pixels: the inverse of ``to_fractions``.

    fractions: (..., 2), x and y, 0 to 1. height, width: of the picture, in pixels.
    Returns (..., 2).
    """
    raise NotImplementedError


def mean_face_error(train: Tensor, test: Tensor) -> float:
    """Compute the error of predicting the mean training face, whatever the picture shows.

    train: (N, 58, 2) and test: (M, 58, 2), fractions.
    Returns the mean squared error over the test faces, their points, and x and y.
    """
    raise NotImplementedError


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Slide a kernel over a picture, as a convolution layer of one channel does.

    image: (H, W). kernel: (h, w).
    Returns (H - h + 1, W - w + 1): the kernel lies wholly within the picture.
    """
    raise NotImplementedError


def nose_net(convolutions: list[nn.Conv2d], linears: list[nn.Linear], faces: Tensor) -> Tensor:
    """Send pictures through NoseNet.

    convolutions: its three, with 12, 16 and 32 channels. linears: its two, 576 to 200 to 2.
    faces: (B, 1, 60, 80), values -0.5 to 0.5.
    Returns (B, 1, 2), fractions.
    """
    raise NotImplementedError


def training_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, faces: Tensor, truth: Tensor
) -> float:
    """Train the network on one batch: a single step.

    faces: (B, 1, H, W), values -0.5 to 0.5. truth: (B, K, 2), fractions.
    Returns the mean squared error before the step.
    """
    raise NotImplementedError
