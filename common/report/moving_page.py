"""The page of figures that a reader moves, ``reports/moving.html``.

Its script moves them; without it and on paper they show the state that is computed here. The face
and the errors by box are in ``moving/``, which ``python -m benchmarks.moving`` writes.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d

from common.crops import square_boxes
from common.faces import landmark_boxes
from common.heatmaps import soft_argmax
from common.keypoints import IBUG_68
from common.losses import LOSSES

FOLDER = Path(__file__).parent / "moving"
KERNELS = {
    "vertical edges": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "horizontal edges": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "spots": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
    "blur": ((1 / 9,) * 3,) * 3,
}
WINDOW = (15, 17)  # column and row of its upper left pixel at first
CELLS, PEAKS, STEEP, WIDE = 16, ((4, 6), (11, 9)), 6.0, 3.0  # of the heatmap's scores
SECOND = 0.9  # height of the second peak over that of the first
TEMPERATURES = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5)
SHOWN = {"l1": "L1", "mse": "squared", "wing": "wing"}
FARTHEST, START = 0.1, 0.03  # of the error in the loss's figure
TRAINED = 1.2  # of the network that ships: the crop's side over the box's
POINTS = (36, 45, 30, 48, 54)  # whose numbers the mirrored face shows
WIDTH, HEIGHT, LEFT, BOTTOM = 320, 200, 44, 24  # of a chart, with room for its axes


@functools.cache
def moving() -> dict[str, Any]:
    """All that the page shows."""
    with Image.open(FOLDER / "face.png") as picture:
        side, uri = picture.width, _data_uri(picture)
        half = picture.resize((side // 2, side // 2), Image.Resampling.BOX)
    points = json.loads((FOLDER / "face.json").read_text(encoding="utf-8"))
    face = {"side": side, "uri": uri, "points": points, "order": IBUG_68.flip_order.tolist()}
    return {
        "face": face | {"shown": POINTS},
        "convolution": _convolution(half),
        "heatmap": _heatmap(),
        "losses": _losses(),
        "boxes": _boxes(points),
    }


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _convolution(picture: Image.Image) -> dict[str, Any]:
    """The picture's pixels, and what each kernel makes of them, as numbers and as a picture."""
    pixels = torch.tensor(np.asarray(picture), dtype=torch.int)
    results = {}
    for name, kernel in KERNELS.items():
        weights = torch.tensor(kernel, dtype=torch.float32)
        output = conv2d(pixels[None, None].float(), weights[None, None])[0, 0]
        shown = output if (weights >= 0).all() else 127.5 + 127.5 * output / output.abs().max()
        image = Image.fromarray(shown.round().clamp(0, 255).byte().numpy())
        sums = {"kernel": kernel, "uri": _data_uri(image)}
        results[name] = sums | {"first": output[WINDOW[1], WINDOW[0]].item()}
    uri = {"uri": _data_uri(picture), "side": picture.width}
    return uri | {"pixels": pixels.tolist(), "results": results, "window": WINDOW}


def scores(peaks: Sequence[Sequence[float]], second: float) -> Tensor:
    """Scores (CELLS, CELLS) of a heatmap with two peaks at (column, row)."""
    row, column = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    spots = [torch.exp(-((column - x) ** 2 + (row - y) ** 2) / WIDE) for x, y in peaks]
    return STEEP * (spots[0] + second * spots[1])


def _heatmap() -> dict[str, Any]:
    """Probabilities at temperature 1, and the mean at each temperature."""
    given, rows = scores(PEAKS, SECOND), []
    for temperature in TEMPERATURES:
        logs = (given / temperature).flatten().log_softmax(0).view(CELLS, CELLS)
        x, y = (soft_argmax(logs[None, None])[0][0, 0] * CELLS - 0.5).tolist()
        peaks = [logs.exp()[y, x].item() for x, y in PEAKS]
        rows.append({"temperature": temperature, "mean": (x, y), "peaks": peaks})
        if temperature == 1:
            mean, cells = (x, y), (logs.exp() / logs.exp().max()).tolist()
    facts = {"cells": CELLS, "peaks": PEAKS, "second": SECOND, "steep": STEEP, "wide": WIDE}
    return facts | {"temperatures": TEMPERATURES, "rows": rows, "shown": cells, "mean": mean}


def _losses() -> dict[str, Any]:
    """Losses of one coordinate and their gradients over its error."""
    errors = (torch.arange(-100, 101) / (100 / FARTHEST)).requires_grad_()
    costs, slopes = {}, {}
    for name, shown in SHOWN.items():
        losses = torch.stack([LOSSES[name](error, torch.zeros(())) for error in errors])
        (gradient,) = torch.autograd.grad(losses.sum(), errors)
        costs[shown], slopes[shown] = losses.tolist(), gradient.tolist()
    along = errors.tolist()
    ticks = (-0.1, -0.05, 0, 0.05, 0.1)
    return {
        "errors": along,
        "costs": costs,
        "slopes": slopes,
        "start": round((START + FARTHEST) * 1000),
        "loss": chart(along, costs, ticks, (0, 0.05, 0.1, 0.15)),
        "gradient": chart(along, slopes, ticks, (-5, -2.5, 0, 2.5, 5)),
    }


def _boxes(points: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Errors by the crop's side and shift, and the box of the face."""
    measured = json.loads((FOLDER / "boxes.json").read_text(encoding="utf-8"))
    rows = dict(zip(map(str, measured["scales"]), measured["nme"], strict=True))
    highest = max(map(max, measured["nme"]))
    ticks = [tick for tick in (3, 5, 10, 20, 40) if tick <= highest]
    lines = chart(measured["shifts"], rows, measured["shifts"], ticks, log=True)
    boxes = landmark_boxes(torch.tensor([points]))
    places = {"box": boxes[0].tolist(), "crop": square_boxes(boxes, TRAINED)[0].tolist()}
    best = [
        measured["scales"][column.index(min(column))]
        for column in zip(*measured["nme"], strict=True)
    ]
    return (
        measured
        | places
        | {"best": best, "chart": lines, "start": measured["scales"].index(TRAINED)}
    )


def chart(
    along: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    across: Sequence[float],
    up: Sequence[float],
    log: bool = False,
) -> dict[str, Any]:
    """Curves and ticks in the units of an SVG of WIDTH x HEIGHT, y downwards.

    along: x of every curve's values. across, up: the ticks. log: whether the y axis is logarithmic.
    """
    scaled = math.log if log else float
    every = [scaled(value) for values in (*curves.values(), up) for value in values]
    low, high = min(every), max(every)

    def x(value: float) -> float:
        return round(LEFT + (value - along[0]) / (along[-1] - along[0]) * (WIDTH - LEFT - 12), 1)

    def y(value: float) -> float:
        share = (scaled(value) - low) / (high - low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - 10), 1)

    return {
        "lines": {
            name: [(x(at), y(value)) for at, value in zip(along, values, strict=True)]
            for name, values in curves.items()
        },
        "across": [(x(tick), f"{tick:g}".replace("-", "−")) for tick in across],
        "up": [(y(tick), f"{tick:g}".replace("-", "−")) for tick in up],
    }
