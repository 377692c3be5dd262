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
from exercises.faces import SIZES, close_up, fractions, fractions_on, portrait, random, transforms
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
    "other_way": lambda degrees, h, w: turning(-degrees, h, w),
    "radians": lambda degrees, h, w: turning(math.degrees(degrees), h, w),
    "first_pixel": lambda degrees, h, w: turning(degrees, 1, 1),
    "half_pixel": lambda degrees, h, w: turning(degrees, h + 1, w + 1),
    "centre_exchanged": lambda degrees, h, w: turning(degrees, w, h),
    "no_shift": lambda *given: turning(*given)[:, :2],
}


def move_both(images: Tensor, points: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """``augmentation.warp`` and ``crops.transform_points`` by the same matrices."""
    return warp(images, matrices, *images.shape[-2:]), transform_points(points, matrices)


def _moving(by: Function) -> Function:
    """``move_both`` whose points are those of ``by(points, matrices)``."""
    return lambda images, points, m: (move_both(images, points, m)[0], by(points, m))


def _two_faces(index: int) -> tuple[Tensor, Tensor, Tensor]:
    image, points = portrait(index)
    return image.expand(2, 1, -1, -1).float(), points.expand(2, -1, -1), transforms(index, 0.8)


def _first_of_batch(index: int, result: Result) -> tuple[Tensor, Tensor]:
    return result[0][0], result[1][0]


MOVE_BOTH = {
    "image_still": lambda images, points, m: (images, transform_points(points, m)),
    "points_still": _moving(lambda points, m: points),
    "opposite": _moving(lambda points, m: transform_points(points, inverse(m))),
    "transposed": _moving(lambda points, m: points @ m[:, :, :2] + m[:, None, :, 2]),
    "no_shift": _moving(lambda points, m: points @ m[:, :, :2].mT),
    "shift_first": _moving(lambda points, m: (points + m[:, None, :, 2]) @ m[:, :, :2].mT),
    "xy_exchanged": _moving(lambda points, m: transform_points(points, m).flip(-1)),
}


def mirror(images: Tensor, points: Tensor, flip_order: Tensor) -> tuple[Tensor, Tensor]:
    """``augmentation.augment`` that only flips; pictures uint8 (B, 1, H, W)."""
    height, width = images.shape[-2:]
    recipe = Recipe(height=height, width=width, flip=1.0)
    images, points = augment(images, points, recipe, flip_order)
    return (images + 0.5) * 255, points


def _upside_down(images: Tensor, points: Tensor, flip_order: Tensor) -> tuple[Tensor, Tensor]:
    images, points = mirror(images.mT.contiguous(), points.flip(-1), flip_order)
    return images.mT, points.flip(-1)


def _face_and_order(index: int) -> tuple[Tensor, Tensor, Tensor]:
    image, points = portrait(index)
    return image[None], points[None], IMM_58.flip_order


MIRROR = {
    "not_renamed": lambda images, points, _: mirror(images, points, torch.arange(58)),
    "one_pixel": lambda *given: (mirror(*given)[0], mirror(*given)[1] + torch.tensor([1, 0])),
    "image_still": lambda *given: (given[0], mirror(*given)[1]),
    "points_still": lambda *given: (mirror(*given)[0], given[1]),
    "only_renamed": lambda *given: (mirror(*given)[0], given[1][:, given[2]]),
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
    "fraction": lambda *given: nme(*given) / 100,
    "sum": lambda found, truth, eyes: nme(found, truth, eyes) * truth.shape[1],
    "mean_of_faces": lambda *given: nme(*given).mean(),
    "one_eye_distance": lambda p, t, eyes: metrics.nme(p, t, _eyes(t, eyes).mean()),
    "predicted_eyes": lambda p, t, eyes: metrics.nme(p, t, _eyes(p, eyes)),
    "coordinate": lambda p, t, eyes: 100 * (p - t).abs().mean((1, 2)) / _eyes(t, eyes),
    "no_root": lambda p, t, eyes: 100 * (p - t).square().sum(2).mean(1) / _eyes(t, eyes),
    "root_of_mean": lambda p, t, eyes: (
        100 * (p - t).square().sum(2).mean(1).sqrt() / _eyes(t, eyes)
    ),
}


def _mean_with(second: Function) -> Function:
    """The mean of a network's prediction and of ``second(network, faces, flip_order)``."""
    return lambda network, faces, order: (network(faces) + second(network, faces, order)) / 2


flip_tta = _mean_with(predict_flipped)


def _network_and_face(index: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that nearly knows ``portrait(index)``, the face (1, 1, H, W), and the order."""
    height, width = SIZES[index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        last = nn.Linear((height // 6) * (width // 6), 116)
    last.bias.data = fractions(portrait, index).flatten()
    last.weight.data *= 0.1
    network = nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), last, nn.Unflatten(1, (58, 2)))
    return network, portrait(index)[0][None] / 255 - 0.5, IMM_58.flip_order


FLIP_TTA = {
    "not_renamed": lambda network, faces, _: flip_tta(network, faces, torch.arange(58)),
    "not_mirrored_back": _mean_with(lambda net, faces, order: net(faces.flip(-1))[:, order]),
    "as_it_is": _mean_with(lambda network, faces, _: network(faces.flip(-1))),
    "sum": lambda *given: 2 * flip_tta(*given),
    "only_mirrored": predict_flipped,
    "only_first": lambda network, faces, _: network(faces),
    "upside_down": _mean_with(
        lambda network, faces, order: predict_flipped(network, faces.flip(-1, -2), order)
    ),
}

TASKS = (
    Task("turning", turning, lambda i: ((20.0, -35.0)[i], *SIZES[i]), TURNING, _turned),
    Task("move_both", move_both, _two_faces, MOVE_BOTH, _first_of_batch),
    Task("mirror", mirror, _face_and_order, MIRROR, _first_of_batch, NUMBERED),
    Task("nme", nme, _predictions, NME),
    Task("flip_tta", flip_tta, _network_and_face, FLIP_TTA, fractions_on(portrait), NUMBERED),
)
