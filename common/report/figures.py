"""How a report's figures look and are saved, and its plots: data in, matplotlib ``Figure`` out.

``image_figures`` draws what is itself a picture. Neither uses pyplot: no display, no global state.
Colours are from Okabe and Ito's palette for the colour-blind (https://jfly.uni-koeln.de/color/);
ground truth is a ring and a prediction a cross, so that the two differ in shape as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from common.keypoints import Scheme, neighbours
from common.metrics import known_mean
from common.system.files import write_atomically

BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#595959"
SKY = "#56B4E9"  # bright enough to be seen on a dark photo
MANY = (BLUE, ORANGE, "#009E73", VERMILION, "#CC79A7", GREY)  # for several networks
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))  # distinct without colour
MARKERS = "osD^vP"
FEW = 8  # points; fewer are drawn large, each with its scatter
WIDTH, DPI = 4.6, 180  # inches and dots per inch: 10 pt letters are 11 px on a phone
NME_LABEL = "NME, %"


def save(figure: Figure, path: Path, mark: str = "") -> tuple[int, int]:
    """Write a PNG of at most 256 colours and return its width and height in pixels.

    mark: text for the lower right corner, of figures that could be mistaken for others.
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


def learning_curves(history: list[dict[str, float]], baseline: dict[str, float]) -> Figure:
    """Losses and, below, the test NME over the epochs, both logarithmic.

    history: one dict per epoch with ``epoch``, ``train_loss``, ``test_loss`` and ``test_nme``.
    baseline: ``loss`` and ``nme`` of always predicting the mean face; a line for each given.
    """
    figure, above, below = _plot(4.8, 2)
    epochs = [row["epoch"] for row in history]
    dot = "o" if len(history) < 3 else ""  # a line through a single epoch would not be seen
    for axes, name, key, colour, line in (
        (above, "training", "train_loss", BLUE, "-"),
        (above, "test", "test_loss", ORANGE, "--"),
        (below, "test", "test_nme", ORANGE, "--"),
    ):
        values = [row[key] for row in history]
        axes.plot(epochs, values, line, marker=dot, color=colour, label=name)
    for axes, key in ((above, "loss"), (below, "nme")):
        if key in baseline:
            axes.axhline(baseline[key], color=GREY, linestyle=":", label="mean face")
        axes.legend(fontsize=9)
    _logarithmic(above, below)
    return figure


def curves_together(
    histories: dict[str, Sequence[list[dict[str, float]]]], losses: bool = True
) -> Figure:
    """Losses of several networks on the test faces, thin those on the training faces, and NME; with
    ``losses`` false the NME alone. A line is the mean over the seeds.

    histories: by the network's name one history a seed, each as in ``learning_curves``.
    """
    figure, *rows = _plot(5.6, 2) if losses else _plot(3.4)
    for (name, seeds), colour, line in zip(histories.items(), MANY, LINES, strict=False):
        epochs = [row["epoch"] for row in seeds[0]]
        train, test, nme = (
            np.mean([[row[key] for row in history] for history in seeds], axis=0)
            for key in ("train_loss", "test_loss", "test_nme")
        )
        look = {"color": colour, "linestyle": line}
        dots = look | {"marker": "o" if len(epochs) < 3 else ""}
        if losses:
            rows[0].plot(epochs, train, linewidth=0.6, **look)
            rows[0].plot(epochs, test, label=name, **dots)
        rows[-1].plot(epochs, nme, label=name, **dots)
    rows[0].legend(fontsize=9)
    _logarithmic(*rows)
    return figure


def size_against_error(points: dict[str, tuple[int, float]]) -> Figure:
    """Parameters, logarithmic, against the NME in % of each network by its name."""
    figure, axes = _plot(3.4)
    for (name, (count, error)), colour, mark in zip(points.items(), MANY, MARKERS, strict=False):
        axes.plot(count / 1e6, error, mark, color=colour, markersize=8, label=name)
    least, most = (edge(n for n, _ in points.values()) / 1e6 for edge in (min, max))
    axes.set(xscale="log", xlim=(least / 2, most * 2))
    axes.set(xlabel="parameters, million", ylabel=NME_LABEL)
    axes.margins(y=0.2)
    _plain_log_ticks(axes)
    # Names beside the dots would cover each other where errors are close.
    small = {"fontsize": 8, "handletextpad": 0.2, "columnspacing": 1}
    figure.legend(loc="outside upper left", ncols=2, frameon=False, **small)
    return figure


def cumulative_error(curves: dict[str, Tensor], limit: float = 8.0) -> Figure:
    """For every error, the share of faces that stay below it.

    curves: name -> NME (N,) in %, the network's first; the area under this up to ``limit`` is
        shaded. The axis ends at twice the limit, or where 19 of 20 of its faces are shown.
    """
    figure, axes = _plot(3.6)
    for (name, nme), colour, line in zip(
        curves.items(), (BLUE, GREY, VERMILION), ("-", ":", "--"), strict=False
    ):
        errors = np.concatenate([[0], np.sort(nme.numpy()), [max(2 * limit, nme.max())]])
        share = 100 * np.minimum(np.arange(len(errors)) / len(nme), 1)
        axes.step(errors, share, where="post", color=colour, linestyle=line, label=name)
        if colour == BLUE:
            below = np.append(errors[errors <= limit], limit)
            under = share[: len(below)].clip(max=share[len(below) - 2])
            axes.fill_between(below, under, step="post", color=colour, alpha=0.12)
    axes.axvline(limit, color=VERMILION, linewidth=1)
    axes.text(limit, 104, f"failed beyond {limit:g} %", color=VERMILION, fontsize=9, ha="center")
    end = max(2 * limit, 1.1 * next(iter(curves.values())).double().quantile(0.95).item())
    axes.set(xlim=(0, end), ylim=(0, 102), xlabel=NME_LABEL, ylabel="share below, %")
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
    axes.set(xscale="log", xlabel=NME_LABEL, ylim=(len(names) - 0.5, -0.5))
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
    axes.set(yscale="log", xlabel=name, ylabel=NME_LABEL)
    _plain_log_ticks(axes)
    return figure


def error_on_mean_face(
    shape: Tensor, scheme: Scheme, point_ids: Sequence[int], offsets: Tensor
) -> Figure:
    """Mean error of each point as colour; of fewer than ``FEW`` also an ellipse of two standard
    deviations about the mean offset: 86 % of the predictions where they scatter normally.

    shape: (K, 2), the mean face with an inter-ocular distance of 1.
    point_ids: the k points of the scheme that the network learns.
    offsets: (N, k, 2), predicted less true point in the unit of ``shape``; NaN: missing.
    """
    figure, axes = _plot(4.8)
    draw_lines(axes, shape, scheme, range(scheme.n_points), color=GREY, linewidth=0.8, alpha=0.6)
    error = 100 * known_mean(offsets.norm(dim=-1), 0)  # (k,), %
    where = shape[list(point_ids)]  # (k, 2)
    look = {"cmap": "cividis", "edgecolors": "black", "linewidths": 0.5, "zorder": 3}
    few = len(point_ids) < FEW
    dots = axes.scatter(*where.T.numpy(), c=error.numpy(), s=160 if few else 70, **look)
    middle = (error.min() + error.max()) / 2
    for number, (x, y), high in zip(point_ids, where.tolist(), error > middle, strict=True):
        text = {"fontsize": 5, "ha": "center", "va": "center_baseline", "zorder": 4}
        axes.text(x, y, f"{number}", color="black" if high else "white", **text)
    if few:
        for point, scatter in zip(where, offsets.unbind(dim=1), strict=True):
            axes.add_patch(_ellipse(point, scatter))
    if len(point_ids) > 1:
        figure.colorbar(dots, label="mean error, %", shrink=0.8)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_axis_off()
    return figure


def ladder(errors: dict[str, Sequence[float]], always: float | None, cumulative: bool) -> Figure:
    """The NME in % of each change, one row each: a dot for the mean, a bar of one standard
    deviation to either side, a small dot a seed.

    always: the mean face's NME, a dotted line.
    cumulative: join the dots; else a line marks the first, the baseline of the others.
    """
    figure, axes = _plot(1.0 + 0.3 * len(errors))
    means = [np.mean(values) for values in errors.values()]
    for row, values in enumerate(errors.values()):
        wide = 0
        if len(values) > 1:
            axes.plot(values, [row] * len(values), "o", color=ORANGE, markersize=2.5, zorder=3)
            wide = np.std(values, ddof=1)
        axes.errorbar(means[row], row, xerr=wide, fmt="o", color=BLUE, capsize=3, markersize=5)
    if cumulative:
        axes.plot(means, range(len(means)), color=BLUE, linewidth=0.8, alpha=0.5)
    else:
        axes.axvline(means[0], color=BLUE, linewidth=0.8, linestyle="--")
    if always is not None:
        axes.axvline(always, color=GREY, linestyle=":")
        axes.text(always, -0.9, "mean face", color=GREY, fontsize=8, ha="right")
    axes.set_yticks(range(len(errors)), [fill(name, 26) for name in errors], fontsize=9)
    axes.set(xscale="log", xlabel=NME_LABEL, ylim=(len(errors) - 0.5, -1))
    _plain_log_ticks(axes)
    return figure


def draw_lines(
    axes: Axes, points: Tensor, scheme: Scheme, point_ids: Sequence[int], **style: object
) -> None:
    """Join neighbours of the scheme's lines where both are among ``points`` (k, 2)."""
    pairs = [points[list(pair)].numpy() for pair in neighbours(scheme, point_ids)]
    axes.add_collection(LineCollection(pairs, **style))


def _plot(height: float, rows: int = 1) -> tuple[Any, ...]:
    """A figure and the axes of each of its rows."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    plots = figure.subplots(rows, sharex=True, squeeze=False)[:, 0]
    for axes in plots:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, *plots


def _logarithmic(*rows: Axes) -> None:
    """Logarithmic axes over the epochs, for curves that are drawn already: of the loss above that
    of the NME, or of the NME alone."""
    for axes, name in zip(rows[::-1], (NME_LABEL, "loss"), strict=False):
        axes.set(yscale="log", ylabel=name)
        axes.grid(alpha=0.3, which="both")
        _plain_log_ticks(axes)
    rows[-1].set_xlabel("epoch")
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _plain_log_ticks(axes: Axes) -> None:
    """Write 0.002 and 5 at the ticks, not 2 x 10^-3."""
    axis = axes.xaxis if axes.get_xscale() == "log" else axes.yaxis
    axis.set_major_formatter("{x:g}")
    low, high = axes.get_xlim() if axis is axes.xaxis else axes.get_ylim()
    axis.get_minor_locator().set_params(subs=(2, 5) if high / low > 10 else (2, 3, 4, 5, 7))
    axis.set_minor_formatter("{x:g}" if high / low < 1000 else "")
    axis.set_tick_params(which="both", length=3, pad=3)  # so that all numbers are in one line


def _ellipse(point: Tensor, scatter: Tensor) -> Ellipse:
    """Two standard deviations of the offsets (N, 2), about ``point`` plus their mean; those of
    missing points, NaN, do not count."""
    scatter = scatter[scatter.isfinite().all(dim=-1)]
    deviations = scatter - scatter.mean(dim=0)
    variances, axes = torch.linalg.eigh(deviations.T @ deviations / len(scatter))
    small, large = (4 * variances.clamp(min=0).sqrt()).tolist()
    angle = torch.rad2deg(torch.atan2(axes[1, 1], axes[0, 1])).item()
    centre = (point + scatter.mean(dim=0)).tolist()
    return Ellipse(centre, large, small, angle=angle, fill=False, color=VERMILION, linewidth=0.8)
