"""Part 2: the full face. 58 points, for which 192 training pictures are few.

The question: where are all 58 points of the IMM Face Database, in a grey picture of 160x120
pixels? The network has 116 outputs instead of 2, and 425,056 weights, enough to memorise 192
pictures. Augmentation keeps it from overfitting.

Source: the course's assignment, as part 1. The course report's network had 112 outputs for 56
points; IMM has 58, so ours has 116. ``Best`` is ours: part 1's recipe and what is new.
docs/ladders.md gives the measured effect of each of its values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from common.checkpoints import register
from common.loading import load_crops
from common.recipe import Options, Recipe
from common.report.lesson import Lesson, read_lesson
from common.report.run_report import write_run_report
from common.system.distributed import finish_workers
from common.training import fit
from datasets.splits import train_and_test
from parts import part1_nose_tip


@register
class FaceNet(nn.Module):
    """Five convolutions: one grey face in, 58 points out.

    Takes float (B, 1, height, width) in -0.5..0.5, returns fractions (B, n_points, 2).
    kernels: the sides of the five convolutions' kernels.
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
class Best(part1_nose_tip.Best):
    """Part 1's recipe with augmentation and with initial weights for a deeper network."""

    height: int = 120  # as the course, so that the networks are the same
    width: int = 160  # as the course
    epochs: int = 240  # convention: less than three minutes on two cores
    loss: str = "smooth_l1"  # convention: robust to outliers, linear beyond 0.02
    learning_rate: float = 2e-3  # with He's initial weights larger steps are stable
    he_init: bool = True  # keeps the variance of the signal through five layers
    rotation: float = 10.0  # convention, as the course: heads tilt; alone no clear effect
    scale: float = 0.1  # convention: people sit nearer or farther; alone no clear effect
    flip: float = 0.5  # a mirrored face is a valid face: doubles the people
    flip_tta: bool = True  # test-time flip: the mean of both predictions


PARTS = Path(__file__).resolve().parent
RECIPES = {"course": Course, "best": Best}
MEASURED = PARTS / "../docs/ladders"
MORE = Lesson("part2", ablation=MEASURED / "part2.json", before=MEASURED / "part1.json")
LESSON = read_lesson(PARTS / "pages/part2.md", MORE)


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
