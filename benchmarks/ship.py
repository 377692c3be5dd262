"""Make a trained network of part 3 the one that ships: ``python -m benchmarks.ship CHECKPOINT``.

Replaces ``parts/assets/weights/part3.pt``, in half precision and without the state of training,
and the model card beside it, whose figures are measured with the file. The confidence of a
detected face depends on the weights: ``python -m benchmarks.detectors confidence`` fits
``placement.FLIP_CALIBRATION`` again, ``python -m benchmarks.calibrate`` what is beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
from torch import nn

from benchmarks import parser_of, run
from common import checkpoints
from common.keypoints import IBUG_68
from common.loading import load_crops
from common.metrics import errors_per_face
from common.recipe import Recipe
from common.report.face_measures import ATTRIBUTES, face_attributes
from common.report.run_report import network_crops
from common.system.device import best_device
from common.system.errors import UserError
from datasets.ibug import FOLDERS
from datasets.splits import split, train_and_test
from parts.protocols_300w import predict_faces, protocols
from parts.toolkit import NME, WEIGHTS

FILE = WEIGHTS / "part3.pt"
CARD = Path(__file__).with_name("model_card.md")
NEEDED = (
    "network", "arguments", "weights", "recipe", "recipe_name", "scheme", "point_ids", "dataset",
    "mean_shape", "versions",
)  # fmt: skip


def main() -> None:
    """Write the weights and the card."""
    parser = parser_of(__doc__)
    parser.add_argument("checkpoint", type=Path, help="such as reports/part3/checkpoint.pt")
    parser.add_argument("--device")
    options = parser.parse_args()

    checkpoint = checkpoints.load(options.checkpoint)
    if "training" not in checkpoint:
        raise UserError(f"{options.checkpoint}: is one that ships; name one of reports/part3")
    new = FILE.with_name(f"{FILE.name}.new")
    try:
        checkpoints.save(halved(checkpoint), new)
        text, rows = card(new, options.device)  # what cannot be measured is not shipped
        new.replace(FILE)
    finally:
        new.unlink(missing_ok=True)
    FILE.with_name("README.md").write_text(text, encoding="utf-8")
    by_folder = {r["name"]: r["boxes"]["landmarks"]["nme"] for r in rows if r["name"] in FOLDERS}
    FILE.with_name(NME.name).write_text(json.dumps(by_folder) + "\n", encoding="utf-8")
    print(f"{FILE}: {FILE.stat().st_size / 1e6:.1f} MB, with its card beside it")


def halved(checkpoint: checkpoints.Checkpoint) -> checkpoints.Checkpoint:
    """What predicting needs of a checkpoint, its weights in half precision."""
    history = checkpoint["training"]["history"]
    return {name: checkpoint[name] for name in NEEDED} | {
        "made_by": {
            "seed": checkpoint["training"]["seed"],
            "epochs": len(history),
            "hours": sum(row["seconds"] for row in history) / 3600,
        },
        "weights": {
            name: weight.half() if weight.is_floating_point() else weight
            for name, weight in checkpoint["weights"].items()
        },
    }


def card(file: Path, device: str | None) -> tuple[str, list[dict[str, Any]]]:
    """The model card of the weights in ``file``, measured on the faces that are here, and the rows
    of its figures as ``protocols`` returns them."""
    trained = checkpoints.load(file)
    recipe = checkpoints.recipe_of(trained)
    network = checkpoints.network_of(trained).to(best_device(device))
    train, _ = train_and_test("ibug", "ibug", None)
    how = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "keep_trailing_newline": True}
    rows = protocols(network, load_crops(train, recipe), recipe, None)
    text = jinja2.Template(CARD.read_text(encoding="utf-8"), **how).render(
        trained,
        file=FILE.name,
        megabytes=file.stat().st_size / 1e6,
        parameters=sum(weight.numel() for weight in network.parameters()),
        recipe=recipe,
        folders={name: train.views.count(name) for name in sorted(set(train.views))},
        n_train=len(train),
        rows=rows,
        weak=weaknesses(network, recipe),
        torch=trained["versions"]["torch"],
    )
    return text, rows


def weaknesses(network: nn.Module, recipe: Recipe) -> list[dict[str, str | float]]:
    """For each measure of a face, the NME in % of the tenth of the test faces that are most extreme
    in it, and of the others; the largest difference comes first."""
    faces = split("ibug", "test", None, "landmarks", IBUG_68)
    crops, predicted, _ = predict_faces(network, recipe, faces, tuple(range(IBUG_68.n_points)))
    error = errors_per_face(predicted, crops, recipe)["nme"]  # (N,)
    rows = []
    measures = face_attributes(network_crops(crops.images, recipe), crops.all_points, IBUG_68)
    for name, values in measures.items():
        words = ATTRIBUTES[name]  # of a sided measure the side does not matter
        ends = {words.more: values.abs() if words.sided else values, words.less: -values}
        for what in filter(None, ends):
            extreme = ends[what] >= ends[what].quantile(0.9)
            means = error[extreme].mean().item(), error[~extreme].mean().item()
            rows.append({"what": what, "extreme": means[0], "others": means[1]})
    return sorted(rows, key=lambda row: row["others"] - row["extreme"])


if __name__ == "__main__":
    run(main)
