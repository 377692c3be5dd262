"""The page that a run writes: ``reports/part1/index.html`` and the like.

Every caption and sentence follows from the numbers of the run; ``error_section`` makes what the
page says of the test faces, ``templates/part.html`` holds the page.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.keypoints import neighbours
from common.metrics import METRICS
from common.report import figures, image_figures
from common.report.error_section import Results, error_section
from common.report.index_page import Portrait, write_index
from common.report.lesson import Lesson
from common.report.network_summary import kernels_and_responses, layers
from common.report.page import SYNTHETIC, Gallery, Picture, render, write_page
from common.snapshots import Snapshots


@dataclass(frozen=True)
class Report:
    """Everything that a part's page shows.

    lesson: the part's own words.
    recipe: (name, value, reason) a line.
    recipe_name: such as ``best``.
    network: called on float32 (1, 1, H, W) in -0.5..0.5.
    samples: training faces as the network gets them: images uint8 (n, 1, H, W) and points
        (n, k, 2) in their pixels.
    augmented: the same faces augmented, uint8 or float in -0.5..0.5.
    history: per epoch ``epoch``, ``train_loss``, ``validation_loss``, ``validation_nme``,
        ``seconds`` and ``learning_rate``.
    metrics: as ``run_report`` measures them.
    results: the predictions for the test faces.
    synthetic: whether the faces are rendered.
    beside: by another network's name its NME (N,) on the same test faces.
    portrait: a test face in its whole picture, where the network sees whole pictures.
    snapshots: predictions for some of the test faces during training.
    """

    lesson: Lesson
    recipe: Sequence[tuple[str, str, str]]
    recipe_name: str
    network: nn.Module
    samples: tuple[Tensor, Tensor]
    augmented: tuple[Tensor, Tensor]
    history: list[dict[str, float]]
    metrics: dict[str, Any]
    results: Results
    synthetic: bool
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    portrait: Portrait | None = None
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
        if report.portrait is not None:
            report.portrait.save(work)

    page = write_page(reports / report.lesson.folder, fill)
    write_index(reports)
    return page


def _contents(report: Report, folder: Path) -> dict[str, Any]:
    """All that the template shows, figures saved."""
    gallery = Gallery(folder, SYNTHETIC if report.synthetic else "")
    results = report.results
    errors = error_section(gallery, results, report.beside)
    metrics = {**report.metrics, **_about(report), "why": asdict(errors["findings"])}
    inputs = results.images.float() / 255 - 0.5  # (N, 1, H, W), as the network gets them
    steps = layers(report.network, inputs[:1])
    ordinary = int(results.nme.argsort(stable=True)[len(results.nme) // 2])
    kernels = kernels_and_responses(
        gallery, report.network, inputs[ordinary, None], results.names[ordinary]
    )
    return {
        **errors,
        "lesson": report.lesson,
        "metrics": metrics,
        "baseline": metrics["baseline_mean_face"],
        "meanings": METRICS,
        "recipe": report.recipe,
        "samples": _samples(gallery, report),
        "layers": steps,
        "heaviest": max(range(len(steps)), key=lambda step: steps[step].parameters),
        "curves": _curves(gallery, report),
        "film": report.snapshots and _film(gallery, results, report.snapshots),
        "filters": kernels,
    }


def _about(report: Report) -> dict[str, Any]:
    """What the start page must know of a run beside its metrics."""
    height, width = report.results.images.shape[-2:]
    kinds = [type(module) for module in report.network.modules()]
    counted = {
        "convolution": kinds.count(nn.Conv2d),
        "fully connected layer": kinds.count(nn.Linear),
    }
    return {
        "title": report.lesson.title,
        "question": report.lesson.question,
        "carries_over": report.lesson.carries_over,
        "recipe": report.recipe_name,
        "recipe_values": {name: value for name, value, _ in report.recipe},
        "input": [width, height],
        "n_points": len(report.results.point_ids),
        "layers": " and ".join(f"{n} {name}{'s' * (n > 1)}" for name, n in counted.items() if n),
        "network": type(report.network).__name__,
        "parameters": sum(parameter.numel() for parameter in report.network.parameters()),
        "synthetic": report.synthetic,
    }


def _samples(gallery: Gallery, report: Report) -> list[Picture]:
    """Each face as the network gets it, followed by the same face augmented."""
    pictures = []
    scheme, point_ids = report.results.scheme, report.results.point_ids
    pairs = zip(*report.samples, *report.augmented, strict=True)
    for number, (image, truth, new_image, new_truth) in enumerate(pairs, 1):
        moved = (new_truth - truth).norm(dim=-1).mean()
        words = f"points moved {moved:.1f} px on average"
        if len(truth) == 1:
            words = f"the point moved {moved:.1f} px"
        for name, picture, points, caption in (
            ("sample", image, truth, f"Face {number}"),
            ("augmented", new_image, new_truth, f"Augmented: {words}"),
        ):
            figure = image_figures.face(picture[0], points, scheme, point_ids)
            alt = f"Training face {number}, {name}, its {len(points)} true points as rings"
            pictures.append(gallery.add(f"{name}-{number}", figure, alt, caption))
    return pictures


def _curves(gallery: Gallery, report: Report) -> Picture:
    figure = figures.learning_curves(report.history, report.metrics["baseline_mean_face"])
    alt = "Training and validation loss, and validation NME, per epoch on logarithmic axes"
    return gallery.add("learning-curves", figure, alt, _about_curves(report))


def _about_curves(report: Report) -> str:
    first, last = report.history[0], report.history[-1]
    best = min(report.history, key=lambda row: row["validation_loss"])
    text = (
        f"From epoch {first['epoch']:g} to {last['epoch']:g} the training loss went from "
        f"{first['train_loss']:.3g} to {last['train_loss']:.3g}, the validation loss from "
        f"{first['validation_loss']:.3g} to {last['validation_loss']:.3g}; the lowest, "
        f"{best['validation_loss']:.3g}, came in epoch {best['epoch']:g}."
    )
    if first is last:
        text = (
            f"One epoch, and no curve yet: training loss {last['train_loss']:.3g}, validation loss "
            f"{last['validation_loss']:.3g}."
        )
    if "loss" in (baseline := report.metrics["baseline_mean_face"]):
        ratio = baseline["loss"] / last["validation_loss"]
        text += (
            f" Always predicting the mean face (dotted) costs {baseline['loss']:.3g}, "
            f"{ratio:.3g} times the last validation loss."
        )
    recipe = {name: value for name, value, _ in report.recipe}
    if last["train_loss"] > last["validation_loss"]:
        why = ["it is an average over an epoch in which the network still improved"]
        if not torch.equal(report.augmented[1], report.samples[1]):
            why.append("its faces are augmented, hence harder")
        if recipe.get("flip_tta") == "True":
            why.append("validation takes the mean prediction for a face and its mirror image")
        text += f" The training loss ends above the validation loss: {'; '.join(why)}."
    if no_aug_fraction := float(recipe.get("no_aug_fraction", 0)):
        text += (
            f" In the last {100 * no_aug_fraction:.0f} % of a cycle's steps the training faces "
            "vary less (“no_aug_fraction” in the recipe) and are easier."
        )
    return text


def _film(gallery: Gallery, results: Results, film: Snapshots) -> dict[str, Any]:
    """The faces of the snapshots: with their true points, as numbers to play, and as stills."""
    height, width = results.images.shape[-2:]
    faces, around = [], []
    for place, face in enumerate(film.faces):
        points = torch.cat([results.all_points[face], *film.answers[:, place]])
        figure = image_figures.face(
            results.images[face, 0],
            results.truth[face],
            results.scheme,
            results.point_ids,
            around=points,
        )
        name = results.names[face]
        alt = f"Test face {name}, its true points as rings; crosses show the predictions"
        left, top, right, bottom = image_figures.square_around(points, width, height)
        box = f"{left:.2f} {top:.2f} {right - left:.2f} {bottom - top:.2f}"
        faces.append((gallery.add(f"watched-{place + 1}", figure, alt, name), box))
        around.append(points)
    names = [f"after epoch {epoch}" if epoch else "before training" for epoch in film.epochs]
    means = film.nme.mean(dim=1).tolist()
    half = next(frame for frame, mean in enumerate(means) if mean <= (means[0] + means[-1]) / 2)
    shown = sorted({0, len(means) // 2, len(means) - 1})
    listed = ", ".join(f"{means[frame]:.1f} % {names[frame]}" for frame in shown)
    figure = image_figures.same_faces(
        results.images[film.faces, 0],
        results.truth[film.faces],
        {names[frame]: film.answers[frame] for frame in shown},
        around,
    )
    alt = f"The same faces with the predictions {', '.join(names[frame] for frame in shown)}"
    caption = f"The same faces in still pictures. NME on average: {listed}."
    return {
        "faces": faces,
        "stills": gallery.add("watched-stills", figure, alt, caption),
        "means": means,
        "half": names[half] if half else None,
        "arm": 0.025 if len(results.point_ids) < figures.FEW else 0.01,
        "numbers": {
            "names": names,
            "means": [f"{mean:.1f}" for mean in means],
            "nme": [[f"{error:.1f}" for error in errors] for errors in film.nme.tolist()],
            "answers": film.answers.double().round(decimals=1).tolist(),  # (E, F, k, 2)
            "pairs": neighbours(results.scheme, results.point_ids),
        },
    }
