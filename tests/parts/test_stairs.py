"""The recipes are stairs: each builds on the one before and adds a few values."""

import json
from dataclasses import asdict
from itertools import pairwise

import pytest
import torch
import walk

import run_part
from common import checkpoints
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
    # said even where they are the usual ones
    conventions = {"batch", "epochs", "learning_rate", "loss", "heatmap_sigma"}
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


@pytest.mark.slow
@pytest.mark.parametrize(("step", "network"), [("crops", "FaceNet"), ("coordinates", "ResNet18")])
def test_a_step_is_trained_and_has_a_page_of_its_own(
    step, network, small_root, tmp_path, small_runs
):
    line = ["3", "--step", step, "--epochs", "1", "--device", "cpu", "--data", str(small_root)]
    assert run_part.main([*line, "--reports", str(tmp_path)]) == 0
    folder = tmp_path / f"part3-{step}"
    assert json.loads((folder / "metrics.json").read_text())["network"] == network
    assert checkpoints.load(folder / "checkpoint.pt")["network"] == network


@pytest.mark.slow
def test_the_steps_are_trained_once_and_shown_side_by_side(small_root, tmp_path, small_runs):
    line = ["3", "--steps", "--epochs", "1", "--device", "cpu", "--data", str(small_root)]
    for _ in range(2):  # the second call reads what the first one trained
        assert run_part.main([*line, "--reports", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "part3-steps" / "comparison.json").read_text())
    sizes = [network["parameters"] for network in numbers["networks"].values()]
    assert "each by the recipe of its step" in numbers["setting"]
    assert len(sizes) == 3 and sizes[0] < 1e6 < sizes[1] < sizes[2]
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "part3-steps").rglob("*.pt")}
    assert len(kept) == 3
    words = walk.read(tmp_path / "part3-steps" / "index.html")[0].text
    for name, network in numbers["networks"].items():
        assert f"{name}: NME {network['errors'][0]['nme']:.3g}" in words


@pytest.mark.parametrize(
    "more",
    ["--recipe course", "--recipe long", "--dataset mixed", "--pretrained", "--network ResNet18"],
)
def test_a_step_with_what_is_not_the_lessons_is_refused_in_one_line(more, capsys):
    assert run_part.main(["3", "--step", "crops", *more.split()]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: --step crops: is of the lesson alone") and more in line


def test_steps_take_the_lessons_own_recipes_alone(capsys):
    assert run_part.main(["3", "--steps", "--recipe", "course"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: --steps: trains")
