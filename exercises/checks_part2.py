"""The tasks of part 2, and the known mistakes with their names."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from common import metrics
from common.augmentation import affine_matrices, augment, warp
from common.crops import inverse, to_fractions, to_pixels, transform_points
from common.inference import predict_flipped
from common.keypoints import IBUG_68, IMM_58
from common.recipe import Recipe
from exercises.faces import SIZES, close_up, portrait, random, random_matrices
from exercises.judge import Function, Result, Task

NUMBERED = (0, 12, 13, 21, 39, 43)  # ends of the jaw, outer eye corners, corners of the mouth


def turning(degrees: float, height: int, width: int) -> Tensor:
    """``augmentation.affine_matrices`` of one rotation about a picture's centre: (2, 3)."""
    angle, still = torch.tensor([math.radians(degrees)]), torch.zeros(1, 2)
    side = torch.tensor([width, height])
    return affine_matrices(angle, torch.ones(1), still, torch.tensor([False]), side)[0]


def _about(degrees: float, x: float, y: float) -> Tensor:
    """A rotation about the point (x, y), as ``turning`` about the centre."""
    return turning(degrees, int(2 * y + 1), int(2 * x + 1))


def _turned(index: int, _: tuple, result: Result) -> tuple[Tensor, Tensor]:
    (image, points), matrix = portrait(index), result[0][None].float()
    if torch.linalg.inv_ex(matrix[:, :, :2]).info == 0:  # else only the points can be moved
        image = warp(image[None].float(), matrix, *SIZES[index])[0]
    return image, transform_points(points[None], matrix)[0]


TURNING = Task(
    right=turning,
    mistakes={
        "turned the other way: y points down, so clockwise is [[cos, -sin], [sin, cos]]":
            lambda degrees, h, w: turning(-degrees, h, w),
        "degrees taken for radians: multiply by pi / 180":
            lambda degrees, h, w: turning(math.degrees(degrees), h, w),
        "turned about the first pixel: the shift that keeps the centre in its place is missing":
            lambda degrees, h, w: _about(degrees, 0, 0),
        "turned about (W / 2, H / 2), half a pixel off: the centre is ((W - 1) / 2, (H - 1) / 2)":
            lambda degrees, h, w: _about(degrees, w / 2, h / 2),
        "the centre's x and y are exchanged": lambda degrees, h, w: turning(degrees, w, h),
        "the shift is missing: expected are 2 rows of 3 numbers":
            lambda *given: turning(*given)[:, :2],
    },
    trial=lambda index: ((20.0, -35.0)[index], *SIZES[index]),
    view=_turned,
)  # fmt: skip


def move_both(images: Tensor, points: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """``augmentation.warp`` and ``crops.transform_points`` by the same matrices."""
    return warp(images, matrices, *images.shape[-2:]), transform_points(points, matrices)


def _moving_points(by: Function) -> Function:
    """``move_both`` whose points are those of ``by(points, matrices)``."""
    return lambda images, points, m: (move_both(images, points, m)[0], by(points, m))


def _first_of_batch(index: int, _: tuple, result: Result) -> tuple[Tensor, Tensor]:
    return result[0][0], result[1][0]


MOVE_BOTH = Task(
    right=move_both,
    mistakes={
        "the points moved, the picture did not":
            lambda images, points, m: (images, transform_points(points, m)),
        "the picture moved, the points did not": _moving_points(lambda points, m: points),
        "the points moved in the opposite direction of the picture":
            _moving_points(lambda points, m: transform_points(points, inverse(m))),
        "the points turned the other way: rows of points are multiplied by the transposed matrix":
            _moving_points(lambda points, m: points @ m[:, :, :2] + m[:, None, :, 2]),
        "the points were turned and not shifted: the matrix's last column is missing":
            _moving_points(lambda points, m: points @ m[:, :, :2].mT),
        "the points were shifted before they were turned":
            _moving_points(lambda points, m: (points + m[:, None, :, 2]) @ m[:, :, :2].mT),
        "the points' x and y are exchanged":
            _moving_points(lambda points, m: transform_points(points, m).flip(-1)),
    },
    trial=lambda index: (
        portrait(index)[0].expand(2, 1, -1, -1).float(), portrait(index)[1].expand(2, -1, -1),
        random_matrices(index, 0.8),
    ),
    view=_first_of_batch,
)  # fmt: skip


def mirror(images: Tensor, points: Tensor, flip_order: Tensor) -> tuple[Tensor, Tensor]:
    """``augmentation.augment`` that only flips; pictures uint8 (B, 1, H, W)."""
    height, width = images.shape[-2:]
    recipe = Recipe(height=height, width=width, flip=1.0)
    images, points = augment(images, points, recipe, flip_order)
    return (images + 0.5) * 255, points


def _same(flip_order: Tensor) -> Tensor:
    """The order that exchanges nothing."""
    return torch.arange(len(flip_order))


def _upside_down(images: Tensor, points: Tensor, flip_order: Tensor) -> tuple[Tensor, Tensor]:
    images, points = mirror(images.mT.contiguous(), points.flip(-1), flip_order)
    return images.mT, points.flip(-1)


def _mirroring_points(by: Function) -> Function:
    """``mirror`` whose points are those of ``by(points, flip_order)``."""
    return lambda images, points, order: (mirror(images, points, order)[0], by(points, order))


MIRROR = Task(
    right=mirror,
    mistakes={
        "mirrored, but left and right not exchanged: points[:, flip_order] renames them":
            lambda images, points, order: mirror(images, points, _same(order)),
        "one pixel off: the mirror image of x is W - 1 - x": lambda images, points, order: (
            mirror(images, points, order)[0],
            mirror(images, points, order)[1] + torch.tensor([1, 0])),
        "the points were mirrored, the picture was not":
            lambda images, points, order: (images, mirror(images, points, order)[1]),
        "the picture was mirrored, the points were not":
            _mirroring_points(lambda points, order: points),
        "left and right exchanged, but the points not mirrored":
            _mirroring_points(lambda points, order: points[:, order]),
        "turned upside down: the picture's last dimension, and x, are to be mirrored":
            _upside_down,
    },
    trial=lambda index: (*(one[None] for one in portrait(index)), IMM_58.flip_order),
    view=_first_of_batch,
    numbered=NUMBERED,
)  # fmt: skip


def nme(predicted: Tensor, truth: Tensor, outer_eyes: tuple[int, int]) -> Tensor:
    """``metrics.nme`` with the eye distance of the truth: (N,) in %."""
    return metrics.nme(predicted, truth, _eye_distance(truth, outer_eyes))


def _eye_distance(points: Tensor, outer_eyes: tuple[int, int]) -> Tensor:
    return replace(IMM_58, outer_eyes=outer_eyes).eye_distance(points)


def _squares(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted - truth).square().sum(dim=-1)  # (N, K)


def _predictions(index: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Faces of several sizes, predicted a few pixels off, and true: (5 or 3, K, 2)."""
    count, (_, points), scheme = ((5, portrait(0), IMM_58), (3, close_up(1), IBUG_68))[index]
    truth = points * (1 + torch.arange(count)[:, None, None] / 3)
    off = 4 * torch.randn(truth.shape, generator=random(index))
    return truth + off, truth, scheme.outer_eyes


NME = Task(
    right=nme,
    mistakes={
        "a fraction, not per cent: multiply by 100": lambda *given: nme(*given) / 100,
        "the sum over the points, not their mean":
            lambda predicted, truth, eyes: nme(predicted, truth, eyes) * truth.shape[1],
        "the mean over the faces: each face is divided by its own eye distance and has its own "
        "number": lambda *given: nme(*given).mean(),
        "one eye distance for all faces: each face is divided by its own":
            lambda predicted, truth, eyes: metrics.nme(
                predicted, truth, _eye_distance(truth, eyes).mean()),
        "the eye distance of the prediction: a bad prediction must not choose its own measure":
            lambda predicted, truth, eyes: metrics.nme(
                predicted, truth, _eye_distance(predicted, eyes)),
        "the error of a coordinate: expected is the distance of a point, the root of dx² + dy²":
            lambda predicted, truth, eyes: 100 * (predicted - truth).abs().mean(dim=(1, 2))
            / _eye_distance(truth, eyes),
        "the root was not taken: dx² + dy² is the square of the distance":
            lambda predicted, truth, eyes: 100 * _squares(predicted, truth).mean(dim=1)
            / _eye_distance(truth, eyes),
        "the root of the mean square: expected is the mean of the distances":
            lambda predicted, truth, eyes: 100 * _squares(predicted, truth).mean(dim=1).sqrt()
            / _eye_distance(truth, eyes),
    },
    trial=_predictions,
)  # fmt: skip


def flip_tta(network: Function, faces: Tensor, flip_order: Tensor) -> Tensor:
    """The mean of a network's prediction and ``inference.predict_flipped``: (B, K, 2)."""
    return (network(faces) + predict_flipped(network, faces, flip_order)) / 2


def _not_mirrored_back(network: Function, faces: Tensor, flip_order: Tensor) -> Tensor:
    """``flip_tta`` that leaves the second prediction where the mirror image shows it."""
    second = predict_flipped(network, faces, flip_order)
    return (network(faces) + second * torch.tensor([-1, 1]) + torch.tensor([1, 0])) / 2


def _network_and_face(index: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that nearly knows ``portrait(index)``, the face (1, 1, H, W), and the order."""
    (image, points), (height, width) = portrait(index), SIZES[index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        last = nn.Linear((height // 6) * (width // 6), 116)
    last.bias.data = to_fractions(points, height, width).flatten()
    last.weight.data *= 0.1
    network = nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), last, nn.Unflatten(1, (58, 2)))
    return network, image[None] / 255 - 0.5, IMM_58.flip_order


FLIP_TTA = Task(
    right=flip_tta,
    mistakes={
        "mirrored back, but left and right not exchanged: predicted[:, flip_order]":
            lambda network, faces, order: flip_tta(network, faces, _same(order)),
        "exchanged, but not mirrored back: x becomes 1 - x": _not_mirrored_back,
        "the prediction for the mirror image was taken as it is: mirror it back and exchange left "
        "and right":
            lambda network, faces, order: _not_mirrored_back(network, faces, _same(order)),
        "the sum of both predictions, not their mean": lambda *given: 2 * flip_tta(*given),
        "the prediction for the mirror image alone: expected is the mean of both": predict_flipped,
        "the prediction for the face alone: the mirror image is missing":
            lambda network, faces, order: network(faces),
        "the picture was turned upside down: mirror its last dimension":
            lambda network, faces, order: (network(faces) + predict_flipped(
                lambda seen: network(seen.flip(-1, -2)), faces, order)) / 2,
    },
    trial=_network_and_face,
    view=lambda index, given, result: (portrait(index)[0], to_pixels(result[0][0], *SIZES[index])),
    numbered=NUMBERED,
)  # fmt: skip

TASKS = (TURNING, MOVE_BOTH, MIRROR, NME, FLIP_TTA)
