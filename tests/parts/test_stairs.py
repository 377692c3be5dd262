"""The recipes are stairs: each builds on the one before and adds a few values."""

import json
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import walk

from common import checkpoints
from common.keypoints import IBUG_68, IMM_58
from common.recipe import Options, reasons
from common.training import init_bias_to_mean
from parts import part1_nose_tip, part2_full_face, part3_large_dataset
from parts.part1_nose_tip import NoseNet
from parts.part2_full_face import FaceNet
from parts.part3_large_dataset import (
    FIRST_STEPS,
    HeatmapResNet18,
    ResNet18,
    lesson_recipes,
    new_network,
)  # fmt: skip

STEPS = FIRST_STEPS | {"heatmaps": part3_large_dataset.Best}
STAIRS = (part1_nose_tip.Best, part2_full_face.Best, *STEPS.values())


@pytest.mark.parametrize(("before", "after"), list(pairwise(STAIRS)))
def test_a_step_builds_on_the_one_before_and_adds_at_most_six_values(before, after):
    assert issubclass(after, before)
    old, new = ({name for name, _, _ in reasons(recipe())} for recipe in (before, after))
    assert old <= new
    assert len(new - old) <= 6


@pytest.mark.parametrize("recipe", STAIRS)
def test_a_recipe_lists_only_what_it_changes(recipe):
    before = asdict(recipe.__bases__[0]())
    listed = vars(recipe)
    repeated = {name for name in before.keys() & listed if listed[name] == before[name]}
    # Conventions are listed even where they are the usual ones.
    assert repeated <= {"batch", "epochs", "learning_rate", "loss", "heatmap_sigma"}


def test_part_3_takes_part_2s_network_on_crops_then_resnet18_then_heatmaps():
    networks = []
    for step, recipe in STEPS.items():
        networks.append(type(new_network(recipe(), Options(step=step), IBUG_68.n_points)))
        assert lesson_recipes(Options(step=step))["best"] is recipe
    assert networks == [FaceNet, ResNet18, HeatmapResNet18]


@pytest.mark.parametrize(
    ("network", "size", "n_points"),
    [
        (NoseNet(), (60, 80), 1),
        (FaceNet(), (120, 160), IMM_58.n_points),
        (FaceNet(128, 128, n_points=68), (128, 128), 68),
        (ResNet18(), (64, 64), 68),
    ],
)
def test_the_untrained_network_predicts_the_mean_face_for_every_face(network, size, n_points):
    mean_face = torch.rand(n_points, 2)
    init_bias_to_mean(network, mean_face)
    with torch.inference_mode():
        predicted = network.eval()(torch.rand(3, 1, *size) - 0.5)  # (3, k, 2)
    assert torch.equal(predicted, mean_face.expand(3, -1, -1))


@pytest.fixture
def run(command, small_root, small_runs):
    return partial(command, "3", "--epochs", 1, "--device", "cpu", "--data", small_root)


@pytest.mark.slow
def test_a_step_is_trained_and_has_a_page_of_its_own(run):
    assert run("--step", "coordinates")[0] == 0
    folder = Path("reports", "part3-coordinates")
    assert json.loads((folder / "metrics.json").read_text())["network"] == "ResNet18"
    assert checkpoints.load(folder / "checkpoint.pt")["network"] == "ResNet18"


@pytest.mark.slow
def test_the_steps_are_trained_once_and_shown_side_by_side(run, trained):
    for epochs in (3, 0):  # the second call reads what the first one trained
        assert run("--steps")[0] == 0
        assert len(trained) == epochs
        trained.clear()
    folder = Path("reports", "part3-steps")
    numbers = json.loads((folder / "comparison.json").read_text())
    sizes = [network["parameters"] for network in numbers["networks"].values()]
    assert "each by the recipe of its step" in numbers["setting"]
    assert len(sizes) == 3 and sizes[0] < 1e6 < sizes[1] < sizes[2]
    words = walk.read(folder / "index.html")[0].text
    for name, network in numbers["networks"].items():
        assert f"{name}: NME {network['errors'][0]['nme']:.3g}" in words
