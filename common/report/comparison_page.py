"""The page that sets networks side by side: ``reports/compare/index.html``.

Every caption and sentence is made from what was measured; ``templates/compare.html`` holds the
page, ``figures`` draws.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.report import figures, first_kernels
from common.report.index_page import write_index
from common.report.page import SYNTHETIC, Gallery, Picture, rounded, templates, write_page

History = list[dict[str, float]]


@dataclass(frozen=True)
class Contestant:
    """What was measured of one network, trained once for each seed.

    milliseconds: for one face. histories: one a seed. errors: one a seed, by the names of
    metrics.json. predicted: (n, K, 2), the first seed's answers for the faces of the page, pixels
    of the crop. kernels: (N, h, w), the first seed's first convolution.
    """

    parameters: int
    multiply_adds: int
    milliseconds: float
    histories: Sequence[History]
    errors: Sequence[dict[str, float]]
    predicted: Tensor
    kernels: Tensor


@dataclass(frozen=True)
class Comparison:
    """Networks by their names, and what they share.

    mean_face: the errors of always answering the mean training shape. images: uint8 (n, H, W),
    the faces that the page shows, with truth (n, K, 2) in their pixels; the first is also what
    filters work on, and is called face. setting: one sentence on faces and machine. people: one
    on who stands in training and test, or "". meanings: of the rows of errors, (key, name, words).
    recipe: (name, value, reason) a line. normalised: names of two networks that differ in batch
    normalisation alone, without and with it.
    """

    networks: dict[str, Contestant]
    mean_face: dict[str, float]
    images: Tensor
    truth: Tensor
    face: str
    setting: str
    people: str
    meanings: Sequence[tuple[str, str, str]]
    recipe: Sequence[tuple[str, str, str]]
    synthetic: bool
    normalised: tuple[str, str]


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write the page, its figures and ``comparison.json`` into ``folder``, and the index above
    it; the page's path.

    What else lies in the folder stays. Raises UserError where it cannot be written.
    """

    def fill(work: Path) -> None:
        (work / "comparison.json").write_text(json.dumps(_numbers(comparison), indent=1))
        page = templates().get_template("compare.html").render(_contents(comparison, work))
        (work / "index.html").write_text(page, encoding="utf-8")

    page = write_page(folder, fill)
    write_index(folder.parent)
    return page


def _numbers(comparison: Comparison) -> dict:
    """Every number of the page, for other programs."""
    networks = {}
    for name, network in comparison.networks.items():
        told = asdict(network)
        networks[name] = {k: v for k, v in told.items() if not isinstance(v, Tensor)}
    return {
        "setting": comparison.setting,
        "people": comparison.people,
        "synthetic": comparison.synthetic,
        "recipe": {name: value for name, value, _ in comparison.recipe},
        "baseline_mean_face": comparison.mean_face,
        "networks": networks,
    }


def _contents(comparison: Comparison, folder: Path) -> dict:
    """All that the template shows, figures saved."""
    gallery = Gallery(folder, SYNTHETIC if comparison.synthetic else "")
    networks = comparison.networks
    seeds = max(len(network.errors) for network in networks.values())
    spread = f"; mean ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    work = [_at_work(gallery, name, comparison) for name in networks]
    return {
        "synthetic": comparison.synthetic,
        "lead": _lead(comparison),
        "setting": comparison.setting,
        "people": comparison.people,
        "caption": f"Measured on the test faces{spread}.",
        "names": [*networks, "mean face"],
        "rows": _rows(comparison),
        "meanings": [(name, meaning) for _, name, meaning in comparison.meanings],
        "curves": _curves(gallery, comparison),
        "told": _normalisation(comparison),
        "size": _size(gallery, comparison),
        "faces": _faces(gallery, comparison),
        "filters": [_filters(gallery, name, network) for name, network in networks.items()],
        "work": work,
        "recipe": comparison.recipe,
    }


def _mean(network: Contestant, key: str) -> float:
    return statistics.mean(errors[key] for errors in network.errors)


def _best(comparison: Comparison) -> str:
    return min(comparison.networks, key=lambda name: _mean(comparison.networks[name], "nme"))


def _lead(comparison: Comparison) -> str:
    networks = comparison.networks
    best = _best(comparison)
    error, always = _mean(networks[best], "nme"), comparison.mean_face["nme"]
    alone = f", the least of {len(networks)} networks" if len(networks) > 1 else ""
    text = (
        f"{best} misses a point by {rounded(error)} % of the distance between the outer eye "
        f"corners{alone}; always answering the mean face would miss by {rounded(always)} %."
    )
    light = min(networks, key=lambda name: networks[name].multiply_adds)
    ratio = networks[best].multiply_adds / networks[light].multiply_adds
    if rounded(ratio) != "1":
        text += (
            f" {light} costs the fewest multiply-adds, {rounded(ratio)} times fewer, and misses by "
            f"{rounded(_mean(networks[light], 'nme'))} %."
        )
    return text


def _rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """A measure's name and one cell for each network and the mean face."""
    networks = list(comparison.networks.values())
    rows = [
        ("parameters", [f"{network.parameters:,}" for network in networks]),
        ("multiply-adds, million", [rounded(n.multiply_adds / 1e6) for n in networks]),
        ("time for a face, ms", [rounded(network.milliseconds) for network in networks]),
        ("time for an epoch, s", [_cell(_seconds(network)) for network in networks]),
        ("epochs", [rounded(len(network.histories[0])) for network in networks]),
    ]
    rows = [(name, [*cells, "–"]) for name, cells in rows]
    for key, name, _ in comparison.meanings:
        cells = [_cell([errors[key] for errors in network.errors]) for network in networks]
        rows.append((name, [*cells, rounded(comparison.mean_face[key])]))
    return rows


def _seconds(network: Contestant) -> list[float]:
    """Seconds of each seed's middle epoch, which no other work on the machine drew out."""
    return [statistics.median(row["seconds"] for row in history) for history in network.histories]


def _cell(values: Sequence[float]) -> str:
    """Mean ± standard deviation, this with two digits and the mean to the same place."""
    mean, deviation = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0
    if not deviation:
        return rounded(mean) + " ± 0" * (len(values) > 1)
    places = max(1 - math.floor(math.log10(deviation)), 0)
    return f"{mean:,.{places}f} ± {deviation:,.{places}f}"


def _curves(gallery: Gallery, comparison: Comparison) -> Picture:
    ends = {
        name: statistics.mean(history[-1]["validation_nme"] for history in network.histories)
        for name, network in comparison.networks.items()
    }
    order = ", ".join(f"{name} {rounded(ends[name])} %" for name in sorted(ends, key=ends.get))
    figure = figures.curves_together({n: c.histories for n, c in comparison.networks.items()})
    caption = (
        "Loss and NME on the test faces, which are watched and choose nothing; thin lines are the "
        f"loss on the training faces. After the last epoch: {order}."
    )
    alt = "Loss and NME of every network per epoch on logarithmic axes"
    return gallery.add("curves", figure, alt, caption)


def _normalisation(comparison: Comparison) -> list[str]:
    """Whether batch normalisation was better, and after how many epochs; nothing if unknown."""
    if not set(comparison.normalised) <= comparison.networks.keys():
        return []
    plain, normal = (comparison.networks[name] for name in comparison.normalised)
    pairs = list(zip(plain.histories, normal.histories, strict=False))
    ahead = [
        statistics.mean(
            before[epoch]["validation_nme"] - after[epoch]["validation_nme"]
            for before, after in pairs
        )
        for epoch in range(min(len(history) for pair in pairs for history in pair))
    ]
    gains = [before[-1]["validation_nme"] - after[-1]["validation_nme"] for before, after in pairs]
    gain, verdict = statistics.mean(gains), "better" if statistics.mean(gains) > 0 else "worse"
    text = (
        f"With batch normalisation, {comparison.normalised[1]} ends {rounded(abs(gain))} % of the "
        f"eye distance {verdict} than {comparison.normalised[0]}"
    )
    if len(gains) > 1:
        agree = sum((one > 0) == (gain > 0) for one in gains)
        text += f" on average, and {verdict} in {agree} of {len(gains)} seeds"
    lead = sum(one > 0 for one in ahead)
    text += f". It was ahead after {lead} of {len(ahead)} epochs"
    if gain > 0 and lead < len(ahead):
        behind = max(epoch for epoch, one in enumerate(ahead, 1) if one <= 0)
        text += f", and stays ahead from epoch {behind + 1} on"
    if len(gains) == 1:
        text += "; this is one seed of each, and others move it"
    return [f"{text}."]


def _size(gallery: Gallery, comparison: Comparison) -> Picture:
    networks = comparison.networks
    points = {name: (n.parameters, _mean(n, "nme")) for name, n in networks.items()}
    best, large = _best(comparison), max(networks, key=lambda name: networks[name].parameters)
    caption = f"{best} has the smallest error with {networks[best].parameters:,} parameters"
    if large == best:
        caption += ", the most of all." if len(networks) > 1 else "."
    else:
        caption += "; "
        ratio = rounded(networks[large].parameters / networks[best].parameters)
        many = "about as many" if ratio == "1" else f"{ratio} times as many"
        caption += f"{large} has {many} and misses by {points[large][1]:.1f} %."
    figure = figures.size_against_error(points)
    return gallery.add("size", figure, "Parameters against NME, a dot for each network", caption)


def _faces(gallery: Gallery, comparison: Comparison) -> Picture:
    answers = {name: network.predicted for name, network in comparison.networks.items()}
    figure = figures.same_faces(comparison.images, comparison.truth, answers)
    apart = {
        name: (predicted - comparison.truth).norm(dim=-1).mean().item()
        for name, predicted in answers.items()
    }
    caption = (
        "Test faces from the easiest (top) to the hardest for all networks together, at even steps "
        "through their ranking. Blue rings are the truth, orange crosses the answers of the first "
        "seed, on average off by "
        + ", ".join(f"{pixels:.1f} px ({name})" for name, pixels in apart.items())
        + "."
    )
    return gallery.add("faces", figure, "Ten test faces, one a row, one network a column", caption)


def _filters(gallery: Gallery, name: str, network: Contestant) -> Picture:
    tastes = [first_kernels.taste(kernel) for kernel in network.kernels]
    kinds = {kind: sum(one.kind == kind for one in tastes) for kind in first_kernels.KINDS}
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    count, height, width = network.kernels.shape
    caption = (
        f"{name}: {count} filters of {height} × {width} pixels; by their purest part {counted}."
    )
    figure = figures.filters(network.kernels[:, None])
    return gallery.add(f"filters-{name}", figure, f"First filters of {name} as tiles", caption)


def _at_work(gallery: Gallery, name: str, comparison: Comparison) -> tuple[Picture, list[str]]:
    """Some filters of a network and what they make of a face; one sentence for each."""
    chosen = first_kernels.choose(comparison.networks[name].kernels)
    weights = comparison.networks[name].kernels[list(chosen)]
    maps = torch.stack([first_kernels.respond(comparison.images[0], kernel) for kernel in weights])
    names = [f"filter {index + 1}" for index in chosen]
    figure = figures.responses(weights, maps, names)
    caption = (
        f"{name}: {len(chosen)} of its filters, and what they make of {comparison.face}. Orange is "
        "above zero and purple below."
    )
    alt = f"Filters of {name} and their answers to a face"
    sentences = [
        f"{label[0].upper()}{label[1:]}: {told}"
        for label, told in zip(names, chosen.values(), strict=True)
    ]
    return gallery.add(f"work-{name}", figure, alt, caption), sentences
