from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import walk
from scipy.special import stdtrit

from benchmarks.ladders import DOCS, write
from common.report import ablation_page
from common.report.ablation_page import Ablation, Effect, Result, Table, effect_of
from common.system.errors import UserError


def result(name, *errors, missing=""):
    count = len(errors)
    seconds, devices = [2.0] * count, ["cpu"] * count
    return Result(name, f"{name}=1", f"Why {name}.", list(errors), seconds, devices, 100, missing)


def table(*results, title="A question", cumulative=False, comparable=True):
    return Table(title, "One at a time.", list(results), cumulative, comparable)


ADDED = table(
    result("course", 10.0, 12.0, 11.0),
    result("batch", 6.0, 8.2, 6.8),  # 4.0, 3.8, 4.2 less
    result("flip", 6.1, 8.1, 6.7),  # 0.1 more, 0.1 and 0.1 less
    result("noise", 9.1, 11.3, 9.7),  # 3.0, 3.2, 3.0 more
    title="The ladder",
    cumulative=True,
)
LEFT_OUT = table(
    result("all", 5.0, 6.0, 7.0), result("a", 6.0, 7.1, 8.1), result("gone", missing="no list here")
)
MIXED = {"seconds": [200.0, 9.0, 400.0], "devices": ["cpu", "H100", "cpu"]}
UNEVEN = table(
    replace(result("all", 4.0, 4.2, 4.4), **MIXED),
    *(result("a", 5.5), result("b", 4.3), result("c", 4.4, 4.4, 4.4)),
)
SINGLE = table(result("a", 5.0), result("b", 4.0), title="Seeds")
ALONE = table(result("random", 5.0), result("downloaded", missing="offline"))


def ablation(*tables, **changes):
    command = "python run_part.py ladder 1 --seeds 3"
    tables = list(tables or (ADDED, LEFT_OUT))
    made = Ablation("1", "Trained on 9 faces.", command, "2.9", False, 3, 22.0, tables)
    return replace(made, **changes)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    contents = ablation(ADDED, UNEVEN, SINGLE, ALONE)
    return ablation_page.write_ablation(tmp_path_factory.mktemp("reports") / "ladder1", contents)


def words(page):
    return walk.read(page)[0].text


def within(effect):
    return (effect.high - effect.low) / 2


@pytest.mark.parametrize("part", "123")
def test_published_effects_are_those_of_the_formula(part):
    """Student's t of pairs of the same seed, in all tables that compare with their first."""
    published = ablation_page.read(DOCS / "ladders" / f"part{part}.json")
    for table in published.tables[1:]:
        (first, none), *others = table.rows
        assert none is None
        for after, effect in others:
            if not after.errors:
                assert effect is None
                continue
            n = min(len(first.errors), len(after.errors))
            off = np.subtract(first.errors[:n], after.errors[:n])
            half = stdtrit(len(off) - 1, 0.975) * off.std(ddof=1) / len(off) ** 0.5
            assert within(effect) == pytest.approx(half, abs=1e-9)
            assert (effect.mean, effect.n) == (pytest.approx(off.mean(), abs=1e-9), len(off))


def test_seeds_that_both_have_are_paired_and_a_single_run_is_compared_with_all():
    one, both = (effect_of([4.0, 4.2, 4.4], after) for after in ([5.0], [5.0, 5.4]))
    assert one.mean == pytest.approx(-0.8)
    # standard deviation 0.2 with two degrees of freedom; means of three runs and of one
    assert within(one) == pytest.approx(4.302652729911275 * 0.2 * (1 / 3 + 1) ** 0.5, rel=1e-9)
    # differences of 1.0 and 1.2, standard deviation 0.2 / 2 ** 0.5, one degree of freedom
    assert both.mean == pytest.approx(-1.1)
    assert within(both) == pytest.approx(12.706204736174694 * 0.1, rel=1e-9)
    back = effect_of([5.0, 5.4], [4.0, 4.2, 4.4])
    assert back == pytest.approx((-both.mean, -both.high, -both.low, 2))


def test_values_of_the_recipe_have_the_effects_of_changes_made_alone():
    again = table(result("all", 1.0), replace(result("", 4.0), change="a=1 b=2 la=3"))
    effects = ablation(ADDED, LEFT_OUT, again).effects
    assert {name: one.n for name, one in effects("a").items()} == {"a=1": 3, "a=1 b=2 la=3": 1}
    assert effects("a")["a=1"] == LEFT_OUT.rows[1][1]
    assert list(effects("b")) == ["a=1 b=2 la=3"]
    assert effects("noise") == effects("gone") == {}
    words = ablation(ADDED, LEFT_OUT).effect_in_words
    assert words("a").startswith("NME 1.07 higher (") and words("a").endswith(") with `a=1`")
    assert words("noise") == ""
    recipe = table(result("all", 5.0), replace(result("next", 4.0), change="a=1 b=2 c=3 d=4"))
    assert ablation(ADDED, recipe).effects("d") == {}  # not a change of d alone
    baseline, changed, effect = ablation(ADDED, recipe).comparison("next").values()
    assert (baseline.name, changed.name, effect.mean) == ("all", "next", 1.0)
    assert ablation(ADDED).comparison("next") is None


def test_values_are_written_with_their_spread():
    assert result("", 10, 12, 11).spread == "11.00 ± 1.00"
    assert result("", 2.5).spread == "2.50"
    assert result("").spread == "–"
    assert str(Effect(4.0, 3.8, 4.2, 3)) == "4.00 less (3.80 to 4.20)"
    assert str(Effect(-3.0, -3.2, -2.8, 3)) == "3.00 more (2.80 to 3.20)"
    assert str(Effect(0.1, -0.2, 0.4, 3)) == "0.10 less (−0.20 to 0.40)"
    assert str(Effect(0.001, -0.001, 0.003, 3)) == "0.00 less (0.00 to 0.00)"  # no −0.00
    assert str(effect_of([3.0], [2.9])) == "0.10 less, one seed"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (ADDED, {"count": 3, "smaller": {"batch": 4.0}, "larger": {"noise": 3.07},
                 "unclear": ["flip"]}),
        (LEFT_OUT, {"count": 1, "larger": {"a": 1.07}}),
        (UNEVEN, {"count": 3, "larger": {"a": 1.3}, "unclear": ["b", "c"]}),
        (ALONE, {"count": 0}),
        (table(result("a", 5.0), result("b", 4.0), result("c", 3.0, 3.1), cumulative=True),
         {"count": 2, "unclear": ["c"], "single": ["b"]}),
        (table(result("a", 5.0), result("b", missing="x"), result("c", 3.0), cumulative=True),
         {"count": 1, "single": ["c"]}),
        (table(result("a", 5.0), result("b", 19.9)),  # over 0.9 times 22
         {"count": 1, "single": ["b"], "stuck": {"b": 1}}),
        (table(result("a", 5.0), result("b", 19.9), comparable=False),  # of other faces or points
         {"count": 1, "single": ["b"]}),
    ],
)  # fmt: skip
def test_findings_are_sorted_by_their_intervals(shown, expected):
    found = shown.findings(22.0)
    for sign in ("smaller", "larger"):
        assert found.pop(sign) == pytest.approx(expected.pop(sign, {}), abs=0.005)
    assert {name: value for name, value in found.items() if value or name == "count"} == expected


@pytest.mark.parametrize(
    ("results", "factor", "stuck", "text"),
    [
        (ADDED.results, 11 / (30.1 / 3), False, "all 3 changes 10.03 ± 1.14 %"),
        ([*ADDED.results, result("last", missing="not yet")], 11 / (30.1 / 3), False, "3 of 4 "),
        ([result("course", 5.0, 5.1), result("noise", 10.0, 10.2)], 0.5, False, "is 2 times as"),
        # 22 of the mean face over 5.5, not 78 over 5.5
        ([result("course", 80.0, 76.0), result("ours", 5.0, 6.0)], 4, True, "is divided by 4."),
    ],
)
def test_the_lead_compares_all_changes_with_the_course(results, factor, stuck, text):
    shown = ablation(table(*results, cumulative=True))
    lead = shown.lead()
    assert (lead["factor"], lead["stuck"]) == (pytest.approx(factor), stuck)
    assert text in ablation_page.markdown([shown])


def test_the_page_shows_all_numbers_and_why_some_are_missing(page):
    text = words(page)
    rows = " ".join(cell.text for cell in walk.read(page)[0].all("th", "td"))
    assert "noise noise=1Why noise. 10.03 ± 1.14 3.07 more (2.78 to 3.35) 2 100" in rows
    assert "downloaded downloaded=1offline – – – –" in rows
    assert "against the row above" in text and "against all" in text
    for row in ("4.20 ± 0.20 (3 seeds) – 300 ", "5.50 (1 seed) ", "4.40 ± 0.00 (3 seeds) "):
        assert row in rows  # seconds of the first seed's device alone
    assert 'href="ladder1/index.html"' in (page.parents[1] / "index.html").read_text()
    assert "synthetic" not in text.casefold()
    assert page.read_text().count("<ul>") == 4  # sections, and sentences of all tables but one
    read = ablation_page.read(page.parent / "ladder.json")
    assert read == ablation(ADDED, UNEVEN, SINGLE, ALONE)
    spent = ablation(UNEVEN, UNEVEN).seconds()  # a run that two tables show counts once
    assert {device: (len(each), sum(each)) for device, each in spent.items()} == {
        "cpu": (6, 608.0), "H100": (1, 9.0)
    }  # fmt: skip


def test_the_page_of_synthetic_faces_says_so(tmp_path):
    page = ablation_page.write_ablation(tmp_path / "ladder1", ablation(ALONE, synthetic=True))
    assert "None of the numbers says anything about real ones" in words(page)


def test_charts_say_what_their_dots_are(page):
    expected = (  # one row alone has no chart
        ("the mean over 3 seeds, bars", "flip, 6.97 ± 1.03"),
        ("the mean over the seeds of the table", "all, 4.20 ± 0.20"),
        ("one run each", "b, 4.00"),
    )
    for caption, (dots, least) in zip(walk.captions(page), expected, strict=True):
        assert f"Dots are {dots}" in caption and f"Least: {least} %." in caption
    alts = [picture["alt"] for picture in walk.read(page)[0].all("img")]
    assert alts[0] == "The ladder: NME of each of 4 rows as a dot with its standard deviation"
    assert alts[2] == "Seeds: NME of each of 2 rows as a dot"


@pytest.mark.parametrize(
    "text", ["", "{}", '{"tables": 3}', '{"tables": [{"results": [{}]}]}', "[]"]
)
def test_other_files_are_refused_in_one_line(tmp_path, text):
    file = tmp_path / "ladder.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"ladder\.json: not the numbers of a ladder"):
        ablation_page.read(file)


def test_docs_are_written_from_the_numbers(tmp_path, capsys, small_runs):
    """Of whole ladders, and of a quick one until there is a whole one."""
    docs, charts, measured = tmp_path / "docs", tmp_path / "charts", {}
    for folder, mean_face in (("1-quick", 20.0), ("1", 30.0), ("1-quick", 40.0)):
        measured[folder] = ablation_page.as_json(ablation(SINGLE, ALONE, mean_face=mean_face))
        file = tmp_path / f"ladder{folder}" / "ladder.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(measured[folder])
        write(docs, tmp_path, None)
        committed = docs / "ladders" / "part1.json"
        assert committed.read_text() == measured["1" if "1" in measured else "1-quick"]
    write(docs, None, charts)
    drawn = list(charts.rglob("*.png"))
    assert list(map(Path, capsys.readouterr().out.splitlines())) == drawn and len(drawn) == 1
    assert "30.00 %" in (docs / "ladders.md").read_text()


def test_committed_docs_are_those_of_the_committed_numbers(tmp_path):
    (tmp_path / "ladders").symlink_to(DOCS / "ladders")
    write(tmp_path, None, None)
    assert (tmp_path / "ladders.md").read_text() == (DOCS / "ladders.md").read_text()
