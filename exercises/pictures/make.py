"""Draw the pictures of sheet 3: ``python -m exercises.pictures.make``."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.nn.functional import mse_loss

from common.augmentation import warp
from common.crops import square_boxes
from common.faces import landmark_boxes
from common.losses import wing
from exercises.checks_part3 import soft_argmax, square_crop
from exercises.faces import close_up

FOLDER = Path(__file__).resolve().parent


def two_peaks() -> Figure:
    """Heatmaps of one and of two peaks with their means."""
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    across, down = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="xy")
    for axes, centres in zip(figure.subplots(1, 2), (((9, 6),), ((3, 7), (12, 8))), strict=True):
        spots = [torch.exp(-((across - x) ** 2 + (down - y) ** 2) / 3.0) for x, y in centres]
        heatmap = torch.stack(spots).sum(0)
        x, y = soft_argmax(heatmap.add(1e-9).log()[None, None])[0, 0] * 16 - 0.5
        axes.imshow(heatmap, cmap="gray")
        axes.plot(x, y, "x", color="#FF4A3D", ms=12, mew=3)
        title = "one peak: the mean is the place" if len(centres) == 1 else "two: it is neither"
        axes.set(title=title, xticks=[], yticks=[])
    return figure


def wing_curves() -> Figure:
    """Losses over the error, and their gradients."""
    figure = Figure(figsize=(6.5, 2.8), layout="constrained")
    errors = torch.linspace(-0.1, 0.1, 401, requires_grad=True)
    losses = {"wing": wing, "L1": lambda a, b: (a - b).abs(), "squared": mse_loss}
    left, right = figure.subplots(1, 2)
    for (name, loss), style in zip(losses.items(), ("-", "--", ":"), strict=True):
        values = torch.stack([loss(error, torch.zeros(())) for error in errors])
        (slopes,) = torch.autograd.grad(values.sum(), errors)
        left.plot(errors.detach(), values.detach(), style, label=name)
        right.plot(errors.detach(), slopes, style)
    left.set(title="loss", xlabel="error, fraction of the crop")
    right.set(title="gradient", xlabel="error, fraction of the crop")
    left.legend()
    return figure


def crop() -> Figure:
    """A synthetic face with its box and the square, and the crop."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    image, points = close_up(0)
    boxes = landmark_boxes(points[None])
    matrices = square_crop(boxes, 1.3, 64)
    left, right = figure.subplots(1, 2)
    left.imshow(image[0], cmap="gray")
    for box, colour in ((boxes[0], "#00D68F"), (square_boxes(boxes, 1.3)[0], "#FF4A3D")):
        x, y, width, height = box.tolist()
        frame = {"fill": False, "ec": colour, "lw": 2}
        left.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, **frame))
    right.imshow(warp(image[None].float(), matrices, 64, 64)[0, 0], cmap="gray")
    left.set(title="box (green) and square (red)", xticks=[], yticks=[])
    right.set(title="the crop, 64 × 64 pixels")
    return figure


if __name__ == "__main__":
    for name, draw in {"two_peaks": two_peaks, "wing": wing_curves, "square_crop": crop}.items():
        draw().savefig(FOLDER / f"{name}.png", dpi=110)
