"""How sure a network is of the points that it places, and a second look where a box was off.

A heatmap is wider where a point could be elsewhere, and the predictions for a face and for its
mirror image differ there. Both together give the uncertainty of a point in pixels; the mean over a
face gives the confidence that its points are right. A network without heatmaps has no uncertainty;
its confidence, and that of a weaker network than the one that ships, follows from the flip
disagreement alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from common.crops import inverse, square_boxes, to_pixels, transform_points
from common.faces import eye_angles, turned_boxes
from common.inference import predict_flipped
from common.keypoints import IBUG_68

LEANING = 8.0  # degrees from which a face is cropped again, upright
TURNED = 20.0  # degrees from which a leaning crop pulls points inwards, above all the jaw's
ROOM = 1.2  # times their box then

# Fitted with the network that ships on every tenth training face of 300-W, on which it was trained,
# and on synthetic heads turned by up to 90 degrees: python -m benchmarks.calibrate --every 10
BOX_OFF = 0.05  # sides of a box by which that of the points may differ before a second look
WIDER = 1.2  # times the spread of a look, in pixels, that the next may have
UNCERTAINTY = 0.521  # 90 % of a face's points should lie within twice of it: that is 0.493 for
# these faces, times 3.77 / 3.57, by which the NME of a shorter training is larger on faces that it
# held out (docs/part3.md). It is too little for the network that ships, which has learned its
# training faces by heart: with 0.493, 80.1 % of the points of lfpw/testset in YuNet's boxes.


@dataclass(frozen=True)
class Calibration:
    """Turns what a face has, such as a flip disagreement, into a confidence."""

    midpoint: float  # fraction of the crop's side at which the confidence is 0.5
    slope: float  # the odds of a face fall as the fraction to the power ``-slope``

    def confidence(self, fraction: Tensor) -> Tensor:
        """(N,), fractions of the crop's side -> (N,), 0 to 1."""
        distance = math.log(self.midpoint) - fraction.clamp(min=1e-6).log()
        return torch.sigmoid(self.slope * distance)


# Of the mean uncertainty: the probability that the points are off by less than 6 % of the longer
# side of their box on average (``benchmarks.calibrate``).
CALIBRATION = Calibration(midpoint=0.0335, slope=8.8)
# Of the flip disagreement, the mean distance of a face's keypoints from those predicted for its
# mirror image: the odds of a face (``python -m benchmarks.detectors confidence``).
FLIP_CALIBRATION = Calibration(midpoint=0.0295, slope=41.0)


@dataclass(frozen=True)
class Look:
    """What a network predicts for N faces in boxes of a photo."""

    faces: Tensor  # float (N, 1, h, w), its input
    matrices: Tensor  # (N, 2, 3), from pixels of the photo to those of the crop
    fractions: Tensor  # (N, 68, 2), of the crop
    spread: Tensor  # (N, 68), see ``predict_with_spread``; NaN without heatmaps
    flipped: Tensor  # (N, 68, 2), as ``fractions``, for the mirror images; NaN where not predicted

    def points(self) -> Tensor:
        """Keypoints (N, 68, 2) in pixels of the photo, on the CPU."""
        points = to_pixels(self.fractions.float().cpu(), *self.faces.shape[-2:])
        return transform_points(points, inverse(self.matrices))

    def sides(self) -> Tensor:
        """The sides of the crops in pixels of the photo, (N,)."""
        return self.faces.shape[-1] / torch.linalg.det(self.matrices[:, :, :2]).abs().sqrt()

    def widths(self) -> Tensor:
        """The mean spread of each face in pixels of the photo, (N,)."""
        return self.spread.float().cpu().mean(dim=1) * self.sides()

    def put(self, places: Tensor, other: Look) -> Look:
        """The same with those of the faces at indices ``places`` (M,) from ``other``, M faces."""
        both = ((getattr(self, name), getattr(other, name)) for name in vars(self))
        return Look(*(mine.index_put((places.to(mine.device),), new) for mine, new in both))

    def take(self, keep: Tensor) -> Look:
        """The faces where ``keep``, bool (N,), is True."""
        return Look(*(values[keep] for values in vars(self).values()))

    def flip(self, network: nn.Module, flip_order: Tensor) -> Look:
        """The same with predictions for all mirror images."""
        (left,) = self.flipped.isnan().any(dim=(1, 2)).nonzero(as_tuple=True)  # of one look alone
        if not len(left):
            return self
        new = predict_flipped(network, self.faces[left], flip_order)
        return replace(self, flipped=self.flipped.index_put((left,), new))


@dataclass(frozen=True)
class Placed:
    """Where the points of N faces are, and how surely."""

    points: np.ndarray  # float32 (N, 68, 2), pixels of the photo
    confidence: np.ndarray  # float32 (N,), 0 to 1
    uncertainty: np.ndarray  # float32 (N, 68), pixels of the photo; NaN without heatmaps


def second_look(
    look_at: Callable[[np.ndarray, np.ndarray, bool], Look], boxes: np.ndarray, angles: np.ndarray
) -> Look:
    """The look at boxes, or at those that follow from the points where boxes were off.

    Detectors' boxes scatter, and networks learn faces in about the box of their landmarks, about
    upright. Where the points' own box differs by ``BOX_OFF``, the face is cropped by that, and the
    second look counts unless its heatmaps are wider, as beside a face. Where a face leans in its
    crop it is cropped again upright; so is what a detector found in a turned picture, as it leans
    by up to half a step of ``detectors.TURNS``. Turned faces have room and up to six looks, so
    that the points are those of the upright picture wherever they began.

    look_at: from boxes (N, 4), angles (N,) in degrees clockwise, and whether to predict for the
        mirror images in one batch, which a look needs that is likely to be the last.
    """
    around, turned = torch.as_tensor(boxes).float(), torch.from_numpy(angles != 0)
    look = look_at(boxes, angles, False)
    for first in (True, *[False] * 4):
        points = look.points()
        lean = eye_angles(points, IBUG_68)
        leans = ((lean - torch.from_numpy(angles) + 180) % 360 - 180).abs()  # in its crop
        turned = turned | (leans > TURNED)
        leaning = (leans > LEANING) | (turned & first)
        angles = np.where(leaning | turned, lean, angles)
        own = turned_boxes(points, torch.from_numpy(angles).float())
        again = leaning | ((turned | first) & (off(around, own) > BOX_OFF))
        again &= own[:, 2:].amin(dim=1) > 1
        if not again.any():
            break
        own = torch.where((leaning & turned)[:, None], square_boxes(own, ROOM), own)
        other = look_at(own[again].numpy(), angles[again.numpy()], not turned.any())
        wider = other.widths() > WIDER * look.widths()[again]
        better = ~wider | leaning[again]  # without heatmaps nothing is wider
        kept = again.nonzero().flatten()[better]
        look = look.put(kept, other.take(better))
        around = around.index_put((kept,), own[kept])
    return look


def off(boxes: Tensor, around: Tensor) -> Tensor:
    """By how many sides the squares about boxes (N, 4) and those about the points' own boxes (N, 4)
    differ in place, or in size by the logarithm: (N,)."""
    old, new = square_boxes(boxes, 1.0), square_boxes(around, 1.0)
    moved = (new[:, :2] + new[:, 2:] / 2 - old[:, :2] - old[:, 2:] / 2).abs().amax(dim=1)
    return torch.maximum(moved / old[:, 2], (new[:, 2] / old[:, 2]).log().abs())


def place(
    look: Look,
    network: nn.Module,
    weakness: float,
    flip: bool = True,
    average: bool = True,
    flip_order: Tensor = IBUG_68.flip_order,
) -> Placed:
    """The points of N faces and how sure they are.

    network: the one of the look, whose predictions for the mirror images are compared.
    weakness: its ``inference.flip_disagreement_p99``; 0 for the network that ships.
    flip, average: see ``FaceKeypoints.keypoints``.
    flip_order: (K,), see ``Scheme.flip_order``.
    """
    if not flip:
        unsure = np.full(look.spread.shape, np.nan, np.float32)
        return Placed(look.points().numpy(), np.ones(len(unsure), np.float32), unsure)
    look = look.flip(network, flip_order)
    apart = (look.fractions - look.flipped).norm(dim=-1).float().cpu()  # (N, 68)
    unsure = UNCERTAINTY * torch.hypot(look.spread.float().cpu(), apart)
    confidence = CALIBRATION.confidence(unsure.mean(dim=1))
    # The heatmaps of a briefly trained network are wide everywhere: its flip disagreement decides.
    midpoint = max(FLIP_CALIBRATION.midpoint, weakness)
    by_flip = replace(FLIP_CALIBRATION, midpoint=midpoint).confidence(apart.mean(dim=1))
    weak = weakness > FLIP_CALIBRATION.midpoint
    confidence = torch.where(confidence.isnan() | weak, by_flip, confidence)
    if average:
        look = replace(look, fractions=(look.fractions + look.flipped) / 2)
    pixels = unsure * look.sides()[:, None]  # (N, 68)
    return Placed(look.points().numpy(), confidence.numpy(), pixels.numpy())
