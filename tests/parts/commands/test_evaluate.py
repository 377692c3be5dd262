"""``evaluate`` on faces that a detector has to find first."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from handmade import write_picture

from common.crops import read_picture, square_boxes
from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68
from common.loading import load_crops
from common.photos import detectors
from common.photos.detectors import Detector
from common.photos.finder import FaceKeypoints, face_from_keypoints
from common.recipe import Recipe
from datasets import ibug, splits
from parts import protocols_300w, toolkit
from parts.part3_large_dataset import ResNet18


def found_at(box, keypoints):
    return face_from_keypoints(box, 1.0, 1.0, np.asarray(keypoints, np.float32))


def by_picture(faces, values):
    """A value for each picture, by the sum of its pixels."""
    sums = [int(np.asarray(read_picture(file, colour=True)).sum()) for file in faces.files]
    return dict(zip(sums, values, strict=True))


def test_the_face_that_overlaps_the_annotated_one_most_is_the_one_that_was_found(tmp_path):
    files = [write_picture(tmp_path / name, 200, 100) for name in ("two.png", "one.png")]
    boxes = torch.tensor([[10.0, 10, 40, 40], [120, 10, 40, 40], [50, 50, 30, 40]])
    three = (files[0], files[0], files[1])
    faces = Faces("a/test", "a", IBUG_68, three, torch.zeros(3, 68, 2), boxes, ("",) * 3, ("",) * 3)
    base = np.random.default_rng(0).uniform(0, 9, (68, 2))

    seen = [
        found_at((14, 14, 40, 40), base + 10),  # of the first face
        found_at((12, 11, 40, 40), base + 20),  # of the first face, and closer
        found_at((135, 30, 40, 40), base + 30),  # too far from the second
        found_at((45, 50, 40, 40), base + 40),  # the square of the third, in its picture
    ]
    found = protocols_300w.find(SimpleNamespace(predict=lambda _: seen), faces)
    assert list(found) == [0, 2]
    np.testing.assert_allclose([*found.values()], [base + 20, base + 40], rtol=1e-6)


def test_found_faces_are_measured_others_counted(command, untrained, small_root, monkeypatch):
    """All points of the faces that are found are predicted 3 pixels too far right."""
    evaluate = partial(command, "evaluate", untrained, "--data", small_root, "--boxes", "haar")
    faces = ibug.load(small_root, "test")
    boxes, predicted = landmark_boxes(faces.points), faces.points + torch.tensor([3.0, 0.0])
    found = [[found_at(tuple(b.tolist()), p)] for b, p in zip(boxes, predicted, strict=True)]
    found[1] = []
    seen = by_picture(faces, found)
    monkeypatch.setattr(FaceKeypoints, "predict", lambda _, image: seen[int(image.sum())])
    metrics = json.loads(evaluate("--json")[1])
    assert (metrics["n_test"], metrics["found"]) == (2, pytest.approx(100 * 2 / 3))
    errors = 300 / IBUG_68.eye_distance(faces.points[[0, 2]])  # % of the eye distance
    assert metrics["nme"] == pytest.approx(errors.mean().item(), rel=1e-4)
    assert metrics["mae_px_original"] == pytest.approx(1.5, rel=1e-4)  # over x and y
    _, table, _ = evaluate()
    assert table.splitlines()[0] == "ibug/test, boxes: haar, 66.67 % of the faces found"

    monkeypatch.setattr(FaceKeypoints, "predict", lambda *_: [])
    status, _, errors = evaluate()
    fault = "error: --boxes haar: finds no face of ibug/test; choose another"
    assert (status, errors[-1]) == (2, fault)


def test_protocols_accept_faces_by_the_networks_own_flip_disagreement(small_root, monkeypatch):
    """An untrained network disagrees with its own flip far more than the one that ships."""
    test = ibug.load(small_root, "test")
    known = by_picture(test, square_boxes(landmark_boxes(test.points), 1.0).numpy()[:, None])

    def detect(image):  # turned pictures show no face
        boxes = known.get(int(image.sum()), np.empty((0, 4)))
        return boxes, np.ones(len(boxes))

    detector = Detector("haar", detect, longest=1000, fit=(0.0, 0.0, 1.0))
    monkeypatch.setattr(detectors, "load", lambda *_: detector)
    network, recipe = ResNet18(68), Recipe(height=32, width=32, margin=4, box_scale=1.3)
    train = load_crops(ibug.load(small_root, "train"), recipe)
    monkeypatch.setattr(splits, "protocols", lambda data: {"lfpw/testset": ""})
    for p99, found in ((0.0, 0.0), (10.0, 100.0)):
        monkeypatch.setattr(protocols_300w, "flip_disagreement_p99", lambda *_, known=p99: known)
        (row,) = protocols_300w.protocols(network, train, recipe, small_root)
        assert row["boxes"]["haar"]["found"] == found


def test_without_any_checkpoint_the_error_names_the_one_to_train(command, tmp_path, monkeypatch):
    monkeypatch.setattr(toolkit, "WEIGHTS", tmp_path / "weights")
    status, _, (line,) = command("evaluate")
    assert status == 2
    assert line.startswith("error: reports/part3/checkpoint.pt: ")
    assert line.endswith("python run_part.py 3")
