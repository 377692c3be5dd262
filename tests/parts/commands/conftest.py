from dataclasses import asdict

import pytest
import torch
from small_network import checkpoint_of

import run_part
from common import checkpoints
from common.recipe import Recipe
from parts.part1_nose_tip import NOSE, NoseNet


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """The checkpoint of a network for 68 points that has learned nothing, to be read alone."""
    path = tmp_path_factory.mktemp("untrained") / "c.pt"
    return checkpoint_of(path, dataset="ibug", mean_shape=torch.full((68, 2), 0.5))


@pytest.fixture(scope="session")
def nose(tmp_path_factory):
    """The checkpoint of a network for one point."""
    path = tmp_path_factory.mktemp("nose") / "nose.pt"
    checkpoint = {
        "network": "parts.part1_nose_tip.NoseNet", "arguments": {},
        "weights": NoseNet().state_dict(), "recipe": asdict(Recipe(height=60, width=80)),
        "scheme": "imm58", "point_ids": list(NOSE), "dataset": "imm",
    }  # fmt: skip
    checkpoints.save(checkpoint, path)
    return path


@pytest.fixture
def command(capfd, monkeypatch, tmp_path):
    """Calls the command line in an empty folder: exit status, stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*line):
        capfd.readouterr()
        status = run_part.main([str(word) for word in line])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return status, out, err.splitlines()

    return call
