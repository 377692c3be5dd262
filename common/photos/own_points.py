"""Photos in, your own points out: another network finds the faces, or boxes are given."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import checkpoints
from common.augmentation import to_network_input
from common.checkpoints import Trained
from common.inference import predict_with_spread
from common.keypoints import IBUG_68, scheme_within
from common.photos.finder import FaceKeypoints, FoundFace, crop_faces, face_from_keypoints
from common.photos.framing import Framing
from common.photos.placement import Look, place
from common.system.errors import UserError

WHOLE = "whole"  # of ``--boxes``: the whole picture
Boxes = Callable[[str, np.ndarray], Tensor]
"""From a photo's name and pixels to the boxes (N, 4) of what is on it."""
Sure = tuple[float | None, float | None]
"""Score and confidence of a found face; None of a box that was given."""


class OwnPoints:
    """A network of other points than all 68, or of other boxes, and what finds the faces for it.

    It is used as ``FaceKeypoints`` is for photos. Pose, eyes and mouth follow from 68 points alone
    and are None in its faces; their confidence is that of the found face, else of the points.

    finder: finds faces and their 68 points; None where ``boxes`` are given.
    framing: from these to the network's boxes.
    """

    def __init__(
        self,
        trained: Trained,
        device: torch.device,
        finder: FaceKeypoints | None,
        framing: Framing,
        boxes: Boxes | None = None,
    ) -> None:
        checkpoint = trained.checkpoint
        whole = checkpoints.scheme_of(checkpoint)
        self.scheme = scheme_within(whole, tuple(checkpoint["point_ids"]))
        self.network, self.recipe = trained.network.to(device), trained.recipe
        self.flip_disagreement = checkpoint.get("flip_disagreement", 0.0)
        self.finder, self.framing, self.boxes = finder, framing, boxes

    @property
    def missed(self) -> int:
        """See ``FaceKeypoints``."""
        return self.finder.missed if self.finder else 0

    def place(self, name: str, image: np.ndarray) -> tuple[Tensor, Tensor, list[Sure]]:
        """Where the network is to look on a photo uint8 (H, W, 3): boxes (N, 4), degrees clockwise
        (N,), and how sure it is of each that there is a face, the most confident first."""
        if self.boxes is not None:
            boxes = self.boxes(name, image)
            return boxes, torch.zeros(len(boxes)), [(None, None)] * len(boxes)
        if not (found := self.finder.predict(image)):
            return torch.empty(0, 4), torch.empty(0), []
        keypoints = torch.from_numpy(np.array([face.keypoints for face in found]))
        return *self.framing.boxes(keypoints), [(face.score, face.confidence) for face in found]

    def predict(self, image: np.ndarray, name: str = "") -> list[FoundFace]:
        """The faces of a photo uint8 (H, W, 3) of that name, see ``place``."""
        boxes, angles, sure = self.place(name, image)
        if not sure:
            return []
        flips, order = self.scheme.flip_pairs is not None, self.scheme.flip_order
        with torch.inference_mode():
            look = self.look(image, boxes.numpy(), angles.numpy())
            placed = place(
                look, self.network, self.flip_disagreement, flips, self.recipe.flip_tta, order
            )
        faces = []
        for index, (score, confidence) in enumerate(sure):
            confidence = placed.confidence[index].item() if confidence is None else confidence
            box, unsure = tuple(boxes[index].tolist()), placed.uncertainty[index]
            unsure = None if np.isnan(unsure).any() else unsure
            face = box, score, confidence, placed.points[index]
            if self.scheme is IBUG_68:
                faces.append(face_from_keypoints(*face, uncertainty=unsure))
            else:
                faces.append(FoundFace(*face, None, None, None, None, unsure, self.scheme))
        return faces

    def look(self, image: np.ndarray, boxes: np.ndarray, angles: np.ndarray) -> Look:
        """What the network predicts in boxes (N, 4), turned by angles (N,) in degrees."""
        crops, matrices = crop_faces(image, boxes, angles, self.recipe)
        device = next(self.network.parameters()).device
        faces = to_network_input(crops.to(device), self.recipe)  # (N, 1, h, w)
        fractions, spread = predict_with_spread(self.network, faces, self.recipe)
        return Look(faces, matrices, fractions, spread, torch.full_like(fractions, torch.nan))


def read_boxes(named: str) -> Boxes:
    """The boxes of ``--boxes``: "whole", or a CSV file ``image,left,top,width,height``, a line for
    each box.

    Raises UserError where the file cannot be used; so do the boxes for a photo that it lacks.
    """
    if named == WHOLE:
        return lambda _, image: torch.tensor([[0.0, 0.0, image.shape[1], image.shape[0]]])
    columns = ("image", "left", "top", "width", "height")
    listed: dict[str, list[list[float]]] = {}
    try:
        with open(named, encoding="utf-8-sig", newline="") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                name, *sides = (row[column] for column in columns)
                box = [float(side) for side in sides]
                if min(box[2:]) <= 0:
                    raise UserError(f"{named}, line {line}: a box without size; correct it")
                listed.setdefault(Path(name).name, []).append(box)
    except OSError as fault:
        raise UserError(f"--boxes {named}: {fault.strerror}; take whole, or a CSV file") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{named}: not a table of boxes; its columns are {','.join(columns)}"
        ) from None

    def boxes_of(name: str, image: np.ndarray) -> Tensor:
        if Path(name).name not in listed:
            raise UserError(f"{name}: has no box in {named}; add a line for it")
        return torch.tensor(listed[Path(name).name])

    return boxes_of
