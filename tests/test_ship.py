"""The weights that ship: what is written, what is left out, and what the card says of them."""

import json
import sys

import pytest
import small_sets
import torch
from made_up_reports import draw_nothing
from small_sets import shrink_crops

import run_part
from benchmarks import ship
from common import checkpoints
from common.inference import predict_keypoints
from common.system.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shipped(small_root, tmp_path_factory):
    """A part 3 trained for an epoch on a few synthetic faces: its checkpoint, and the folder to
    which it was shipped."""
    reports, weights = tmp_path_factory.mktemp("reports"), tmp_path_factory.mktemp("weights")
    checkpoint = reports / "part3" / "checkpoint.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("FACE_DATA", str(small_root))
        patch.setattr(ship, "FILE", weights / "part3.pt")
        ship.FILE.write_bytes(b"an older network, which the new one replaces")
        shrink_crops(patch)
        draw_nothing(patch)
        patch.setattr(sys, "argv", ["ship", str(checkpoint), "--device", "cpu"])
        line = ["3", "--epochs", "1", "--device", "cpu", "--reports", str(reports)]
        assert run_part.main(line) == 0
        ship.main()
        yield checkpoint, weights


def test_half_the_bits_predict_nearly_the_same_and_need_no_more_than_25_megabytes(shipped):
    file = shipped[1] / "part3.pt"
    assert file.stat().st_size < 25e6
    full, half = checkpoints.load(shipped[0]), checkpoints.load(file)
    assert "training" not in half
    recipe = checkpoints.recipe_of(half)
    assert recipe == checkpoints.recipe_of(full)
    torch.manual_seed(0)
    faces = torch.randint(0, 256, (4, 1, *recipe.cached_size), dtype=torch.uint8)
    order = torch.arange(68)
    networks = map(checkpoints.network_of, (full, half))
    one, other = (predict_keypoints(network, faces, order, recipe) for network in networks)
    assert 0 < (one - other).abs().max() < 0.05  # of a pixel


def test_the_card_names_data_licence_recipe_and_measured_figures(shipped):
    card = (shipped[1] / "README.md").read_text()
    for words in ("no commercial use", "6 of 3148 faces", "recipe `best`, seed 0", "1 epochs"):
        assert words in card
    assert f"\n| lfpw/testset | {small_sets.FOLDERS['lfpw/testset']} |" in card
    assert json.loads((shipped[1] / "nme.json").read_text()).keys() == {"lfpw/testset", "ibug"}
    train = {name for name in small_sets.FOLDERS if "train" in name or name == "afw"}
    assert all(f"{name} {small_sets.FOLDERS[name]}" in card for name in train)


def test_a_network_that_cannot_be_measured_is_not_shipped(shipped, monkeypatch, tmp_path):
    file = shipped[1] / "part3.pt"
    before = file.read_bytes()
    monkeypatch.setenv("FACE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="ibug"):
        ship.main()
    monkeypatch.setattr(sys, "argv", ["ship", str(file)])
    with pytest.raises(UserError, match=r"part3.pt: is one that ships; name one of"):
        ship.main()
    assert file.read_bytes() == before
    assert sorted(path.name for path in shipped[1].iterdir()) == [
        "README.md",
        "nme.json",
        "part3.pt",
    ]
