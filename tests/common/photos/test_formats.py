import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from common.keypoints import IBUG_68
from common.photos.finder import FoundFace
from common.photos.formats import FORMATS, Moment, as_dict
from common.photos.pose import Pose
from datasets import ibug
from datasets.annotations import check_points

random = np.random.default_rng(5)
FACES = [
    FoundFace(
        box=(10.25, -4.0, 100.5, 100.5), score=3.25, confidence=0.875,
        keypoints=random.uniform(-5, 200, (68, 2)).astype(np.float32),
        pose=Pose(yaw=12.5, pitch=-3.25, roll=0.5), eyes_open=0.25, mouth_open=0.125,
    )
    for _ in range(2)
]  # fmt: skip
PHOTO = [(None, FACES)]
FOUND = replace(FACES[0], score=None, number=4)
VIDEO = [(Moment(2, 0.08), []), (Moment(3, 0.12346), [FOUND])]


def written(kind, found, image="photos/me.jpg"):
    """The text of the one file of this format."""
    ((name, text),) = FORMATS[kind](image, "me", (480, 640), found).items()
    assert name == f"me.{kind}" + "l" * (kind == "json" and found is VIDEO)
    return text


def test_json_holds_what_is_promised_and_nothing_else():
    photo = json.loads(written("json", PHOTO))
    assert list(photo) == ["image", "width", "height", "faces"]
    assert (photo["image"], photo["width"], photo["height"]) == ("photos/me.jpg", 640, 480)
    face = photo["faces"][1]
    points = face.pop("keypoints")
    np.testing.assert_allclose(points, FACES[1].keypoints, atol=5.1e-4)
    assert face == {
        "box": [10.25, -4.0, 100.5, 100.5], "score": 3.25, "confidence": 0.875,
        "pose": {"yaw": 12.5, "pitch": -3.25, "roll": 0.5}, "eyes_open": 0.25, "mouth_open": 0.125,
    }  # fmt: skip


def test_every_frame_of_a_video_is_a_line_with_its_number_and_those_of_its_faces():
    text = written("json", VIDEO)
    assert text.endswith("}\n")
    empty, other = map(json.loads, text.splitlines())
    image = {"image": "photos/me.jpg", "width": 640, "height": 480}
    assert empty == image | {"frame": 2, "time": 0.08, "faces": []}
    (face,) = other["faces"]
    assert (other["frame"], other["time"], face["number"], face["score"]) == (3, 0.1235, 4, None)
    (row,) = csv.DictReader(io.StringIO(written("csv", VIDEO)))
    assert (row["frame"], row["time"], row["face"], row["score"]) == ("3", "0.1235", "4", "")
    assert list(FORMATS["pts"]("a.mp4", "a", (480, 640), VIDEO)) == ["a.frame000003.face4.pts"]


def test_csv_says_the_same_as_json():
    rows = list(csv.DictReader(io.StringIO(written("csv", PHOTO, 'with "," in it.jpg'))))
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


def test_pts_are_read_back_by_the_reader_of_300w_and_count_from_one(tmp_path):
    texts = FORMATS["pts"]("me.jpg", "me", (480, 640), PHOTO)
    assert list(texts) == ["me.face1.pts", "me.face2.pts"]
    file = tmp_path / "me.face1.pts"
    file.write_text(texts[file.name])
    points = check_points(file, ibug.read_pts(file), IBUG_68, (200, 200))
    np.testing.assert_allclose(points, FACES[0].keypoints, atol=6e-4)
    lines = texts[file.name].splitlines()
    assert (lines[:3], lines[-1]) == (["version: 1", "n_points: 68", "{"], "}")
    first = [float(number) for number in lines[3].split()]
    assert first == pytest.approx((FACES[0].keypoints[0] + 1).tolist(), abs=6e-4)
