"""The page that a run writes: ``reports/part1/index.html`` and the like.

``error_section`` measures what the page says of the test faces, ``templates/part.html`` says it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.crops import transform_points
from common.keypoints import Scheme, fit_similarity, flip_order_within, neighbours
from common.metrics import METRICS, NORMS, known_mean
from common.report import figures, image_figures
from common.report.ablation_page import read
from common.report.error_section import Results, error_section
from common.report.index_page import Portrait, write_index
from common.report.lesson import Lesson
from common.report.network_summary import convolutions, layers
from common.report.page import Gallery, Picture, rename_norm, render, write_page
from common.snapshots import Snapshots


@dataclass(frozen=True)
class Report:
    """Everything that a part's page shows."""

    lesson: Lesson
    recipe: Sequence[tuple[str, str, str]]  # (name, value, reason) a line
    recipe_name: str
    network: nn.Module  # called on float32 (1, 1, H, W) in -0.5..0.5
    samples: tuple[Tensor, Tensor]  # training faces uint8 (n, 1, H, W), points (n, k, 2) in pixels
    augmented: tuple[Tensor, Tensor]  # the same augmented, uint8 or float in -0.5..0.5
    history: list[dict[str, float]]  # a row an epoch, as ``training.fit`` returns it
    metrics: dict[str, Any]  # as ``run_report`` measures them
    results: Results
    synthetic: bool  # whether the faces are rendered
    beside: Mapping[str, Tensor] = field(default_factory=dict)  # other networks' NME (N,)
    portrait: Portrait | None = None  # where the network sees whole pictures
    snapshots: Snapshots | None = None


def write_report(reports: Path, report: Report) -> Path:
    """Write ``reports/<folder>/`` (page, figures, metrics.json, history.csv) and the index.

    Returns the page's path; raises UserError where it cannot be written.
    """

    def fill(work: Path) -> None:
        contents = _contents(report, work)
        with open(work / "history.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(report.history[0]))
            writer.writeheader()
            writer.writerows(report.history)
        metrics = json.dumps(contents["metrics"], indent=1)
        (work / "metrics.json").write_text(metrics, encoding="utf-8")
        render(work, "part.html", contents)
        if contents["metrics"].get("norm") == NORMS[False]:
            rename_norm(work / "index.html", "diagonal of the face's box", "box diagonal")
        if report.portrait is not None:
            report.portrait.save(work)

    page = write_page(reports / report.lesson.folder, fill)
    write_index(reports)
    return page


def _contents(report: Report, folder: Path) -> dict[str, Any]:
    """All that the template shows, figures saved."""
    gallery = Gallery(folder, report.synthetic)
    results = report.results
    errors = error_section(gallery, results, report.beside)
    metrics = {**report.metrics, **_about(report), "why": asdict(errors["findings"])}
    if by_name := errors["per_point"]["by_name"]:
        metrics["per_point"] = {name: error for name, (_, error) in by_name}
    inputs = results.images.float() / 255 - 0.5  # (N, 1, H, W), as the network gets them
    steps = layers(report.network, inputs[:1])
    ordinary = int(results.nme.argsort(stable=True)[len(results.nme) // 2])
    curves = figures.learning_curves(report.history, metrics["baseline_mean_face"])
    return {
        **errors,
        "lesson": report.lesson,
        "metrics": metrics,
        "baseline": metrics["baseline_mean_face"],
        "meanings": METRICS,
        "recipe": report.recipe,
        **_from_ablations(report),
        "samples": _samples(gallery, report),
        "layers": steps,
        "heaviest": max(range(len(steps)), key=lambda step: steps[step].parameters),
        "curves": gallery.add("learning-curves", curves),
        "history": report.history,
        "augmented": not torch.equal(report.augmented[1], report.samples[1]),
        "film": report.snapshots and _film(gallery, results, report.snapshots),
        "convolutions": convolutions(gallery, report.network, inputs[ordinary, None]),
    }


def _from_ablations(report: Report) -> dict[str, Any]:
    """Of our own recipe, from committed results: the measured effect of each value, in words, and
    what the recipe does for the network of the part before."""
    lesson, found = report.lesson, {"measured": {}, "before": None}
    if report.recipe_name == "best" and lesson.ablation:
        effect = read(lesson.ablation).effect_in_words
        found["measured"] = {name: effect(name) for name, _, _ in report.recipe}
    if report.recipe_name == "best" and lesson.before:
        found["before"] = read(lesson.before).comparison(f"part {lesson.folder[-1]}'s recipe")
    return found


def _about(report: Report) -> dict[str, Any]:
    """What the start page must know of a run beside its metrics."""
    lesson, (height, width) = report.lesson, report.results.images.shape[-2:]
    kinds = [type(module) for module in report.network.modules()]
    counted = {"convolution": nn.Conv2d, "fully connected layer": nn.Linear}
    numbers = {name: kinds.count(kind) for name, kind in counted.items()}
    return {
        **{name: getattr(lesson, name) for name in ("title", "question", "carries_over")},
        "recipe": report.recipe_name,
        "recipe_values": {name: value for name, value, _ in report.recipe},
        "input": [width, height],
        "n_points": len(report.results.point_ids),
        "layers": " and ".join(f"{n} {name}{'s' * (n > 1)}" for name, n in numbers.items() if n),
        "network": type(report.network).__name__,
        "parameters": sum(parameter.numel() for parameter in report.network.parameters()),
        "synthetic": report.synthetic,
    }


def _samples(gallery: Gallery, report: Report) -> list[Picture]:
    """Each face as the network gets it, followed by the same face augmented."""
    pictures = []
    kind = report.results.scheme, report.results.point_ids
    faces = {"sample": report.samples, "augmented": report.augmented}
    side = torch.tensor(report.samples[0].shape[:-3:-1])  # width, height
    for index in range(len(report.samples[1])):
        moved = movement(report.samples[1][index], report.augmented[1][index], *kind, side)
        for name, (images, points) in faces.items():
            figure = image_figures.face(images[index, 0], points[index], *kind)
            facts = {"number": index + 1, "moved": moved if name == "augmented" else None}
            pictures.append(gallery.add(f"{name}-{index + 1}", figure, **facts))
    return pictures


def movement(
    before: Tensor, after: Tensor, scheme: Scheme, point_ids: Sequence[int], side: Tensor
) -> dict[str, Any]:
    """How augmentation moved the points of a face, from where they were before and after it.

    before, after: (k, 2), pixels of the crop; the points ``point_ids`` of the scheme.
    side: (2,), width and height of the crop, pixels.
    Points that are missing, NaN, do not count. Returns, in this order and about the crop's middle:
    ``mirrored``, ``angle`` in degrees, clockwise, ``scale``, and ``shift``, two numbers of pixels;
    of one or two points the mean shift alone.
    """
    order = flip_order_within(scheme, point_ids)
    known = (before + before[order] + after).isfinite().all(dim=-1)  # (k,)
    if known.sum() < 3:
        shift = known_mean(after - before, 0).nan_to_num().tolist()
        return {"mirrored": False, "angle": 0.0, "scale": 1.0, "shift": shift}
    middle = (side - 1) / 2
    mirrored = middle + torch.tensor([-1, 1]) * (before - middle)[order]
    starts, after = torch.stack([before, mirrored])[:, known], after[known]  # (2, n, 2), (n, 2)
    matrices = fit_similarity(starts, after)  # (2, 2, 3)
    errors = (transform_points(starts, matrices) - after).norm(dim=-1).mean(dim=-1)  # (2,)
    best = int(errors.argmin())
    turn, shift = matrices[best].split([2, 1], dim=1)  # (2, 2), (2, 1)
    cosine, sine = turn[:, 0].tolist()
    return {
        "mirrored": best == 1,
        "angle": math.degrees(math.atan2(sine, cosine)),
        "scale": math.hypot(cosine, sine),
        "shift": (turn @ middle + shift[:, 0] - middle).tolist(),
    }


def _film(gallery: Gallery, results: Results, film: Snapshots) -> dict[str, Any]:
    """The faces of the snapshots: with their true points, as numbers to play, and as stills."""
    height, width = results.images.shape[-2:]
    faces, around = [], []
    for place, face in enumerate(film.faces):
        points = torch.cat([results.all_points[face], *film.predictions[:, place]])
        marked = results.truth[face], results.scheme, results.point_ids
        figure = image_figures.face(results.images[face, 0], *marked, around=points)
        left, top, right, bottom = image_figures.square_around(points, width, height)
        box = f"{left:.2f} {top:.2f} {right - left:.2f} {bottom - top:.2f}"
        name = results.names[face]
        faces.append(gallery.add(f"watched-{place + 1}", figure, name=name, box=box))
        around.append(points)
    names = [f"after epoch {epoch}" if epoch else "before training" for epoch in film.epochs]
    means = film.nme.mean(dim=1).tolist()
    half = next(frame for frame, mean in enumerate(means) if mean <= (means[0] + means[-1]) / 2)
    shown = sorted({0, len(means) // 2, len(means) - 1})
    predictions = {names[frame]: film.predictions[frame] for frame in shown}
    watched = results.images[film.faces, 0], results.truth[film.faces]
    stills = image_figures.same_faces(*watched, predictions, around)
    return {
        "faces": faces,
        "stills": gallery.add("watched-stills", stills),
        "shown": [(names[frame], means[frame]) for frame in shown],
        "means": means,
        "half": names[half] if half else None,
        "arm": 0.025 if len(results.point_ids) < figures.FEW else 0.01,
        "numbers": {
            "names": names,
            "means": [f"{mean:.1f}" for mean in means],
            "nme": [[f"{error:.1f}" for error in errors] for errors in film.nme.tolist()],
            "answers": film.predictions.double().round(decimals=1).tolist(),  # (E, F, k, 2)
            "pairs": neighbours(results.scheme, results.point_ids),
        },
    }
