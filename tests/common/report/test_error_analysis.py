import math

import numpy as np
import pytest
import torch
from scipy import stats

from common.report.error_analysis import LEAST_FACES, epsilon_squared, find_effects, spearman, tell

FACES = 120


def chance(seed):
    return torch.Generator().manual_seed(seed)


def noise(count, seed, measures=6):
    """Measures of as many faces that have nothing to do with anything."""
    generator = chance(seed)
    return {
        f"measure {index}": torch.randn(count, generator=generator) for index in range(measures)
    }


def strangers(count):
    return [str(index) for index in range(count)]


def by_name(findings):
    return {effect.name: effect for effect in findings.effects}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_that_of_scipy(ties, seed):
    random = np.random.default_rng(seed)
    one, other = random.normal(size=(2, 40))
    other += one
    if ties:
        one, other = one.round(), other.round()
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_rank_correlation_of_what_rises_or_falls_throughout_or_never_changes():
    values = np.arange(30.0)
    assert spearman(values, np.exp(values / 5)) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)
    assert spearman(values, np.ones(30)) == 0


@pytest.mark.parametrize("ties", [False, True])
def test_epsilon_squared_is_made_of_the_h_of_scipys_kruskal(ties):
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2, 3], [9, 12, 7, 14])
    errors = random.normal(size=42) + groups
    errors = errors.round() if ties else errors
    h = stats.kruskal(*(errors[groups == group] for group in range(4))).statistic
    assert epsilon_squared(errors, groups) == pytest.approx((h - 4 + 1) / (42 - 4))


def test_epsilon_squared_of_groups_that_do_not_differ_is_zero_on_average():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 6)
    sizes = [epsilon_squared(random.normal(size=48), groups) for _ in range(400)]
    assert abs(np.mean(sizes)) < 4 * np.std(sizes) / 20


def test_an_error_made_from_brightness_is_found_first_and_the_noise_beside_it_is_not():
    measures = noise(FACES, 1)
    bright = torch.randn(FACES, generator=chance(2))
    errors = torch.exp(torch.randn(FACES, generator=chance(3)) / 2 - bright)
    groups = [str(index % 3) for index in range(FACES)]
    everything = {**measures, "mean brightness, of 255": bright}
    findings = find_effects(errors, everything, {"view": groups}, strangers(FACES))
    first, *others = findings.effects
    assert first.name == "mean brightness, of 255"
    assert first.found and -1 < first.low < first.size < first.high < 0
    assert len(others) == 7 and not any(effect.found for effect in others)
    explained = [effect.explains for effect in findings.effects]
    assert explained == sorted(explained, reverse=True)
    assert first.explains == pytest.approx(100 * first.size**2, abs=1)
    assert tell(findings).startswith(
        "Of 8 things that were measured of the 120 test faces, 1 goes with the error. It falls "
        f"with mean brightness (ρ −{-first.size:.2f}, −{-first.low:.2f} to −{-first.high:.2f}; "
        f"explains {first.explains:.0f} %). Of 7 others no effect was found; nearest to one comes "
        f"“{others[0].name}” "
    )


def test_an_error_made_by_the_view_is_found_and_told_as_a_difference_of_groups():
    views = [str(index % 3) for index in range(FACES)]
    errors = torch.randn(FACES, generator=chance(4)) + torch.tensor([0.0, 3, 1]).repeat(FACES // 3)
    findings = find_effects(errors, noise(FACES, 5), {"view": views}, strangers(FACES))
    first = findings.effects[0]
    assert (first.name, first.of_groups, first.found, first.low) == ("view", True, True, None)
    assert first.size == pytest.approx(epsilon_squared(errors.numpy(), np.array(views, dtype=int)))
    assert first.high == pytest.approx((stats.chi2.ppf(1 - 0.05 / 7, 2) - 2) / (FACES - 3))
    assert (
        f"1 goes with the error. It differs by view (ε² {first.size:.2f}, where chance may reach "
        f"{first.high:.2f})." in tell(findings)
    )


def share_that_finds_something(runs, people, alike):
    """Of runs on noise: errors and measures of one person go together by ``alike``."""
    found, generator = 0, chance(6)
    _, person = np.unique(people, return_inverse=True)

    def draw():
        of_person = torch.randn(int(person.max()) + 1, generator=generator)[person]
        return alike * of_person + torch.randn(len(people), generator=generator)

    for _ in range(runs):
        measures = {f"measure {index}": draw() for index in range(6)}
        findings = find_effects(draw(), measures, {}, people)
        found += any(effect.found for effect in findings.effects)
    return found / runs


@pytest.mark.parametrize(
    ("people", "alike"),
    [(strangers(24), 0.0), ([str(index // 5) for index in range(40)], 2.0)],
    ids=["strangers", "pictures of eight people"],
)
def test_pure_noise_finds_nothing_in_95_of_100_runs(people, alike):
    runs = 100
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert share_that_finds_something(runs, people, alike) < limit
    assert "no effect found" in tell(find_effects(*noise_of(people), {}, people))


def noise_of(people):
    measures = noise(len(people), 7)
    return measures.pop("measure 0"), measures


def of_people(count, pictures, alike, seed):
    """Errors of so many pictures each of people who are alike in theirs by ``alike``."""
    generator = chance(seed)
    of_person = torch.randn(count, generator=generator).repeat_interleave(pictures)
    return alike * of_person + torch.randn(count * pictures, generator=generator)


def test_groups_of_whole_people_differ_only_if_more_than_people_do():
    """Every second person in colour: people differ, so by faces alone colour would seem to."""
    people = [str(index // 6) for index in range(72)]
    colours = [("grey", "colour")[index // 6 % 2] for index in range(72)]
    runs, found, seeming = 60, 0, 0
    for seed in range(runs):
        errors = of_people(12, 6, 2.0, seed)
        (effect,) = find_effects(errors, {}, {"colour": colours}, people).effects
        (naive,) = find_effects(errors, {}, {"colour": colours}, strangers(72)).effects
        found, seeming = found + effect.found, seeming + naive.found
    assert found / runs < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert seeming / runs > 0.3


def test_a_difference_between_groups_of_whole_people_is_found():
    people = [str(index // 6) for index in range(120)]
    colours = [("grey", "colour")[index // 6 % 2] for index in range(120)]
    errors = of_people(20, 6, 1.0, 3) + 3 * torch.tensor([c == "grey" for c in colours])
    (effect,) = find_effects(errors, {}, {"colour": colours}, people).effects
    assert effect.found and 0 < effect.high < effect.size


def test_people_themselves_are_held_against_their_own_pictures():
    people = [str(index // 6) for index in range(72)]
    (effect,) = find_effects(of_people(12, 6, 2.0, 4), {}, {"person": people}, people).effects
    assert effect.found
    assert effect.high == pytest.approx((stats.chi2.ppf(0.95, 11) - 11) / 60)


def test_the_interval_is_about_fishers_where_the_faces_are_strangers():
    """Bonett and Wright (Psychometrika 2000): z ± q sqrt((1 + ρ² / 2) / (N - 3))."""
    one = torch.randn(400, generator=chance(8))
    errors = one + torch.randn(400, generator=chance(9))
    (effect,) = find_effects(errors, {"one": one}, {}, strangers(400)).effects
    reach = 1.96 * math.sqrt((1 + effect.size**2 / 2) / 397)
    expected = [math.tanh(math.atanh(effect.size) + side * reach) for side in (-1, 1)]
    assert [effect.low, effect.high] == pytest.approx(expected, abs=0.03)


def test_pictures_of_one_person_are_no_witnesses_of_their_own():
    """Each face told six times over is no more known than told once."""
    one = torch.randn(20, generator=chance(10))
    errors = one + torch.randn(20, generator=chance(11))
    (once,) = find_effects(errors, {"one": one}, {}, strangers(20)).effects
    again = errors.repeat(6), {"one": one.repeat(6)}
    findings = find_effects(*again, {}, strangers(20) * 6)
    (effect,) = findings.effects
    assert (findings.parts, findings.people) == (20, True)
    assert [effect.low, effect.high] == pytest.approx([once.low, once.high], abs=0.02)
    (naive,) = find_effects(*again, {}, strangers(120)).effects
    assert naive.high - naive.low < 0.6 * (effect.high - effect.low)


def test_the_more_is_asked_the_wider_the_intervals():
    errors, measures = noise_of(strangers(60))
    alone = find_effects(errors, {"measure 1": measures["measure 1"]}, {}, strangers(60))
    among = find_effects(errors, measures, {}, strangers(60))
    one, other = by_name(alone)["measure 1"], by_name(among)["measure 1"]
    assert one.size == other.size
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
    findings = find_effects(*noise_of(people), {}, people)
    assert (findings.parts, findings.people) == (parts, of_people)


def test_what_is_the_same_for_all_or_told_twice_or_too_finely_divided_is_no_measure():
    errors, measures = noise_of(strangers(40))
    one = measures["measure 1"]
    findings = find_effects(
        errors,
        {"one": one, "one again": 8 * one + 3, "all the same": torch.ones(40)},
        {"colour": ["grey"] * 40, "person": [str(index // 2) for index in range(40)]},
        strangers(40),
    )
    assert by_name(findings).keys() == {"one"}
    assert findings.same == ("all the same", "colour")


@pytest.mark.parametrize("count", [1, 2, 4, LEAST_FACES - 1])
def test_of_few_faces_nothing_is_claimed(count):
    errors = torch.arange(count).float()
    findings = find_effects(errors, {"one": errors}, {"view": ["a"] * count}, strangers(count))
    assert findings.effects == ()
    assert f"Nothing is claimed from the errors of the {count} test faces" in tell(findings)


def test_of_errors_that_are_all_the_same_nothing_is_claimed():
    findings = find_effects(torch.ones(40), noise(40, 12), {}, strangers(40))
    assert findings.effects == () and "with different errors" in tell(findings)


def test_of_many_effects_the_strongest_are_named_and_the_others_counted():
    errors = torch.randn(FACES, generator=chance(13))
    measures = {
        f"measure {index}": errors + index * torch.randn(FACES, generator=chance(index)) / 4
        for index in range(1, 6)
    }
    told = tell(find_effects(errors, measures, {}, strangers(FACES)))
    assert "Of 5 things" in told and "5 go with the error" in told
    assert [f"measure {index} (" in told for index in range(1, 6)] == [True] * 3 + [False] * 2
    assert told.endswith("; it goes with 2 more, see the table.")
