"""Part 2: the full face. 58 points, for which 192 training pictures are few.

The question: where are all 58 points of the IMM Face Database, in a grey picture of 160x120
pixels? The network has 116 outputs instead of 2, and 425,056 weights, enough to memorise 192
pictures. Augmentation keeps it from overfitting.

Source: the course's assignment, as part 1. The course report's network had 112 outputs for 56
points; IMM has 58, so ours has 116. ``Best`` is ours: docs/recipes.md says what of it was compared
on folds over persons 1-32, docs/ladders.md what each line contributes.
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


@register
class FaceNet(nn.Module):
    """Five convolutions: one grey face in, 58 points out.

    Takes float (B, 1, height, width) in -0.5..0.5, returns fractions (B, n_points, 2).
    kernels: the sides of the five convolutions' filters.
    """

    def __init__(
        self,
        height: int = 120,
        width: int = 160,
        kernels: tuple[int, ...] = (7, 5, 3, 3, 3),
        n_points: int = 58,
    ) -> None:
        super().__init__()
        self.arguments = {
            "height": height, "width": width, "kernels": kernels, "n_points": n_points
        }  # fmt: skip
        first, second, third, fourth, fifth = kernels
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, first), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 8, second), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, third), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, fourth), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 56, fifth), nn.ReLU(),
        )  # fmt: skip
        left = self.features(torch.zeros(1, 1, height, width)).numel()  # 840 of 120 x 160 pixels
        self.head = nn.Sequential(nn.Linear(left, 420), nn.ReLU(), nn.Linear(420, 2 * n_points))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, 120, 160) -> (B, 58, 2)."""
        features = self.features(faces)  # (B, 56, 3, 5)
        return self.head(features.flatten(1)).unflatten(1, (-1, 2))


@dataclass(frozen=True)
class Course(Recipe):
    """As the course report ran it: turned and recoloured pictures, one at a time."""

    height: int = 120  # the assignment's size
    width: int = 160  # the whole 4:3 picture
    colour: bool = True  # colour jitter comes before the picture turns grey
    epochs: int = 25  # as part 1
    batch: int = 1  # one picture, one step, as the report
    loss: str = "mse"  # squared error of the fractions, as the report
    learning_rate: float = 1e-4  # as the report
    rotation: float = 10.0  # ± 10 degrees, as the report
    brightness: float = 0.2  # the report names it without a number
    contrast: float = 0.2  # likewise
    saturation: float = 0.2  # likewise; alone it cannot be seen in grey
    hue: float = 0.1  # likewise; skin and lips change their grey


@dataclass(frozen=True)
class Best(Recipe):
    """Ours: the same network, moved, turned, mirrored and relit faces, a falling learning rate."""

    height: int = 120  # as the course, so that the networks are the same
    width: int = 160  # as the course
    epochs: int = 400  # two minutes on two cores
    batch: int = 16  # 12 steps an epoch
    loss: str = "smooth_l1"  # quadratic near zero, linear beyond: robust to outliers
    he_init: bool = True  # keeps the variance of the signal through five layers
    init_bias_to_mean: bool = True  # the untrained network predicts about the mean face
    optimizer: str = "adamw"  # Adam with weight decay that is independent of the gradient
    weight_decay: float = 0.01  # weak: augmentation regularises more
    learning_rate: float = 2e-3  # twice Adam's usual start; the cosine lowers it
    cosine: bool = True  # the learning rate falls to zero: small steps at the end
    bfloat16: bool = True  # half precision: training took 18 % less time in the ladder
    rotation: float = 10.0  # heads tilt in the picture plane
    scale: float = 0.1  # people sit nearer or farther
    shift: float = 0.08  # and not always in the middle
    flip: float = 0.5  # a mirrored face is a valid face: doubles the people
    brightness: float = 0.3  # lighting differs
    contrast: float = 0.3  # exposure differs
    flip_tta: bool = True  # test-time flip: the mean of both predictions


RECIPES = {"course": Course, "best": Best}


def run(options: Options) -> list[dict[str, float]]:
    """Train FaceNet as ``options`` say, write ``reports/part2/`` and return the history."""
    recipe = options.choose(RECIPES)

    # 1. The faces: files and points, nothing decoded yet.
    train, test = train_and_test("imm", options.dataset, options.data)

    # 2. Every picture decoded once and kept as bytes, (N, 1 or 3, 120, 160), with all 58 points.
    train, test = load_crops(train, recipe), load_crops(test, recipe)

    # 3. The network, its initial weights drawn from the seed.
    torch.manual_seed(options.seed)
    network = FaceNet()

    # 4. Training: the same loop as in part 1.
    folder = options.reports / LESSON.folder
    history = fit(network, train, test, recipe, options, folder / "checkpoint.pt")
    finish_workers()  # where torchrun started several processes

    # 5. The same measures, the same page.
    page = write_run_report(network, train, test, recipe, LESSON, options)
    print(f"the page: {page}")
    return history


LESSON = Lesson(
    folder="part2",
    title="Part 2: the full face",
    question=(
        "Where are all 58 points of a face? The network sees 160×120 grey pixels and answers with "
        "jaw, eyes, brows, mouth and nose at once. It learns from the same 192 pictures of 32 "
        "people as in part 1, and is tested on the same 48 pictures of 8 others."
    ),
    notes=(
        "The course report's network had 112 outputs, for 56 points. The IMM Face Database marks "
        "58, so ours has 116.",
        "A mirrored face needs its points renamed: the left eye of the mirror image is the right "
        "eye of the face. 27 pairs change places; 4 points lie on the middle line.",
        "In 9 of the 240 faces one eye is numbered from its inner corner in the original files. "
        "The reader numbers it from the outer one, as in the others.",
        "The recipe called best was chosen without these test faces: its first weights on one of "
        "the four folds into which the training people are dealt (`docs/recipes.md`), the rest is "
        "part 1's or by judgement. What each line gives: `python run_part.py ladder 2`.",
    ),
    try_next=(
        "Run the recipe of the course, `python run_part.py 2 --recipe course --reports "
        "reports-course`: it trains on colour pictures, varied in light and colour, and never "
        "mirrors a face.",
        "Set rotation, scale, shift and flip to 0 in `parts/part2_full_face.py` and watch the "
        "training and the validation loss come apart: that is overfitting.",
        "Part 3 has sixteen times as many faces, in the wild: `python run_part.py 3`.",
    ),
    carries_over=(
        "A face may be turned, moved, mirrored and relit as long as its points go along, left and "
        "right exchanged. Part 3 does the same to thousands of faces, each cut out by a box "
        "first, and to a deeper network, which draws a map of each point."
    ),
)
