"""From a found face to the box that a network was trained with.

A network of your own points, or of whole portraits as in parts 1 and 2, was not trained on boxes
around 68 landmarks. Where its box lies beside such a box is measured on its training faces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.crops import read_picture
from common.faces import Faces, eye_angles, landmark_boxes, upright_boxes
from common.keypoints import IBUG_68
from common.photos.detectors import overlap
from common.photos.finder import FoundFace

SAMPLES = 40  # training faces on which a framing is measured
LEAST_FOUND = 0.5  # share of them on which the face must be found
SAME = 0.06  # sides; a training box varies by as much, see ``Recipe.box_scale_spread`` of part 3
LEANING = 8.0  # degrees from which a face is cropped upright, as ``placement`` does


class Framing(NamedTuple):
    """Where a network's box lies, in longer sides of the box around 68 landmarks."""

    right: float  # of its centre from the other's
    down: float
    width: float
    height: float

    @property
    def is_of_landmarks(self) -> bool:
        """Whether it is that of the 68 landmarks' own boxes, as near as training boxes vary."""
        off = max(abs(self.right), abs(self.down), abs(max(self.width, self.height) - 1))
        return off < SAME

    def boxes(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """The network's boxes for faces with 68 keypoints (N, 68, 2), pixels of the photo: boxes
        (N, 4), each to be turned about its own centre, and degrees clockwise (N,)."""
        turned, angles = upright_boxes(keypoints, IBUG_68)
        leaning = angles.abs() > LEANING
        boxes = torch.where(leaning[:, None], turned, landmark_boxes(keypoints))
        angles = torch.where(leaning, angles, 0)
        side = boxes[:, 2:].amax(dim=1, keepdim=True)  # (N, 1)
        cosine, sine = angles.deg2rad().cos(), angles.deg2rad().sin()
        across = self.right * cosine - self.down * sine
        along = self.right * sine + self.down * cosine
        centre = boxes[:, :2] + boxes[:, 2:] / 2 + side * torch.stack([across, along], dim=1)
        size = side * boxes.new_tensor([self.width, self.height])  # (N, 2)
        return torch.cat([centre - size / 2, size], dim=1), angles


IMM_PICTURE = Framing(-0.016, -0.281, 3.221, 2.416)
"""The whole picture of parts 1 and 2 about the face on it: medians over 48 of IMM's
training faces (``measure_framing``)."""


def measure_framing(
    faces: Faces, predict: Callable[[np.ndarray], list[FoundFace]]
) -> Framing | None:
    """How the boxes of faces lie about what is found in their pictures: medians over up to
    ``SAMPLES`` of them, without those that lean; None where too few are found.

    predict: finds faces and their 68 keypoints in a picture uint8 (H, W, 3).
    """
    chosen = sorted({*torch.linspace(0, len(faces) - 1, min(SAMPLES, len(faces))).long().tolist()})
    places = []
    for index in chosen:
        found = predict(np.asarray(read_picture(faces.files[index], colour=True)))
        if not found:
            continue
        box = faces.boxes[index].numpy()
        face = max(found, key=lambda face: overlap(np.array(face.box), box).item())
        keypoints = torch.from_numpy(face.keypoints)[None]
        around, angle = landmark_boxes(keypoints)[0].numpy(), eye_angles(keypoints, IBUG_68).item()
        if overlap(np.array(face.box), box).item() > 0 and abs(angle) <= LEANING:
            off = box[:2] + box[2:] / 2 - around[:2] - around[2:] / 2
            places.append(np.concatenate([off, box[2:]]) / around[2:].max())
    if len(places) < LEAST_FOUND * len(chosen):
        return None
    return Framing(*np.median(places, axis=0).tolist())
