import csv
import json
import os
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import torch
from PIL import Image
from torch import nn

from common.keypoints import IMM_58, neighbours
from common.metrics import METRICS
from common.report import page as pages
from common.report import part_page
from common.report.error_analysis import Effect, Findings
from common.report.index_page import write_index
from common.report.page import Gallery, write_page
from common.report.part_page import Lesson, Report, write_report
from common.snapshots import Snapshots
from common.system.errors import UserError

HEIGHT, WIDTH, COUNT = 48, 64, 12


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 10, 3), nn.ReLU()
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 116))

    def forward(self, faces):
        return self.head(self.features(faces)).view(-1, 58, 2)


def drawn_faces(count):
    """Discs of different grey on a dark ground, points on circles inside: (images, points)."""
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    centres = torch.tensor([WIDTH / 2, HEIGHT / 2]) + 4 * torch.randn(count, 2, generator=generator)
    angles = torch.arange(58) * 0.7
    radii = 6 + 9 * torch.rand(58, generator=generator)
    circle = torch.stack([angles.cos(), angles.sin()], dim=-1) * radii[:, None]  # (58, 2)
    points = centres[:, None] + circle + 0.5 * torch.randn(count, 58, 2, generator=generator)
    away = (columns - centres[:, 0, None, None]) ** 2 + (rows - centres[:, 1, None, None]) ** 2
    grey = 100 + 80 * torch.rand(count, 1, 1, generator=generator)
    noise = 20 * torch.rand(count, HEIGHT, WIDTH, generator=generator)
    return (torch.where(away < 300, grey, 30.0) + noise).to(torch.uint8)[:, None], points


def made_up_film(points):
    """Faces 0 and 4, whose answers come nearer from epoch to epoch."""
    away = torch.tensor([8.0, 4, 2, 1])  # px to the right
    answers = points[[0, 4]] + torch.stack([away, torch.zeros(4)], dim=-1)[:, None, None]
    nme = torch.tensor([[40.0, 60], [20, 30], [10, 15], [5, 7]])
    return Snapshots([0, 4], [0, 1, 2, 3], answers, nme)


def made_up_report(**changes):
    torch.manual_seed(0)
    images, points = drawn_faces(COUNT)
    predicted = points + torch.randn_like(points)
    numbers = {key: 1.5 + index for index, key in enumerate(METRICS)}
    metrics = {
        **numbers,
        "per_group": {"front": {**numbers, "n": 6}, "side": {**numbers, "n": 6}},
        "baseline_mean_face": {**{key: 20 * value for key, value in numbers.items()}, "loss": 0.4},
        "seconds": 75.0,
        "epochs": 3,
        "n_train": 40,
        "n_test": COUNT,
        "dataset": "circles",
        "synthetic": False,
    }
    history = [
        {
            "epoch": epoch,
            "train_loss": 0.3 / epoch,
            "validation_loss": 0.2 / epoch,
            "validation_nme": 30 / epoch,
            "seconds": 25.0,
            "learning_rate": 1e-3,
        }
        for epoch in (1, 2, 3)
    ]
    report = Report(
        lesson=Lesson(
            "part9",
            "Part 9: circles",
            "Where are the points?",
            ("A circle is round.",),
            ("Squares.",),
        ),
        recipe=[("epochs", "3", "enough for circles")],
        recipe_name="best",
        network=SmallNet(),
        scheme=IMM_58,
        point_ids=tuple(range(58)),
        samples=(images[:2], points[:2]),
        augmented=(images[:2].float() / 255 - 0.5, points[:2] + torch.tensor([3.0, 4.0])),
        history=history,
        metrics=metrics,
        test=part_page.TestFaces(
            images=images,
            truth=points,
            predicted=predicted,
            nme=torch.linspace(1, 12, COUNT),
            all_points=points,
            names=tuple(f"circle-{index}" for index in range(COUNT)),
            views=("front", "side") * (COUNT // 2),
            groups=tuple(f"person {index // 2}" for index in range(COUNT)),
            colours=("colour",) * COUNT,
            picture_eyes=IMM_58.eye_distance(8 * points),
            baseline_nme=torch.linspace(10, 40, COUNT),
        ),
        synthetic=False,
        film=made_up_film(points),
    )
    return replace(report, **changes)


class Page(HTMLParser):
    """What the tests ask of a page: tags with attributes, and the text of some of them."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def marks(monkeypatch):
    """Figures are not drawn, which takes most of a report's time; their marks are noted."""
    noted = []

    def save(_figure, path, mark):
        Image.new("L", (1, 1)).save(path)
        noted.append(mark)
        return 1, 1

    monkeypatch.setattr(pages.figures, "save", save)
    return noted


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    reports = tmp_path_factory.mktemp("reports")
    path = write_report(reports, made_up_report())
    return reports, path, Page(path)


def test_the_page_has_every_section_and_the_way_to_it(written):
    _, path, page = written
    assert path.name == "index.html" and path.parent.name == "part9"
    anchors = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert anchors == [heading["id"] for heading in page.all("h2")] + ["why"]
    assert page.texts["h2"] == [
        "The question", "What the network sees", "The network", "The recipe", "Training",
        "Watch it learn", "The result", "Best and worst faces", "Why did it fail?",
        "Where the error lies", "What it learned", "What to try next",
    ]  # fmt: skip
    for words in ("Where are the points?", "A circle is round.", "enough for circles", "Squares."):
        assert words in page.source


def test_every_picture_is_there_has_a_text_and_a_caption_with_a_number(written):
    _, path, page = written
    pictures = page.all("img")
    assert (
        len({picture["src"] for picture in pictures}) == len(pictures) == 4 + 1 + 3 + 1 + 9 + 2 + 4
    )
    for picture in pictures:
        assert len(picture["alt"]) > 20
        assert (path.parent / picture["src"]).is_file()
    captions = page.texts["figcaption"]
    assert len(captions) == len(pictures)
    assert all(re.search(r"\d", caption) for caption in captions)
    assert {file.name for file in (path.parent / "figures").iterdir()} == {
        picture["src"].removeprefix("figures/") for picture in pictures
    }


def test_captions_say_what_the_run_measured(written):
    captions = " ".join(written[2].texts["figcaption"])
    for words in (
        "Augmented: points moved 5.0 px on average",  # 3 to the right, 4 down
        "the training loss went from 0.3 to 0.1",
        "the lowest, 0.0667, came in epoch 3",
        "costs 0.4, 6 times the last validation loss",
        "circle-0: NME 1.0 %",  # the best
        "circle-11: NME 12.0 %. Mean of “side”: 7.0 %, of all: 6.5 %.",  # the worst
        "Half of the 12 faces stay below 6.5 %, nine in ten below 10.9 %; 4 lie beyond 8 %",
        "Lowest mean: 6.0 % (front); highest: 7.0 % (side)",
        "The 6 filters of convolution 1, 5 × 5 pixels",
    ):
        assert words in captions


@pytest.mark.usefixtures("marks")
def test_why_training_costs_more_than_validation_follows_from_the_recipe(tmp_path):
    plain = made_up_report()
    kept = replace(plain, augmented=plain.samples)
    rows = [("no_aug_fraction", "0.3", "why"), ("flip_tta", "True", "why")]
    improved = "above the validation loss: it is an average over an epoch in which the network"
    harder, mirrored = "its faces are augmented, hence harder", "a face and its mirror image"
    no_aug_fraction = "In the last 30 % of a cycle's steps"
    for name, report, said in (
        ("augmented", plain, {improved, harder}),
        ("as they are", kept, {improved}),
        (
            "no_aug_fraction",
            replace(plain, recipe=rows),
            {improved, harder, mirrored, no_aug_fraction},
        ),
    ):
        captions = " ".join(Page(write_report(tmp_path / name, report)).texts["figcaption"])
        assert {
            words for words in (improved, harder, mirrored, no_aug_fraction) if words in captions
        } == said


def test_the_worst_faces_are_measured_and_stand_beside_the_median(written):
    source = written[2].source
    table = source[source.index('aria-label="Measures of the worst faces"') :]
    heads = re.findall(r'class="figure">([^<]*)<', table.split("</thead>")[0])
    assert heads == ["median of all", "circle-11", "circle-10", "circle-9", "circle-8"]
    test = made_up_report().test
    measured = part_page.face_attributes(test.images, test.all_points, IMM_58)
    for key, values in measured.items():
        (row,) = [
            row
            for row in table.split("<tr>")
            if f">{part_page.ATTRIBUTES[key].name}<" in unescape(row)
        ]
        shown = re.findall(r'class="figure">([^<]*)<', row)
        expected = [values.median().item(), *values[[11, 10, 9, 8]].tolist()]
        assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(
            expected, rel=0.01
        )


def test_the_page_needs_nothing_from_elsewhere(written):
    _, path, page = written
    assert "http" not in page.source and "@import" not in page.source
    for link in page.all("a"):
        if not link["href"].startswith("#"):
            assert (path.parent / link["href"]).is_file()
    assert sum(f.stat().st_size for f in path.parent.rglob("*") if f.is_file()) < 5_000_000


def test_the_page_is_told_to_those_who_hear_it(written):
    for page in (written[2], Page(written[0] / "index.html")):
        assert page.all("html") == [{"lang": "en"}]
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert page.all("th") and all(
            cell.get("scope") in ("col", "row") for cell in page.all("th")
        )
        for box in page.all("div"):
            if box.get("class") == "scroll":  # reached by keyboard, named by a screen reader
                assert box["tabindex"] == "0" and box["aria-label"]


def test_metrics_and_history_lie_beside_the_page(written):
    folder = written[1].parent
    report = made_up_report()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics.items() >= report.metrics.items()
    assert metrics["network"] == "SmallNet" and metrics["recipe"] == "best"
    assert metrics["parameters"] == 6 * 26 + 10 * 55 + 11 * 116
    with open(folder / "history.csv", newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert rows == report.history


def test_every_measure_stands_beside_that_of_the_mean_face(written):
    source = unescape(written[2].source)
    for key, metric in METRICS.items():
        value = made_up_report().metrics[key]
        row = re.search(rf"<tr><th scope=\"row\">{metric.name}</th>.*?</tr>", source).group()
        assert f">{value:g} {metric.unit}<" in row and f">{20 * value:g} {metric.unit}<" in row
        assert metric.meaning in row


def test_the_film_is_in_the_page_as_numbers_and_in_still_pictures(written):
    _, path, page = written
    report = made_up_report()
    numbers = json.loads(page.texts["script"][0])
    torch.testing.assert_close(
        torch.tensor(numbers["answers"]), report.film.answers, atol=0.051, rtol=0
    )
    assert numbers["names"] == ["before training"] + [f"after epoch {e}" for e in (1, 2, 3)]
    assert numbers["nme"] == [["40.0", "60.0"], ["20.0", "30.0"], ["10.0", "15.0"], ["5.0", "7.0"]]
    assert numbers["means"] == ["50.0", "25.0", "12.5", "6.0"]
    assert numbers["pairs"] == [list(pair) for pair in neighbours(IMM_58, range(58))]
    (film,) = [box for box in page.all("div") if box.get("class") == "film"]
    assert "hidden" in film  # until its script runs
    (slider,) = page.all("input")
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "3")
    assert {"for": slider["id"]} in page.all("label")
    told = (
        "Before training it missed their points by 50 % of the eye distance on average, after "
        "epoch 3 by 6 %. Half of that way was behind it after epoch 1."
    )
    assert told in page.source
    stills = next(text for text in page.texts["figcaption"] if "still pictures" in text)
    assert "50.0 % before training, 12.5 % after epoch 2, 6.0 % after epoch 3" in stills
    assert (path.parent / "figures" / "watched-stills.png").is_file()


@pytest.mark.usefixtures("marks")
def test_a_run_without_a_film_has_a_page_without_scripts(tmp_path):
    page = Page(write_report(tmp_path, made_up_report(film=None)))
    assert not page.all("script") and "Watch it learn" not in page.source
    anchors = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert anchors == [heading["id"] for heading in page.all("h2")] + ["why"]


@pytest.mark.usefixtures("marks")
def test_a_network_that_learned_nothing_is_not_said_to_be_half_way(tmp_path):
    film = made_up_report().film
    worse = replace(film, nme=film.nme.flip(0))
    page = write_report(tmp_path, made_up_report(film=worse)).read_text()
    assert (
        "missed their points by 6 % of the eye distance on average, after epoch 3 by 50 %" in page
    )
    assert "Half of that way" not in page


def many_faces(count, **changes):
    """Test faces whose error is made from their brightness."""
    images, points = drawn_faces(count)
    bright = part_page.face_attributes(images, points, IMM_58)["brightness"]
    test = part_page.TestFaces(
        images=images,
        truth=points,
        predicted=points + 1,
        nme=torch.exp(6 - bright / 30),
        all_points=points,
        names=tuple(f"circle-{index}" for index in range(count)),
        views=("front", "side") * (count // 2),
        groups=tuple(str(index) for index in range(count)),
        colours=("grey",) * (count // 2) + ("colour",) * (count // 2),
        picture_eyes=torch.linspace(9, 10, count),
    )
    return replace(test, **changes)


@pytest.mark.usefixtures("marks")
def test_what_goes_with_the_error_is_told_first_drawn_and_kept_in_the_metrics(tmp_path):
    path = write_report(tmp_path, made_up_report(test=many_faces(40)))
    page, why = Page(path), json.loads((path.parent / "metrics.json").read_text())["why"]
    told = next(text for text in page.texts["p"] if "things that were measured" in text)
    assert "It falls with mean brightness (ρ −1.00, −1.00 to −1.00; explains 100 %)" in told
    first, *others = why["effects"]
    assert first["name"] == "mean brightness, of 255" and first["found"]
    assert (why["faces"], why["parts"], why["people"], why["same"]) == (40, 40, False, [])
    names = [effect["name"] for effect in (first, *others)]
    assert {"view", "grey or colour", "eye distance in the original picture, px"} <= set(names)
    source = unescape(page.source)
    table = source[source.index('aria-label="What goes with the error"') :].split("</table>")[0]
    assert re.findall(r'<th scope="row">([^<]*)<', table) == names
    assert table.count("no effect found") == sum(not effect["found"] for effect in others)
    captions = [text for text in page.texts["figcaption"] if "ρ" in text or "ε²" in text]
    assert len(captions) == part_page.STRONGEST
    assert captions[0].startswith("Mean brightness: ρ −1.00, −1.00 to −1.00. It explains 100 %")
    dark = captions[0].removesuffix("where it is highest.").split("9 faces: ")[1]
    low, high = (float(number) for number in re.findall(r"[\d.]+(?= %)", dark))
    assert low > high
    worst = next(text for text in page.texts["figcaption"] if "Mean of “" in text)
    assert "over all faces" in worst or "No measure sets this face apart" in worst


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("mean brightness, of 255", "over all faces the error goes with that"),
        ("contrast: standard deviation, of 255", "over all faces no effect of that was found"),
    ],
)
def test_what_sets_a_bad_face_apart_is_told_with_what_it_says_of_the_error(found, words):
    test = many_faces(40)
    attributes = {key: torch.zeros(40) for key in part_page.ATTRIBUTES}
    attributes["brightness"] = torch.linspace(95, 130, 40)
    attributes["brightness"][7] = 10
    effect = Effect(found, False, -0.5, -0.6, -0.4, 25.0, True)
    findings = Findings((effect,), 40, 40, False, ())
    told = part_page._why(test, attributes, findings, 7)
    assert told.endswith(f"Darker than all other test faces (mean brightness 10 of 255): {words}.")
    nothing = replace(findings, effects=())
    assert part_page._why(test, attributes, nothing, 7).endswith("(mean brightness 10 of 255).")


@pytest.mark.usefixtures("marks")
def test_of_a_few_faces_the_page_claims_nothing(tmp_path):
    page = Page(write_report(tmp_path, made_up_report()))
    assert "Nothing is claimed from the errors of the 12 test faces" in page.source
    assert 'aria-label="What goes with the error"' not in page.source


@pytest.mark.usefixtures("marks")
def test_folders_are_not_called_people(tmp_path):
    folders = ("helen", "lfpw") * 20
    test = many_faces(40, views=folders, groups=folders, colours=("grey",) * 40)
    path = write_report(tmp_path, made_up_report(test=test))
    why = json.loads((path.parent / "metrics.json").read_text())["why"]
    names = {effect["name"] for effect in why["effects"]}
    assert "folder" in names and not names & {"person", "view"}
    assert why["same"] == ["grey or colour"]
    assert "no explanation: grey or colour." in path.read_text()


@pytest.mark.usefixtures("marks")
def test_names_are_text_and_never_tags(tmp_path):
    report = made_up_report()
    names = ("<b>", "a&b", '"quoted"', *report.test.names[3:])
    lesson = replace(report.lesson, title="<script>alert(1)</script>")
    path = write_report(
        tmp_path, replace(report, lesson=lesson, test=replace(report.test, names=names))
    )
    for page in (Page(path), Page(tmp_path / "index.html")):
        assert not page.all("b") and "<script>alert" not in page.source
    assert "&lt;b&gt;: NME 1.0 %" in Page(path).source


def test_synthetic_faces_are_marked_on_page_figures_metrics_and_index(tmp_path, marks):
    path = write_report(tmp_path, made_up_report(synthetic=True))
    page = Page(path)
    assert "synthetic faces" in page.texts["title"][0]
    assert page.source.index("Synthetic faces.") < page.source.index("<nav")
    assert set(marks) == {"synthetic faces"}
    assert json.loads((path.parent / "metrics.json").read_text())["synthetic"] is True
    assert "Synthetic faces." in (tmp_path / "index.html").read_text()


def test_real_faces_are_not_called_synthetic(written):
    assert "ynthetic" not in written[2].source
    assert "ynthetic" not in (written[0] / "index.html").read_text()


def test_a_single_point_and_a_single_epoch_make_a_page(tmp_path):
    report = made_up_report()
    test = replace(
        report.test, truth=report.test.truth[:, 52:53], predicted=report.test.predicted[:, 52:53]
    )
    page = Page(
        write_report(
            tmp_path,
            replace(
                report,
                point_ids=(52,),
                samples=(report.samples[0], report.samples[1][:, 52:53]),
                augmented=(report.augmented[0], report.augmented[1][:, 52:53]),
                history=report.history[:1],
                test=replace(test, baseline_nme=None),
                film=None,
            ),
        )
    )
    assert "answers 1 point." in page.source
    assert "misses the point by" in page.source
    assert "One epoch, and no curve yet: training loss 0.3, validation loss 0.2." in page.source
    assert "Augmented: the point moved 5.0 px" in page.source
    assert "The ellipse holds two standard deviations" in page.source


@pytest.mark.usefixtures("marks")
def test_a_run_that_is_killed_leaves_the_page_before_it_whole(tmp_path, monkeypatch):
    path = write_report(tmp_path, made_up_report())
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(part_page.figures, "filters", killed)
        with pytest.raises(KeyboardInterrupt):
            write_report(tmp_path, made_up_report(recipe_name="course"))
    assert {f: f.read_bytes() for f in before} == before

    write_report(tmp_path, made_up_report(recipe_name="course"))
    assert "<code>course</code>" in path.read_text()
    assert sorted(f.name for f in path.parent.iterdir()) == [
        "figures", "history.csv", "index.html", "metrics.json",
    ]  # fmt: skip


@pytest.mark.usefixtures("marks")
def test_no_page_ever_stands_beside_the_numbers_of_another_run(tmp_path, monkeypatch):
    write_report(tmp_path, made_up_report())
    folder, rename = tmp_path / "part9", pages.Path.replace
    seen = []

    def watched(self, target):
        renamed = rename(self, target)
        metrics, page = folder / "metrics.json", folder / "index.html"
        recipe = json.loads(metrics.read_text())["recipe"]
        seen.append(not page.exists() or f"<code>{recipe}</code>" in page.read_text())
        return renamed

    monkeypatch.setattr(pages.Path, "replace", watched)
    write_report(tmp_path, made_up_report(recipe_name="course"))
    assert len(seen) == 4 and all(seen)


def test_a_folder_that_cannot_be_written_ends_in_one_line(tmp_path):
    (tmp_path / "part9").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"part9.*cannot be written.*--reports") as caught:
        write_report(tmp_path, made_up_report())
    assert "\n" not in str(caught.value)


def two_parts(folder):
    """Pages of two parts whose recipes differ; the start page."""
    recipes = (
        [("epochs", "3", "enough"), ("batch", "16", "small"), ("rotation", "10.0", "turned")],
        [("epochs", "9", "more"), ("batch", "16", "small"), ("he_init", "True", "strong")],
    )
    for number, recipe in enumerate(recipes, 1):
        report = made_up_report(recipe=recipe, recipe_name=f"recipe{number}")
        lesson = replace(
            report.lesson,
            folder=f"part{number}",
            title=f"Part {number}: circles",
            carries_over=f"Roundness, {number} times.",
        )
        write_report(folder, replace(report, lesson=lesson))
    return Page(folder / "index.html")


@pytest.mark.usefixtures("marks")
def test_the_start_page_leads_through_the_parts_and_sets_them_side_by_side(tmp_path):
    page = two_parts(tmp_path)
    anchors = ["#part1", "#part2", "#numbers"]
    pages_below = ["part1/index.html", "part2/index.html"]
    assert [link["href"] for link in page.all("a")] == anchors + pages_below
    assert page.texts["th"][:3] == ["measure", "Part 1: circles", "Part 2: circles"]
    row = re.search(r'<th scope="row">recipe</th>(.*?)</tr>', page.source).group(1)
    assert re.findall(r">(\w+)</td>", row) == ["recipe1", "recipe2"]
    assert "1.5 (mean face 30)" in page.source
    for picture in page.all("img"):
        assert picture["alt"] and (tmp_path / picture["src"]).is_file()
    told = " ".join(" ".join(text.split()) for text in page.texts["dd"])
    for words in (
        "Where are the points?",
        "SmallNet, 1,982 weights in 2 convolutions and 1 fully connected layer",
        "a picture of 64 × 48 pixels in, 58 points out",
        "3 epochs on 40 faces took 75 s",
        "misses by 1.5 % of the distance between the outer eye corners on 12 faces",
        "would miss by 30 %, 20 times as much",
        "Roundness, 1 times. Of the 3 values that Part 1 sets in its recipe, Part 2 keeps 1 "
        "(batch), changes 1 (epochs 3 → 9), leaves out 1 (rotation), adds 1 (he_init True).",
        "Roundness, 2 times.",
    ):
        assert words in told
    assert "The 2 parts that were run here trained for 2.5 min in all." in page.texts["p"][0]


@pytest.mark.usefixtures("marks")
def test_the_start_page_tells_what_runs_of_before_knew_and_names_other_pages(tmp_path):
    two_parts(tmp_path)
    file = tmp_path / "part1" / "metrics.json"
    known = ("title", "question", "nme", "synthetic", "network", "recipe")
    metrics = json.loads(file.read_text())
    file.write_text(json.dumps({key: metrics[key] for key in known}))
    (tmp_path / "compare").mkdir()
    (tmp_path / "compare" / "index.html").write_text("<title>A &amp; B</title>")
    page = Page(write_index(tmp_path))
    assert "Of the 3 values" not in page.source
    assert "Where are the points?" in page.source
    assert page.all("a")[-1] == {"href": "compare/index.html"}
    assert page.texts["a"][-1] == "A & B"


def test_the_start_page_names_what_it_cannot_read_and_leaves_out_what_has_no_page(tmp_path):
    for number, numbers in ((1, '{"half": '), (2, '{"nme": 3.0}')):
        (tmp_path / f"part{number}").mkdir()
        (tmp_path / f"part{number}" / "index.html").write_text("a page")
        (tmp_path / f"part{number}" / "metrics.json").write_text(numbers)
    (tmp_path / "part3").mkdir()
    (tmp_path / "part3" / "metrics.json").write_text("{}")
    source = write_index(tmp_path).read_text()
    assert "No part has been run here yet" in source
    assert "part1/metrics.json cannot be read" in source
    assert "part2/metrics.json cannot be read" in source
    assert "part3" not in source


def test_pages_that_are_none_do_not_keep_the_start_page_back(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "index.html").write_bytes("<title>Gr\xfc\xdfe</title>".encode("latin-1"))
    (tmp_path / "a-folder-so-called" / "index.html").mkdir(parents=True)
    page = Page(write_index(tmp_path))
    assert page.all("a")[-1] == {"href": "old/index.html"}
    assert "a-folder-so-called" not in page.source


@pytest.mark.usefixtures("marks")
def test_a_damaged_figure_or_a_file_in_its_place_is_no_crash(tmp_path):
    write_report(tmp_path, made_up_report())
    ordinary = next(tmp_path.glob("part*/figures/ordinary.png"))
    ordinary.write_bytes(b"no picture")
    write_index(tmp_path)
    shutil.rmtree(tmp_path / "figures", ignore_errors=True)
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(UserError, match=r"figures: cannot be made .*; choose another --reports"):
        Gallery(tmp_path, "")


def test_two_that_write_one_page_at_once_leave_a_whole_one(tmp_path):
    def fill(work):
        (work / "index.html").write_text("one")
        if not (tmp_path / "index.html").exists():
            write_page(tmp_path, lambda work: (work / "index.html").write_text("the other"))

    (tmp_path / ".writing-1" / "figures").mkdir(parents=True)  # of one that was killed
    os.utime(tmp_path / ".writing-1", (1e9, 1e9))
    write_page(tmp_path, fill)
    assert (tmp_path / "index.html").read_text() == "one"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figures", "index.html"]


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (2.0, "0.50 ± 0.26 % of the eye distance less than “other”"),
        (-2.0, "0.50 ± 0.26 % of the eye distance more than “other”"),
    ],
)
@pytest.mark.usefixtures("marks")
def test_another_network_on_the_same_faces_stands_beside_with_what_it_says(tmp_path, gain, words):
    report = made_up_report()
    gains = torch.zeros(COUNT)
    gains[::4] = gain  # 3 of 12 faces: mean 0.5, standard deviation 0.905
    metrics = report.metrics | {"beside": {"other": {key: 77.0 for key in METRICS}}}
    other = {"other": report.test.nme + gains}
    page = Page(write_report(tmp_path, replace(report, metrics=metrics, beside=other)))
    sentence = next(text for text in page.texts["p"] if "Face by face" in text)
    assert words in sentence
    assert "no more than chance may give" in sentence
    assert page.source.count(">77<") == len(METRICS)
    assert "“other”" not in Page(write_report(tmp_path, report)).source


def test_a_difference_beyond_chance_is_called_better_or_worse():
    own = torch.linspace(1, 12, COUNT)
    noise = torch.tensor([0.1, -0.1]).repeat(COUNT // 2)
    assert "it is better in this" in part_page._compared(own, own + 0.5 + noise, "other")
    assert "it is worse in this" in part_page._compared(own, own - 0.5 + noise, "other")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0000884, "0.0000884"),
        (-0.314, "−0.314"),
        (0.000169234, "0.000169"),
        (5.5, "5.5"),
        (12345.6, "12,346"),
        (12345, "12,345"),
        (0.0, "0"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_written_without_an_exponent(value, text):
    assert pages.rounded(value) == text


@pytest.mark.usefixtures("marks")
def test_commands_in_a_lesson_are_shown_as_code(tmp_path):
    report = made_up_report()
    lesson = replace(report.lesson, try_next=("Run `python x.py <2>`, then `y`.",))
    page = write_report(tmp_path, replace(report, lesson=lesson)).read_text()
    assert "<li>Run <code>python x.py &lt;2&gt;</code>, then <code>y</code>.</li>" in page
