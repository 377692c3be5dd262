"""The tasks of part 2, and the mistakes that are known by name."""

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
from exercises.faces import SIZES, close_up, portrait, random, side_by_side
from exercises.judge import Function, Task

NAMED = (0, 12, 13, 21, 39, 43)  # ends of the jaw, outer eye corners, corners of the mouth

# The matrix that turns


def turning(degrees: float, height: int, width: int) -> Tensor:
    """``augmentation.moves`` of one turn about a picture's centre: (2, 3)."""
    angle, still = torch.tensor([math.radians(degrees)]), torch.zeros(1, 2)
    side = torch.tensor([width, height])
    return affine_matrices(angle, torch.ones(1), still, torch.tensor([False]), side)[0]


def _about(degrees: float, x: float, y: float) -> Tensor:
    """A turn about the point (x, y): what ``turning`` is for the point in the centre."""
    return turning(degrees, int(2 * y + 1), int(2 * x + 1))


TURNING = Task(
    name="turning",
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
        "the shift is missing: asked are 2 rows of 3 numbers":
            lambda *asked: turning(*asked)[:, :2],
    },
    trials=lambda: [(20.0, *SIZES[0]), (-35.0, *SIZES[1])],
    picture=lambda index, asked, right, yours: side_by_side(
        *(
            (_warped(portrait(index)[0], right[0]), _moved(portrait(index)[1], answer[0]))
            for answer in (right, yours)
        )
    ),
)  # fmt: skip


def _warped(image: Tensor, matrix: Tensor) -> Tensor:
    return warp(image[None].float(), matrix[None].float(), *image.shape[-2:])[0]


def _moved(points: Tensor, matrix: Tensor) -> Tensor:
    return transform_points(points[None], matrix[None].float())[0]


# Picture and points together


def move_both(images: Tensor, points: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """``augmentation.warp`` and ``crops.move`` by the same matrices."""
    return warp(images, matrices, *images.shape[-2:]), transform_points(points, matrices)


def _two_moves(index: int) -> tuple[Tensor, Tensor, Tensor]:
    """A face twice, (2, 1, H, W) and (2, 58, 2), and how each is to be moved."""
    (image, points), (height, width) = portrait(index), SIZES[index]
    chance = random(index)
    angle = torch.tensor([1, -1]) * (0.2 + 0.2 * torch.rand(2, generator=chance))  # radians
    size = 0.8 + 0.3 * torch.rand(2, generator=chance)
    shift = 16 * torch.rand(2, 2, generator=chance) - 8  # pixels
    side = torch.tensor([width, height])
    matrices = affine_matrices(angle, size, shift, torch.zeros(2, dtype=torch.bool), side)
    return image.expand(2, 1, -1, -1).float(), points.expand(2, -1, -1), matrices


MOVE_BOTH = Task(
    name="move_both",
    right=move_both,
    mistakes={
        "the points moved, the picture did not":
            lambda images, points, m: (images, transform_points(points, m)),
        "the picture moved, the points did not":
            lambda images, points, m: (warp(images, m, *images.shape[-2:]), points),
        "the points went the other way than the picture":
            lambda images, points, m: (warp(images, m, *images.shape[-2:]),
                                       transform_points(points, inverse(m))),
        "the points turned the other way: rows of points are multiplied by the transposed matrix":
            lambda images, points, m: (warp(images, m, *images.shape[-2:]),
                                       points @ m[:, :, :2] + m[:, None, :, 2]),
        "the points were turned and not shifted: the matrix's last column is missing":
            lambda images, points, m: (warp(images, m, *images.shape[-2:]),
                                       points @ m[:, :, :2].mT),
        "the points were shifted before they were turned":
            lambda images, points, m: (warp(images, m, *images.shape[-2:]),
                                       (points + m[:, None, :, 2]) @ m[:, :, :2].mT),
        "the points' x and y are exchanged":
            lambda images, points, m: (warp(images, m, *images.shape[-2:]),
                                       transform_points(points, m).flip(-1)),
    },
    trials=lambda: [_two_moves(index) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: side_by_side(
        (right[0][0], right[1][0]), (yours[0][0], yours[1][0])
    ),
)  # fmt: skip


# The mirror


def mirror(images: Tensor, points: Tensor, flip_order: Tensor) -> tuple[Tensor, Tensor]:
    """``augmentation.augment`` with nothing but the mirror; pictures uint8 (B, 1, H, W)."""
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


def _mirror_points(
    images: Tensor, points: Tensor, flip_order: Tensor, width: int | None = None
) -> Tensor:
    """The mirrored points alone, as if the picture were ``width`` wide."""
    wide = images[..., :1].expand(*images.shape[:-1], width or images.shape[-1])
    return mirror(wide, points, flip_order)[1]


MIRROR = Task(
    name="mirror",
    right=mirror,
    mistakes={
        "mirrored, but left and right not exchanged: points[:, flip_order] renames them":
            lambda images, points, order: mirror(images, points, _same(order)),
        "one pixel off: the mirror image of x is W - 1 - x":
            lambda images, points, order: (
                mirror(images, points, order)[0],
                _mirror_points(images, points, order, images.shape[-1] + 1),
            ),
        "the points were mirrored, the picture was not":
            lambda images, points, order: (images, mirror(images, points, order)[1]),
        "the picture was mirrored, the points were not":
            lambda images, points, order: (mirror(images, points, order)[0], points),
        "left and right exchanged, but the points not mirrored":
            lambda images, points, order: (mirror(images, points, order)[0], points[:, order]),
        "turned upside down: the picture's last dimension, and x, are to be mirrored":
            _upside_down,
    },
    trials=lambda: [
        (portrait(index)[0][None], portrait(index)[1][None], IMM_58.flip_order)
        for index in range(len(SIZES))
    ],
    picture=lambda index, asked, right, yours: side_by_side(
        (right[0][0], right[1][0]), (yours[0][0], yours[1][0]), NAMED
    ),
)  # fmt: skip


# The error that papers quote


def nme(predicted: Tensor, truth: Tensor, outer_eyes: tuple[int, int]) -> Tensor:
    """``metrics.nme`` with the eye distance of the truth: (N,) in %."""
    return metrics.nme(predicted, truth, _eye_distance(truth, outer_eyes))


def _eye_distance(points: Tensor, outer_eyes: tuple[int, int]) -> Tensor:
    return replace(IMM_58, outer_eyes=outer_eyes).eye_distance(points)


def _answers(seed: int, count: int, truth: Tensor) -> tuple[Tensor, Tensor]:
    """``count`` faces of several sizes, (count, K, 2), and answers a few pixels off."""
    sizes = 1 + torch.arange(count)[:, None, None] / 3
    off = 4 * torch.randn(count, *truth.shape, generator=random(seed))
    return truth * sizes + off, truth * sizes


NME = Task(
    name="nme",
    right=nme,
    mistakes={
        "a share, not per cent: multiply by 100": lambda *asked: nme(*asked) / 100,
        "the sum over the points, not their mean":
            lambda predicted, truth, eyes: nme(predicted, truth, eyes) * truth.shape[1],
        "mean over faces of sums, not of means: each face is divided by its own eye distance, and "
        "answered by itself": lambda *asked: nme(*asked).mean(),
        "one eye distance for all faces: each face is divided by its own":
            lambda predicted, truth, eyes: metrics.nme(
                predicted, truth, _eye_distance(truth, eyes).mean()),
        "the eye distance of the prediction: a bad answer must not choose its own measure":
            lambda predicted, truth, eyes: metrics.nme(
                predicted, truth, _eye_distance(predicted, eyes)),
        "the error of a coordinate: asked is the distance of a point, the root of dx² + dy²":
            lambda predicted, truth, eyes: 100 * (predicted - truth).abs().mean(dim=(1, 2))
            / _eye_distance(truth, eyes),
        "the root was not taken: dx² + dy² is the square of the distance":
            lambda predicted, truth, eyes: 100 * (predicted - truth).square().sum(-1).mean(-1)
            / _eye_distance(truth, eyes),
        "the root of the mean square: asked is the mean of the distances":
            lambda predicted, truth, eyes: 100 * (predicted - truth).square().sum(-1).mean(-1)
            .sqrt() / _eye_distance(truth, eyes),
    },
    trials=lambda: [
        (*_answers(1, 5, portrait(0)[1]), IMM_58.outer_eyes),
        (*_answers(2, 3, close_up(1)[1]), IBUG_68.outer_eyes),
    ],
)  # fmt: skip


# Two answers for one face


def flip_tta(network: Function, faces: Tensor, flip_order: Tensor) -> Tensor:
    """The mean of a network's answer and ``prediction.mirrored``: (B, K, 2)."""
    return (network(faces) + predict_flipped(network, faces, flip_order)) / 2


def _as_answered(network: Function, faces: Tensor, flip_order: Tensor) -> Tensor:
    """The mirror image's answer, exchanged, but left where the mirror shows it."""
    return predict_flipped(network, faces, flip_order) * torch.tensor([-1, 1]) + torch.tensor(
        [1, 0]
    )


def _answering(index: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that nearly knows ``portrait(index)``, the face (1, 1, H, W), and the order."""
    (image, points), (height, width) = portrait(index), SIZES[index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        last = nn.Linear((height // 6) * (width // 6), 116)
    last.bias.data = to_fractions(points, height, width).flatten()
    last.weight.data *= 0.1
    network = nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), last, nn.Unflatten(1, (58, 2)))
    return network, image[None] / 255 - 0.5, IMM_58.flip_order


FLIP_AVERAGE = Task(
    name="flip_average",
    right=flip_tta,
    mistakes={
        "mirrored back, but left and right not exchanged: answer[:, flip_order]":
            lambda network, faces, order: flip_tta(network, faces, _same(order)),
        "exchanged, but not mirrored back: x becomes 1 - x":
            lambda *asked: (asked[0](asked[1]) + _as_answered(*asked)) / 2,
        "the answer for the mirror image was taken as it is: mirror it back and exchange left and "
        "right": lambda network, faces, order: (
            network(faces) + _as_answered(network, faces, _same(order))) / 2,
        "the sum of both answers, not their mean": lambda *asked: 2 * flip_tta(*asked),
        "the answer for the mirror image alone: asked is the mean of both": predict_flipped,
        "the answer for the face alone: the mirror image is missing":
            lambda network, faces, order: network(faces),
        "the picture was turned upside down: mirror its last dimension":
            lambda network, faces, order: (network(faces) + predict_flipped(
                lambda seen: network(seen.flip(-1, -2)), faces, order)) / 2,
    },
    trials=lambda: [_answering(index) for index in range(len(SIZES))],
    picture=lambda index, asked, right, yours: side_by_side(
        *(
            (portrait(index)[0], to_pixels(answer[0][0], *SIZES[index]))
            for answer in (right, yours)
        ),
        NAMED,
    ),
)  # fmt: skip

TASKS = (TURNING, MOVE_BOTH, MIRROR, NME, FLIP_AVERAGE)
