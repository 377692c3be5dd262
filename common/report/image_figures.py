"""Figures that are made of pictures: faces with their keypoints, overlays, kernels, feature maps.

Keypoints are (…, K, 2) in pixels of the picture that they are drawn on; ``figures`` sets the style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill

import matplotlib.patheffects as effects
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from common.faces import landmark_boxes
from common.keypoints import Scheme
from common.report.figures import FEW, ORANGE, SKY, WIDTH, draw_lines

HEAT = "plasma"  # purple for little, yellow for much
SIGNED = "PuOr_r"  # orange for positive, purple for negative, white for zero
SHEET = {  # words beside photos: white on black, on a page of either colour
    "figure.facecolor": "black",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color"), "white"),
}


def face(
    image: Tensor,
    truth: Tensor,
    scheme: Scheme,
    point_ids: Sequence[int],
    predicted: Tensor | None = None,
    around: Tensor | None = None,
) -> Figure:
    """One face, its true points as rings and, where given, the predicted ones as crosses.

    image: (H, W), uint8, or float in -0.5..0.5.
    truth, predicted: (k, 2), the points ``point_ids`` of the scheme.
    around: points (M, 2); the picture is cropped to a square about them.
    """
    left, top, right, bottom = square_around(around, *image.shape[::-1])
    size = 2.6  # inches
    figure = Figure(figsize=(size, size * (bottom - top) / (right - left)))
    axes = figure.add_axes((0, 0, 1, 1))
    _show(axes, image, around, "nearest")
    mark_size = 10.0
    if len(point_ids) >= FEW:  # as large as the face on the page leaves room for
        extent = landmark_boxes(truth[None])[0, 2:].max().item()
        mark_size = min(max(0.03 * 72 * size * extent / (right - left), 1.5), 4.0)
    line_width = max(mark_size / 5, 0.6)
    outline = [effects.withStroke(linewidth=line_width + 1.2, foreground="black")]
    if predicted is None:
        draw_lines(axes, truth, scheme, point_ids, color="white", linewidth=0.8, alpha=0.7)
    else:
        between = torch.stack([truth, predicted], dim=1).numpy()  # (k, 2, 2)
        axes.add_collection(LineCollection(between, color="white", linewidth=0.9))
    marks = {"markeredgewidth": line_width, "path_effects": outline}
    _rings(axes, truth, markersize=mark_size, **marks)
    if predicted is not None:
        _crosses(axes, predicted, markersize=0.8 * mark_size, **marks)
    return figure


def square_around(
    points: Tensor | None, width: int, height: int
) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a square 1.4 times as wide as the points, within the picture; of
    the whole picture without points."""
    if points is None:
        return -0.5, -0.5, width - 0.5, height - 0.5
    points = points[points.isfinite().all(dim=-1)]
    low, high = points.amin(dim=0), points.amax(dim=0)  # (2,), (2,)
    side = min(1.4 * (high - low).max().item(), width, height)
    left, top = ((low + high - side) / 2).tolist()
    left = min(max(left, -0.5), width - 0.5 - side)
    top = min(max(top, -0.5), height - 0.5 - side)
    return left, top, left + side, top + side


@rc_context(SHEET)
def same_faces(
    images: Tensor,
    truth: Tensor,
    predictions: Mapping[str, Tensor],
    around: Sequence[Tensor] | None = None,
) -> Figure:
    """Each face in a row, its true points as rings, and each network's prediction in a column.

    images: uint8 (N, H, W).
    truth: (N, K, 2) pixels.
    predictions: the same by the network's name.
    around: of each face points (M, 2); its picture is cropped to a square about them.
    """
    rows, columns = len(images), len(predictions)
    side = WIDTH / columns
    figure = Figure(figsize=(WIDTH, rows * side + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.subplots(rows, columns, squeeze=False)
    mark = {"markersize": 1 + 1.6 * side, "markeredgewidth": 0.3 + 0.2 * side}
    for column, (name, predicted) in enumerate(predictions.items()):
        grid[0][column].set_title(fill(name, 11), fontsize=8)
        for row in range(rows):
            axes = grid[row][column]
            _show(axes, images[row], None if around is None else around[row])
            _rings(axes, truth[row], **mark)
            _crosses(axes, predicted[row], **mark)
    return figure


@rc_context(SHEET)
def names(
    faces: Mapping[str, tuple[Tensor, Tensor]], left: Sequence[int], right: Sequence[int]
) -> Figure:
    """Faces side by side, pictures (H, W) of 0..255 and points (K, 2) in their pixels by their
    titles: the points ``left`` as rings, ``right`` as crosses."""
    part = WIDTH / len(faces)
    figure = Figure(figsize=(WIDTH, part + 0.4), layout="constrained")
    mark = {"markersize": 1.5 + part, "markeredgewidth": 0.8}
    row = figure.subplots(1, len(faces), squeeze=False)[0]
    for axes, (title, (image, points)) in zip(row, faces.items(), strict=True):
        _show(axes, image.to(torch.uint8), points)
        _rings(axes, points[list(left)], **mark)
        _crosses(axes, points[list(right)], **mark)
        axes.set_title(fill(title, 16), fontsize=9)
    return figure


@dataclass(frozen=True)
class Overlay:
    """What is laid over a picture from edge to edge."""

    label: str  # name and unit of the values
    values: Tensor  # (rows, columns), none negative
    square: tuple[Tensor, tuple[float, float]] | None = None  # a frame: middle (2,), sides, pixels


@rc_context(SHEET)
def overlays(image: Tensor, point: Tensor, layers: Sequence[Overlay]) -> Figure:
    """One face, (H, W) in -0.5..0.5, side by side under each of several overlays, whose low values
    let it show through; a ring marks the point (2,)."""
    height, width = image.shape
    part = WIDTH / max(len(layers), 2)
    size = part * len(layers), part * height / width + 0.6
    figure = Figure(figsize=size, layout="constrained")
    box = (-0.5, width - 0.5, height - 0.5, -0.5)
    outline = [effects.withStroke(linewidth=2.6, foreground="black")]
    for axes, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        _show(axes, image)
        values, largest = layer.values.numpy(), max(layer.values.max().item(), 1e-6)
        shown = {"cmap": HEAT, "vmin": 0, "vmax": largest, "interpolation": "bilinear"}
        axes.imshow(values, alpha=0.85 * values / largest, extent=box, **shown)
        _rings(axes, point[None], path_effects=outline)
        if layer.square is not None:
            middle, sides = layer.square
            corner = middle - torch.tensor(sides) / 2
            look = {"edgecolor": SKY, "linestyle": "--", "path_effects": outline}
            axes.add_patch(Rectangle(corner.tolist(), *sides, fill=False, **look))
        scale = ScalarMappable(Normalize(0, largest), HEAT)
        figure.colorbar(scale, ax=axes, label=layer.label, location="bottom", pad=0.02)
    return figure


def kernels(weight: Tensor) -> Figure:
    """Kernels (out, in, h, w) of a convolution as tiles: orange positive, purple negative. Of one
    input channel eight are in a row; of more a row shows a kernel's first eight channels."""
    count, channels, height, width = weight.shape
    rows = ceil(count / 8) if channels == 1 else count
    tiles = torch.full((rows, 8, height + 1, width + 1), torch.nan)  # one pixel between two
    if channels == 1:
        tiles.flatten(0, 1)[:count, :height, :width] = weight[:, 0]
    else:
        tiles[:, :channels, :height, :width] = weight[:, :8]
    board = tiles.transpose(1, 2)  # (rows, h + 1, 8, w + 1)
    board = board.reshape(rows * (height + 1), 8 * (width + 1))[:-1, :-1]
    figure = Figure(figsize=(WIDTH, WIDTH * board.shape[0] / board.shape[1]))
    _signed(figure.add_axes((0, 0, 1, 1)), board)
    return figure


def responses(kernels: Tensor | None, maps: Tensor, names: Sequence[str]) -> Figure:
    """Feature maps of one face, four in a row, each below its kernel; colours span its own range.

    kernels: (n, h, w), or None where a kernel has many channels.
    maps: (n, H, W), the outputs of the convolution: orange positive, purple negative.
    """
    columns, step = 4, 1 if kernels is None else 2
    rows, aspect = ceil(len(maps) / columns), maps.shape[1] / maps.shape[2]
    heights = [0.45, aspect][-step:] * rows
    figure = Figure(figsize=(WIDTH, WIDTH / columns * sum(heights) * 1.3), layout="constrained")
    ratios = {"height_ratios": heights}
    grid = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw=ratios)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        pair = grid[row * step : (row + 1) * step, column]
        pair[0].set_title(name, fontsize=9)
        if kernels is not None:
            _signed(pair[0], kernels[index])
        _signed(pair[-1], maps[index])
    return figure


def shows_photo(figure: Figure) -> bool:
    """Whether a picture of a face is in it: the only ones that are drawn in grey."""
    pictures = (picture for axes in figure.axes for picture in axes.images)
    return any(picture.get_cmap().name == "gray" for picture in pictures)


def _show(
    axes: Axes, image: Tensor, around: Tensor | None = None, interpolation: str | None = None
) -> None:
    """A grey picture (H, W), uint8 or float in -0.5..0.5, without axes."""
    low, high = (0, 255) if image.dtype == torch.uint8 else (-0.5, 0.5)
    pixels = image.cpu().numpy()
    axes.imshow(pixels, cmap="gray", vmin=low, vmax=high, interpolation=interpolation)
    left, top, right, bottom = square_around(around, *image.shape[::-1])
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_axis_off()


def _rings(axes: Axes, points: Tensor, **style: object) -> None:
    look = {"linestyle": "", "marker": "o", "markerfacecolor": "none", "color": SKY}
    axes.plot(*points.T.numpy(), **look, **style)


def _crosses(axes: Axes, points: Tensor, **style: object) -> None:
    axes.plot(*points.T.numpy(), linestyle="", marker="x", color=ORANGE, **style)


def _signed(axes: Axes, values: Tensor) -> None:
    """Values (H, W) as a picture, colours symmetric about zero; NaN stays empty."""
    largest = values.nan_to_num().abs().max().item()
    axes.imshow(values.numpy(), cmap=SIGNED, vmin=-largest, vmax=largest)
    axes.set_axis_off()
