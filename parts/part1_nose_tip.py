"""Part 1: the nose tip. One point, one small network, 192 training pictures.

The question: a grey picture of 80x60 pixels shows a person from the shoulders up. Where is the
tip of the nose? The network predicts two numbers, the point as fractions of the picture's width
and height. This is regression, and this file is all of it: the network, the recipe, the run.

Source: the course's assignment on the IMM Face Database (persons 1-32 for training, 33-40 for
testing). ``Course`` repeats a report of that assignment; ``Best`` is ours. docs/ladders.md gives
the measured effect of each of its values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from common.checkpoints import register
from common.loading import load_crops
from common.recipe import Options, Recipe
from common.report.lesson import read_lesson
from common.report.run_report import write_run_report
from common.system.distributed import finish_workers
from common.training import fit
from datasets.splits import train_and_test

NOSE = (52,)  # the points that are learned, by their number in the scheme


@register
class NoseNet(nn.Module):
    """Three convolutions and two fully connected layers: one grey face in, one point out.

    Takes float (B, 1, height, width) in -0.5..0.5, returns fractions (B, 1, 2).
    kernels: the sides of the three convolutions' kernels.
    """

    def __init__(
        self, height: int = 60, width: int = 80, kernels: tuple[int, ...] = (7, 5, 3)
    ) -> None:
        super().__init__()
        self.arguments = {"height": height, "width": width, "kernels": kernels}
        first, second, third = kernels
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, first), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(12, 16, second), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(16, 32, third), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        left = self.features(torch.zeros(1, 1, height, width)).numel()  # 576 of 60 x 80 pixels
        self.head = nn.Sequential(nn.Linear(left, 200), nn.ReLU(), nn.Linear(200, 2))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, 60, 80) -> (B, 1, 2)."""
        features = self.features(faces)  # (B, 32, 3, 6)
        return self.head(features.flatten(1)).view(-1, 1, 2)


@dataclass(frozen=True)
class Course(Recipe):
    """As the course report ran it: plain pictures, one at a time."""

    height: int = 60  # the assignment's size: small enough to train in seconds
    width: int = 80  # the whole 4:3 picture, no face is searched for
    epochs: int = 25  # as the report
    batch: int = 1  # one picture, one step, as the report
    loss: str = "mse"  # squared error of the fractions, as the report
    learning_rate: float = 1e-3  # Adam's usual start, as the report


@dataclass(frozen=True)
class Best(Recipe):
    """Ours: the same network with batches, the mean face as the first prediction, and shifts."""

    height: int = 60  # as the course, so that the networks are the same
    width: int = 80  # as the course
    epochs: int = 160  # convention: less than a minute on two cores
    batch: int = 16  # convention: the gradient of 16 faces is less noisy than that of one
    loss: str = "mse"  # squared error of the fractions, as the course
    learning_rate: float = 1e-3  # convention: Adam's usual start
    init_bias_to_mean: bool = True  # training starts from the mean position, not from zero
    shift: float = 0.08  # faces are not always in the middle of the picture


PARTS = Path(__file__).resolve().parent
RECIPES = {"course": Course, "best": Best}
LESSON = read_lesson(PARTS / "pages/part1.md", ablation=PARTS / "../docs/ladders/part1.json")


def run(options: Options) -> list[dict[str, float]]:
    """Train NoseNet as ``options`` say, write ``reports/part1/`` and return the history."""
    recipe = options.choose(RECIPES)

    # 1. The faces: files and points, nothing decoded yet.
    train, test = train_and_test("imm", options.dataset, options.data)

    # 2. Every picture decoded once, cut and kept as bytes: images (N, 1, 60, 80).
    train, test = load_crops(train, recipe, NOSE), load_crops(test, recipe, NOSE)

    # 3. The network, its initial weights drawn from the seed.
    torch.manual_seed(options.seed)
    network = NoseNet()

    # 4. Training: for every batch augment, predict, loss, backward, step.
    folder = options.reports / LESSON.folder
    history = fit(network, train, test, recipe, options, folder / "checkpoint.pt")
    finish_workers()  # where torchrun started several processes

    # 5. Predictions for people that were not in the training set, measured and reported.
    page = write_run_report(network, train, test, recipe, LESSON, options)
    print(f"the page: {page}")
    return history
