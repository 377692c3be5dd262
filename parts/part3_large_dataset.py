"""Part 3: a large data set. Faces in the wild, a deeper network, and your own photos.

What is asked: 68 points on faces that nobody posed for. The face is found first, here by the box
around its landmarks, cut to a square and handed to torchvision's ResNet18, whose first layer
takes one grey channel. With ``--head coordinates`` its last layer gives 136 numbers, as in the
course; by default it draws a map of each point.

Source: K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385);
the standard protocol of iBUG 300-W, which goes by folder: afw, helen/trainset and lfpw/trainset
to learn from; helen/testset, lfpw/testset and ibug to be tested on, whichever are there.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from common import checkpoints
from common.checkpoints import register
from common.heatmaps import soft_argmax
from common.inference import flip_disagreement_p99
from common.loading import load_crops
from common.recipe import Options, Recipe
from common.report.lesson import Lesson
from common.report.run_report import write_run_report
from common.system.distributed import finish_workers
from common.system.errors import NotHereError, UserError
from common.training import fit
from datasets.splits import train_and_test
from datasets.youtube_faces import people_in_both
from parts import udacity_networks
from parts.protocols_300w import protocols

LESSON = Lesson(
    folder="part3",
    title="Part 3: a large data set",
    question=(
        "Does it work on any face? 300-W shows people in the wild: turned, laughing, in bad "
        "light, behind hands and hair. A ResNet18, with ninety times as many weights as part 1's "
        "network, learns 68 points from thousands of them."
    ),
    notes=(
        "Faces are cut by the box around their true points, as most published figures are. On "
        "your own photos a detector finds the box, and the error grows.",
        "The split goes by folder, the standard protocol: helen/testset, lfpw/testset and ibug are "
        "tested on, those of them that are here. dlib's own two lists are a random split of all "
        "faces: 596 of the 689 faces of the three folders stand in its training list.",
        "The curves watch the test faces, but nothing is chosen by them: the last epoch counts, "
        "and recipes are compared on every tenth training face (`python -m benchmarks.folds 3`).",
    ),
    try_next=(
        "Run the recipe of the course, `python run_part.py 3 --recipe course --epochs 1 --reports "
        "reports-course`: batch 1 takes a long time without a GPU.",
        "With 300-W at hand, measure one folder by itself: `python run_part.py evaluate "
        "reports/part3/checkpoint.pt --dataset ibug --split lfpw/testset`.",
        "See what dlib's boxes cost: add `--boxes file`.",
    ),
    carries_over=(
        "A face that is cut out by its box is answered wherever it stands in a photo: `python "
        "run_part.py predict photo.jpg` finds the boxes and leads the points back to the photo's "
        "own pixels."
    ),
)


MAPS = (
    "For each point the network draws a map with a cell for every 4 × 4 pixels of the crop. "
    "Softmax turns the cells' scores into chances that sum to 1, and the answer is the mean place, "
    "each cell weighted by its chance: finer than a cell. The loss is that of this place and, with "
    "a smaller weight, the maps' cross-entropy, which tells every cell what it should be.",
    "In the table of the network the four convolutions after the last BasicBlock do not follow "
    "each other: each reads what one size of BasicBlocks gives, from coarse to fine, and the "
    "results are added, the coarse ones enlarged. A BasicBlock adds its input to what its "
    "convolutions make of it, which lets deep networks learn.",
)


def grey_resnet18() -> torchvision.models.ResNet:
    """torchvision's ResNet18 with one grey input channel instead of three; random weights."""
    resnet = torchvision.models.resnet18()
    resnet.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return resnet


MIXED = replace(
    LESSON,
    folder="part3-mixed",
    title="Part 3: real and drawn faces together",
    question=(
        "Do drawn faces, which cost nothing and whose points are exact, help to learn real ones? "
        "Two networks with the same first weights take the same number of steps: one learns from "
        "real and drawn faces together, the other from the real ones alone. Both are tested on "
        "real faces."
    ),
    notes=(
        *LESSON.notes,
        "Real and drawn faces are shuffled together. An epoch here ends after as many batches as "
        "the real faces alone fill, so each real face is seen less often.",
    ),
    try_next=(
        "Learn from drawn faces alone: `python run_part.py 3 --dataset synthetic`.",
        "Measure in the boxes that dlib found: `python run_part.py evaluate "
        "reports/part3-mixed/checkpoint.pt --dataset ibug --split lfpw/testset --boxes file`.",
    ),
)


FRAMES = replace(
    LESSON,
    folder="part3-youtube_faces",
    title="Part 3 on frames of videos",
    question=(
        "Does the same network learn from the Udacity course's data set, frames of YouTube Faces: "
        "blurred, compressed, and many of one person?"
    ),
    notes=(),
    try_next=(
        "See the course's own networks on these faces: `python run_part.py compare`.",
        "Choose by people who are not learned from: `python run_part.py evaluate "
        "reports/part3-youtube_faces/checkpoint.pt --dataset youtube_faces --split validation`.",
        "Faces in the wild: leave out `--dataset youtube_faces`, and it learns from 300-W.",
    ),
)


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


@register
class HeatmapResNet18(nn.Module):
    """ResNet18 that draws a map of each point instead of answering its numbers.

    The four stages of the ResNet are added from the coarsest to the finest (a feature pyramid:
    Lin et al., CVPR 2017, arXiv 1612.03144), and a last convolution gives K maps at a quarter of
    the crop's side. Softmax makes each a distribution over places, and its mean is the answer,
    see ``common.heatmaps``. The mean cannot leave the crop, where the coordinates of ``ResNet18``
    can.

    Takes float (B, 1, H, W) in -0.5..0.5, sides multiples of 32; returns fractions (B, K, 2), or
    while training the maps (B, K, H / 4, W / 4), so that the loss can look at them.
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
        """(B, 1, H, W) -> (B, K, 2), or while training the maps, see ``heatmaps``."""
        return self.heatmaps(faces) if self.training else self.with_spread(faces)[0]

    def with_spread(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """The answers (B, K, 2) and how widely each point's map is spread (B, K), fractions."""
        return soft_argmax(self.heatmaps(faces))

    def heatmaps(self, faces: Tensor) -> Tensor:
        """Where each point may be: (B, 1, H, W) -> log chances (B, K, H / 4, W / 4)."""
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


HEADS = {"coordinates": ResNet18, "heatmap": HeatmapResNet18}
NETWORKS: dict[str, type[nn.Module]] = {**udacity_networks.NETWORKS, "ResNet18": ResNet18}


def load_imagenet(resnet: torchvision.models.ResNet) -> None:
    """Give a grey ResNet18 the weights that torchvision trained on ImageNet's photos.

    Its first layer read red, green and blue, each divided by its deviation; a grey picture is the
    same in all three, so their weights are added. The shift of the mean is left to batch
    normalisation. Raises NotHereError where the weights (45 MB) cannot be fetched.
    """
    try:
        weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True)
    except (OSError, RuntimeError) as fault:
        raise NotHereError(
            f"--pretrained: the ImageNet weights cannot be fetched ({fault}); leave it out, or add "
            "--allow-random, to start from random weights"
        ) from None
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]  # (3, 1, 1)
    weights["conv1.weight"] = (weights["conv1.weight"] / deviation).sum(dim=1, keepdim=True)
    resnet.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")}, False)


def load_agreeing(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a checkpoint wherever names and shapes agree.

    What the checkpoint's network has not, such as another head, keeps its random weights. Raises
    UserError where nothing agrees or ``path`` is no checkpoint.
    """
    known, own = checkpoints.load(path)["weights"], network.state_dict()
    agreeing = {k: v for k, v in known.items() if k in own and own[k].shape == v.shape}
    if not agreeing:
        raise UserError(f"{path}: none of its weights fits; take a checkpoint of part 3's ResNet18")
    network.load_state_dict(agreeing, strict=False)


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


@dataclass(frozen=True)
class Best(Recipe):
    """Ours, for a quarter of an hour on two cores without a GPU."""

    height: int = 128  # little more than half the usual side: a third of the work
    width: int = 128  # a square
    margin: int = 16  # an eighth all around, for turned and shifted faces
    box_scale: float = 1.2  # close: the pixels are for the face; only the worst boxes lose
    head: str = "heatmap"  # a map of each point keeps its place; see HeatmapResNet18
    epochs: int = 16  # a quarter of an hour on two cores
    batch: int = 16  # twice the steps of 32, and they learn more; still enough to normalise by
    loss: str = "wing"  # keeps pulling when the error is a fraction of a pixel
    heatmap_weight: float = (
        0.1  # tells every cell of a map what it should be: learns in half the time
    )
    heatmap_sigma: float = (
        1.0  # in cells: reaching its neighbours, a cell tells places between them
    )
    optimizer: str = "adamw"  # Adam whose weight decay does not depend on the gradient
    weight_decay: float = 0.05  # eleven million weights for three thousand faces
    learning_rate: float = 1e-3  # high, because it falls
    warmup: float = 0.05  # the first steps are small: batch normalisation must settle
    cosine: bool = True  # falls to zero along a cosine, so that the last steps only polish
    bfloat16: bool = True  # half the bits: answers come 1.7 times as fast (docs/part3.md)
    rotation: float = 20.0  # photographed heads tilt; 30 costs a short run more than it gives
    scale: float = 0.05  # beyond what the box's own error does
    box_shift: float = 0.03  # a detector's box is never quite the landmarks' box
    box_scale_spread: float = 0.06  # nor is its size
    flip: float = 0.5  # mirrored faces are faces
    brightness: float = 0.2  # sun and lamps
    contrast: float = 0.2  # and cameras
    occlusion: float = 0.3  # hands, hair, microphones
    no_aug_fraction: float = 0.3  # at the end faces as they are, in boxes as detectors give them
    flip_tta: bool = True  # answer for the face and its mirror image, and take the mean


@dataclass(frozen=True)
class Long(Best):
    """The same with larger crops and more time. The weights in ``parts/assets/weights`` are of its
    fourth cycle; those before were made by an older recipe, see docs/part3.md."""

    height: int = 160  # a finer grid of 40 x 40 cells
    width: int = 160  # a square
    margin: int = 20  # an eighth all around, for turned and shifted faces
    epochs: int = 184  # six and a half hours of one core
    restarts: int = 3  # the learning rate is high again after each quarter, and more is learned
    weight_decay: float = 0.2  # so many steps would learn the training faces by heart
    rotation: float = 30.0  # there is time for more variation
    brightness: float = 0.3  # lights differ by more than a short run is shown
    contrast: float = 0.3  # cameras, too
    side_light: float = 0.3  # windows stand on one side
    blur: float = 0.2  # faces move, and lenses miss them
    compression: float = 0.2  # pictures from the web are compressed
    ema_decay: float = 0.998  # a running mean of the weights is steadier than the last ones


@dataclass(frozen=True)
class Coordinates(Best):
    """The course's way to answer, begun where maps ended: with ``--pretrained
    parts/assets/weights/part3.pt``. Random weights need more epochs, and 1e-3 as learning rate."""

    height: int = 160  # as the weights that ship
    width: int = 160  # a square
    margin: int = 20  # an eighth all around, for turned and shifted faces
    head: str = "coordinates"  # one linear layer after the mean over all places, as in the course
    epochs: int = 24  # fifty minutes of one core
    loss: str = "l1"  # without maps better than wing, 5.38 % to 5.69: docs/ladders.md
    heatmap_weight: float = 0.0  # there are no maps
    learning_rate: float = 3e-4  # low, as it does not begin at random; see docs/part3.md
    ema_decay: float = 0.99  # a running mean of the weights: single steps still throw it about


RECIPES = {"course": Course, "best": Best, "long": Long, "coordinates": Coordinates}


def run(options: Options) -> list[dict[str, float]]:
    """Train ResNet18 as ``options`` say, write ``reports/part3/`` and return the history.

    With ``--dataset mixed`` it is trained twice, see ``real_alone``, for ``reports/part3-mixed/``.
    With ``--network NAME`` it is that network, for ``reports/part3-NAME/``.
    """
    recipe, lesson, beside = options.choose(RECIPES), LESSON, {}
    if options.network:
        recipe = options.choose(udacity_networks.RECIPES)
        lesson = udacity_networks.lesson(options.network)
    elif options.dataset == "youtube_faces":
        lesson = FRAMES
    elif options.dataset == "mixed":
        lesson = MIXED
        recipe, beside = real_alone(recipe, options)

    if recipe.head == "heatmap":
        lesson = replace(lesson, notes=(*lesson.notes, *MAPS))
    if options.pretrained:
        began = f"The first weights were not random: --pretrained {options.pretrained}."
        lesson = replace(lesson, notes=(began, *lesson.notes))
        if options.pretrained != "imagenet":  # its last layer knows more than the mean face
            recipe = replace(recipe, init_bias_to_mean=False)

    # 1. The faces: files, points and boxes, nothing decoded yet.
    train, test = train_and_test("ibug", options.dataset, options.data)
    if options.dataset == "youtube_faces":
        told = people_in_both(train, test)
        print(told, file=sys.stderr)
        lesson = replace(lesson, notes=(told, *lesson.notes))

    # 2. Every face decoded once, cut to a square with a margin and kept as bytes.
    train, test = load_crops(train, recipe), load_crops(test, recipe)

    # 3. The network, its first weights drawn from the seed or, if asked for, learned elsewhere.
    network = new_network(recipe, options, train.faces.scheme.n_points)

    # 4. Training: the same loop as in parts 1 and 2.
    folder = options.reports / lesson.folder
    history = fit(network, train, test, recipe, options, folder / "checkpoint.pt")
    finish_workers()  # where torchrun started several processes

    # 5. The same measures, those of the papers' protocols, and the same page.
    doubt = flip_disagreement_p99(network.eval(), train, recipe)
    measured = protocols(network, recipe, train.faces, options.data, doubt)
    page = write_run_report(network, train, test, recipe, lesson, options, beside, measured)
    print(f"the page: {page}")
    return history


def new_network(recipe: Recipe, options: Options, n_points: int) -> nn.Module:
    """The network asked for, ResNet18 with the recipe's head by default; its first weights are
    the seed's, ImageNet's or a checkpoint's.

    Raises UserError where those that are asked for cannot be had.
    """
    kind = NETWORKS[options.network or "ResNet18"]
    if kind is ResNet18:
        kind = HEADS[recipe.head]
    elif options.head or options.pretrained:
        raise UserError(
            f"--network {options.network}: has no other head and starts from random weights; leave "
            "out --head and --pretrained, or take ResNet18"
        )
    torch.manual_seed(options.seed)
    network = kind(n_points=n_points)
    if options.pretrained == "imagenet":
        try:
            load_imagenet(network.resnet)
        except UserError as fault:
            if not options.allow_random:
                raise
            print(f"{fault}; going on from random weights", file=sys.stderr)
    elif options.pretrained:
        load_agreeing(network, Path(options.pretrained))
    return network


def real_alone(recipe: Recipe, options: Options) -> tuple[Recipe, dict[str, nn.Module]]:
    """Train what real and drawn faces together are held against: the real ones alone.

    Returns the recipe with which the mixed faces take as many steps, and the network by its name.
    """
    train, test = train_and_test("ibug", "ibug", options.data)
    train, test = load_crops(train, recipe), load_crops(test, recipe)
    network = new_network(recipe, options, train.faces.scheme.n_points)
    fit(network, train, test, recipe, options, options.reports / MIXED.folder / "real-alone.pt")
    steps = math.ceil(len(train) / recipe.batch)
    return replace(recipe, max_steps=steps), {"real faces alone": network}
