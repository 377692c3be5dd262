"""The metrics of a trained network on any folder of faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from common import checkpoints, detection
from common.crops import move, square_boxes
from common.device import best_device
from common.errors import UserError
from common.faces import Faces
from common.keypoints import SCHEMES
from common.loading import load_crops, read_picture
from common.metrics import measure
from common.prediction import FaceKeypoints, predict_keypoints
from datasets import splits, yunet

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

    checkpoint: by default the newest of part 3. dataset: the one the network was trained on by
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
    crops = load_crops(faces, recipe, tuple(trained["kept"]))
    share = {}
    if boxes in detection.FITS:
        finder = FaceKeypoints.load(checkpoint, boxes, device, yunet.place(data))
        found = find(finder, crops.faces)
        if not found:
            raise UserError(f"--boxes {boxes}: finds no face of {faces.name}; choose another")
        share = {"found": 100 * len(found) / len(crops)}
        crops = crops.take(list(found))
        points = torch.from_numpy(np.stack(list(found.values())))  # pixels of the pictures
        predicted = move(points, crops.matrices) - recipe.margin
    else:
        network = checkpoints.network_of(trained).to(best_device(device))
        predicted = predict_keypoints(network, crops.images, crops.flip_order, recipe)
    metrics = measure(predicted, crops, trained["mean_shape"], recipe)
    metrics |= {"n_test": len(crops), "dataset": faces.name, "boxes": boxes, **share}
    return json.dumps(metrics, indent=1) if as_json else table(metrics)


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
