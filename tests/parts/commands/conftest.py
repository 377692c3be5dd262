import pytest
import torch
from small_network import checkpoint_of

from common.recipe import Recipe
from parts.part1_nose_tip import NOSE, NoseNet


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """The checkpoint of a network for 68 points that has learned nothing, to be read alone."""
    path = tmp_path_factory.mktemp("untrained") / "c.pt"
    return checkpoint_of(path, mean_shape=torch.full((68, 2), 0.5))


@pytest.fixture(scope="session")
def nose(tmp_path_factory):
    """The checkpoint of a network for one point."""
    path = tmp_path_factory.mktemp("nose") / "nose.pt"
    points = {"scheme": "imm58", "point_ids": list(NOSE), "dataset": "imm"}
    return checkpoint_of(path, NoseNet(), Recipe(height=60, width=80), **points)
