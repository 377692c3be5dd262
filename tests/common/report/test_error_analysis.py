import math

import numpy as np
import pytest
import torch
from scipy import stats

from common.report.error_analysis import LEAST_FACES, epsilon_squared, find_effects, spearman

FACES = 120
VIEWS = ["0", "1", "2"] * (FACES // 3)
SIXES = [str(index // 6) for index in range(FACES)]  # six pictures of each person
GREY_OR_COLOUR = [("grey", "colour")[index // 6 % 2] for index in range(FACES)]  # by person
RUNS = 40  # of pure noise
MOST_FOUND = RUNS * (0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS))  # 5 %, and three standard errors


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise(count, seed, measures=6):
    """Errors, and measures of as many faces that have nothing to do with them."""
    errors, *others = normal(seed, measures + 1, count)
    return errors, {f"measure {index}": values for index, values in enumerate(others)}


def strangers(count):
    return [str(index) for index in range(count)]


def alike(people, share, seed):
    """Errors that pictures of one person have in common by ``share``."""
    person = np.unique(people, return_inverse=True)[1]
    of_people, of_faces = normal(seed, 2, len(people))
    return share * of_people[person] + of_faces


def test_rank_correlation_is_spearmans():
    """1 - 6 Σd² / (n (n² - 1)) without ties; Pearson's of the mean places with them."""
    one = np.array([3.0, 10, 20, 50, 40])  # places 1, 2, 3, 5, 4
    others = np.array([[2.0, 1, 3, 5, 4], [5.0, 4, 3, 1, 2], [7.0] * 5, [1.0, 1, 2, 2, 2]])
    expected = [1 - 6 * 2 / 120, -1, 0, 3 / math.sqrt(10 * 7.5) * 2.5]
    assert spearman(one, others) == pytest.approx(expected)


@pytest.mark.parametrize("ties", [False, True])
def test_epsilon_squared_is_made_of_the_h_of_kruskal_and_wallis(ties):
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2, 3], [9, 12, 7, 14])
    errors = random.normal(size=42) + groups
    errors = errors.round() if ties else errors
    h = stats.kruskal(*(errors[groups == group] for group in range(4))).statistic
    size = epsilon_squared(stats.rankdata(errors), groups)
    assert size == pytest.approx((h - 4 + 1) / (42 - 4))


def test_an_error_made_from_brightness_is_found_first_and_the_noise_is_not():
    bright = normal(2, FACES)
    errors = torch.exp(normal(3, FACES) / 2 - bright)
    everything = noise(FACES, 1)[1] | {"mean brightness, of 255": bright}
    findings = find_effects(errors, everything, {"view": VIEWS}, strangers(FACES))
    first, *others = findings.effects
    assert (first.name, first.word) == ("mean brightness, of 255", "mean brightness")
    assert first.found and -1 < first.low < first.size < first.high < 0
    assert len(others) == 7 and not any(effect.found for effect in others)
    explained = [effect.explains for effect in findings.effects]
    assert explained == sorted(explained, reverse=True)
    assert first.explains == pytest.approx(100 * first.size**2, abs=1)
    widths = [e.high - e.low for e in findings.effects if not e.of_groups]
    assert findings.reach == pytest.approx(np.mean(widths) / 2)


def test_an_error_made_by_the_view_is_found_as_a_difference_of_groups():
    errors = normal(4, FACES) + torch.tensor([0.0, 3, 1]).repeat(FACES // 3)
    first = find_effects(errors, noise(FACES, 5)[1], {"view": VIEWS}, strangers(FACES)).effects[0]
    assert (first.name, first.of_groups, first.found, first.low) == ("view", True, True, None)
    # Chi squared with two degrees of freedom at 5 / 7 % is -2 ln(0.05 / 7).
    assert first.high == pytest.approx((-2 * math.log(0.05 / 7) - 2) / (FACES - 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("people", "share"),
    [(strangers(24), 0.0), ([str(index // 5) for index in range(40)], 2.0)],
    ids=["strangers", "pictures of eight people"],
)
def test_pure_noise_finds_nothing_in_95_of_100_runs(people, share):
    found = 0
    for seed in range(RUNS):
        errors, *values = (alike(people, share, 7 * seed + index) for index in range(7))
        measures = {f"measure {index}": one for index, one in enumerate(values)}
        found += any(effect.found for effect in find_effects(errors, measures, {}, people).effects)
    assert found <= MOST_FOUND


@pytest.mark.slow
def test_groups_of_whole_people_differ_only_if_more_than_people_do():
    """Every second person in colour: people differ, so by faces alone colour would seem to."""
    people, colours, found = SIXES[:72], {"colour": GREY_OR_COLOUR[:72]}, [0, 0]
    for seed in range(RUNS // 2):
        for way, who in enumerate((people, strangers(72))):
            (effect,) = find_effects(alike(people, 2.0, seed), {}, colours, who).effects
            found[way] += effect.found
    assert found[0] <= MOST_FOUND / 2 and found[1] > 0.3 * RUNS / 2


def test_a_difference_between_groups_of_whole_people_is_found():
    grey = torch.tensor([colour == "grey" for colour in GREY_OR_COLOUR])
    errors = alike(SIXES, 1.0, 3) + 3 * grey
    (effect,) = find_effects(errors, {}, {"colour": GREY_OR_COLOUR}, SIXES).effects
    assert effect.found and 0 < effect.high < effect.size


def test_people_themselves_are_compared_by_their_own_pictures():
    people = SIXES[:72]
    (effect,) = find_effects(alike(people, 2.0, 4), {}, {"person": people}, people).effects
    assert effect.found
    assert effect.high == pytest.approx((19.675 - 11) / 60, rel=1e-4)  # 19.675: χ² of 11 at 5 %


def test_the_interval_is_about_fishers_where_the_faces_are_strangers():
    """Bonett and Wright (Psychometrika 2000): z ± q sqrt((1 + ρ² / 2) / (N - 3))."""
    one = normal(8, 400)
    errors = one + normal(9, 400)
    (effect,) = find_effects(errors, {"one": one}, {}, strangers(400)).effects
    reach = 1.96 * math.sqrt((1 + effect.size**2 / 2) / 397)
    expected = [math.tanh(math.atanh(effect.size) + side * reach) for side in (-1, 1)]
    assert [effect.low, effect.high] == pytest.approx(expected, abs=0.03)


def test_pictures_of_one_person_are_no_independent_sample():
    """Each face taken six times says no more than taken once."""
    one = normal(10, 20)
    errors = one + normal(11, 20)
    (once,) = find_effects(errors, {"one": one}, {}, strangers(20)).effects
    again = errors.repeat(6), {"one": one.repeat(6)}
    findings = find_effects(*again, {}, strangers(20) * 6)
    (effect,) = findings.effects
    assert (findings.parts, findings.people) == (20, True)
    assert [effect.low, effect.high] == pytest.approx([once.low, once.high], abs=0.02)
    (naive,) = find_effects(*again, {}, strangers(120)).effects
    assert naive.high - naive.low < 0.6 * (effect.high - effect.low)


def test_the_more_measures_the_wider_the_intervals():
    errors, measures = noise(60, 7)
    (one,) = find_effects(errors, {"measure 1": measures["measure 1"]}, {}, strangers(60)).effects
    effects = find_effects(errors, measures, {}, strangers(60)).effects
    (other,) = [effect for effect in effects if effect.name == "measure 1"]
    assert one.size == pytest.approx(other.size)
    assert other.low < one.low < one.high < other.high


@pytest.mark.parametrize(
    ("people", "parts", "of_people"),
    [
        (strangers(40), 40, False),
        (["helen", "lfpw"] * 20, 40, False),  # folders: no people
        ([str(index // 5) for index in range(40)], 8, True),
        (strangers(200), 50, False),
    ],
)
def test_a_part_is_a_person_where_there_are_enough_of_them(people, parts, of_people):
    findings = find_effects(*noise(len(people), 7), {}, people)
    assert (findings.parts, findings.people) == (parts, of_people)


def test_constants_repetitions_and_fine_divisions_are_no_measures():
    errors, measures = noise(40, 7)
    one = measures["measure 1"]
    values = {"one": one, "one again": 8 * one + 3, "constant": torch.ones(40)}
    groups = {"colour": ["grey"] * 40, "person": [str(index // 2) for index in range(40)]}
    findings = find_effects(errors, values, groups, strangers(40))
    assert [effect.name for effect in findings.effects] == ["one"]
    assert findings.same == ("constant", "colour")


@pytest.mark.parametrize("count", [1, 2, 4, LEAST_FACES - 1, 40])
def test_of_few_faces_and_of_constant_errors_nothing_is_claimed(count):
    values = torch.arange(count).float()
    errors = values if count < LEAST_FACES else torch.ones(count)
    findings = find_effects(errors, {"one": values}, {"view": ["a"] * count}, strangers(count))
    assert (findings.effects, findings.faces) == ((), count)
