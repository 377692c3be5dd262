import hashlib
import re
from collections import Counter

import numpy as np
import pytest
import torch
from handmade import spread, write_asf, write_picture
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


@pytest.mark.parametrize(
    ("columns", "separator", "end"),
    [(7, "\t", "\n"), (10, " ", "\r\n"), (10, " \t  ", "\n"), (7, "\t ", "\r\n")],
)
def test_points_are_fractions_counted_from_the_edge(imm_folder, columns, separator, end):
    fractions = [(0.5, 0.5), (0.0, 1.0), (0.25, 0.1), *spread(55)]
    file = write_asf(imm_folder, "01-1m", fractions, columns, separator, end=end)
    points = imm.read_asf(file).points
    assert points.dtype == torch.float32
    # The middle of 100 x 80 pixels, its lower left corner, and a point by hand.
    torch.testing.assert_close(points[:3], torch.tensor([[49.5, 39.5], [-0.5, 79.5], [24.5, 7.5]]))


def test_what_was_written_is_read_in_pixels_of_the_picture(imm_folder):
    fractions = np.random.default_rng(0).uniform(-0.1, 1.1, (58, 2))
    for corners in ([17, 13], [21, 25]):  # the outer ones lie outside
        fractions[corners] = sorted(fractions[corners].tolist())
    write_picture(imm_folder / "one.png", 640, 480)
    file = write_asf(imm_folder, "01-1m", fractions.tolist(), picture="one.png")
    expected = torch.tensor(fractions * [640, 480] - 0.5, dtype=torch.float32)
    torch.testing.assert_close(imm.read_asf(file).points, expected, atol=1e-3, rtol=0)


def test_a_face_carries_its_person_its_view_and_the_whole_picture(imm_folder):
    write_picture(imm_folder / "my photo 1.jpg", 200, 100)
    write_asf(imm_folder, "07-3m", picture="my photo 1.jpg")  # the last line names it
    write_asf(imm_folder, "12-2f")
    faces = imm.load(imm_folder.parent)
    assert faces.views == ("turned about 30° to the person's right", "frontal, happy")
    assert faces.groups == ("07", "12")
    assert faces.boxes.tolist() == [[0, 0, 200, 100], [0, 0, 100, 80]]
    assert faces.files == (imm_folder / "my photo 1.jpg", imm_folder / "12-2f.jpg")


def test_persons_1_to_32_train_and_33_to_40_test(imm_folder):
    write_faces(imm_folder, 40)
    train, test = imm.train_and_test(imm.load(imm_folder.parent))
    assert train.groups == tuple(f"{person:02d}" for person in range(1, 33))
    assert test.groups == tuple(f"{person:02d}" for person in range(33, 41))
    assert (train.name, test.name) == ("imm/train", "imm/test")


def test_a_picture_larger_than_pillow_dares_to_open_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DamagedError, match=r"a\.png: not a readable picture"):
        picture_size(write_picture(tmp_path / "a.png", 60, 40))


@pytest.mark.parametrize(("orientation", "size"), [(3, (100, 80)), (8, (80, 100))])
def test_points_lie_on_the_picture_as_turned_by_exif(imm_folder, orientation, size):
    write_picture(imm_folder / "turned.jpg", 100, 80, orientation)
    fractions = [(1.0, 1.0), *spread(57)]
    face = imm.read_asf(write_asf(imm_folder, "01-1m", fractions, picture="turned.jpg"))
    assert face.box == (0, 0, *size)
    assert face.points[0].tolist() == [size[0] - 0.5, size[1] - 0.5]


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
    "No such file or directory": None,
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_damage_is_one_line_that_starts_with_the_file(imm_folder, fault):
    damage = DAMAGE[fault]
    (imm_folder / "text.jpg").write_text("not a picture")
    file = write_asf(imm_folder, **{"stem": "99-1m"} | (damage if isinstance(damage, dict) else {}))
    if damage is None:
        file.unlink()
    elif callable(damage):
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DamagedError, match=rf"^{imm_folder}.*{re.escape(fault)}\Z"):
        imm.read_asf(file)


def test_one_damaged_face_in_a_hundred_is_left_out_and_named_and_two_stop_the_run(imm_folder):
    write_faces(imm_folder, 100)
    write_asf(imm_folder, "58-1m", spread(57), picture="one.jpg")
    faces = imm.load(imm_folder.parent)
    line = f"{imm_folder / '58-1m.asf'}: 57 points instead of 58"
    assert (len(faces), faces.left_out) == (99, (line,))
    train, test = imm.train_and_test(faces)
    assert (train.left_out, test.left_out) == ((line,), ())  # reported once
    write_asf(imm_folder, "17-1m", spread(56), picture="one.jpg")
    with pytest.raises(UserError, match=r"2 of 100 .*17-1m\.asf: 56 points instead of 58"):
        imm.load(imm_folder.parent)


def test_a_missing_or_empty_set_is_reported_with_place_and_remedy(imm_folder):
    with pytest.raises(UserError, match="no annotated face"):
        imm.load(imm_folder.parent)
    with pytest.raises(UserError, match=f"{imm_folder}/imm_face_db.*run_part.py data imm --down"):
        imm.load(imm_folder)


def test_differing_files_are_named_and_unreadable_or_missing_ones_refused(imm_folder, monkeypatch):
    for stem in ("05-2m", "06-1m"):
        write_asf(imm_folder, stem)
    sums = imm_folder.parent / "sums.txt"
    digests = {file.name: hashlib.sha256(file.read_bytes()) for file in imm_folder.iterdir()}
    sums.write_text("".join(f"{one.hexdigest()}  {name}\n" for name, one in digests.items()))
    monkeypatch.setattr(imm, "SHA256_SUMS", sums)
    assert imm.verify(imm_folder) == []
    annotation, picture = imm_folder / "05-2m.asf", imm_folder / "06-1m.jpg"
    half = picture.read_bytes()[:-200]
    annotation.write_text(annotation.read_text() + "\n")
    assert imm.verify(imm_folder) == ["imm: differs from the original: 05-2m.asf"]
    for damage, fault in (
        (lambda: picture.write_bytes(half), r"06-1m\.jpg: not a readable picture"),
        (lambda: annotation.write_text(""), r"05-2m\.asf: not an \.asf file"),
        (picture.unlink, r"1 of 4 files missing, the first is 06-1m\.jpg"),
    ):
        damage()
        with pytest.raises(UserError, match=fault):
            imm.verify(imm_folder)


def test_an_eye_numbered_from_the_inner_corner_is_numbered_from_the_outer_one():
    points = torch.zeros(58, 2)
    ring = torch.tensor([[0, 0], [1, -1], [2, -1], [3, -1], [4, 0], [3, 1], [2, 1], [1, 1]])
    points[21:29], points[13:21] = ring, ring * torch.tensor([-1, 1]) + torch.tensor([20, 0])
    from_inside = torch.tensor([4, 3, 2, 1, 0, 7, 6, 5])  # the same spots, the upper lid first
    for first in (13, 21):
        given = points.clone()
        given[first : first + 8] = points[first + from_inside]
        assert torch.equal(imm.number_eyes_from_outside(given), points)
    assert torch.equal(imm.number_eyes_from_outside(points), points)


@pytest.fixture(scope="module")
def real_faces(real_data):
    return imm.load(real_data)


def test_real_set_is_complete_and_unchanged(real_data, real_faces):
    assert imm.verify(real_data / imm.FOLDER) == []
    assert imm.counts(real_data / imm.FOLDER) == {"train": (192, 192), "test": (48, 48)}
    assert real_faces.left_out == ()
    assert set(Counter(real_faces.groups).values()) == {6}
    assert Counter(real_faces.views) == dict.fromkeys(imm.VIEWS.values(), 40)
    assert real_faces.boxes.tolist() == [[0, 0, 640, 480]] * 240


def test_real_turned_faces_look_to_the_side_that_their_view_names(real_faces):
    x = real_faces.points[..., 0]
    nose = x[:, 52] - x[:, list(IMM_58.outer_eyes)].mean(dim=1)
    for view, to_the_left in (("3", True), ("4", False)):  # the person's right is our left
        of_view = torch.tensor([name == imm.VIEWS[view] for name in real_faces.views])
        assert ((nose < 0) == to_the_left)[of_view].float().mean() > 0.9


def test_in_real_faces_the_outer_eye_corners_lie_outside(real_faces):
    points = real_faces.points
    assert (points[:, 21, 0] < points[:, 25, 0]).all()
    assert (points[:, 17, 0] < points[:, 13, 0]).all()
