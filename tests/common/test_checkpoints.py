import pickle
import re
from contextlib import suppress
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_network import checkpoint_of
from states import same

from common import checkpoints
from common.system.errors import UserError
from parts.part2_full_face import FaceNet

SOUND = {
    "network": "NoseNet",
    "arguments": {},
    "weights": {"weight": torch.arange(50.0)},
    "recipe": {"height": 60, "width": 80},
    "scheme": "imm58",
    "point_ids": [52],
    "dataset": "imm",
}


def fault_of(action, path):
    """The one line with which ``action`` ends."""
    with pytest.raises(UserError) as raised:
        action(path)
    line = str(raised.value)
    assert "\n" not in line
    return line


def test_a_missing_checkpoint_is_named_with_the_way_to_make_one(tmp_path):
    line = fault_of(checkpoints.load, tmp_path / "none.pt")
    assert line.startswith(f"{tmp_path / 'none.pt'}: no such checkpoint")
    assert "run_part.py" in line
    assert "no such checkpoint" in fault_of(checkpoints.load, tmp_path)  # a folder


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    checkpoints.save(SOUND, tmp_path / "one.pt")
    # As root may read everything, the file's mode alone tests nothing.
    forbidden = Mock(side_effect=PermissionError(13, "Permission denied"))
    monkeypatch.setattr(checkpoints.zipfile, "ZipFile", forbidden)
    line = fault_of(checkpoints.load, tmp_path / "one.pt")
    assert line == f"{tmp_path / 'one.pt'}: may not be read; change its permissions"


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_text("not a checkpoint"),
        lambda file: torch.save({"state_dict": {}}, file),
        lambda file: torch.save(torch.zeros(3), file),
        lambda file: torch.save({**SOUND, "arguments": pickle.Pickler}, file),
        lambda file: file.write_bytes(pickle.dumps(SOUND)),
    ],
    ids=["empty", "text", "another project's", "a tensor", "code", "a plain pickle"],
)
def test_what_is_no_checkpoint_of_ours_is_refused_in_one_line(tmp_path, write):
    write(tmp_path / "one.pt")
    line = fault_of(checkpoints.load, tmp_path / "one.pt")
    assert line.startswith(f"{tmp_path / 'one.pt'}: not a checkpoint of this project")


def test_only_what_begins_as_a_checkpoint_of_ours_is_called_damaged(tmp_path):
    path = tmp_path / "one.pt"
    for state, word in (
        (SOUND, "damaged; delete it"),
        ({"a": torch.ones(900)}, "not a checkpoint"),
    ):
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-400])
        assert fault_of(checkpoints.load, path).startswith(f"{path}: {word}")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"scheme": "wflw98"}, "points are of wflw98, which this version does not know"),
        ({"point_ids": [58]}, "points are not those of imm58"),
        ({"point_ids": [5, 5]}, "points are not those of imm58"),
        ({"mean_shape": torch.ones(3, 2)}, "points are not those of imm58"),
        ({"weights": {"weight": torch.tensor([1.0, torch.nan])}}, "not finite"),
        ({"flip_disagreement": float("inf")}, "not finite"),
        ({"flip_disagreement": "0.1"}, "something else than numbers"),
        ({"recipe": 5}, "not a checkpoint of this project"),
    ],
)
def test_values_that_no_network_can_use_are_one_line(tmp_path, changes, fault):
    path = tmp_path / "one.pt"
    checkpoints.save({**SOUND, **changes}, path)
    line = fault_of(checkpoints.load, path)
    assert line.startswith(f"{path}: ") and fault in line


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"dataset": "of next year"}, None),
        ({"recipe": {"height": 160, "width": 96}}, "is for other crops or points"),
        ({"point_ids": [30]}, "is for other crops or points"),
        ({"arguments": {"n_points": "all"}}, "not a network of this version"),
        ({"recipe": {"height": 96, "width": 96, "margin": float("nan")}}, "of another version"),
        ({"recipe": {"height": 10**6, "width": 64}}, "of another version"),
    ],
)
def test_a_network_is_tried_before_it_is_used(tmp_path, changes, fault):
    path = checkpoint_of(tmp_path / "one.pt", FaceNet(96, 96, n_points=68))
    sound = torch.load(path) | {"recipe": {"height": 96, "width": 96}}
    checkpoints.save(sound | changes, path)
    if fault is None:
        assert isinstance(checkpoints.read(path).network, FaceNet)
    else:
        assert re.fullmatch(f"{path}: .*{fault}.*", fault_of(checkpoints.read, path))


@given(data=st.data())
def test_damage_never_changes_what_is_loaded(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "one.pt"
    checkpoints.save(SOUND, path)
    assert same(checkpoints.load(path), SOUND)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) - 100, len(content)))])
    with suppress(UserError):
        assert same(checkpoints.load(path), SOUND)


@pytest.mark.parametrize("network", ["NoseNet", "parts.part1.NoNet", "os.system", "torch.nn.ReLU"])
def test_nothing_but_a_network_of_ours_that_fits_its_weights_is_taken(monkeypatch, network):
    monkeypatch.setitem(checkpoints.NETWORKS, "NoseNet", torch.nn.Identity)  # without weights
    line = fault_of(checkpoints.network_of, {**SOUND, "network": network})
    assert "not a network of this version" in line


def test_a_recipe_of_another_version_is_refused_in_one_line():
    fault_of(checkpoints.recipe_of, {**SOUND, "recipe": {"height": 60, "of_next_year": 1}})
