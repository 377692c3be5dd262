"""The page on one photo, with networks that were never trained."""

import re
from pathlib import Path

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
from parts.part3_large_dataset import HeatmapResNet18


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A synthetic face, and its keypoints."""
    images, points, _ = render([3], IBUG_68, "crop", (200, 220))
    path = tmp_path_factory.mktemp("photo") / "Ada & friends.png"
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(path)
    return path, points[0].numpy()


@pytest.fixture
def found(monkeypatch, photo):
    """The face of the photo is found, whatever the network predicts; few places are hidden, and
    nothing is drawn."""
    made_up_reports.draw_nothing(monkeypatch)
    face = face_from_keypoints((0.0, 0.0, 1.0, 1.0), 1.0, 1.0, photo[1])
    monkeypatch.setattr(FaceKeypoints, "predict", lambda *_: [face])
    monkeypatch.setattr(explanation_page, "PLACES", 6)


@pytest.fixture
def explain(command, photo):
    def call(checkpoint, *more, of=photo[0]):
        line = ["explain", of, "--checkpoint", checkpoint, "--reports", "r", "--device", "cpu"]
        return command(*line, *more)

    return call


def test_the_page_shows_four_points_of_the_photo(explain, found, untrained, tmp_path):
    assert explain(untrained)[:2] == (0, "the page: r/explain/index.html\n")
    page = tmp_path / "r" / "explain" / "index.html"
    text = page.read_text()
    assert "Ada &amp; friends.png" in text and str(untrained) in text
    chosen = re.findall(r'<img src="figures/point-(\d+).png', text)
    assert chosen == ["30", "36", "48", "8"]
    assert "On the right its heatmap" not in text
    assert not list(page.parent.rglob(".*"))
    assert (tmp_path / "r" / "index.html").is_file()


def test_a_point_of_the_detectors_face(explain, found, photo, tmp_path, monkeypatch):
    """Where the network is confident of no face."""
    (box,) = landmark_boxes(torch.from_numpy(photo[1])[None]).tolist()
    monkeypatch.setattr(FaceKeypoints, "predict", lambda *_: [])
    monkeypatch.setattr(FaceKeypoints, "detect", lambda *_: [Detection(tuple(box), 1.0)])
    recipe = Recipe(height=32, width=32, margin=4, box_scale=1.3)
    checkpoint = checkpoint_of(tmp_path / "net.pt", HeatmapResNet18(channels=16), recipe)
    assert explain(checkpoint, "--point", "57")[0] == 0
    page = (tmp_path / "r" / "explain" / "index.html").read_text()
    assert re.findall(r"figures/point-\d+", page) == ["figures/point-57"]
    assert "moves point 57, of the outer lip" in page
    assert "On the right its heatmap" in page


def test_what_cannot_be_explained_is_one_line(explain, untrained, photo, monkeypatch):
    Path("no picture.jpg").write_text("text")
    for name in ("predict", "detect"):
        monkeypatch.setattr(FaceKeypoints, name, lambda *_: [])
    for line, of, fault in (
        ((untrained,), "no picture.jpg", "no picture.jpg: cannot be read"),
        ((untrained,), photo[0], f"{photo[0]}: no face found"),
        ((untrained, "--point", "68"), photo[0], "error: --point 68: "),
        ((untrained, "--point", "-1"), photo[0], "error: --point -1: "),
        (("none.pt",), "r/explain/figures/face.png", "would be replaced by the page"),
    ):
        status, out, (error,) = explain(*line, of=of)
        assert (status, out) == (2, "") and fault in error
    assert not Path("r", "explain", "index.html").exists()
