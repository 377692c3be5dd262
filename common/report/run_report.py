"""The end of every run: measure the trained network on faces it never learned from, tell it."""

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
from common.crops import read_picture, to_fractions, to_pixels
from common.inference import predict_keypoints
from common.loading import Crops
from common.losses import LOSSES
from common.metrics import errors_per_face, mean_shape, measure, summarise
from common.recipe import Options, Recipe, reasons
from common.report.face_measures import colours
from common.report.index_page import Portrait
from common.report.part_page import Lesson, Report, TestFaces, write_report
from common.snapshots import load_snapshots

SHOWN = 8  # training faces on the page


def write_run_report(
    network: nn.Module,
    train: Crops,
    test: Crops,
    recipe: Recipe,
    history: list[dict[str, float]],
    lesson: Lesson,
    options: Options,
    beside: Mapping[str, nn.Module] | None = None,
    protocols: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Measure ``network`` on ``test``, write the page and return the page's path.

    beside: other networks of the same recipe by their names, measured on the same faces.
    protocols: rows as ``parts.commands.evaluate.protocols`` measures them.
    """
    predicted = predict_keypoints(network, test.images, test.flip_order, recipe)
    always = mean_shape(train, recipe)
    mean_face = to_pixels(always, recipe.height, recipe.width).expand_as(predicted)
    metrics = measure(predicted, test, always, recipe)
    truth = to_fractions(test.points, recipe.height, recipe.width)
    metrics["baseline_mean_face"]["loss"] = LOSSES[recipe.loss](
        always.expand_as(truth), truth
    ).item()
    others = {
        name: errors_per_face(
            predict_keypoints(other, test.images, test.flip_order, recipe), test, recipe
        )
        for name, other in (beside or {}).items()
    }
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
    }
    network.cpu()
    checkpoint = options.reports / lesson.folder / "checkpoint.pt"
    state = checkpoints.load(checkpoint)
    checkpoints.save({**state, "metrics": metrics}, checkpoint)

    nme = errors_per_face(predicted, test, recipe)["nme"]
    torch.manual_seed(options.seed)
    some = torch.randperm(len(train))[:SHOWN]
    images, points = train.images[some], train.points[some]
    report = Report(
        lesson=lesson,
        recipe=reasons(recipe),
        recipe_name=options.recipe,
        network=network,
        scheme=train.faces.scheme,
        point_ids=train.point_ids,
        samples=(_network_crops(images, recipe), points),
        augmented=augment(images, points, recipe, train.flip_order),
        history=history,
        metrics=metrics,
        test=TestFaces(
            images=_network_crops(test.images, recipe),
            truth=test.points,
            predicted=predicted,
            nme=nme,
            baseline_nme=errors_per_face(mean_face, test, recipe)["nme"],
            all_points=test.all_points,
            names=tuple(path.stem for path in test.faces.files),
            views=test.faces.views,
            groups=test.faces.groups,
            colours=colours(test.faces.files),
            picture_eyes=test.faces.scheme.eye_distance(test.faces.points),
        ),
        synthetic=metrics["synthetic"],
        beside={name: errors["nme"] for name, errors in others.items()},
        portrait=None if recipe.box_scale else _portrait(test, nme, metrics["synthetic"]),
        film=load_snapshots(state["training"], test, recipe),
    )
    return write_report(options.reports, report)


def _portrait(test: Crops, nme: Tensor, synthetic: bool) -> Portrait:
    """The test face in the middle of the ranking, in its whole picture."""
    ordinary = int(nme.argsort(stable=True)[len(nme) // 2])
    faces = test.faces
    image = np.asarray(read_picture(faces.files[ordinary], colour=False))
    points, name = faces.points[ordinary], faces.files[ordinary].stem
    return Portrait(name, image, points, faces.scheme, synthetic)


def _network_crops(images: Tensor, recipe: Recipe) -> Tensor:
    """Cached crops uint8 (N, C, H, W) -> what the network sees of them, uint8 (N, 1, h, w)."""
    return ((to_network_input(images, recipe) + 0.5) * 255).round().to(torch.uint8)
