"""The tasks of part 1, and the known mistakes; feedback.ini says what each one is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.optim import SGD, Optimizer

from common.crops import to_fractions, to_pixels
from common.training import he_init
from datasets import imm
from exercises.faces import SIZES, fractions, fractions_on, points_on, portrait, random
from exercises.judge import Function, Task
from parts.part1_nose_tip import NoseNet


def read_asf(text: str, width: int, height: int) -> Tensor:
    """``imm.read_asf`` of a file with that text beside a picture of that size: (58, 2)."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "01-1m.asf")
        file.write_text(text)
        Image.new("L", (width, height)).save(file.with_suffix(".jpg"))
        return imm.read_asf(file).points


def _as_written(text: str, width: int, height: int) -> Tensor:
    return to_fractions(read_asf(text, width, height), height, width)


def _asf(index: int) -> tuple[str, int, int]:
    """An annotation of ``portrait(index)`` with 7 columns per point, or as many with 10."""
    height, width = SIZES[index]
    more = "\t0.00\t0.00\t0.00" * index
    points = enumerate(fractions(portrait, index).tolist())
    rows = [f"0  4\t{x:.8f}  {y:.8f}\t{i} 0 1{more}" for i, (x, y) in points]
    start = ["# AAM Shape File", "", "# number of points", "58", "", "# x and y are fractions"]
    return "\n".join([*start, *rows, "", "# picture", "01-1m.jpg", ""]), width, height


READ_ASF = {
    "xy_exchanged": lambda *given: read_asf(*given).flip(1),
    "still_fractions": _as_written,
    "half_pixel": lambda *given: read_asf(*given) + 0.5,
    "sides_minus_1": lambda text, w, h: _as_written(text, w, h) * torch.tensor([w - 1, h - 1]),
    "sides_exchanged": lambda text, w, h: to_pixels(_as_written(text, w, h), w, h),
    "first_columns": lambda text, w, h: torch.tensor([[-0.5, 4 * h - 0.5]]).expand(58, 2),
    "no_last_point": lambda *given: read_asf(*given)[:-1],
    "no_first_point": lambda *given: read_asf(*given)[1:],
}


def _pixels(index: int) -> tuple[Tensor, int, int]:
    return portrait(index)[1], *SIZES[index]


TO_FRACTIONS = {
    "half_pixel": lambda points, h, w: to_fractions(points - 0.5, h, w),
    "wrong_sign": lambda points, h, w: to_fractions(points - 1, h, w),
    "sides_exchanged": lambda points, h, w: to_fractions(points, w, h),
    "sides_minus_1": lambda points, h, w: to_fractions(points - 0.5, h - 1, w - 1),
    "inverse": to_pixels,
    "xy_exchanged": lambda *given: to_fractions(*given).flip(-1),
}


def _fractions(index: int) -> tuple[Tensor, int, int]:
    return fractions(portrait, index), *SIZES[index]


TO_PIXELS = {
    "half_pixel": lambda *given: to_pixels(*given) + 0.5,
    "wrong_sign": lambda *given: to_pixels(*given) + 1,
    "half_a_picture": lambda fractions, h, w: to_pixels(fractions - 0.5, h, w) + 0.5,
    "sides_exchanged": lambda fractions, h, w: to_pixels(fractions, w, h),
    "sides_minus_1": lambda fractions, h, w: to_pixels(fractions, h - 1, w - 1) + 0.5,
    "inverse": to_fractions,
    "xy_exchanged": lambda *given: to_pixels(*given).flip(-1),
}


def mean_face_error(train: Tensor, test: Tensor) -> float:
    """What ``metrics.measure`` calls mse_ratio of the mean face, as one number."""
    return mse_loss(train.mean(dim=0).expand_as(test), test).item()


def _two_sets(index: int) -> tuple[Tensor, Tensor]:
    """Fractions of 7 or 6 training faces and of 4 or 5 test faces."""
    off = 0.05 * torch.randn(11, 58, 2, generator=random(index))
    return (fractions(portrait, 0) + off).split([7 - index, 4 + index])


MEAN_FACE_ERROR = {
    "test_mean": lambda train, test: mean_face_error(test, test),
    "one_place": lambda train, test: mean_face_error(train.mean(dim=1, keepdim=True), test),
    "first_face": lambda train, test: mean_face_error(train[:1], test),
    "sum": lambda train, test: mean_face_error(train, test) * test.numel(),
    "per_point": lambda *given: mean_face_error(*given) * 2,
    "root": lambda *given: mean_face_error(*given) ** 0.5,
    "not_squared": lambda train, test: (train.mean(dim=0) - test).abs().mean(),
}

RELUS, POOLS = ([f"features.{first + step}" for step in (0, 3, 6)] for first in (1, 2))


def nose_net(
    convolutions: list[nn.Conv2d], linears: list[nn.Linear], faces: Tensor, **other: nn.Module
) -> Tensor:
    """``NoseNet`` with these layers, and with ``other`` layers at other places: (B, 1, 2)."""
    network = NoseNet()
    network.features[0], network.features[3], network.features[6] = convolutions
    network.head[0], network.head[2] = linears
    for place, layer in other.items():
        network.set_submodule(place, layer)
    return network(faces)


def _layers(index: int) -> tuple[list[nn.Conv2d], list[nn.Linear], Tensor]:
    """NoseNet's layers with random weights, and pictures (3 or 2, 1, 60, 80)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        network = NoseNet()
        he_init(network)
        faces = torch.rand(3 - index, 1, 60, 80) - 0.5
    return list(network.features[::3]), list(network.head[::2]), faces


NOSE_NET = {
    "no_relu": partial(nose_net, **dict.fromkeys(RELUS, nn.Identity())),
    "no_hidden_relu": partial(nose_net, **{"head.1": nn.Identity()}),
    "last_relu": lambda *given: nose_net(*given).relu(),
    "mean_pools": partial(nose_net, **dict.fromkeys(POOLS, nn.AvgPool2d(3, 2))),
    "flat_shape": lambda *given: nose_net(*given).flatten(1),
    "narrow_pools": partial(nose_net, **dict.fromkeys(POOLS, nn.MaxPool2d(2))),
    "no_pools": partial(nose_net, **dict.fromkeys(POOLS, nn.Identity())),
    "batch_joined": lambda _, linears, faces: linears[0](torch.zeros(576 * len(faces))),
}


def training_step(
    network: nn.Module, optimizer: Optimizer, *batch: Tensor, loss_of: Function = mse_loss
) -> float:
    """The five lines in the middle of ``train_epoch``; returns the loss before the step."""
    faces, truth = batch
    loss = loss_of(network(faces), truth)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _without(verb: str, network: nn.Module, optimizer: Optimizer, *batch: Tensor) -> float:
    """A step in which one verb of the optimizer does nothing."""
    with mock.patch.object(optimizer, verb):
        return training_step(network, optimizer, *batch)


def _three_steps(function: Function, network: nn.Module, *batch: Tensor) -> tuple[Any, ...]:
    """Three losses, whether they hold on to the graph, and the weights in the end."""
    optimizer = SGD(network.parameters(), lr=0.5)
    losses = [function(network, optimizer, *batch) for _ in range(3)]
    graph = torch.tensor([isinstance(loss, Tensor) and loss.requires_grad for loss in losses])
    return *losses, graph, nn.utils.parameters_to_vector(network.parameters())


def _batch(index: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network, pictures (5 or 3, 1, H, W) and true points (5 or 3, 3, 2)."""
    count, height, width = ((5, 8, 10), (3, 6, 9))[index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        layers = nn.Linear(height * width, 8), nn.ReLU(), nn.Linear(8, 6)
        network = nn.Sequential(nn.Flatten(), *layers, nn.Unflatten(1, (3, 2)))
        return network, torch.rand(count, 1, height, width) - 0.5, torch.rand(count, 3, 2)


TRAINING_STEP = {
    "no_zero_grad": partial(_without, "zero_grad"),
    "no_step": partial(_without, "step"),
    "sum": partial(training_step, loss_of=nn.MSELoss(reduction="sum")),
    "not_squared": partial(training_step, loss_of=l1_loss),
    "keeps_graph": lambda *given: torch.tensor(training_step(*given), requires_grad=True),
    "detached": torch.no_grad()(training_step),
}

TASKS = (
    Task("read_asf", read_asf, _asf, READ_ASF, points_on(portrait)),
    Task("to_fractions", to_fractions, _pixels, TO_FRACTIONS, fractions_on(portrait)),
    Task("to_pixels", to_pixels, _fractions, TO_PIXELS, points_on(portrait)),
    Task("mean_face_error", mean_face_error, _two_sets, MEAN_FACE_ERROR),
    Task("nose_net", nose_net, _layers, NOSE_NET),
    Task("training_step", training_step, _batch, TRAINING_STEP, call=_three_steps),
)
