"""The page of an ablation: what each change of a recipe is worth, over several seeds.

``ladder.json`` keeps an ``Ablation``, and ``docs/ladders.md`` is written from several. The words
of both are in ``templates/``: ``ladder.html``, ``ladders.md`` and ``ladder_words.txt``.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import ttest_ind, ttest_rel

from common.report import figures
from common.report.index_page import write_index
from common.report.page import Gallery, Picture, hundredths, plain_text, render, write_page
from common.system.errors import UserError

ALONE = 3  # values that have no meaning without each other, such as a colour jitter's
STUCK = 0.9  # of the mean face's error: a run above it has learned next to nothing


class Effect(NamedTuple):
    """By how much a change lowered an error."""

    mean: float
    low: float  # end of the 95 % confidence interval, nan where there is one run on each side
    high: float  # the other end
    n: int  # runs with the change

    def __str__(self) -> str:
        text = f"{hundredths(abs(self.mean))} {'less' if self.mean > 0 else 'more'}"
        if math.isnan(self.low):
            return f"{text}, one seed"
        low, high = (self.low, self.high) if self.mean > 0 else (-self.high, -self.low)
        return f"{text} ({hundredths(low)} to {hundredths(high)})"


def effect_of(before: Sequence[float], after: Sequence[float]) -> Effect:
    """The effect of a change, from the errors without and with it, one per seed, from seed 0 on.

    The interval is by Student's t: paired over the seeds that both have, as a seed also chooses the
    people that are held out; a single run is compared with all others, with pooled variance.
    """
    shared = min(len(before), len(after))
    if shared > 1:
        before, after = before[:shared], after[:shared]
    mean = statistics.mean(before) - statistics.mean(after)
    if len(before) == len(after) == 1:
        return Effect(mean, math.nan, math.nan, 1)
    test = ttest_rel if shared > 1 else ttest_ind
    interval = test(before, after).confidence_interval(0.95)
    return Effect(mean, float(interval.low), float(interval.high), len(after))


@dataclass(frozen=True)
class Result:
    """What was measured of one change."""

    name: str
    change: str  # the values that it sets
    why: str  # the reason for it
    errors: list[float]  # NME in %, one a seed
    seconds: list[float]  # of processor time, one a seed; not comparable between devices
    devices: list[str]  # what trained it, one a seed
    parameters: int  # of the network
    missing: str = ""  # why there are no errors

    @property
    def mean(self) -> float:
        """Of the errors."""
        return statistics.mean(self.errors)

    @property
    def spread(self) -> str:
        """Mean ± standard deviation over the seeds, the mean alone of a single one."""
        if not self.errors:
            return "–"
        more = f" ± {hundredths(statistics.stdev(self.errors))}" if len(self.errors) > 1 else ""
        return hundredths(self.mean) + more

    @property
    def time(self) -> float | None:
        """Mean seconds over the runs on the device of the first."""
        timed = zip(self.seconds, self.devices, strict=True)
        same = [seconds for seconds, device in timed if device == self.devices[0]]
        return statistics.mean(same) if same else None


@dataclass(frozen=True)
class Table:
    """Results that are compared with one another."""

    title: str
    text: str
    results: list[Result]
    cumulative: bool  # whether each is compared with the one before, or all with the first
    comparable: bool  # whether the mean face was evaluated on the same faces and points

    @property
    def measured(self) -> list[Result]:
        """The results that have errors."""
        return [result for result in self.results if result.errors]

    @property
    def uneven(self) -> bool:
        """Whether results have different numbers of seeds."""
        return len({len(result.errors) for result in self.measured}) > 1

    @cached_property
    def rows(self) -> list[tuple[Result, Effect | None]]:
        """Each result and its effect; None where it or what it is compared with has no errors."""
        rows: list[tuple[Result, Effect | None]] = []
        reference: list[float] = []
        for result in self.results:
            known = reference and result.errors
            rows.append((result, effect_of(reference, result.errors) if known else None))
            if result.errors and (self.cumulative or not reference):
                reference = result.errors
        return rows

    def findings(self, mean_face: float) -> dict[str, Any]:
        """What the numbers say. mean_face: its NME in %.

        count: number of effects. smaller, larger: sizes of the significant ones, by name.
        unclear, single: names of the others, of several seeds and of one.
        stuck: the number of each change's runs that hardly beat the mean face.
        """
        effects = {result.name: effect for result, effect in self.rows if effect}
        limit = STUCK * mean_face if self.comparable else math.inf
        stuck = {one.name: sum(error > limit for error in one.errors) for one in self.results}
        return {
            "count": len(effects),
            "smaller": {name: one.mean for name, one in effects.items() if one.low > 0},
            "larger": {name: -one.mean for name, one in effects.items() if one.high < 0},
            "unclear": [name for name, one in effects.items() if one.low <= 0 <= one.high],
            "single": [name for name, one in effects.items() if math.isnan(one.low)],
            "stuck": {name: count for name, count in stuck.items() if count},
        }


@dataclass(frozen=True)
class Ablation:
    """All that the page of a part's ablation shows."""

    part: str
    setting: str  # sentences on faces and machines
    command: str  # what trained the networks
    torch: str  # its version
    synthetic: bool
    seeds: int  # number of each network's runs
    mean_face: float  # its NME in %
    tables: list[Table]  # the main one first

    def effects(self, field: str) -> dict[str, Effect]:
        """What replacing one value alone did, by the change that sets ``field``; a change of more
        than ``ALONE`` values is another recipe and is left out."""
        found: dict[str, Effect] = {}
        for table in self.tables:
            for result, effect in () if table.cumulative else table.rows:
                alone = len(result.change.split()) <= ALONE
                if effect and alone and f" {field}=" in f" {result.change}":
                    found.setdefault(result.change, effect)
        return found

    def comparison(self, name: str) -> dict[str, Any] | None:
        """The change called ``name``, its baseline and its effect; None if it is not measured."""
        for table in self.tables:
            for result, effect in table.rows:
                if effect and result.name == name:
                    return {"baseline": table.measured[0], "changed": result, "effect": effect}
        return None

    def effect_in_words(self, field: str) -> str:
        """What replacing this value of the recipe alone did; "" where it was not measured."""
        for change, effect in self.effects(field).items():
            size = str(effect).replace("less", "lower").replace("more", "higher")
            return f"NME {size} with `{change}`"
        return ""

    def lead(self) -> dict[str, Any]:
        """The first and the last result, and by what all changes divided the error.

        ``stuck``: the mean face's error is divided, as the first result's is hardly smaller.
        """
        measured = self.tables[0].measured
        first, last = measured[0], measured[-1]
        stuck = first.mean > STUCK * self.mean_face
        factor = (self.mean_face if stuck else first.mean) / last.mean
        return {"first": first, "last": last, "factor": factor, "stuck": stuck}

    def seconds(self) -> dict[str, list[float]]:
        """The processor times of all runs, by device; one that several tables show counts once."""
        results = [result for table in self.tables for result in table.measured]
        spent: dict[str, list[float]] = defaultdict(list)
        for seconds, devices in {tuple(one.seconds): one.devices for one in results}.items():
            for one, device in zip(seconds, devices, strict=True):
                spent[device].append(one)
        return spent


def write_ablation(
    folder: Path,
    ablation: Ablation,
    more: Callable[[Gallery], dict[str, Picture]] = lambda gallery: {},
) -> Path:
    """Write the page, its charts and ``ladder.json`` into ``folder``, and the index above it.

    more: adds figures that numbers alone do not give.
    Returns the page's path. Raises UserError where it cannot be written.
    """

    def fill(work: Path) -> None:
        (work / "ladder.json").write_text(as_json(ablation), encoding="utf-8")
        gallery = Gallery(work, ablation.synthetic)
        sections = [(f"g{i}", table.title) for i, table in enumerate(ablation.tables)]
        pictures = {"charts": charts(gallery, ablation), "more": more(gallery)}
        render(work, "ladder.html", {"ablation": ablation, "sections": sections} | pictures)

    page = write_page(folder, fill)
    write_index(folder.parent)
    return page


def charts(gallery: Gallery, ablation: Ablation) -> dict[int, Picture]:
    """The charts of the tables of which at least two results have errors, by number."""
    drawn = {}
    for number, table in enumerate(ablation.tables):
        errors = {result.name: result.errors for result in table.measured}
        if len(errors) > 1:
            always = ablation.mean_face if table.cumulative else None
            figure = figures.ladder(errors, always, table.cumulative)
            drawn[number] = gallery.add(f"ladder-{number}", figure)
    return drawn


def as_json(ablation: Ablation) -> str:
    """The ablation as the text of a JSON file."""
    return json.dumps(asdict(ablation), indent=1, ensure_ascii=False) + "\n"


def read(file: Path) -> Ablation:
    """The ablation that ``as_json`` wrote; UserError where it is missing or something else."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        for table in values["tables"]:
            table["results"] = [Result(**result) for result in table["results"]]
        values["tables"] = [Table(**table) for table in values["tables"]]
        ablation = Ablation(**values)
        markdown([ablation])  # uses every value
        return ablation
    except (OSError, ValueError, TypeError, LookupError) as fault:
        raise UserError(
            f"{file}: not the numbers of a ladder ({fault}); write them with: python run_part.py "
            "ladder 1"
        ) from None


def markdown(ablations: Sequence[Ablation]) -> str:
    """The text of ``docs/ladders.md``: settings, tables and sentences of each part."""
    return plain_text("ladders.md", ablations=ablations)
