"""The page on one photo, with networks that were never trained."""

import re
from dataclasses import asdict

import pytest
import torch
from PIL import Image

import run_part
from common import checkpoints
from common.faces import landmark_boxes
from common.keypoints import IBUG_68
from common.photos.detectors import Detection
from common.photos.finder import FaceKeypoints, face_from_keypoints
from common.recipe import Recipe
from datasets.synthetic.render import render
from parts.part1_nose_tip import NOSE, NoseNet
from parts.part3_large_dataset import HeatmapResNet18, ResNet18

RECIPE = Recipe(height=64, width=64, margin=8, box_scale=1.3)
KINDS = {"coordinates": ResNet18, "heatmap": HeatmapResNet18}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A synthetic face, and its keypoints."""
    images, points, _ = render([3], IBUG_68, "crop", (200, 220))
    path = tmp_path_factory.mktemp("photo") / "Ada & friends.png"
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(path)
    return path, points[0].numpy()


@pytest.fixture
def found(monkeypatch, photo):
    """The face of the photo is found, whatever the network predicts."""
    face = face_from_keypoints((0.0, 0.0, 1.0, 1.0), 1.0, 1.0, photo[1])
    monkeypatch.setattr(FaceKeypoints, "predict", lambda self, image: [face])


def mean_face(points):
    """The points in fractions of the crop that their own box gives, (68, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return torch.from_numpy(0.5 + (points - (low + high) / 2) / (1.3 * (high - low).max()))


def write_checkpoint(path, kind, points):
    torch.manual_seed(0)
    network = KINDS[kind]()
    if kind == "coordinates":  # as a network that starts at the mean face
        network.resnet.fc.weight.data *= 0.01
        network.resnet.fc.bias.data = mean_face(points).float().flatten()
    for _ in range(3):
        network.train()(torch.rand(4, 1, 64, 64) - 0.5)
    checkpoint = {
        "network": f"parts.part3_large_dataset.{type(network).__name__}",
        "arguments": network.arguments, "weights": network.state_dict(),
        "recipe": asdict(RECIPE), "scheme": "ibug68", "point_ids": list(range(68)),
        "dataset": "ibug",
    }  # fmt: skip
    checkpoints.save(checkpoint, path)
    return path


@pytest.fixture
def explain(tmp_path, photo, capsys):
    def call(checkpoint, *more, of=photo[0]):
        line = ["explain", of, "--checkpoint", checkpoint, "--reports", tmp_path / "r"]
        status = run_part.main([str(word) for word in (*line, "--device", "cpu", *more)])
        return status, *capsys.readouterr()

    return call


@pytest.mark.parametrize("kind", ["coordinates", pytest.param("heatmap", marks=pytest.mark.slow)])
def test_the_page_is_whole_and_small(explain, found, photo, tmp_path, kind):
    checkpoint = write_checkpoint(tmp_path / "net.pt", kind, photo[1])
    status, out, _ = explain(checkpoint)
    page = tmp_path / "r" / "explain" / "index.html"
    assert (status, out) == (0, f"the page: {page}\n")
    text = page.read_text()
    assert "Ada &amp; friends.png" in text
    pictures = re.findall(r'<img src="([^"]+)" width="(\d+)" height="(\d+)" alt="([^"]*)"', text)
    assert len(pictures) == text.count("<img ") == text.count("<figcaption>")
    for source, width, height, alt in pictures:
        assert Image.open(page.parent / source).size == (int(width), int(height))
        assert len(alt) > 20
    chosen = [source for source, *_ in pictures if "/point-" in source]
    assert chosen == [f"figures/point-{number}.png" for number in (30, 36, 48, 8)]
    assert ("On the right its heatmap" in text) == (kind == "heatmap")
    assert {file.name for file in (page.parent / "figures").iterdir()} == {
        source.partition("/")[2] for source, *_ in pictures
    }
    assert sum(f.stat().st_size for f in page.parent.rglob("*") if f.is_file()) < 5_000_000
    assert not list(page.parent.rglob(".*"))
    assert (tmp_path / "r" / "index.html").is_file()


@pytest.mark.slow
def test_a_chosen_point_takes_the_place_of_the_others(explain, found, photo, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "net.pt", "coordinates", photo[1])
    assert explain(checkpoint, "--point", "57")[0] == 0
    page = (tmp_path / "r" / "explain" / "index.html").read_text()
    assert re.findall(r"figures/point-\d+", page) == ["figures/point-57"]
    assert "moves point 57, of the outer lip" in page


@pytest.mark.parametrize(
    ("more", "named"),
    [(["--point", "68"], "--point 68"), (["--point", "-1"], "--point -1")],
)
def test_an_unknown_point_is_one_line(explain, tmp_path, more, named):
    status, out, errors = explain(tmp_path / "none.pt", *more)
    assert (status, out) == (2, "")
    assert errors.startswith(f"error: {named}: ") and errors.count("\n") == 1


@pytest.mark.slow
def test_a_network_that_is_confident_of_no_face_is_shown_the_detectors(
    explain, photo, tmp_path, monkeypatch
):
    (box,) = landmark_boxes(torch.from_numpy(photo[1])[None]).tolist()
    monkeypatch.setattr(FaceKeypoints, "predict", lambda self, image: [])
    monkeypatch.setattr(FaceKeypoints, "detect", lambda self, image: [Detection(tuple(box), 1.0)])
    checkpoint = write_checkpoint(tmp_path / "net.pt", "coordinates", photo[1])
    status, _, _ = explain(checkpoint, "--point", "30")
    assert status == 0
    assert (tmp_path / "r" / "explain" / "index.html").exists()


def test_what_cannot_be_explained_is_one_line(explain, found, photo, tmp_path, monkeypatch):
    checkpoint = write_checkpoint(tmp_path / "net.pt", "coordinates", photo[1])
    (tmp_path / "no picture.jpg").write_text("text")
    status, _, errors = explain(checkpoint, of=tmp_path / "no picture.jpg")
    assert status == 2
    assert "no picture.jpg: cannot be read" in errors.splitlines()[-1]

    monkeypatch.setattr(FaceKeypoints, "predict", lambda self, image: [])
    monkeypatch.setattr(FaceKeypoints, "detect", lambda self, image: [])
    status, _, errors = explain(checkpoint)
    assert status == 2
    assert f"{photo[0]}: no face found" in errors.splitlines()[-1]

    few = {
        "network": "parts.part1_nose_tip.NoseNet", "arguments": {},
        "weights": NoseNet().state_dict(), "recipe": asdict(Recipe(height=60, width=80)),
        "scheme": "imm58", "point_ids": list(NOSE), "dataset": "imm",
    }  # fmt: skip
    checkpoints.save(few, tmp_path / "nose.pt")
    status, _, errors = explain(tmp_path / "nose.pt")
    assert status == 2
    assert "nose.pt: predicts 1 points of imm58" in errors.splitlines()[-1]
    assert not (tmp_path / "r" / "explain" / "index.html").exists()
