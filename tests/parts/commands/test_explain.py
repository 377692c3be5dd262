"""The page on one photo, with networks that were never trained."""

import re

import made_up_reports
import pytest
import torch
from PIL import Image
from small_network import checkpoint_of

from common.faces import landmark_boxes
from common.keypoints import IBUG_68
from common.photos.detectors import Detection
from common.photos.finder import FaceKeypoints, face_from_keypoints
from common.recipe import Recipe
from common.report import explanation_page
from datasets.synthetic.render import render
from parts.part3_large_dataset import HeatmapResNet18, ResNet18

RECIPE = Recipe(height=64, width=64, margin=8, box_scale=1.3)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A synthetic face, and its keypoints."""
    images, points, _ = render([3], IBUG_68, "crop", (200, 220))
    path = tmp_path_factory.mktemp("photo") / "Ada & friends.png"
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(path)
    return path, points[0].numpy()


@pytest.fixture
def found(monkeypatch, photo):
    """The face of the photo is found, whatever the network predicts; few places are hidden."""
    face = face_from_keypoints((0.0, 0.0, 1.0, 1.0), 1.0, 1.0, photo[1])
    monkeypatch.setattr(FaceKeypoints, "predict", lambda *_: [face])
    monkeypatch.setattr(explanation_page, "PLACES", 6)


def write_checkpoint(path, network, points):
    """``network``, whose coordinates start at the mean face; its batch normalisation saw noise."""
    if isinstance(network, ResNet18):
        low, high = points.min(axis=0), points.max(axis=0)
        mean = torch.from_numpy(0.5 + (points - (low + high) / 2) / (1.3 * (high - low).max()))
        network.resnet.fc.weight.data *= 0.01
        network.resnet.fc.bias.data = mean.float().flatten()
    network.train()(torch.rand(4, 1, 64, 64) - 0.5)
    return checkpoint_of(path, network, RECIPE)


@pytest.fixture
def explain(command, photo):
    def call(checkpoint, *more, of=photo[0]):
        line = ["explain", of, "--checkpoint", checkpoint, "--reports", "r", "--device", "cpu"]
        return command(*line, *more)

    return call


@pytest.mark.slow
def test_the_page_is_whole_and_small(explain, found, photo, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "net.pt", ResNet18(), photo[1])
    assert explain(checkpoint)[:2] == (0, "the page: r/explain/index.html\n")
    page = tmp_path / "r" / "explain" / "index.html"
    text = page.read_text()
    assert "Ada &amp; friends.png" in text and str(checkpoint) in text
    pictures = re.findall(r'<img src="([^"]+)" width="(\d+)" height="(\d+)" alt="([^"]*)"', text)
    assert len(pictures) == text.count("<img ") == text.count("<figcaption>")
    for source, width, height, alt in pictures:
        assert Image.open(page.parent / source).size == (int(width), int(height))
        assert len(alt) > 20
    chosen = [source for source, *_ in pictures if "/point-" in source]
    assert chosen == [f"figures/point-{number}.png" for number in (30, 36, 48, 8)]
    assert "On the right its heatmap" not in text
    assert {file.name for file in (page.parent / "figures").iterdir()} == {
        source.partition("/")[2] for source, *_ in pictures
    }
    assert sum(f.stat().st_size for f in page.parent.rglob("*") if f.is_file()) < 5_000_000
    assert not list(page.parent.rglob(".*"))
    assert (tmp_path / "r" / "index.html").is_file()


def test_a_chosen_point_of_the_detectors_face_where_the_network_is_confident_of_none(
    explain, found, photo, tmp_path, monkeypatch
):
    made_up_reports.draw_nothing(monkeypatch)  # seconds
    (box,) = landmark_boxes(torch.from_numpy(photo[1])[None]).tolist()
    monkeypatch.setattr(FaceKeypoints, "predict", lambda *_: [])
    monkeypatch.setattr(FaceKeypoints, "detect", lambda *_: [Detection(tuple(box), 1.0)])
    checkpoint = write_checkpoint(tmp_path / "net.pt", HeatmapResNet18(channels=16), photo[1])
    assert explain(checkpoint, "--point", "57")[0] == 0
    page = (tmp_path / "r" / "explain" / "index.html").read_text()
    assert re.findall(r"figures/point-\d+", page) == ["figures/point-57"]
    assert "moves point 57, of the outer lip" in page
    assert "On the right its heatmap" in page


def test_what_cannot_be_explained_is_one_line(
    explain, untrained, nose, photo, tmp_path, monkeypatch
):
    (tmp_path / "no picture.jpg").write_text("text")
    for name in ("predict", "detect"):
        monkeypatch.setattr(FaceKeypoints, name, lambda *_: [])
    for line, of, fault in (
        ((untrained,), "no picture.jpg", "no picture.jpg: cannot be read"),
        ((untrained,), photo[0], f"{photo[0]}: no face found"),
        ((nose,), photo[0], "nose.pt: predicts 1 points of imm58"),
        (("none.pt", "--point", "68"), photo[0], "error: --point 68: "),
        (("none.pt", "--point", "-1"), photo[0], "error: --point -1: "),
        (("none.pt",), "r/explain/figures/face.png", "would be replaced by the page"),
    ):
        status, out, (error,) = explain(*line, of=of)
        assert (status, out) == (2, "")
        assert fault in error
    assert not (tmp_path / "r" / "explain" / "index.html").exists()
