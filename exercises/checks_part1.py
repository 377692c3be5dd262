"""The tasks of part 1, and the mistakes that are known by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from common.crops import crop_matrices, to_fractions, to_pixels
from common.faces import Faces
from common.keypoints import IMM_58
from common.loading import Crops
from common.losses import LOSSES
from common.metrics import mean_shape, measure
from common.recipe import Recipe
from common.training import he_init, train_epoch
from datasets import imm
from exercises.faces import SIZES, portrait, random, side_by_side
from exercises.judge import Function, Task
from parts.part1_nose_tip import NoseNet

# Reading an annotation


def read_asf(text: str, width: int, height: int) -> Tensor:
    """``imm.read_asf`` of a file with that text beside a picture of that size: (58, 2)."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "01-1m.asf")
        file.write_text(text)
        Image.new("L", (width, height)).save(file.with_suffix(".jpg"))
        return imm.read_asf(file).points


def _asf(index: int) -> tuple[str, int, int]:
    """An annotation of ``portrait(index)`` with 7 columns a point, or as many with 10."""
    height, width = SIZES[index]
    fractions = to_fractions(portrait(index)[1], height, width).tolist()
    more = "\t0.00\t0.00\t0.00" * index
    rows = [f"0  4\t{x:.8f}  {y:.8f}\t{i} 0 1{more}" for i, (x, y) in enumerate(fractions)]
    start = ["# AAM Shape File", "", "# number of points", "58", "", "# x and y are fractions"]
    return "\n".join([*start, *rows, "", "# picture", "01-1m.jpg", ""]), width, height


READ_ASF = Task(
    name="read_asf",
    right=read_asf,
    mistakes={
        "x and y are exchanged: the third column is x, the fourth is y":
            lambda *asked: read_asf(*asked).flip(1),
        "these are still fractions: multiply by width and height":
            lambda text, w, h: to_fractions(read_asf(text, w, h), h, w),
        "half a pixel off: the middle of the first pixel lies half a pixel from the picture's "
        "edge, so subtract 1/2": lambda *asked: read_asf(*asked) + 0.5,
        "multiplied by width - 1 and height - 1: fractions count from edge to edge, so multiply by "
        "width and height and subtract 1/2": lambda text, w, h: (
            to_fractions(read_asf(text, w, h), h, w) * torch.tensor([w - 1.0, h - 1.0])
        ),
        "x was multiplied by the height, y by the width":
            lambda text, w, h: to_pixels(to_fractions(read_asf(text, w, h), h, w), w, h),
        "the columns are those of path and type: x and y are the third and the fourth":
            lambda text, w, h: to_pixels(torch.tensor([[0.0, 4.0]]).expand(58, 2), h, w),
        "the last point is missing": lambda *asked: read_asf(*asked)[:-1],
        "the first point is missing": lambda *asked: read_asf(*asked)[1:],
    },
    trials=lambda: [_asf(index) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: _on_portrait(index, right[0], yours[0]),
)  # fmt: skip


# Fractions and pixels

TO_FRACTIONS = Task(
    name="to_fractions",
    right=to_fractions,
    mistakes={
        "half a pixel off: the middle of pixel 0 lies half a pixel from the edge, so add 1/2 "
        "before you divide": lambda points, h, w: to_fractions(points - 0.5, h, w),
        "half a pixel was taken off where it must be added":
            lambda points, h, w: to_fractions(points - 1, h, w),
        "x was divided by the height, y by the width":
            lambda points, h, w: to_fractions(points, w, h),
        "divided by W - 1 and H - 1: a picture is W pixels wide, from edge to edge":
            lambda points, h, w: to_fractions(points - 0.5, h - 1, w - 1),
        "that is the way back, from fractions to pixels": to_pixels,
        "x and y are exchanged": lambda *asked: to_fractions(*asked).flip(-1),
    },
    trials=lambda: [(portrait(index)[1], *SIZES[index]) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: _on_portrait(
        index, to_pixels(right[0], *SIZES[index]), to_pixels(yours[0], *SIZES[index])
    ),
)  # fmt: skip

TO_PIXELS = Task(
    name="to_pixels",
    right=to_pixels,
    mistakes={
        "half a pixel off: a fraction of W counts from the edge, so subtract 1/2 afterwards":
            lambda *asked: to_pixels(*asked) + 0.5,
        "half a pixel was added where it must be taken off": lambda *asked: to_pixels(*asked) + 1,
        "1/2 was taken off before multiplying: it is half a pixel, not half a picture":
            lambda fractions, h, w: to_pixels(fractions - 0.5, h, w) + 0.5,
        "x was multiplied by the height, y by the width":
            lambda fractions, h, w: to_pixels(fractions, w, h),
        "multiplied by W - 1 and H - 1: a picture is W pixels wide, from edge to edge":
            lambda fractions, h, w: to_pixels(fractions, h - 1, w - 1) + 0.5,
        "that is the way there, from pixels to fractions": to_fractions,
        "x and y are exchanged": lambda *asked: to_pixels(*asked).flip(-1),
    },
    trials=lambda: [
        (to_fractions(portrait(index)[1], *SIZES[index]), *SIZES[index])
        for index in range(len(SIZES))
    ],
    picture=lambda index, asked, right, yours: _on_portrait(index, right[0], yours[0]),
)  # fmt: skip


def _on_portrait(index: int, right: Tensor, yours: Tensor) -> Figure:
    image, _ = portrait(index)
    return side_by_side((image, right), (image, yours))


# The mean face


def mean_face_error(train: Tensor, test: Tensor) -> float:
    """``baseline_mean_face`` of ``metrics.measure`` for faces (N, 58, 2) and (M, 58, 2)."""
    recipe = Recipe(height=100, width=100)
    crops = _crops(test)
    metrics = measure(crops.points, crops, mean_shape(_crops(train), recipe), recipe)
    return metrics["baseline_mean_face"]["mse_ratio"]


def _crops(fractions: Tensor) -> Crops:
    """Faces whose points lie at those fractions (N, 58, 2) of pictures of 100x100 pixels."""
    count = len(fractions)
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0]]).expand(count, 4)
    points, names = to_pixels(fractions, 100, 100), ("",) * count
    faces = Faces("drawn", "drawn", IMM_58, (Path(),) * count, points, boxes, names, names)
    images = torch.zeros(count, 1, 100, 100, dtype=torch.uint8)
    return Crops(faces, images, crop_matrices(boxes, 100, 100), tuple(range(58)))


def _fractions(seed: int, count: int) -> Tensor:
    shape = to_fractions(portrait(0)[1], *SIZES[0])
    return shape + 0.05 * torch.randn(count, 58, 2, generator=random(seed))


MEAN_FACE_ERROR = Task(
    name="mean_face_error",
    right=mean_face_error,
    mistakes={
        "the mean of the test faces: that peeks at what is to be answered; take the mean of the "
        "training faces": lambda train, test: mean_face_error(test, test),
        "one place for all points: take the mean over the faces alone, dim=0":
            lambda train, test: mean_face_error(train.mean(dim=1, keepdim=True).expand_as(train),
                                                test),
        "the first training face instead of the mean of all":
            lambda train, test: mean_face_error(train[:1], test),
        "the sum of the squares, not their mean":
            lambda train, test: mean_face_error(train, test) * test.numel(),
        "the squared distance of a point: the mean goes over x and y as well":
            lambda train, test: mean_face_error(train, test) * 2,
        "the root was taken: asked is the mean of the squares":
            lambda train, test: mean_face_error(train, test) ** 0.5,
        "the errors were not squared":
            lambda train, test: LOSSES["l1"](train.mean(dim=0).expand_as(test), test),
    },
    trials=lambda: [(_fractions(1, 7), _fractions(2, 4)), (_fractions(3, 4), _fractions(4, 9))],
)  # fmt: skip


# The forward pass


def nose_net(convolutions: list[nn.Conv2d], linears: list[nn.Linear], faces: Tensor) -> Tensor:
    """``NoseNet`` with these layers: (B, 1, 60, 80) -> (B, 1, 2)."""
    return _network(convolutions, linears)(faces)


def _network(
    convolutions: list[nn.Conv2d],
    linears: list[nn.Linear],
    change: Callable[[nn.Module], nn.Module] = lambda layer: layer,
    where: str = "features",
) -> NoseNet:
    """NoseNet of these layers, each layer of its features or its head changed."""
    network = NoseNet()
    network.features[0], network.features[3], network.features[6] = convolutions
    network.head[0], network.head[2] = linears
    setattr(network, where, nn.Sequential(*map(change, getattr(network, where))))
    return network


def _no_relu(layer: nn.Module) -> nn.Module:
    return nn.Identity() if isinstance(layer, nn.ReLU) else layer


def _no_pool(layer: nn.Module) -> nn.Module:
    return nn.Identity() if isinstance(layer, nn.MaxPool2d) else layer


def _narrow_pool(layer: nn.Module) -> nn.Module:
    return nn.MaxPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer


def _mean_pool(layer: nn.Module) -> nn.Module:
    return nn.AvgPool2d(3, 2) if isinstance(layer, nn.MaxPool2d) else layer


def _flat_batch(convolutions: list[nn.Conv2d], linears: list[nn.Linear], faces: Tensor) -> Tensor:
    network = _network(convolutions, linears)
    return network.head(network.features(faces).flatten())


def _layers(seed: int, count: int) -> tuple[list[nn.Conv2d], list[nn.Linear], Tensor]:
    """NoseNet's layers with random weights, and ``count`` pictures (count, 1, 60, 80)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NoseNet()
        he_init(network)
        faces = torch.rand(count, 1, 60, 80) - 0.5
    layers = [*network.features, *network.head]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    return convolutions, [layer for layer in layers if isinstance(layer, nn.Linear)], faces


NOSE_NET = Task(
    name="nose_net",
    right=nose_net,
    mistakes={
        "no ReLU after the convolutions":
            lambda convs, linears, faces: _network(convs, linears, _no_relu)(faces),
        "no ReLU between the two linear layers: two of them in a row are but one":
            lambda convs, linears, faces: _network(convs, linears, _no_relu, "head")(faces),
        "a ReLU after the last layer: it cuts off every answer below zero":
            lambda *asked: nose_net(*asked).relu(),
        "the pools take the mean of a window, not its largest value":
            lambda convs, linears, faces: _network(convs, linears, _mean_pool)(faces),
        "the shape is (B, 2): one point per face is (B, 1, 2), so end with .view(-1, 1, 2)":
            lambda *asked: nose_net(*asked).flatten(1),
        "the pools are 2 wide and step by 2: asked are 3 wide, step 2":
            lambda convs, linears, faces: _network(convs, linears, _narrow_pool)(faces),
        "no pool after the convolutions":
            lambda convs, linears, faces: _network(convs, linears, _no_pool)(faces),
        "the faces of the batch were thrown together: flatten(1) keeps the first dimension":
            _flat_batch,
    },
    trials=lambda: [_layers(1, 3), _layers(2, 2)],
)  # fmt: skip


# The training step


def training_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    faces: Tensor,
    truth: Tensor,
    loss: str = "mse",
) -> float:
    """``train_epoch`` of a single batch that nothing varies; the loss before the step."""
    height, width = faces.shape[-2:]
    rate = optimizer.param_groups[0]["lr"]
    recipe = Recipe(height=height, width=width, batch=len(faces), loss=loss, learning_rate=rate)
    images, points = ((faces + 0.5) * 255).round().byte(), to_pixels(truth, height, width)
    order = torch.arange(truth.shape[1])
    return train_epoch(network, images, points, order, recipe, optimizer, None, 0)[0]


def _three_steps(
    function: Function, network: nn.Module, faces: Tensor, truth: Tensor
) -> tuple[Tensor, ...] | None:
    """Three losses, whether they hold on to the graph, and the weights in the end."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    losses = [function(network, optimizer, faces, truth) for _ in range(3)]
    if any(loss is None for loss in losses):
        return None
    graph = [isinstance(loss, Tensor) and loss.requires_grad for loss in losses]
    weights = torch.cat([weight.flatten() for weight in network.parameters()])
    values = [torch.as_tensor(loss).detach() for loss in losses]
    return torch.stack(values), torch.tensor(graph), weights


def _without(verb: str) -> Function:
    """A step in which the optimizer does not do one of its verbs."""

    def step(
        network: nn.Module, optimizer: torch.optim.Optimizer, faces: Tensor, truth: Tensor
    ) -> float:
        setattr(optimizer, verb, lambda: None)
        return training_step(network, optimizer, faces, truth)

    return step


def _sum(
    network: nn.Module, optimizer: torch.optim.Optimizer, faces: Tensor, truth: Tensor
) -> float:
    rate = optimizer.param_groups[0]["lr"] * truth.numel()  # as the gradients of a sum
    steeper = torch.optim.SGD(network.parameters(), lr=rate)
    return training_step(network, steeper, faces, truth) * truth.numel()


def _batch(seed: int, count: int, height: int, width: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network, pictures (count, 1, height, width) and the truth (count, 3, 2)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(height * width, 8), nn.ReLU(), nn.Linear(8, 6),
            nn.Unflatten(1, (3, 2)),
        )  # fmt: skip
        faces = torch.randint(256, (count, 1, height, width)) / 255 - 0.5
        return network, faces, torch.rand(count, 3, 2)


TRAINING_STEP = Task(
    name="training_step",
    right=training_step,
    mistakes={
        "gradients not set to zero: they add up over the steps; optimizer.zero_grad() comes "
        "before loss.backward()": _without("zero_grad"),
        "the weights did not change: loss.backward(), then optimizer.step(), and no zero_grad() "
        "between them": _without("step"),
        "the sum of the squared errors, not their mean": _sum,
        "the errors were not squared: asked is the mean squared error":
            lambda *asked: training_step(*asked, loss="l1"),
        "the loss that comes back holds on to the whole graph: end with return loss.item()":
            lambda *asked: torch.tensor(training_step(*asked), requires_grad=True),
        "the prediction was cut off from the network: no torch.no_grad() and no .detach() here":
            torch.no_grad()(training_step),
    },
    trials=lambda: [_batch(1, 5, 8, 10), _batch(2, 3, 6, 9)],
    call=_three_steps,
)  # fmt: skip


TASKS = (READ_ASF, TO_FRACTIONS, TO_PIXELS, MEAN_FACE_ERROR, NOSE_NET, TRAINING_STEP)
