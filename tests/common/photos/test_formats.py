import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from common.keypoints import IBUG_68
from common.photos.finder import FoundFace
from common.photos.formats import FORMATS, Moment, as_coco, as_dict
from common.photos.pose import Pose
from datasets import ibug
from datasets.annotations import check_points

random = np.random.default_rng(5)
FACES = [
    FoundFace(
        box=(10.25, -4.0, 100.5, 100.5), score=3.25, confidence=0.875,
        keypoints=random.uniform(-5, 200, (68, 2)).astype(np.float32),
        pose=Pose(yaw=12.5, pitch=-3.25, roll=0.5), eyes_open=0.25, mouth_open=0.125,
        uncertainty=random.uniform(0, 9, 68).astype(np.float32),
    )
    for _ in range(2)
]  # fmt: skip
PHOTO = [(None, FACES)]
TRACKED = replace(FACES[0], score=None, number=4, uncertainty=None)
VIDEO = [(Moment(2, 0.08), []), (Moment(3, 0.12346), [TRACKED])]


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
    np.testing.assert_allclose(face.pop("uncertainty"), FACES[1].uncertainty, atol=5.1e-4)
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
    assert face["uncertainty"] is None
    (row,) = csv.DictReader(io.StringIO(written("csv", VIDEO)))
    assert (row["frame"], row["time"], row["face"], row["score"]) == ("3", "0.1235", "4", "")
    assert row["uncertainty67"] == ""
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
        assert [float(row[f"uncertainty{i}"]) for i in range(68)] == face["uncertainty"]


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


def test_coco_is_read_back_with_all_faces_of_all_pictures_and_counts_as_coco_does():
    pictures = [("me.jpg", (480, 640), PHOTO), ("a.mp4", (100, 150), VIDEO)]
    coco = json.loads(as_coco(pictures))
    assert coco.keys() == {"images", "annotations", "categories"}
    images = {image["id"]: image for image in coco["images"]}
    shown = [(im["file_name"], im["height"], im["width"], im.get("frame")) for im in coco["images"]]
    assert shown == [
        ("me.jpg", 480, 640, None), ("a.mp4", 100, 150, 2), ("a.mp4", 100, 150, 3)
    ]  # fmt: skip
    (category,) = coco["categories"]
    assert (category["name"], len(set(category["keypoints"]))) == ("face", 68)
    joined = {(a, b) for a, b in category["skeleton"]}  # counted from 1
    assert len(joined) == len(category["skeleton"]) == 63
    assert {(1, 2), (42, 37), (68, 61)} < joined  # the jaw; an eye and the mouth are closed
    assert not {(17, 18), (0, 1), (27, 28)} & joined
    assert len({face["id"] for face in coco["annotations"]}) == 3
    for marked, face in zip(coco["annotations"], [*FACES, FACES[0]], strict=True):
        image = images[marked["image_id"]]
        assert marked["category_id"] == category["id"]
        x, y, flag = np.reshape(marked["keypoints"], (68, 3)).T
        np.testing.assert_allclose(np.stack([x, y], axis=1), face.keypoints, atol=6e-4)
        inside = (x >= -0.5) & (x <= image["width"] - 0.5)
        inside &= (y >= -0.5) & (y <= image["height"] - 0.5)
        assert flag.tolist() == np.where(inside, 2, 1).tolist() and 0 < inside.sum() < 68
        assert marked["bbox"] == list(face.box) and marked["area"] == 100.5 * 100.5
        assert (marked["score"], marked["num_keypoints"], marked["iscrowd"]) == (0.875, 68, 0)
    assert [face["image_id"] for face in coco["annotations"]] == [1, 1, 3]
    assert coco["annotations"][2]["track_id"] == 4
