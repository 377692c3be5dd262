"""``run_part.py compare`` and part 3's ``--network``, from files on the disk to the page."""

import json
from functools import partial

import made_up_reports
import pytest
import small_sets
from states import same
from torch import nn

from common import checkpoints, training
from parts import part3_variants, udacity_networks
from parts.commands import compare

PAIR = ("LightNet", "LightNetBN")


# The course's recipe, in pictures and steps that tests can wait for.
Short = partial(udacity_networks.Course, height=40, width=40, margin=4, batch=5, max_steps=1)


class LightNet(nn.Module):
    """In place of the route's, whose dense layers take seconds a step."""

    between = nn.Identity

    def __init__(self, n_points=68):
        super().__init__()
        self.arguments = {"n_points": n_points}
        convolution = nn.Conv2d(1, 8, 5, stride=4), self.between(8), nn.ReLU(), nn.Flatten()
        self.layers = nn.Sequential(*convolution, nn.Linear(8 * 9 * 9, 2 * n_points))

    def forward(self, faces):
        return self.layers(faces).unflatten(1, (-1, 2))


class LightNetBN(LightNet):
    between = nn.BatchNorm2d


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return small_sets.write_youtube_faces(tmp_path_factory.mktemp("sets"))


@pytest.fixture
def short(monkeypatch):
    """Small networks, short recipes, a checkpoint after every epoch, and no drawing."""
    for network in (LightNet, LightNetBN):
        for registry in (checkpoints.NETWORKS, part3_variants.NETWORKS):
            monkeypatch.setitem(registry, network.__name__, network)
    monkeypatch.setitem(udacity_networks.RECIPES, "course", Short)
    best = partial(udacity_networks.Best, height=40, width=40, margin=5)
    monkeypatch.setitem(udacity_networks.RECIPES, "best", best)
    monkeypatch.setattr(compare, "Quick", Short)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    made_up_reports.draw_nothing(monkeypatch)


@pytest.fixture
def call(root, command, short):
    """Calls a command that trains: exit status, stdout and the lines of stderr."""

    def call(*line, data=root):
        return command(*line, "--data", data, "--reports", "r", "--device", "cpu")

    return call


def test_a_comparison_is_trained_once_and_read_afterwards(call, tmp_path, root, trained, command):
    line = ["compare", *PAIR, "--epochs", 2]
    status, out, errors = call(*line)
    assert (status, out) == (0, "the page: r/compare/index.html\n")
    page = tmp_path / "r" / "compare" / "index.html"
    assert [name for name, _ in trained] == ["LightNet"] * 2 + ["LightNetBN"] * 2
    assert {"LightNet-0", "LightNetBN-0"} <= set(errors)
    numbers = page.parent / "comparison.json"
    first = json.loads(numbers.read_text())
    for name, network in first["networks"].items():
        (history,), (measured,) = network["histories"], network["errors"]
        assert history[-1]["test_nme"] == pytest.approx(measured["nme"], rel=1e-4), name
        both = 10 * measured["nme_known"] + 2 * measured["nme_new"]
        assert measured["nme"] == pytest.approx(both / 12, rel=1e-4)
        assert measured["smooth_l1_frame"] != measured["smooth_l1_224"] > 0
        assert history[-1]["test_loss"] == pytest.approx(measured["loss"], rel=1e-3)
    assert first["networks"]["LightNet"]["parameters"] == 8 * 26 + 649 * 136
    assert first["networks"]["LightNet"]["multiply_adds"] == 8 * 81 * 25 + 648 * 136
    assert "10 of the 12 people of the test frames" in page.read_text()

    trained.clear()
    assert (call(*line)[0], trained) == (0, [])
    again = json.loads(numbers.read_text())
    for before, after in ((each["networks"][name] for each in (first, again)) for name in PAIR):
        assert after["errors"] == [pytest.approx(before["errors"][0], rel=1e-5)]
        assert after["histories"] == before["histories"]

    file = page.parent / "youtube_faces-course-2" / "LightNet-0.pt"
    assert checkpoints.load(file)["training"].keys() == {"history", "seed"}
    measured = json.loads(command("evaluate", file, "--json", "--data", root)[1])
    expected = first["networks"]["LightNet"]["errors"][0]["nme"]
    assert measured["nme"] == pytest.approx(expected, rel=1e-5)


def test_a_comparison_that_was_stopped_resumes(call, tmp_path, trained):
    line = ["compare", "LightNet", "--epochs", 2]
    assert call(*line)[0] == 0
    file = tmp_path / "r" / "compare" / "youtube_faces-course-2" / "LightNet-0.pt"
    undisturbed = checkpoints.load(file)["weights"]
    file.unlink()

    trained.stop_at = 3
    assert call(*line)[0] == 130
    assert len(checkpoints.load(file)["training"]["history"]) == 1
    assert call(*line)[0] == 0
    assert same(checkpoints.load(file)["weights"], undisturbed)


def test_an_older_file_is_read_and_one_of_another_recipe_refused(call, tmp_path, monkeypatch):
    line = ("compare", "LightNet", "--epochs", 1)
    assert call(*line)[0] == 0
    (file,) = tmp_path.rglob("LightNet-0.pt")
    older = checkpoints.load(file)
    del older["recipe"]["no_aug_fraction"]
    checkpoints.save(older, file)
    before = file.read_bytes()
    assert call(*line)[0] == 0
    assert file.read_bytes() == before

    other = partial(Short, learning_rate=5e-3)
    monkeypatch.setitem(udacity_networks.RECIPES, "course", other)
    status, _, errors = call(*line)
    assert status == 2
    assert "LightNet-0.pt: was trained by another recipe" in errors[-1]


def test_without_the_frames_a_comparison_takes_synthetic_faces(call, tmp_path, few):
    status, _, errors = call("compare", "LightNet", "--quick", "--epochs", 1, data=tmp_path)
    assert status == 0
    assert any("youtube_faces: not found" in line for line in errors)
    folder = tmp_path / "r" / "compare"
    assert (folder / "synthetic-quick-1" / "LightNet-0.pt").is_file()
    numbers = json.loads((folder / "comparison.json").read_text())
    assert numbers["synthetic"] is True
    assert "nme_new" not in numbers["baseline_mean_face"]


@pytest.mark.parametrize("recipe", ["course", "best"])
def test_part_3_trains_a_network_of_the_route(call, tmp_path, root, recipe, command):
    line = ["3", "--dataset", "youtube_faces", "--network", "LightNetBN", "--recipe", recipe]
    status, _, errors = call(*line, "--epochs", 1, "--loss", "l1")
    assert status == 0
    (said,) = [text for text in errors if text.startswith("10 of the 12 people of the test frames")]
    folder = tmp_path / "r" / "part3-LightNetBN"
    page = (folder / "index.html").read_text()
    assert said in page and "Part 3: LightNetBN" in page
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["per_group"].keys() == {"person in training", "new person"}
    assert metrics["network"] == "LightNetBN"
    assert checkpoints.load(folder / "checkpoint.pt")["recipe"]["loss"] == "l1"
    line = ["evaluate", folder / "checkpoint.pt", "--json", "--data", root]
    measured = json.loads(command(*line)[1])
    assert measured["nme"] == pytest.approx(metrics["nme"], rel=1e-5)
    assert json.loads(command(*line, "--split", "validation")[1])["n_test"] == 4
