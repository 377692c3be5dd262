"""The figures of a report: short functions, data in, matplotlib ``Figure`` out.

They use matplotlib's objects and never pyplot, so no display and no global state is involved.
Colours are from Okabe and Ito's palette for the colour-blind (https://jfly.uni-koeln.de/color/);
truth is a ring and a prediction a cross, so that the two differ in shape as well. Keypoints are
(…, K, 2) in pixels of the picture that they are drawn on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from pathlib import Path
from textwrap import fill

import matplotlib.patheffects as effects
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from common.keypoints import Scheme, neighbours
from common.system.files import write_atomically

BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#595959"
SKY = "#56B4E9"  # bright enough to be seen on a dark photo
MANY = (BLUE, ORANGE, "#009E73", VERMILION, "#CC79A7", GREY)  # for several networks
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))  # told apart without colour
HEAT = "plasma"  # purple for little, yellow for much
SIGNED = "PuOr_r"  # orange for positive, purple for negative, white for none
FEW = 8  # points; fewer are drawn large, each with its scatter
WIDTH, DPI = 4.6, 180  # inches and dots per inch: 10 pt letters are 11 px on a phone


def save(figure: Figure, path: Path, mark: str = "") -> tuple[int, int]:
    """Write a PNG of at most 256 colours and return its width and height in pixels.

    ``mark`` is written into the lower right corner, for figures that could be mistaken.
    """
    if mark:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
        where = {"x": 0.99, "y": 0.01, "ha": "right", "va": "bottom"}
        figure.text(s=mark, color=VERMILION, fontsize=8, bbox=box, **where)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=DPI)
    with Image.open(drawn) as picture:
        # A third of the bytes. Maximum coverage keeps every colour within 3 of 255; the usual
        # median cut gives up the few coloured marks for more greys.
        small = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=0)
    write_atomically(path, lambda file: small.save(file, "PNG", optimize=True))
    return small.size


def face(
    image: Tensor,
    truth: Tensor,
    scheme: Scheme,
    kept: Sequence[int],
    predicted: Tensor | None = None,
    around: Tensor | None = None,
) -> Figure:
    """One face, its true points as rings and, where given, the predicted ones as crosses.

    image: (H, W), uint8, or float in -0.5..0.5. truth, predicted: (k, 2), the points ``kept`` of
    the scheme. ``around``: points (K, 2); the picture is cut to a square about them.
    """
    height, width = image.shape
    left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
    if around is not None:
        left, top, right, bottom = square_around(around, width, height)
    size = 2.6  # inches
    figure = Figure(figsize=(size, size * (bottom - top) / (right - left)))
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = (0, 255) if image.dtype == torch.uint8 else (-0.5, 0.5)
    axes.imshow(image.cpu().numpy(), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    mark_size = 10.0
    if len(kept) >= FEW:  # as large as the face on the page leaves room for
        extent = (truth.amax(dim=0) - truth.amin(dim=0)).max().item()
        mark_size = min(max(0.03 * 72 * size * extent / (right - left), 1.5), 4.0)
    line_width = max(mark_size / 5, 0.6)
    outline = [effects.withStroke(linewidth=line_width + 1.2, foreground="black")]
    if predicted is None:
        _draw_lines(axes, truth, scheme, kept, color="white", linewidth=0.8, alpha=0.7)
    else:
        for start, end in zip(truth, predicted, strict=True):
            axes.plot(*torch.stack([start, end], dim=1).numpy(), color="white", linewidth=0.9)
    marks = {"linestyle": "", "markeredgewidth": line_width, "path_effects": outline}
    ring = {"marker": "o", "markerfacecolor": "none", "markersize": mark_size}
    axes.plot(*truth.T.numpy(), color=SKY, **ring, **marks)
    if predicted is not None:
        axes.plot(
            *predicted.T.numpy(), color=ORANGE, marker="x", markersize=0.8 * mark_size, **marks
        )
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_axis_off()
    return figure


def square_around(points: Tensor, width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a square 1.4 times as wide as the points, kept in the picture."""
    low, high = points.amin(dim=0), points.amax(dim=0)  # (2,), (2,)
    side = min(1.4 * (high - low).max().item(), width, height)
    left, top = ((low + high - side) / 2).tolist()
    left = min(max(left, -0.5), width - 0.5 - side)
    top = min(max(top, -0.5), height - 0.5 - side)
    return left, top, left + side, top + side


def learning_curves(history: list[dict[str, float]], baseline: dict[str, float]) -> Figure:
    """Losses and, below, the validation NME over the epochs, both logarithmic.

    history: one dict per epoch with ``epoch``, ``train_loss``, ``validation_loss`` and
    ``validation_nme``. baseline: ``loss`` and ``nme`` of always answering the mean face; a line
    is drawn for each that is there.
    """
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    epochs = [row["epoch"] for row in history]
    dot = "o" if len(history) < 3 else ""  # a line through a single epoch would not be seen
    for name, key, colour, line in (
        ("training", "train_loss", BLUE, "-"),
        ("validation", "validation_loss", ORANGE, "--"),
    ):
        losses = [row[key] for row in history]
        above.plot(epochs, losses, line, marker=dot, color=colour, label=name)
    nme = [row["validation_nme"] for row in history]
    below.plot(epochs, nme, "--", marker=dot, color=ORANGE, label="validation")
    for axes, key, name in ((above, "loss", "loss"), (below, "nme", "NME, % of eye distance")):
        if key in baseline:
            axes.axhline(baseline[key], color=GREY, linestyle=":", label="mean face")
        axes.set(yscale="log", ylabel=name)
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=9)
        _plain_log_ticks(axes)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def cumulative_error(curves: dict[str, Tensor], limit: float = 8.0) -> Figure:
    """For every error, the share of faces that stay below it.

    curves: name -> NME (N,) in %; the first is the network's, the area under it up to ``limit``
    is shaded. The axis ends at twice the limit, or where 19 of 20 of its faces are shown.
    """
    figure, axes = _plot(3.6)
    for (name, nme), colour, line in zip(
        curves.items(), (BLUE, GREY, VERMILION), ("-", ":", "--"), strict=False
    ):
        errors = np.concatenate([[0], np.sort(nme.numpy()), [max(2 * limit, nme.max())]])
        share = 100 * np.minimum(np.arange(len(errors)) / len(nme), 1)
        axes.step(errors, share, where="post", color=colour, linestyle=line, label=name)
        if colour == BLUE:
            below = errors <= limit
            edges, under = np.append(errors[below], limit), share[below]
            under = np.append(under, under[-1])
            axes.fill_between(edges, under, step="post", color=colour, alpha=0.12)
    axes.axvline(limit, color=VERMILION, linewidth=1)
    axes.text(limit, 104, f"failed beyond {limit:g} %", color=VERMILION, fontsize=9, ha="center")
    end = max(2 * limit, 1.1 * next(iter(curves.values())).double().quantile(0.95).item())
    axes.set(xlim=(0, end), ylim=(0, 102))
    axes.set(xlabel="NME, % of eye distance", ylabel="share of test faces, %")
    axes.legend(fontsize=9)
    return figure


def error_by_group(nme: Tensor, groups: Sequence[str]) -> Figure:
    """Every face's NME (N,) as a dot in the row of its view or folder, and the row's mean."""
    names = sorted(set(groups))
    figure, axes = _plot(0.9 + 0.5 * len(names))
    spread = np.random.default_rng(0)  # dots of one row would hide each other on one line
    for row, name in enumerate(names):
        errors = nme[[index for index, group in enumerate(groups) if group == name]].numpy()
        heights = row + spread.uniform(-0.25, 0.25, len(errors))
        axes.plot(errors, heights, "o", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0)
        axes.plot(errors.mean(), row, "D", color=VERMILION, markersize=7, markeredgecolor="white")
    axes.set_yticks(range(len(names)), [fill(name, 20) for name in names])
    axes.set(xscale="log", xlabel="NME, % of eye distance", ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    _plain_log_ticks(axes)
    return figure


def error_against(values: Tensor, nme: Tensor, name: str, window: int) -> Figure:
    """Every face's NME (N,) in % against a measure (N,), and the running median of ``window``."""
    figure, axes = _plot(3.4)
    axes.plot(values, nme, "o", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0)
    order = values.argsort(stable=True)
    middles = (some[order].unfold(0, window, 1).median(dim=1).values for some in (values, nme))
    axes.plot(*middles, color=VERMILION)
    axes.set(yscale="log", xlabel=name, ylabel="NME, % of eye distance")
    _plain_log_ticks(axes)
    return figure


def error_on_mean_face(
    shape: Tensor, scheme: Scheme, kept: Sequence[int], offsets: Tensor
) -> Figure:
    """Mean error of each point as colour; of a few points also where the predictions fall.

    shape: (K, 2), the mean face with an inter-ocular distance of 1. offsets: (N, k, 2), predicted
    less true point in the same unit, of the points ``kept``. Where these are fewer than ``FEW``
    an ellipse holds the mean offset and two standard deviations: 86 % of the predictions where
    they scatter normally.
    """
    figure, axes = _plot(4.8)
    _draw_lines(axes, shape, scheme, range(scheme.n_points), color=GREY, linewidth=0.8, alpha=0.6)
    error = 100 * offsets.norm(dim=-1).mean(dim=0)  # (k,), %
    where = shape[list(kept)]  # (k, 2)
    look = {"cmap": "cividis", "edgecolors": "black", "linewidths": 0.5, "zorder": 3}
    dots = axes.scatter(*where.T.numpy(), c=error.numpy(), s=160 if len(kept) < FEW else 70, **look)
    middle = (error.min() + error.max()) / 2
    for number, (x, y), high in zip(kept, where.tolist(), error > middle, strict=True):
        text = {"fontsize": 5, "ha": "center", "va": "center_baseline", "zorder": 4}
        axes.text(x, y, f"{number}", color="black" if high else "white", **text)
    if len(kept) < FEW:
        for point, scatter in zip(where, offsets.unbind(dim=1), strict=True):
            axes.add_patch(_ellipse(point, scatter))
    if len(kept) > 1:
        figure.colorbar(dots, label="mean error, % of eye distance", shrink=0.8)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_axis_off()
    return figure


def filters(weight: Tensor) -> Figure:
    """Learned filters (out, in, h, w) of a convolution: orange positive, purple negative.

    With one input channel they stand eight in a row; with more, up to eight, each row is a filter
    and each column an input channel.
    """
    count, channels, height, width = weight.shape
    rows = ceil(count / 8) if channels == 1 else count
    tiles = torch.full((rows, 8, height + 1, width + 1), torch.nan)  # one pixel between two
    if channels == 1:
        tiles.flatten(0, 1)[:count, :height, :width] = weight[:, 0]
    else:
        tiles[:, :channels, :height, :width] = weight
    board = tiles.transpose(1, 2)  # (rows, h + 1, 8, w + 1)
    board = board.reshape(rows * (height + 1), 8 * (width + 1))[:-1, :-1]
    figure = Figure(figsize=(WIDTH, WIDTH * board.shape[0] / board.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    _signed(axes, board)
    axes.set_axis_off()
    return figure


@dataclass(frozen=True)
class Overlay:
    """Values (rows, columns) that fill a picture from edge to edge, none negative.

    label: their name and unit. square: middle (2,) and width and height of a dashed frame, in
    pixels of the picture.
    """

    label: str
    values: Tensor
    square: tuple[Tensor, tuple[float, float]] | None = None


def overlays(image: Tensor, point: Tensor, layers: Sequence[Overlay]) -> Figure:
    """One face (H, W), float in -0.5..0.5, side by side under each of several overlays.

    The lower a value, the more the face shows through. A ring stands at ``point`` (2,).
    """
    height, width = image.shape
    part = WIDTH / max(len(layers), 2)
    size = part * len(layers), part * height / width + 0.6
    figure = Figure(figsize=size, layout="constrained")
    box = (-0.5, width - 0.5, height - 0.5, -0.5)
    outline = [effects.withStroke(linewidth=2.6, foreground="black")]
    for axes, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        axes.imshow(image.numpy(), cmap="gray", vmin=-0.5, vmax=0.5)
        values, largest = layer.values.numpy(), max(layer.values.max().item(), 1e-6)
        shown = {"cmap": HEAT, "vmin": 0, "vmax": largest, "interpolation": "bilinear"}
        axes.imshow(values, alpha=0.85 * values / largest, extent=box, **shown)
        axes.plot(*point.tolist(), "o", color=SKY, markerfacecolor="none", path_effects=outline)
        if layer.square is not None:
            middle, sides = layer.square
            corner = middle - torch.tensor(sides) / 2
            look = {"edgecolor": SKY, "linestyle": "--", "path_effects": outline}
            axes.add_patch(Rectangle(corner.tolist(), *sides, fill=False, **look))
        axes.set(xlim=box[:2], ylim=box[2:])
        axes.set_axis_off()
        scale = ScalarMappable(Normalize(0, largest), HEAT)
        figure.colorbar(scale, ax=axes, label=layer.label, location="bottom", pad=0.02)
    return figure


def responses(kernels: Tensor | None, maps: Tensor, names: Sequence[str]) -> Figure:
    """What some filters make of one face, four in a row, each below its own kernel.

    kernels: (n, h, w), or None where a filter has many channels. maps: (n, H, W), the outputs of
    the convolution; colours span each map's own range: orange positive, purple negative.
    """
    columns = 4
    rows, aspect = ceil(len(maps) / columns), maps.shape[1] / maps.shape[2]
    heights = [0.45, aspect] * rows if kernels is not None else [aspect] * rows
    figure = Figure(figsize=(WIDTH, WIDTH / columns * sum(heights) * 1.3), layout="constrained")
    grid = figure.subplots(
        len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes in grid.flat:
        axes.set_axis_off()
    step = 2 if kernels is not None else 1
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        first = grid[row * step][column]
        first.set_title(name, fontsize=9)
        if kernels is not None:
            _signed(first, kernels[index])
        _signed(grid[row * step + step - 1][column], maps[index])
    return figure


def curves_together(histories: dict[str, Sequence[list[dict[str, float]]]]) -> Figure:
    """Losses of several networks on the faces that they do not learn from, and their NME.

    histories: by the network's name one history a seed, each as in ``learning_curves``; a line is
    the mean over the seeds. Training losses are thin.
    """
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for (name, seeds), colour, line in zip(histories.items(), MANY, LINES, strict=False):
        epochs = [row["epoch"] for row in seeds[0]]
        dot = "o" if len(epochs) < 3 else ""
        means = {
            key: np.mean([[row[key] for row in history] for history in seeds], axis=0)
            for key in ("train_loss", "validation_loss", "validation_nme")
        }
        look = {"color": colour, "linestyle": line}
        above.plot(epochs, means["train_loss"], linewidth=0.6, **look)
        above.plot(epochs, means["validation_loss"], marker=dot, label=name, **look)
        below.plot(epochs, means["validation_nme"], marker=dot, **look)
    for axes, name in ((above, "loss"), (below, "NME, % of eye distance")):
        axes.set(yscale="log", ylabel=name)
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        _plain_log_ticks(axes)
    above.legend(fontsize=9)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def size_against_error(points: dict[str, tuple[int, float]]) -> Figure:
    """Parameters, logarithmic, against the NME in % of each network by its name."""
    figure, axes = _plot(3.4)
    for index, (name, (parameters, error)) in enumerate(points.items()):
        million = parameters / 1e6
        axes.plot(million, error, "o", color=MANY[index % len(MANY)], markersize=8)
        # Names on either side, as two networks of one size may lie close together.
        place, side = ((-7, -3), "right") if index % 2 else ((7, -3), "left")
        where = {"xytext": place, "textcoords": "offset points", "ha": side, "fontsize": 9}
        axes.annotate(name, (million, error), **where)
    least, most = (edge(n for n, _ in points.values()) / 1e6 for edge in (min, max))
    room = max((most / least) ** 0.4, 2)  # for the names
    axes.set(xscale="log", xlim=(least / room, most * room))
    axes.set(xlabel="parameters, million", ylabel="NME, % of eye distance")
    axes.margins(y=0.2)
    _plain_log_ticks(axes)
    return figure


def same_faces(
    images: Tensor,
    truth: Tensor,
    answers: dict[str, Tensor],
    around: Sequence[Tensor] | None = None,
) -> Figure:
    """Each face in a row, its true points as rings, and each network's answer in a column.

    images: uint8 (N, H, W). truth, and by the network's name its answers: (N, K, 2) pixels.
    around: of each face points (M, 2); its picture is cut to a square about them.
    """
    rows, columns = len(images), len(answers)
    side = WIDTH / columns
    figure = Figure(figsize=(WIDTH, rows * side + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.subplots(rows, columns, squeeze=False)
    mark = {"linestyle": "", "markersize": 1 + 1.6 * side, "markeredgewidth": 0.3 + 0.2 * side}
    for column, (name, predicted) in enumerate(answers.items()):
        grid[0][column].set_title(fill(name, 11), fontsize=8)
        for row in range(rows):
            axes = grid[row][column]
            axes.imshow(images[row].numpy(), cmap="gray", vmin=0, vmax=255)
            axes.plot(*truth[row].T.numpy(), "o", color=SKY, markerfacecolor="none", **mark)
            axes.plot(*predicted[row].T.numpy(), "x", color=ORANGE, **mark)
            height, width = images[row].shape
            left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
            if around is not None:
                left, top, right, bottom = square_around(around[row], width, height)
            axes.set(xlim=(left, right), ylim=(bottom, top))
            axes.set_axis_off()
    return figure


def ladder(errors: dict[str, Sequence[float]], always: float | None, climb: bool) -> Figure:
    """The NME in % of each step, one row each: a dot for the mean, a bar of one deviation to
    either side, a small dot a seed.

    always: that of the mean face, a dotted line. climb: join the dots; else a line marks the
    first, which the others are held against.
    """
    figure, axes = _plot(1.0 + 0.3 * len(errors))
    means = [np.mean(values) for values in errors.values()]
    for row, values in enumerate(errors.values()):
        wide = 0
        if len(values) > 1:
            axes.plot(values, [row] * len(values), "o", color=ORANGE, markersize=2.5, zorder=3)
            wide = np.std(values, ddof=1)
        axes.errorbar(means[row], row, xerr=wide, fmt="o", color=BLUE, capsize=3, markersize=5)
    if climb:
        axes.plot(means, range(len(means)), color=BLUE, linewidth=0.8, alpha=0.5)
    else:
        axes.axvline(means[0], color=BLUE, linewidth=0.8, linestyle="--")
    if always is not None:
        axes.axvline(always, color=GREY, linestyle=":")
        axes.text(always, -0.9, "mean face", color=GREY, fontsize=8, ha="right")
    axes.set_yticks(range(len(errors)), [fill(name, 26) for name in errors], fontsize=9)
    axes.set(xscale="log", xlabel="NME, % of eye distance", ylim=(len(errors) - 0.5, -1))
    _plain_log_ticks(axes)
    return figure


def names(
    faces: dict[str, tuple[Tensor, Tensor]], left: Sequence[int], right: Sequence[int]
) -> Figure:
    """Faces side by side, by their titles: the points ``left`` as rings, ``right`` as crosses.

    Each is a picture (H, W), 0..255, and points (K, 2) in its pixels.
    """
    part = WIDTH / len(faces)
    figure = Figure(figsize=(WIDTH, part + 0.4), layout="constrained")
    mark = {"linestyle": "", "markersize": 1.5 + part, "markeredgewidth": 0.8}
    for axes, (title, (image, points)) in zip(
        figure.subplots(1, len(faces), squeeze=False)[0], faces.items(), strict=True
    ):
        axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=255)
        axes.plot(*points[list(left)].T.numpy(), "o", color=SKY, markerfacecolor="none", **mark)
        axes.plot(*points[list(right)].T.numpy(), "x", color=ORANGE, **mark)
        start, top, end, bottom = square_around(points, image.shape[1], image.shape[0])
        axes.set(xlim=(start, end), ylim=(bottom, top))
        axes.set_title(fill(title, 16), fontsize=9)
        axes.set_axis_off()
    return figure


def _plot(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _signed(axes: Axes, values: Tensor) -> None:
    largest = values.nan_to_num().abs().max().item()
    axes.imshow(values.numpy(), cmap=SIGNED, vmin=-largest, vmax=largest)


def _plain_log_ticks(axes: Axes) -> None:
    """Write 0.002 and 5 at the ticks, not 2 x 10^-3."""
    axis = axes.xaxis if axes.get_xscale() == "log" else axes.yaxis
    axis.set_major_formatter("{x:g}")
    low, high = axes.get_xlim() if axis is axes.xaxis else axes.get_ylim()
    axis.get_minor_locator().set_params(subs=(2, 5) if high / low > 10 else (2, 3, 4, 5, 7))
    axis.set_minor_formatter("{x:g}" if high / low < 1000 else "")
    axis.set_tick_params(which="both", length=3, pad=3)  # so that all numbers stand in one line


def _draw_lines(
    axes: Axes, points: Tensor, scheme: Scheme, kept: Sequence[int], **style: object
) -> None:
    """Join neighbours of the scheme's lines where both are among ``points`` (k, 2)."""
    for pair in neighbours(scheme, kept):
        axes.plot(*points[list(pair)].T.numpy(), **style)


def _ellipse(point: Tensor, scatter: Tensor) -> Ellipse:
    """Two standard deviations of the offsets (N, 2), about ``point`` plus their mean."""
    deviations = scatter - scatter.mean(dim=0)
    variances, axes = torch.linalg.eigh(deviations.T @ deviations / len(scatter))
    small, large = (4 * variances.clamp(min=0).sqrt()).tolist()
    angle = torch.rad2deg(torch.atan2(axes[1, 1], axes[0, 1])).item()
    centre = (point + scatter.mean(dim=0)).tolist()
    return Ellipse(centre, large, small, angle=angle, fill=False, color=VERMILION, linewidth=0.8)
