import json
import re
from dataclasses import replace
from html import unescape

import pytest
import torch

from common.report.comparison_page import Comparison, Contestant, write_comparison

NAMES = ("Plain", "Normal", "Large")
MEANINGS = (("nme", "NME, %", "How far off."), ("loss", "loss", "What training made small."))


def history(*errors):
    return [
        {
            "epoch": epoch,
            "train_loss": error / 50,
            "validation_loss": error / 100,
            "validation_nme": error,
            "seconds": 2.0 * epoch**2,  # 2, 8, 18: a median is no mean
        }
        for epoch, error in enumerate(errors, 1)
    ]


def contestant(parameters, *seeds):
    """A network whose validation NME fell as each of ``seeds`` tells."""
    torch.manual_seed(parameters)
    return Contestant(
        parameters=parameters,
        multiply_adds=1000 * parameters,
        milliseconds=1.5,
        histories=[history(*errors) for errors in seeds],
        errors=[{"nme": errors[-1], "loss": 0.5} for errors in seeds],
        predicted=20 + 10 * torch.rand(3, 68, 2),
        kernels=torch.randn(4, 5, 5),
    )


def made_up(**changes):
    networks = (
        contestant(1000, (20, 10, 9), (20, 12, 11)),
        contestant(1010, (30, 9, 6), (30, 13, 8)),
        contestant(9000, (9, 9, 9), (9, 9, 9)),
    )
    comparison = Comparison(
        networks=dict(zip(NAMES, networks, strict=True)),
        mean_face={"nme": 25.0, "loss": 0.9},
        images=torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8),
        truth=20 + 10 * torch.rand(3, 68, 2),
        face="Some_Body_01",
        setting="All learned from the same 5 faces.",
        people="Two of three <people> are in both.",
        meanings=MEANINGS,
        recipe=[("epochs", "3", "enough for a test")],
        synthetic=False,
        normalised=NAMES[:2],
    )
    return replace(comparison, **changes)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "compare"
    (folder / "settings").mkdir(parents=True)
    (folder / "settings" / "Plain-0.pt").write_bytes(b"trained")
    return write_comparison(folder, made_up())


def words(page):
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.read_text())))


def test_every_measure_stands_beside_the_others_with_its_deviation(page):
    rows = dict(
        re.findall(r'<tr><th scope="row">([^<]+)</th>(.*?)</tr>', unescape(page.read_text()))
    )
    cells = {name: re.findall(r">([^<]+)</td>", row) for name, row in rows.items()}
    assert cells["parameters"] == ["1,000", "1,010", "9,000", "–"]
    assert cells["multiply-adds, million"] == ["1", "1.01", "9", "–"]
    assert cells["time for an epoch, s"] == ["8 ± 0"] * 3 + ["–"]
    assert cells["epochs"] == ["3", "3", "3", "–"]
    # Seeds ended at 9 and 11, at 6 and 8, and both at 9.
    assert cells["NME, %"] == ["10.0 ± 1.4", "7.0 ± 1.4", "9 ± 0", "25"]
    assert cells["loss"] == ["0.5 ± 0"] * 3 + ["0.9"]


def test_the_sentences_are_those_of_the_numbers(page):
    text = words(page)
    assert "Normal misses a point by 7 % of" in text
    assert "the least of 3 networks" in text and "would miss by 25 %" in text
    assert "Plain costs the fewest multiply-adds, 1.01 times fewer, and misses by 10 %" in text
    assert "After the last epoch: Normal 7 %, Large 9 %, Plain 10 %" in text
    assert "Large has 8.91 times as many and misses by 9.0 %" in text
    assert "mean ± standard deviation over 2 seeds" in text
    assert "Two of three <people> are in both." in text


def test_whether_normalisation_was_better_is_told_and_from_when_on(page):
    # Seed by seed the gains are -10, 1, 3 and -10, -1, 3: on average ahead after the last alone.
    assert (
        "With batch normalisation, Normal ends 3 % of the eye distance better than Plain on "
        "average, and better in 2 of 2 seeds. It was ahead after 1 of 3 epochs, and stays ahead "
        "from epoch 3 on."
    ) in words(page)


def test_seeds_that_do_not_agree_are_counted(tmp_path):
    # The gains are 5 and -1.
    networks = {"Plain": contestant(10, (9, 9), (9, 9)), "Normal": contestant(12, (9, 4), (9, 10))}
    text = words(write_comparison(tmp_path / "compare", made_up(networks=networks)))
    assert "ends 2 % of the eye distance better than Plain on average, and better in 1 of 2" in text


@pytest.mark.parametrize(
    ("plain", "normal", "told"),
    [
        ((9, 8), (10, 9), "ends 1 % of the eye distance worse than Plain. It was ahead after 0 of"),
        ((9, 8), (8, 7), "better than Plain. It was ahead after 2 of 2 epochs; this is one seed"),
    ],
)
def test_normalisation_that_is_worse_or_always_ahead_is_told_as_well(tmp_path, plain, normal, told):
    networks = {"Plain": contestant(10, plain), "Normal": contestant(12, normal)}
    assert told in words(write_comparison(tmp_path / "compare", made_up(networks=networks)))


def test_networks_of_one_size_are_not_told_to_differ_in_it(tmp_path):
    networks = {"Plain": contestant(1000, (9, 8)), "Normal": contestant(1001, (10, 9))}
    told = words(write_comparison(tmp_path / "compare", made_up(networks=networks)))
    assert "Normal has about as many and misses by 9.0 %" in told


@pytest.mark.parametrize(
    ("ends", "cell"),
    [
        ((5.612, 6.2431), "5.93 ± 0.45"),
        ((0.00173, 0.00189), "0.00181 ± 0.00011"),
        ((1480.0, 1520.0), "1,500 ± 28"),
    ],
)
def test_a_deviation_has_two_digits_and_its_mean_ends_where_it_does(tmp_path, ends, cell):
    networks = {"Plain": contestant(1000, *((9, end) for end in ends))}
    page = write_comparison(tmp_path / "compare", made_up(networks=networks))
    assert f">{cell}</td>" in page.read_text()


def test_without_the_pair_nothing_is_said_of_normalisation(tmp_path):
    networks = {"Plain": contestant(10, (9, 8)), "Large": contestant(12, (8, 7))}
    page = write_comparison(tmp_path / "compare", made_up(networks=networks))
    assert "batch normalisation" not in words(page)


def test_pictures_numbers_and_the_way_back_are_there_and_networks_stay(page):
    folder = page.parent
    sources = re.findall(r'<img[^>]*src="([^"]+)"', page.read_text())
    assert len(sources) == len(set(sources)) == 3 + 3 + 3
    assert all((folder / source).is_file() for source in sources)
    assert (folder / "settings" / "Plain-0.pt").read_bytes() == b"trained"
    assert 'href="compare/index.html"' in (folder.parent / "index.html").read_text()
    told = json.loads((folder / "comparison.json").read_text())
    assert told["networks"]["Normal"]["errors"][1]["nme"] == 8
    assert told["baseline_mean_face"]["nme"] == 25
    assert told["recipe"] == {"epochs": "3"}


def test_every_filter_at_work_has_a_sentence(page):
    text = words(page)
    pattern = r"Filter \d: (?:An edge|A bright|A dark)[^.]*\(.*?% of its energy\)\."
    assert len(re.findall(pattern, text)) >= 3
    assert re.search(r"Plain: 4 filters of 5 × 5 pixels; by their purest part \d", text)


def test_synthetic_faces_are_marked(tmp_path):
    page = write_comparison(tmp_path / "compare", made_up(synthetic=True))
    assert "Synthetic faces." in words(page)
    assert "(synthetic faces)" in page.read_text()
