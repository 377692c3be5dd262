"""How far the predicted points lie from the true ones, under the names that papers use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from common.crops import to_fractions, to_pixels
from common.loading import Crops
from common.recipe import Recipe


@dataclass(frozen=True)
class Metric:
    """A measure's name on the page, its unit and one sentence on what it means."""

    name: str
    unit: str
    meaning: str


METRICS = {
    "nme": Metric(
        "NME",
        "%",
        "Mean distance between predicted and true points, in % of the distance between the "
        "outer eye corners, so that near and far faces count alike: the measure of the papers.",
    ),
    "fr8": Metric(
        "failures", "%", "Share of the faces whose own NME is over 8 %, the limit that papers use."
    ),
    "auc8": Metric(
        "AUC",
        "%",
        "Area under the cumulative error curve up to 8 %: 100 % would be no error at all, and "
        "small errors count as well as failures.",
    ),
    "mae_px_original": Metric(
        "MAE",
        "px",
        "Mean absolute error of a coordinate in pixels of the original picture: what a user of "
        "the points sees, larger for larger pictures.",
    ),
    "mse_px": Metric(
        "MSE in pixels",
        "px²",
        "Mean squared error of a coordinate in pixels of the network's input; its square root "
        "is a typical error of a coordinate.",
    ),
    "mse_ratio": Metric(
        "MSE of fractions",
        "",
        "Mean squared error of a coordinate as a fraction of the crop's width or height: the "
        "course's loss, for comparison with its reports.",
    ),
}
"""What pages show of ``metrics.json``, in this order."""


NORMS = {True: "the eye distance", False: "the box's diagonal"}
"""What NME is in % of, by ``Faces.has_eyes``."""


def nme(predicted: Tensor, truth: Tensor, eye_distance: Tensor) -> Tensor:
    """Normalised mean error per face: mean distance over the outer eye corners' distance, in %.

    predicted, truth: (N, K, 2) pixels; a truth of NaN, a missing point, does not count.
    eye_distance: (N,) in the same pixels.
    Returns (N,). The inter-ocular norm of 300-W (Sagonas et al., ICCVW 2013).
    """
    return 100 * known_mean((predicted - truth).norm(dim=-1), -1) / eye_distance


def known_mean(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The mean over ``dim`` without NaN, which a missing point leaves."""
    return values.nanmean(dim) if values.isnan().any() else values.mean(dim)


def failure_rate(errors: Tensor, limit: float = 8.0) -> float:
    """Share of faces whose NME (N,) in % lies over ``limit`` %, in %."""
    return 100 * (errors > limit).double().mean().item()


def area_under_curve(errors: Tensor, limit: float = 8.0) -> float:
    """Area under the cumulative error curve from 0 to ``limit`` %, in % of the best possible.

    The exact area under the step curve: a face with error e counts 1 - e / limit, or nothing.
    """
    return 100 * (1 - errors.double() / limit).clamp(min=0).mean().item()


def smooth_l1_224(off: Tensor, width: int) -> Tensor:
    """The loss of Udacity's nanodegree in its own unit: (N, K, 2) -> (N,).

    The course counts a coordinate as u = (x - 100) / 50 in pixels of a 224-pixel crop and takes
    SmoothL1: the mean of d² / 2 where |d| < 1, else |d| - 1 / 2, with d the error of u.
    off: predicted less true points, in pixels of a crop ``width`` pixels wide.
    """
    d = off * (224 / width) / 50
    errors = functional.smooth_l1_loss(d, torch.zeros_like(d), reduction="none")
    return known_mean(errors, (1, 2))


def errors_per_face(predicted: Tensor, crops: Crops, recipe: Recipe) -> dict[str, Tensor]:
    """The errors of N faces, float32 (N,) each, by their names in metrics.json.

    predicted: (N, k, 2) pixels of the network's crop, as ``predict_keypoints`` returns them.
    """
    size = recipe.height, recipe.width
    off = predicted - crops.points  # (N, k, 2)
    in_picture = off / crops.matrices[:, None, [0, 1], [0, 1]]  # crop pixels -> picture pixels
    fractions = to_fractions(predicted, *size) - to_fractions(crops.points, *size)
    return {
        "mse_ratio": known_mean(fractions.square(), (1, 2)),
        "mse_px": known_mean(off.square(), (1, 2)),
        "mae_px_original": known_mean(in_picture.abs(), (1, 2)),
        "nme": nme(predicted, crops.points, crops.norm_distance),
        "smooth_l1_224": smooth_l1_224(off, recipe.width),
    }


def summarise(errors: dict[str, Tensor]) -> dict[str, float]:
    """Means over the faces, and the two figures that count faces: ``fr8`` and ``auc8``."""
    return {name: error.double().mean().item() for name, error in errors.items()} | {
        "fr8": failure_rate(errors["nme"]),
        "auc8": area_under_curve(errors["nme"]),
    }


def mean_shape(crops: Crops, recipe: Recipe) -> Tensor:
    """The mean keypoints (k, 2) of the faces, in fractions of the network's crop."""
    return known_mean(to_fractions(crops.points, recipe.height, recipe.width), 0)


def mean_face_prediction(train: Crops, recipe: Recipe, count: int) -> Tensor:
    """The baseline that never looks: the mean training face for each of ``count`` faces.

    Returns (count, k, 2) pixels of the network's crop.
    """
    mean = to_pixels(mean_shape(train, recipe), recipe.height, recipe.width)
    return mean.expand(count, -1, -1)


def measure(predicted: Tensor, crops: Crops, mean_shape: Tensor, recipe: Recipe) -> dict[str, Any]:
    """All metrics of the page: overall, per view or folder, and for the mean face.

    predicted: (N, k, 2) pixels of the network's crop.
    mean_shape: (k, 2) fractions of it: the mean training face, which the baseline predicts.
    """
    errors = errors_per_face(predicted, crops, recipe)
    always = to_pixels(mean_shape, recipe.height, recipe.width).expand_as(predicted)
    metrics: dict[str, Any] = summarise(errors) | {"norm": NORMS[crops.faces.has_eyes]}
    metrics["baseline_mean_face"] = summarise(errors_per_face(always, crops, recipe))
    metrics["per_group"] = {}
    for view in sorted(set(crops.faces.views)):
        of_view = torch.tensor([name == view for name in crops.faces.views])
        metrics["per_group"][view] = summarise({k: v[of_view] for k, v in errors.items()})
        metrics["per_group"][view]["n"] = int(of_view.sum())
    return metrics
