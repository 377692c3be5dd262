"""``python run_part.py evaluate``: the metrics of a trained network on any folder of faces."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common import checkpoints
from common.metrics import NORMS, measure
from common.photos import detectors
from common.photos.finder import require_all_points
from common.system.device import best_device
from common.system.errors import UserError
from datasets import splits, yunet
from parts.commands.options import add_checkpoint, add_data, add_device
from parts.protocols_300w import predict_faces
from parts.toolkit import choose_network


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate``."""
    add_data(parser)
    add_device(parser)
    add_checkpoint(parser)
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="as --checkpoint FILE")
    parser.add_argument("--dataset", metavar="NAME", help="default: the one it was trained on")
    parser.add_argument(
        "--split", default="test", metavar="NAME", help="such as helen/testset (default: test)"
    )
    parser.add_argument(
        "--boxes", choices=("landmarks", "file", "haar", "lbp", "yunet"), default="landmarks",
        help="crop by the true points (default), the data set's boxes, or what a detector finds",
    )  # fmt: skip
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Print the metrics of a checkpoint on the faces of one split, as a table or as JSON."""
    metrics = metrics_of(options)
    print(json.dumps(metrics, indent=1) if options.as_json else table(metrics))


def metrics_of(options: argparse.Namespace) -> dict[str, Any]:
    """The metrics of a checkpoint on the faces of one split.

    With a detector's boxes faces are found and predicted as on one's own photos, and those that
    are not found count in ``found`` alone.
    Raises UserError where checkpoint, data set or split are missing or do not fit.
    """
    trained = choose_network(options.checkpoint or options.file)
    checkpoint, recipe = trained.checkpoint, trained.recipe
    scheme, by_detector = checkpoints.scheme_of(checkpoint), options.boxes in detectors.FITS
    device, detector = best_device(options.device), None
    if by_detector:
        require_all_points(checkpoint, trained.name)
        detector = detectors.load(options.boxes, yunet.place(options.data))
    faces = splits.split(
        options.dataset or checkpoint["dataset"], options.split, options.data,
        "landmarks" if by_detector else options.boxes, scheme,
        checkpoint.get("training", {}).get("seed", 0),
    )  # fmt: skip
    if faces.scheme is not scheme:
        raise UserError(
            f"{trained.name}: was trained on the points {scheme.name}, but {faces.name} has "
            f"{faces.scheme.name}; choose another --dataset"
        )
    if "mean_shape" not in checkpoint:
        raise UserError(f"{trained.name}: holds no mean face to compare with; train it again")
    crops, predicted, found = predict_faces(
        trained.network.to(device), recipe, faces, tuple(checkpoint["point_ids"]),
        detector, checkpoint.get("flip_disagreement", 0.0),
    )  # fmt: skip
    if not len(crops):
        raise UserError(f"--boxes {options.boxes}: finds no face of {faces.name}; choose another")
    metrics = measure(predicted, crops, checkpoint["mean_shape"], recipe)
    metrics |= {"n_test": len(crops), "dataset": faces.name, "boxes": options.boxes}
    metrics["network"] = trained.name
    return metrics | ({"found": found} if detector else {})


def table(metrics: dict) -> str:
    """The metrics in columns: all faces, each view or folder, and the mean face for comparison."""
    rows = {"all": metrics | {"n": metrics["n_test"]}, **metrics["per_group"]}
    rows["mean face"] = metrics["baseline_mean_face"] | {"n": metrics["n_test"]}
    names = ("n", "nme", "fr8", "auc8", "mae_px_original", "mse_px", "mse_ratio")
    width = max(map(len, rows)) + 2
    lines = [f"{metrics['dataset']}, boxes: {metrics['boxes']}"]
    if metrics["norm"] == NORMS[False]:
        lines[0] += f", NME in % of {metrics['norm']}"
    if "found" in metrics:
        lines[0] += f", {metrics['found']:.4g} % of the faces found"
    lines.append(" " * width + "".join(f"{name:>17}" for name in names))
    for row, values in rows.items():
        lines.append(row.ljust(width) + "".join(f"{values[name]:>17.5g}" for name in names))
    return "\n".join(lines)
