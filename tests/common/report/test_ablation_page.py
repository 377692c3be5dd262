import json
import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit

from benchmarks.ladders import DOCS, write
from common.report import ablation_page
from common.report.ablation_page import Result, conclusions, gain, gains, spread, verdict
from common.system.errors import UserError


def result(name, *errors, missing=""):
    count = len(errors)
    seconds, devices = [2.0] * count, ["cpu"] * count
    return Result(name, f"{name}=1", f"Why {name}.", list(errors), seconds, devices, 100, missing)


def group(*results, title="A question", cumulative=False, comparable=True):
    return {
        "title": title,
        "text": "One at a time.",
        "results": list(results),
        "cumulative": cumulative,
        "comparable": comparable,
    }


ADDED = group(
    result("course", 10.0, 12.0, 11.0),
    result("batch", 6.0, 8.2, 6.8),  # 4.0, 3.8, 4.2 less
    result("flip", 6.1, 8.1, 6.7),  # 0.1 more, 0.1 and 0.1 less
    result("noise", 9.1, 11.3, 9.7),  # 3.0, 3.2, 3.0 more
    title="The ladder",
    cumulative=True,
)
LEFT_OUT = group(
    result("all", 5.0, 6.0, 7.0), result("a", 6.0, 7.1, 8.1), result("gone", missing="no list here")
)
UNEVEN = group(
    result("all", 4.0, 4.2, 4.4), result("a", 5.5), result("b", 4.3), result("c", 4.4, 4.4, 4.4)
)


def ablation(*groups, **changes):
    return {
        "part": "1",
        "setting": "Trained on 9 faces.",
        "command": "python run_part.py ladder 1 --seeds 3",
        "torch": "2.9",
        "synthetic": False,
        "seeds": 3,
        "mean_face": 22.0,
        "groups": list(groups or (ADDED, LEFT_OUT)),
    } | changes


@pytest.fixture
def page(tmp_path):
    return ablation_page.write_ablation(tmp_path / "ladder1", ablation())


def words(page):
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.read_text())))


def within(one):
    return (one[2] - one[1]) / 2


def test_a_gain_is_taken_over_pairs_of_the_same_seed():
    one = gain([10, 12, 11], [6, 8.2, 6.8])
    # 4.0, 3.8, 4.2: standard deviation 0.2; Student's t of two degrees of freedom
    assert one[0] == pytest.approx(4.0)
    assert within(one) == pytest.approx(4.302652729911275 * 0.2 / 3**0.5, rel=1e-9)
    assert sum(one[1:]) / 2 == pytest.approx(4.0)
    single = gain([3.0], [2.0])
    assert single[0] == 1.0 and math.isnan(single[1]) and math.isnan(single[2])


def test_runs_without_partners_are_compared_by_the_spread_of_all():
    one = gain([4.0, 4.2, 4.4], [5.0])
    assert one[0] == pytest.approx(-0.8)
    # standard deviation 0.2 with two degrees of freedom; means of three runs and of one
    expected = 4.302652729911275 * 0.2 * (1 / 3 + 1) ** 0.5
    assert within(one) == pytest.approx(expected, rel=1e-9)
    # squares 0.08 and 0.02 with three degrees of freedom
    both = gain([4.0, 4.2, 4.4], [5.0, 5.2])
    expected = 3.182446305284263 * (0.1 / 3 * (1 / 3 + 1 / 2)) ** 0.5
    assert within(both) == pytest.approx(expected, rel=1e-9)
    back = gain([5.0, 5.2], [4.0, 4.2, 4.4])
    assert back == pytest.approx((-both[0], -both[2], -both[1]))


@pytest.mark.parametrize("part", "123")
def test_published_gains_are_those_of_the_formula(part):
    """Student's t by hand, of every table's results against its first."""
    for table in ablation_page.read(DOCS / "ladders" / f"part{part}.json")["groups"]:
        before, *others = (one.errors for one in table["results"] if one.errors)
        for after in others:
            degrees = len(before) - 1
            off = np.subtract(before, after)
            half = stdtrit(degrees, 0.975) * off.std(ddof=1) / len(before) ** 0.5
            assert within(gain(before, after)) == pytest.approx(half, abs=1e-9)
            assert gain(before, after)[0] == pytest.approx(off.mean(), abs=1e-9)


def test_each_result_is_compared_with_the_one_before_or_all_with_the_first():
    assert gains(ADDED)[0] is None
    assert [round(one[0], 3) for one in gains(ADDED)[1:]] == [4.0, 0.033, -3.067]
    first, a, gone = gains(LEFT_OUT)
    assert a[0] == pytest.approx(-1.067, abs=1e-3)
    assert first is gone is None
    gap = group(result("a", 5.0), result("b", missing="x"), result("c", 3.0), cumulative=True)
    assert gains(gap)[2][0] == 2.0


def test_values_are_written_with_their_spread():
    assert spread([10, 12, 11]) == "11.00 ± 1.00"
    assert spread([2.5]) == "2.50"
    assert spread([]) == "–"
    assert verdict((4.0, 3.8, 4.2)) == "4.00 less (3.80 to 4.20)"
    assert verdict((-3.0, -3.2, -2.8)) == "3.00 more (2.80 to 3.20)"
    assert verdict((0.1, -0.2, 0.4)) == "0.10 less (−0.20 to 0.40)"
    assert verdict((0.001, -0.001, 0.003)) == "0.00 less (0.00 to 0.00)"  # no −0.00
    assert verdict((0.1, math.nan, math.nan)) == "0.10 less, one seed"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (ADDED, [("1 of 3", "smaller: batch (by 4.00)."), ("1 of 3", "larger: noise (by 3.07)."),
                 ("No ", "difference: flip.")]),
        (LEFT_OUT, [("1 of 1", "larger: a (by 1.07).")]),
        (UNEVEN, [("1 of 3", "larger: a (by 1.30)."), ("No ", "difference: b, c.")]),
        (group(result("a", 5.0), result("b", 3.0)), [("One seed", "random variation.")]),
        (group(result("a", 5.0), result("b", missing="x")), []),
        (group(result("a", 5.0), result("b", 4.0), result("c", 3.0, 3.1), cumulative=True),
         [("No ", ": c."), ("Inconclusive", ": b.")]),
        (group(result("a", 5.0), result("b", 19.9)),  # over 0.9 times 22
         [("One seed", "variation."), ("Runs ", "mean face: b (1).")]),
        (group(result("a", 5.0), result("b", 19.9), comparable=False),  # of other faces or points
         [("One seed", "variation.")]),
    ],
)  # fmt: skip
def test_sentences_follow_from_the_numbers(table, expected):
    sentences = conclusions(table, 22.0)
    assert len(sentences) == len(expected)
    for sentence, (begin, end) in zip(sentences, expected, strict=True):
        assert sentence.startswith(begin) and sentence.endswith(end)


def test_rows_show_their_own_seeds_and_times_of_one_device():
    devices = ["cpu", "H100", "cpu"]
    mixed = replace(UNEVEN["results"][0], seconds=[200.0, 9.0, 400.0], devices=devices)
    table = UNEVEN | {"results": [mixed, *UNEVEN["results"][1:]]}
    rows = ablation_page.rows(table)
    assert [row["nme"] for row in rows] == [
        "4.20 ± 0.20 (3 seeds)",
        "5.50 (1 seed)",
        "4.30 (1 seed)",
        "4.40 ± 0.00 (3 seeds)",
    ]
    assert [row["seconds"] for row in rows] == ["300", "2", "2", "2"]
    cost = ablation_page.cost(ablation(table, table))  # a run that two tables show costs once
    assert cost.endswith(": 6 on cpu 10.1 min, 1 on H100 9 s.")


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        # (9.1 + 11.3 + 9.7) / 3 of 11
        (ADDED["results"], "all 3 changes 10.03 ± 1.14 %: the error is divided by 1.1."),
        ([*ADDED["results"], result("last", missing="not yet")], "3 of 4 changes 10.03 ± 1.14 %: "),
        ([result("course", 5.0, 5.0), result("noise", 10.0, 10.0)], "error is 2 times as large."),
        # 22 of the mean face over 5.5, not 78 over 5.5
        ([result("course", 80.0, 76.0), result("ours", 5.0, 6.0)],
         ": the mean face's error is divided by 4."),
    ],
)  # fmt: skip
def test_the_lead_compares_all_changes_with_the_course(results, expected):
    lead = ablation_page.lead(ablation(group(*results, cumulative=True)))
    assert "mean face gives an NME of 22.00 %" in lead
    assert expected in lead


def test_the_page_shows_all_numbers_and_why_some_are_missing(page):
    text = words(page)
    assert "noise noise=1 Why noise. 10.03 ± 1.14 3.07 more (2.78 to 3.35) 2 100" in text
    assert "gone gone=1 no list here – – – –" in text
    assert "against the row above" in text and "against all" in text
    assert 'href="ladder1/index.html"' in (page.parents[1] / "index.html").read_text()
    assert "synthetic" not in text.casefold()
    synthetic = ablation(ADDED, synthetic=True)
    again = ablation_page.write_ablation(page.parent, synthetic)
    assert "None of the numbers says anything about real ones" in words(again)


def test_charts_say_what_their_dots_are(tmp_path):
    alone = group(result("random", 5.0), result("downloaded", missing="offline"))
    single = group(result("a", 5.0), result("b", 4.0))
    contents = ablation(ADDED, UNEVEN, single, alone)
    page = ablation_page.write_ablation(tmp_path / "ladder1", contents)
    captions = re.findall(r"<figcaption>(.+?)</figcaption>", page.read_text())
    pictures = re.findall(
        r'<img src="(.+?)" width="\d+" height="\d+" alt="(.+?)"', page.read_text()
    )
    assert len(captions) == len(pictures) == 3  # one row alone has none
    assert all((page.parent / file).is_file() for file, _ in pictures)
    for caption, dots, least in zip(
        captions,
        ("the mean over 3 seeds, bars", "the mean over the seeds of the table", "one run each"),
        ("flip, 6.97 ± 1.03", "all, 4.20 ± 0.20", "b, 4.00"),
        strict=True,
    ):
        assert f"Dots are {dots}" in caption and f"Least: {least} %." in caption
    alts = [alt for _, alt in pictures]
    assert alts[0] == "The ladder: NME of each of 4 rows as a dot with its standard deviation"
    assert alts[2] == "A question: NME of each of 2 rows as a dot"


def test_numbers_are_read_as_they_were_written_and_by_their_older_names(page):
    file = page.parent / "ladder.json"
    assert ablation_page.read(file) == ablation()
    text = file.read_text()
    for old, new in ablation_page.RENAMED.items():
        assert f'"{new}": ' in text
        text = text.replace(f'"{new}": ', f'"{old}": ')
    file.write_text(text)
    assert ablation_page.read(file) == ablation()


@pytest.mark.parametrize("text", ["", "{}", '{"groups": 3}', '{"groups": [{"rungs": [{}]}]}', "[]"])
def test_other_files_are_refused_in_one_line(tmp_path, text):
    file = tmp_path / "ladder.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"ladder\.json: not the numbers of a ladder"):
        ablation_page.read(file)


def test_docs_are_written_from_the_numbers(tmp_path, page, capsys):
    write(tmp_path / "docs", page.parents[1], tmp_path / "charts")
    committed = tmp_path / "docs" / "ladders" / "part1.json"
    assert committed.read_text() == (page.parent / "ladder.json").read_text()
    text = (tmp_path / "docs" / "ladders.md").read_text()
    assert text.startswith("# ") and "\n## Part 1\n" in text and text.count("\n|---|") == 2
    cells = "noise", "`noise=1`", "10.03 ± 1.14", "3.07 more (2.78 to 3.35)", "2", "100"
    assert f"| {' | '.join(cells)} | Why noise. |" in text
    charts = sorted((tmp_path / "charts").rglob("*.png"))
    assert sorted(map(Path, capsys.readouterr().out.splitlines())) == charts and len(charts) == 2
    committed.write_text(committed.read_text().replace('"mean_face": 22.0', '"mean_face": 44.0'))
    write(tmp_path / "docs", None, None)
    assert "44.00 %" in (tmp_path / "docs" / "ladders.md").read_text()


def test_committed_docs_are_those_of_the_committed_numbers(tmp_path):
    (tmp_path / "ladders").symlink_to(DOCS / "ladders")
    write(tmp_path, None, None)
    assert (tmp_path / "ladders.md").read_text() == (DOCS / "ladders.md").read_text()


def test_docs_take_a_quick_ladder_only_until_there_is_a_whole_one(tmp_path):
    committed = tmp_path / "docs" / "ladders" / "part2.json"
    for folder, seeds, expected in (("2-quick", 2, 2), ("2", 3, 3), ("2-quick", 4, 3)):
        file = tmp_path / f"ladder{folder}" / "ladder.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(ablation_page.as_json(ablation(part="2", seeds=seeds)))
        write(tmp_path / "docs", tmp_path, None)
        assert json.loads(committed.read_text())["seeds"] == expected
