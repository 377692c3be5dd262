import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from common.keypoints import IBUG_68
from common.photos.finder import FoundFace
from common.photos.formats import COLUMNS, as_csv, as_dict, as_json, as_pts
from common.photos.pose import Pose
from datasets import ibug
from datasets.annotations import check_points

random = np.random.default_rng(5)
FACES = [
    FoundFace(
        box=(10.25, -4.0, 100.5, 100.5),
        score=3.25,
        confidence=0.875,
        keypoints=random.uniform(-5, 200, (68, 2)).astype(np.float32),
        pose=Pose(yaw=12.5, pitch=-3.25, roll=0.5),
        eyes_open=0.25,
        mouth_open=0.125,
    )
    for _ in range(2)
]


def test_json_holds_what_is_promised_and_nothing_else():
    told = json.loads(as_json("photos/me.jpg", (480, 640), FACES))
    assert list(told) == ["image", "width", "height", "faces"]
    assert (told["image"], told["width"], told["height"]) == ("photos/me.jpg", 640, 480)
    face = told["faces"][1]
    assert list(face) == [
        "box", "score", "confidence", "keypoints", "pose", "eyes_open", "mouth_open",
    ]  # fmt: skip
    assert face["box"] == [10.25, -4.0, 100.5, 100.5]
    assert (face["score"], face["confidence"]) == (3.25, 0.875)
    assert face["pose"] == {"yaw": 12.5, "pitch": -3.25, "roll": 0.5}
    assert (face["eyes_open"], face["mouth_open"]) == (0.25, 0.125)
    np.testing.assert_allclose(face["keypoints"], FACES[1].keypoints, atol=5.1e-4)


def test_no_face_is_an_empty_list_and_a_frame_has_its_number():
    assert json.loads(as_json("a.png", (2, 3), []))["faces"] == []
    text = as_json("a.mp4", (2, 3), [], frame=7)
    assert json.loads(text) == {"image": "a.mp4", "frame": 7, "width": 3, "height": 2, "faces": []}
    assert text.endswith("}\n")
    assert text.count("\n") == 1


def test_csv_says_the_same_as_json():
    text = ",".join(COLUMNS) + "\n" + as_csv('with "," in it.jpg', FACES)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["image"], row["frame"], row["face"]) for row in rows] == [
        ('with "," in it.jpg', "", "1"), ('with "," in it.jpg', "", "2"),
    ]  # fmt: skip
    for row, face in zip(rows, map(as_dict, FACES), strict=True):
        assert [float(row[k]) for k in ("left", "top", "width", "height")] == face["box"]
        assert {k: float(row[k]) for k in ("yaw", "pitch", "roll")} == face["pose"]
        for name in ("score", "confidence", "eyes_open", "mouth_open"):
            assert float(row[name]) == face[name]
        points = [[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)]
        assert points == face["keypoints"]
    assert as_csv("a.mp4", FACES, frame=3).startswith("a.mp4,3,1,10.25,")


def test_a_face_that_was_followed_has_a_number_and_no_score():
    face = replace(FACES[0], score=None, number=4)
    (told,) = json.loads(as_json("a.mp4", (480, 640), [face], frame=2))["faces"]
    assert (told["number"], told["score"]) == (4, None)
    (row,) = csv.DictReader(
        io.StringIO(",".join(COLUMNS) + "\n" + as_csv("a.mp4", [face], frame=2))
    )
    assert (row["frame"], row["face"], row["score"]) == ("2", "4", "")


def test_pts_are_read_back_by_the_reader_of_300w(tmp_path):
    file = tmp_path / "me.face1.pts"
    file.write_text(as_pts(FACES[0]))
    points = check_points(file, ibug.read_pts(file), IBUG_68, (200, 200))
    np.testing.assert_allclose(points, FACES[0].keypoints, atol=6e-4)


def test_pts_count_from_one():
    lines = as_pts(FACES[0]).splitlines()
    assert lines[:3] == ["version: 1", "n_points: 68", "{"]
    assert lines[-1] == "}"
    first = [float(number) for number in lines[3].split()]
    assert first == pytest.approx((FACES[0].keypoints[0] + 1).tolist(), abs=6e-4)
