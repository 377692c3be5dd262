import re
from collections import Counter

import pytest
import torch
from handmade import few_examples, write_list, write_picture, write_pts
from hypothesis import given
from hypothesis import strategies as st
from small_sets import IBUG_FACE

from common.faces import landmark_boxes
from common.system.errors import NotHereError, UserError
from datasets import ibug
from datasets.annotations import picture_size

FACE = [(10 + i, 70 - (i * 7) % 68) for i in range(68)]  # whole pixels counted from 0
ELSEWHERE = [(x + 40, y / 2) for x, y in FACE]


def from_1(points):
    return [(x + 1, y + 1) for x, y in points]


def write_set(folder, counts):
    for name, count in counts.items():
        for index in range(count):
            write_pts(folder / name / f"face_{index}.pts")


def test_pts_of_other_writers_are_read_too(tmp_path):
    for text in (
        b"version: 1\r\nn_points:  68\r\n{\r\n1.5\t2\r\n}\r\n",
        b"version: 1\nn_points: 68 {\n 1.5  2 \n\n}",
        b"\n 1.5 2\n\n",
    ):
        (tmp_path / "a.pts").write_bytes(text)
        assert ibug.read_pts(tmp_path / "a.pts").tolist() == [[0.5, 1]]


coordinates = st.floats(-1e8, 1e8).map(lambda value: round(value, 6))


@few_examples
@given(points=st.lists(st.tuples(coordinates, coordinates), min_size=1), header=st.booleans())
def test_pts_are_read_as_written_less_one(tmp_path, points, header):
    file = write_pts(tmp_path / "a.pts", from_1(points), header, picture=None)
    expected = torch.tensor(points, dtype=torch.float64)
    torch.testing.assert_close(ibug.read_pts(file), expected, atol=1e-7, rtol=0)


def test_the_list_counts_from_0_and_agrees_with_the_pts(ibug_folder):
    write_pts(ibug_folder / "afw/a.pts", from_1(FACE))
    write_list(ibug_folder, [("afw/a.jpg", (5, 6, 30, 40), FACE)], "dlib/train")
    write_list(ibug_folder, [], "dlib/test")
    for boxes, expected in (("landmarks", [10.5, 3.5, 67, 67]), ("file", [5, 6, 30, 40])):
        for split in ("afw", "dlib/train"):
            faces = ibug.load(ibug_folder.parent, split, boxes=boxes)
            assert faces.points.tolist() == [[list(point) for point in FACE]]
            assert faces.boxes.tolist() == [expected]
            assert (faces.files, faces.groups) == ((ibug_folder / "afw/a.jpg",), ("afw",))


def test_every_face_of_a_picture_is_read_and_boxes_may_reach_out_of_it(ibug_folder):
    file = write_picture(ibug_folder / "my faces/one & two.jpg")
    boxes = [[-20, -3, 200, 190], [2, 2, 8, 8]]
    entries = zip(["my faces/one &amp; two.jpg"] * 2, boxes, (FACE, ELSEWHERE), strict=True)
    write_list(ibug_folder, entries)
    faces = ibug.load(ibug_folder.parent, "dlib/test", boxes="file")
    assert (faces.files, faces.groups) == ((file,) * 2, ("my faces",) * 2)
    assert faces.boxes.tolist() == boxes


def test_file_boxes_come_from_the_list_entry_of_the_same_face_or_the_face_is_left_out(ibug_folder):
    for name, points in (("a", ELSEWHERE), ("b", FACE), ("c", FACE), ("d", FACE)):
        write_pts(ibug_folder / f"afw/{name}.pts", from_1(points))
    entries = [("afw/a.jpg", (1, 1, 9, 9), FACE), ("afw/c.jpg", (3, 3, 0, 7), FACE)]
    write_list(ibug_folder, entries, "dlib/train")
    entries = [("afw/b.jpg", (3, 3, 7, 7), FACE), ("afw/a.jpg", (2, 2, 8, 8), ELSEWHERE)]
    write_list(ibug_folder, [*entries, ("afw/d.jpg", (2, 2, 8, 8), ELSEWHERE)], "dlib/test")
    faces = ibug.load(ibug_folder.parent, "afw", boxes="file")
    assert [file.name for file in faces.files] == ["a.jpg", "b.jpg"]
    assert faces.boxes.tolist() == [[2, 2, 8, 8], [3, 3, 7, 7]]
    assert faces.left_out == ("2 faces have no box in dlib's lists: afw/c.jpg, afw/d.jpg",)
    write_list(ibug_folder, [])
    with pytest.raises(NotHereError, match="no face has a box"):
        ibug.load(ibug_folder.parent, "afw", boxes="file")


def test_parts_are_ordered_by_their_names(ibug_folder):
    write_picture(ibug_folder / "afw/a.jpg")
    write_list(ibug_folder, [("afw/a.jpg", (1, 1, 9, 9), FACE)])
    file = ibug_folder / ibug.LISTS["dlib/test"]
    parts = re.findall("<part .*?/>", file.read_text())
    file.write_text(file.read_text().replace("".join(parts), "".join(parts[::-1])))
    assert ibug.load(ibug_folder.parent, "dlib/test").points.tolist() == [[list(p) for p in FACE]]


@pytest.mark.parametrize("split", ["afw", "dlib/test"])
def test_mirror_copies_are_left_out_by_default(ibug_folder, split):
    stems = ("afw/a", "afw/a_mirror", "afw/mirror_of_b")
    for stem in stems:
        write_pts(ibug_folder / f"{stem}.pts", from_1(FACE))
    write_list(ibug_folder, [(f"{stem}.jpg", (1, 1, 9, 9), FACE) for stem in stems])
    root = ibug_folder.parent
    assert [f.stem for f in ibug.load(root, split).files] == ["a", "mirror_of_b"]
    assert len(ibug.load(root, split, mirror=True)) == 3
    assert ibug.counts(ibug_folder)["afw"] == (2, 337)


def test_pictures_are_found_by_name_whatever_their_ending(ibug_folder):
    endings = ".JPG", ".Png", ".jpeg", ".jpg", ".png"
    for ending in endings:
        write_pts(ibug_folder / f"afw/{ending[1:]} two blanks.pts", picture=ending)
    files = ibug.load(ibug_folder.parent, "afw").files
    assert [file.name for file in files] == [f"{each[1:]} two blanks{each}" for each in endings]


def test_the_standard_protocol_goes_by_folder_and_test_takes_those_that_are_there(ibug_folder):
    root = ibug_folder.parent
    write_set(ibug_folder, {"lfpw/testset": 5, "my own": 1})
    assert ibug.load(root, "my own").groups == ("my own",)
    assert ibug.load(root, "test").groups == ("lfpw/testset",) * 5
    for split in ("full", "common", "train"):
        with pytest.raises(UserError, match=f"no such folder for split {split}"):
            ibug.load(root, split)
    write_set(ibug_folder, dict(zip(ibug.FOLDERS, (1, 2, 3, 4, 5, 6), strict=True)))
    sizes = {"test": 15, "common": 9, "challenging": 6, "full": 15, "helen/testset": 4}
    assert {split: len(ibug.load(root, split)) for split in sizes} == sizes
    train = ibug.load(root, "train")
    assert train.views == train.groups == ("afw", *["helen/trainset"] * 2, *["lfpw/trainset"] * 3)
    assert train.name == "ibug/train"


def test_wrong_names_are_reported_with_the_known_ones(ibug_folder):
    root = ibug_folder.parent
    (ibug_folder / ibug.LISTS["dlib/train"]).write_text("<dataset><images>")
    for place, split, boxes, fault in (
        (root, "nowhere", "landmarks", r"nowhere: no such folder .* lfpw/testset"),
        (root, "test", "landmarks", "none of helen/testset, lfpw/testset, ibug"),
        (root, "test", "yolo", "choose landmarks or file"),
        (root, "dlib/test", "landmarks", r"labels_ibug_300W_test\.xml: No such file"),
        (root, "dlib/train", "landmarks", r"labels_ibug_300W_train\.xml: not whole"),
        (ibug_folder, "test", "landmarks", r"`python run_part\.py data ibug --download"),
    ):
        with pytest.raises(NotHereError if "No such" in fault else UserError, match=fault):
            ibug.load(place, split, boxes=boxes)


DAMAGE = {  # the fault, and the points of the face
    "bad.pts: 67 points instead of 68": FACE[:67],
    "bad.pts: 0 points instead of 68": [],
    "bad.pts: a coordinate is missing or not a number": [("x", 1), *FACE[1:]],
    "bad.pts: a coordinate is not a number": [("inf", 1), *FACE[1:]],
    "bad.pts: points lie far outside the picture of 100x80": [(900, 1), *FACE[1:]],
    "bad.pts: a point at 0 0, which nobody placed": [*FACE[:67], (0, 0)],
    "bad.pts: a point at -1 -1, which nobody placed": [*FACE[:67], (-1, -1)],
    "bad.pts: x and y are exchanged": [(80 * y, 80 * x) for x, y in IBUG_FACE],
    "bad.pts: no picture of that name beside it": FACE,
    "bad.jpg: not a readable picture": FACE,
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_damage_of_a_folder_is_named_in_one_line(ibug_folder, fault):
    file = write_pts(ibug_folder / "afw/bad.pts", DAMAGE[fault])
    if "readable" in fault:
        file.with_suffix(".jpg").write_bytes(b"")
    elif "no picture" in fault:
        file.with_suffix(".jpg").unlink()
    with pytest.raises(UserError, match=f"^.*1 of 1 faces .*{file.parent / fault}; unpack .*$"):
        ibug.load(ibug_folder.parent, "afw")


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (("afw/a.jpg", (1, 1, 9, 9), FACE[:67]), "67 points instead of 68"),
        (("afw/gone.jpg", (1, 1, 9, 9), FACE), "the picture is missing"),
        (("afw/a.jpg", (1, "", 9, 9), FACE), "a coordinate is missing or not a number"),
        (("afw/a.jpg", (1, 1, 0, 9), FACE), "its box in the list is 0 x 9 pixels"),
    ],
)
def test_one_damaged_entry_in_a_hundred_is_left_out_and_named(ibug_folder, entry, fault):
    write_picture(ibug_folder / "afw/a.jpg")
    write_list(ibug_folder, [("afw/a.jpg", (1, 1, 9, 9), FACE)] * 99 + [entry])
    faces = ibug.load(ibug_folder.parent, "dlib/test")
    line = f"{ibug_folder / entry[0]}: {fault}"
    assert (len(faces), faces.left_out) == (99, (line,))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("name='05'", "name='6'", "a.jpg: one of its points is twice in the list"),
        ("x='11' y='63'", "x='0' y='0'", "a.jpg: a point at 0 0, which nobody placed"),
        ("'1.0'?>", "'1.0' encoding='latin-99'?>", r"xml: not whole \("),
        ("'1.0'?>", "'1.0' encoding='utf-7'?>", r"xml: not whole \("),
    ],
)
def test_damage_of_a_list_is_named_in_one_line(ibug_folder, old, new, fault):
    write_picture(ibug_folder / "afw/a.jpg")
    write_list(ibug_folder, [("afw/a.jpg", (1, 1, 9, 9), FACE)])
    file = ibug_folder / ibug.LISTS["dlib/test"]
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=f"^.*{fault}.*; unpack the data set again$"):
        ibug.load(ibug_folder.parent, "dlib/test")


def test_an_incomplete_set_does_not_verify_and_a_complete_one_does(ibug_folder, monkeypatch):
    monkeypatch.setattr(ibug, "FOLDERS", {"afw": 2, "lfpw/testset": 1})
    monkeypatch.setattr(ibug, "SPLITS", {"train": ("afw",), "full": ("lfpw/testset",)})
    write_set(ibug_folder, {"afw": 1, "lfpw/testset": 1})
    with pytest.raises(UserError, match="train holds 1 of 2 faces"):
        ibug.verify(ibug_folder)
    write_set(ibug_folder, {"afw": 2})
    with pytest.raises(NotHereError, match=r"labels_ibug_300W_train\.xml: No such file"):
        ibug.verify(ibug_folder)
    for name in ibug.LISTS:
        write_list(ibug_folder, [("afw/face_0.jpg", (1, 1, 9, 9), FACE)], name)
    assert ibug.verify(ibug_folder) == []


REAL_COUNTS = {
    "train": {"afw": 337, "helen/trainset": 1963, "lfpw/trainset": 805},
    "test": {"lfpw/testset": 224},
    "dlib/test": {"afw": 58, "helen/trainset": 236, "lfpw/trainset": 111, "lfpw/testset": 36},
}


@pytest.fixture(scope="module")
def real_faces(real_data):
    """Boxes as in dlib's lists."""
    return {split: ibug.load(real_data, split, boxes="file") for split in REAL_COUNTS}


@pytest.mark.slow
def test_real_splits_have_their_counts_and_no_damage(real_faces):
    assert {split: Counter(faces.groups) for split, faces in real_faces.items()} == REAL_COUNTS
    assert not any(faces.left_out for faces in real_faces.values())


@pytest.mark.slow
def test_real_list_points_agree_with_the_pts_within_a_pixel(real_faces):
    train, test, listed = real_faces.values()
    by_file = dict(zip(train.files + test.files, [*train.points, *test.points], strict=True))
    difference = listed.points - torch.stack([by_file[file] for file in listed.files])
    assert difference.abs().max() < 1
    assert difference.mean().abs() < 0.05  # off by one everywhere would be 1


@pytest.mark.slow
def test_real_file_boxes_hold_the_faces_and_fit_them_as_recorded(real_faces):
    test, faces = real_faces["test"], real_faces["train"]
    nose = (test.points[:, 30] - test.boxes[:, :2]) / test.boxes[:, 2:]
    assert ((nose > 0) & (nose < 1)).all()
    side = faces.boxes[:, 2:].amax(dim=1)
    landmarks = landmark_boxes(faces.points)
    apart = landmarks - faces.boxes
    offset = ((apart[:, :2] + apart[:, 2:] / 2) / side[:, None]).median(dim=0).values
    scale = (landmarks[:, 2:].amax(dim=1) / side).median()
    assert [*offset.tolist(), scale.item()] == pytest.approx(ibug.FILE_BOX_FIT, abs=0.002)


def test_real_mirror_copies_are_the_flipped_faces(real_data):
    faces = ibug.load(real_data, "lfpw/testset", mirror=True)
    points = {file.stem: face for file, face in zip(faces.files, faces.points, strict=True)}
    copies = [file for file in faces.files if file.stem.endswith("_mirror")]
    assert len(copies) == 5
    for copy in copies:
        flipped = points[copy.stem][faces.scheme.flip_order]
        flipped[:, 0] = picture_size(copy)[0] - 1 - flipped[:, 0]
        original = points[copy.stem.removesuffix("_mirror")]
        torch.testing.assert_close(flipped, original, atol=0.01, rtol=0)
