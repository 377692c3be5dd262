import json
import re

import made_up_reports
import pytest
import walk
from made_up_reports import contestant

from common.report.comparison_page import mean_and_deviation, write_comparison


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a comparison's page without drawing; its path and its visible words."""
    made_up_reports.draw_nothing(monkeypatch)

    def write(networks=None, **changes):
        comparison = made_up_reports.comparison(networks, **changes)
        path = write_comparison(tmp_path / "compare", comparison)
        return path, walk.read(path)[0].text

    return write


def test_every_measure_is_beside_the_others_with_its_standard_deviation(write, tmp_path):
    path, _ = write()
    heads, *rows = walk.table(path, "All networks in numbers")
    cells = {name: cells for name, *cells in rows}
    assert heads == ["measure", "Plain", "Normal", "Large", "mean face"]
    assert cells["parameters"] == ["1,000", "1,010", "9,000", "–"]
    assert cells["multiply-adds, million"] == ["1", "1.01", "9", "–"]
    assert cells["time for an epoch, s"] == ["8 ± 0"] * 3 + ["–"]
    assert cells["epochs"] == ["3", "3", "3", "–"]
    # Seeds ended at 9 and 11, at 6 and 8, and both at 9.
    assert cells["NME, %"] == ["10.0 ± 1.4", "7.0 ± 1.4", "9 ± 0", "25"]
    assert cells["loss, wing"] == ["0.5 ± 0"] * 3 + ["0.9"]
    assert json.loads((path.parent / "comparison.json").read_text())["recipe"] == {"epochs": "3"}
    assert 'href="compare/index.html"' in (tmp_path / "index.html").read_text()


def test_the_sentences_hold_the_numbers(write):
    _, text = write()
    for words in (
        "Normal misses a point by 7 % of",
        "the least of 3 networks",
        "would miss by 25 %",
        "Plain costs the fewest multiply-adds, 1.01 times fewer, and misses by 10 %",
        "After the last epoch: Normal 7 %, Large 9 %, Plain 10 %",
        "Large has 8.91 times as many and misses by 9.0 %",
        "over 2 seeds",
        "Two of three <people> are in both.",
        # Seed by seed the gains are -10, 1, 3 and -10, -1, 3: ahead after the last alone.
        "Normal ends 3 % of the eye distance better than Plain on average, and better in 2 of 2 "
        "seeds. It was ahead after 1 of 3 epochs, and stays ahead from epoch 3 on.",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("plain", "normal", "words"),
    [
        ([(9, 9), (9, 9)], [(9, 4), (9, 10)], "2 % of the eye distance better than Plain on"),
        ([(9, 9), (9, 9)], [(9, 4), (9, 10)], "better in 1 of 2"),
        ([(9, 8)], [(10, 9)], "1 % of the eye distance worse than Plain. It was ahead after 0 of"),
        ([(9, 8)], [(8, 7)], "better than Plain. It was ahead after 2 of 2 epochs; this is one"),
        ([(9, 8)], [(10, 9)], "Normal has about as many and misses by 9.0 %"),
    ],
)
def test_what_is_said_of_normalisation_and_size_follows_from_the_seeds(write, plain, normal, words):
    pair = {"Plain": contestant(1000, *plain), "Normal": contestant(1001, *normal)}
    assert words in write(pair)[1]
    assert "batch normalisation" not in write({"Plain": pair["Plain"]})[1]


def test_a_standard_deviation_has_two_digits_and_its_mean_ends_where_it_does():
    values = ((5.612, 6.2431), (0.00173, 0.00189), (1480.0, 1520.0))
    cells = ["5.93 ± 0.45", "0.00181 ± 0.00011", "1,500 ± 28"]
    assert list(map(mean_and_deviation, values)) == cells


def test_every_kernel_at_work_has_a_sentence_and_synthetic_faces_are_marked(write):
    path, text = write(synthetic=True)
    pattern = r"Kernel \d: (?:An edge|A bright|A dark)[^.]*\(.*?% of its energy\)\."
    assert len(re.findall(pattern, text)) >= 3
    assert re.search(r"Plain: 4 kernels of 5 × 5 pixels; by their purest part \d", text)
    assert "Synthetic faces." in text
    assert "(synthetic faces)" in path.read_text().partition("</title>")[0]
