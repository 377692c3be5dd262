"""Part 3, yours to fill in; part3.md describes each function.

Check with ``python run_part.py check 3``.
"""

from __future__ import annotations

from torch import Tensor


def read_pts(text: str) -> Tensor:
    """Read the points of an annotation.

    text: a whole .pts file, with its header or without.
    Returns (68, 2): x and y of each point in pixels, counted from 0.
    """
    raise NotImplementedError


def square_crop(boxes: Tensor, scale: float, side: int) -> Tensor:
    """Make the matrices that cut square crops.

    boxes: (N, 4), left, top, width, height in pixels, counted from the picture's edge.
    scale: the square's side over the box's longer side. side: of the crop, in pixels.
    Returns (N, 2, 3), from pixels of the picture to pixels of the crop.
    """
    raise NotImplementedError


def back_to_picture(points: Tensor, matrices: Tensor) -> Tensor:
    """Bring points that were found on crops back to their pictures.

    points: (N, K, 2), pixels of the crops. matrices: (N, 2, 3), from pixels of the picture to
    pixels of the crop; they may also turn.
    Returns (N, K, 2), pixels of the pictures.
    """
    raise NotImplementedError


def soft_argmax(scores: Tensor) -> Tensor:
    """Read a place from each heatmap: the mean over all its cells.

    scores: (B, K, h, w), any numbers; softmax turns them into probabilities.
    Returns (B, K, 2), x and y as fractions of the heatmap, 0 to 1 from edge to edge.
    """
    raise NotImplementedError


def second_peak(heatmaps: Tensor, radius: int) -> Tensor:
    """Find heatmaps with two peaks: how high is the second one?

    heatmaps: (B, K, h, w), probabilities. radius: cells that belong to the first peak, to each
    side of its highest cell, across and down.
    Returns (B, K): the highest value outside of that square over the highest of all, 0 to 1.
    """
    raise NotImplementedError


def heatmap_loss(log_heatmaps: Tensor, truth: Tensor, sigma: float) -> Tensor:
    """Compute the cross-entropy of heatmaps with Gaussians about the truth.

    log_heatmaps: (B, K, h, w), logarithms of probabilities. truth: (B, K, 2), fractions.
    sigma: standard deviation of the Gaussian, in cells.
    Returns one number, the mean over the B · K heatmaps.
    """
    raise NotImplementedError


def wing_loss(predicted: Tensor, truth: Tensor, width: float, curvature: float) -> Tensor:
    """Compute the wing loss.

    predicted, truth: (B, K, 2), fractions. width: where the two pieces meet, a fraction.
    curvature: how sharply the loss bends at zero, a fraction.
    Returns one number, the mean over all coordinates.
    """
    raise NotImplementedError


def failures_and_area(errors: Tensor, limit: float) -> tuple[float, float]:
    """Sum up the errors of a test set.

    errors: (N,), the NME of each face in %. limit: in %.
    Returns the share of faces with an error over the limit, in %, and the area under the
    cumulative error curve from 0 to the limit, in % of the best possible.
    """
    raise NotImplementedError
