"""The tasks of part 1, and the known mistakes; feedback.ini says what each one is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import conv2d, l1_loss, mse_loss
from torch.optim import SGD, Optimizer

from common.crops import to_fractions, to_pixels
from common.training import he_init
from datasets import imm
from exercises.faces import SIZES, fractions, fractions_on, points_on, portrait, random, seeded
from exercises.judge import Function, Task
from parts.part1_nose_tip import NoseNet

MORE_COLUMNS = "\t0.00\t0.00\t0.00"  # that the second annotation has


def read_asf(text: str, width: int, height: int) -> Tensor:
    """``imm.read_asf`` of a file with that text beside a picture of that size: (58, 2)."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "01-1m.asf")
        file.write_text(text)
        Image.new("L", (width, height)).save(file.with_suffix(".jpg"))
        return imm.read_asf(file).points


def _asf(index: int) -> tuple[str, int, int]:
    """An annotation of ``portrait(index)`` with 7 columns per point, or as many with 10."""
    height, width = SIZES[index]
    more = MORE_COLUMNS * index
    points = enumerate(fractions(portrait, index).tolist())
    rows = [f"0  4\t{x:.8f}  {y:.8f}\t{i} 0 1{more}" for i, (x, y) in points]
    start = ["# AAM Shape File", "", "# number of points", "58", "", "# x and y are fractions"]
    return "\n".join([*start, *rows, "", "# picture", "01-1m.jpg", ""]), width, height


READ_ASF = {
    "xy_exchanged": lambda f, *given: f(*given).flip(1),
    "still_fractions": lambda f, text, w, h: to_fractions(f(text, w, h), h, w),
    "half_pixel": lambda f, *given: f(*given) + 0.5,
    "sides_minus_1": lambda f, text, w, h: (
        to_fractions(f(text, w, h), h, w) * torch.tensor([w - 1, h - 1])
    ),
    "sides_exchanged": lambda f, text, w, h: to_pixels(to_fractions(f(text, w, h), h, w), w, h),
    "first_columns": lambda f, text, w, h: torch.tensor([[-0.5, 4 * h - 0.5]]).expand(58, 2),
    "no_last_point": lambda f, *given: f(*given)[:-1],
    "no_first_point": lambda f, *given: f(*given)[1:],
    "seven_columns": lambda f, text, *size: f(text, *size)[: 0 if MORE_COLUMNS in text else None],
    "rounded": lambda f, *given: f(*given).round(),
    "whole_pixels": lambda f, *given: f(*given).trunc(),
}


def _pixels(index: int) -> tuple[Tensor, int, int]:
    """Points of a face in trials 0 and 1, one point in 2 and two faces in 3."""
    face = index % 2
    points = portrait(face)[1]
    shaped = (points, points, points[7], torch.stack([points, points + 3]))[index]
    return shaped, *SIZES[face]


TO_FRACTIONS = {
    "half_pixel": lambda f, points, h, w: f(points - 0.5, h, w),
    "wrong_sign": lambda f, points, h, w: f(points - 1, h, w),
    "sides_exchanged": lambda f, points, h, w: f(points, w, h),
    "sides_minus_1": lambda f, points, h, w: f(points - 0.5, h - 1, w - 1),
    "inverse": lambda f, *given: to_pixels(*given),
    "xy_exchanged": lambda f, *given: f(*given).flip(-1),
}


def _fractions(index: int) -> tuple[Tensor, int, int]:
    points, height, width = _pixels(index)
    return to_fractions(points, height, width), height, width


TO_PIXELS = {
    "half_pixel": lambda f, *given: f(*given) + 0.5,
    "wrong_sign": lambda f, *given: f(*given) + 1,
    "half_a_picture": lambda f, fractions, h, w: f(fractions - 0.5, h, w) + 0.5,
    "sides_exchanged": lambda f, fractions, h, w: f(fractions, w, h),
    "sides_minus_1": lambda f, fractions, h, w: f(fractions, h - 1, w - 1) + 0.5,
    "inverse": lambda f, *given: to_fractions(*given),
    "xy_exchanged": lambda f, *given: f(*given).flip(-1),
    "rounded": lambda f, *given: f(*given).round(),
    "whole_pixels": lambda f, *given: f(*given).trunc(),
}


def mean_face_error(train: Tensor, test: Tensor) -> float:
    """What ``metrics.measure`` calls mse_ratio of the mean face, as one number."""
    return mse_loss(train.mean(dim=0).expand_as(test), test).item()


def _two_sets(index: int) -> tuple[Tensor, Tensor]:
    """Fractions of 7 or 6 training faces and of 4 or 5 test faces."""
    off = 0.05 * torch.randn(11, 58, 2, generator=random(index))
    return (fractions(portrait, 0) + off).split([7 - index, 4 + index])


MEAN_FACE_ERROR = {
    "test_mean": lambda f, train, test: f(test, test),
    "one_place": lambda f, train, test: f(train.mean(dim=1, keepdim=True), test),
    "one_number": lambda f, train, test: f(train.mean().expand_as(train), test),
    "first_face": lambda f, train, test: f(train[:1], test),
    "sum": lambda f, train, test: f(train, test) * test.numel(),
    "sum_per_face": lambda f, train, test: f(train, test) * test[0].numel(),
    "per_point": lambda f, *given: f(*given) * 2,
    "root": lambda f, *given: f(*given) ** 0.5,
    "not_squared": lambda f, train, test: (train.mean(dim=0) - test).abs().mean(),
    "distance": lambda f, train, test: (train.mean(dim=0) - test).norm(dim=-1).mean(),
    "distance_squared": lambda f, train, test: (train.mean(0) - test).norm(dim=-1).mean() ** 2,
}


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """``torch.nn.functional.conv2d`` of one channel, without padding."""
    return conv2d(image[None, None], kernel[None, None])[0, 0]


def _patch_and_kernel(index: int) -> tuple[Tensor, Tensor]:
    """A piece (12, 14) or (9, 16) of a face, and a kernel (3, 3) or (2, 5)."""
    height, width = ((12, 14), (9, 16))[index]
    patch = portrait(index)[0][0, 40 : 40 + height, 40 : 40 + width] / 255
    return patch, torch.randn((3, 2)[index], (3, 5)[index], generator=random(60 + index))


def _padded(f: Function, image: Tensor, kernel: Tensor) -> Tensor:
    (height, width), (h, w) = image.shape, kernel.shape
    larger = image.new_zeros(height + h - 1, width + w - 1)
    larger[h // 2 : h // 2 + height, w // 2 : w // 2 + width] = image
    return f(larger, kernel)


CONVOLVE = {
    "kernel_flipped": lambda f, image, kernel: f(image, kernel.flip(0, 1)),
    "one_short": lambda f, *given: f(*given)[:-1, :-1],
    "padded": _padded,
    "mean": lambda f, image, kernel: f(image, kernel) / kernel.numel(),
    "kernel_transposed": lambda f, image, kernel: f(image, kernel.T),
    "transposed": lambda f, *given: f(*given).T,
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


def _with_layers(places: list[str], layer: nn.Module) -> Function:
    """The mistake that has ``layer`` at these places."""
    here = dict.fromkeys(places, layer)
    return lambda f, *given, **other: f(*given, **other, **here)


def _layers(index: int) -> tuple[list[nn.Conv2d], list[nn.Linear], Tensor]:
    """NoseNet's layers with random weights, and pictures (3 or 2, 1, 60, 80)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(index))
        network = NoseNet()
        he_init(network)
        faces = torch.rand(3 - index, 1, 60, 80) - 0.5
    return list(network.features[::3]), list(network.head[::2]), faces


NOSE_NET = {
    "no_relu": _with_layers(RELUS, nn.Identity()),
    "no_hidden_relu": _with_layers(["head.1"], nn.Identity()),
    "last_relu": lambda f, *given, **other: f(*given, **other).relu(),
    "sigmoid": lambda f, *given, **other: f(*given, **other).sigmoid(),
    "mean_pools": _with_layers(POOLS, nn.AvgPool2d(3, 2)),
    "flat_shape": lambda f, *given, **other: f(*given, **other).flatten(1),
    "narrow_pools": _with_layers(POOLS, nn.MaxPool2d(2)),
    "no_pools": _with_layers(POOLS, nn.Identity()),
    "batch_joined": lambda f, _, linears, faces: linears[0](torch.zeros(576 * len(faces))),
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


def _without(verb: str) -> Function:
    """The mistake in which one verb of the optimizer does nothing."""

    def step(f: Function, network: nn.Module, optimizer: Optimizer, *batch: Tensor) -> float:
        with mock.patch.object(optimizer, verb):
            return f(network, optimizer, *batch)

    return step


def _after(f: Function, network: nn.Module, optimizer: Optimizer, *batch: Tensor) -> float:
    """The loss after the step."""
    f(network, optimizer, *batch)
    return mse_loss(network(batch[0]), batch[1]).item()


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
        torch.manual_seed(seeded(index))
        layers = nn.Linear(height * width, 8), nn.ReLU(), nn.Linear(8, 6)
        network = nn.Sequential(nn.Flatten(), *layers, nn.Unflatten(1, (3, 2)))
        return network, torch.rand(count, 1, height, width) - 0.5, torch.rand(count, 3, 2)


TRAINING_STEP = {
    "no_zero_grad": _without("zero_grad"),
    "no_step": _without("step"),
    "sum": lambda f, *given: f(*given, loss_of=nn.MSELoss(reduction="sum")),
    "sum_per_face": lambda f, *given: f(
        *given, loss_of=lambda predicted, truth: mse_loss(predicted, truth) * truth[0].numel()
    ),
    "not_squared": lambda f, *given: f(*given, loss_of=l1_loss),
    "after_step": _after,
    "keeps_graph": lambda f, *given: torch.tensor(f(*given), requires_grad=True),
    "detached": lambda f, *given: torch.no_grad()(f)(*given),
}

STEPS = ("loss of step 1", "loss of step 2", "loss of step 3", "graph", "weights after 3 steps")
TASKS = (
    Task("read_asf", read_asf, _asf, READ_ASF, points_on(portrait)),
    Task("to_fractions", to_fractions, _pixels, TO_FRACTIONS, fractions_on(portrait), trials=4),
    Task("to_pixels", to_pixels, _fractions, TO_PIXELS, points_on(portrait), trials=4),
    Task("mean_face_error", mean_face_error, _two_sets, MEAN_FACE_ERROR),
    Task("convolve", convolve, _patch_and_kernel, CONVOLVE),
    Task("nose_net", nose_net, _layers, NOSE_NET),
    Task("training_step", training_step, _batch, TRAINING_STEP, call=_three_steps, names=STEPS),
)
