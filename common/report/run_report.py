"""The end of every run: measure the trained network on the test faces and write its page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common import checkpoints
from common.augmentation import augment, to_network_input
from common.crops import read_picture, to_fractions
from common.inference import predict_keypoints
from common.loading import Crops
from common.losses import known_loss
from common.metrics import (
    errors_per_face,
    mean_face_prediction,
    mean_shape,
    measure,
    summarise,
)
from common.recipe import Options, Recipe, reasons, stairs
from common.report.error_section import Results
from common.report.face_measures import colours
from common.report.index_page import Portrait
from common.report.lesson import Lesson
from common.report.part_page import Report, write_report
from common.snapshots import load_snapshots

SHOWN = 8  # training faces on the page


def write_run_report(
    network: nn.Module,
    train: Crops,
    test: Crops,
    recipe: Recipe,
    lesson: Lesson,
    options: Options,
    beside: Mapping[str, nn.Module] | None = None,
    protocols: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Measure ``network`` on ``test``, add the metrics to its checkpoint and write the page.

    lesson: its ``folder`` below ``options.reports`` holds the checkpoint that ``fit`` wrote.
    beside: other networks of the same recipe by their names, measured on the same faces.
    protocols: rows as ``parts.protocols_300w.protocols`` measures them.
    Returns the page's path.
    """
    checkpoint = options.reports / lesson.folder / "checkpoint.pt"
    history = (state := checkpoints.load(checkpoint))["training"]["history"]
    predicted = predict_keypoints(network, *(seen := (test.images, test.flip_order, recipe)))
    others = {
        name: errors_per_face(predict_keypoints(other, *seen), test, recipe)
        for name, other in (beside or {}).items()
    }
    mean_face = mean_face_prediction(train, recipe, len(test))
    metrics = measure(predicted, test, mean_shape(train, recipe), recipe)
    metrics["baseline_mean_face"]["loss"] = loss_of(mean_face, test, recipe)
    metrics |= {
        "beside": {name: summarise(errors) for name, errors in others.items()},
        "seconds": sum(epoch["seconds"] for epoch in history),
        "epochs": len(history),
        "n_train": len(train),
        "n_test": len(test),
        "dataset": train.faces.dataset,
        "synthetic": train.faces.synthetic,
        "seed": options.seed,
        "device": str(next(network.parameters()).device),
        "cores": os.cpu_count(),
        "protocols": list(protocols),
        "left_out": [*train.faces.left_out, *test.faces.left_out],
        "stairs": stairs(recipe),
    }
    metrics |= {"your_code": dict(options.mine)} if options.mine else {}
    checkpoints.save({**state, "metrics": metrics}, checkpoint)
    results = _results(predicted, mean_face, test, recipe)
    report = Report(
        lesson=lesson,
        recipe=reasons(recipe),
        recipe_name=options.recipe,
        network=network.cpu(),
        **_samples(train, recipe, options.seed),
        history=history,
        metrics=metrics,
        results=results,
        synthetic=train.faces.synthetic,
        beside={name: errors["nme"] for name, errors in others.items()},
        portrait=None if recipe.box_scale else _portrait(test, results.nme),
        snapshots=load_snapshots(state["training"], test, recipe),
    )
    return write_report(options.reports, report)


def loss_of(predicted: Tensor, crops: Crops, recipe: Recipe) -> float:
    """The recipe's loss of N predictions (N, k, 2), in pixels of the network's crop."""
    size = recipe.height, recipe.width
    fractions = (to_fractions(points, *size) for points in (predicted, crops.points))
    return known_loss(recipe.loss, *fractions).item()


def network_crops(images: Tensor, recipe: Recipe) -> Tensor:
    """Cached crops uint8 (N, C, H, W) -> what the network sees of them, uint8 (N, 1, h, w)."""
    return ((to_network_input(images, recipe) + 0.5) * 255).round().to(torch.uint8)


def _results(predicted: Tensor, mean_face: Tensor, test: Crops, recipe: Recipe) -> Results:
    return Results(
        scheme=test.faces.scheme,
        point_ids=test.point_ids,
        images=network_crops(test.images, recipe),
        truth=test.points,
        predicted=predicted,
        all_points=test.all_points,
        nme=errors_per_face(predicted, test, recipe)["nme"],
        names=tuple(path.stem for path in test.faces.files),
        views=test.faces.views,
        groups=test.faces.groups,
        colours=colours(test.faces.files),
        picture_eyes=test.faces.norm_distance,
        norm_distance=test.norm_distance,
        baseline_nme=errors_per_face(mean_face, test, recipe)["nme"],
    )


def _samples(train: Crops, recipe: Recipe, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Some training faces with their points, as they are and augmented."""
    torch.manual_seed(seed)
    some = torch.randperm(len(train))[:SHOWN]
    images, points = train.images[some], train.points[some]
    return {
        "samples": (network_crops(images, recipe), points),
        "augmented": augment(images, points, recipe, train.flip_order),
    }


def _portrait(test: Crops, nme: Tensor) -> Portrait:
    """The test face in the middle of the ranking, in its whole picture."""
    ordinary = int(nme.argsort(stable=True)[len(nme) // 2])
    faces, file = test.faces, test.faces.files[ordinary]
    image = np.asarray(read_picture(file, colour=False))
    return Portrait(file.stem, image, faces.points[ordinary], faces.scheme, faces.synthetic)
