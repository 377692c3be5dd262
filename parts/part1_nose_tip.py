"""Part 1: the nose tip. One point, one small network, 192 training pictures.

The question: a grey picture of 80x60 pixels shows a person from the shoulders up. Where is the
tip of the nose? The network predicts two numbers, the point as fractions of the picture's width
and height. This is regression, and this file is all of it: the network, the recipe, the run.

Source: the course's assignment on the IMM Face Database (persons 1-32 for training, 33-40 for
testing). ``Course`` repeats the one report that we know of; ``Best`` is ours: docs/recipes.md says
what of it was compared on folds over persons 1-32, docs/ladders.md what each line contributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.checkpoints import register
from common.loading import load_crops
from common.recipe import Options, Recipe
from common.report.lesson import Lesson
from common.report.run_report import write_run_report
from common.system.distributed import finish_workers
from common.training import fit
from datasets.splits import train_and_test

NOSE = (52,)  # the points that are learned, by their number in the scheme


@register
class NoseNet(nn.Module):
    """Three convolutions and two fully connected layers: one grey face in, one point out.

    Takes float (B, 1, height, width) in -0.5..0.5, returns fractions (B, 1, 2).
    kernels: the sides of the three convolutions' filters.
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
    """Ours: the same network, with a new augmentation of every face in every epoch."""

    height: int = 60  # as the course, so that the networks are the same
    width: int = 80  # as the course
    epochs: int = 300  # forty seconds on two cores
    batch: int = 16  # 12 steps an epoch
    loss: str = "smooth_l1"  # quadratic near zero, linear beyond: robust to outliers
    init_bias_to_mean: bool = True  # the untrained network predicts about the mean face
    optimizer: str = "adamw"  # Adam with weight decay that is independent of the gradient
    weight_decay: float = 0.01  # weak: augmentation regularises more
    learning_rate: float = 2e-3  # twice Adam's usual start; the cosine lowers it
    cosine: bool = True  # the learning rate falls to zero: small steps at the end
    bfloat16: bool = True  # half precision: training took 11 % less time in the ladder
    rotation: float = 10.0  # heads tilt in the picture plane
    scale: float = 0.1  # people sit nearer or farther
    shift: float = 0.08  # and not always in the middle
    flip: float = 0.5  # a mirrored face is a valid face: doubles the people
    brightness: float = 0.3  # lighting differs
    contrast: float = 0.3  # exposure differs
    flip_tta: bool = True  # test-time flip: the mean of both predictions


RECIPES = {"course": Course, "best": Best}


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


LESSON = Lesson(
    folder="part1",
    title="Part 1: the nose tip",
    question=(
        "Where is the tip of the nose? The network sees a whole picture of 80×60 grey pixels and "
        "answers with one point. 192 pictures of 32 people are there to learn from; 48 pictures "
        "of 8 other people show what was learned."
    ),
    notes=(
        "The point is number 52, counted from 0, of the 58 that the IMM Face Database marks. "
        "Courses call it the nose tip; it lies at the middle of the nose's base, where the nose "
        "meets the upper lip.",
        "Everyone in the training set is gone from the test set: a network that merely remembered "
        "people would fail here.",
        "In 9 of the 240 faces one eye is numbered from its inner corner in the original files. "
        "The reader numbers it from the outer one, as in the others.",
        "The recipe called best was chosen without these test faces: first weights, loss and start "
        "on two of the four folds into which the training people are dealt (`docs/recipes.md`), "
        "the rest by judgement. What each line gives: `python run_part.py ladder 1`.",
    ),
    try_next=(
        "Run the recipe of the course, `python run_part.py 1 --recipe course --reports "
        "reports-course`, and compare the pages: same network, same pictures, one point.",
        "Change one line of the recipe in `parts/part1_nose_tip.py`, such as `flip: float = 0.0`, "
        "and see what it was worth.",
        "Part 2 asks for all 58 points: `python run_part.py 2`.",
    ),
    carries_over=(
        "A place is a number that a network can answer: a fraction of the picture's width, one of "
        "its height. The loop that trains it goes on unchanged to the next parts; the points "
        "become more and the pictures larger."
    ),
)
