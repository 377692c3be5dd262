"""The tasks of part 1, and the known mistakes with their names."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn

from common.crops import to_fractions, to_pixels
from common.losses import LOSSES
from common.training import he_init
from datasets import imm
from exercises.faces import SIZES, portrait, random
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
    fractions = to_fractions(portrait(index)[1], height, width).tolist()
    more = "\t0.00\t0.00\t0.00" * index
    rows = [f"0  4\t{x:.8f}  {y:.8f}\t{i} 0 1{more}" for i, (x, y) in enumerate(fractions)]
    start = ["# AAM Shape File", "", "# number of points", "58", "", "# x and y are fractions"]
    return "\n".join([*start, *rows, "", "# picture", "01-1m.jpg", ""]), width, height


READ_ASF = Task(
    right=read_asf,
    mistakes={
        "x and y are exchanged: the third column is x, the fourth is y":
            lambda *given: read_asf(*given).flip(1),
        "these are still fractions: multiply by width and height": _as_written,
        "half a pixel off: the middle of the first pixel lies half a pixel from the picture's "
        "edge, so subtract 1/2": lambda *given: read_asf(*given) + 0.5,
        "multiplied by width - 1 and height - 1: fractions count from edge to edge, so multiply by "
        "width and height and subtract 1/2":
            lambda text, w, h: _as_written(text, w, h) * torch.tensor([w - 1.0, h - 1.0]),
        "x was multiplied by the height, y by the width":
            lambda text, w, h: to_pixels(_as_written(text, w, h), w, h),
        "the columns are those of path and type: x and y are the third and the fourth":
            lambda text, w, h: to_pixels(torch.tensor([[0.0, 4.0]]).expand(58, 2), h, w),
        "the last point is missing": lambda *given: read_asf(*given)[:-1],
        "the first point is missing": lambda *given: read_asf(*given)[1:],
    },
    trial=_asf,
    view=lambda index, given, result: (portrait(index)[0], result[0]),
)  # fmt: skip

TO_FRACTIONS = Task(
    right=to_fractions,
    mistakes={
        "half a pixel off: the middle of pixel 0 lies half a pixel from the edge, so add 1/2 "
        "before you divide": lambda points, h, w: to_fractions(points - 0.5, h, w),
        "half a pixel was subtracted where it must be added":
            lambda points, h, w: to_fractions(points - 1, h, w),
        "x was divided by the height, y by the width":
            lambda points, h, w: to_fractions(points, w, h),
        "divided by W - 1 and H - 1: a picture is W pixels wide, from edge to edge":
            lambda points, h, w: to_fractions(points - 0.5, h - 1, w - 1),
        "that is the inverse, from fractions to pixels": to_pixels,
        "x and y are exchanged": lambda *given: to_fractions(*given).flip(-1),
    },
    trial=lambda index: (portrait(index)[1], *SIZES[index]),
    view=lambda index, given, result: (portrait(index)[0], to_pixels(result[0], *SIZES[index])),
)  # fmt: skip

TO_PIXELS = Task(
    right=to_pixels,
    mistakes={
        "half a pixel off: a fraction of W counts from the edge, so subtract 1/2 afterwards":
            lambda *given: to_pixels(*given) + 0.5,
        "half a pixel was added where it must be subtracted": lambda *given: to_pixels(*given) + 1,
        "1/2 was subtracted before multiplying: it is half a pixel, not half a picture":
            lambda fractions, h, w: to_pixels(fractions - 0.5, h, w) + 0.5,
        "x was multiplied by the height, y by the width":
            lambda fractions, h, w: to_pixels(fractions, w, h),
        "multiplied by W - 1 and H - 1: a picture is W pixels wide, from edge to edge":
            lambda fractions, h, w: to_pixels(fractions, h - 1, w - 1) + 0.5,
        "that is the inverse, from pixels to fractions": to_fractions,
        "x and y are exchanged": lambda *given: to_pixels(*given).flip(-1),
    },
    trial=lambda index: (to_fractions(portrait(index)[1], *SIZES[index]), *SIZES[index]),
    view=lambda index, given, result: (portrait(index)[0], result[0]),
)  # fmt: skip


def mean_face_error(train: Tensor, test: Tensor, loss: str = "mse") -> float:
    """What ``metrics.measure`` calls mse_ratio of the mean face, as one number."""
    return LOSSES[loss](train.mean(dim=0).expand_as(test), test).item()


def _fractions(seed: int, count: int) -> Tensor:
    shape = to_fractions(portrait(0)[1], *SIZES[0])
    return shape + 0.05 * torch.randn(count, 58, 2, generator=random(seed))


MEAN_FACE_ERROR = Task(
    right=mean_face_error,
    mistakes={
        "the mean of the test faces: the test data must not be used; take the mean of the training "
        "faces": lambda train, test: mean_face_error(test, test),
        "one place for all points: take the mean over the faces alone, dim=0": lambda train, test:
            mean_face_error(train.mean(dim=1, keepdim=True).expand_as(train), test),
        "the first training face instead of the mean of all":
            lambda train, test: mean_face_error(train[:1], test),
        "the sum of the squares, not their mean":
            lambda train, test: mean_face_error(train, test) * test.numel(),
        "the squared distance of a point: the mean goes over x and y as well":
            lambda *given: mean_face_error(*given) * 2,
        "the root was taken: expected is the mean of the squares":
            lambda *given: mean_face_error(*given) ** 0.5,
        "the errors were not squared": lambda *given: mean_face_error(*given, loss="l1"),
    },
    trial=lambda index: (_fractions(2 * index, 7 - index), _fractions(2 * index + 1, 4 + index)),
)  # fmt: skip


def nose_net(
    convolutions: list[nn.Conv2d],
    linears: list[nn.Linear],
    faces: Tensor,
    where: str = "features",
    old: tuple[type[nn.Module], ...] = (),
    new: nn.Module | None = None,
) -> Tensor:
    """``NoseNet`` with these layers, (B, 1, 60, 80) -> (B, 1, 2).

    where: "features" or "head", in which layers of the kinds ``old`` are replaced by ``new``.
    """
    network = NoseNet()
    network.features[0], network.features[3], network.features[6] = convolutions
    network.head[0], network.head[2] = linears
    layers = [new if isinstance(layer, old) else layer for layer in getattr(network, where)]
    setattr(network, where, nn.Sequential(*layers))
    return network(faces)


def _layers(index: int) -> tuple[list[nn.Conv2d], list[nn.Linear], Tensor]:
    """NoseNet's layers with random weights, and pictures (3 or 2, 1, 60, 80)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        network = NoseNet()
        he_init(network)
        faces = torch.rand(3 - index, 1, 60, 80) - 0.5
    features, head = network.features, network.head
    return [features[0], features[3], features[6]], [head[0], head[2]], faces


NOSE_NET = Task(
    right=nose_net,
    mistakes={
        "no ReLU after the convolutions":
            lambda *given: nose_net(*given, "features", (nn.ReLU,), nn.Identity()),
        "no ReLU between the two linear layers: two in a row are only one linear function":
            lambda *given: nose_net(*given, "head", (nn.ReLU,), nn.Identity()),
        "a ReLU after the last layer: it cuts off every prediction below zero":
            lambda *given: nose_net(*given).relu(),
        "the pools take the mean of a window, not its largest value":
            lambda *given: nose_net(*given, "features", (nn.MaxPool2d,), nn.AvgPool2d(3, 2)),
        "the shape is (B, 2): one point per face is (B, 1, 2), so end with .view(-1, 1, 2)":
            lambda *given: nose_net(*given).flatten(1),
        "the pools are 2 wide with stride 2: expected are 3 wide, stride 2":
            lambda *given: nose_net(*given, "features", (nn.MaxPool2d,), nn.MaxPool2d(2)),
        "no pool after the convolutions":
            lambda *given: nose_net(*given, "features", (nn.MaxPool2d,), nn.Identity()),
        "the faces of the batch were joined to one: flatten(1) keeps the first dimension":
            lambda convs, linears, faces: linears[0](torch.zeros(576 * len(faces))),
    },
    trial=_layers,
)  # fmt: skip


def training_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    faces: Tensor,
    truth: Tensor,
    loss_of: Function = LOSSES["mse"],
) -> float:
    """The five lines in the middle of ``train_epoch``; returns the loss before the step."""
    predicted = network(faces)
    loss = loss_of(predicted, truth)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _without(
    verb: str, network: nn.Module, optimizer: torch.optim.Optimizer, *batch: Tensor
) -> float:
    """A step in which one verb of the optimizer does nothing."""
    with mock.patch.object(optimizer, verb):
        return training_step(network, optimizer, *batch)


def _three_steps(
    function: Function, network: nn.Module, faces: Tensor, truth: Tensor
) -> tuple[Tensor, ...] | None:
    """Three losses, whether they hold on to the graph, and the weights in the end."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    losses = [function(network, optimizer, faces, truth) for _ in range(3)]
    if any(loss is None for loss in losses):
        return None
    graph = [isinstance(loss, Tensor) and loss.requires_grad for loss in losses]
    weights = nn.utils.parameters_to_vector(network.parameters())
    values = [torch.as_tensor(loss).detach() for loss in losses]
    return torch.stack(values), torch.tensor(graph), weights


def _batch(index: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network, pictures (5 or 3, 1, H, W) and true points (5 or 3, 3, 2)."""
    count, height, width = ((5, 8, 10), (3, 6, 9))[index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(height * width, 8), nn.ReLU(), nn.Linear(8, 6),
            nn.Unflatten(1, (3, 2)),
        )  # fmt: skip
        return network, torch.rand(count, 1, height, width) - 0.5, torch.rand(count, 3, 2)


TRAINING_STEP = Task(
    right=training_step,
    mistakes={
        "gradients not set to zero: they add up over the steps; optimizer.zero_grad() comes "
        "before loss.backward()": partial(_without, "zero_grad"),
        "the weights did not change: loss.backward(), then optimizer.step(), and no zero_grad() "
        "between them": partial(_without, "step"),
        "the sum of the squared errors, not their mean":
            lambda *given: training_step(*given, loss_of=nn.MSELoss(reduction="sum")),
        "the errors were not squared: expected is the mean squared error":
            lambda *given: training_step(*given, loss_of=LOSSES["l1"]),
        "the loss that is returned holds on to the whole graph: end with return loss.item()":
            lambda *given: torch.tensor(training_step(*given), requires_grad=True),
        "the prediction was cut off from the network: no torch.no_grad() and no .detach() here":
            torch.no_grad()(training_step),
    },
    trial=_batch,
    call=_three_steps,
)  # fmt: skip


TASKS = (READ_ASF, TO_FRACTIONS, TO_PIXELS, MEAN_FACE_ERROR, NOSE_NET, TRAINING_STEP)
