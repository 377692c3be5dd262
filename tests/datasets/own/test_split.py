from pathlib import Path

import pytest
import torch
from handmade import write_picture

from common.faces import Faces
from common.keypoints import Scheme
from common.system.errors import UserError
from datasets.own.split import train_and_test

SCHEME = Scheme("own", 1, (), (), None, ("nose",))


def faces(files, groups=None):
    count = len(files)
    groups = tuple(groups or map(str, files))
    files = tuple(map(Path, files))
    return Faces("own-a", "a", SCHEME, files, torch.zeros(count, 1, 2), torch.ones(count, 4),
                 groups, groups)  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    return [write_picture(tmp_path / f"{n}.jpg", width=100 + n) for n in range(10)]


def test_groups_stay_together_and_a_fifth_is_the_test(pictures):
    groups = "aabbccddee"
    train, test, (about,) = train_and_test(faces(pictures, groups), seed=3)
    assert len(test) == 2 and not {*train.groups} & {*test.groups}
    assert {*train.files, *test.files} == {*pictures}
    assert about == "split by group with seed 3: 1 of 5 are test faces"
    others = [train_and_test(faces(pictures, groups), seed)[1].groups for seed in range(8)]
    assert len({*others}) > 1


def test_a_group_called_val_is_the_test(pictures):
    groups = ["train"] * 7 + ["val"] * 3
    _, test, (about,) = train_and_test(faces(pictures, groups), seed=0)
    assert [file.name for file in test.files] == ["7.jpg", "8.jpg", "9.jpg"] and "val" in about


def test_without_groups_pictures_are_split_and_their_faces_stay_together(pictures):
    twice = [file for file in pictures for _ in range(2)]
    train, test, (about,) = train_and_test(faces(twice), seed=0)
    assert len(test) == 4 and not {*train.files} & {*test.files} and "by picture" in about


def test_copies_on_both_sides_are_named(tmp_path, pictures):
    write_picture(tmp_path / "0_mirror.jpg", width=150)
    write_picture(tmp_path / "other.jpg", width=101)  # the bytes of 1.jpg
    groups = ["train"] * 10 + ["test"] * 2
    files = [*pictures, tmp_path / "0_mirror.jpg", tmp_path / "other.jpg"]
    *_, (_, warning) = train_and_test(faces(files, groups), seed=0)
    assert "2 test pictures seem to be in the training, too" in warning
    assert f"{tmp_path / '0_mirror.jpg'} ({tmp_path / '0.jpg'})" in warning


def test_one_picture_cannot_be_split(pictures):
    with pytest.raises(UserError, match="all faces are in one picture"):
        train_and_test(faces([pictures[0]] * 3), seed=0)
