"""The metrics of a trained network on any folder of faces."""

from __future__ import annotations

import json
from pathlib import Path

from common import checkpoints
from common.keypoints import SCHEMES
from common.metrics import measure
from common.photos import detectors
from common.photos.finder import require_all_points
from common.system.device import best_device
from common.system.errors import UserError
from datasets import splits, yunet
from parts.protocols_300w import answer
from parts.toolkit import default_checkpoint


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
    checkpoint = checkpoint or default_checkpoint()
    trained = checkpoints.load(checkpoint)
    recipe = checkpoints.recipe_of(trained)
    listed = "landmarks" if boxes in detectors.FITS else boxes
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
    if boxes in detectors.FITS:
        require_all_points(trained, checkpoint)
        detector = detectors.load(boxes, yunet.place(data))
    doubt = trained.get("flip_disagreement", 0.0)
    crops, predicted, found = answer(
        network, recipe, faces, tuple(trained["point_ids"]), detector, doubt
    )
    if not len(crops):
        raise UserError(f"--boxes {boxes}: finds no face of {faces.name}; choose another")
    share = {"found": found} if detector else {}
    metrics = measure(predicted, crops, trained["mean_shape"], recipe)
    metrics |= {"n_test": len(crops), "dataset": faces.name, "boxes": boxes, **share}
    return json.dumps(metrics, indent=1) if as_json else table(metrics)


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
