"""The metrics of a trained network on any folder of faces."""

from __future__ import annotations

import json
from pathlib import Path

from common import checkpoints
from common.device import best_device
from common.errors import UserError
from common.keypoints import SCHEMES
from common.loading import load_crops
from common.metrics import measure
from common.prediction import predict_keypoints
from datasets import splits


def evaluate(
    checkpoint: Path,
    dataset: str | None = None,
    split: str = "test",
    boxes: str = "landmarks",
    data: Path | None = None,
    device: str | None = None,
    as_json: bool = False,
) -> str:
    """The metrics of ``checkpoint`` on the faces of one split, as a table or as JSON.

    dataset: the one the network was trained on by default; it must have the same points.
    split: a name that the data set knows, such as "helen/testset". boxes: "landmarks" or "file".
    Raises UserError where checkpoint, data set or split are missing or do not fit.
    """
    trained = checkpoints.load(checkpoint)
    recipe = checkpoints.recipe_of(trained)
    faces = splits.split(
        dataset or trained["dataset"], split, data, boxes, SCHEMES[trained["scheme"]]
    )
    if faces.scheme.name != trained["scheme"]:
        raise UserError(
            f"{checkpoint}: was trained on the points {trained['scheme']}, but {faces.name} has "
            f"{faces.scheme.name}; choose another --dataset"
        )
    crops = load_crops(faces, recipe, tuple(trained["kept"]))
    network = checkpoints.network_of(trained).to(best_device(device))
    predicted = predict_keypoints(network, crops.images, crops.flip_order, recipe)
    metrics = measure(predicted, crops, trained["mean_shape"], recipe)
    metrics |= {"n_test": len(crops), "dataset": faces.name, "boxes": boxes}
    return json.dumps(metrics, indent=1) if as_json else table(metrics)


def table(metrics: dict) -> str:
    """The metrics in columns: all faces, each view or folder, and the mean face for comparison."""
    rows = {"all": metrics | {"n": metrics["n_test"]}, **metrics["per_group"]}
    rows["mean face"] = metrics["baseline_mean_face"] | {"n": metrics["n_test"]}
    names = ("n", "nme", "fr8", "auc8", "mae_px_original", "mse_px", "mse_ratio")
    width = max(map(len, rows)) + 2
    lines = [f"{metrics['dataset']}, boxes: {metrics['boxes']}"]
    lines.append(" " * width + "".join(f"{name:>17}" for name in names))
    for row, values in rows.items():
        lines.append(row.ljust(width) + "".join(f"{values[name]:>17.5g}" for name in names))
    return "\n".join(lines)
