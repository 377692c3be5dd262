import math
import shutil

import pytest
import torch
from handmade import few_examples, spread, write_asf, write_picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.keypoints import IMM_58
from common.system.errors import UserError
from datasets import imm
from datasets.annotations import DamagedError, picture_size


def write_faces(folder, count):
    """``count`` sound faces of one picture, persons 01, 02, ..., view 1."""
    write_picture(folder / "one.jpg")
    for person in range(1, count + 1):
        write_asf(folder, f"{person % 100:02d}-{1 + person // 100}m", picture="one.jpg")


@pytest.mark.parametrize("columns", [7, 10])
@pytest.mark.parametrize("separator", ["\t", " ", " \t  ", "\t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_points_are_fractions_counted_from_the_edge(imm_folder, columns, separator, end):
    fractions = [(0.5, 0.5), (0.0, 1.0), (0.25, 0.1), *spread(55)]
    file = write_asf(imm_folder, "01-1m", fractions, columns, separator, end=end)
    points = imm.read_asf(file).points
    assert points.dtype == torch.float32
    # The middle of 100 x 80 pixels, its lower left corner, and a point by hand.
    torch.testing.assert_close(points[:3], torch.tensor([[49.5, 39.5], [-0.5, 79.5], [24.5, 7.5]]))


def with_outer_eye_corners_outside(fractions):
    for outer, inner, side in ((13, 17, -1), (21, 25, 1)):
        if (fractions[inner][0] - fractions[outer][0]) * side < 0:
            fractions[outer], fractions[inner] = fractions[inner], fractions[outer]
    return fractions


fractions_of_a_face = (
    st.lists(st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)), min_size=58, max_size=58)
    .map(with_outer_eye_corners_outside)
    .filter(lambda points: math.dist(points[13], points[21]) > 1e-3)  # else they are one spot
)


@few_examples
@given(fractions=fractions_of_a_face)
def test_what_was_written_is_read_and_mirrors_within_the_picture(imm_folder, fractions):
    write_picture(imm_folder / "one.png", 640, 480)
    read = imm.read_asf(write_asf(imm_folder, "01-1m", fractions, picture="one.png")).points
    expected = torch.tensor([(x * 640 - 0.5, y * 480 - 0.5) for x, y in fractions])
    torch.testing.assert_close(read, expected, atol=1e-3, rtol=0)
    mirrored = [(1 - fractions[i][0], fractions[i][1]) for i in IMM_58.flip_order.tolist()]
    flipped = imm.read_asf(write_asf(imm_folder, "01-1m", mirrored, picture="one.png")).points
    partners = read[IMM_58.flip_order]
    torch.testing.assert_close(flipped[:, 0], 640 - 1 - partners[:, 0], atol=1e-3, rtol=0)


def test_a_face_carries_its_person_its_view_and_the_whole_picture(imm_folder):
    write_asf(imm_folder, "07-3m")
    write_asf(imm_folder, "12-2f")
    faces = imm.load(imm_folder.parent)
    assert faces.groups == ("07", "12")
    assert faces.views == ("turned about 30° to the person's right", "frontal, happy")
    assert faces.boxes.tolist() == [[0, 0, 100, 80]] * 2
    assert faces.files == (imm_folder / "07-3m.jpg", imm_folder / "12-2f.jpg")


def test_the_picture_is_the_one_that_the_last_line_names(imm_folder):
    write_picture(imm_folder / "my photo 1.jpg", 200, 100)
    face = imm.read_asf(write_asf(imm_folder, "01-1m", picture="my photo 1.jpg"))
    assert face.file.name == "my photo 1.jpg"
    assert face.box == (0, 0, 200, 100)


def test_persons_1_to_32_train_and_33_to_40_test(imm_folder):
    write_faces(imm_folder, 40)
    train, test = imm.train_and_test(imm.load(imm_folder.parent))
    assert train.groups == tuple(f"{person:02d}" for person in range(1, 33))
    assert test.groups == tuple(f"{person:02d}" for person in range(33, 41))
    assert (train.name, test.name) == ("imm/train", "imm/test")


@pytest.mark.parametrize(
    ("orientation", "size"), [(None, (60, 40)), (1, (60, 40)), (3, (60, 40)), (6, (40, 60))]
)
def test_size_is_that_of_the_picture_as_a_viewer_shows_it(tmp_path, orientation, size):
    assert picture_size(write_picture(tmp_path / "a.jpg", 60, 40, orientation)) == size


def test_a_picture_larger_than_pillow_dares_to_open_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DamagedError, match=r"a\.png: not a readable picture"):
        picture_size(write_picture(tmp_path / "a.png", 60, 40))


def test_points_lie_on_the_picture_as_turned_by_exif(imm_folder):
    write_picture(imm_folder / "turned.jpg", 100, 80, orientation=8)
    fractions = [(1.0, 1.0), *spread(57)]
    face = imm.read_asf(write_asf(imm_folder, "01-1m", fractions, picture="turned.jpg"))
    assert face.box == (0, 0, 80, 100)
    assert face.points[0].tolist() == [79.5, 99.5]


DAMAGE = {  # the fault, and what is written in place of a sound file
    "57 points instead of 58": {"fractions": spread(57)},
    "a coordinate is missing or not a number": {"fractions": [("nose", 0.5), *spread(57)]},
    "a coordinate is not a number": {"fractions": [("nan", 0.5), *spread(57)]},
    "gone.jpg: the picture is missing": {"picture": "gone.jpg"},
    "text.jpg: not a readable picture": {"picture": "text.jpg"},
    "a point has neither 7 nor 10 columns": {"columns": 8},
    "points lie far outside the picture of 100x80": {"fractions": [(320, 0.5), *spread(57)]},
    "both outer eye corners lie in the same spot": {"fractions": [(0.5, 0.5)] * 58},
    "the name does not give person and view, like 01-1m.asf": {"stem": "somebody"},
    "8 points, its first line says 58": lambda content: content[:400],
    "not a text file": lambda content: bytes(range(256)),
    "not an .asf file": lambda content: b"",
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_one_damaged_face_in_a_hundred_is_left_out_and_named(imm_folder, fault):
    write_faces(imm_folder, 100)
    file, damage = imm_folder / "99-1m.asf", DAMAGE[fault]
    if callable(damage):
        file.write_bytes(damage(file.read_bytes()))
    else:
        file.unlink()
        (imm_folder / "text.jpg").write_text("not a picture")
        write_asf(imm_folder, **{"stem": "99-1m", "picture": "one.jpg"} | damage)
    faces = imm.load(imm_folder.parent)
    assert len(faces) == 99
    (line,) = faces.left_out
    assert line.startswith(str(imm_folder)) and line.endswith(fault) and "\n" not in line
    train, test = imm.train_and_test(faces)
    assert (train.left_out, test.left_out) == ((line,), ())  # reported once


def test_more_than_one_percent_of_damage_stops_and_names_the_first(imm_folder):
    write_faces(imm_folder, 100)
    for person in (17, 58):
        write_asf(imm_folder, f"{person}-1m", spread(57), picture="one.jpg")
    with pytest.raises(UserError, match=r"2 of 100 .*17-1m\.asf: 57 points instead of 58"):
        imm.load(imm_folder.parent)


def test_a_missing_set_is_reported_with_place_and_remedy(tmp_path):
    with pytest.raises(UserError) as error:
        imm.load(tmp_path)
    assert str(tmp_path / "imm_face_db") in str(error.value)
    assert "python run_part.py data imm --download" in str(error.value)


def test_a_folder_without_annotations_is_an_error(imm_folder):
    with pytest.raises(UserError, match="no annotated face"):
        imm.load(imm_folder.parent)


@pytest.fixture(scope="module")
def real_faces(real_data):
    return imm.load(real_data)


def test_real_set_is_complete_and_unchanged(real_data, real_faces):
    assert imm.verify(real_data / imm.FOLDER) == []
    assert imm.counts(real_data / imm.FOLDER) == {"train": (192, 192), "test": (48, 48)}
    faces = real_faces
    assert (len(faces), faces.left_out) == (240, ())
    assert len(set(faces.groups)) == 40
    assert all(faces.views.count(view) == 40 for view in imm.VIEWS.values())
    assert faces.boxes.tolist() == [[0, 0, 640, 480]] * 240


def test_real_frontal_faces_mirror_onto_themselves(real_faces):
    faces = real_faces
    frontal = faces.points[[view == imm.VIEWS["1"] for view in faces.views]]  # (40, 58, 2)
    mean = frontal.mean(dim=0)
    mirrored = (mean * torch.tensor([-1.0, 1.0]))[faces.scheme.flip_order]
    difference = mean - mirrored  # one shift along x, the same for all points
    spread_of_difference = (difference - difference.mean(dim=0)).norm(dim=-1)
    assert difference.mean(dim=0)[1].abs() < 2
    assert spread_of_difference.max() < 0.1 * faces.scheme.eye_distance(mean)


def test_real_turned_faces_look_to_the_side_that_their_view_names(real_faces):
    faces = real_faces
    nose, (left_eye, right_eye) = faces.points[:, 52, 0], faces.scheme.outer_eyes
    middle = (faces.points[:, left_eye, 0] + faces.points[:, right_eye, 0]) / 2
    for view, to_the_left in (("3", True), ("4", False)):  # the person's right is our left
        of_view = torch.tensor([name == imm.VIEWS[view] for name in faces.views])
        assert ((nose - middle < 0) == to_the_left)[of_view].float().mean() > 0.9


def test_real_files_that_differ_are_named_and_missing_ones_refused(real_data, imm_folder):
    original, copy = real_data / imm.FOLDER, shutil.copyfile  # bytes alone: it may be read-only
    shutil.copytree(original, imm_folder, dirs_exist_ok=True, copy_function=copy)
    changed = imm_folder / "05-2m.asf"
    changed.write_text(changed.read_text() + "\n")
    (warning,) = imm.verify(imm_folder)
    assert warning == "imm: differs from the original: 05-2m.asf"
    picture = imm_folder / "06-1m.jpg"
    picture.write_bytes(picture.read_bytes()[:20000])
    with pytest.raises(UserError, match=r"06-1m\.jpg: not a readable picture"):
        imm.verify(imm_folder)
    picture.unlink()
    with pytest.raises(UserError, match=r"1 of 480 files missing, the first is 06-1m\.jpg"):
        imm.verify(imm_folder)


def test_a_damaged_annotation_raises_with_its_file(imm_folder):
    with pytest.raises(DamagedError, match=r"02-1m\.asf: No such file"):
        imm.read_asf(imm_folder / "02-1m.asf")


def test_an_eye_numbered_from_the_inner_corner_is_numbered_from_the_outer_one():
    points = torch.zeros(58, 2)
    ring = torch.tensor([[0, 0], [1, -1], [2, -1], [3, -1], [4, 0], [3, 1], [2, 1], [1, 1]])
    left_eye, right_eye = ring, ring * torch.tensor([-1, 1]) + torch.tensor([20, 0])
    from_inside = [4, 3, 2, 1, 0, 7, 6, 5]  # the same eight spots, the upper lid still first
    for left, right in (
        (left_eye, right_eye),
        (left_eye[from_inside], right_eye),
        (left_eye, right_eye[from_inside]),
    ):
        points[21:29], points[13:21] = left, right
        numbered = imm.number_eyes_from_outside(points)
        assert torch.equal(numbered[21:29], left_eye.float())
        assert torch.equal(numbered[13:21], right_eye.float())


def test_in_real_faces_the_outer_eye_corners_lie_outside(real_faces):
    points = real_faces.points
    assert (points[:, 21, 0] < points[:, 25, 0]).all()
    assert (points[:, 17, 0] < points[:, 13, 0]).all()
