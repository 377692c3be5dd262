"""Drawn faces to ask about, and pictures of what went wrong with them."""

from __future__ import annotations

from functools import lru_cache

import matplotlib.patheffects as effects
import torch
from matplotlib.figure import Figure
from torch import Tensor

from common.augmentation import grey
from common.keypoints import IBUG_68, IMM_58
from datasets.synthetic.render import render

SIZES = ((90, 120), (76, 96))  # (H, W) of the faces that are asked about
PORTRAITS, CLOSE_UPS = (24, 43), (4242, 6)  # their seeds
RIGHT, YOURS = "#00D68F", "#FF4A3D"  # on a grey picture; a ring and a cross, so shapes differ too
WIDTH, DPI = 7.2, 160  # inches and dots per inch


@lru_cache(maxsize=8)
def portrait(index: int) -> tuple[Tensor, Tensor]:
    """Head and shoulders number ``index`` of SIZES: grey uint8 (1, H, W) and points (58, 2)."""
    return _grey(render([PORTRAITS[index]], IMM_58, "portrait", SIZES[index]))


@lru_cache(maxsize=8)
def close_up(index: int) -> tuple[Tensor, Tensor]:
    """A face as in 300-W, number ``index`` of SIZES: grey uint8 (1, H, W) and points (68, 2)."""
    return _grey(render([CLOSE_UPS[index]], IBUG_68, "crop", SIZES[index]))


def _grey(drawn: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    images, points, _ = drawn
    return grey(images.float())[0].round().byte(), points[0]


def random(seed: int) -> torch.Generator:
    """Random numbers that are the same in every check."""
    return torch.Generator().manual_seed(seed)


def side_by_side(
    right: tuple[Tensor, Tensor], yours: tuple[Tensor, Tensor], named: tuple[int, ...] = ()
) -> Figure:
    """A face with the right points, and beside it the learner's picture and points.

    right, yours: picture (1, H, W), values 0..255, and points (K, 2) in its pixels. named: points
    whose number is written beside them.
    """
    size = torch.tensor([right[0].shape[-1], right[0].shape[-2]])
    limits = torch.stack([-0.25 * size, 1.25 * size])
    shown = yours[1].nan_to_num().clamp(*limits)  # (K, 2), far away is drawn at the edge
    beyond = int((shown != yours[1]).any(dim=1).sum())
    both = torch.cat([right[1], shown])
    low, high = both.amin(dim=0) - 0.06 * size, both.amax(dim=0) + 0.06 * size
    (left, top), (end, bottom) = low.tolist(), high.tolist()
    height = WIDTH / 2 * (bottom - top) / (end - left) + 0.9  # inches, with room for words
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    dark, bright = right[0].aminmax()
    edge = {"path_effects": [effects.withStroke(linewidth=2.4, foreground="black")]}
    for axes, title, (picture, _) in zip(
        figure.subplots(1, 2), ("asked", "yours"), (right, yours), strict=True
    ):
        axes.imshow(picture[0].numpy(), cmap="gray", vmin=dark, vmax=bright)
        axes.plot(
            *right[1].T.numpy(), "o", color=RIGHT, mfc="none", ms=4, label="right points", **edge
        )
        if title == "yours":
            for ends in torch.stack([right[1], shown], dim=2):  # (2, 2): x of both, y of both
                axes.plot(*ends.numpy(), color="white", linewidth=0.6, alpha=0.8)
            label = f"your points, {beyond} of them far beyond" if beyond else "your points"
            axes.plot(*shown.T.numpy(), "x", color=YOURS, ms=4, label=label, **edge)
        for index in named:
            place = (right[1] if title == "asked" else shown)[index]
            colour = RIGHT if title == "asked" else YOURS
            box = {"facecolor": "black", "edgecolor": "none", "pad": 1, "alpha": 0.6}
            axes.text(*place.tolist(), f" {index}", color=colour, fontsize=9, bbox=box)
        axes.set(xlim=(left, end), ylim=(bottom, top), title=title, facecolor="black")
        axes.set(xticks=[], yticks=[])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
