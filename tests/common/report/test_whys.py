"""The sentences that answer "why" follow from the numbers: both sides of every condition."""

import re
from types import SimpleNamespace

import made_up_reports
import pytest

from common.report.comparison_page import write_comparison
from common.report.page import templates

LINEAR, BLOCK = (SimpleNamespace(name=name) for name in ("Linear", "BasicBlock"))
HEAVY = {"a": SimpleNamespace(parameters=100), "b": SimpleNamespace(parameters=900)}
HEAVY["c"] = HEAVY["b"]
MEASURED = {
    "batch": "NME 2.00 higher (0.50 to 3.50) with `batch=1`",
    "shift": "NME 0.20 lower (−0.50 to 0.90) with `shift=0`",
    "flip": "NME 0.30 lower (0.10 to 0.50) with `flip=0`",
    "loss": "NME 0.30 higher, one seed with `loss=mse`",
    "width": "",
}


def history(train, test):
    return [{"train_loss": one, "test_loss": two} for one, two in zip(train, test, strict=True)]


FALLING = [20 - epoch for epoch in range(10)]
CASES = [  # macro, arguments, words of this branch, words of the other branches
    ("question", (5.0, 20.0, False), ["4 times smaller", "place of the head"], ["no better"]),
    ("question", (20.0, 20.0, True), ["no better", "face in its middle"], ["times smaller"]),
    ("data", (192, 58, 425_056, True), ["22,272 coord", "enough to mem", "no fixed"], ["too few"]),
    ("data", (192, 58, 1000, False), ["too few", "the same pixels"], ["no fixed", "enough"]),
    ("network", (LINEAR, 83.0), ["fully connected", "is therefore in one"], ["late steps"]),
    ("network", (BLOCK, 31.0), ["late steps", "more than half"], ["connected", "therefore"]),
    (
        "recipe", (8, MEASURED),
        ["batch makes the error larger.", "flip makes the error smaller.",
         "shift, loss, each alone, had no", "The other 4"],
        ["None of these"],
    ),
    ("recipe", (1, {"batch": MEASURED["batch"]}), ["batch makes"], ["The other", "no effect"]),
    ("recipe", (2, {"batch": MEASURED["batch"]}), ["The other value is a"], ["each alone"]),
    ("recipe", (8, {"width": ""}), ["None of these 8 values"], ["Replacing"]),
    ("training", (history([1.0], [2.0]), "mse"), [], ["Why"]),
    (
        "training", (history([3, 2, 1], [2.0, 1.0, 1.5]), "mse"),
        ["rise again", "50 % above", "overfitting", "The loss is the mean squared"],
        ["25 times", "learning rate", "Why stop"],
    ),
    ("training", (history([1, 2], [1.0, 2.0]), "wing"), ["too high", "own"], ["overfitting"]),
    (
        "training", (history(FALLING, FALLING), "smooth_l1"),
        ["fell by 31.2 %", "25 times"], ["rise again", "little"],
    ),
    ("training", (history([2, 1], [1.01, 1.0]), "mse"), ["bring little"], ["lower it further"]),
    (  # one epoch that is low by luck is no overfitting
        "training", (history([1.0] * 40, [1.0] * 20 + [0.8] + [1.0] * 19), "mse"),
        ["Why stop"], ["rise again"],
    ),
    ("film", ("after epoch 7", True), ["Large errors", "the mean face"], ["not improve"]),
    ("film", (None, False), ["not improve"], ["mean face", "Large"]),
    (
        "result", (8.3, 6.0, 18.8, 1),
        ["many faces fail", "18.8 %", "above the median"], ["few faces fail", "single"],
    ),
    ("result", (4.0, 4.0, 0.0, 1), ["few faces fail", "close to the med"], ["many faces"]),
    ("result", (6.0, 5.5, 4.2, 58, 20.0), ["fewer faces", "its 58 points"], ["off together"]),
    ("result", (5.0, 4.5, 20.0, 58, 20.0), ["no fewer faces", "off together"], ["its 58"]),
    ("result", (8.9, 7.7, 47.9, 58, 44.1), ["too close", "its 58"], ["together", "nothing to"]),
    ("faces", (40.0, 5.0, 1), ["8 times", "of its own", "One of the four"], ["no face is lost"]),
    ("faces", (10.0, 5.0, 3), ["no face is lost", "3 of the four"], ["of its own"]),
    ("faces", (10.0, 5.0, 0), ["not measured"], ["of the four"]),
    ("causes", (2, 0.4), ["not cause it", "hand"], ["No effect"]),
    ("causes", (0, 0.4), ["No effect", "0.4", "hand"], ["not cause it"]),
    ("where", (58, (3, 9.0), 1.0, 6.0), ["all directions", "on the jaw, a"], ["same direction"]),
    ("where", (68, (20, 9.0), 4.0, 6.0), ["same direction", "not on the jaw"], ["all direct"]),
    ("where", (1, (52, 9.0), 1.0, 6.0), ["all directions"], ["jaw"]),
    ("views", (4.0, 8.0), ["2 times", "closer together"], ["hardly differ"]),
    ("views", (4.0, 4.4), ["hardly differ"], ["closer together"]),
    ("views", (4.0, 4.0), [], ["Why"]),
    ("kernels", (4.0, 1.0), ["4 times", "few kernels do"], ["share the work"]),
    ("kernels", (2.0, 1.0), ["share the work"], ["few kernels"]),
    ("next", (1.0, 3.0), ["3 times", "more augmentation"], ["Try it"]),
    ("next", (1.0, 0.5), ["Try it", "0.5 times"], ["more augmentation"]),
    (
        "steps", (list("abc"), {"a": 9.0, "b": 6.0, "c": 3.0}, HEAVY),
        ["9 times the weights", "deeper network better?", "heatmaps help?", "2 times smaller"],
        ["not better", "not help"],
    ),
    (
        "steps", (list("abc"), {"a": 3.0, "b": 6.0, "c": 9.0}, HEAVY),
        ["deeper network not better?", "not help here?"], ["times smaller"],
    ),
    ("parts", (18.8, 4.2), ["18.8 % against 4.2 %", "mean of 58"], ["with care"]),
    ("parts", (2.0, 4.2), ["with care", "no more faces fail"], ["though it is easier"]),
]  # fmt: skip


@pytest.mark.parametrize(("macro", "arguments", "here", "elsewhere"), CASES)
def test_the_reasons_follow_from_the_numbers(macro, arguments, here, elsewhere):
    made = getattr(templates().get_template("whys.html").module, macro)(*arguments)
    words = " ".join(re.sub(r"<[^>]+>", "", made).split())
    assert [one for one in here if one not in words] == []
    assert [one for one in elsewhere if one in words] == []
    assert " ." not in words and ".." not in words and "None" not in words.replace("None of", "")


def test_every_macro_is_tested():
    module = templates().get_template("whys.html").module
    named = {name for name in vars(module) if not name.startswith("_")}
    assert named - {"why", "losses"} == {macro for macro, *_ in CASES}


def test_the_page_of_three_steps_says_why(tmp_path, monkeypatch):
    made_up_reports.draw_nothing(monkeypatch)
    page = made_up_reports.comparison(stairs=True)
    page.mean_face.pop("loss")
    source = write_comparison(tmp_path / "part3-steps", page).read_text()
    assert source.count("<strong>Why") == 2
