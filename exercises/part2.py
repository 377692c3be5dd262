"""Part 2, yours to fill in; part2.md describes each function.

Check with ``python run_part.py check 2``.
"""

from __future__ import annotations

from torch import Tensor, nn


def turning(degrees: float, height: int, width: int) -> Tensor:
    """Make the matrix that rotates a picture about its centre.

    degrees: clockwise, as one sees it. height, width: of the picture, in pixels.
    Returns (2, 3): two columns that rotate, and one that shifts, in pixels.
    """
    raise NotImplementedError


def move_both(images: Tensor, points: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Move pictures and their points alike.

    images: (B, 1, H, W). points: (B, K, 2), pixels. matrices: (B, 2, 3), from the pixels of the
    old picture to those of the new one, which is as large.
    Returns the new images (B, 1, H, W) and points (B, K, 2). ``common.augmentation.warp`` moves
    the pictures: ``warp(images, matrices, H, W)``.
    """
    raise NotImplementedError


def mirror(images: Tensor, points: Tensor, flip_order: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror pictures and their points, left to right.

    images: (B, 1, H, W). points: (B, K, 2), pixels. flip_order: (K,), for each point the index
    of its partner on the other side of the face.
    Returns the new images (B, 1, H, W) and points (B, K, 2).
    """
    raise NotImplementedError


def nme(predicted: Tensor, truth: Tensor, outer_eyes: tuple[int, int]) -> Tensor:
    """Compute the normalised mean error of each face.

    predicted, truth: (N, K, 2), pixels. outer_eyes: the indices of the two outer eye corners.
    Returns (N,): the mean distance of the points over the true distance of the eyes, in %.
    """
    raise NotImplementedError


def flip_tta(network: nn.Module, faces: Tensor, flip_order: Tensor) -> Tensor:
    """Predict twice, for the faces and for their mirror images, and take the mean.

    network: takes faces (B, 1, H, W), predicts fractions (B, K, 2). flip_order: (K,), as above.
    Returns (B, K, 2), fractions.
    """
    raise NotImplementedError


def overfitting(train_loss: Tensor, test_loss: Tensor) -> tuple[int, float]:
    """Read a learning curve: when does overfitting begin, and what does it cost?

    train_loss, test_loss: (E,), the loss of each epoch on training and on test faces.
    Returns the epoch with the lowest test loss, counted from 1, and by how much the test loss of
    the last epoch is higher than that, in %.
    """
    raise NotImplementedError
