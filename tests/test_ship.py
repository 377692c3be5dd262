"""The weights that ship: what is written, what is left out, and what the card says of them."""

import sys

import pytest
import small_sets
import torch

import run_part
from benchmarks import ship
from common import checkpoints
from common.inference import predict_keypoints
from common.system.errors import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A part 3 that was trained for an epoch on a few drawn faces; data folder and checkpoint."""
    root = small_sets.write_ibug(tmp_path_factory.mktemp("sets"))
    reports = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        line = ["3", "--epochs", "1", "--device", "cpu", "--data", str(root)]
        assert run_part.main([*line, "--reports", str(reports)]) == 0
    return root, reports / "part3" / "checkpoint.pt"


@pytest.fixture
def shipped(trained, tmp_path, monkeypatch):
    root, checkpoint = trained
    monkeypatch.setenv("FACE_DATA", str(root))
    monkeypatch.setattr(ship, "FILE", tmp_path / "weights" / "part3.pt")
    monkeypatch.setattr(sys, "argv", ["ship", str(checkpoint), "--device", "cpu"])
    ship.main()
    return tmp_path / "weights"


def test_half_the_bits_answer_nearly_the_same_and_need_no_more_than_25_megabytes(trained, shipped):
    file = shipped / "part3.pt"
    assert file.stat().st_size < 25e6
    ours, theirs = checkpoints.load(trained[1]), checkpoints.load(file)
    assert "training" not in theirs
    recipe = checkpoints.recipe_of(theirs)
    assert recipe == checkpoints.recipe_of(ours)
    torch.manual_seed(0)
    faces = torch.randint(0, 256, (4, 1, *recipe.cached_size), dtype=torch.uint8)
    order = torch.arange(68)
    one, other = (
        predict_keypoints(checkpoints.network_of(kind), faces, order, recipe)
        for kind in (ours, theirs)
    )
    assert (one - other).abs().max() < 0.05  # of a pixel


def test_the_card_tells_data_licence_recipe_and_measured_figures(trained, shipped):
    card = (shipped / "README.md").read_text()
    for words in ("no commercial use", "6 of 3148 faces", "recipe `best`, seed 0", "1 epochs"):
        assert words in card
    row = next(line for line in card.splitlines() if line.startswith("| lfpw/testset |"))
    assert row.split("|")[2].strip() == str(small_sets.FOLDERS["lfpw/testset"])
    trained_on = {name for name in small_sets.FOLDERS if "train" in name or name == "afw"}
    assert all(f"{name} {small_sets.FOLDERS[name]}" in card for name in trained_on)


def test_a_network_that_cannot_be_measured_is_not_shipped(trained, shipped, monkeypatch, tmp_path):
    before = (shipped / "part3.pt").read_bytes()
    monkeypatch.setenv("FACE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="ibug"):
        ship.main()
    assert (shipped / "part3.pt").read_bytes() == before
    monkeypatch.setattr(sys, "argv", ["ship", str(shipped / "part3.pt")])
    with pytest.raises(UserError, match=r"part3.pt: is one that ships; name one of"):
        ship.main()
    assert sorted(path.name for path in shipped.iterdir()) == ["README.md", "part3.pt"]


def test_a_new_network_takes_the_place_of_the_old_one(trained, shipped, monkeypatch):
    before = (shipped / "part3.pt").stat().st_mtime_ns
    ship.main()
    assert sorted(path.name for path in shipped.iterdir()) == ["README.md", "part3.pt"]
    assert (shipped / "part3.pt").stat().st_mtime_ns > before
