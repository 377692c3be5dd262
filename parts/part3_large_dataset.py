"""Part 3: a large data set. Faces in the wild, a deeper network, and your own photos.

The question: where are 68 points on faces that nobody posed for? This lesson has three steps:

(a) ``--step crops``: the face is found first, here by the box around its landmarks, and cropped to
    a square; part 2's network learns from the crops.
(b) ``--step coordinates``: a deeper network, torchvision's ResNet18 with one grey input channel
    and 136 outputs, as in the course.
(c) ``--step heatmaps``, the default: the same ResNet18 predicts a heatmap of each point.

``python run_part.py 3 --steps`` trains all three on smaller crops, in about a quarter of an hour
on two cores, and shows them side by side.

Source: K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385);
the standard protocol of iBUG 300-W, which goes by folder: afw, helen/trainset and lfpw/trainset
for training; helen/testset, lfpw/testset and ibug for testing, those of them that are available.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from common.checkpoints import register
from common.heatmaps import soft_argmax
from common.loading import load_crops
from common.recipe import Options, Recipe
from common.report.lesson import read_lesson
from common.report.run_report import write_run_report
from common.system.distributed import finish_workers
from common.training import fit
from datasets.splits import train_and_test
from parts import part2_full_face
from parts.part2_full_face import FaceNet
from parts.protocols_300w import protocols

# Step (a): boxes and crops, with part 2's network.


@dataclass(frozen=True)
class OnCrops(part2_full_face.Best):
    """Part 2's network and recipe on faces that are cropped by their boxes."""

    height: int = 128  # a face fills the crop: as many pixels of it as in part 2
    width: int = 128  # a square
    margin: int = 16  # an eighth all around, for turned and shifted faces
    box_scale: float = 1.2  # a close crop: more pixels for the face
    epochs: int = 16  # with sixteen times as many faces, about as many steps as in part 2
    brightness: float = 0.2  # lighting differs from photo to photo
    contrast: float = 0.2  # exposure differs


# Step (b): ResNet18 predicts coordinates, as in the course.


def grey_resnet18() -> torchvision.models.ResNet:
    """torchvision's ResNet18 with one grey input channel instead of three; random weights."""
    resnet = torchvision.models.resnet18()
    resnet.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return resnet


@register
class ResNet18(nn.Module):
    """torchvision's ResNet18 with one grey input channel and 2 K outputs.

    Takes float (B, 1, H, W) in -0.5..0.5, returns fractions (B, K, 2).
    """

    def __init__(self, n_points: int = 68) -> None:
        super().__init__()
        self.arguments = {"n_points": n_points}
        self.resnet = grey_resnet18()
        self.resnet.fc = nn.Linear(512, 2 * n_points)

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, K, 2)."""
        return self.resnet(faces).unflatten(1, (-1, 2))


@dataclass(frozen=True)
class Coordinates(OnCrops):
    """ResNet18 with 136 outputs; faces and boxes vary as in photos."""

    he_init: bool = False  # torchvision's ResNet draws He's weights itself
    loss: str = "l1"  # the same gradient at every distance
    optimizer: str = "adamw"  # Adam with weight decay that is independent of the gradient
    weight_decay: float = 0.05  # eleven million weights for three thousand faces
    learning_rate: float = 1e-3  # Adam's usual start; 2e-3 is for part 2's smaller network
    cosine: bool = True  # the learning rate falls to zero: small steps at the end
    warmup: float = 0.05  # small first steps, until batch normalisation has its statistics
    rotation: float = 20.0  # heads in photos tilt more than in part 2
    scale: float = 0.05  # beyond what the box's own error does
    shift: float = 0.0  # replaced by the box's error
    box_shift: float = 0.03  # a detector's box is never quite the landmarks' box
    box_scale_spread: float = 0.06  # nor is its size


# Step (c): a heatmap of each point.


@register
class HeatmapResNet18(nn.Module):
    """ResNet18 that predicts a heatmap of each point instead of its coordinates.

    The four stages of the ResNet are added from the coarsest to the finest (a feature pyramid:
    Lin et al., CVPR 2017, arXiv 1612.03144), and a last convolution gives K heatmaps at a quarter
    of the crop's side. Softmax turns each into a probability distribution, and its mean is the
    prediction, see ``common.heatmaps``. The mean cannot leave the crop, the
    coordinates of ``ResNet18`` can.

    Takes float (B, 1, H, W) in -0.5..0.5, sides multiples of 32; returns fractions (B, K, 2), or
    while training the heatmaps (B, K, H / 4, W / 4), for the loss.
    """

    def __init__(self, n_points: int = 68, channels: int = 64) -> None:
        super().__init__()
        self.arguments = {"n_points": n_points, "channels": channels}
        self.resnet = grey_resnet18()
        self.resnet.fc = nn.Identity()  # no numbers at the end of this one
        self.sideways = nn.ModuleList([nn.Conv2d(n, channels, 1) for n in (64, 128, 256, 512)])
        self.maps = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, n_points, 1),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, K, 2), or while training the heatmaps."""
        return self.heatmaps(faces) if self.training else self.with_spread(faces)[0]

    def with_spread(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions (B, K, 2) and the heatmaps' standard deviations (B, K), fractions."""
        return soft_argmax(self.heatmaps(faces))

    def heatmaps(self, faces: Tensor) -> Tensor:
        """Where each point may be: (B, 1, H, W) -> log-probabilities (B, K, H / 4, W / 4)."""
        resnet, stages = self.resnet, []
        features = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(faces))))
        for stage in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4):
            features = stage(features)
            stages.append(features)  # (B, 64 · 2^i, H / 4 / 2^i, W / 4 / 2^i)
        merged = self.sideways[3](stages[3])  # (B, channels, H / 32, W / 32)
        for level in (2, 1, 0):
            finer = nn.functional.interpolate(merged, scale_factor=2)  # nearest
            merged = finer + self.sideways[level](stages[level])
        maps = self.maps(merged).float()  # (B, K, H / 4, W / 4)
        return maps.flatten(2).log_softmax(dim=-1).view_as(maps)


@dataclass(frozen=True)
class Best(Coordinates):
    """Heatmaps: a quarter of an hour on two cores without a GPU."""

    head: str = "heatmap"  # heatmaps keep spatial resolution; see HeatmapResNet18
    init_bias_to_mean: bool = False  # this network has no last fully connected layer
    loss: str = "wing"  # steep near zero: errors below a pixel still count
    heatmap_weight: float = 0.1  # a loss for every cell: converges in half the epochs
    heatmap_sigma: float = 1.0  # cells: reaches the neighbours, which give the subpixel place
    bfloat16: bool = True  # half precision: predictions come 1.7 times as fast (docs/part3.md)
    occlusion: float = 0.3  # hands, hair, microphones
    no_aug_fraction: float = 0.3  # the last steps: unaltered faces in boxes as detectors give them


@dataclass(frozen=True)
class Course(Recipe):
    """As the course report ran it: large crops, one at a time. Made for a GPU."""

    height: int = 224  # ResNet18's usual input
    width: int = 224  # a square
    margin: int = 28  # an eighth all around, for turned faces
    box_scale: float = 1.3  # room around the landmarks' box, which ends at brows and chin
    epochs: int = 10  # the report does not say; hours without a GPU
    batch: int = 1  # one face, one step, as the report
    loss: str = "mse"  # squared error of the fractions, as the report
    learning_rate: float = 1e-3  # Adam's usual start, as the report
    rotation: float = 10.0  # as part 2
    brightness: float = 0.2  # as part 2
    contrast: float = 0.2  # as part 2


HEADS = {"coordinates": ResNet18, "heatmap": HeatmapResNet18}
RECIPES = {"course": Course, "best": Best}
FIRST_STEPS = {"crops": OnCrops, "coordinates": Coordinates}
PAGES = Path(__file__).parent / "pages"
LESSON = read_lesson(PAGES / "part3.md", ablation=PAGES / "../../docs/ladders/part3.json")
UNMEASURED = replace(LESSON, ablation=None, ask_before=(), ask_after=())  # of the last step
LESSONS = {
    "crops": read_lesson(PAGES / "part3-crops.md", UNMEASURED),
    "coordinates": read_lesson(PAGES / "part3-coordinates.md", UNMEASURED),
    "heatmaps": LESSON,
}


def lesson_recipes(options: Options) -> dict[str, type[Recipe]]:
    """The recipes of the lesson: the course's, and ours of the requested step."""
    return RECIPES | {"best": FIRST_STEPS.get(options.step, RECIPES["best"])}


def new_network(recipe: Recipe, options: Options, n_points: int) -> nn.Module:
    """The network of the step, its initial weights drawn from the seed."""
    torch.manual_seed(options.seed)
    if options.step == "crops":
        return FaceNet(recipe.height, recipe.width, n_points=n_points)
    return HEADS[recipe.head](n_points)


def run(options: Options) -> list[dict[str, float]]:
    """Train the network of ``options.step``, write its page and return the history.

    The page goes to ``reports/part3/``, that of another step than the last to a folder of its own,
    such as ``reports/part3-crops/``.
    """
    recipe = options.choose(lesson_recipes(options))

    # 1. The faces: files, points and boxes, nothing decoded yet.
    train, test = train_and_test("ibug", options.dataset, options.data)

    # 2. Every face decoded once, cropped to a square with a margin and kept as bytes.
    train, test = load_crops(train, recipe), load_crops(test, recipe)

    # 3. The network.
    network = new_network(recipe, options, train.faces.scheme.n_points)

    # 4. Training: the same loop as in parts 1 and 2.
    lesson = LESSONS[options.step]
    folder = options.reports / lesson.folder
    history = fit(network, train, test, recipe, options, folder / "checkpoint.pt")
    finish_workers()  # where torchrun started several processes

    # 5. The same measures, those of the papers' protocols, and the same page.
    measured = protocols(network, train, recipe, options.data)
    page = write_run_report(network, train, test, recipe, lesson, options, protocols=measured)
    print(f"the page: {page}")
    return history
