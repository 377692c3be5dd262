"""The metrics of a trained network on any folder of faces."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common import checkpoints, detection
from common.crops import move, square_boxes
from common.device import best_device
from common.errors import UserError
from common.faces import Faces
from common.keypoints import SCHEMES
from common.loading import Crops, load_crops, read_picture
from common.metrics import errors_per_face, measure, summarise
from common.prediction import FaceKeypoints, need_all_points, predict_keypoints
from common.recipe import Recipe
from datasets import ibug, splits, yunet

SHOWN = ("nme", "fr8")  # of a protocol
SAME_FACE = 0.5  # intersection over union from which a detected face is the annotated one


def evaluate(
    checkpoint: Path | None = None,
    dataset: str | None = None,
    split: str = "test",
    boxes: str = "landmarks",
    data: Path | None = None,
    device: str | None = None,
    as_json: bool = False,
) -> str:
    """The metrics of ``checkpoint`` on the faces of one split, as a table or as JSON.

    checkpoint: by default the one that ships. dataset: the one the network was trained on by
    default; it must have the same points. split: a name that the data set knows, such as
    "helen/testset". boxes: "landmarks", "file", or a detector's name; then faces are found and
    answered as on one's own photos, and those that are not found count in ``found`` alone.
    Raises UserError where checkpoint, data set or split are missing or do not fit.
    """
    checkpoint = checkpoint or checkpoints.newest()
    trained = checkpoints.load(checkpoint)
    recipe = checkpoints.recipe_of(trained)
    listed = "landmarks" if boxes in detection.FITS else boxes
    faces = splits.split(
        dataset or trained["dataset"], split, data, listed, SCHEMES[trained["scheme"]]
    )
    if faces.scheme.name != trained["scheme"]:
        raise UserError(
            f"{checkpoint}: was trained on the points {trained['scheme']}, but {faces.name} has "
            f"{faces.scheme.name}; choose another --dataset"
        )
    network = checkpoints.network_of(trained).to(best_device(device))
    detector = None
    if boxes in detection.FITS:
        need_all_points(trained, checkpoint)
        detector = detection.load(boxes, yunet.place(data))
    doubt = trained.get("doubt", 0.0)
    crops, predicted, found = answer(
        network, recipe, faces, tuple(trained["kept"]), detector, doubt
    )
    if not len(crops):
        raise UserError(f"--boxes {boxes}: finds no face of {faces.name}; choose another")
    share = {"found": found} if detector else {}
    metrics = measure(predicted, crops, trained["mean_shape"], recipe)
    metrics |= {"n_test": len(crops), "dataset": faces.name, "boxes": boxes, **share}
    return json.dumps(metrics, indent=1) if as_json else table(metrics)


def answer(
    network: nn.Module,
    recipe: Recipe,
    faces: Faces,
    kept: tuple[int, ...],
    detector: detection.Detector | None = None,
    doubt: float = 0.0,
) -> tuple[Crops, Tensor, float]:
    """What ``network`` answers for annotated faces: as they are boxed, or as a detector finds them.

    kept: the k points that the network learned. Returns the crops of the N faces that were found,
    the keypoints (N, k, 2) in pixels of the network's crop of them, and the share found in %.
    """
    crops = load_crops(faces, recipe, kept)
    if detector is None:
        return crops, predict_keypoints(network, crops.images, crops.flip_order, recipe), 100.0
    device = next(network.parameters()).device
    finder = FaceKeypoints(network, recipe, detector, device, doubt)
    found = find(finder, crops.faces)
    share, crops = 100 * len(found) / len(crops), crops.take(list(found))
    shape = len(found), len(kept), 2
    points = torch.tensor(np.array([*found.values()])).view(shape)  # in pixels of the pictures
    return crops, move(points, crops.matrices) - recipe.margin, share


def protocols(
    network: nn.Module, recipe: Recipe, train: Faces, data: Path | None, doubt: float = 0.0
) -> list[dict[str, Any]]:
    """What the protocols of 300-W measure of a network that learned from its faces ``train``.

    A row for each protocol whose pictures are there: ``name``, ``about``, ``n`` faces, ``seen``
    (how many of them the network learned from), and under ``boxes``, for each way to find the
    face, ``nme``, ``fr8`` and ``found``, all in %: "landmarks", as most published figures; "file",
    dlib's boxes; and a detector's, as users have them: YuNet where its file is there, else Haar.
    No row for a network that learned from other faces alone. doubt: the network's
    ``usual_doubt``, by which what a detector finds is taken for a face or not.
    """
    if not train.name.startswith(("ibug", "mixed")):
        return []
    name = "yunet" if yunet.place(data).is_file() else "haar"
    detector = detection.load(name, yunet.place(data))
    kept, learned, rows = tuple(range(train.scheme.n_points)), set(train.files), []
    for protocol, about in splits.protocols(data).items():
        faces = splits.split("ibug", protocol, data, "landmarks", train.scheme)
        seen = sum(file in learned for file in faces.files)
        row = {"name": protocol, "about": about, "n": len(faces), "seen": seen, "boxes": {}}
        answers = {"landmarks": answer(network, recipe, faces, kept)}
        with suppress(UserError):  # dlib's lists may name none of these faces
            boxed = splits.split("ibug", protocol, data, "file", train.scheme)
            answers["file"] = answer(network, recipe, boxed, kept)
        if protocol not in ibug.LISTS:  # dlib's boxes are a detector's already
            answers[name] = answer(network, recipe, faces, kept, detector, doubt)
        for boxes, (crops, predicted, found) in answers.items():
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
        overlaps = [detection.overlap(np.array(face.box), truth[index]) for face in candidates]
        if max(overlaps, default=0) >= SAME_FACE:
            found[index] = candidates[int(np.argmax(overlaps))].keypoints
    return found


def table(metrics: dict) -> str:
    """The metrics in columns: all faces, each view or folder, and the mean face for comparison."""
    rows = {"all": metrics | {"n": metrics["n_test"]}, **metrics["per_group"]}
    rows["mean face"] = metrics["baseline_mean_face"] | {"n": metrics["n_test"]}
    names = ("n", "nme", "fr8", "auc8", "mae_px_original", "mse_px", "mse_ratio")
    width = max(map(len, rows)) + 2
    lines = [f"{metrics['dataset']}, boxes: {metrics['boxes']}"]
    if "found" in metrics:
        lines[0] += f", {metrics['found']:.4g} % of the faces found"
    lines.append(" " * width + "".join(f"{name:>17}" for name in names))
    for row, values in rows.items():
        lines.append(row.ljust(width) + "".join(f"{values[name]:>17.5g}" for name in names))
    return "\n".join(lines)
