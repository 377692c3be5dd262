"""Measuring a network by the protocols of 300-W, with true boxes, dlib's and a detector's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.crops import read_picture, square_boxes, transform_points
from common.faces import Faces
from common.inference import flip_disagreement_p99, predict_keypoints
from common.loading import Crops, load_crops
from common.metrics import errors_per_face, summarise
from common.photos import detectors
from common.photos.finder import FaceKeypoints
from common.recipe import Recipe
from common.system.errors import UserError
from datasets import ibug, splits, yunet

SHOWN = ("nme", "fr8")  # of a protocol


SAME_FACE = 0.5  # intersection over union from which a detected face is the annotated one


def predict_faces(
    network: nn.Module,
    recipe: Recipe,
    faces: Faces,
    point_ids: tuple[int, ...],
    detector: detectors.Detector | None = None,
    flip_disagreement: float = 0.0,
) -> tuple[Crops, Tensor, float]:
    """Predictions for annotated faces, in their own boxes or as a detector finds them.

    point_ids: the k points that the network predicts.
    flip_disagreement: see ``inference.flip_disagreement_p99``.
    Returns the crops of the N faces that were found, their keypoints (N, k, 2) in pixels of the
    network's crop, and the share found in %.
    """
    crops = load_crops(faces, recipe, point_ids)
    if detector is None:
        return crops, predict_keypoints(network, crops.images, crops.flip_order, recipe), 100.0
    device = next(network.parameters()).device
    finder = FaceKeypoints(network, recipe, detector, device, flip_disagreement)
    found = find(finder, crops.faces)
    share, crops = 100 * len(found) / len(crops), crops.take(list(found))
    shape = len(found), len(point_ids), 2
    points = torch.tensor(np.array([*found.values()])).view(shape)  # in pixels of the pictures
    return crops, transform_points(points, crops.matrices), share


def protocols(
    network: nn.Module, train: Crops, recipe: Recipe, data: Path | None
) -> list[dict[str, Any]]:
    """What the protocols of 300-W measure of a network that was trained on ``train``.

    A row for each protocol whose pictures are there: ``name``, ``about``, ``n`` faces, ``seen``
    (how many of them it was trained on), and under ``boxes``, for each way to find the
    face, ``nme``, ``fr8`` and ``found``, all in %: "landmarks", as most published figures; "file",
    dlib's boxes; and a detector's, as users have them: YuNet where its file is there, else Haar.
    No row for a network that was trained on other faces alone.
    """
    if train.faces.dataset not in ("ibug", "mixed"):
        return []
    disagreement = flip_disagreement_p99(network, train, recipe)
    detector = detectors.load("auto", yunet.place(data))
    point_ids, learned, rows = train.point_ids, set(train.faces.files), []
    for protocol, about in splits.protocols(data).items():
        faces = splits.split("ibug", protocol, data, "landmarks", train.faces.scheme)
        seen = sum(file in learned for file in faces.files)
        row = {"name": protocol, "about": about, "n": len(faces), "seen": seen, "boxes": {}}
        predictions = {"landmarks": predict_faces(network, recipe, faces, point_ids)}
        with suppress(UserError):  # dlib's lists may name none of these faces
            boxed = splits.split("ibug", protocol, data, "file", train.faces.scheme)
            predictions["file"] = predict_faces(network, recipe, boxed, point_ids)
        if protocol not in ibug.LISTS:  # dlib's boxes are a detector's already
            predictions[detector.name] = predict_faces(
                network, recipe, faces, point_ids, detector, disagreement
            )
        for boxes, (crops, predicted, found) in predictions.items():
            errors = summarise(errors_per_face(predicted, crops, recipe)) if found else {}
            row["boxes"][boxes] = {"found": found, **{key: errors.get(key) for key in SHOWN}}
        rows.append(row)
    return rows


def find(finder: FaceKeypoints, faces: Faces) -> dict[int, np.ndarray]:
    """Which of the annotated faces ``finder`` finds, by their indices, and their keypoints (K, 2).

    Of several faces that overlap an annotated one, the one that overlaps it most counts.
    """
    found = {}
    truth = square_boxes(faces.boxes, 1.0).numpy()  # (N, 4), as detectors' boxes are squares
    for index, file in enumerate(tqdm(faces.files, f"finding the faces of {faces.name}")):
        candidates = finder.predict(np.asarray(read_picture(file, colour=True)))
        overlaps = [detectors.overlap(np.array(face.box), truth[index]) for face in candidates]
        if max(overlaps, default=0) >= SAME_FACE:
            found[index] = candidates[int(np.argmax(overlaps))].keypoints
    return found
