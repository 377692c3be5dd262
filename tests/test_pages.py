"""Every part with every recipe, from files on the disk to the page, on a few synthetic faces; and
every kind of page, walked as a reader would."""

import csv
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import made_up_reports
import pytest
import walk
from PIL import Image
from small_sets import shrink_crops

import run_part
from common import checkpoints
from common.keypoints import IBUG_68
from common.photos.finder import FaceKeypoints, face_from_keypoints
from common.report import explanation_page
from common.report.comparison_page import write_comparison
from common.report.index_page import write_index
from common.report.part_page import write_report
from datasets.synthetic.render import render
from parts.studies import ladder, ladder_plans

RECIPES = ("course", "best")
UNITS = ("mse_ratio", "mse_px", "smooth_l1_224", "mae_px_original", "nme", "fr8", "auc8")
POINTS = {"1": 1, "2": 58, "3": 68}
KINDS = ("part1", "part2", "part3", "part9-mixed", "compare", "explain", "ladder1", ".")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # all pages are made first
CHARTS = ("curves", "cumulative", "error", "kernels", "ladder", "layer", "learning-", "responses")
CHARTS += ("single-points", "size", "why", "work")
LEAST = 4.5  # WCAG 2.2 AA: the contrast of text and what lies behind it
TEXTS, GROUNDS = ("ink", "quiet", "link"), ("paper", "card")


def run_parts(folder, small_root, recipe, drawn=()):
    """All parts, run with a recipe on ``small_root``. Of the parts that are ``drawn`` figures have
    few pixels, of others there are none, as drawing takes most of the time."""
    for part in "123":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FACE_CACHE", str(folder.parent / "cache"))
            shrink_crops(patch)
            draw = made_up_reports.draw_coarsely if part in drawn else made_up_reports.draw_nothing
            draw(patch)
            line = [part, "--recipe", recipe, "--epochs", "1", "--device", "cpu"]
            line += ["--data", str(small_root), "--reports", str(folder)]
            assert run_part.main(line) == 0
    return folder


@pytest.fixture(scope="module")
def best_reports(tmp_path_factory, small_root):
    return run_parts(tmp_path_factory.mktemp("best") / "r", small_root, "best", drawn="13")


@pytest.fixture(scope="module")
def small_reports(tmp_path_factory, small_root, best_reports):
    """The reports folder of all parts by recipe."""
    course = run_parts(tmp_path_factory.mktemp("course") / "r", small_root, "course")
    return {"course": course, "best": best_reports}


@pytest.fixture(params=[(part, recipe) for part in "123" for recipe in RECIPES], ids="-".join)
def run(request, small_reports):
    """A part's number, the folder that its run wrote, and the metrics in it."""
    part, recipe = request.param
    folder = small_reports[recipe] / f"part{part}"
    return part, folder, json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def evaluate(small_root, command):
    return partial(command, "evaluate", "--data", small_root, "--device", "cpu")


def test_the_run_leaves_metrics_and_history(run):
    part, folder, metrics = run
    assert (metrics["n_train"], metrics["n_test"]) == ((6, 3) if part == "3" else (8, 4))
    assert metrics["dataset"] == ("ibug" if part == "3" else "imm")
    assert (metrics["synthetic"], metrics["left_out"], metrics["epochs"]) == (False, [], 1)
    assert not list(folder.rglob("*.tmp"))
    assert f"part{part}/index.html" in (folder.parent / "index.html").read_text()
    with open(folder / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    numbers = {name: float(value) for name, value in row.items()}
    assert numbers["epoch"] == 1
    assert numbers["seconds"] == pytest.approx(metrics["seconds"], abs=0.01)
    assert numbers["test_nme"] == pytest.approx(metrics["nme"], rel=1e-4)
    columns = "epoch train_loss test_loss test_nme learning_rate seconds"
    assert list(numbers) == columns.split()


def test_the_page_plays_the_snapshots_and_claims_no_cause_from_a_few_faces(run):
    part, folder, metrics = run
    page = (folder / "index.html").read_text()
    film = json.loads(re.search(r'id="film-numbers">(.*?)</script>', page).group(1))
    assert film["names"] == ["before training", "after epoch 1"]
    assert float(film["means"][1]) == pytest.approx(metrics["nme"], abs=0.06)  # of all test faces
    assert [len(face) for face in film["answers"][0]] == [POINTS[part]] * metrics["n_test"]
    assert metrics["why"]["effects"] == []


def test_evaluate_repeats_the_numbers_of_the_run(run, evaluate):
    _, folder, metrics = run
    repeated = json.loads(evaluate(folder / "checkpoint.pt", "--json")[1])
    numbers, again = (
        {"all": [values[name] for name in UNITS]} | values["per_group"]
        | {"mean face": [values["baseline_mean_face"][name] for name in UNITS]}
        for values in (metrics, repeated)
    )  # fmt: skip
    assert again == {name: pytest.approx(values, rel=1e-5) for name, values in numbers.items()}


def test_without_json_evaluate_prints_a_table(best_reports, evaluate):
    folder = best_reports / "part1"
    metrics = json.loads((folder / "metrics.json").read_text())
    status, table, _ = evaluate(folder / "checkpoint.pt")
    assert status == 0
    rows = {line.split("  ")[0]: line.split() for line in table.splitlines()[2:]}
    assert rows.keys() == {"all", "mean face", *metrics["per_group"]}
    assert f"{metrics['nme']:.5g}" in rows["all"]


def test_the_page_names_other_initial_weights(best_reports, small_root, small_runs, command):
    trained = best_reports / "part3" / "checkpoint.pt"
    line = ["3", "--recipe", "from-heatmaps", "--pretrained", trained, "--epochs", 1]
    assert command(*line, "--device", "cpu", "--data", small_root)[0] == 0
    assert f"--pretrained {trained}." in Path("reports", "part3", "index.html").read_text()


def test_evaluate_takes_one_folder_and_other_boxes(best_reports, evaluate):
    def measured(*more):
        checkpoint = best_reports / "part3" / "checkpoint.pt"
        return json.loads(evaluate(checkpoint, "--json", "--split", *more)[1])

    assert measured("train")["n_test"] == 6
    one, boxed = (measured("lfpw/testset", "--boxes", boxes) for boxes in ("landmarks", "file"))
    assert (one["n_test"], boxed["n_test"], boxed["boxes"]) == (2, 2, "file")
    assert one["per_group"].keys() == {"lfpw/testset"}
    assert boxed["nme"] != one["nme"]


@pytest.fixture(scope="module")
def site(tmp_path_factory, small_root, best_reports):
    """A reports folder with every kind of page: those of runs, and of made-up numbers."""
    reports = tmp_path_factory.mktemp("site") / "reports"
    shutil.copytree(best_reports, reports)
    images, points, _ = render([3], IBUG_68, "crop", (200, 220))
    photo = reports.parent / "Ada & friends.png"
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(photo)
    face = face_from_keypoints((0.0, 0.0, 1.0, 1.0), 1.0, 1.0, points[0].numpy())
    study = ladder_plans.STUDIES["1"]
    start = study.start.changed(epochs=1, batch=4)
    flip = ladder_plans.Change("flip", "Mirrored.", {"flip": 0.5})
    study = replace(study, start=start, changes=(flip,), questions=())
    options = ["--device", "cpu", "--reports", str(reports), "--data", str(small_root)]
    trained = str(reports / "part3" / "checkpoint.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        made_up_reports.draw_coarsely(patch)
        patch.setattr(FaceKeypoints, "predict", lambda *_: [face])
        patch.setattr(explanation_page, "PLACES", 4)
        results = made_up_reports.many_results()
        made_up = made_up_reports.report(results=results, synthetic=True)
        metrics = made_up.metrics | {"beside": {"other": made_up.metrics["baseline_mean_face"]}}
        lesson = replace(made_up.lesson, folder="part9-mixed")
        beside = {"other": results.nme + 1}
        write_report(reports, replace(made_up, lesson=lesson, metrics=metrics, beside=beside))
        write_comparison(reports / "compare", made_up_reports.comparison())
        patch.setitem(ladder.STUDIES, "1", study)
        assert run_part.main(["ladder", "1", "--seeds", "2", *options]) == 0
        assert run_part.main(["explain", str(photo), "--checkpoint", trained, *options]) == 0
    return reports


@pytest.fixture(params=KINDS)
def page(request, site):
    """The path of a page and its tree."""
    path = site / request.param / "index.html"
    return path, walk.read(path)[0]


def test_every_page_that_there_is_is_walked(site):
    there = {path.parent.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert there == set(KINDS)


def test_a_page_is_whole_states_its_language_and_loads_nothing_from_elsewhere(page):
    path, tree = page
    assert walk.read(path)[1] == []  # what is opened is closed
    (html,), (title,), (main,) = (list(tree.all(tag)) for tag in ("html", "title", "main"))
    assert html["lang"] == "en"
    assert title.text and main.text
    source = path.read_text()
    assert "http" not in source and "@import" not in source and "url(" not in source


def test_every_picture_is_there_and_has_an_alternative_text_and_a_caption(page):
    path, tree = page
    figures = list(tree.all("figure"))
    pictures = [picture for figure in figures for picture in figure.all("img")]
    assert pictures and pictures == list(tree.all("img"))  # none is outside of a figure
    for figure in figures:
        (caption,) = figure.all("figcaption")
        assert len(caption.text) > 5
    for picture in pictures:
        assert len(picture["alt"]) > 10
        with Image.open(path.parent / picture["src"]) as image:
            assert image.size == (int(picture["width"]), int(picture["height"]))
    assert len({picture["src"] for picture in pictures}) == len(pictures)


def test_every_link_leads_somewhere(page):
    path, tree = page
    names = [node["id"] for node in tree.all() if node["id"]]
    assert len(names) == len(set(names))
    for link in tree.all("a"):
        assert link.text
        place, _, name = link["href"].partition("#")
        target = path.parent / unquote(place) if place else path
        assert target.is_file(), link["href"]
        if name:
            there, _ = walk.read(target)
            assert name in {node["id"] for node in there.all()}, link["href"]
    for node in tree.all():
        for role in ("aria-labelledby", "aria-describedby", "for", "list"):
            assert set(node[role].split()) <= set(names)


def test_every_section_of_a_page_is_in_its_contents(page):
    _, tree = page
    contents = [link["href"].removeprefix("#") for nav in tree.all("nav") for link in nav.all("a")]
    if contents:  # a comparison has none
        assert contents == [heading["id"] for heading in tree.all("h2")]


def test_headings_go_down_one_step_at_a_time(page):
    headings = [node for node in page[1].all("h1", "h2", "h3", "h4", "h5", "h6")]
    levels = [int(heading.tag[1]) for heading in headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(heading.text for heading in headings)


def test_every_cell_of_a_table_has_a_head(page):
    for table in page[1].all("table"):
        heads, *rows = [list(row.all("th", "td")) for row in table.all("tr")]
        assert all(cell.tag == "th" and cell["scope"] == "col" and cell.text for cell in heads)
        for row in rows:
            assert len(row) == len(heads) and row[0].tag == "th"  # stays in sight on a phone
            assert [cell["scope"] for cell in row if cell.tag == "th"] == ["row"]


def test_a_table_scrolls_in_a_box_of_its_own_and_captions_do_not_scroll(page):
    boxes = [node for node in page[1].all("div") if node["class"] == "scroll"]
    inside = [node for box in boxes for node in box.all("table", "caption", "figcaption")]
    assert inside == list(page[1].all("table")) and len(boxes) == len(inside)
    captions = [node for node in page[1].all() if node["class"] == "caption"]
    assert all(len(node.text) > 5 and node not in inside for node in captions)


def test_charts_are_inverted_in_the_dark_and_photos_are_not(page):
    _, tree = page
    style = "".join(part for node in tree.all("style") for part in node.inside)
    light, dark, print_ = re.findall(r"--chart: (\w+)", style)
    assert (light, dark, print_) == ("none", "invert", "none")
    assert ".chart img { filter: var(--chart); }" in style
    for figure in tree.all("figure"):
        for picture in figure.all("img"):
            name = picture["src"].rpartition("/")[2]
            if picture["width"] != "1":  # drawn
                assert (figure["class"] == "chart") is name.startswith(CHARTS), name


def test_what_scrolls_or_takes_input_is_named_and_reached_by_keyboard(page):
    _, tree = page
    named = [node for node in tree.all() if node["role"] == "region" or node.tag == "nav"]
    labels = [node["aria-label"] for node in named]
    assert all(labels) and len(labels) == len(set(labels))
    assert all(node["tabindex"] == "0" for node in tree.all() if node["class"] == "scroll")
    labelled = {label["for"] for label in tree.all("label") if label.text}
    for control in tree.all("input", "select", "button"):
        assert control["aria-label"] or control["id"] in labelled or control.text


def test_a_page_has_the_figures_of_its_folder_and_stays_under_five_megabytes(page):
    path, tree = page
    files = {path.parent / picture["src"] for picture in tree.all("img")}
    assert {file for file in files if file.parent == path.parent / "figures"} == set(
        (path.parent / "figures").iterdir()
    )
    drawn = sum(file.stat().st_size for file in files) / made_up_reports.COARSE**2
    assert path.stat().st_size + drawn < 5_000_000


def test_text_has_contrast_with_its_background(page):
    """In light, in the dark and in print; every colour has a name, so these are all pairs."""
    style = "".join(part for node in page[1].all("style") for part in node.inside)
    light, dark, print_ = walk.palettes(style)
    assert light.keys() == dark.keys()
    for palette in (light, dark, light | print_):
        pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
        for text, ground in [*pairs, ("alarm-ink", "alarm-paper")]:
            assert walk.contrast(palette[text], palette[ground]) >= LEAST, (text, ground)
    rules = re.sub(r":root \{.*?\}", "", style, flags=re.DOTALL)
    texts = set(re.findall(r"(?<![\w-])color: ([^;]+);", rules))
    grounds = set(re.findall(r"background(?:-color)?: ([^;]+);", rules))
    assert texts <= {f"var(--{name})" for name in (*TEXTS, "alarm-ink")}
    assert grounds <= {f"var(--{name})" for name in (*GROUNDS, "alarm-paper")} | {"#fff"}  # figures


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000", "#ffffff", 21), ("#777777", "#fff", 4.48), ("#fff", "#fff", 1)],
)
def test_contrast_is_that_of_the_guidelines(one, other, ratio):
    assert walk.contrast(one, other) == pytest.approx(ratio, abs=0.01)


def test_the_start_page_shows_one_face_through_all_parts(site):
    tree, _ = walk.read(site / "index.html")
    section = next(part for part in tree.all("section") if next(part.all("h2"))["id"] == "face")
    captions = [figure.text for figure in section.all("figcaption")]
    assert [caption.split(" sees")[0] for caption in captions] == ["Part 1", "Part 2", "Part 3"]
    for caption, points in zip(captions, ("1 point:", "58 points:", "68 points,"), strict=True):
        assert f"predicts {points}" in caption
        assert re.search(r"\d %|\d\.\d % of the eye distance", caption)


def test_a_start_page_needs_no_checkpoint_and_trusts_none_of_another_run(
    site, tmp_path, monkeypatch
):
    made_up_reports.draw_nothing(monkeypatch)
    shutil.copytree(site, tmp_path / "reports")
    reports = tmp_path / "reports"
    (reports / "part1" / "checkpoint.pt").unlink()
    other = checkpoints.load(reports / "part2" / "checkpoint.pt")
    other["metrics"]["nme"] += 1
    checkpoints.save(other, reports / "part2" / "checkpoint.pt")
    tree, _ = walk.read(write_index(reports))
    captions = [node.text for node in tree.all("figcaption") if " sees " in node.text]
    assert [caption.split(" sees")[0] for caption in captions] == ["Part 3"]
    (reports / "part3" / "checkpoint.pt").write_bytes(b"half")
    source = write_index(reports).read_text()
    assert "part3/checkpoint.pt cannot be read" in source
    assert "One face" not in source
    unknown = other | {"network": "NetOfAPartThatIsNotImported"}
    checkpoints.save(unknown, reports / "part3" / "checkpoint.pt")
    source = write_index(reports).read_text()
    assert "cannot be read" not in source and "One face" not in source
    for part in ("part1", "part2"):
        (reports / part / "face.json").write_text('{"half"')
    source = write_index(reports).read_text()
    assert all(f"{part}/face.json cannot be read" in source for part in ("part1", "part2"))
