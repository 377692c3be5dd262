"""Why did it fail? What can be measured of a face, held against the error that it got.

Everything is counted in ranks, so that one lost face does not make a trend, and every effect has
an interval: what does not stand out of chance is told as "no effect found". An effect that is
found still is no cause: what goes with the error may go with what makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import chdtri, stdtrit
from torch import Tensor

from common.report.page import hundredths

LEAST_FACES = 20  # with fewer, no effect is looked for
LEAST_PEOPLE, MOST_PARTS = 8, 50  # see ``_parts``
SHUFFLES = 4000  # of people among groups; ten lie beyond chance where 20 measures share it
CHANCE = 0.05  # of finding any effect at all where there is none
NAMED = 3  # effects that a sentence names


@dataclass(frozen=True)
class Effect:
    """How one thing that was measured of N faces goes with their errors.

    name: what was measured. of_groups: whether it puts the faces into groups, else it is a number.
    size: of a number, Spearman's rank correlation ρ, -1 to 1; of groups, epsilon squared ε², at
        most 1 and 0 on average where the groups do not differ.
    low, high: of a number, the interval of ρ; of groups, None and the ε² that chance may reach.
    explains: share of the variance of the errors' ranks, %, less what chance gives.
    found: whether the interval leaves out 0, or ε² lies beyond chance.
    """

    name: str
    of_groups: bool
    size: float
    low: float | None
    high: float
    explains: float
    found: bool

    @property
    def word(self) -> str:
        """The name without its unit, for a sentence."""
        return self.name.partition(",")[0].partition(":")[0]

    @property
    def numbers(self) -> str:
        """The size with what it is to be held against, for a sentence."""
        if self.of_groups:
            return f"ε² {hundredths(self.size)}, where chance may reach {hundredths(self.high)}"
        low, high = hundredths(self.low), hundredths(self.high)
        return f"ρ {hundredths(self.size)}, {low} to {high}"


@dataclass(frozen=True)
class Findings:
    """What goes with the error and what does not.

    effects: the one that explains most comes first; none where the faces are too few. faces: N.
    parts: how many parts of the faces were left out in turn for the intervals; people: whether
    a part is a person. same: what is the same for all faces, and so explains nothing.
    """

    effects: tuple[Effect, ...]
    faces: int
    parts: int
    people: bool
    same: tuple[str, ...]

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
    """Hold the errors (N,) of N faces against all that was measured of them.

    numbers: by its name a measure (N,); one that ranks the faces as an earlier one does is left
    out. groupings: by its name the group of each face; left out where the groups have fewer than
    3 faces on average. people: who each face is.

    All intervals hold together with 95 % (Bonferroni: each of m measures is given 5 / m %), so
    that pure noise finds nothing in 95 of 100 runs.
    """
    ranks, ranked, grouped, same = _ranks(errors.numpy()), {}, {}, []
    for name, values in numbers.items():
        order = _ranks(values.numpy())
        if np.ptp(order) == 0:
            same.append(name)
        elif not any(np.array_equal(order, other) for other in ranked.values()):
            ranked[name] = order
    for name, groups in groupings.items():
        count = len(set(groups))
        if count == 1:
            same.append(name)
        elif len(groups) >= 3 * count:
            grouped[name] = np.unique(groups, return_inverse=True)[1]
    parts, of_people = _parts(people)
    effects = []
    if len(errors) >= LEAST_FACES and np.ptp(ranks) > 0:
        chance = CHANCE / max(len(ranked) + len(grouped), 1)
        effects += [_of_number(name, ranks, order, parts, chance) for name, order in ranked.items()]
        who = np.unique(people, return_inverse=True)[1]
        for name, groups in grouped.items():
            effects.append(_of_groups(name, ranks, groups, who, chance))
        effects.sort(key=lambda effect: effect.explains, reverse=True)
    return Findings(tuple(effects), len(errors), len(set(parts)), of_people, tuple(same))


def tell(findings: Findings) -> str:
    """What was found, in sentences that follow from the numbers."""
    effects, faces = findings.effects, f"the {findings.faces} test faces"
    if not effects:
        return (
            f"Nothing is claimed from the errors of {faces}: it takes {LEAST_FACES} or more, with "
            "different errors, to tell an effect from chance."
        )
    found = [effect for effect in effects if effect.found]
    nearest = next((effect for effect in effects if not effect.found), None)
    things = f"Of {len(effects)} things that were measured of {faces}"
    if not found:
        return (
            f"{things}, none goes with the error beyond chance: no effect found. Nearest to one "
            f"comes “{nearest.word}” ({nearest.numbers}). Whoever names a cause here is guessing."
        )
    listed = [_clause(effect) for effect in found[:NAMED]]
    if more := len(found) - len(listed):
        listed.append(f"goes with {more} more, see the table")
    told = (
        f"{things}, {len(found)} {'go' if len(found) > 1 else 'goes'} with the error. It "
        f"{'; it '.join(listed)}."
    )
    if nearest:
        rest = len(effects) - len(found)
        told += (
            f" Of {rest} {'others' if rest > 1 else 'other'} no effect was found; nearest to one "
            f"comes “{nearest.word}” ({nearest.numbers})."
        )
    return told


def _clause(effect: Effect) -> str:
    if effect.of_groups:
        return f"differs by {effect.word} ({effect.numbers})"
    how = "grows" if effect.size > 0 else "falls"
    return f"{how} with {effect.word} ({effect.numbers}; explains {effect.explains:.0f} %)"


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of (N,) and (N,); 0 where either is all the same."""
    one, other = (_ranks(values) - (len(values) + 1) / 2 for values in (one, other))
    scale = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / scale) if scale else 0.0


def epsilon_squared(errors: np.ndarray, groups: np.ndarray) -> float:
    """How much groups differ in the ranks of their errors: (H - k + 1) / (N - k).

    errors: (N,). groups: (N,), numbers from 0 to k - 1. H is that of Kruskal and Wallis (JASA
    1952); this is Kelley's epsilon squared (PNAS 1935) of the ranks: the share of their variance
    that lies between the groups, less what chance gives.
    """
    ranks, sizes = _ranks(errors), np.bincount(groups)
    means = np.bincount(groups, ranks) / sizes  # (k,)
    within = np.square(ranks - means[groups]).sum()
    total = np.square(ranks - ranks.mean()).sum()
    return float(1 - within / total * (len(ranks) - 1) / (len(ranks) - len(sizes)))


def _of_number(
    name: str, errors: np.ndarray, values: np.ndarray, parts: np.ndarray, chance: float
) -> Effect:
    """Jackknife on Fisher's z: every part is left out in turn (Efron, 1982)."""

    def fisher(keep: np.ndarray) -> float:
        return np.arctanh(np.clip(spearman(errors[keep], values[keep]), -1 + 1e-6, 1 - 1e-6))

    left = np.array([fisher(parts != part) for part in sorted(set(parts))])
    count, middle = len(left), fisher(np.ones(len(errors), dtype=bool))
    deviation = np.sqrt((count - 1) / count * np.square(left - left.mean()).sum())
    reach = stdtrit(count - 1, 1 - chance / 2) * deviation
    low, high = np.tanh([middle - reach, middle + reach]).tolist()
    size = spearman(errors, values)
    explains = 100 * (1 - (1 - size**2) * (len(errors) - 1) / (len(errors) - 2))
    return Effect(name, False, size, low, high, max(explains, 0.0), low > 0 or high < 0)


def _of_groups(
    name: str, errors: np.ndarray, groups: np.ndarray, people: np.ndarray, chance: float
) -> Effect:
    """What chance may reach: chi squared where a person's faces stand in several groups.

    Where each stands in one, as all pictures of a person are grey or all are in colour, people
    are the witnesses and not faces: chance is what people dealt to the groups at random reach.
    """
    k, of_person = len(set(groups)), np.zeros(people.max() + 1, dtype=int)
    of_person[people] = groups
    size = epsilon_squared(errors, groups)
    if k < len(of_person) < len(errors) and np.array_equal(of_person[people], groups):
        random = np.random.default_rng(0)
        dealt = [random.permutation(of_person)[people] for _ in range(SHUFFLES)]
        sizes = [epsilon_squared(errors, other) for other in dealt]
        limit = np.quantile(sizes, 1 - chance, method="higher")
    else:
        limit = (chdtri(k - 1, chance) - k + 1) / (len(errors) - k)
    return Effect(name, True, size, None, float(limit), max(100 * size, 0.0), bool(size > limit))


def _parts(people: Sequence[str]) -> tuple[np.ndarray, bool]:
    """Which part (N,) each face belongs to, and whether the parts are people.

    Pictures of one person are alike, and counting each as one more witness would make chance look
    like knowledge. So a part is a person; where there are fewer than ``LEAST_PEOPLE``, as where
    the groups are folders, it is a face. More than ``MOST_PARTS`` are dealt into as many.
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


def _ranks(values: np.ndarray) -> np.ndarray:
    """Places (N,) from 1 to N in the order of (N,); equal values share their mean place."""
    order = np.sort(values)
    return (np.searchsorted(order, values) + np.searchsorted(order, values, "right") + 1) / 2
