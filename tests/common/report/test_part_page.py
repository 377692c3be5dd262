import csv
import json
import math
import re
from dataclasses import replace

import made_up_reports
import pytest
import torch
import walk
from made_up_reports import COUNT

from common.augmentation import affine_matrices
from common.crops import transform_points
from common.keypoints import IMM_58, neighbours
from common.metrics import METRICS
from common.report import error_section
from common.report.face_measures import ATTRIBUTES, face_attributes
from common.report.page import rounded
from common.report.part_page import write_report


@pytest.fixture
def marks(monkeypatch):
    return made_up_reports.draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        made_up_reports.draw_nothing(patch)
        return write_report(tmp_path_factory.mktemp("reports"), made_up_reports.report())


def write(folder, **changes):
    """The path and the visible words of a page; error_section's results by ``results``."""
    path = write_report(folder, made_up_reports.report(**changes))
    return path, walk.read(path)[0].text


def why(path):
    return json.loads((path.parent / "metrics.json").read_text())["why"]


def test_captions_hold_the_numbers_of_the_run(written):
    captions = " ".join(walk.captions(written))
    for words in (
        "Augmented: 3.0 px to the right, 4.0 px down",
        "the training loss went from 0.3 to 0.1",
        "the lowest, 0.0667, came in epoch 3",
        "costs 0.4, 6 times the last test loss",
        "circle-0: NME 1.0 %",  # the best
        "circle-11: NME 12.0 %. Mean of “side”: 7.0 %, of all: 6.5 %.",  # the worst
        "Half of the 12 faces stay below 6.5 %, nine in ten below 10.9 %; 4 lie beyond 8 %",
        "Lowest mean: 6.0 % (front); highest: 7.0 % (side)",
        "The 6 kernels of convolution 1, 5 × 5 pixels",
    ):
        assert words in captions


@pytest.mark.parametrize("flipped", [False, True])
def test_an_augmented_face_says_how_it_was_moved(tmp_path, marks, flipped):
    images, points = made_up_reports.report().samples
    of_both, side = torch.ones(2), torch.tensor([made_up_reports.WIDTH, made_up_reports.HEIGHT])
    angle = math.radians(7) * of_both  # clockwise, and mirrored after that
    shift, flips = torch.tensor([[-12.0, 0]] * 2), torch.tensor([flipped] * 2)
    moved = transform_points(points, affine_matrices(angle, 1.05 * of_both, shift, flips, side))
    moved = moved[:, IMM_58.flip_order] if flipped else moved
    path, _ = write(tmp_path, augmented=(images, moved))
    turn = "mirrored, rotated by 7° anticlockwise" if flipped else "rotated by 7° clockwise"
    expected = f"Augmented: {turn}, scaled by 1.05, 12.0 px to the left"
    assert [text for text in walk.captions(path) if "Augmented" in text] == [expected] * 2


def test_why_training_costs_more_than_the_test_follows_from_the_recipe(tmp_path, marks):
    plain = made_up_reports.report()
    rows = [("no_aug_fraction", "0.3", "why"), ("flip_tta", "True", "why")]
    words = {
        "improved": "an average over an epoch in which the network still improved",
        "harder": "augmented, hence harder",
        "flipped": "and its mirror image",
        "easier": "In the last 30 % of a cycle's steps",
    }
    for name, changes, said in (
        ("augmented", {}, {"improved", "harder"}),
        ("plain", {"augmented": plain.samples}, {"improved"}),
        ("recipe", {"recipe": rows}, set(words)),
    ):
        path, _ = write(tmp_path / name, **changes)
        captions = " ".join(walk.captions(path))
        assert {key for key, text in words.items() if text in captions} == said


def test_the_worst_faces_are_measured_beside_the_median(written):
    heads, *rows = walk.table(written, "Measures of the worst faces")
    assert heads[1:] == ["median of all", "circle-11", "circle-10", "circle-9", "circle-8"]
    results = made_up_reports.results()
    measured = face_attributes(results.images, results.all_points, IMM_58)
    for (key, values), (name, *shown) in zip(measured.items(), rows, strict=True):
        assert name == ATTRIBUTES[key].name
        expected = [values.median().item(), *values[[11, 10, 9, 8]].tolist()]
        numbers = [float(text.replace("−", "-")) for text in shown]
        assert numbers == pytest.approx(expected, rel=0.01)


def test_single_points_are_counted_beside_the_faces(written):
    made = made_up_reports.results()
    eyes = (made.truth[:, 21] - made.truth[:, 13]).norm(dim=-1)  # IMM's outer eye corners
    errors = 100 * (made.predicted - made.truth).norm(dim=-1) / eyes[:, None]
    share = rounded(100 * (errors > 8).double().mean().item())
    assert f"{share} % of the single points are farther off" in walk.read(written)[0].text
    assert any(f"all {12 * 58} single points" in words for words in walk.captions(written))
    assert (written.parent / "figures" / "single-points.png").is_file()


def test_metrics_and_history_are_beside_the_page(written):
    report = made_up_reports.report()
    metrics = json.loads((written.parent / "metrics.json").read_text())
    assert metrics.items() >= report.metrics.items()
    assert metrics["network"] == "SmallNet" and metrics["recipe"] == "best"
    assert metrics["parameters"] == 6 * 26 + 10 * 55 + 11 * 116
    with open(written.parent / "history.csv", newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert rows == report.history


def test_every_measure_is_beside_that_of_the_mean_face(written):
    _, *rows = walk.table(written, "Metrics")
    values = made_up_reports.report().metrics
    for (key, metric), row in zip(METRICS.items(), rows, strict=True):
        numbers = [f"{times * values[key]:g} {metric.unit}".strip() for times in (1, 20)]
        assert row == [metric.name, *numbers, metric.meaning]


def test_the_film_is_in_the_page_as_numbers_and_in_still_pictures(written, tmp_path, marks):
    tree, _ = walk.read(written)
    made = made_up_reports.report().snapshots
    numbers = json.loads(next(tree.all("script")).inside[0])
    answers = torch.tensor(numbers["answers"])
    torch.testing.assert_close(answers, made.predictions, atol=0.051, rtol=0)
    assert numbers["names"] == ["before training"] + [f"after epoch {e}" for e in (1, 2, 3)]
    assert numbers["nme"] == [["40.0", "60.0"], ["20.0", "30.0"], ["10.0", "15.0"], ["5.0", "7.0"]]
    assert numbers["means"] == ["50.0", "25.0", "12.5", "6.0"]
    assert numbers["pairs"] == [list(pair) for pair in neighbours(IMM_58, range(58))]
    (film,) = [box for box in tree.all("div") if box["class"] == "film"]
    assert "hidden" in film.attributes  # until its script runs
    (slider,) = tree.all("input")
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "3")
    assert "by 50 % of" in tree.text and "halfway there after epoch 1" in tree.text
    stills = "50.0 % before training, 12.5 % after epoch 2, 6.0 % after epoch 3"
    assert any(stills in caption for caption in walk.captions(written))
    assert (written.parent / "figures" / "watched-stills.png").is_file()
    # A network that learned nothing is not said to be half way.
    _, words = write(tmp_path, snapshots=replace(made, nme=made.nme.flip(0)))
    assert "by 6 % of" in words and "halfway" not in words


def test_what_goes_with_the_error_is_reported_drawn_and_kept_in_the_metrics(tmp_path, marks):
    path, words = write(tmp_path, results=made_up_reports.many_results())
    assert "falls with mean brightness (ρ −1.00, −1.00 to −1.00; explains 100 %)" in words
    found = why(path)
    effects = found.pop("effects")
    assert effects[0]["name"] == "mean brightness, of 255" and effects[0]["found"]
    assert (found["faces"], found["parts"], found["people"], found["same"]) == (40, 40, False, [])
    names = [effect["name"] for effect in effects]
    assert {"view", "grey or colour", "eye distance in the original picture, px"} <= set(names)
    _, *rows = walk.table(path, "What goes with the error")
    assert [row[0] for row in rows] == names
    shown = [row[-1] != "no effect found" for row in rows]
    assert shown == [effect["found"] for effect in effects]
    captions = [text for text in walk.captions(path) if "ρ" in text or "ε²" in text]
    assert len(captions) == error_section.STRONGEST
    assert captions[0].startswith("Mean brightness: ρ −1.00, −1.00 to −1.00. It explains 100 %")
    dark = captions[0].removesuffix("where it is highest.").split("9 faces: ")[1]
    low, high = (float(number) for number in re.findall(r"[\d.]+(?= %)", dark))
    assert low > high


def test_of_many_effects_three_are_named_and_the_others_counted(tmp_path, marks):
    results = made_up_reports.many_results()
    noise = 0.02 * torch.rand(40, generator=torch.Generator().manual_seed(0))
    slow = tuple("slow" if one else "fast" for one in results.nme > results.nme.median())
    others = {"picture_eyes": results.nme * (1 + noise), "views": slow, "colours": slow}
    path, words = write(tmp_path, results=replace(results, **others))
    found = [effect for effect in why(path)["effects"] if effect["found"]]
    assert len(found) > 3
    assert f"it goes with {len(found) - 3} more, see the table" in words


@pytest.mark.parametrize("goes_with_error", [True, False])
def test_what_sets_a_bad_face_apart_is_reported_with_its_effect(tmp_path, marks, goes_with_error):
    results = made_up_reports.many_results()
    dark = results.nme.argmax()
    images = results.images.clone()
    images[dark] //= 4
    nme = results.nme if goes_with_error else torch.rand(40, generator=torch.manual_seed(1)) + 1
    nme[dark] = 2 * nme.max()
    path, _ = write(tmp_path, results=replace(results, images=images, nme=nme))
    (caption,) = [text for text in walk.captions(path) if f"circle-{dark}: NME" in text]
    said = "the error goes with that" if goes_with_error else "no effect of that was found"
    assert caption[caption.index("(mean brightness") :].partition(".")[0].endswith(said)


def test_folders_are_not_called_people(tmp_path, marks):
    folders = ("helen", "lfpw") * 20
    changes = {"views": folders, "groups": folders, "colours": ("grey",) * 40}
    path, words = write(tmp_path, results=made_up_reports.many_results(**changes))
    names = {effect["name"] for effect in why(path)["effects"]}
    assert "folder" in names and not names & {"person", "view"}
    assert why(path)["same"] == ["grey or colour"]
    assert "no explanation: grey or colour." in words


def test_names_are_text_and_never_tags(tmp_path, marks):
    names = ("<b>", "a&b", '"quoted"', *made_up_reports.results().names[3:])
    lesson = replace(made_up_reports.LESSON, title="<script>alert(1)</script>")
    path, words = write(tmp_path, lesson=lesson, results=made_up_reports.results(names=names))
    for file in (path, tmp_path / "index.html"):
        tree, faults = walk.read(file)
        assert not list(tree.all("b")) and not faults
        assert next(tree.all("h1", "h2")).text != "" and "<script>alert" not in file.read_text()
    assert "<b>: NME 1.0 %" in words


def test_synthetic_faces_are_marked_on_page_figures_metrics_and_index(tmp_path, marks, written):
    path, words = write(tmp_path, synthetic=True)
    assert "(synthetic faces)" in path.read_text().partition("</title>")[0]
    assert words.index("Synthetic faces.") < words.index("The question")
    assert set(marks) == {"synthetic faces"}
    assert json.loads((path.parent / "metrics.json").read_text())["synthetic"] is True
    assert "Synthetic faces." in (tmp_path / "index.html").read_text()
    for file in (written, written.parents[1] / "index.html"):
        assert "ynthetic" not in file.read_text()


def test_a_single_point_a_single_epoch_and_no_snapshots_make_a_page(tmp_path, marks):
    whole = made_up_reports.report()
    tip = {name: getattr(whole.results, name)[:, 52:53] for name in ("truth", "predicted")}
    results = made_up_reports.results(point_ids=(52,), baseline_nme=None, **tip)
    samples, augmented = (
        (images, points[:, 52:53]) for images, points in (whole.samples, whole.augmented)
    )
    changes = {"samples": samples, "augmented": augmented, "history": whole.history[:1]}
    path, words = write(tmp_path, results=results, snapshots=None, **changes)
    assert "predicts 1 point." in words and "misses the point by" in words
    assert not list(walk.read(path)[0].all("script")) and "Watch it learn" not in words
    captions = " ".join(walk.captions(path))
    assert "training loss 0.3, test loss 0.2." in captions
    assert "the point is 3.0 px to the right, 4.0 px down" in captions
    assert "The ellipse holds two" in captions


@pytest.mark.parametrize("gain", [2.0, -2.0])
def test_another_network_is_compared_face_by_face(tmp_path, marks, gain):
    report = made_up_reports.report()
    metrics = report.metrics | {"beside": {"other": {key: 77.0 for key in METRICS}}}
    few, all_of_them = torch.zeros(COUNT), torch.full((COUNT,), gain / 4)
    few[::4] = gain  # 3 of 12 faces: mean 0.5, standard deviation 0.905
    all_of_them += torch.tensor([0.1, -0.1]).repeat(COUNT // 2)
    side, verdict = ("less", "better") if gain > 0 else ("more", "worse")
    for name, gains, error, sure in (("few", few, 0.26, False), ("all", all_of_them, 0.03, True)):
        beside = {"other": report.results.nme + gains}
        path, words = write(tmp_path / name, metrics=metrics, beside=beside)
        assert f"0.50 ± {error:.2f} % of the eye distance {side} than “other”" in words
        assert (f"it is {verdict} in this one run" in words) is sure
        assert ("no more than noise may explain" in words) is not sure
        _, *rows = walk.table(path, "Metrics of other networks")
        assert [row[-1] for row in rows] == ["77"] * len(METRICS)


def test_commands_in_a_lesson_are_code_and_nothing_is_claimed_of_a_few_faces(written):
    source = written.read_text()
    assert "<li>Run <code>python x.py &lt;2&gt;</code>, then <code>y</code>.</li>" in source
    assert "Nothing is claimed from the errors of the 12 test faces" in source
    assert 'aria-label="What goes with the error"' not in source
