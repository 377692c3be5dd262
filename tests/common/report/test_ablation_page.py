import json
import re
from dataclasses import replace
from html import unescape

import pytest

from common.report import ablation_page
from common.report.ablation_page import (
    Gain,
    Group,
    Ladder,
    Rung,
    conclusions,
    gain,
    gains,
    spread,
    verdict,
)
from common.system.errors import UserError


def rung(name, *errors, missing=""):
    count = len(errors)
    seconds, devices = [2.0] * count, ["cpu"] * count
    return Rung(name, f"{name}=1", f"Why {name}.", list(errors), seconds, devices, 100, missing)


CLIMB = Group(
    "The ladder",
    "One at a time.",
    [
        rung("course", 10.0, 12.0, 11.0),
        rung("batch", 6.0, 8.2, 6.8),  # 4.0, 3.8, 4.2 less
        rung("flip", 6.1, 8.1, 6.7),  # 0.1 more, 0.1 and 0.1 less
        rung("noise", 9.1, 11.3, 9.7),  # 3.0, 3.2, 3.0 more
    ],
    climb=True,
)
AWAY = Group(
    "Taken away",
    "One alone.",
    [rung("all", 5.0, 6.0, 7.0), rung("a", 6.0, 7.1, 8.1), rung("gone", missing="no list here")],
)


def made_up(*groups, seeds=3, **changes):
    told = {
        "part": "1",
        "setting": "Learned from 9 faces.",
        "command": "python run_part.py ladder 1 --seeds 3",
        "torch": "2.9",
        "synthetic": False,
        "seeds": seeds,
        "mean_face": 22.0,
        "groups": list(groups or (CLIMB, AWAY)),
    }
    return Ladder(**told | changes)


@pytest.fixture
def page(tmp_path):
    return ablation_page.write_ladder(tmp_path / "ladder1", made_up())


def words(page):
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.read_text())))


def test_a_gain_is_taken_over_pairs_of_the_same_seed():
    told = gain([10, 12, 11], [6, 8.2, 6.8])
    assert told.mean == pytest.approx(4.0)
    # 4.0, 3.8, 4.2: deviation 0.2; 4.3027 is Student's t of two degrees of freedom
    assert told.within == pytest.approx(4.3027 * 0.2 / 3**0.5, rel=1e-4)
    assert gain([3.0], [2.0]) == Gain(1.0, None)


def test_a_single_run_is_held_against_the_spread_of_all_runs_of_the_other():
    told = gain([4.0, 4.2, 4.4], [5.0])
    assert told.mean == pytest.approx(-0.8)
    # deviation 0.2 with two degrees of freedom; means of three runs and of one
    assert told.within == pytest.approx(4.3027 * 0.2 * (1 / 3 + 1) ** 0.5, rel=1e-4)
    # squares 0.08 and 0.02 with three degrees of freedom, 3.1824
    both = gain([4.0, 4.2, 4.4], [5.0, 5.2])
    assert both.within == pytest.approx(3.1824 * (0.1 / 3 * (1 / 3 + 1 / 2)) ** 0.5, rel=1e-4)
    assert gain([5.0, 5.2], [4.0, 4.2, 4.4]) == Gain(pytest.approx(0.9), both.within)


@pytest.mark.parametrize(
    ("mean", "within", "clear"),
    [(1.1, 1.0, True), (-1.1, 1.0, True), (0.9, 1.0, False), (9.0, None, False), (0.0, 0.0, False)],
)
def test_a_gain_is_clear_where_its_interval_leaves_out_nothing(mean, within, clear):
    assert Gain(mean, within).clear is clear


def test_a_climb_is_held_against_the_step_before_and_other_groups_against_the_first():
    told = gains(CLIMB)
    assert told[0] is None
    assert [round(one.mean, 3) for one in told[1:]] == [4.0, 0.033, -3.067]
    told = gains(AWAY)
    assert told[1].mean == pytest.approx(-1.067, abs=1e-3)
    assert told[0] is told[2] is None


def test_a_missing_step_of_a_climb_is_stepped_over():
    group = Group("", "", [rung("a", 5.0), rung("b", missing="none"), rung("c", 3.0)], climb=True)
    assert gains(group)[2] == Gain(2.0, None)


def test_values_are_told_with_their_deviation():
    assert spread([10, 12, 11]) == "11.00 ± 1.00"
    assert spread([2.5]) == "2.50"
    assert spread([]) == "–"
    assert verdict(Gain(4.0, 0.2)) == "4.00 less (3.80 to 4.20)"
    assert verdict(Gain(-3.0, 0.2)) == "3.00 more (2.80 to 3.20)"
    assert verdict(Gain(0.1, 0.3)) == "0.10 less (−0.20 to 0.40)"
    assert verdict(Gain(0.001, 0.002)) == "0.00 less (0.00 to 0.00)"  # no −0.00
    assert verdict(Gain(0.1, None)) == "0.10 less, one seed"


def test_sentences_follow_from_the_numbers():
    assert conclusions(CLIMB, 22.0) == [
        "1 of 3 changes made the error smaller, beyond chance: batch (by 4.00).",
        "1 of 3 changes made the error larger, beyond chance: noise (by 3.07).",
        "No difference beyond chance: flip.",
    ]
    assert conclusions(AWAY, 22.0) == [
        "1 of 1 changes made the error larger, beyond chance: a (by 1.07)."
    ]
    one = Group("", "", [rung("a", 5.0), rung("b", 3.0)])
    assert conclusions(one, 22.0) == [
        "Chance may explain any of the differences: one seed cannot tell."
    ]
    assert conclusions(Group("", "", [rung("a", 5.0), rung("b", missing="x")]), 22.0) == []


UNEVEN = Group(
    "Taken away",
    "One alone.",
    [rung("all", 4.0, 4.2, 4.4), rung("a", 5.5), rung("b", 4.3), rung("c", 4.4, 4.4, 4.4)],
)


def test_steps_with_different_numbers_of_seeds_tell_their_own():
    told = ablation_page.rows(UNEVEN)
    assert [row["nme"] for row in told] == [
        "4.20 ± 0.20 (3 seeds)",
        "5.50 (1 seed)",
        "4.30 (1 seed)",
        "4.40 ± 0.00 (3 seeds)",
    ]
    assert conclusions(UNEVEN, 22.0) == [
        "1 of 3 changes made the error larger, beyond chance: a (by 1.30).",
        "No difference beyond chance: b, c.",
    ]
    climbed = Group("", "", [rung("a", 5.0), rung("b", 4.0), rung("c", 3.0, 3.1)], climb=True)
    assert conclusions(climbed, 22.0)[-1] == "One seed each, which cannot tell: b."


def test_times_of_different_devices_are_kept_apart():
    devices = ["cpu", "H100", "cpu"]
    mixed = replace(UNEVEN.rungs[0], seconds=[200.0, 9.0, 400.0], devices=devices)
    once = replace(UNEVEN.rungs[1], seconds=[3.0])
    told = replace(UNEVEN, rungs=[mixed, once])
    assert [row["seconds"] for row in ablation_page.rows(told)] == ["300", "3"]
    assert ablation_page.cost(made_up(told)) == (
        "Training these networks took the processor: 3 on cpu 10.1 min, 1 on H100 9 s."
    )


def test_a_chart_of_different_numbers_of_seeds_says_where_they_stand(tmp_path):
    even = Group("Even", "", [rung("a", 5.0), rung("b", 4.0)])
    text = ablation_page.write_ladder(
        tmp_path / "ladder1", made_up(CLIMB, UNEVEN, even)
    ).read_text()
    captions = re.findall(r"<figcaption>(.+?)</figcaption>", text)
    assert captions[0].startswith("Dots are the mean over 3 seeds, bars one standard deviation")
    assert captions[1].startswith("Dots are the mean over the seeds that the table tells, bars")
    assert captions[2].startswith("Dots are one run each. Least: b, 4.00 %.")


def test_runs_that_learned_nothing_are_counted():
    group = Group("", "", [rung("a", 5.0, 9.1), rung("b", 9.2, 9.5), rung("c", 5.0, 5.1)])
    assert conclusions(group, 10.0)[-1] == (
        "Runs that are less than a tenth better than the mean face: a (1), b (2)."
    )
    assert not any("a tenth better" in told for told in conclusions(group, 20.0))
    other = replace(group, alike=False)  # of other faces or points
    assert conclusions(other, 10.0) == conclusions(group, 10.0)[:-1]


def test_the_lead_tells_the_whole_climb(page):
    # 11 of the course; the top is the climb's last, (9.1 + 11.3 + 9.7) / 3
    assert (
        "Always answering the mean face misses by 22.00 % of the distance between the outer eye "
        "corners, course by 11.00 ± 1.00 %, and with all 3 changes by 10.03 ± 1.14 %: the error "
        "is divided by 1.1."
    ) in words(page)


def test_the_lead_of_a_climb_that_is_not_done_counts_what_is():
    begun = Group("", "", [*CLIMB.rungs, rung("last", missing="not trained yet")], climb=True)
    assert "and with 3 of 4 changes by 10.03 ± 1.14 %" in ablation_page.lead(made_up(begun))


def test_the_lead_of_a_climb_that_ends_worse_says_so():
    worse = Group("", "", [rung("course", 5.0, 5.0), rung("noise", 10.0, 10.0)], climb=True)
    assert ablation_page.lead(made_up(worse)).endswith("the error is 2 times as large.")


def test_a_first_step_that_learned_nothing_is_not_what_the_lead_boasts_of():
    stuck = Group("", "", [rung("course", 80.0, 76.0), rung("ours", 5.0, 6.0)], climb=True)
    # 22 of the mean face over 5.5, not 78 over 5.5
    assert ablation_page.lead(made_up(stuck)).endswith("the mean face's error is divided by 4.")


def test_the_page_shows_all_numbers_and_why_some_are_missing(page):
    told = words(page)
    assert "noise noise=1 Why noise. 10.03 ± 1.14 3.07 more (2.78 to 3.35) 2 100" in told
    assert "gone gone=1 no list here – – – –" in told
    assert "against the one before" in told and "against all" in told


def test_every_figure_has_a_caption_and_words_for_those_who_cannot_see_it(page):
    text = page.read_text()
    captions = re.findall(r"<figcaption>(.+?)</figcaption>", text)
    pictures = re.findall(r'<img src="(.+?)" width="\d+" height="\d+" alt="(.+?)"', text)
    assert len(captions) == len(pictures) == text.count("<figure>") == 2
    assert all((page.parent / file).is_file() for file, _ in pictures)
    assert "Least: flip, 6.97 ± 1.03 %." in captions[0]
    assert pictures[0][1] == "The ladder: NME of each of 4 steps as a dot with its deviation"


def test_what_was_measured_once_alone_has_no_chart_and_one_seed_no_deviation(tmp_path):
    alone = Group("Weights", "", [rung("random", 5.0), rung("fetched", missing="offline")])
    climbed = Group("The ladder", "", [rung("a", 5.0), rung("b", 4.0)], climb=True)
    told = ablation_page.write_ladder(tmp_path / "ladder1", made_up(climbed, alone, seeds=1))
    text = told.read_text()
    assert text.count("<figure>") == 1 and "offline" in text
    assert "Dots are one run each. Least: b, 4.00 %." in text
    assert 'alt="The ladder: NME of each of 2 steps as a dot"' in text


def test_the_start_page_leads_to_it(page):
    assert 'href="ladder1/index.html"' in (page.parents[1] / "index.html").read_text()


def test_a_page_of_drawn_faces_says_so(tmp_path):
    told = ablation_page.write_ladder(tmp_path / "ladder1", made_up(synthetic=True))
    assert "None of the numbers says anything about real ones" in words(told)


def test_numbers_are_read_as_they_were_written(page):
    assert ablation_page.read(page.parent / "ladder.json") == made_up()


@pytest.mark.parametrize("text", ["", "{}", '{"groups": 3}', '{"groups": [{"rungs": [{}]}]}'])
def test_other_files_are_refused_in_one_line(tmp_path, text):
    file = tmp_path / "ladder.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"ladder\.json: not the numbers of a ladder"):
        ablation_page.read(file)


def test_markdown_holds_the_same_cells():
    text = ablation_page.markdown(made_up())
    cells = "noise", "`noise=1`", "10.03 ± 1.14", "3.07 more (2.78 to 3.35)", "2", "100"
    assert f"| {' | '.join(cells)} | Why noise. |" in text
    assert "1 of 3 changes made the error smaller, beyond chance: batch (by 4.00)." in text
    assert text.count("\n|---|") == 2


def test_a_run_that_several_groups_show_costs_once():
    shared = rung("same", 5.0, 6.0)
    other = Rung("other", "", "Why.", [4.0, 4.0], [1.0, 4.0], ["cpu"] * 2, 100)
    ladder = made_up(
        Group("", "", [shared, other], climb=True), Group("", "", [shared, rung("gone")]), seeds=2
    )
    assert ablation_page.cost(ladder) == "Training these networks took the processor: 4 on cpu 9 s."


def test_docs_are_written_from_the_numbers(tmp_path, page, capsys):
    from benchmarks.ladders import write

    write(tmp_path / "docs", page.parents[1], tmp_path / "charts")
    kept = tmp_path / "docs" / "ladders" / "part1.json"
    assert json.loads(kept.read_text()) == json.loads((page.parent / "ladder.json").read_text())
    text = (tmp_path / "docs" / "ladders.md").read_text()
    assert text.startswith("# What each step buys") and "\n## Part 1\n" in text
    assert len(list((tmp_path / "charts").rglob("*.png"))) == 2
    kept.write_text(kept.read_text().replace('"mean_face": 22.0', '"mean_face": 44.0'))
    write(tmp_path / "docs", None, None)
    assert "misses by 44.00 %" in (tmp_path / "docs" / "ladders.md").read_text()


def test_a_quick_ladder_stands_in_docs_only_until_there_is_a_whole_one(tmp_path):
    from benchmarks.ladders import write

    kept = tmp_path / "docs" / "ladders" / "part2.json"
    for folder, seeds, expected in (("2-quick", 2, 2), ("2", 3, 3), ("2-quick", 4, 3)):
        ablation_page.write_ladder(tmp_path / f"ladder{folder}", made_up(part="2", seeds=seeds))
        write(tmp_path / "docs", tmp_path, None)
        assert ablation_page.read(kept).seeds == expected
