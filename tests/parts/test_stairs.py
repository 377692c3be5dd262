"""The recipes are stairs: each builds on the one before and adds a few values."""

from dataclasses import asdict
from itertools import pairwise

import pytest
import torch

from common.keypoints import IBUG_68, IMM_58
from common.recipe import Options, Recipe, reasons
from common.training import init_bias_to_mean
from parts import part1_nose_tip, part2_full_face, part3_large_dataset
from parts.part1_nose_tip import NoseNet
from parts.part2_full_face import FaceNet
from parts.part3_large_dataset import FIRST_STEPS, ResNet18, lesson_recipes, new_network

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
    listed = {name: value for name, value in vars(recipe).items() if name in before}
    conventions = {"batch", "epochs", "learning_rate"}  # said even where they are the usual ones
    repeated = {name for name, value in listed.items() if value == before[name]} - conventions
    assert not repeated


def test_part_3_takes_part_2s_network_on_crops_then_resnet18_then_heatmaps():
    networks = [
        type(new_network(recipe(), Options(step=step), IBUG_68.n_points)).__name__
        for step, recipe in STEPS.items()
    ]
    assert networks == ["FaceNet", "ResNet18", "HeatmapResNet18"]
    for step, recipe in STEPS.items():
        assert lesson_recipes(Options(step=step))["best"] is recipe


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


def test_heatmaps_end_with_the_values_that_the_card_of_the_default_network_reports():
    best = asdict(part3_large_dataset.Best())
    usual = asdict(Recipe())
    assert {name: value for name, value in best.items() if value != usual[name]} == {
        "height": 128, "width": 128, "margin": 16, "box_scale": 1.2, "head": "heatmap",
        "epochs": 16, "batch": 16, "loss": "wing", "heatmap_weight": 0.1, "optimizer": "adamw",
        "weight_decay": 0.05, "cosine": True, "warmup": 0.05, "flip_tta": True, "bfloat16": True,
        "no_aug_fraction": 0.3, "rotation": 20.0, "scale": 0.05, "flip": 0.5, "box_shift": 0.03,
        "box_scale_spread": 0.06, "brightness": 0.2, "contrast": 0.2, "occlusion": 0.3,
    }  # fmt: skip
