"""The page of an ablation: what each change of a recipe is worth, over several seeds.

An ablation is a dict, saved as ``ladder.json``: ``part``, ``setting`` (sentences on faces and
machines), ``command``, ``torch``, ``synthetic``, ``seeds``, ``mean_face`` (its NME in %) and
``groups``, the tables, the main one first. A group is a dict of ``title``, ``text``, ``results``,
``cumulative`` (whether each result is compared with the one before, or all with the first) and
``comparable`` (whether the mean face was evaluated on the same faces and points).
Every sentence follows from the numbers. The same numbers give ``docs/ladders.md``.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.stats import ttest_ind, ttest_rel

from common.report import figures
from common.report.index_page import write_index
from common.report.page import (
    SYNTHETIC,
    Gallery,
    Picture,
    duration,
    hundredths,
    rounded,
    templates,
    write_page,
)
from common.system.errors import UserError

STUCK = 0.9  # of the mean face's error: a run above it has learned next to nothing
RENAMED = {"words": "text", "rungs": "results", "climb": "cumulative", "alike": "comparable"}
METHOD = (
    "NME is the mean distance between predicted and true points, in % of the distance between the "
    "outer eye corners. ± is one standard deviation over the seeds. Differences are taken between "
    "runs of the same seed (paired t-test) or, where one side has more runs, between all runs "
    "(two-sample t-test with pooled variance); their 95 % confidence interval is in brackets. "
    "Where it contains 0, random variation may explain the difference; of changes without any "
    "effect, about one in twenty still appears significant. Times are means over the runs on the "
    "device of the first."
)
Gain = tuple[float, float, float]  # by how much an error fell: mean, and its interval's two ends
COLUMNS = "name", "change", "nme", "gain", "seconds", "parameters", "why"
Group = dict[str, Any]
Ablation = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What was measured of one change.

    name, change, why: the change's name, the values that it sets, and its reason.
    errors: NME in %, one per seed.
    seconds: processor time of the training, one per seed.
    devices: what each seed was trained on; seconds of different ones cannot be compared.
    parameters: of the network.
    missing: why there are no errors.
    """

    name: str
    change: str
    why: str
    errors: list[float]
    seconds: list[float]
    devices: list[str]
    parameters: int
    missing: str = ""


def gain(before: Sequence[float], after: Sequence[float]) -> Gain:
    """By how much the error fell from ``before`` to ``after``, each one error per seed.

    Returns the difference of the means and its 95 % confidence interval, by Student's t: paired
    where both have as many seeds, else of two samples with pooled variance. The interval is nan
    where both have a single seed.
    """
    mean = statistics.mean(before) - statistics.mean(after)
    if len(before) == len(after) == 1:
        return mean, math.nan, math.nan
    test = ttest_rel if len(before) == len(after) else ttest_ind
    interval = test(before, after).confidence_interval(0.95)
    return mean, float(interval.low), float(interval.high)


def gains(group: Group) -> list[Gain | None]:
    """The gain of each result over what it is compared with; None where either has no errors."""
    found: list[Gain | None] = []
    reference: list[float] = []
    for result in group["results"]:
        known = reference and result.errors
        found.append(gain(reference, result.errors) if known else None)
        if result.errors and (group["cumulative"] or not reference):
            reference = result.errors
    return found


def spread(errors: Sequence[float]) -> str:
    """Mean ± standard deviation over the seeds, the mean alone of a single one."""
    if not errors:
        return "–"
    text = hundredths(statistics.mean(errors))
    return f"{text} ± {hundredths(statistics.stdev(errors))}" if len(errors) > 1 else text


def verdict(one: Gain | None) -> str:
    """A gain in words, with its interval."""
    if one is None:
        return "–"
    mean, *ends = one
    text = f"{hundredths(abs(mean))} {'less' if mean > 0 else 'more'}"
    if math.isnan(ends[0]):
        return f"{text}, one seed"
    low, high = ends if mean > 0 else (-ends[1], -ends[0])
    return f"{text} ({hundredths(low)} to {hundredths(high)})"


def conclusions(group: Group, mean_face: float) -> list[str]:
    """What a table says, in sentences. mean_face: its NME in %."""
    named = zip(group["results"], gains(group), strict=True)
    changes = {result.name: one for result, one in named if one is not None}
    if not changes:
        return []
    clear = {name: mean for name, (mean, low, high) in changes.items() if low > 0 or high < 0}
    single = [name for name, (_, low, _) in changes.items() if math.isnan(low)]
    unclear = [name for name in changes if name not in clear and name not in single]
    sentences = []
    for sign, word in ((1, "smaller"), (-1, "larger")):
        largest = sorted((-sign * mean, name) for name, mean in clear.items() if sign * mean > 0)
        if largest:
            listed = ", ".join(f"{name} (by {hundredths(-size)})" for size, name in largest)
            counted = f"{len(largest)} of {len(changes)} changes"
            sentences.append(f"{counted} made the error significantly {word}: {listed}.")
    if unclear:
        sentences.append(f"No significant difference: {', '.join(unclear)}.")
    if len(single) == len(changes):
        sentences.append("One seed cannot tell any of the differences from random variation.")
    elif single:
        sentences.append(f"Inconclusive, as of one seed each: {', '.join(single)}.")
    limit = STUCK * mean_face if group["comparable"] else math.inf
    stuck = {one.name: sum(error > limit for error in one.errors) for one in group["results"]}
    if listed := ", ".join(f"{name} ({count})" for name, count in stuck.items() if count):
        sentences.append(f"Runs less than a tenth better than the mean face: {listed}.")
    return sentences


def lead(ablation: Ablation) -> str:
    """All changes together in one sentence."""
    results, mean_face = ablation["groups"][0]["results"], ablation["mean_face"]
    measured = [result for result in results if result.errors]
    first, last = measured[0], measured[-1]
    whole = "all" if measured == results else f"{len(measured) - 1} of"
    begun, whose = statistics.mean(first.errors), "the error"
    if begun > STUCK * mean_face:
        begun, whose = mean_face, "the mean face's error"
    factor = begun / statistics.mean(last.errors)
    changed = (
        f"divided by {rounded(factor)}" if factor >= 1 else f"{rounded(1 / factor)} times as large"
    )
    return (
        f"Always predicting the mean face gives an NME of {hundredths(mean_face)} %, {first.name} "
        f"{spread(first.errors)} %, and {whole} {len(results) - 1} changes {spread(last.errors)} "
        f"%: {whose} is {changed}."
    )


def rows(group: Group) -> list[dict[str, str]]:
    """The cells of a table, all as text.

    Where results have different numbers of seeds, each shows its own. The time is the mean over
    the runs on the device of the first.
    """
    uneven = len({len(result.errors) for result in group["results"] if result.errors}) > 1
    cells = []
    for result, one in zip(group["results"], gains(group), strict=True):
        count = len(result.errors)
        seeds = f" ({count} seed{'s' if count > 1 else ''})" if uneven and count else ""
        timed = zip(result.seconds, result.devices, strict=True)
        seconds = [one for one, device in timed if device == result.devices[0]]
        cells.append(
            {
                "name": result.name,
                "change": result.change,
                "why": result.missing or result.why,
                "nme": spread(result.errors) + seeds,
                "gain": verdict(one),
                "seconds": rounded(statistics.mean(seconds) if count else None),
                "parameters": rounded(result.parameters if count else None),
            }
        )
    return cells


def write_ablation(
    folder: Path,
    ablation: Ablation,
    more: Callable[[Gallery], list[Picture]] = lambda gallery: [],
) -> Path:
    """Write the page, its charts and ``ladder.json`` into ``folder``, and the index above it.

    more: adds figures that numbers alone do not give. Other files in the folder stay.
    Returns the page's path. Raises UserError where it cannot be written.
    """
    groups = ablation["groups"]

    def fill(work: Path) -> None:
        (work / "ladder.json").write_text(as_json(ablation), encoding="utf-8")
        gallery = Gallery(work, SYNTHETIC if ablation["synthetic"] else "")
        page = (
            templates()
            .get_template("ladder.html")
            .render(
                ablation=ablation,
                method=METHOD,
                lead=lead(ablation),
                sections=[(f"g{i}", group["title"]) for i, group in enumerate(groups)],
                charts=charts(gallery, ablation),
                rows=[rows(group) for group in groups],
                sentences=[conclusions(group, ablation["mean_face"]) for group in groups],
                more=more(gallery),
            )
        )
        (work / "index.html").write_text(page, encoding="utf-8")

    page = write_page(folder, fill)
    write_index(folder.parent)
    return page


def charts(gallery: Gallery, ablation: Ablation) -> list[Picture | None]:
    """The chart of each group; None where fewer than two of its results have errors."""
    drawn: list[Picture | None] = []
    for number, group in enumerate(ablation["groups"]):
        measured = {result.name: result.errors for result in group["results"] if result.errors}
        if len(measured) < 2:
            drawn.append(None)
            continue
        counts = {len(errors) for errors in measured.values()}
        alt = f"{group['title']}: NME of each of {len(measured)} rows as a dot"
        dots = "one run each"
        if counts != {1}:
            alt += " with its standard deviation"
            seeds = f"{max(counts)} seeds" if len(counts) == 1 else "the seeds of the table"
            dots = (
                f"the mean over {seeds}, bars one standard deviation to either side, small orange "
                "dots single seeds"
            )
        best = min(measured, key=lambda name: statistics.mean(measured[name]))
        caption = f"Dots are {dots}. Least: {best}, {spread(measured[best])} %."
        caption += " The axis is logarithmic."
        if not group["cumulative"]:
            caption += " The dashed line is what the others are compared with."
        always = ablation["mean_face"] if group["cumulative"] else None
        figure = figures.ladder(measured, always, group["cumulative"])
        drawn.append(gallery.add(f"ladder-{number}", figure, alt, caption))
    return drawn


def as_json(ablation: Ablation) -> str:
    """The ablation as the text of a JSON file."""
    return json.dumps(ablation, indent=1, ensure_ascii=False, default=asdict) + "\n"


def read(file: Path) -> Ablation:
    """The ablation that ``as_json`` wrote, or an older version with other names.

    Raises UserError where the file is missing or something else.
    """
    try:
        ablation = json.loads(
            file.read_text(encoding="utf-8"),
            object_hook=lambda found: {RENAMED.get(k, k): value for k, value in found.items()},
        )
        for group in ablation["groups"]:
            group["results"] = [Result(**result) for result in group["results"]]
        markdown(ablation)  # uses every value
        return ablation
    except (OSError, ValueError, TypeError, LookupError) as fault:
        raise UserError(
            f"{file}: not the numbers of a ladder ({fault}); write them with: python run_part.py "
            "ladder 1"
        ) from None


def markdown(ablation: Ablation) -> str:
    """A part's ablation for ``docs/ladders.md``: setting, tables and sentences."""
    pieces = [
        f"## Part {ablation['part']}",
        lead(ablation),
        f"{ablation['setting']} {cost(ablation)}",
        f"`{ablation['command']}`, torch {ablation['torch']}.",
    ]
    for group in ablation["groups"]:
        baseline = "the row above" if group["cumulative"] else group["results"][0].name
        lines = [
            f"| change | sets | NME, % | against {baseline} | time, s | parameters | why |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in rows(group):
            row["change"] = f"`{row['change']}`" if row["change"] else ""
            lines.append(f"| {' | '.join(row[column] for column in COLUMNS)} |")
        sentences = " ".join(conclusions(group, ablation["mean_face"]))
        pieces += [f"### {group['title']}", group["text"], "\n".join(lines), sentences]
    return "\n\n".join(filter(None, pieces)) + "\n"


def cost(ablation: Ablation) -> str:
    """The processor time of all runs; one that several groups show counts once."""
    results = [one for group in ablation["groups"] for one in group["results"] if one.seconds]
    runs = {tuple(result.seconds): result.devices for result in results}
    spent: dict[str, list[float]] = defaultdict(list)
    for seconds, devices in runs.items():
        for one, device in zip(seconds, devices, strict=True):
            spent[device].append(one)
    sums = [f"{len(each)} on {device} {duration(sum(each))}" for device, each in spent.items()]
    return f"Processor time for training all networks: {', '.join(sums)}."
