"""Ladders: what each change of a recipe gives, over several seeds, and the page that tells it.

Every sentence follows from the numbers; ``common/report/templates/ladder.html`` holds the page,
``common/report/figures.py`` draws. The same numbers, kept as JSON, give ``docs/ladders.md``.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

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


@dataclass(frozen=True)
class Step:
    """One change: its name, why it may help, in one sentence, and the values that it sets.

    Several values only where one without the others means nothing, such as height and width.
    taken_away: whether it is also undone at the top, all others kept.
    """

    name: str
    why: str
    changes: Mapping[str, Any]
    taken_away: bool = True


@dataclass(frozen=True)
class Question:
    """Steps that stand beside the ladder, each taken alone from its top.

    measure: which of the errors is told. first: changes that all of them, and what they are held
    against, share.
    """

    title: str
    words: str
    steps: tuple[Step, ...]
    measure: str = "nme"
    first: Mapping[str, Any] = field(default_factory=dict)
    against: str = "all changes together"


@dataclass(frozen=True)
class Rung:
    """What was measured of one step: the NME in % and the processor's seconds, one a seed.

    change: the values that the step sets. devices: what each run was computed on, as seconds of
    different ones cannot be compared. missing: why there are no errors.
    """

    name: str
    change: str
    why: str
    errors: list[float]
    seconds: list[float]
    devices: list[str]
    parameters: int
    missing: str = ""


@dataclass(frozen=True)
class Group:
    """Rungs that answer one question. The first is what the others are held against; in a climb
    each is held against the one before. alike: whether all were asked for the faces and points
    that the mean face was asked for, so that its error is a measure of theirs."""

    title: str
    words: str
    rungs: list[Rung]
    climb: bool = False
    alike: bool = True


@dataclass(frozen=True)
class Ladder:
    """All that was measured of a part. setting: one sentence on faces and machine. groups: the
    ladder, each change taken away, and the questions beside it."""

    part: str
    setting: str
    command: str
    torch: str
    synthetic: bool
    seeds: int
    mean_face: float
    groups: list[Group]


@dataclass(frozen=True)
class Gain:
    """By how much an error fell from one rung to another.

    within: half of the interval that holds the mean difference in 95 of 100 such ladders, by
    Student's t; None of a single seed each.
    """

    mean: float
    within: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out that nothing changed."""
        return self.within is not None and abs(self.mean) > self.within


def gain(before: Sequence[float], after: Sequence[float]) -> Gain:
    """What the step from ``before`` to ``after`` gives, from one error a seed.

    Where both have as many, the seeds are the same and each run is compared with its partner.
    Elsewhere two samples are, as if both varied alike (Student's t with pooled variance).
    """
    samples, share = [before, after], 1 / len(before) + 1 / len(after)
    if len(before) == len(after):
        samples = [[one - other for one, other in zip(before, after, strict=True)]]
        share = 1 / len(before)
    mean = statistics.mean(before) - statistics.mean(after)
    degrees = sum(len(sample) - 1 for sample in samples)
    if not degrees:
        return Gain(mean, None)
    squares = sum((x - statistics.mean(sample)) ** 2 for sample in samples for x in sample)
    return Gain(mean, float(stdtrit(degrees, 0.975)) * math.sqrt(squares / degrees * share))


def gains(group: Group) -> list[Gain | None]:
    """The gain of each rung over what it is held against; None of the first and where none is."""
    told: list[Gain | None] = []
    reference: Rung | None = None
    for rung in group.rungs:
        known = reference is not None and rung.errors
        told.append(gain(reference.errors, rung.errors) if known else None)
        if rung.errors and (reference is None or group.climb):
            reference = rung
    return told


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
    size = abs(one.mean)
    text = f"{hundredths(size)} {'less' if one.mean > 0 else 'more'}"
    if one.within is None:
        return f"{text}, one seed"
    return f"{text} ({hundredths(size - one.within)} to {hundredths(size + one.within)})"


def conclusions(group: Group, always: float) -> list[str]:
    """What the numbers of a group say, in sentences.

    always: the mean face's NME in %.
    """
    changes = [
        (rung.name, one)
        for rung, one in zip(group.rungs, gains(group), strict=True)
        if one is not None
    ]
    if not changes:
        return []
    told = []
    for better, words in ((True, "smaller"), (False, "larger")):
        clear = [(name, one) for name, one in changes if one.clear and (one.mean > 0) == better]
        clear.sort(key=lambda change: -abs(change[1].mean))
        listed = ", ".join(f"{name} (by {hundredths(abs(one.mean))})" for name, one in clear)
        if clear:
            counted = f"{len(clear)} of {len(changes)} changes"
            told.append(f"{counted} made the error {words}, beyond chance: {listed}.")
    if unclear := [name for name, one in changes if one.within is not None and not one.clear]:
        told.append(f"No difference beyond chance: {', '.join(unclear)}.")
    single = [name for name, one in changes if one.within is None]
    if len(single) == len(changes):
        told.append("Chance may explain any of the differences: one seed cannot tell.")
    elif single:
        told.append(f"One seed each, which cannot tell: {', '.join(single)}.")
    if not group.alike:
        return told
    stuck = {rung.name: sum(one > STUCK * always for one in rung.errors) for rung in group.rungs}
    if listed := ", ".join(f"{name} ({count})" for name, count in stuck.items() if count):
        told.append(f"Runs that are less than a tenth better than the mean face: {listed}.")
    return told


def lead(ladder: Ladder) -> str:
    """The whole climb in one sentence."""
    rungs = ladder.groups[0].rungs
    climbed = [rung for rung in rungs if rung.errors]
    first, last = climbed[0], climbed[-1]
    whole = "all" if climbed == rungs else f"{len(climbed) - 1} of"
    begun, whose = statistics.mean(first.errors), "the error"
    if begun > STUCK * ladder.mean_face:
        begun, whose = ladder.mean_face, "the mean face's error"
    factor = begun / statistics.mean(last.errors)
    changed = (
        f"divided by {rounded(factor)}" if factor >= 1 else f"{rounded(1 / factor)} times as large"
    )
    return (
        f"Always answering the mean face misses by {hundredths(ladder.mean_face)} % of the "
        f"distance between the outer eye corners, {first.name} by {spread(first.errors)} %, and "
        f"with {whole} {len(rungs) - 1} changes by {spread(last.errors)} %: {whose} is {changed}."
    )


def rows(group: Group) -> list[dict[str, str]]:
    """The cells of a group's table, all as text.

    Where steps have different numbers of seeds, each tells its own. The time is the mean over the
    runs on the device of the first.
    """
    counts = {len(rung.errors) for rung in group.rungs if rung.errors}
    told = len(counts) > 1
    return [
        {
            "name": rung.name,
            "change": rung.change,
            "why": rung.missing or rung.why,
            "nme": spread(rung.errors) + f" ({counted(rung)})" * (told and bool(rung.errors)),
            "gain": verdict(one),
            "seconds": rounded(statistics.mean(comparable_seconds(rung))) if rung.errors else "–",
            "parameters": rounded(rung.parameters) if rung.errors else "–",
        }
        for rung, one in zip(group.rungs, gains(group), strict=True)
    ]


def comparable_seconds(rung: Rung) -> list[float]:
    """The seconds of the runs on the device of the first."""
    return [
        seconds
        for seconds, device in zip(rung.seconds, rung.devices, strict=True)
        if device == rung.devices[0]
    ]


def counted(rung: Rung) -> str:
    """How many seeds a step was trained with."""
    return f"{len(rung.errors)} seed{'s' * (len(rung.errors) > 1)}"


def write_ladder(
    folder: Path,
    ladder: Ladder,
    more: Callable[[Gallery], list[Picture]] = lambda gallery: [],
) -> Path:
    """Write the page, its charts and ``ladder.json`` into ``folder``, and the index above it; the
    page's path.

    more: adds figures that numbers alone do not give. What else lies in the folder stays. Raises
    UserError where it cannot be written.
    """

    def fill(work: Path) -> None:
        (work / "ladder.json").write_text(as_json(ladder), encoding="utf-8")
        gallery = Gallery(work, SYNTHETIC if ladder.synthetic else "")
        page = (
            templates()
            .get_template("ladder.html")
            .render(
                ladder=ladder,
                lead=lead(ladder),
                sections=[(f"g{i}", group.title) for i, group in enumerate(ladder.groups)],
                charts=charts(gallery, ladder),
                rows=[rows(group) for group in ladder.groups],
                told=[conclusions(group, ladder.mean_face) for group in ladder.groups],
                more=more(gallery),
            )
        )
        (work / "index.html").write_text(page, encoding="utf-8")

    page = write_page(folder, fill)
    write_index(folder.parent)
    return page


BARS = ", bars one standard deviation to either side, small orange dots single seeds"


def charts(gallery: Gallery, ladder: Ladder) -> list[Picture | None]:
    """The chart of each group; None where fewer than two of its steps were measured."""
    drawn: list[Picture | None] = []
    for number, group in enumerate(ladder.groups):
        measured = {rung.name: rung.errors for rung in group.rungs if rung.errors}
        if len(measured) < 2:
            drawn.append(None)
            continue
        counts = {len(errors) for errors in measured.values()}
        seeds = f"{max(counts)} seeds" if len(counts) == 1 else "the seeds that the table tells"
        dots = "one run each" if counts == {1} else f"the mean over {seeds}{BARS}"
        always = ladder.mean_face if group.climb else None
        figure = figures.ladder(measured, always, group.climb)
        best = min(measured, key=lambda name: statistics.mean(measured[name]))
        caption = f"Dots are {dots}. Least: {best}, {spread(measured[best])} %."
        caption += " The axis is logarithmic."
        if not group.climb:
            caption += " The dashed line is what the others are held against."
        alt = f"{group.title}: NME of each of {len(measured)} steps as a dot"
        alt += " with its deviation" * (counts != {1})
        drawn.append(gallery.add(f"ladder-{number}", figure, alt, caption))
    return drawn


def as_json(ladder: Ladder) -> str:
    """All numbers, a line a rung."""
    return json.dumps(asdict(ladder), indent=1, ensure_ascii=False) + "\n"


def read(file: Path) -> Ladder:
    """What ``as_json`` wrote. Raises UserError where the file is missing or something else."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        groups = [
            Group(**group | {"rungs": [Rung(**rung) for rung in group["rungs"]]})
            for group in told["groups"]
        ]
        return Ladder(**told | {"groups": groups})
    except (OSError, ValueError, TypeError, KeyError) as fault:
        raise UserError(
            f"{file}: not the numbers of a ladder ({fault}); write them with: python run_part.py "
            "ladder 1"
        ) from None


def markdown(ladder: Ladder) -> str:
    """A part's ladder for ``docs/ladders.md``: setting, tables and sentences."""
    pieces = [
        f"## Part {ladder.part}",
        lead(ladder),
        f"{ladder.setting} {cost(ladder)}",
        f"`{ladder.command}`, torch {ladder.torch}.",
    ]
    for group in ladder.groups:
        against = "the one before" if group.climb else group.rungs[0].name
        table = [
            f"| step | sets | NME, % | against {against} | time, s | parameters | why |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in rows(group):
            change = f"`{row['change']}`" if row["change"] else ""
            cells = row["name"], change, *(row[key] for key in COLUMNS)
            table.append(f"| {' | '.join(cells)} |")
        pieces += [f"### {group.title}", group.words, "\n".join(table)]
        pieces.append(" ".join(conclusions(group, ladder.mean_face)))
    return "\n\n".join(filter(None, pieces)) + "\n"


COLUMNS = ("nme", "gain", "seconds", "parameters", "why")


def cost(ladder: Ladder) -> str:
    """How long all runs took the processor; one that several groups show counts once."""
    rungs = [rung for group in ladder.groups for rung in group.rungs if rung.seconds]
    runs = {tuple(rung.seconds): rung.devices for rung in rungs}
    spent: dict[str, list[float]] = defaultdict(list)
    for seconds, devices in runs.items():
        for one, device in zip(seconds, devices, strict=True):
            spent[device].append(one)
    told = [f"{len(each)} on {device} {duration(sum(each))}" for device, each in spent.items()]
    return f"Training these networks took the processor: {', '.join(told)}."
