"""From a photo to its faces: a detector finds boxes, a network predicts the keypoints in them.

``FaceKeypoints.predict`` does all of it: photo -> detections -> crops -> fractions of the crop ->
keypoints in the photo -> faces. ``parts.toolkit.face_keypoints`` makes one with the network that
ships.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from common import checkpoints
from common.augmentation import to_network_input
from common.crops import (
    crop_and_resize,
    crop_and_resize_turned,
    crop_boxes,
    crop_matrices,
)
from common.faces import landmark_boxes
from common.inference import flip_back, predict_with_spread
from common.keypoints import IBUG_68, Scheme
from common.photos import detectors, pictures
from common.photos.detectors import Box, Detection, Detector
from common.photos.onnx_runtime import Int8Heatmaps
from common.photos.pictures import Picture
from common.photos.placement import Look, place, second_look
from common.photos.pose import Pose, head_pose, openness
from common.recipe import Recipe
from common.system.device import computes_in_bfloat16
from common.system.errors import UserError

LARGE = 1280  # pixels of the longer side from which Haar misses the small faces of a group
VIDEO_LONGEST = 480  # pixels to which frames are shrunk for the detector: half of 640's work
LEAST_CONFIDENCE = 0.1  # below, a detection is a false alarm


@dataclass(frozen=True)
class FoundFace:
    """One face of a photo; all lengths are pixels of the photo as a viewer shows it."""

    box: Box  # of the landmarks: left, top, width, height, counted from the photo's edge
    score: float | None  # the detector's, in its own unit; None where no detector found the face
    confidence: float  # 0 to 1, of the network that the keypoints are those of a face
    keypoints: np.ndarray  # float32 (K, 2), x and y; whole numbers are the middles of pixels
    pose: Pose | None  # None, as the next two, of other points than the 68
    eyes_open: float | None  # distance of the lids over the eye's width, about 0 to 0.5
    mouth_open: float | None  # distance of the lips over the mouth's width, from 0
    number: int | None = None  # of a face that is tracked through a video, from 1; None in photos
    uncertainty: np.ndarray | None = None  # float32 (K,), pixels, see ``placement.UNCERTAINTY``;
    # None in videos, where keypoints are smoothed, and of networks without heatmaps
    scheme: Scheme = IBUG_68  # which points these are


class FaceKeypoints:
    """A detector and a trained network: photos in, faces out.

    Photos are uint8 arrays (H, W, 3), RGB, or (H, W), grey.

    network: float (B, 1, h, w) -> fractions (B, 68, 2).
    recipe: the one it was trained with; says how faces are cropped.
    flip_disagreement: its ``inference.flip_disagreement_p99``; 0 is as strict as for the network
        that ships.
    video: trade accuracy for speed, see ``optimise_for_inference`` and ``VIDEO_LONGEST``.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        detector: Detector,
        device: torch.device,
        flip_disagreement: float = 0.0,
        video: bool = False,
    ) -> None:
        network = network.to(device).eval()
        if video:
            network = optimise_for_inference(network)
            detector = replace(detector, longest=min(detector.longest, VIDEO_LONGEST))
        # With the channels last in memory a convolution on a CPU takes half the time.
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe, self.detector = recipe, detector
        self.missed = 0  # photos in which Haar found no face, or that are large
        self.flip_disagreement = flip_disagreement

    def predict(
        self, images: Picture | Sequence[Picture], boxes: ArrayLike | None = None
    ) -> list[FoundFace] | list[list[FoundFace]]:
        """Every face of a photo, the most confident first; an empty list where none is found.

        Where no face is upright, faces that are turned by any angle, that fill the photo or are cut
        by its edge are searched.

        images: a photo as ``pictures.as_pixels`` takes it. A list or a batch of N photos gives N
            lists of faces.
        boxes: (N, 4) landmarks' boxes, left, top, width, height, in place of the detector; then
            the result has one face for each, in their order. Of several photos, boxes for each.
        Raises UserError with what is expected for anything else.
        """
        if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
            of_each = [None] * len(images) if boxes is None else boxes
            if len(of_each) != len(images):
                raise UserError(f"boxes: of {len(of_each)} photos, and there are {len(images)}")
            return [self.predict(image, of) for image, of in zip(images, of_each, strict=True)]
        image = pictures.as_pixels(images)
        if boxes is not None:
            given = [Detection(box, None) for box in pictures.as_boxes(boxes)]
            return self._faces(image, given)
        found = detectors.detect(image, self.detector)
        faces = self._sure(image, found)
        if not faces:
            found = [replace(face, angle=angle) for face in found for angle in detectors.LEANS[1:]]
            faces = self._sure(image, found + detectors.detect_turned(image, self.detector))
        if self.detector.name == "haar":
            self.missed += not faces or max(image.shape) > LARGE
        return faces

    def detect(self, image: np.ndarray, turned: bool = True) -> list[Detection]:
        """What the detector takes for faces, unchecked by the network, the best score first.

        turned: where no face is upright, search as ``predict`` does.
        """
        found = detectors.detect(image, self.detector)
        if turned and not found:
            found = detectors.detect_turned(image, self.detector, room=False)
            found = detectors.distinct(found, [face.score for face in found])
        return found

    @torch.inference_mode()
    def keypoints(
        self,
        image: np.ndarray,
        boxes: np.ndarray,
        angles: np.ndarray | None = None,
        flip: bool = True,
        average: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the network predicts in boxes, without a search.

        boxes: (N, 4) landmarks' boxes, left, top, width, height.
        angles: (N,) degrees by which faces are turned clockwise, their boxes with them about their
            own centres; 0 by default.
        flip: predict for the mirror image as well, at twice the time; without, the confidence is 1.
        average: the mean of both predictions; False returns that for the face itself, so that
            frames of a video jitter less where only some are flipped.
        Returns keypoints, float32 (N, 68, 2), pixels of the photo, and confidence (N,), 0 to 1.
        """
        if not len(boxes):
            return np.empty((0, IBUG_68.n_points, 2), np.float32), np.empty(0, np.float32)
        angles = np.zeros(len(boxes)) if angles is None else angles
        look = self.look(image, boxes, angles, flip)
        placed = place(look, self.network, self.flip_disagreement, flip, average)
        return placed.points, placed.confidence

    @torch.inference_mode()
    def look(
        self, image: np.ndarray, boxes: np.ndarray, angles: np.ndarray, flip: bool = False
    ) -> Look:
        """What the network predicts in boxes (N, 4), turned by angles (N,), as for ``keypoints``.

        flip: for the mirror images as well, in one batch, which is faster than two.
        """
        crops, matrices = crop_faces(image, boxes, angles, self.recipe)
        weights = next(self.network.parameters())
        faces = to_network_input(crops.to(weights.device), self.recipe)  # (N, 1, h, w)
        faces = faces.to(weights.dtype, memory_format=torch.channels_last)
        both = torch.cat([faces, faces.flip(-1)]) if flip else faces
        fractions, spread = predict_with_spread(self.network, both, self.recipe)
        fractions, mirrored = fractions[: len(faces)], fractions[len(faces) :]
        flipped = torch.full_like(fractions, torch.nan)
        if flip:
            flipped = flip_back(mirrored, IBUG_68.flip_order)
        return Look(faces, matrices, fractions, spread[: len(faces)], flipped)

    def _sure(self, image: np.ndarray, found: list[Detection]) -> list[FoundFace]:
        """Those of the detections that the network takes for faces, the most confident first."""
        faces = [face for face in self._faces(image, found) if face.confidence >= LEAST_CONFIDENCE]
        points = np.array([face.keypoints for face in faces]).reshape(-1, IBUG_68.n_points, 2)
        around = landmark_boxes(torch.from_numpy(points)).numpy()  # two detections may lead to one
        around[:, 2:] += 4  # pixels, so that points that coincide are in boxes that overlap
        return detectors.distinct(faces, [face.confidence for face in faces], around)

    @torch.inference_mode()
    def _faces(self, image: np.ndarray, found: list[Detection]) -> list[FoundFace]:
        """The keypoints of each detection, after a second look, and what follows from them."""
        if not found:
            return []
        boxes, angles = np.array([face.box for face in found]), np.array([f.angle for f in found])
        look = second_look(partial(self.look, image), boxes, angles)
        placed = place(look, self.network, self.flip_disagreement)
        faces = zip(found, placed.points, placed.confidence, placed.uncertainty, strict=True)
        return [
            face_from_keypoints(
                face.box, face.score, sure.item(), keypoints,
                uncertainty=None if np.isnan(unsure).any() else unsure,
            )
            for face, keypoints, sure, unsure in faces
        ]  # fmt: skip


def face_from_keypoints(
    box: Box,
    score: float | None,
    confidence: float,
    keypoints: np.ndarray,
    number: int | None = None,
    uncertainty: np.ndarray | None = None,
) -> FoundFace:
    """A face with all that is measured on its keypoints, float32 (68, 2); see ``FoundFace``."""
    eyes, mouth = openness(torch.from_numpy(keypoints)[None], IBUG_68)  # (1,), (1,)
    measured = keypoints, head_pose(keypoints), eyes.item(), mouth.item()
    return FoundFace(box, score, confidence, *measured, number, uncertainty)


def crop_faces(
    image: np.ndarray, boxes: np.ndarray, angles: np.ndarray, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Crop faces from a photo as ``load_crops`` does for training.

    boxes: (N, 4) landmarks' boxes, left, top, width, height, turned clockwise by angles (N,).
    Returns uint8 (N, C, H, W) of ``recipe.cached_size``, and the matrices (N, 2, 3) that take
    pixels of the photo to pixels of the network's crop.
    """
    size, mode = recipe.cached_size, "RGB" if recipe.colour else "L"
    kept = crop_boxes(torch.as_tensor(boxes, dtype=torch.float32), recipe)
    crops, matrices = [], crop_matrices(kept, *size)
    for index, angle in enumerate(angles.tolist()):
        if angle:
            crop, matrices[index] = crop_and_resize_turned(image, kept[index], angle, *size, mode)
        else:
            crop = crop_and_resize(image, kept[index], *size, mode)
        crops.append(torch.from_numpy(crop.copy()))
    matrices[:, :, 2] -= recipe.margin
    return torch.stack(crops), matrices


def require_all_points(trained: checkpoints.Checkpoint, path: Path | str) -> None:
    """Raises UserError where the network of a checkpoint does not predict all 68 points."""
    if trained["scheme"] != IBUG_68.name or len(trained["point_ids"]) != IBUG_68.n_points:
        raise UserError(
            f"{path}: predicts {len(trained['point_ids'])} points of {trained['scheme']}, and "
            "this needs all of ibug68; leave out --checkpoint, or train part 3 with: "
            "python run_part.py 3"
        )


def optimise_for_inference(network: nn.Module) -> nn.Module:
    """A faster copy of a network that draws heatmaps: batch normalisation folded into the
    convolutions, and bfloat16 where the processor computes with it. Others come back as they are.

    The soft-argmax stays in float32, so that bfloat16 moves the points by 0.03 pixels of the crop;
    coordinates themselves would be rounded to half a pixel.
    """
    if not hasattr(network, "heatmaps") or isinstance(network, Int8Heatmaps):
        return network
    network = copy.deepcopy(network).eval()
    _fold_batch_norms(network)
    if computes_in_bfloat16(next(network.parameters()).device):
        network = network.to(torch.bfloat16)
    return network


def _fold_batch_norms(network: nn.Module) -> None:
    """In place: modules are listed in the order in which they are applied, as in the ResNets, so
    a batch normalisation belongs to the convolution listed before it."""
    for (name, conv), (norm_name, norm) in pairwise([*network.named_children()]):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(network, name, fuse_conv_bn_eval(conv, norm))
            setattr(network, norm_name, nn.Identity())
    for module in network.children():
        _fold_batch_norms(module)
