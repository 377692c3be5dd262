"""The tasks of part 2, and the known mistakes; feedback.ini says what each one is."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from common import metrics
from common.augmentation import affine_matrices, augment, warp
from common.crops import inverse, transform_points
from common.inference import predict_flipped
from common.keypoints import IBUG_68, IMM_58
from common.recipe import Recipe
from exercises.faces import (
    SIZES,
    close_up,
    fractions,
    fractions_on,
    portrait,
    random,
    seeded,
    transforms,
)
from exercises.judge import Function, Result, Task

NUMBERED = (0, 12, 13, 21, 39, 43)  # ends of the jaw, outer eye corners, corners of the mouth


def turning(degrees: float, height: float, width: float) -> Tensor:
    """``augmentation.affine_matrices`` of one rotation about a picture's centre: (2, 3)."""
    angle, unflipped = torch.tensor([math.radians(degrees)]), torch.tensor([False])
    side = torch.tensor([width, height])
    return affine_matrices(angle, torch.ones(1), torch.zeros(1, 2), unflipped, side)[0]


def _turned(index: int, result: Result) -> tuple[Tensor, Tensor]:
    (image, points), matrix = portrait(index), result[0][None].float()
    if torch.linalg.inv_ex(matrix[:, :, :2]).info == 0:  # else only the points can be moved
        image = warp(image[None].float(), matrix, *SIZES[index])[0]
    return image, transform_points(points[None], matrix)[0]


TURNING = {
    "other_way": lambda f, degrees, h, w: f(-degrees, h, w),
    "radians": lambda f, degrees, h, w: f(math.degrees(degrees), h, w),
    "first_pixel": lambda f, degrees, h, w: f(degrees, 1, 1),
    "half_pixel": lambda f, degrees, h, w: f(degrees, h + 1, w + 1),
    "centre_exchanged": lambda f, degrees, h, w: f(degrees, w, h),
    "centre_is_shift": lambda f, degrees, h, w: torch.cat(
        [f(degrees, h, w)[:, :2], torch.tensor([[(w - 1) / 2], [(h - 1) / 2]])], dim=1
    ),
    "opposite_shift": lambda f, *given: f(*given) * torch.tensor([1, 1, -1]),
    "no_shift": lambda f, *given: f(*given)[:, :2],
}


def move_both(
    images: Tensor, points: Tensor, matrices: Tensor, others: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``augmentation.warp`` and ``crops.transform_points`` by the same matrices, or the points by
    ``others``."""
    by = matrices if others is None else others
    return warp(images, matrices, *images.shape[-2:]), transform_points(points, by)


def _points_by(change: Function) -> Function:
    """The mistake that changes the matrices (B, 2, 3) by which the points move."""
    return lambda f, images, points, m, others=None: f(
        images, points, m, change(m if others is None else others)
    )


def _two_faces(index: int) -> tuple[Tensor, Tensor, Tensor]:
    image, points = portrait(index)
    return image.expand(2, 1, -1, -1).float(), points.expand(2, -1, -1), transforms(index, 0.8)


def _first_of_batch(index: int, result: Result) -> tuple[Tensor, Tensor]:
    return result[0][0], result[1][0]


MOVE_BOTH = {
    "image_still": lambda f, *given: (given[0], f(*given)[1]),
    "points_still": lambda f, *given: (f(*given)[0], given[1]),
    "opposite": _points_by(inverse),
    "transposed": _points_by(lambda m: torch.cat([m[:, :, :2].mT, m[:, :, 2:]], dim=2)),
    "no_shift": _points_by(lambda m: m * torch.tensor([1, 1, 0])),
    "shift_first": _points_by(lambda m: torch.cat([m[:, :, :2], m[:, :, :2] @ m[:, :, 2:]], dim=2)),
    "xy_exchanged": lambda f, *given: (f(*given)[0], f(*given)[1].flip(-1)),
}


def mirror(images: Tensor, points: Tensor, flip_order: Tensor) -> tuple[Tensor, Tensor]:
    """``augmentation.augment`` that only flips; pictures uint8 (B, 1, H, W)."""
    height, width = images.shape[-2:]
    recipe = Recipe(height=height, width=width, flip=1.0)
    images, points = augment(images, points, recipe, flip_order)
    return (images + 0.5) * 255, points


def _upside_down(
    f: Function, images: Tensor, points: Tensor, flip_order: Tensor
) -> tuple[Tensor, Tensor]:
    images, points = f(images.mT.contiguous(), points.flip(-1), flip_order)
    return images.mT, points.flip(-1)


def _one_pixel(f: Function, *given: Tensor) -> tuple[Tensor, Tensor]:
    images, points = f(*given)
    return images, points + torch.tensor([1, 0])


def _face_and_order(index: int) -> tuple[Tensor, Tensor, Tensor]:
    image, points = portrait(index)
    return image[None], points[None], IMM_58.flip_order


MIRROR = {
    "not_renamed": lambda f, images, points, _: f(images, points, torch.arange(58)),
    "one_pixel": _one_pixel,
    "image_still": lambda f, *given: (given[0], f(*given)[1]),
    "points_still": lambda f, *given: (f(*given)[0], given[1]),
    "only_renamed": lambda f, *given: (f(*given)[0], given[1][:, given[2]]),
    "upside_down": _upside_down,
}


def nme(predicted: Tensor, truth: Tensor, outer_eyes: tuple[int, int]) -> Tensor:
    """``metrics.nme`` with the eye distance of the truth: (N,) in %."""
    return metrics.nme(predicted, truth, _eyes(truth, outer_eyes))


def _eyes(points: Tensor, outer_eyes: tuple[int, int]) -> Tensor:
    return replace(IMM_58, outer_eyes=outer_eyes).eye_distance(points)


def _predictions(index: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Faces of several sizes, predicted a few pixels off, and true: (5 or 3, K, 2)."""
    count, (_, points), scheme = ((5, portrait(0), IMM_58), (3, close_up(1), IBUG_68))[index]
    truth = points * (1 + torch.arange(count)[:, None, None] / 3)
    off = 4 * torch.randn(truth.shape, generator=random(index))
    return truth + off, truth, scheme.outer_eyes


NME = {
    "fraction": lambda f, *given: f(*given) / 100,
    "sum": lambda f, found, truth, eyes: f(found, truth, eyes) * truth.shape[1],
    "mean_of_faces": lambda f, *given: f(*given).mean(),
    "mean_of_all": lambda f, p, t, eyes: 100 * (p - t).norm(dim=-1).mean() / _eyes(t, eyes),
    "one_eye_distance": lambda f, p, t, eyes: (
        f(p, t, eyes) * _eyes(t, eyes) / _eyes(t, eyes).mean()
    ),
    "predicted_eyes": lambda f, p, t, eyes: f(p, t, eyes) * _eyes(t, eyes) / _eyes(p, eyes),
    "coordinate": lambda f, p, t, eyes: 100 * (p - t).abs().mean((1, 2)) / _eyes(t, eyes),
    "no_root": lambda f, p, t, eyes: 100 * (p - t).square().sum(2).mean(1) / _eyes(t, eyes),
    "root_of_mean": lambda f, p, t, eyes: (
        100 * (p - t).square().sum(2).mean(1).sqrt() / _eyes(t, eyes)
    ),
    "root_of_mean_xy": lambda f, p, t, eyes: (
        100 * (p - t).square().mean((1, 2)).sqrt() / _eyes(t, eyes)
    ),
}


def flip_tta(network: nn.Module, faces: Tensor, flip_order: Tensor) -> Tensor:
    """The mean of a network's prediction and of ``inference.predict_flipped``: (B, K, 2)."""
    return (network(faces) + predict_flipped(network, faces, flip_order)) / 2


def _mean_with(second: Function) -> Function:
    """The mistake that takes the mean of the prediction and of ``second``'s."""
    return lambda f, network, faces, order: (network(faces) + second(network, faces, order)) / 2


def _network_and_face(index: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that nearly knows ``portrait(index)``, the face (1, 1, H, W), and the order."""
    height, width = SIZES[index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(index))
        last = nn.Linear((height // 6) * (width // 6), 116)
    last.bias.data = fractions(portrait, index).flatten()
    last.weight.data *= 0.1
    network = nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), last, nn.Unflatten(1, (58, 2)))
    return network, portrait(index)[0][None] / 255 - 0.5, IMM_58.flip_order


FLIP_TTA = {
    "not_renamed": lambda f, network, faces, _: f(network, faces, torch.arange(58)),
    "not_mirrored_back": _mean_with(lambda net, faces, order: net(faces.flip(-1))[:, order]),
    "as_it_is": _mean_with(lambda network, faces, _: network(faces.flip(-1))),
    "pixels": lambda f, network, faces, order: (
        f(network, faces, order) + torch.tensor([faces.shape[-1] / 2 - 1, 0])
    ),
    "both_renamed": lambda f, network, faces, order: (
        f(network, faces, order) + (network(faces)[:, order] - network(faces)) / 2
    ),
    "sum": lambda f, *given: 2 * f(*given),
    "only_mirrored": lambda f, *given: predict_flipped(*given),
    "only_first": lambda f, network, faces, _: network(faces),
    "upside_down": _mean_with(
        lambda network, faces, order: predict_flipped(network, faces.flip(-1, -2), order)
    ),
}


def overfitting(train_loss: Tensor, test_loss: Tensor) -> tuple[int, float]:
    """The epoch of the lowest test loss, from 1, and how much higher the last one is, in %."""
    lowest = float(test_loss.min())
    return int(test_loss.argmin()) + 1, 100 * (float(test_loss[-1]) / lowest - 1)


def _curves(index: int) -> tuple[Tensor, Tensor]:
    """Losses of 60 or 40 epochs: the training loss falls, the test loss rises after a while."""
    epochs = (60, 40)[index]
    epoch, noise = torch.arange(1, epochs + 1), torch.rand(2, epochs, generator=random(80 + index))
    falling = torch.exp(-epoch / 12)
    train = 0.02 + falling + 0.01 * noise[0]
    return train, 0.2 + falling + (0.004, 0.009)[index] * epoch + 0.01 * noise[1]


OVERFITTING = {
    "from_zero": lambda f, *given: (f(*given)[0] - 1, f(*given)[1]),
    "training_loss": lambda f, train, test: f(train, train),
    "epoch_of_training": lambda f, train, test: (f(train, train)[0], f(train, test)[1]),
    "fraction": lambda f, *given: (f(*given)[0], f(*given)[1] / 100),
    "ratio": lambda f, *given: (f(*given)[0], f(*given)[1] + 100),
    "gap": lambda f, train, test: (f(train, test)[0], 100 * float(test[-1] / train[-1] - 1)),
    "since_the_first": lambda f, train, test: (
        f(train, test)[0],
        100 * float(test[-1] / test[0] - 1),
    ),
    "difference": lambda f, train, test: (f(train, test)[0], float(test[-1] - test.min())),
}

BOTH = ("the picture", "the points")
TASKS = (
    Task("turning", turning, lambda i: ((20.0, -35.0)[i], *SIZES[i]), TURNING, _turned),
    Task("move_both", move_both, _two_faces, MOVE_BOTH, _first_of_batch, names=BOTH),
    Task("mirror", mirror, _face_and_order, MIRROR, _first_of_batch, NUMBERED, names=BOTH),
    Task("nme", nme, _predictions, NME),
    Task("flip_tta", flip_tta, _network_and_face, FLIP_TTA, fractions_on(portrait), NUMBERED),
    Task("overfitting", overfitting, _curves, OVERFITTING, names=("the epoch", "the rise")),
)
