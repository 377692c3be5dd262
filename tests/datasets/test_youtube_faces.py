import re
import shutil
from collections import Counter

import pytest
import torch
from handmade import write_frames, write_picture

from common.faces import landmark_boxes
from common.system.errors import UserError
from datasets import catalog, splits, youtube_faces
from datasets.youtube_faces import KNOWN, NEW

PEOPLE = [f"Person_{letter}" for letter in "ABCDEFGHIJKL"]  # the first and the eleventh held out
HELD_OUT = {"Person_A", "Person_K"}


@pytest.fixture
def folder(tmp_path):
    """Two training frames of each of the people, one test frame of each, one test picture more."""
    folder = tmp_path / youtube_faces.FOLDER
    for part, frames in (("training", ("00", "12")), ("test", ("01",))):
        names = [f"{person}_{frame}.jpg" for person in reversed(PEOPLE) for frame in frames]
        for name in names:
            write_picture(folder / part / name)
        write_frames(folder, [(name, None) for name in names], part)
    write_picture(folder / "test" / "Nobody_Labelled_00.jpg")
    return folder


def load(folder, split):
    return youtube_faces.load(folder.parent, split)


def test_points_are_the_lists_numbers_and_boxes_lie_around_them(folder):
    points = [(3 + i, 70 - (i * 7) % 68) for i in range(68)]
    write_frames(folder, [("Person_C_01.jpg", points)], "test")
    faces = load(folder, "test")
    assert faces.files == (folder / "test" / "Person_C_01.jpg",)
    torch.testing.assert_close(faces.points[0], torch.tensor(points, dtype=torch.float32))
    torch.testing.assert_close(faces.boxes, landmark_boxes(faces.points))
    assert (faces.groups, faces.scheme.name) == (("Person_C",), "ibug68")


def test_every_tenth_person_is_in_validation_and_nowhere_in_training(folder):
    train, validation, training = (load(folder, split) for split in youtube_faces.SPLITS[:3])
    assert Counter(train.groups) == dict.fromkeys(set(PEOPLE) - HELD_OUT, 2)
    assert Counter(validation.groups) == dict.fromkeys(HELD_OUT, 2)
    assert set(training.files) == set(train.files) | set(validation.files)


def test_only_listed_test_frames_count_and_each_is_marked_as_known_or_new(folder):
    train, test = splits.train_and_test("ibug", "youtube_faces", folder.parent)
    views = {person: NEW if person in HELD_OUT else KNOWN for person in reversed(PEOPLE)}
    assert dict(zip(test.groups, test.views, strict=True)) == views and len(test) == 12
    assert youtube_faces.people_in_both(train, test) == (
        "10 of the 12 people of the test frames are in the training frames, too: 10 of the 12 "
        "test frames show somebody whom the network was trained on, 2 somebody new."
    )


@pytest.mark.parametrize("place", ["youtube_faces", "youtube_faces/data", "data"])
def test_the_courses_own_folder_is_found_too(folder, tmp_path, place):
    root = tmp_path / "elsewhere"
    (root / place).parent.mkdir(parents=True)
    shutil.move(folder, root / place)
    assert len(youtube_faces.load(root, "train")) == 20
    text = catalog.list_sets(root, "youtube_faces")
    assert f"found in {root / place}" in text
    assert re.search(r"training +24 of 3462 faces\n.*test +12 of 770 faces", text, re.DOTALL)
    text = catalog.download("youtube_faces", root)
    assert text.startswith(f"youtube_faces: is at {root / place} already")


def test_a_missing_set_and_an_unknown_split_are_reported_with_the_remedy(folder):
    with pytest.raises(UserError, match=r"youtube_faces: not found, .* youtube_faces --download"):
        splits.train_and_test("ibug", "youtube_faces", folder)
    with pytest.raises(UserError, match="--split all: youtube_faces has train, validation"):
        splits.split("youtube_faces", "all", folder.parent, "landmarks", None)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("Person_B_00.jpg,1.0,2.0", "1 points instead of 68"),
        ("Person_B_00.jpg," + ",".join(["x"] * 136), "a coordinate is missing or not a number"),
        ("Gone_Away_00.jpg," + ",".join(["1", "2"] * 68), "the picture is missing"),
        ("Person_B_00.jpg," + ",".join(["1", "2"] * 67 + ["0", "0"]), "a point at 0 0, which"),
        ("Nameless.jpg," + ",".join(f"{i}" for i in range(136)), "the name does not give the"),
    ],
)
def test_a_damaged_line_is_left_out_and_named(folder, row, fault):
    write_picture(folder / "training" / "Nameless.jpg", 200, 200)
    file = write_frames(folder, [("Person_A_00.jpg", None)] * 99)
    file.write_text(file.read_text() + row + "\n")
    faces = load(folder, "training")
    (line,) = faces.left_out
    assert line.startswith(f"{folder / 'training' / row.partition(',')[0]}: {fault}")
    assert len(faces) == 99


def test_a_list_with_other_separators_is_one_short_line(folder):
    file = write_frames(folder, [("Person_A_00.jpg", None)] * 9)
    file.write_text(file.read_text().replace(",", ";"))
    with pytest.raises(UserError, match=f"^{file}: its columns are not separated by commas"):
        load(folder, "training")


def test_a_list_that_cannot_be_read_is_an_error(folder):
    file = folder / youtube_faces.LISTS["test"]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=f"^{file}: .*not a list of frames"):
        load(folder, "test")
    file.unlink()
    with pytest.raises(UserError, match=f"^{file}: .*unpack the data set again"):
        load(folder, "test")


def test_an_incomplete_set_does_not_pass_and_a_complete_one_does(folder, monkeypatch):
    with pytest.raises(UserError, match="lists 24 of 3462 frames"):
        youtube_faces.verify(folder)
    monkeypatch.setattr(youtube_faces, "FRAMES", {"training": 24, "test": 12})
    assert youtube_faces.verify(folder) == []


@pytest.mark.slow
def test_the_real_set_is_as_its_docstring_says(real_data):
    if youtube_faces.find(real_data) is None:
        pytest.skip("the frames are not here")
    training, test = (youtube_faces.load(real_data, split) for split in ("training", "test"))
    assert (len(training), len(test), training.left_out, test.left_out) == (3462, 770, (), ())
    assert set(training.groups) == set(test.groups) and len(set(test.groups)) == 347
    videos = [{file.stem[:-1] for file in faces.files} for faces in (training, test)]
    assert videos[1] < videos[0] and len(videos[1]) == 770
    assert (training.points == training.points.round()).all()
    assert training.scheme.eye_distance(training.points).median() == pytest.approx(43, abs=0.5)
