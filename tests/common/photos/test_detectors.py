from dataclasses import replace

import cv2
import dots
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crops import read_picture, square_boxes
from common.faces import landmark_boxes
from common.keypoints import IBUG_68
from common.photos import detectors
from common.photos.detectors import (
    Detection,
    Detector,
    detect,
    detect_turned,
    distinct,
    overlap,
    turned_back,
)
from common.system.errors import UserError
from datasets import ibug, yunet
from datasets.synthetic.render import render


def bright(image):
    """A detector that finds the middle of what is bright, as a box of 10 x 10 pixels."""
    rows, columns = np.nonzero(image)
    weights = image[rows, columns]
    centre = np.average([columns, rows], axis=1, weights=weights) + 0.5  # from the picture's edge
    return np.array([[*(centre - 5), 10.0, 10.0]]), np.array([3.5])


BRIGHT = Detector("bright", bright, longest=100, fit=(0.0, 0.0, 1.0))  # boxes are only made square


@pytest.fixture(scope="module")
def drawn():
    """Six synthetic people, uint8 (6, 150, 200, 3), and the squares about their keypoints."""
    images, points, _ = render(range(6), IBUG_68, "portrait", size=(150, 200))
    return images.permute(0, 2, 3, 1).numpy(), square_boxes(landmark_boxes(points), 1.0).numpy()


@pytest.mark.parametrize(("name", "at_least"), [("haar", 5), ("lbp", 5), ("yunet", 6)])  # of 6
def test_every_detector_finds_synthetic_faces_where_their_landmarks_are(
    name, at_least, drawn, request
):
    model = None
    if name == "yunet":
        model = yunet.place(request.getfixturevalue("real_data"))
        if not model.is_file():
            pytest.skip("YuNet's file is not here")
    detector = detectors.load(name, model)
    overlaps = [
        overlap(np.array([face.box for face in detect(image, detector)]), truth).max(initial=0)
        for image, truth in zip(*drawn, strict=True)
    ]
    assert sum(share > 0.5 for share in overlaps) >= at_least
    if name != "yunet":
        grey = cv2.cvtColor(drawn[0][0], cv2.COLOR_RGB2GRAY)
        assert detect(grey, detector) == detect(drawn[0][0], detector) != []


@pytest.mark.parametrize("name", ["haar", "lbp", "yunet"])
def test_a_picture_too_small_for_a_face_has_none(name, real_data):
    detector = detectors.load(name, yunet.place(real_data))
    for size in ((1, 1), (1, 500), (23, 23), (2000, 30)):
        for angle in (0, 20):
            assert detect(np.full((*size, 3), 90, np.uint8), detector, angle) == []


def test_a_detectors_box_is_moved_to_where_the_landmarks_are():
    (face,) = detect(dots.draw([(40, 30)], 60, 80), replace(BRIGHT, fit=(0.1, 0.2, 0.5)))
    # Found at 35.5, 25.5, side 10: moved by 1 and 2 pixels, half as large about the new centre.
    assert face.box == pytest.approx((35.5 + 1 + 2.5, 25.5 + 2 + 2.5, 5, 5))
    assert face.score == 3.5


def test_large_pictures_are_shrunk_for_the_search_and_boxes_are_those_of_the_picture():
    (face,) = detect(dots.draw([(400, 300)], 600, 800, sigma=20), BRIGHT)
    assert face.box == pytest.approx((400.5 - 40, 300.5 - 40, 80, 80), abs=1)


@given(st.floats(-180, 180), st.integers(10, 60), st.integers(10, 40))
def test_a_turned_picture_stays_in_sight_and_its_boxes_are_in_its_own_pixels(angle, x, y):
    turned, _ = turned_back(np.full((30, 50), 255, np.uint8), angle)
    assert turned.astype(float).sum() == pytest.approx(255 * 30 * 50, rel=0.01)
    (face,) = detect(dots.draw([(x, y)], 51, 71), BRIGHT, angle)
    assert face.angle == angle
    assert face.box == pytest.approx((x + 0.5 - 5, y + 0.5 - 5, 10, 10), abs=0.3)


def test_room_around_a_picture_leaves_its_places_where_they_are():
    for angle in (0, 20):
        found = detect(dots.draw([(2, 30)], 51, 71), BRIGHT, angle, room=0.25)
        assert found[0].box == pytest.approx((2.5 - 5, 30.5 - 5, 10, 10), abs=0.6)


def test_of_hundreds_of_turned_finds_the_best_scores_are_left():
    scores = iter(range(10_000))

    def find(image):
        boxes = np.array([[10.0 * at, 0, 10, 10] for at in range(9)])
        return boxes, np.array([float(next(scores)) for _ in boxes])

    found = detect_turned(np.zeros((60, 100), np.uint8), replace(BRIGHT, find=find))
    last = next(scores) - 1
    assert [face.score for face in found] == list(range(last, last - detectors.MOST, -1))


class FakeYuNet:
    """The interface of cv2.FaceDetectorYN; finds one face, whatever the picture."""

    @classmethod
    def create(cls, model, *_, **__):
        return cls()

    def setInputSize(self, size):
        self.size = size

    def detect(self, image):
        assert image.shape[1::-1] == self.size
        return 1, np.array([[10, 20, 30, 40, *range(10), 0.9]], np.float32)


def test_auto_is_yunet_where_its_file_is_else_haar(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "FaceDetectorYN", FakeYuNet)
    model = tmp_path / "yunet.onnx"
    for there in (None, model):
        assert detectors.load("auto", there).name == "haar"
    model.touch()
    detector = detectors.load("auto", model)
    assert detector.name == "yunet"
    (face,) = detect(np.zeros((80, 90, 3), np.uint8), replace(detector, fit=(0.0, 0.0, 1.0)))
    assert (face.box, face.score) == ((5, 20, 40, 40), pytest.approx(0.9))


def test_overlap_is_intersection_over_union():
    one, others = [[0.0, 0, 4, 4]], [[0, 0, 4, 4], [2, 0, 4, 4], [1, 1, 2, 2], [4, 0, 4, 4]]
    shares = overlap(np.array(one), np.array(others))
    np.testing.assert_allclose(shares, [[1, 8 / 24, 4 / 16, 0]])
    assert overlap(np.empty((0, 4)), np.array(others)).shape == (0, 4)


def test_of_overlapping_boxes_the_one_with_the_best_score_stays():
    boxes = [(0, 0, 10, 10), (1, 1, 10, 10), (30, 0, 10, 10), (2, 0, 10, 10)]
    faces = [Detection(box, None) for box in boxes]
    assert distinct(faces, [1.0, 3, 2, 2.5]) == [faces[1], faces[2]]
    assert distinct([], []) == []


def test_a_detector_that_cannot_be_loaded_is_an_error_with_its_remedy(tmp_path, monkeypatch, capfd):
    bad, fetch = tmp_path / "bad.onnx", r"run_part\.py data yunet --download"
    for name, model, content, fault in (
        ("eyes", None, b"", r"--detector eyes: .*auto, haar, lbp, yunet"),
        ("yunet", None, b"", fetch),
        ("yunet", tmp_path / "none.onnx", b"", fetch),
        ("yunet", bad, b"", r"bad\.onnx: damaged"),
        ("yunet", bad, b"no network", r"bad\.onnx: damaged"),
        ("yunet", bad, bytes(range(256)) * 9, r"bad\.onnx: damaged"),
    ):
        bad.write_bytes(content)
        with pytest.raises(UserError, match=fault):
            detectors.load(name, model)
    assert capfd.readouterr().err == ""
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(UserError, match=r"^OpenCV \d.* no Haar detector; .*'opencv-python<5'$"):
        detectors.haar()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["haar", "lbp", "yunet"])
def test_the_fit_brings_a_detectors_boxes_to_training_faces(name, real_data):
    """On six training faces, whatever else: the median is off by less than a tenth."""
    faces = ibug.load(real_data, "lfpw/trainset")
    faces = faces.take(range(0, len(faces), len(faces) // 5))
    detector = detectors.load(name, yunet.place(real_data))
    offsets = []
    truth = square_boxes(faces.boxes, 1.0).numpy()
    for file, box in zip(faces.files, truth, strict=True):
        for face in detect(np.asarray(read_picture(file, colour=True)), detector):
            if overlap(np.array(face.box), box) > 0.4:
                offsets.append((np.array(face.box) - box) / box[2])
    assert len(offsets) >= 4
    assert np.abs(np.median(offsets, axis=0)).max() < 0.1
