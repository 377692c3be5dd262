"""Training with a learner's functions in place of ours."""

import json
import math

import pytest
import torch
from small_sets import shrink_crops

from common import inference, losses, metrics, training
from common.augmentation import augment
from common.keypoints import IMM_58
from common.loading import load_crops
from common.recipe import Options, Recipe
from datasets.splits import train_and_test
from exercises.faces import portrait
from exercises.mine import replaced
from exercises.tasks import TASKS
from parts.part1_nose_tip import NOSE, Best, NoseNet

MIRROR = """
def mirror(images, points, flip_order):
    points = points.clone()
    points[..., 0] = images.shape[-1] - 1 - points[..., 0]
    return images.flip(-1), points{renamed}
"""


def nose_net(convolutions, linears, faces):
    for layer in convolutions:
        faces = torch.nn.functional.max_pool2d(torch.relu(layer(faces)), 3, 2)
    return linears[1](torch.relu(linears[0](faces.flatten(1)))).view(-1, 1, 2)


def mirror(renamed="[:, flip_order]"):
    scope = {}
    exec(MIRROR.format(renamed=renamed), scope)
    return scope["mirror"]


def test_correct_functions_of_part_1_train_as_ours_do(small_root, tmp_path):
    recipe = Best(epochs=2, batch=4)
    train, test = train_and_test("imm", None, small_root)
    crops = load_crops(train, recipe, NOSE), load_crops(test, recipe, NOSE)

    def history(name):
        torch.manual_seed(0)
        options = Options(device="cpu")
        rows = training.fit(NoseNet(), *crops, recipe, options, tmp_path / name / "checkpoint.pt")
        return [[row["train_loss"], row["test_nme"]] for row in rows]

    ours = history("ours")
    right = {name: TASKS[name].right for name in ("to_fractions", "to_pixels")}
    calls, step = [], TASKS["training_step"].right
    right["training_step"] = lambda *given: calls.append(0) or step(*given)
    right["nose_net"] = nose_net
    with replaced(right):
        theirs = history("theirs")
    assert len(calls) == 2 * math.ceil(len(train) / 4)
    torch.testing.assert_close(torch.tensor(theirs), torch.tensor(ours), rtol=1e-4, atol=0)
    assert history("again") == ours  # nothing of theirs is left


@pytest.mark.parametrize("renamed", ["", "[:, flip_order]"])
def test_the_learners_mirror_flips_the_training_faces_whether_or_not_it_renames(renamed):
    image, points = portrait(0)
    recipe = Recipe(height=90, width=120, flip=1.0)
    given = image[None], points[None], recipe, IMM_58.flip_order
    faces, right = augment(*given)
    with replaced({"mirror": mirror(renamed)}):
        own_faces, own = training.augment(*given)
    torch.testing.assert_close(own_faces, faces)
    order = torch.arange(58) if renamed else IMM_58.flip_order  # undoes the renaming of ours
    torch.testing.assert_close(own, right[:, order])


def test_the_learners_rotation_is_that_of_turning_and_of_move_both():
    image, points = portrait(0)
    recipe = Recipe(height=90, width=120, rotation=10.0)
    degrees = []

    def turning(angle, height, width):
        degrees.append(angle)
        return TASKS["turning"].right(20.0, height, width)

    with replaced({"turning": turning}):
        moved = training.augment(image[None], points[None], recipe, IMM_58.flip_order)[1]
    expected = TASKS["move_both"].right(
        image[None].float(), points[None], TASKS["turning"].right(20.0, 90, 120)[None]
    )[1]
    torch.testing.assert_close(moved, expected)
    assert len(degrees) == 1 and abs(degrees[0]) <= 10


def test_predictions_losses_and_metrics_are_the_learners_too():
    given, flip = torch.rand(2, 58, 2), TASKS["flip_tta"].right
    faces, network = torch.rand(2, 1, 6, 8), lambda faces: faces.mean() + given
    maps = torch.randn(2, 58, 5, 6).flatten(2).log_softmax(-1).view(2, 58, 5, 6)
    recipe = Recipe(loss="wing", heatmap_weight=0.5)
    errors = torch.tensor([1.0, 9.0])
    loss, rate = losses.training_loss(maps, given, recipe), metrics.failure_rate(errors)
    names = ("soft_argmax", "heatmap_loss", "wing_loss", "failures_and_area", "nme")
    with replaced({name: TASKS[name].right for name in names}):
        torch.testing.assert_close(losses.training_loss(maps, given, recipe), loss)
        assert metrics.failure_rate(errors) == rate == 50
    twice = {name: lambda *given, name=name: 2 * TASKS[name].right(*given) for name in names[1:3]}
    with replaced(twice):
        torch.testing.assert_close(losses.training_loss(maps, given, recipe), 2 * loss)
    with replaced({"nme": lambda predicted, truth, eyes: torch.full((2,), float(eyes[0]))}):
        assert training.nme(given, given, torch.ones(2)).tolist() == [21, 21]
    with replaced({"flip_tta": flip}):
        second = inference.predict_flipped(network, faces, IMM_58.flip_order)
    torch.testing.assert_close(second, inference.predict_flipped(network, faces, IMM_58.flip_order))


@pytest.mark.slow
def test_the_page_says_which_functions_were_the_learners(small_runs, small_root, tmp_path, command):
    file = tmp_path / "mine.py"
    file.write_text(
        MIRROR.format(renamed="") + "\ndef nme(*given):\n    raise NotImplementedError\n"
    )
    status, out, _ = command("2", "--mine", file, "--epochs", 1, "--data", small_root)
    assert status == 0 and "your mirror: mirrored, but left and right not exchanged" in out
    folder = tmp_path / "reports" / "mine" / "part2"
    assert list(json.loads((folder / "metrics.json").read_text())["your_code"]) == ["mirror"]
    page = (folder / "index.html").read_text()
    assert "Your code." in page and "<code>mirror</code> (mirrored, but left and right" in page


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1", "no function that a training uses is written yet; fill one in"),
        (
            "\ndef training_step(*given):\n    return 1 / 0",
            "line 3: training stopped, ZeroDivisionError: division by zero; correct the function",
        ),
    ],
)
def test_a_file_that_cannot_train_ends_with_one_line(
    monkeypatch, small_root, tmp_path, command, text, fault
):
    shrink_crops(monkeypatch)
    file = tmp_path / "mine.py"
    file.write_text(text)
    status, _, errors = command("1", "--mine", file, "--epochs", 1, "--data", small_root)
    assert status == 2 and fault in errors[-1] and str(file) in errors[-1]
