"""The page that compares networks side by side: ``reports/compare/index.html``."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.metrics import METRICS
from common.report import figures, first_kernels, image_figures
from common.report.index_page import write_index
from common.report.page import Gallery, Picture, render, rounded, write_page

History = list[dict[str, float]]


@dataclass(frozen=True)
class Contestant:
    """What was measured of one network, trained once for each seed."""

    parameters: int
    multiply_adds: int  # for one face
    milliseconds: float  # for one face
    histories: Sequence[History]  # one a seed
    errors: Sequence[dict[str, float]]  # one a seed, by the names of metrics.json
    predicted: Tensor  # (n, K, 2), the first seed's, for the page's faces, pixels of the crop
    kernels: Tensor  # (N, h, w), the first seed's first convolution

    def of_seeds(self, key: str) -> list[float]:
        """One of the errors, for each seed."""
        return [errors[key] for errors in self.errors]

    @property
    def seconds(self) -> list[float]:
        """Of each seed's median epoch, robust to other load on the machine."""
        return [statistics.median(row["seconds"] for row in rows) for rows in self.histories]


@dataclass(frozen=True)
class Comparison:
    """Networks by their names, and what they share."""

    networks: dict[str, Contestant]
    mean_face: dict[str, float]  # the errors of always predicting the mean training face
    images: Tensor  # uint8 (n, H, W), the faces that the page shows
    truth: Tensor  # (n, K, 2), their points in the images' pixels
    face: str  # name of the first face, to which kernels are applied
    setting: str  # one sentence on faces and machine
    people: str  # one sentence on who is in training and test, or ""
    loss: str  # the recipe's
    recipe: Sequence[tuple[str, str, str]]  # (name, value, reason) a line
    synthetic: bool  # whether the faces are rendered
    normalised: tuple[str, str]  # two networks, without and with batch normalisation, else alike
    stairs: bool = False  # whether each network is a step from the one before, by its own recipe


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write the page, its figures and ``comparison.json`` into ``folder``, and the index above.

    Returns the page's path; raises UserError where it cannot be written.
    """

    def fill(work: Path) -> None:
        (work / "comparison.json").write_text(json.dumps(_numbers(comparison), indent=1))
        render(work, "compare.html", _contents(comparison, work))

    page = write_page(folder, fill)
    write_index(folder.parent)
    return page


def _numbers(comparison: Comparison) -> dict[str, Any]:
    """Every number of the page, for other programs."""
    return {
        **{name: getattr(comparison, name) for name in ("setting", "people", "synthetic")},
        "recipe": {name: value for name, value, _ in comparison.recipe},
        "baseline_mean_face": comparison.mean_face,
        "networks": {
            name: {k: v for k, v in vars(network).items() if not isinstance(v, Tensor)}
            for name, network in comparison.networks.items()
        },
    }


def _contents(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """All that the template shows, figures saved."""
    gallery = Gallery(folder, comparison.synthetic)
    networks = comparison.networks
    errors = {name: statistics.mean(network.of_seeds("nme")) for name, network in networks.items()}
    predictions = {name: network.predicted for name, network in networks.items()}
    histories = {name: network.histories for name, network in networks.items()}
    ends = {
        name: statistics.mean(history[-1]["test_nme"] for history in seeds)
        for name, seeds in histories.items()
    }
    sizes = {name: (network.parameters, errors[name]) for name, network in networks.items()}
    faces = image_figures.same_faces(comparison.images, comparison.truth, predictions)
    kernels = [_kernels(gallery, name, comparison) for name in networks]
    curves = figures.curves_together(histories, losses=not comparison.stairs)
    return {
        **vars(comparison),
        "metrics": METRICS,
        "cell": mean_and_deviation,
        "errors": errors,
        "best": min(errors, key=errors.get),
        "lightest": min(networks, key=lambda name: networks[name].multiply_adds),
        "largest": max(networks, key=lambda name: networks[name].parameters),
        "seeds": max(len(network.errors) for network in networks.values()),
        "curves": gallery.add("curves", curves),
        "ends": sorted(ends.items(), key=lambda pair: pair[1]),
        "normalisation": _normalisation(comparison),
        "size": gallery.add("size", figures.size_against_error(sizes)),
        "faces": gallery.add("faces", faces),
        "pixels": {
            name: (predicted - comparison.truth).norm(dim=-1).mean().item()
            for name, predicted in predictions.items()
        },
        "kernels": [tiles for tiles, _ in kernels],
        "work": [work for _, work in kernels],
    }


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation, this with two digits and the mean to the same place."""
    mean, deviation = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0
    if not deviation:
        return rounded(mean) + " ± 0" * (len(values) > 1)
    places = max(1 - math.floor(math.log10(deviation)), 0)
    return f"{mean:,.{places}f} ± {deviation:,.{places}f}"


def _normalisation(comparison: Comparison) -> dict[str, Any] | None:
    """By how much batch normalisation lowered the NME, and in which epochs; None if unknown."""
    names = comparison.normalised
    if not set(names) <= comparison.networks.keys():
        return None
    plain, normal = (comparison.networks[name].histories for name in names)
    gains = [  # seed by seed, epoch by epoch
        [one["test_nme"] - two["test_nme"] for one, two in zip(*pair, strict=False)]
        for pair in zip(plain, normal, strict=False)
    ]
    means = [statistics.mean(epoch) for epoch in zip(*gains, strict=False)]
    last = [seed[-1] for seed in gains]
    gain = statistics.mean(last)
    return {
        **dict(zip(("plain", "normal"), names, strict=True)),
        "gain": gain,  # after the last epoch, % of the eye distance
        "seeds": len(last),
        "agree": sum((one > 0) == (gain > 0) for one in last),  # seeds of the same sign
        "ahead": sum(one > 0 for one in means),  # epochs after which it was ahead on average
        "epochs": len(means),
        "behind": max((epoch for epoch, one in enumerate(means, 1) if one <= 0), default=0),
    }


def _kernels(gallery: Gallery, name: str, comparison: Comparison) -> tuple[Picture, Picture]:
    """A network's first kernels and how many are of each kind; some at work on the first face."""
    kernels = comparison.networks[name].kernels
    found = [first_kernels.kind_of(kernel).kind for kernel in kernels]
    kinds = {kind: found.count(kind) for kind in first_kernels.KINDS if kind in found}
    tiles = image_figures.kernels(kernels[:, None])
    chosen = first_kernels.choose(kernels)
    weights = kernels[list(chosen)]
    maps = torch.stack([first_kernels.respond(comparison.images[0], kernel) for kernel in weights])
    work = image_figures.responses(weights, maps, [f"kernel {index + 1}" for index in chosen])
    return (
        gallery.add(f"kernels-{name}", tiles, name=name, kinds=kinds, shape=kernels.shape),
        gallery.add(f"work-{name}", work, name=name, chosen=chosen),
    )
