"""Synthetic faces for the trials, and pictures of what went wrong with them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache, partial

import matplotlib.patheffects as effects
import torch
from matplotlib.figure import Figure
from torch import Tensor

from common.augmentation import affine_matrices, grey
from common.crops import to_fractions, to_pixels
from common.keypoints import IBUG_68, IMM_58
from datasets.synthetic.render import render

Face = Callable[[int], tuple[Tensor, Tensor]]  # a trial's number -> picture and points
View = Callable[[int, tuple[Tensor, ...]], tuple[Tensor, Tensor]]  # and result -> the same

SIZES = ((90, 120), (76, 96))  # (H, W) of the face of each trial
SCHEMES = {"portrait": IMM_58, "crop": IBUG_68}
RIGHT, YOURS = "#00D68F", "#FF4A3D"  # on a grey picture; a ring and a cross, so shapes differ too
WIDTH, DPI = 7.2, 160  # inches and dots per inch


_student = {"seed": 0}


def seed_trials(student: str | None) -> int:
    """Give a student trials of his own, other faces and numbers; returns the seed.

    student: any name; None for the trials that everybody has.
    """
    _student["seed"] = zlib.crc32(student.encode()) % 10_000 if student else 0
    _render.cache_clear()
    return _student["seed"]


def seeded(number: int) -> int:
    """The seed of the random numbers called ``number``, of the student whose trials these are."""
    return number + 1000 * _student["seed"]


@lru_cache
def _render(setting: str, seeds: tuple[int, int], index: int) -> tuple[Tensor, Tensor]:
    """The face of trial ``index``: grey uint8 (1, H, W) and points (K, 2)."""
    images, points, _ = render([seeded(seeds[index])], SCHEMES[setting], setting, SIZES[index])
    return grey(images.float())[0].round().byte(), points[0]


portrait: Face = partial(_render, "portrait", (24, 43))  # head and shoulders, 58 points
close_up: Face = partial(_render, "crop", (4242, 6))  # as in 300-W, 68 points


def fractions(face: Face, index: int) -> Tensor:
    """The points of the face of trial ``index`` as fractions, (K, 2)."""
    return to_fractions(face(index)[1], *SIZES[index])


def points_on(face: Face, convert: Callable[[Tensor, int, int], Tensor] | None = None) -> View:
    """Show the points of a result, of a batch the first, on the face of its trial. convert: makes
    pixels of what the task returns, height and width; None if these are pixels."""

    def view(index: int, result: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        image, points = face(index)
        shown = result[0].reshape(-1, *points.shape)[0]  # (K, 2)
        return image, convert(shown, *SIZES[index]) if convert else shown

    return view


fractions_on = partial(points_on, convert=to_pixels)


def random(seed: int) -> torch.Generator:
    """Random numbers that are the same in every check of a student."""
    return torch.Generator().manual_seed(seeded(seed))


def transforms(index: int, scale: float) -> Tensor:
    """Two matrices (2, 2, 3) that turn, scale by ``scale`` to ``scale + 0.2`` and shift the pixels
    of the face of trial ``index``."""
    generator, (height, width) = random(index), SIZES[index]
    angle = torch.tensor([1, -1]) * (0.2 + 0.2 * torch.rand(2, generator=generator))  # radians
    scales = scale + 0.2 * torch.rand(2, generator=generator)
    shift = 16 * torch.rand(2, 2, generator=generator) - 8  # pixels
    unflipped, side = torch.zeros(2, dtype=torch.bool), torch.tensor([width, height])
    return affine_matrices(angle, scales, shift, unflipped, side)


def side_by_side(
    right: tuple[Tensor, Tensor], yours: tuple[Tensor, Tensor], numbered: tuple[int, ...] = ()
) -> Figure:
    """A face with the right points, and beside it the learner's picture and points.

    right, yours: picture (1, H, W), values 0..255, and points (K, 2) in its pixels.
    numbered: points whose number is drawn.
    """
    size = torch.tensor([right[0].shape[-1], right[0].shape[-2]])
    shown = yours[1].nan_to_num().clamp(-0.25 * size, 1.25 * size)  # (K, 2), far ones at the edge
    beyond = int((shown != yours[1]).any(dim=1).sum())
    both = torch.cat([right[1], shown])
    (left, top), (end, bottom) = both.amin(0) - 0.06 * size, both.amax(0) + 0.06 * size
    height = WIDTH / 2 * float((bottom - top) / (end - left)) + 0.9  # inches, with room for words
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    dark, bright = right[0].aminmax()
    edge = {"path_effects": [effects.withStroke(linewidth=2.4, foreground="black")]}
    box = {"facecolor": "black", "edgecolor": "none", "pad": 1, "alpha": 0.6}
    rings = {"color": RIGHT, "mfc": "none", "ms": 4, "label": "right points"} | edge
    label = f"your points, {beyond} of them far beyond" if beyond else "your points"
    expected, given = figure.subplots(1, 2)
    for axes, title, picture, points, colour in (
        (expected, "expected", right[0], right[1], RIGHT),
        (given, "yours", yours[0], shown, YOURS),
    ):
        axes.imshow(picture[0].numpy(), cmap="gray", vmin=dark, vmax=bright)
        axes.plot(*right[1].T.numpy(), "o", **rings)
        for index in numbered:
            axes.text(*points[index], f" {index}", color=colour, fontsize=9, bbox=box)
        axes.set(xlim=(left, end), ylim=(bottom, top), title=title, facecolor="black")
        axes.set(xticks=[], yticks=[])
    lines = torch.stack([right[1], shown]).permute(2, 0, 1)  # (2, 2, K): x of both, y of both
    given.plot(*lines.numpy(), color="white", linewidth=0.6, alpha=0.8)
    given.plot(*shown.T.numpy(), "x", color=YOURS, ms=4, label=label, **edge)
    figure.legend(*given.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
