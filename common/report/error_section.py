"""The sections of a part's page about the test faces: which are missed, why, and where.

Every caption and sentence follows from the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from common.keypoints import IBUG_68, Scheme
from common.photos.pose import head_pose
from common.report import figures, image_figures
from common.report.error_analysis import Findings, find_effects
from common.report.face_measures import (
    ATTRIBUTES,
    face_attributes,
    procrustes_mean,
    quote,
    what_stands_out,
)
from common.report.page import Gallery, Picture, hundredths

STRONGEST = 3  # effects that are drawn


@dataclass(frozen=True)
class Results:
    """What a network predicted for N faces that it never trained on.

    scheme: of the points.
    point_ids: the k of its K points that the network learns.
    images: uint8 (N, 1, H, W), the crops as the network gets them.
    truth, predicted: float32 (N, k, 2), pixels of the images.
    all_points: float32 (N, K, 2), all annotated points, in the same pixels.
    nme: (N,), % of the inter-ocular distance.
    names: stems of the files.
    views: the view (IMM) or folder (300-W) of each face.
    groups: the person (IMM) or folder.
    colours: "grey" or "colour", what the original picture is.
    picture_eyes: (N,), distance of the outer eye corners in the original picture, pixels.
    baseline_nme: (N,), the NME of always predicting the mean training face.
    """

    scheme: Scheme
    point_ids: tuple[int, ...]
    images: Tensor
    truth: Tensor
    predicted: Tensor
    all_points: Tensor
    nme: Tensor
    names: tuple[str, ...]
    views: tuple[str, ...]
    groups: tuple[str, ...]
    colours: tuple[str, ...]
    picture_eyes: Tensor
    baseline_nme: Tensor | None = None


def error_section(gallery: Gallery, results: Results, beside: Mapping[str, Tensor]) -> dict:
    """What the page's template shows of the test faces, by its names there; figures are saved.

    beside: by another network's name its NME (N,) on the same faces.
    """
    order = results.nme.argsort(stable=True).tolist()
    attributes = face_attributes(results.images, results.all_points, results.scheme)
    numbers, groupings = _measured(results, attributes)
    findings = find_effects(results.nme, numbers, groupings, results.groups)
    peculiar = sum(bool(what_stands_out(attributes, face)) for face in order)
    middle = "The face in the middle of the ranking."
    worst = order[:-5:-1]
    return {
        "ordinary": _face(gallery, results, "ordinary", order[len(order) // 2], middle),
        "best": [
            _face(gallery, results, f"best-{rank}", face) for rank, face in enumerate(order[:4], 1)
        ],
        "worst": [
            _face(gallery, results, f"worst-{rank}", n, _why(results, attributes, findings, n))
            for rank, n in enumerate(worst, 1)
        ],
        "share_with_reason": 100 * peculiar / len(order),
        "heads": ["measure", "median of all", *(results.names[face] for face in worst)],
        "measures": [
            (ATTRIBUTES[key].name, [values.median().item(), *values[worst].tolist()])
            for key, values in attributes.items()
        ],
        "findings": findings,
        "effects": _effects(findings),
        "strongest": _strongest(gallery, results.nme, numbers, groupings, findings),
        "compared": [_compared(results.nme, nme, name) for name, nme in beside.items()],
        "per_point": _per_point(gallery, results),
        "per_group": _per_group(gallery, results),
        "cumulative": _cumulative(gallery, results, beside),
    }


def _face(gallery: Gallery, results: Results, name: str, face: int, remark: str = "") -> Picture:
    """One test face with the network's prediction, and what is known of it."""
    predicted, who = results.predicted[face], results.names[face]
    figure = image_figures.face(
        results.images[face, 0],
        results.truth[face],
        results.scheme,
        results.point_ids,
        predicted,
        around=torch.cat([results.all_points[face], predicted]),
    )
    alt = f"Test face {who}: true points as blue rings, predicted as orange crosses"
    caption = f"{who}: NME {results.nme[face]:.1f} %. {remark}".strip()
    return gallery.add(name, figure, alt, caption)


def _why(results: Results, attributes: dict[str, Tensor], findings: Findings, face: int) -> str:
    """What sets a face apart, from its view and its measures, and how that relates to the error."""
    view = results.views[face]
    mean, overall = _means(results.nme, results.views)[view], results.nme.mean()
    pose = ", ".join(quote(key, attributes[key][face]) for key in ("turn", "roll"))
    sentences = [f"Mean of “{view}”: {mean:.1f} %, of all: {overall:.1f} %. Pose: {pose}."]
    found = {effect.name for effect in findings.effects if effect.found}
    for goes_with_error, words in (
        (True, "over all faces the error goes with that"),
        (False, "over all faces no effect of that was found"),
    ):
        some = {
            k: v for k, v in attributes.items() if (ATTRIBUTES[k].name in found) is goes_with_error
        }
        if reasons := "; ".join(what_stands_out(some, face)):
            words = f": {words}" if findings.effects else ""
            sentences.append(f"{reasons[0].upper()}{reasons[1:]}{words}.")
    if len(sentences) == 1:
        sentences.append("No measure sets this face apart from the others.")
    return " ".join(sentences)


def _measured(
    results: Results, attributes: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Sequence[str]]]:
    """All that the errors are compared with, by its name on the page: numbers (N,), and groups."""
    numbers = {
        ATTRIBUTES[key].name: values if ATTRIBUTES[key].even is None else values.abs()
        for key, values in attributes.items()
    }
    if results.scheme is IBUG_68:
        pitch = [abs(head_pose(face.numpy()).pitch) for face in results.all_points]
        numbers["nod, °"] = torch.tensor(pitch)
    numbers["eye distance in the original picture, px"] = results.picture_eyes
    groupings = {"person": results.groups, "view": results.views}
    if results.groups == results.views:
        groupings = {"folder": results.views}
    return numbers, {**groupings, "grey or colour": results.colours}


def _effects(findings: Findings) -> list[tuple[str, list[str]]]:
    """The rows of the table of effects."""
    rows = []
    for effect in findings.effects:
        sign, limit = "ε²", f"noise: up to {hundredths(effect.high)}"
        if not effect.of_groups:
            sign, limit = "ρ", f"{hundredths(effect.low)} to {hundredths(effect.high)}"
        verdict = f"{effect.explains:.0f} %" if effect.found else "no effect found"
        rows.append((effect.name, [f"{sign} {hundredths(effect.size)}", limit, verdict]))
    return rows


def _strongest(
    gallery: Gallery,
    nme: Tensor,
    numbers: dict[str, Tensor],
    groupings: dict[str, Sequence[str]],
    findings: Findings,
) -> list[Picture]:
    """What explains most, drawn; views and folders have a figure of their own."""
    drawn = [effect for effect in findings.effects if effect.name not in ("view", "folder")]
    pictures = []
    for place, effect in enumerate(drawn[:STRONGEST], 1):
        if effect.of_groups:
            groups = groupings[effect.name]
            text, figure = _lowest_and_highest(nme, groups), figures.error_by_group(nme, groups)
        else:
            values = numbers[effect.name]
            order = values.argsort(stable=True)
            fifth = len(values) // 5 | 1  # odd, so that a median is that of a face
            low, high = nme[order[:fifth]].median(), nme[order[-fifth:]].median()
            text = (
                f"The line is the running median of {fifth} faces: {low:.1f} % where the measure "
                f"is lowest, {high:.1f} % where it is highest."
            )
            figure = figures.error_against(values, nme, effect.name, fifth)
        share = f"It explains {effect.explains:.0f} % of the ranks' variance."
        verdict = share if effect.found else "No effect found."
        caption = f"{effect.word[0].upper()}{effect.word[1:]}: {effect.numbers}. {verdict} {text}"
        alt = f"The error of every test face against {effect.name}"
        pictures.append(gallery.add(f"why-{place}", figure, alt, caption))
    return pictures


def _means(nme: Tensor, groups: Sequence[str]) -> dict[str, float]:
    """The mean error of each group."""
    names = sorted(set(groups))
    return {name: nme[[other == name for other in groups]].mean().item() for name in names}


def _lowest_and_highest(nme: Tensor, groups: Sequence[str]) -> str:
    """The caption of ``figures.error_by_group``."""
    means = _means(nme, groups)
    best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    if best == worst:
        return f"Dots are faces, the diamond is their mean, {means[best]:.1f} %."
    return (
        f"Dots are faces, diamonds are means. Lowest mean: {means[best]:.1f} % ({best}); "
        f"highest: {means[worst]:.1f} % ({worst})."
    )


def _per_point(gallery: Gallery, results: Results) -> Picture:
    ids, scheme = results.point_ids, results.scheme
    eye_distance = scheme.eye_distance(results.all_points)  # (N,)
    offsets = (results.predicted - results.truth) / eye_distance[:, None, None]  # (N, k, 2)
    error = 100 * offsets.norm(dim=-1).mean(dim=0)  # (k,)
    across, down = (100 * offsets.mean(dim=(0, 1))).tolist()
    caption = (
        f"On average the predictions lie {abs(across):.1f} % of the eye distance "
        f"{'right' if across > 0 else 'left'} of the truth and {abs(down):.1f} % "
        f"{'below' if down > 0 else 'above'} it."
    )
    if len(ids) > 1:
        low, high = int(error.argmin()), int(error.argmax())
        caption += (
            f" Smallest error: point {ids[low]} with {error[low]:.1f} %; largest: "
            f"point {ids[high]} with {error[high]:.1f} %."
        )
    if len(ids) < figures.FEW:
        caption += " The ellipse holds two standard deviations of the predictions about their mean."
    shape = procrustes_mean(results.all_points, scheme)
    figure = figures.error_on_mean_face(shape, scheme, ids, offsets)
    alt = "Mean face with each learned point coloured by its mean error"
    return gallery.add("error-per-point", figure, alt, caption)


def _per_group(gallery: Gallery, results: Results) -> Picture:
    alt = "Error of every test face in the row of its view or folder, with the row's mean"
    figure = figures.error_by_group(results.nme, results.views)
    caption = _lowest_and_highest(results.nme, results.views)
    return gallery.add("error-per-group", figure, alt, caption)


def _cumulative(gallery: Gallery, results: Results, beside: Mapping[str, Tensor]) -> Picture:
    nme, baseline = results.nme, results.baseline_nme
    curves = {"network": nme} | ({} if baseline is None else {"mean face": baseline}) | {**beside}
    half, most = nme.double().quantile(torch.tensor([0.5, 0.9], dtype=torch.float64)).tolist()
    caption = (
        f"Half of the {len(nme)} faces stay below {half:.1f} %, nine in ten below {most:.1f} %; "
        f"{int((nme > 8).sum())} lie beyond 8 %."
    )
    alt = "Share of test faces whose error stays below each value"
    return gallery.add("cumulative-error", figures.cumulative_error(curves), alt, caption)


def _compared(own: Tensor, other: Tensor, name: str) -> str:
    """Whether the errors (N,) of two networks on the same faces differ, face by face."""
    gain = (other - own).double()
    mean, error = gain.mean().item(), gain.std().item() / math.sqrt(len(gain))
    verdict = "better" if mean > 0 else "worse"
    if abs(mean) < 2 * error:
        verdict += ", but no more than noise may explain,"
    return (
        f"Face by face, the network of this page misses by {abs(mean):.2f} ± {error:.2f} % of the "
        f"eye distance {'less' if mean > 0 else 'more'} than “{name}” (mean and its standard error "
        f"over {len(gain)} faces): it is {verdict} in this one run of each; other seeds move both."
    )
