"""What ``evaluate`` makes of faces that a detector has to find first."""

import json

import numpy as np
import pytest
import small_sets
import torch
from small_network import checkpoint_of

import run_part
from common import checkpoints
from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68
from common.loading import load_crops
from common.photos import detectors, finder
from common.photos.detectors import Detector
from common.photos.finder import FoundFace
from common.photos.pose import Pose
from datasets import ibug
from parts import protocols_300w, toolkit


def found_at(left, top, side, mark):
    """A found face whose keypoints all lie at (mark, mark)."""
    keypoints = np.full((68, 2), mark, np.float32)
    return FoundFace((left, top, side, side), 1.0, 1.0, keypoints, Pose(0, 0, 0), 0.3, 0.1)


def test_the_face_that_overlaps_the_annotated_one_most_is_the_one_that_was_found(tmp_path):
    files = []
    for name in ("two.png", "one.png"):
        small_sets.Image.new("RGB", (200, 100)).save(tmp_path / name)
        files.append(tmp_path / name)
    boxes = torch.tensor([[10.0, 10, 40, 40], [120, 10, 40, 40], [50, 50, 30, 40]])
    three = (files[0], files[0], files[1])
    faces = Faces("a/test", "a", IBUG_68, three, torch.zeros(3, 68, 2), boxes, ("",) * 3, ("",) * 3)

    class Finder:
        def predict(self, image):
            self.asked = image.shape
            return [
                found_at(14, 14, 40, mark=1),  # of the first face
                found_at(12, 11, 40, mark=2),  # of the first face, and closer
                found_at(135, 30, 40, mark=3),  # too far from the second
                found_at(45, 50, 40, mark=4),  # the square of the third, in its own picture
            ]

    found = protocols_300w.find(Finder(), faces)
    assert list(found) == [0, 2]
    assert found[0][0].tolist() == [2, 2]
    assert found[2][0].tolist() == [4, 4]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return small_sets.write_ibug(tmp_path_factory.mktemp("sets"))


@pytest.fixture
def evaluate(root, tmp_path, capsys):
    """Calls ``run_part.py evaluate`` with a network that has learned nothing."""
    mean = ibug.load(root, "train").points.mean(dim=0) / 150
    path = checkpoint_of(tmp_path / "c.pt", dataset="ibug", mean_shape=mean)

    def call(*line):
        capsys.readouterr()
        words = ["evaluate", path, "--data", root, "--device", "cpu", *line]
        status = run_part.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, [text for text in err.splitlines() if text.startswith("error")]

    return call


def sees(boxes_by_sum, monkeypatch):
    """Let every detector know the boxes of some pictures, by the sum of their pixels."""

    def find(image):
        boxes = boxes_by_sum.get(int(image.sum()), np.empty((0, 4)))
        return boxes, np.ones(len(boxes))

    detector = Detector("haar", find, longest=1000, fit=(0.0, 0.0, 1.0))
    monkeypatch.setattr(detectors, "load", lambda *_: detector)
    monkeypatch.setattr(finder, "LEAST_CONFIDENCE", 0.0)


def test_found_faces_are_measured_and_the_others_counted(evaluate, root, monkeypatch):
    faces = ibug.load(root, "test")
    boxes = protocols_300w.square_boxes(landmark_boxes(faces.points), 1.0).numpy()
    pictures = [np.asarray(protocols_300w.read_picture(file, colour=True)) for file in faces.files]
    known = {int(p.sum()): boxes[[i]] for i, p in enumerate(pictures) if i != 1}
    sees(known, monkeypatch)
    status, out, _ = evaluate("--boxes", "haar", "--json")
    assert status == 0
    told = json.loads(out)
    assert told["n_test"] == 2
    assert told["found"] == pytest.approx(100 * 2 / 3)
    # The detector's box is the landmarks' own, but a network that has learned nothing sees the
    # face lean; whatever it answers, it is measured in the crop of the landmarks.
    assert told["nme"] > 0
    status, table, _ = evaluate("--boxes", "haar")
    assert table.splitlines()[0] == "ibug/test, boxes: haar, 66.67 % of the faces found"


def test_protocols_accept_finds_by_the_networks_own_flip_disagreement(root, tmp_path, monkeypatch):
    """A network that has learned nothing doubts every face far more than one that ships."""
    usual = finder.LEAST_CONFIDENCE
    train, test = ibug.load(root, "train"), ibug.load(root, "test")
    boxes = protocols_300w.square_boxes(landmark_boxes(test.points), 1.0).numpy()
    pictures = [np.asarray(protocols_300w.read_picture(file, colour=True)) for file in test.files]
    sees({int(p.sum()): boxes[[i]] for i, p in enumerate(pictures)}, monkeypatch)
    monkeypatch.setattr(finder, "LEAST_CONFIDENCE", usual)
    told = checkpoints.load(checkpoint_of(tmp_path / "c.pt", dataset="ibug", mean_shape=None))
    network, recipe = checkpoints.network_of(told), checkpoints.recipe_of(told)
    crops = load_crops(train, recipe)
    for disagreement, found in ((0.0, 0.0), (10.0, 100.0)):
        monkeypatch.setattr(
            protocols_300w, "flip_disagreement_p99", lambda *_, value=disagreement: value
        )
        rows = protocols_300w.protocols(network, crops, recipe, root)
        (row,) = (row for row in rows if row["name"] == "lfpw/testset")
        assert row["boxes"]["haar"]["found"] == found


def test_a_detector_that_finds_nothing_is_told(evaluate, monkeypatch):
    sees({}, monkeypatch)
    status, out, errors = evaluate("--boxes", "haar")
    assert (status, out) == (2, "")
    assert errors == ["error: --boxes haar: finds no face of ibug/test; choose another"]


def test_a_detector_needs_a_network_of_68_points(tmp_path, capsys):
    small_sets.write_imm(tmp_path)
    path = checkpoint_of(tmp_path / "c.pt", "imm58", 58, dataset="imm", mean_shape=None)
    status = run_part.main(["evaluate", str(path), "--boxes", "haar", "--data", str(tmp_path)])
    assert status == 2
    assert "58 points of imm58, and photos need all of ibug68" in capsys.readouterr().err


def test_without_a_checkpoint_the_newest_of_part_3_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toolkit, "WEIGHTS", tmp_path / "weights")
    assert run_part.main(["evaluate"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: reports/part3/checkpoint.pt: ")
    assert line.endswith("python run_part.py 3")
