"""The Udacity course: four networks of computer vision nanodegree projects, and their recipes.

The networks predict the 68 points of part 3 on frames of YouTube Faces. Students of the course
built them, and each was measured in its own way until now. Their input is a grey crop of 224
pixels, the course's size; their fully connected layers hold nearly all their weights.
``python run_part.py 3 --dataset youtube_faces --network LightNet`` trains one,
``python run_part.py compare`` trains all of them and shows them side by side.

The sources apply pooling after the activation. Here pooling comes first: ReLU and ELU are
monotonic, so both orders give the same result, and this one computes a quarter as many
activations. The last layer predicts in the course's unit, (x - 100) / 50 on 224 pixels, so that
the initial predictions are near the middle of the crop and steps have the course's size.

The numbers after the layers below are the sides of their feature maps. The fully connected layers
fix the input: other sides than 224 fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from common.checkpoints import register
from common.recipe import Recipe
from common.report.lesson import Lesson, read_lesson

UNIT = 100.5 / 224, 50 / 224  # fractions: 0 of the course is the middle of pixel 100, 1 is 50 wide


@register
class NaimishNet(nn.Module):
    """Four blocks of convolution, ELU, pooling and a dropout that rises by 0.1 a layer.

    Source: N. Agarwal, A. Krohn-Grimberghe, R. Vyas, Facial Key Points Detection using Deep
    Convolutional Neural Network - NaimishNet, arXiv 1710.00977, as a project of the nanodegree
    adapted it. Departures from the paper: 224 pixels instead of 96; kernels 5, 3, 3, 3 instead of
    4, 3, 2, 1, padded so that only the pooling shrinks; 2048 and 1024 hidden units instead of
    1000 and 1000; one network for all 68 points instead of one for each point.

    Takes float (B, 1, 224, 224) in -0.5..0.5, returns fractions (B, K, 2).
    """

    unit = UNIT

    def __init__(self, n_points: int = 68) -> None:
        super().__init__()
        self.arguments = {"n_points": n_points}
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.MaxPool2d(2), nn.ELU(), nn.Dropout(0.1),  # 112
            nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.ELU(), nn.Dropout(0.2),  # 56
            nn.Conv2d(64, 128, 3, padding=1), nn.MaxPool2d(2), nn.ELU(), nn.Dropout(0.3),  # 28
            nn.Conv2d(128, 256, 3, padding=1), nn.MaxPool2d(2), nn.ELU(), nn.Dropout(0.4),  # 14
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(256 * 14 * 14, 2048), nn.ELU(), nn.Dropout(0.5),
            nn.Linear(2048, 1024), nn.ELU(), nn.Dropout(0.6),
            nn.Linear(1024, 2 * n_points),
        )  # fmt: skip

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, 224, 224) -> (B, K, 2)."""
        return _predict(self.head, self.features(faces))


@register
class LightNet(nn.Module):
    """Five unpadded blocks of convolution, ReLU and pooling; 20.0 million weights, 18.9 million of
    them in the first fully connected layer.

    Source: a project of the nanodegree. Its description leaves the pooling open; halving after
    each block is what gives its 6x6x512. Departures: none known.

    Takes float (B, 1, 224, 224) in -0.5..0.5, returns fractions (B, K, 2).
    """

    unit, normalised = UNIT, False

    def __init__(self, n_points: int = 68) -> None:
        super().__init__()
        self.arguments = {"n_points": n_points}
        self.features = nn.Sequential(
            *self._block(1, 32, 5),  # 220 -> 110
            *self._block(32, 64, 3),  # 108 -> 54
            *self._block(64, 128, 3),  # 52 -> 26
            *self._block(128, 256, 3),  # 24 -> 12
            *self._block(256, 512, 1),  # 12 -> 6
        )
        self.head = nn.Sequential(
            nn.Linear(512 * 6 * 6, 1024), nn.ReLU(), nn.Dropout(0.25),
            nn.Linear(1024, 512), nn.ReLU(), nn.Dropout(0.25),
            nn.Linear(512, 2 * n_points),
        )  # fmt: skip

    def _block(self, n_in: int, n_out: int, kernel: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(n_out)] if self.normalised else []
        return [nn.Conv2d(n_in, n_out, kernel), *norm, nn.MaxPool2d(2), nn.ReLU()]

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, 224, 224) -> (B, K, 2)."""
        return _predict(self.head, self.features(faces))


@register
class LightNetBN(LightNet):
    """LightNet with batch normalisation between every convolution and its activation.

    Source: the same project, which found it the best of its networks, "better already after 10
    epochs". Batch normalisation: S. Ioffe, C. Szegedy, ICML 2015 (arXiv 1502.03167). Departures:
    none known.
    """

    normalised = True


@register
class FourConvNet(nn.Module):
    """Four convolutions, three of them pooled: the first fully connected layer has 135,424
    inputs.

    Source: a project of the nanodegree. Its description gives convolutions, pooling, fully
    connected layers and dropout, and no activation; we use ReLU, as the course does. Departures:
    none known.

    Takes float (B, 1, 224, 224) in -0.5..0.5, returns fractions (B, K, 2).
    """

    unit = UNIT

    def __init__(self, n_points: int = 68) -> None:
        super().__init__()
        self.arguments = {"n_points": n_points}
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.MaxPool2d(2), nn.ReLU(),  # 220 -> 110
            nn.Conv2d(32, 64, 5), nn.MaxPool2d(2), nn.ReLU(),  # 106 -> 53
            nn.Conv2d(64, 128, 3), nn.MaxPool2d(2), nn.ReLU(),  # 51 -> 25
            nn.Conv2d(128, 256, 3), nn.ReLU(),  # 23
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(256 * 23 * 23, 512), nn.ReLU(), nn.Dropout(0.25),
            nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(256, 2 * n_points),
        )  # fmt: skip

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, 224, 224) -> (B, K, 2)."""
        return _predict(self.head, self.features(faces))


def _predict(head: nn.Sequential, features: Tensor) -> Tensor:
    """Feature maps (B, C, h, w) through the fully connected layers -> fractions (B, K, 2)."""
    zero, one = UNIT
    return zero + one * head(features.flatten(1)).float().unflatten(1, (-1, 2))


NETWORKS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (NaimishNet, LightNet, LightNetBN, FourConvNet)
}


@dataclass(frozen=True)
class Course(Recipe):
    """As the nanodegree's reports trained: 20 epochs of Adam on randomly placed crops."""

    height: int = 224  # the course's crop, for which the fully connected layers are made
    width: int = 224  # a square
    margin: int = 14  # for shifted crops
    box_scale: float = 1.3  # room around the landmarks' box; the course keeps more of the frame
    epochs: int = 20  # as the reports
    batch: int = 16  # as the reports
    loss: str = "smooth_l1_course"  # as the reports: squares what is below 50 pixels
    learning_rate: float = 1e-4  # not in the reports; Adam's usual 1e-3 saturates hidden units
    bfloat16: bool = True  # half the bits, 1.3 to 2.1 times the speed; the reports: 32 bits
    shift: float = 0.058  # the course crops 224 of 250 pixels at random places


@dataclass(frozen=True)
class Best(Recipe):
    """Ours for the same networks: augmentation and a falling learning rate. Not tuned."""

    height: int = 224  # the size for which the fully connected layers are made
    width: int = 224  # a square
    margin: int = 28  # an eighth all around, for turned and shifted faces
    box_scale: float = 1.3  # room around the landmarks' box, which ends at brows and chin
    epochs: int = 40  # twice the course's: augmented faces are harder to memorise
    init_bias_to_mean: bool = True  # the untrained network predicts the mean face
    batch: int = 32  # less noisy steps for a higher learning rate
    loss: str = "wing"  # steep near zero: errors below a pixel still count
    optimizer: str = "adamw"  # Adam with weight decay that is independent of the gradient
    weight_decay: float = 0.01  # up to a hundred million weights for three thousand faces
    learning_rate: float = 3e-4  # higher than the course's, because it falls; 1e-3 saturates units
    warmup: float = 0.05  # small first steps, until batch normalisation has its statistics
    cosine: bool = True  # the learning rate falls to zero: small steps at the end
    bfloat16: bool = True  # half the bits, 1.3 to 2.1 times the speed
    rotation: float = 15.0  # heads tilt in the picture plane
    scale: float = 0.05  # beyond what the box's own error does
    box_shift: float = 0.03  # a detector's box is never quite the landmarks' box
    box_scale_spread: float = 0.05  # nor is its size
    flip: float = 0.5  # a mirrored face is a valid face
    brightness: float = 0.3  # lighting differs
    contrast: float = 0.3  # exposure differs
    blur: float = 0.2  # motion blur
    flip_tta: bool = True  # test-time flip: the mean of both predictions


@dataclass(frozen=True)
class Quick(Course):
    """The course's recipe shortened to a few minutes."""

    epochs: int = 3  # enough for learning curves
    max_steps: int = 80  # 40 % of the faces an epoch; five networks take twelve minutes
    init_bias_to_mean: bool = True  # the untrained network predicts the mean face
    cosine: bool = True  # the learning rate falls to zero: small steps at the end
    warmup: float = 0.1  # the first steps are small


RECIPES = {"course": Course, "best": Best}


def lesson(network: str) -> Lesson:
    """The words for the page of one of these networks."""
    words = read_lesson(Path(__file__).parent / "pages" / "part3-udacity.md", NETWORK=network)
    return replace(words, folder=f"part3-{network}")
