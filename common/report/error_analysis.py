"""Why did it fail? The error of every test face compared with all that can be measured of a face.

Rank statistics resist outliers; an effect that noise may explain is reported as not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

LEAST_FACES = 20  # with fewer, no effect is looked for
LEAST_PEOPLE, MOST_PARTS = 8, 50  # see ``_parts``
SHUFFLES = 4000  # of people among groups; ten lie beyond the limit that 20 measures share
FALSE_ALARM = 0.05  # probability of finding any effect in pure noise


@dataclass(frozen=True)
class Effect:
    """How one thing that was measured of N faces goes with their errors."""

    name: str
    of_groups: bool  # whether it puts the faces into groups, else it is a number
    size: float  # Spearman's ρ, -1 to 1; of groups ε², at most 1, 0 on average without effect
    low: float | None  # lower end of ρ's interval
    high: float  # upper end of ρ's interval; of groups, the ε² that noise may reach
    explains: float  # share of the variance of the errors' ranks, %, less what noise gives
    found: bool  # whether the interval leaves out 0, or ε² lies beyond noise

    @property
    def word(self) -> str:
        """The name without its unit, for a sentence."""
        return self.name.partition(",")[0].partition(":")[0]


@dataclass(frozen=True)
class Findings:
    """What goes with the error and what does not."""

    effects: tuple[Effect, ...]  # the strongest first; empty where the faces are too few
    faces: int  # N
    parts: int  # of the faces, each left out once for the intervals
    people: bool  # whether a part is a person
    same: tuple[str, ...]  # what is the same for all faces, and so explains nothing

    @property
    def reach(self) -> float:
        """How far an interval of ρ reaches to either side, on average."""
        numbers = [effect for effect in self.effects if not effect.of_groups]
        return sum((effect.high - effect.low) / 2 for effect in numbers) / max(len(numbers), 1)


def find_effects(
    errors: Tensor,
    numbers: Mapping[str, Tensor],
    groupings: Mapping[str, Sequence[str]],
    people: Sequence[str],
) -> Findings:
    """Compare the errors of N faces with all that was measured of them.

    All intervals hold together with 95 % (Bonferroni: each of m measures is given 5 / m %), so
    that pure noise finds nothing in 95 of 100 runs.

    errors: (N,).
    numbers: by its name a measure (N,); one that ranks the faces as an earlier one is left out.
    groupings: by its name the group of each face; left out where the groups have fewer than 3
        faces on average.
    people: who each face is.
    """
    ranked: dict[str, np.ndarray] = {}
    grouped, same = {}, []
    for name, values in numbers.items():
        ranks = stats.rankdata(values.numpy())
        if np.ptp(ranks) == 0:
            same.append(name)
        elif not any(np.array_equal(ranks, other) for other in ranked.values()):
            ranked[name] = ranks
    for name, groups in groupings.items():
        count = len(set(groups))
        if count == 1:
            same.append(name)
        elif len(groups) >= 3 * count:
            grouped[name] = np.unique(groups, return_inverse=True)[1]
    parts, of_people = _parts(people)
    effects = []
    ranks = stats.rankdata(errors.numpy())
    if len(errors) >= LEAST_FACES and np.ptp(ranks) > 0:
        alarm = FALSE_ALARM / max(len(ranked) + len(grouped), 1)
        who = np.unique(people, return_inverse=True)[1]
        effects = _of_numbers(ranks, ranked, parts, alarm) if ranked else []
        effects += [_of_groups(name, ranks, of, who, alarm) for name, of in grouped.items()]
        effects.sort(key=lambda effect: effect.explains, reverse=True)
    return Findings(tuple(effects), len(errors), len(set(parts)), of_people, tuple(same))


def spearman(errors: np.ndarray, measures: np.ndarray) -> np.ndarray:
    """Spearman's rank correlations of errors (N,) with measures (M, N): (M,); 0 for constants."""
    ranks = stats.rankdata(np.vstack([errors, measures]), axis=1)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.corrcoef(ranks)[0, 1:])


def epsilon_squared(ranks: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How much groups differ in the ranks of their errors: (H - k + 1) / (N - k), with the H of
    Kruskal and Wallis (JASA 1952). This is Kelley's epsilon squared (PNAS 1935) of the ranks: the
    share of their variance between the groups, less what noise gives.

    ranks: (N,), of the errors.
    groups: (..., N), numbers from 0 to k - 1; each row is one way to group the faces.
    """
    # ``scipy.stats.kruskal`` gives the same H, but too slowly for thousands of shuffles.
    centred, n, k = ranks - ranks.mean(), len(ranks), groups.max() + 1
    inside = [groups == group for group in range(k)]
    between = sum(np.square(one @ centred) / one.sum(axis=-1) for one in inside)
    return 1 - (1 - between / np.square(centred).sum()) * (n - 1) / (n - k)


def _of_numbers(
    errors: np.ndarray, ranked: Mapping[str, np.ndarray], parts: np.ndarray, alarm: float
) -> list[Effect]:
    """Jackknife on Fisher's z: every part is left out in turn (Efron, 1982)."""
    measures, n = np.stack(list(ranked.values())), len(errors)

    def fisher(kept: np.ndarray) -> np.ndarray:
        return np.arctanh(spearman(errors[kept], measures[:, kept]).clip(-1 + 1e-6, 1 - 1e-6))

    left = np.array([fisher(parts != part) for part in np.unique(parts)])  # (P, M)
    count, middle = len(left), fisher(np.full(n, True))  # (M,)
    deviation = np.sqrt((count - 1) * left.var(axis=0))
    reach = stats.t.isf(alarm / 2, count - 1) * deviation
    sizes = spearman(errors, measures)
    explained = 100 * (1 - (1 - sizes**2) * (n - 1) / (n - 2)).clip(min=0)
    columns = (sizes, np.tanh(middle - reach), np.tanh(middle + reach), explained)
    return [
        Effect(name, False, size, low, high, explains, low > 0 or high < 0)
        for name, size, low, high, explains in zip(
            ranked, *(column.tolist() for column in columns), strict=True
        )
    ]


def _of_groups(
    name: str, ranks: np.ndarray, groups: np.ndarray, people: np.ndarray, alarm: float
) -> Effect:
    """Compared with chi squared, or with random groups of people where groups hold whole people,
    as then the sample is of people and not of faces."""
    k, of_person = len(set(groups)), np.zeros(people.max() + 1, dtype=int)
    of_person[people] = groups
    size = float(epsilon_squared(ranks, groups))
    if k < len(of_person) < len(ranks) and np.array_equal(of_person[people], groups):
        random = np.random.default_rng(0)
        shuffled = np.stack([random.permutation(of_person)[people] for _ in range(SHUFFLES)])
        limit = np.quantile(epsilon_squared(ranks, shuffled), 1 - alarm, method="higher")
    else:
        limit = (stats.chi2.isf(alarm, k - 1) - k + 1) / (len(ranks) - k)
    found = bool(size > limit + 1e-9)  # few people have few shuffles, which may equal the groups
    return Effect(name, True, size, None, float(limit), max(100 * size, 0.0), found)


def _parts(people: Sequence[str]) -> tuple[np.ndarray, bool]:
    """Which part (N,) each face belongs to, and whether the parts are people.

    Pictures of one person are not independent, so a part is a person; a face where there are fewer
    than ``LEAST_PEOPLE``. More than ``MOST_PARTS`` are dealt into as many.
    """
    parts = np.unique(people, return_inverse=True)[1]
    count = int(parts.max()) + 1
    of_people = LEAST_PEOPLE <= count < len(parts)
    if not of_people:
        parts, count = np.arange(len(people)), len(people)
    if count > MOST_PARTS:
        dealt = torch.randperm(count, generator=torch.Generator().manual_seed(0)) % MOST_PARTS
        return dealt.numpy()[parts], False
    return parts, of_people
