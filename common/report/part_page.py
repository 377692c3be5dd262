"""The page that a run writes.

Every caption and sentence is made from the numbers of the run; ``page`` knows what all pages are
made with, ``figures`` draws.
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

from common.keypoints import IBUG_68, Scheme, neighbours
from common.metrics import METRICS
from common.photos.pose import head_pose
from common.report import figures
from common.report.error_analysis import Findings, find_effects, tell
from common.report.face_measures import (
    ATTRIBUTES,
    face_attributes,
    mean_shape,
    quote,
    what_stands_out,
)
from common.report.index_page import Portrait, write_index
from common.report.network_summary import filters_and_responses, layers
from common.report.page import SYNTHETIC, Gallery, Picture, hundredths, templates, write_page
from common.snapshots import Snapshots

STRONGEST = 3  # effects that are drawn


@dataclass(frozen=True)
class Lesson:
    """The words that a part gives to its page.

    folder: where the page lies below ``reports``, e.g. ``"part1"``. question: what is asked.
    notes: facts to know before reading the numbers. try_next: what to change and watch.
    carries_over: what the next part takes from this one, for the start page. What stands between
    backticks in these is code.
    """

    folder: str
    title: str
    question: str
    notes: tuple[str, ...]
    try_next: tuple[str, ...]
    carries_over: str = ""


@dataclass(frozen=True)
class TestFaces:
    """What the network answered on N faces that it never trained on.

    images: uint8 (N, 1, H, W), the crops as the network gets them. All points in pixels of these:
    truth, predicted: float32 (N, k, 2), the k points that the network learns; all_points:
    float32 (N, K, 2), all that are annotated. nme: (N,), % of the inter-ocular distance, and
    baseline_nme the same for always answering the mean training shape. names: the file's stem.
    views: the view (IMM) or folder (300-W). groups: the person (IMM) or folder. colours: "grey" or
    "colour", what the original picture is. picture_eyes: (N,), the distance of the outer eye
    corners in its pixels.
    """

    images: Tensor
    truth: Tensor
    predicted: Tensor
    nme: Tensor
    all_points: Tensor
    names: tuple[str, ...]
    views: tuple[str, ...]
    groups: tuple[str, ...]
    colours: tuple[str, ...]
    picture_eyes: Tensor
    baseline_nme: Tensor | None = None


@dataclass(frozen=True)
class Report:
    """Everything that a part's page shows.

    recipe: (name, value, reason) a line. network: called on float32 (1, 1, H, W) in -0.5..0.5.
    point_ids: the indices of the scheme's points that the network learns. samples: images uint8
    (n, 1, H, W) and points (n, k, 2) in their pixels, as the network gets them; augmented: the
    same faces augmented, uint8 or float in -0.5..0.5. history: per epoch ``epoch``,
    ``train_loss``, ``validation_loss``, ``validation_nme``, ``seconds``, ``learning_rate``.
    metrics: by the names of ``METRICS``, with ``per_group`` (name -> metrics),
    ``baseline_mean_face`` (metrics, and ``loss`` in the unit of the history's losses),
    ``seconds``, ``epochs``, ``n_train``, ``n_test`` and ``dataset``, and ``beside``: the measures
    of other networks on the same test faces by their names, whose ``TestFaces.nme`` are here in
    beside. portrait: a test face in its whole picture, where the network sees whole pictures.
    film: what the network answered for some of the test faces while it learned.
    """

    lesson: Lesson
    recipe: Sequence[tuple[str, str, str]]
    recipe_name: str
    network: nn.Module
    scheme: Scheme
    point_ids: tuple[int, ...]
    samples: tuple[Tensor, Tensor]
    augmented: tuple[Tensor, Tensor]
    history: list[dict[str, float]]
    metrics: dict[str, Any]
    test: TestFaces
    synthetic: bool
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    portrait: Portrait | None = None
    film: Snapshots | None = None


def write_report(reports: Path, report: Report) -> Path:
    """Write ``reports/<folder>/`` (page, figures, metrics.json, history.csv) and the index.

    Returns the page's path; raises UserError where it cannot be written.
    """

    def fill(work: Path) -> None:
        contents = _contents(report, work)
        metrics = json.dumps(contents["metrics"], indent=1)
        _write_history(work / "history.csv", report.history)
        (work / "metrics.json").write_text(metrics, encoding="utf-8")
        page = templates().get_template("part.html").render(contents)
        (work / "index.html").write_text(page, encoding="utf-8")
        if report.portrait is not None:
            report.portrait.save(work)

    page = write_page(reports / report.lesson.folder, fill)
    write_index(reports)
    return page


def _about(report: Report) -> dict[str, Any]:
    """What the start page must know of a run beside its metrics."""
    height, width = report.test.images.shape[-2:]
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
        "n_points": len(report.point_ids),
        "layers": " and ".join(f"{n} {name}{'s' * (n > 1)}" for name, n in counted.items() if n),
        "network": type(report.network).__name__,
        "parameters": sum(parameter.numel() for parameter in report.network.parameters()),
        "synthetic": report.synthetic,
    }


def _contents(report: Report, folder: Path) -> dict[str, Any]:
    """All that the template shows, figures saved."""
    gallery = Gallery(folder, SYNTHETIC if report.synthetic else "")
    test = report.test
    order = test.nme.argsort(stable=True).tolist()
    ordinary = order[len(order) // 2]
    attributes = face_attributes(test.images, test.all_points, report.scheme)
    numbers, groupings = _measured(test, attributes, report.scheme)
    findings = find_effects(test.nme, numbers, groupings, test.groups)
    metrics = {**report.metrics, **_about(report), "why": asdict(findings)}
    peculiar = [face for face in order if what_stands_out(attributes, face)]
    steps = layers(report.network, _as_input(test.images[:1]))
    height, width = test.images.shape[-2:]
    return {
        "lesson": report.lesson,
        "metrics": metrics,
        "baseline": metrics["baseline_mean_face"],
        "meanings": METRICS,
        "recipe": report.recipe,
        "height": height,
        "width": width,
        "n_points": len(report.point_ids),
        "samples": _samples(gallery, report),
        "layers": steps,
        "heaviest": max(range(len(steps)), key=lambda step: steps[step].parameters),
        "curves": _curves(gallery, report),
        "film": _film(gallery, report, report.film) if report.film else None,
        "ordinary": _answered(
            gallery, report, "ordinary", ordinary, "The face in the middle of the ranking."
        ),
        "best": [
            _answered(gallery, report, f"best-{rank}", face)
            for rank, face in enumerate(order[:4], 1)
        ],
        "worst": [
            _answered(
                gallery, report, f"worst-{rank}", face, _why(test, attributes, findings, face)
            )
            for rank, face in enumerate(reversed(order[-4:]), 1)
        ],
        "share_with_reason": 100 * len(peculiar) / len(order),
        "measures": _measures(test, attributes, order[:-5:-1]),
        "findings": findings,
        "told": tell(findings),
        "effects": _effects(findings),
        "strongest": _strongest(gallery, test, numbers, groupings, findings),
        "compared": [_compared(test.nme, nme, name) for name, nme in report.beside.items()],
        "per_point": _per_point(gallery, report),
        "per_group": _per_group(gallery, report),
        "cumulative": _cumulative(gallery, report),
        "filters": filters_and_responses(
            gallery,
            report.network,
            _as_input(test.images[ordinary : ordinary + 1]),
            test.names[ordinary],
        ),
    }


def _samples(gallery: Gallery, report: Report) -> list[Picture]:
    """Each face as the network gets it, followed by the same face augmented."""
    pictures = []
    images, points = report.samples
    for number, (image, truth, new_image, new_truth) in enumerate(
        zip(images[:, 0], points, report.augmented[0][:, 0], report.augmented[1], strict=True), 1
    ):
        moved = (new_truth - truth).norm(dim=-1).mean()
        words = f"points moved {moved:.1f} px on average"
        if len(truth) == 1:
            words = f"the point moved {moved:.1f} px"
        for name, picture, where, caption in (
            ("sample", image, truth, f"Face {number}"),
            (
                "augmented",
                new_image,
                new_truth,
                f"Augmented: {words}",
            ),
        ):
            figure = figures.face(picture, where, report.scheme, report.point_ids)
            alt = f"Training face {number}, {name}, its {len(where)} true points as rings"
            pictures.append(gallery.add(f"{name}-{number}", figure, alt, caption))
    return pictures


def _curves(gallery: Gallery, report: Report) -> Picture:
    first, last = report.history[0], report.history[-1]
    best = min(report.history, key=lambda row: row["validation_loss"])
    baseline = report.metrics["baseline_mean_face"]
    caption = (
        f"From epoch {first['epoch']:g} to {last['epoch']:g} the training loss went from "
        f"{first['train_loss']:.3g} to {last['train_loss']:.3g}, the validation loss from "
        f"{first['validation_loss']:.3g} to {last['validation_loss']:.3g}; the lowest, "
        f"{best['validation_loss']:.3g}, came in epoch {best['epoch']:g}."
    )
    if first is last:
        caption = (
            f"One epoch, and no curve yet: training loss {last['train_loss']:.3g}, validation loss "
            f"{last['validation_loss']:.3g}."
        )
    if "loss" in baseline:
        ratio = baseline["loss"] / last["validation_loss"]
        caption += (
            f" Always answering the mean face (dotted) costs {baseline['loss']:.3g}, "
            f"{ratio:.3g} times the last validation loss."
        )
    recipe = {name: value for name, value, _ in report.recipe}
    if last["train_loss"] > last["validation_loss"]:
        why = ["it is an average over an epoch in which the network still improved"]
        if not torch.equal(report.augmented[1], report.samples[1]):
            why.append("its faces are augmented, hence harder")
        if recipe.get("flip_tta") == "True":
            why.append("validation takes the mean of the answers for a face and its mirror image")
        caption += f" The training loss ends above the validation loss: {'; '.join(why)}."
    if no_aug_fraction := float(recipe.get("no_aug_fraction", 0)):
        caption += (
            f" In the last {100 * no_aug_fraction:.0f} % of a cycle's steps the faces learned from "
            "vary less (“no_aug_fraction” in the recipe) and are easier."
        )
    alt = "Training and validation loss, and validation NME, per epoch on logarithmic axes"
    figure = figures.learning_curves(report.history, baseline)
    return gallery.add("learning-curves", figure, alt, caption)


def _answered(gallery: Gallery, report: Report, name: str, face: int, remark: str = "") -> Picture:
    """One test face with the network's answer, and what is known of it."""
    test = report.test
    figure = figures.face(
        test.images[face, 0],
        test.truth[face],
        report.scheme,
        report.point_ids,
        test.predicted[face],
        around=torch.cat([test.all_points[face], test.predicted[face]]),
    )
    alt = f"Test face {test.names[face]}: true points as blue rings, predicted as orange crosses"
    caption = f"{test.names[face]}: NME {test.nme[face]:.1f} %. {remark}".strip()
    return gallery.add(name, figure, alt, caption)


def _why(test: TestFaces, attributes: dict[str, Tensor], findings: Findings, face: int) -> str:
    """What sets a face apart, from its view and its measures, and what that says of its error."""
    view = test.views[face]
    mean, overall = _means(test.nme, test.views)[view], test.nme.mean()
    pose = ", ".join(quote(key, attributes[key][face]) for key in ("turn", "roll"))
    told = [f"Mean of “{view}”: {mean:.1f} %, of all: {overall:.1f} %. Pose: {pose}."]
    found = {effect.name for effect in findings.effects if effect.found}
    for goes_with_error, words in (
        (True, "over all faces the error goes with that"),
        (False, "over all faces no effect of that was found"),
    ):
        some = {
            k: v for k, v in attributes.items() if (ATTRIBUTES[k].name in found) == goes_with_error
        }
        if reasons := "; ".join(what_stands_out(some, face)):
            words = f": {words}" if findings.effects else ""
            told.append(f"{reasons[0].upper()}{reasons[1:]}{words}.")
    if len(told) == 1:
        told.append("No measure sets this face apart from the others.")
    return " ".join(told)


def _measures(
    test: TestFaces, attributes: dict[str, Tensor], faces: list[int]
) -> tuple[list[str], list[tuple[str, list[float]]]]:
    """A table of the median of all and of some faces, one a column: its heads and its rows."""
    heads = ["median of all", *(test.names[face] for face in faces)]
    rows = [
        (ATTRIBUTES[key].name, [values.median().item(), *values[faces].tolist()])
        for key, values in attributes.items()
    ]
    return heads, rows


def _measured(
    test: TestFaces, attributes: dict[str, Tensor], scheme: Scheme
) -> tuple[dict[str, Tensor], dict[str, Sequence[str]]]:
    """All that the errors are held against, by its name on the page: numbers (N,), and groups."""
    numbers = {
        ATTRIBUTES[key].name: values if ATTRIBUTES[key].even is None else values.abs()
        for key, values in attributes.items()
    }
    if scheme is IBUG_68:
        pitch = [abs(head_pose(face.numpy()).pitch) for face in test.all_points]
        numbers["nod, °"] = torch.tensor(pitch)
    numbers["eye distance in the original picture, px"] = test.picture_eyes
    if test.groups == test.views:
        groupings = {"folder": test.views}
    else:
        groupings = {"person": test.groups, "view": test.views}
    return numbers, {**groupings, "grey or colour": test.colours}


def _effects(findings: Findings) -> list[tuple[str, list[str]]]:
    """The rows of the table of effects."""
    rows = []
    for effect in findings.effects:
        sign, against = "ε²", f"chance: up to {hundredths(effect.high)}"
        if not effect.of_groups:
            sign, against = "ρ", f"{hundredths(effect.low)} to {hundredths(effect.high)}"
        verdict = f"{effect.explains:.0f} %" if effect.found else "no effect found"
        rows.append((effect.name, [f"{sign} {hundredths(effect.size)}", against, verdict]))
    return rows


def _strongest(
    gallery: Gallery,
    test: TestFaces,
    numbers: dict[str, Tensor],
    groupings: dict[str, Sequence[str]],
    findings: Findings,
) -> list[Picture]:
    """What explains most, drawn; views and folders have a figure of their own."""
    drawn = [effect for effect in findings.effects if effect.name not in ("view", "folder")]
    pictures = []
    for place, effect in enumerate(drawn[:STRONGEST], 1):
        verdict = f"It explains {effect.explains:.0f} % of the ranks' variance."
        verdict = verdict if effect.found else "No effect found."
        if effect.of_groups:
            groups = groupings[effect.name]
            told = _lowest_and_highest(_means(test.nme, groups))
            figure = figures.error_by_group(test.nme, groups)
        else:
            values = numbers[effect.name]
            order = values.argsort(stable=True)
            fifth = len(values) // 5 | 1  # odd, so that a median is that of a face
            low, high = test.nme[order[:fifth]].median(), test.nme[order[-fifth:]].median()
            told = (
                f"The line is the running median of {fifth} faces: {low:.1f} % where the measure "
                f"is lowest, {high:.1f} % where it is highest."
            )
            figure = figures.error_against(values, test.nme, effect.name, fifth)
        caption = f"{effect.word[0].upper()}{effect.word[1:]}: {effect.numbers}. {verdict} {told}"
        alt = f"The error of every test face against {effect.name}"
        pictures.append(gallery.add(f"why-{place}", figure, alt, caption))
    return pictures


def _film(gallery: Gallery, report: Report, film: Snapshots) -> dict[str, Any]:
    """The faces that were watched: with their true points, as numbers to play, and as stills."""
    test, watched = report.test, film.faces
    height, width = test.images.shape[-2:]
    faces, around = [], []
    for place, face in enumerate(watched):
        around.append(torch.cat([test.all_points[face], *film.predictions[:, place]]))
        figure = figures.face(
            test.images[face, 0],
            test.truth[face],
            report.scheme,
            report.point_ids,
            around=around[-1],
        )
        alt = f"Test face {test.names[face]}, its true points as rings; crosses show the answers"
        left, top, right, bottom = figures.square_around(around[-1], width, height)
        box = f"{left:.2f} {top:.2f} {right - left:.2f} {bottom - top:.2f}"
        faces.append((gallery.add(f"watched-{place + 1}", figure, alt, test.names[face]), box))
    names = [f"after epoch {epoch}" if epoch else "before training" for epoch in film.epochs]
    means = film.nme.mean(dim=1).tolist()
    half = next(frame for frame, mean in enumerate(means) if mean <= (means[0] + means[-1]) / 2)
    shown = sorted({0, len(means) // 2, len(means) - 1})
    listed = ", ".join(f"{means[frame]:.1f} % {names[frame]}" for frame in shown)
    stills = gallery.add(
        "watched-stills",
        figures.same_faces(
            test.images[watched, 0],
            test.truth[watched],
            {names[frame]: film.predictions[frame] for frame in shown},
            around,
        ),
        f"The watched faces with the answers {', '.join(names[frame] for frame in shown)}",
        f"The same faces in still pictures. NME on average: {listed}.",
    )
    return {
        "faces": faces,
        "stills": stills,
        "names": names,
        "means": means,
        "half": names[half] if half else None,
        "arm": 0.025 if len(report.point_ids) < figures.FEW else 0.01,
        "numbers": {
            "names": names,
            "means": [f"{mean:.1f}" for mean in means],
            "nme": [[f"{error:.1f}" for error in errors] for errors in film.nme.tolist()],
            "answers": [
                [[[round(x, 1), round(y, 1)] for x, y in face] for face in frame]
                for frame in film.predictions.tolist()
            ],
            "pairs": neighbours(report.scheme, report.point_ids),
        },
    }


def _means(nme: Tensor, groups: Sequence[str]) -> dict[str, float]:
    """The mean error of each group."""
    names = sorted(set(groups))
    return {name: nme[[other == name for other in groups]].mean().item() for name in names}


def _lowest_and_highest(means: dict[str, float]) -> str:
    """The caption of ``figures.error_by_group``."""
    best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    if best == worst:
        return f"Dots are faces, the diamond is their mean, {means[best]:.1f} %."
    return (
        f"Dots are faces, diamonds are means. Lowest mean: {means[best]:.1f} % ({best}); "
        f"highest: {means[worst]:.1f} % ({worst})."
    )


def _per_point(gallery: Gallery, report: Report) -> Picture:
    test = report.test
    eye_distance = report.scheme.eye_distance(test.all_points)  # (N,)
    offsets = (test.predicted - test.truth) / eye_distance[:, None, None]  # (N, k, 2)
    error = 100 * offsets.norm(dim=-1).mean(dim=0)  # (k,)
    across, down = (100 * offsets.mean(dim=(0, 1))).tolist()
    caption = (
        f"On average the answers lie {abs(across):.1f} % of the eye distance "
        f"{'right' if across > 0 else 'left'} of the truth and {abs(down):.1f} % "
        f"{'below' if down > 0 else 'above'} it. "
    )
    if len(report.point_ids) > 1:
        low, high = int(error.argmin()), int(error.argmax())
        caption += (
            f"Smallest error: point {report.point_ids[low]} with {error[low]:.1f} %; largest: "
            f"point {report.point_ids[high]} with {error[high]:.1f} %. "
        )
    if len(report.point_ids) < figures.FEW:
        caption += "The ellipse holds two standard deviations of the answers around their mean."
    shape = mean_shape(test.all_points, report.scheme)
    figure = figures.error_on_mean_face(shape, report.scheme, report.point_ids, offsets)
    alt = "Mean face with each learned point coloured by its mean error"
    return gallery.add("error-per-point", figure, alt, caption.strip())


def _per_group(gallery: Gallery, report: Report) -> Picture:
    test = report.test
    caption = _lowest_and_highest(_means(test.nme, test.views))
    alt = "Error of every test face in the row of its view or folder, with the row's mean"
    figure = figures.error_by_group(test.nme, test.views)
    return gallery.add("error-per-group", figure, alt, caption)


def _cumulative(gallery: Gallery, report: Report) -> Picture:
    test = report.test
    curves = {"network": test.nme}
    if test.baseline_nme is not None:
        curves["mean face"] = test.baseline_nme
    curves |= report.beside
    half, most = test.nme.double().quantile(torch.tensor([0.5, 0.9], dtype=torch.float64)).tolist()
    failed = int((test.nme > 8).sum())
    caption = (
        f"Half of the {len(test.nme)} faces stay below {half:.1f} %, nine in ten below "
        f"{most:.1f} %; {failed} lie beyond 8 %."
    )
    alt = "Share of test faces whose error stays below each value"
    return gallery.add("cumulative-error", figures.cumulative_error(curves), alt, caption)


def _compared(own: Tensor, other: Tensor, name: str) -> str:
    """What the errors (N,) of two networks on the same faces say; one face counts as one draw."""
    gain = (other - own).double()
    mean, error = gain.mean().item(), gain.std().item() / math.sqrt(len(gain))
    verdict = "better" if mean > 0 else "worse"
    if abs(mean) < 2 * error:
        verdict = f"{verdict}, but no more than chance may give,"
    return (
        f"Face by face, the network of this page misses by {abs(mean):.2f} ± {error:.2f} % of the "
        f"eye distance {'less' if mean > 0 else 'more'} than “{name}” (mean and its standard error "
        f"over {len(gain)} faces): it is {verdict} in this one run of each; other seeds move both."
    )


def _as_input(images: Tensor) -> Tensor:
    """uint8 (N, 1, H, W) -> float32 in -0.5..0.5, as the networks get it."""
    return images.float() / 255 - 0.5


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
