import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from common import checkpoints, training
from common.augmentation import to_network_input
from common.crops import network_matrices
from common.faces import Faces
from common.keypoints import IMM_58
from common.loading import Crops
from common.recipe import Options, Recipe
from common.system.errors import UserError
from common.training import best_device, fit, he_init, init_bias_to_mean, learning_rate

# Everything that has a state or draws random numbers is switched on.
FULL = Recipe(
    height=12, width=16, margin=2, epochs=5, batch=4, loss="wing", optimizer="adamw",
    learning_rate=3e-3, weight_decay=0.01, cosine=True, warmup=0.1, ema_decay=0.9,
    init_bias_to_mean=True, flip_tta=True, bfloat16=True, rotation=10.0, scale=0.1, shift=0.05,
    flip=0.5, brightness=0.2, contrast=0.2, occlusion=0.3, blur=0.3,
)  # fmt: skip
PLAIN = Recipe(height=12, width=16, margin=2, epochs=30, batch=4, learning_rate=3e-3)
CPU = Options(device="cpu")


class Tiny(nn.Module):
    """One hidden layer with batch normalisation, whose running means are a state as well."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)
        )

    def forward(self, faces):
        return self.layers(faces).view(-1, 1, 2)


def spots(count, seed=0):
    """Faces whose only point, number 52, lies on a bright spot."""
    generator = torch.Generator().manual_seed(seed)
    points = 20 * torch.rand(count, 58, 2, generator=generator)
    points[:, 52] = torch.randint(4, 12, (count, 2), generator=generator).float()
    images = torch.full((count, 1, 16, 20), 20, dtype=torch.uint8)
    for image, (x, y) in zip(images, points[:, 52].int().tolist(), strict=True):
        image[0, y - 1 : y + 2, x - 1 : x + 2] = 220
    boxes = torch.tensor([[0.0, 0, 20, 16]] * count)
    files = tuple(Path(f"{index}.png") for index in range(count))
    groups = ("01",) * count
    faces = Faces("imm/train", "imm", IMM_58, files, points, boxes, groups, groups)
    matrices = network_matrices(boxes, PLAIN)  # the margin of all recipes here is 2
    return Crops(faces, images, matrices, (52,))


TRAIN, VALIDATION = spots(14), spots(6, seed=1)


def train(checkpoint, recipe=FULL, options=CPU):
    """A new network, trained: the network and its history."""
    torch.manual_seed(options.seed)
    network = Tiny()
    return network, fit(network, TRAIN, VALIDATION, recipe, options, checkpoint)


@contextmanager
def stopped_in(epoch):
    """The training within it is stopped in that epoch, counted from 0, as Ctrl-C does."""
    train_epoch = training.train_epoch

    def stop(network, crops, optimizer, schedule, ema):
        if schedule.number == epoch * schedule.epoch_steps:
            torch.rand(5)
            raise KeyboardInterrupt
        return train_epoch(network, crops, optimizer, schedule, ema)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
        patch.setattr(training, "train_epoch", stop)
        yield


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def without_seconds(history):
    return [{name: row[name] for name in row if name != "seconds"} for row in history]


@pytest.mark.parametrize("recipe", [FULL, PLAIN], ids=["everything", "plain"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_others(tmp_path, recipe):
    recipe = replace(recipe, epochs=2)
    first, history = train(tmp_path / "1.pt", recipe)
    torch.rand(13)  # chance that was drawn elsewhere before the run does not count
    again, repeated = train(tmp_path / "2.pt", recipe)
    assert same_weights(first, again)
    assert without_seconds(history) == without_seconds(repeated)
    other, _ = train(tmp_path / "3.pt", recipe, replace(CPU, seed=1))
    assert not same_weights(first, other)


@pytest.mark.parametrize("recipe", [FULL, replace(PLAIN, epochs=5)], ids=["everything", "plain"])
@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_stopped_run_that_is_resumed_ends_with_the_same_weights(tmp_path, recipe, epoch):
    undisturbed, history = train(tmp_path / "undisturbed.pt", recipe)
    with stopped_in(epoch):
        train(tmp_path / "stopped.pt", recipe)
    resumed, rows = train(tmp_path / "stopped.pt", recipe, replace(CPU, resume=True))
    assert same_weights(undisturbed, resumed)
    assert without_seconds(rows) == without_seconds(history)


def test_resuming_a_finished_run_changes_nothing_and_without_a_checkpoint_starts(tmp_path):
    resuming = replace(CPU, resume=True)
    started, history = train(tmp_path / "new.pt", FULL, resuming)
    finished, rows = train(tmp_path / "new.pt", FULL, resuming)
    assert same_weights(started, finished)
    assert rows == history


def test_the_checkpoint_answers_as_the_network_that_fit_leaves(tmp_path):
    network, history = train(tmp_path / "one.pt")
    checkpoint = checkpoints.load(tmp_path / "one.pt")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, checkpoint["weights"][name])
    assert checkpoint["training"]["history"] == history
    assert checkpoints.recipe_of(checkpoint) == FULL
    assert checkpoint["scheme"] == "imm58"
    assert checkpoint["point_ids"] == (52,)
    assert checkpoint["dataset"] == "imm"


def test_a_finished_checkpoint_tells_how_far_a_face_and_its_mirror_image_usually_differ(tmp_path):
    network, _ = train(tmp_path / "one.pt", replace(FULL, epochs=2))
    faces = to_network_input(TRAIN.images, FULL)
    network.eval()
    with torch.no_grad():
        one, other = network(faces), network(faces.flip(-1))  # (14, 1, 2), of a point on no side
    other = torch.stack([1 - other[..., 0], other[..., 1]], dim=-1)
    apart = (one - other).norm(dim=-1)[:, 0].sort().values
    told = checkpoints.load(tmp_path / "one.pt")["flip_disagreement"]
    assert apart[-2] <= told <= apart[-1]  # 99 of 100 are below


def test_a_checkpoint_that_is_older_than_a_value_of_the_recipe_goes_on(tmp_path):
    started, history = train(tmp_path / "one.pt")
    older = checkpoints.load(tmp_path / "one.pt")
    assert older["recipe"].pop("no_aug_fraction") == 0.0
    checkpoints.save(older, tmp_path / "one.pt")
    finished, rows = train(tmp_path / "one.pt", FULL, replace(CPU, resume=True))
    assert same_weights(started, finished) and rows == history
    with pytest.raises(UserError, match="another recipe or seed"):
        train(tmp_path / "one.pt", replace(FULL, no_aug_fraction=0.5), replace(CPU, resume=True))


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (replace(FULL, learning_rate=1e-3), CPU),
        (replace(FULL, epochs=6), CPU),
        (FULL, replace(CPU, seed=1)),
    ],
    ids=["recipe", "epochs", "seed"],
)
def test_another_recipe_or_seed_cannot_go_on(tmp_path, recipe, options):
    train(tmp_path / "one.pt", replace(FULL, epochs=5))
    before = (tmp_path / "one.pt").read_bytes()
    with pytest.raises(UserError, match="another recipe or seed") as told:
        train(tmp_path / "one.pt", recipe, replace(options, resume=True))
    assert str(told.value).startswith(f"{tmp_path / 'one.pt'}: ")
    assert "\n" not in str(told.value)
    assert (tmp_path / "one.pt").read_bytes() == before


def test_a_run_on_other_faces_cannot_go_on(tmp_path):
    path = tmp_path / "one.pt"
    train(path, FULL)
    checkpoints.save(checkpoints.load(path) | {"dataset": "other"}, path)
    with pytest.raises(UserError, match="was trained on other, not on"):
        train(path, FULL, replace(CPU, resume=True))


def test_a_run_that_began_with_other_weights_cannot_go_on(tmp_path):
    path, other = tmp_path / "one.pt", replace(CPU, pretrained="other.pt")
    train(path, FULL)
    with pytest.raises(UserError, match=r"began with other weights .* leave out --resume"):
        train(path, FULL, replace(other, resume=True))
    before = path.read_bytes()
    train(path, FULL, other)
    assert (tmp_path / "one-best.pt").read_bytes() == before


def test_what_holds_nothing_to_go_on_from_is_told(tmp_path):
    path = tmp_path / "one.pt"
    train(path, FULL)
    shipped = checkpoints.load(path)
    del shipped["training"]
    checkpoints.save(shipped, path)
    with pytest.raises(UserError, match=r"holds nothing to resume; leave out --resume"):
        train(path, FULL, replace(CPU, resume=True))


def test_a_run_for_other_points_cannot_go_on(tmp_path):
    path = tmp_path / "one.pt"
    train(path, FULL)
    checkpoints.save(checkpoints.load(path) | {"point_ids": (41,)}, path)
    with pytest.raises(UserError, match=r"was trained for other points; leave out --resume"):
        train(path, FULL, replace(CPU, resume=True))


def test_a_run_of_another_network_cannot_go_on(tmp_path):
    path = tmp_path / "one.pt"
    train(path, FULL)
    torch.manual_seed(0)
    other = Tiny()
    other.layers[1], other.layers[2] = nn.Linear(192, 8), nn.BatchNorm1d(8)
    other.layers[4] = nn.Linear(8, 2)
    with pytest.raises(UserError, match=r"is of another network; leave out --resume"):
        fit(other, TRAIN, VALIDATION, FULL, replace(CPU, resume=True), path)


def test_a_checkpoint_of_another_run_is_renamed_and_not_lost(tmp_path, capsys):
    path = tmp_path / "one.pt"
    for _ in range(2):  # the same once more is no other
        train(path, FULL, replace(CPU, recipe="long"))
    long = path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["one.pt"]
    capsys.readouterr()
    train(path, replace(FULL, epochs=1), CPU)
    assert (tmp_path / "one-long.pt").read_bytes() == long
    assert f"{path}: was of another run and is one-long.pt now" in capsys.readouterr().err
    assert len(checkpoints.load(path)["training"]["history"]) == 1


def test_it_learns_to_find_a_spot(tmp_path):
    # A rate that falls: at a constant one, chance decides where the last epoch lands.
    recipe = replace(PLAIN, epochs=60, cosine=True, learning_rate=5e-3)
    _, history = train(tmp_path / "one.pt", recipe, replace(CPU, seed=1))
    assert [row["epoch"] for row in history] == list(range(1, 61))
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 20
    assert history[-1]["validation_loss"] < history[0]["validation_loss"] / 3
    assert history[-1]["validation_nme"] < history[0]["validation_nme"] / 1.5
    assert all(row["seconds"] >= 0 for row in history)


def test_the_network_is_shown_every_face_once_an_epoch(tmp_path, monkeypatch):
    shown = []
    augment = training.augment

    def watching(images, points, recipe, flip_order):
        shown.append(points[:, 0].clone())
        return augment(images, points, recipe, flip_order)

    monkeypatch.setattr(training, "augment", watching)
    train(tmp_path / "one.pt", replace(FULL, epochs=2))
    assert [len(batch) for batch in shown] == [4, 4, 4, 2] * 2
    for epoch in (torch.cat(shown[:4]), torch.cat(shown[4:])):
        assert sorted(epoch.tolist()) == sorted(TRAIN.points[:, 0].tolist())
    assert not torch.equal(torch.cat(shown[:4]), torch.cat(shown[4:]))


def test_an_epoch_of_fewer_steps_shows_other_faces_each_time_and_ends_its_schedule(
    tmp_path, monkeypatch
):
    shown = []
    augment = training.augment

    def watching(images, points, recipe, flip_order):
        shown.append(points[:, 0].clone())
        return augment(images, points, recipe, flip_order)

    monkeypatch.setattr(training, "augment", watching)
    recipe = replace(PLAIN, epochs=2, max_steps=2, cosine=True)
    _, history = train(tmp_path / "one.pt", recipe)
    assert [len(batch) for batch in shown] == [recipe.batch] * 4
    assert not torch.equal(torch.cat(shown[:2]), torch.cat(shown[2:]))
    last = recipe.learning_rate * (1 + math.cos(math.pi * 3 / 4)) / 2
    assert history[-1]["learning_rate"] == pytest.approx(last)


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    recipe = Recipe(learning_rate=0.01, warmup=0.1, cosine=True)
    assert learning_rate(0.0, recipe) == 0
    assert learning_rate(0.05, recipe) == pytest.approx(0.005)
    for progress in (0.1, 0.3, 0.5, 0.9, 1.0):
        expected = 0.01 * 0.5 * (1 + math.cos(math.pi * progress))
        assert learning_rate(progress, recipe) == pytest.approx(expected)
    assert learning_rate(0.5, recipe) == pytest.approx(0.005)
    assert learning_rate(1.0, recipe) == pytest.approx(0, abs=1e-12)


def test_each_cycle_of_the_learning_rate_repeats_the_one_before():
    once = Recipe(learning_rate=0.01, warmup=0.1, cosine=True)
    thrice = replace(once, restarts=2)
    for progress in (0.0, 0.05, 0.1, 0.5, 0.99):
        expected = pytest.approx(learning_rate(progress, once))
        for cycle in range(3):
            assert learning_rate((cycle + progress) / 3 + 1e-12, thrice) == expected


def test_a_new_cycle_starts_at_the_full_rate_in_the_middle_of_the_run(tmp_path):
    _, history = train(tmp_path / "one.pt", replace(FULL, warmup=0.0, epochs=4, restarts=1))
    # 4 steps an epoch, 8 a cycle: the last step of an epoch is number 3 or 7 of its cycle.
    for row, step in zip(history, (3, 7, 3, 7), strict=True):
        expected = 3e-3 * 0.5 * (1 + math.cos(math.pi * step / 8))
        assert row["learning_rate"] == pytest.approx(expected)


def test_a_cycle_ends_with_faces_as_they_are_but_for_the_box_and_the_mirror(tmp_path, monkeypatch):
    shown, augment = [], training.augment
    monkeypatch.setattr(
        training, "augment", lambda *batch: shown.append(batch[2]) or augment(*batch)
    )
    recipe = replace(FULL, epochs=2, no_aug_fraction=0.25, box_shift=0.02, side_light=0.1)
    train(tmp_path / "one.pt", recipe)
    assert shown[:6] == [recipe] * 6  # of 8 steps
    no_aug_fraction = replace(
        recipe, rotation=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, occlusion=0.0,
        side_light=0.0, blur=0.0,
    )  # fmt: skip
    assert shown[6:] == [no_aug_fraction] * 2
    shown.clear()
    again = replace(recipe, restarts=1)  # of 4 steps each
    train(tmp_path / "two.pt", again)
    assert shown == ([again] * 3 + [replace(no_aug_fraction, restarts=1)]) * 2


def test_the_learning_rate_stays_where_no_schedule_is_asked_for():
    for progress in (0.0, 0.4, 0.99):
        assert learning_rate(progress, Recipe(learning_rate=0.01)) == 0.01
    assert learning_rate(0.9, Recipe(learning_rate=0.01, warmup=0.5)) == 0.01


def test_the_schedule_runs_over_the_steps_of_all_epochs(tmp_path):
    recipe = replace(FULL, warmup=0.0, epochs=3)
    _, history = train(tmp_path / "one.pt", recipe)
    # 14 faces by 4 are 4 steps an epoch, the last of them is number 3, 7 and 11 of 12.
    for row, step in zip(history, (3, 7, 11), strict=True):
        expected = 3e-3 * 0.5 * (1 + math.cos(math.pi * step / 12))
        assert row["learning_rate"] == pytest.approx(expected)


def test_the_average_lags_behind_the_weights(tmp_path):
    """The mean of the first step's weights, and 0.1 of each later step's, by hand."""
    steps = []
    recipe = replace(PLAIN, epochs=1, ema_decay=0.9)

    class Recording(torch.optim.Adam):
        def step(self):
            super().step()
            steps.append([group["params"][0].detach().clone() for group in self.param_groups])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.OPTIMIZERS, "adam", Recording)
        network, _ = train(tmp_path / "one.pt", recipe)
    expected = steps[0][0]
    for (weights,) in steps[1:]:
        expected = 0.9 * expected + 0.1 * weights
    torch.testing.assert_close(network.layers[1].weight, expected)


def test_networks_that_start_at_the_mean_answer_the_mean_shape_on_average():
    torch.manual_seed(0)
    face, shape, answers = torch.rand(1, 1, 12, 16) - 0.5, torch.tensor([0.3, 0.7]), []
    for _ in range(200):
        network = Tiny().eval()
        init_bias_to_mean(network, shape[None])
        answers.append(network(face)[0, 0])
    answers = torch.stack(answers).detach()  # (200, 2)
    assert ((answers.mean(dim=0) - shape).abs() < 4 * answers.std(dim=0) / 200**0.5).all()
    assert (answers.std(dim=0) < 0.3).all()


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "cpu:first", "hpu"])
def test_a_device_that_is_not_there_is_told_in_one_line(device):
    with pytest.raises(UserError, match=f"--device {device}: ") as told:
        best_device(device)
    assert "\n" not in str(told.value)


def test_the_device_asked_for_is_taken():
    assert best_device("cpu") == torch.device("cpu")
    assert best_device().type in ("cpu", "cuda", "mps")


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(training, "train_epoch", None)  # would fail as soon as it is called
    with pytest.raises(UserError, match="cannot be written"):
        train(tmp_path / "file" / "part1" / "one.pt")


def test_he_weights_keep_the_size_of_what_passes_five_relu_layers():
    torch.manual_seed(0)
    layers = [layer for _ in range(5) for layer in (nn.Conv2d(16, 16, 3, bias=False), nn.ReLU())]
    network = nn.Sequential(*layers)
    before = torch.randn(8, 16, 32, 32)
    faded = network(before).square().mean()
    he_init(network)
    kept = network(before).square().mean()
    assert faded < 0.01 and 0.3 < kept < 3
