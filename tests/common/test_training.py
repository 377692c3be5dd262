import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from states import same, state_of
from torch import nn

from common import checkpoints, training
from common.augmentation import to_network_input
from common.crops import network_matrices, to_fractions
from common.faces import Faces
from common.inference import predict_keypoints
from common.keypoints import IMM_58
from common.loading import Crops
from common.losses import wing
from common.metrics import nme
from common.recipe import Options, Recipe
from common.system.errors import UserError
from common.training import fit, he_init, learning_rate

# Everything that has a state or draws random numbers is switched on.
FULL = Recipe(
    height=12, width=16, margin=2, epochs=5, batch=4, loss="wing", optimizer="adamw",
    learning_rate=3e-3, weight_decay=0.01, cosine=True, warmup=0.1, ema_decay=0.9,
    init_bias_to_mean=True, flip_tta=True, bfloat16=True, rotation=10.0, scale=0.1, shift=0.05,
    flip=0.5, brightness=0.2, contrast=0.2, occlusion=0.3, blur=0.3,
)  # fmt: skip
PLAIN = Recipe(height=12, width=16, margin=2, epochs=5, batch=4, learning_rate=3e-3)
CPU = Options(device="cpu")
RESUME = replace(CPU, resume=True)


def tiny():
    """One hidden layer with batch normalisation, whose running means are a state as well."""
    layers = nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)
    return nn.Sequential(nn.Flatten(), *layers, nn.Unflatten(1, (1, 2)))


def spots(count, seed=0):
    """Faces whose only point, number 52, lies on a bright spot."""
    generator = torch.Generator().manual_seed(seed)
    points = 20 * torch.rand(count, 58, 2, generator=generator)
    cells = torch.randperm(64, generator=generator)[:count]
    points[:, 52] = 4.0 + torch.stack([cells % 8, cells // 8], dim=1)  # no two alike
    images = torch.full((count, 1, 16, 20), 20, dtype=torch.uint8)
    for image, (x, y) in zip(images, points[:, 52].int().tolist(), strict=True):
        image[0, y - 1 : y + 2, x - 1 : x + 2] = 220
    boxes = torch.tensor([[0.0, 0, 20, 16]] * count)
    files, groups = (Path("one.png"),) * count, ("01",) * count
    faces = Faces("imm/train", "imm", IMM_58, files, points, boxes, groups, groups)
    matrices = network_matrices(boxes, PLAIN)  # the margin of all recipes here is 2
    return Crops(faces, images, matrices, (52,))


TRAIN, VALIDATION = spots(14), spots(6, seed=1)


def train(checkpoint, recipe=FULL, options=CPU):
    """A new network, trained: the network and its history."""
    torch.manual_seed(options.seed)
    network = tiny()
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Of a run with each recipe: the checkpoint, the network and the history."""
    paths = {recipe: tmp_path_factory.mktemp("run") / "one.pt" for recipe in (FULL, PLAIN)}
    return {recipe: (path, *train(path, recipe)) for recipe, path in paths.items()}


@pytest.fixture
def full(finished):
    return finished[FULL]


recipes = pytest.mark.parametrize("recipe", [FULL, PLAIN], ids=["everything", "plain"])


@pytest.fixture
def shown(monkeypatch):
    """The calls of ``augment``: of each batch the images, the points and the recipe."""
    monkeypatch.setattr(training, "augment", Mock(wraps=training.augment))
    return training.augment


@pytest.fixture
def steps(monkeypatch):
    """Of each step of Adam: the learning rate, and the weights that it left in the first layer."""
    taken = []

    class Recording(torch.optim.Adam):
        def step(self):
            super().step()
            (group,) = self.param_groups
            taken.append((group["lr"], group["params"][0].detach().clone()))

    monkeypatch.setitem(training.OPTIMIZERS, "adam", Recording)
    return taken


@recipes
def test_the_same_seed_gives_the_same_weights_and_another_others(tmp_path, finished, recipe):
    torch.rand(13)  # random numbers that were drawn before the run do not count
    train(tmp_path / "again.pt", recipe)
    assert same(state_of(finished[recipe][0]), state_of(tmp_path / "again.pt"))
    other, _ = train(tmp_path / "other.pt", recipe, replace(CPU, seed=1))
    assert not same(finished[recipe][1].state_dict(), other.state_dict())


@recipes
@pytest.mark.parametrize("epoch", [1, 4])
def test_a_stopped_run_that_is_resumed_ends_in_the_same_state(tmp_path, finished, recipe, epoch):
    path = tmp_path / "stopped.pt"
    with stopped_in(epoch):
        train(path, recipe)
    train(path, recipe, RESUME)
    assert same(state_of(finished[recipe][0]), state_of(path))


def test_resuming_a_finished_run_changes_nothing_and_without_a_checkpoint_starts(tmp_path):
    started, history = train(tmp_path / "new.pt", FULL, RESUME)
    finished, rows = train(tmp_path / "new.pt", FULL, RESUME)
    assert same(started.state_dict(), finished.state_dict())
    assert rows == history


def test_the_checkpoint_predicts_as_the_network_that_fit_leaves(full):
    path, network, history = full
    checkpoint = checkpoints.load(path)
    assert same(network.state_dict(), checkpoint["weights"])
    assert checkpoint["training"]["history"] == history
    predicted = predict_keypoints(network, VALIDATION.images, VALIDATION.flip_order, FULL)
    off = to_fractions(predicted, 12, 16), to_fractions(VALIDATION.points, 12, 16)
    assert history[-1]["test_loss"] == pytest.approx(wing(*off).item())
    error = nme(predicted, VALIDATION.points, VALIDATION.norm_distance).mean()
    assert history[-1]["test_nme"] == pytest.approx(error.item())
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert checkpoints.recipe_of(checkpoint) == FULL
    named = {name: checkpoint[name] for name in ("scheme", "point_ids", "dataset")}
    assert named == {"scheme": "imm58", "point_ids": (52,), "dataset": "imm"}


def test_a_finished_checkpoint_holds_how_far_a_face_and_its_mirror_image_usually_differ(full):
    path, network, _ = full
    faces = to_network_input(TRAIN.images, FULL)
    network.eval()
    with torch.no_grad():
        one, other = network(faces), network(faces.flip(-1))  # (14, 1, 2), of a point on no side
    other = torch.stack([1 - other[..., 0], other[..., 1]], dim=-1)
    apart = (one - other).norm(dim=-1)[:, 0].sort().values
    assert apart[-2] <= checkpoints.load(path)["flip_disagreement"] <= apart[-1]  # 99 of 100


def test_a_checkpoint_that_is_older_than_a_value_of_the_recipe_goes_on(tmp_path, full):
    older = checkpoints.load(full[0])
    assert older["recipe"].pop("no_aug_fraction") == 0.0
    checkpoints.save(older, tmp_path / "one.pt")
    assert train(tmp_path / "one.pt", FULL, RESUME)[1] == full[2]
    with pytest.raises(UserError, match="another recipe or seed"):
        train(tmp_path / "one.pt", replace(FULL, no_aug_fraction=0.5), RESUME)


OTHER_RUN = "was trained with another recipe or seed"
EMPTY = {"network": {}, "history": [], "seed": 0}


@pytest.mark.parametrize(
    ("fault", "change", "recipe", "options"),
    [
        (OTHER_RUN, {}, replace(FULL, learning_rate=1e-3), RESUME),
        (OTHER_RUN, {}, replace(FULL, epochs=6), RESUME),
        (OTHER_RUN, {}, FULL, replace(RESUME, seed=1)),
        ("began with other weights (--pretrained)", {}, FULL, replace(RESUME, pretrained="a.pt")),
        ("was trained on other, not on imm", {"dataset": "other"}, FULL, RESUME),
        ("was trained for other points", {"point_ids": (41,)}, FULL, RESUME),
        ("is of another network", {"training": EMPTY}, FULL, RESUME),
        ("holds nothing to resume", {"training": None}, FULL, RESUME),
    ],
)
def test_another_run_cannot_be_resumed(tmp_path, full, fault, change, recipe, options):
    path, held = tmp_path / "one.pt", checkpoints.load(full[0]) | change
    checkpoints.save({key: held[key] for key in held if held[key] is not None}, path)
    before = path.read_bytes()
    with pytest.raises(UserError) as raised:
        train(path, recipe, options)
    assert str(raised.value) == f"{path}: {fault}; leave out --resume to start again"
    assert path.read_bytes() == before


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


@pytest.mark.parametrize("sizes", [[4, 4, 4, 2], [4, 4]], ids=["whole", "two steps"])
def test_an_epoch_shows_no_face_twice_and_the_next_in_another_order(tmp_path, shown, sizes):
    train(tmp_path / "one.pt", replace(FULL, epochs=2, max_steps=len(sizes) % 4))
    points = [call.args[1][:, 0] for call in shown.call_args_list]
    assert [len(batch) for batch in points] == sizes * 2
    epochs = torch.cat(points).chunk(2)
    assert not torch.equal(*epochs)
    assert [len(epoch.unique(dim=0)) for epoch in epochs] == [sum(sizes)] * 2


def test_in_each_cycle_the_learning_rate_rises_then_stays_or_falls_along_a_cosine():
    recipe = Recipe(learning_rate=0.01, warmup=0.1, restarts=2)
    for progress in (0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 0.99):
        rising, falling = progress / 0.1, (1 + math.cos(math.pi * progress)) / 2
        for cycle in range(3):
            run = (cycle + progress) / 3 + 1e-12
            for cosine, later in ((False, 1.0), (True, falling)):
                expected = 0.01 * (rising if progress < 0.1 else later)
                rate = learning_rate(run, replace(recipe, cosine=cosine))
                assert rate == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(  # 14 faces by 4 are 4 steps an epoch
    ("values", "cycle"),
    [({"epochs": 3}, 12), ({"epochs": 4, "restarts": 1}, 8), ({"epochs": 2, "max_steps": 2}, 4)],
)
def test_the_schedule_runs_over_the_steps_of_all_epochs(tmp_path, steps, values, cycle):
    recipe = replace(PLAIN, cosine=True, **values)
    _, history = train(tmp_path / "one.pt", recipe)
    rates = [rate for rate, _ in steps]
    in_epoch = recipe.max_steps or 4
    cosines = [math.cos(math.pi * (step % cycle) / cycle) for step in range(len(rates))]
    assert rates == pytest.approx([3e-3 * (1 + cosine) / 2 for cosine in cosines])
    assert [row["learning_rate"] for row in history] == rates[in_epoch - 1 :: in_epoch]
    assert len(rates) == in_epoch * recipe.epochs


def test_a_cycle_ends_with_faces_as_they_are_but_for_the_box_and_the_mirror(tmp_path, shown):
    recipe = replace(FULL, epochs=2, no_aug_fraction=0.25, box_shift=0.02, side_light=0.1)
    off = ["rotation", "scale", "shift", "brightness", "contrast", "occlusion", "blur"]
    off += ["side_light"]
    for restarts, steps in ((0, 6), (1, 3)):  # of 8, and of 4 a cycle
        shown.reset_mock()
        recipe = replace(recipe, restarts=restarts)
        train(tmp_path / "one.pt", recipe)
        plain = replace(recipe, **dict.fromkeys(off, 0.0))
        cycle = [recipe] * steps + [plain] * (8 // (restarts + 1) - steps)
        assert [call.args[2] for call in shown.call_args_list] == cycle * (restarts + 1)


def test_the_ema_lags_behind_the_weights(tmp_path, steps):
    """The first step's weights, and 0.1 of each later step's, by hand."""
    network, _ = train(tmp_path / "one.pt", replace(PLAIN, epochs=1, ema_decay=0.9))
    expected = steps[0][1]
    for _, weights in steps[1:]:
        expected = 0.9 * expected + 0.1 * weights
    torch.testing.assert_close(network[1].weight, expected)


def test_the_optimizer_decays_the_weights_as_the_recipe_says():
    network = tiny()
    before = network[1].weight.detach().clone()
    network[1].weight.grad = torch.zeros_like(before)
    training.new_optimizer(network, replace(FULL, weight_decay=10.0)).step()
    torch.testing.assert_close(network[1].weight, before * (1 - 3e-3 * 10))


def test_he_weights_keep_the_size_of_what_passes_five_relu_layers():
    torch.manual_seed(0)
    layers = [layer for _ in range(5) for layer in (nn.Conv2d(16, 16, 3, bias=False), nn.ReLU())]
    network, before = nn.Sequential(*layers), torch.randn(8, 16, 32, 32)
    assert network(before).square().mean() < 0.01
    he_init(network)
    assert 0.3 < network(before).square().mean() < 3
