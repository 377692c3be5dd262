"""The sections of a part's page about the test faces: which are missed, why, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from common.keypoints import IBUG_68, Scheme
from common.metrics import failure_rate, known_mean
from common.photos.pose import head_pose
from common.report import figures, image_figures
from common.report.error_analysis import LEAST_FACES, Findings, find_effects
from common.report.face_measures import (
    ATTRIBUTES,
    Extreme,
    face_attributes,
    mean_shape,
    what_stands_out,
)
from common.report.page import Gallery, Picture

STRONGEST = 3  # effects that are drawn


@dataclass(frozen=True)
class Results:
    """What a network predicted for N faces that it never trained on."""

    scheme: Scheme
    point_ids: tuple[int, ...]  # the k of the scheme's K points that the network learns
    images: Tensor  # uint8 (N, 1, H, W), the crops as the network gets them
    truth: Tensor  # float32 (N, k, 2), pixels of the images; a missing point is NaN
    predicted: Tensor  # float32 (N, k, 2), pixels of the images
    all_points: Tensor  # float32 (N, K, 2), all annotated points, in the same pixels
    nme: Tensor  # (N,), % of the inter-ocular distance
    names: tuple[str, ...]  # stems of the files
    views: tuple[str, ...]  # the view (IMM) or folder (300-W)
    groups: tuple[str, ...]  # the person (IMM) or folder
    colours: tuple[str, ...]  # "grey" or "colour", what the original picture is
    picture_eyes: Tensor  # (N,), outer eye corners' distance in the original picture, pixels
    norm_distance: Tensor  # (N,), what NME divides by, in pixels of the images
    baseline_nme: Tensor | None = None  # (N,), of always predicting the mean training face


def error_section(gallery: Gallery, results: Results, beside: Mapping[str, Tensor]) -> dict:
    """What the page's template shows of the test faces, by its names there; figures are saved.
    beside: by another network's name its NME (N,) on the same faces."""
    nme = results.nme
    order = nme.argsort(stable=True).tolist()
    measured = results.images, results.all_points, results.scheme, results.norm_distance
    attributes = face_attributes(*measured)
    numbers, groupings = _measured(results, attributes)
    findings = find_effects(nme, numbers, groupings, results.groups)
    peculiar = sum(bool(what_stands_out(attributes, face)) for face in order)
    means = _means(nme, results.views)
    offsets = results.predicted - results.truth  # (N, k, 2)
    offsets = offsets / results.norm_distance[:, None, None]
    best = [_face(gallery, results, f"best-{rank}", n) for rank, n in enumerate(order[:4], 1)]
    worst = [
        {
            **_face(gallery, results, f"worst-{rank}", n),
            "view": results.views[n],
            "view_mean": means[results.views[n]],
            **{key: attributes[key][n].item() for key in ("turn", "roll") if key in attributes},
            "reasons": _reasons(attributes, findings, n),
        }
        for rank, n in enumerate(order[:-5:-1], 1)
    ]
    return {
        "mean_nme": nme.mean().item(),
        "ordinary": _face(gallery, results, "ordinary", order[len(order) // 2]),
        "best": best,
        "worst": worst,
        "share_with_reason": 100 * peculiar / len(order),
        "measures": [
            (ATTRIBUTES[key].name, [values.median().item(), *values[order[:-5:-1]].tolist()])
            for key, values in attributes.items()
        ],
        "findings": findings,
        "least_faces": LEAST_FACES,
        "strongest": _strongest(gallery, nme, numbers, groupings, findings),
        "compared": [
            {"name": name, "gain": gain.mean(), "error": stats.sem(gain)}
            for name, gain in ((name, (of - nme).double().numpy()) for name, of in beside.items())
        ],
        "per_point": _per_point(gallery, results, offsets),
        "single_points": _single_points(gallery, results, offsets),
        "per_group": _per_group(gallery, "error-per-group", nme, results.views),
        "cumulative": _cumulative(gallery, results, beside),
    }


def _face(gallery: Gallery, results: Results, name: str, face: int) -> Picture:
    """One test face with the network's prediction."""
    truth, predicted = results.truth[face], results.predicted[face]
    around = torch.cat([results.all_points[face], predicted])
    kind = results.scheme, results.point_ids
    figure = image_figures.face(results.images[face, 0], truth, *kind, predicted, around)
    return gallery.add(name, figure, name=results.names[face], nme=results.nme[face].item())


def _reasons(
    attributes: dict[str, Tensor], findings: Findings, face: int
) -> list[tuple[list[Extreme], bool]]:
    """What sets a face apart, and whether the error goes with that over all faces."""
    found = {effect.name for effect in findings.effects if effect.found}
    reasons = []
    for goes_with_error in (True, False):
        keys = [key for key in attributes if (ATTRIBUTES[key].name in found) is goes_with_error]
        if extremes := what_stands_out({key: attributes[key] for key in keys}, face):
            reasons.append((extremes, goes_with_error))
    return reasons


def _measured(
    results: Results, attributes: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Sequence[str]]]:
    """All that the errors are compared with, by its name on the page: numbers (N,), and groups."""
    numbers = {
        ATTRIBUTES[key].name: values.abs() if ATTRIBUTES[key].sided else values
        for key, values in attributes.items()
    }
    if results.scheme is IBUG_68 and results.all_points.isfinite().all():
        pitch = [abs(head_pose(face.numpy()).pitch) for face in results.all_points]
        numbers["nod, °"] = torch.tensor(pitch)
    numbers["eye distance in the original picture, px"] = results.picture_eyes
    people = {"person": results.groups, "view": results.views}
    groupings = {"folder": results.views} if results.groups == results.views else people
    return numbers, {**groupings, "grey or colour": results.colours}


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
            picture = _per_group(gallery, f"why-{place}", nme, groupings[effect.name])
        else:
            values = numbers[effect.name]
            order = values.argsort(stable=True)
            fifth = len(values) // 5 | 1  # odd, so that a median is that of a face
            low, high = (nme[some].median().item() for some in (order[:fifth], order[-fifth:]))
            figure = figures.error_against(values, nme, effect.name, fifth)
            picture = gallery.add(f"why-{place}", figure, fifth=fifth, low=low, high=high)
        pictures.append({**picture, "effect": effect})
    return pictures


def _means(nme: Tensor, groups: Sequence[str]) -> dict[str, float]:
    """The mean error of each group."""
    names = sorted(set(groups))
    return {name: nme[[other == name for other in groups]].mean().item() for name in names}


def _per_group(gallery: Gallery, name: str, nme: Tensor, groups: Sequence[str]) -> Picture:
    """Every face's error by group, and the groups of the lowest and the highest mean."""
    means = _means(nme, groups)
    lowest, highest = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    figure = figures.error_by_group(nme, groups)
    return gallery.add(name, figure, means=means, lowest=lowest, highest=highest)


def _single_points(gallery: Gallery, results: Results, offsets: Tensor) -> Picture | None:
    """The errors of single points beside the faces', which are means over their points."""
    if len(results.point_ids) == 1:
        return None
    errors = 100 * offsets.norm(dim=-1).flatten()  # (N * k,)
    errors = errors[errors.isfinite()]
    curves = {"faces (mean of their points)": results.nme, "single points": errors}
    figure = figures.cumulative_error(curves)
    return gallery.add("single-points", figure, failed=failure_rate(errors))


def _per_point(gallery: Gallery, results: Results, offsets: Tensor) -> Picture:
    ids, scheme = results.point_ids, results.scheme
    error = 100 * known_mean(offsets.norm(dim=-1), 0)  # (k,)
    across, down = (100 * known_mean(offsets, (0, 1))).tolist()
    shape = mean_shape(results.all_points, scheme, results.norm_distance)
    figure = figures.error_on_mean_face(shape, scheme, ids, offsets)
    least, most = int(error.nan_to_num(torch.inf).argmin()), int(error.nan_to_num(-1).argmax())
    counts = offsets.isfinite().all(dim=-1).sum(dim=0).tolist()  # (k,)
    by_name = zip(map(scheme.name_of, ids), zip(counts, error.tolist(), strict=True), strict=True)
    facts = {"across": across, "down": down, "ellipse": len(ids) < figures.FEW}
    facts["by_name"] = list(by_name) if scheme.point_names else []
    facts["called"] = [scheme.name_of(ids[point]) for point in (least, most)]
    return gallery.add(
        "error-per-point",
        figure,
        smallest=(ids[least], error[least].item()),
        largest=(ids[most], error[most].item()),
        **facts,
    )


def _cumulative(gallery: Gallery, results: Results, beside: Mapping[str, Tensor]) -> Picture:
    nme, curves = results.nme, {"network": results.nme, "mean face": results.baseline_nme, **beside}
    curves = {name: errors for name, errors in curves.items() if errors is not None}
    half, most = nme.double().quantile(torch.tensor([0.5, 0.9], dtype=torch.float64)).tolist()
    facts = {"half": half, "most": most, "failed": int((nme > 8).sum())}
    return gallery.add("cumulative-error", figures.cumulative_error(curves), **facts)
