import json
import re
from dataclasses import replace

import made_up_reports
import pytest
import walk

from common.report.index_page import write_index
from common.report.part_page import write_report

RECIPES = (
    [("epochs", "3", "enough"), ("batch", "16", "small"), ("rotation", "10.0", "turned")],
    [("epochs", "9", "more"), ("batch", "16", "small"), ("he_init", "True", "strong")],
)


@pytest.fixture
def two_parts(tmp_path, monkeypatch):
    """A folder with the pages of two parts whose recipes differ; figures are not drawn."""
    made_up_reports.draw_nothing(monkeypatch)
    for number, recipe in enumerate(RECIPES, 1):
        names = {"folder": f"part{number}", "title": f"Part {number}: circles"}
        carried = f"Roundness, {number} times."
        lesson = replace(made_up_reports.LESSON, carries_over=carried, **names)
        changes = {"lesson": lesson, "recipe": recipe, "recipe_name": f"recipe{number}"}
        write_report(tmp_path, made_up_reports.report(**changes))
    return tmp_path


def links(path):
    every = [link["href"] for link in walk.read(path)[0].all("a")]
    return [link for link in every if not re.search("(glossary|moving).html", link)]


def change_metrics(folder, keep=None, **more):
    file = folder / "metrics.json"
    metrics = json.loads(file.read_text()) | more
    file.write_text(json.dumps({key: metrics[key] for key in keep or metrics}))


def test_the_start_page_leads_through_the_parts_side_by_side(two_parts):
    index = two_parts / "index.html"
    assert links(index) == ["#part1", "#part2", "#numbers", "part1/index.html", "part2/index.html"]
    heads, *rows = walk.table(index, "All runs in numbers")
    assert heads == ["measure", "Part 1: circles", "Part 2: circles"]
    cells = {name: cells for name, *cells in rows}
    assert cells["recipe"] == ["recipe1", "recipe2"]
    assert cells["faces to train on"] == ["40", "40"] and cells["training time"] == ["75 s"] * 2
    assert "1.5 (mean face 30)" in next(iter(list(cells.values())[8:]))
    words = walk.read(index)[0].text
    for text in (
        "SmallNet, 1,982 weights in 2 convolutions and 1 fully connected layer",
        "a picture of 64 × 48 pixels in, 58 points out",
        "3 epochs on 40 faces took 75 s",
        "would miss by 30 %, 20 times as much",
        "Of the 3 values that Part 1 sets in its recipe, Part 2 keeps 1 (batch), changes 1 "
        "(epochs 3 → 9), leaves out 1 (rotation), adds 1 (he_init True).",
        "Roundness, 2 times.",
        "trained for 2.5 min in all",
    ):
        assert text in words


@pytest.mark.parametrize(("shares", "words"), [((18.8, 4.2), "easier?"), ((2.0, 4.2), "care?")])
def test_shares_of_failures_of_one_point_and_of_58_are_explained(two_parts, shares, words):
    assert "<strong>Why" not in (two_parts / "index.html").read_text()
    for part, share, count in zip(("part1", "part2"), shares, (1, 58), strict=True):
        change_metrics(two_parts / part, fr8=share, n_points=count)
    assert f"{words}</strong>" in write_index(two_parts).read_text()


def test_a_part_of_several_steps_shows_what_each_of_them_adds(two_parts):
    values = [{name: value for name, value, _ in recipe} for recipe in RECIPES]
    between = values[0] | {"flip": "0.5"}
    stairs = [{"height": "9"}, values[0], between, values[1]]
    change_metrics(two_parts / "part2", stairs=stairs)
    words = walk.read(write_index(two_parts))[0].text
    assert "Part 2, step (a) keeps 3 (epochs, batch, rotation), adds 1 (flip 0.5)." in words
    assert (
        "Of the 4 values that Part 2, step (a) sets in its recipe, Part 2, step (b) keeps 1 "
        "(batch), changes 1 (epochs 3 → 9), leaves out 2 (rotation, flip), adds 1 (he_init True)."
    ) in words


def test_values_of_an_older_recipe_are_compared_under_their_names_of_today(two_parts):
    older = {"steps": "50", "cycles": "2", "flip_average": "True", "average": "0.99"}
    newer = {"max_steps": "50", "restarts": "1", "flip_tta": "False", "ema_decay": "0.99"}
    for part, values in (("part1", older), ("part2", newer)):
        change_metrics(two_parts / part, recipe_values=values)
    words = walk.read(write_index(two_parts))[0].text
    assert (
        "Part 2 keeps 3 (max_steps, restarts, ema_decay), changes 1 (flip_tta True → False)."
        in words
    )


def test_runs_that_say_less_and_pages_of_other_kinds_are_listed(two_parts):
    known = ("title", "question", "nme", "synthetic", "network", "recipe")
    change_metrics(two_parts / "part1", known)
    pages = {"compare": b"<title>A &amp; B</title>", "old": "<title>Grüße</title>".encode("cp1252")}
    for name, text in pages.items():
        (two_parts / name).mkdir()
        (two_parts / name / "index.html").write_bytes(text)
    (two_parts / "a-folder-so-called" / "index.html").mkdir(parents=True)
    (two_parts / "part1" / "figures" / "ordinary.png").write_bytes(b"no picture")
    index = write_index(two_parts)
    tree, _ = walk.read(index)
    assert "Of the 3 values" not in tree.text and "Where are the points?" in tree.text
    assert links(index)[-2:] == ["compare/index.html", "old/index.html"]
    assert "A & B" in tree.text and "a-folder-so-called" not in index.read_text()
    assert [picture["src"] for picture in tree.all("img")] == ["part2/figures/ordinary.png"]


def test_what_cannot_be_read_is_named_and_what_has_no_page_is_left_out(tmp_path):
    for number, numbers in ((1, '{"half": '), (2, '{"nme": 3.0}'), (3, "{}")):
        (tmp_path / f"part{number}").mkdir()
        (tmp_path / f"part{number}" / "index.html").write_text("a page")
        (tmp_path / f"part{number}" / "metrics.json").write_text(numbers)
    (tmp_path / "part3" / "index.html").unlink()
    source = write_index(tmp_path).read_text()
    assert "No part has been run here yet" in source
    assert "part1/metrics.json cannot be read" in source
    assert "part2/metrics.json cannot be read" in source
    assert "part3" not in source
