"""Variations of part 3: other faces, other networks, other initial weights, longer training.

``python run_part.py 3`` is the lesson, ``parts/part3_large_dataset.py``. What hangs on it is here:
``--dataset mixed``, ``youtube_faces`` and your own, ``--network``, ``--pretrained``, and the
recipes long and from-heatmaps.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision
from torch import nn

from common import checkpoints, own_network
from common.loading import load_crops
from common.recipe import Options, Recipe
from common.report.lesson import read_lesson
from common.report.run_report import write_run_report
from common.system.distributed import finish_workers
from common.system.errors import NotHereError, UserError
from common.training import fit
from datasets.splits import is_own, train_and_test
from datasets.youtube_faces import people_in_both
from parts import own_points, part3_large_dataset, udacity_networks
from parts.part3_large_dataset import (
    LESSONS,
    PAGES,
    UNMEASURED,
    Best,
    Coordinates,
    ResNet18,
    lesson_recipes,
)
from parts.protocols_300w import protocols

NETWORKS: dict[str, type[nn.Module]] = {**udacity_networks.NETWORKS, "ResNet18": ResNet18}


@dataclass(frozen=True)
class Long(Best):
    """Larger crops and more time. The weights in ``parts/assets/weights`` are of its fourth cycle;
    the cycles before had an older recipe, see docs/part3.md."""

    height: int = 160  # a finer grid of 40 x 40 cells
    width: int = 160  # a square
    margin: int = 20  # an eighth all around, for turned and shifted faces
    epochs: int = 184  # six and a half hours of one core
    restarts: int = 3  # warm restarts: each quarter starts at the full learning rate
    weight_decay: float = 0.2  # a long training overfits more
    rotation: float = 30.0  # a long training has time for more augmentation
    brightness: float = 0.3  # likewise
    contrast: float = 0.3  # likewise
    side_light: float = 0.3  # windows light faces from one side
    blur: float = 0.2  # motion and bad focus
    compression: float = 0.2  # pictures from the web are compressed
    ema_decay: float = 0.998  # EMA: the mean of many steps has less noise than the last one


@dataclass(frozen=True)
class OwnNetwork(Coordinates):
    """Part 3's recipe for coordinates, for a network class of your own."""

    init_bias_to_mean: bool = False  # its last layer may be of any kind


@dataclass(frozen=True)
class FromHeatmaps(Best):
    """Coordinates, fine-tuned from a network that was trained with heatmaps: with ``--pretrained
    parts/assets/weights/part3.pt``. Random weights need more epochs, and 1e-3 as learning rate."""

    height: int = 160  # as the weights that ship
    width: int = 160  # a square
    margin: int = 20  # an eighth all around, for turned and shifted faces
    head: str = "coordinates"  # one linear layer after the mean over all places, as in the course
    epochs: int = 24  # fifty minutes of one core
    loss: str = "l1"  # for coordinates better than wing: 5.38 % and 5.69, docs/ladders.md
    heatmap_weight: float = 0.0  # there are no heatmaps
    learning_rate: float = 3e-4  # low, as it does not begin at random; see docs/part3.md
    ema_decay: float = 0.99  # EMA: single steps are still noisy


RECIPES = {"long": Long, "from-heatmaps": FromHeatmaps}
MIXED = read_lesson(PAGES / "part3-mixed.md", UNMEASURED)
FRAMES = read_lesson(PAGES / "part3-youtube_faces.md", UNMEASURED)


def run(options: Options) -> list[dict[str, float]]:
    """Train the variation that ``options`` name and return the history.

    The lesson's network for ``reports/part3/``; with ``--dataset mixed``, trained twice, see
    ``real_alone``, for ``reports/part3-mixed/``; with ``--network NAME`` that network, for
    ``reports/part3-NAME/``; with your own faces for ``reports/own-PATH/``.
    """
    check_step(options)
    if not is_variant(options):
        return part3_large_dataset.run(options)
    recipe, beside = options.choose(RECIPES | lesson_recipes(options)), {}
    lesson = LESSONS[options.step]
    if own_class := own_network.name_in(options.network):
        recipe, lesson = options.choose({"best": OwnNetwork}), LESSONS["coordinates"]
        title, folder = f"Part 3 with {own_class}", f"part3-{own_class}"
        lesson = replace(lesson, title=title, folder=folder)
    elif options.network:
        recipe = options.choose(udacity_networks.RECIPES)
        lesson = udacity_networks.lesson(options.network)
    elif options.dataset == "youtube_faces":
        lesson = FRAMES
    elif options.dataset == "mixed":
        lesson = MIXED
        recipe, beside = real_alone(recipe, options)
    if own := is_own(options.dataset):
        train, test, lesson = own_points.train_and_test(options)
        recipe = own_points.fitted(recipe, train, options)
    else:
        train, test = train_and_test("ibug", options.dataset, options.data)
    if options.pretrained:
        began = f"The initial weights were not random: --pretrained {options.pretrained}."
        lesson = replace(lesson, notes=(began, *lesson.notes))
        if options.pretrained != "imagenet":  # its last layer is better than the mean face
            recipe = replace(recipe, init_bias_to_mean=False)

    if options.dataset == "youtube_faces":
        people = people_in_both(train, test)
        print(people, file=sys.stderr)
        lesson = replace(lesson, notes=(people, *lesson.notes))
    train, test = load_crops(train, recipe), load_crops(test, recipe)
    network = new_network(recipe, options, train.faces.scheme.n_points)
    folder = options.reports / lesson.folder
    history = fit(network, train, test, recipe, options, folder / "checkpoint.pt")
    finish_workers()
    if own:
        own_points.add_framing(folder / "checkpoint.pt", train, options)
    measured = protocols(network, train, recipe, options.data)
    page = write_run_report(network, train, test, recipe, lesson, options, beside, measured)
    print(f"the page: {page}")
    return history


def check_step(options: Options) -> None:
    """Raises UserError where a step of the lesson is requested with what is not the lesson's."""
    others = {
        f"--recipe {options.recipe}": options.recipe != "best",
        f"--network {options.network}": options.network,
        f"--dataset {options.dataset}": options.dataset in ("mixed", "youtube_faces"),
        "--pretrained": options.pretrained and options.step == "crops",
    }
    clashes = [name for name, given in others.items() if given]
    if clashes and options.step != "heatmaps":
        raise UserError(
            f"--step {options.step}: is of the lesson alone; leave out {' and '.join(clashes)}, or "
            "--step"
        )


def is_variant(options: Options) -> bool:
    """Whether a run is more than the lesson of part 3."""
    return bool(
        options.network
        or options.pretrained
        or is_own(options.dataset)
        or options.dataset in ("mixed", "youtube_faces")
        or options.recipe in RECIPES
    )


def new_network(recipe: Recipe, options: Options, n_points: int) -> nn.Module:
    """The requested network, by default the lesson's; its initial weights are drawn from the seed,
    or are ImageNet's or a checkpoint's.

    Raises UserError where requested weights are not available or do not fit.
    """
    own_class = own_network.name_in(options.network)
    kind = ResNet18 if own_class else NETWORKS[options.network or "ResNet18"]
    if kind is not ResNet18 and (options.step != "heatmaps" or options.pretrained):
        raise UserError(
            f"--network {options.network}: has no steps and starts from random weights; leave "
            "out --step and --pretrained, or take ResNet18"
        )
    if own_class:
        torch.manual_seed(options.seed)
        network = own_network.new_network(
            options.network, recipe.height, recipe.width, n_points
        )  # fmt: skip
    elif kind is ResNet18:
        network = part3_large_dataset.new_network(recipe, options, n_points)
    else:
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
    """Train the baseline of real and synthetic faces together: the real ones alone.

    Returns the recipe with which the mixed faces take as many steps, and the network by its name.
    """
    train, test = train_and_test("ibug", "ibug", options.data)
    train, test = load_crops(train, recipe), load_crops(test, recipe)
    network = new_network(recipe, options, train.faces.scheme.n_points)
    fit(network, train, test, recipe, options, options.reports / MIXED.folder / "real-alone.pt")
    steps = math.ceil(len(train) / recipe.batch)
    return replace(recipe, max_steps=steps), {"real faces alone": network}


def load_imagenet(resnet: torchvision.models.ResNet) -> None:
    """Give a grey ResNet18 the weights that torchvision trained on ImageNet's photos.

    Its first layer expects red, green and blue, each divided by its standard deviation; a grey
    picture is the same in all three, so their weights are added. The shift of the mean is left to
    batch normalisation. Raises NotHereError where the weights (45 MB) cannot be downloaded.
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

    Other weights, such as those of another head or number of points, stay random; a line on stderr
    counts the rest. Raises UserError where nothing agrees or ``path`` is no checkpoint.
    """
    known, own = checkpoints.load(path)["weights"], network.state_dict()
    agreeing = {k: v for k, v in known.items() if k in own and own[k].shape == v.shape}
    if not agreeing:
        raise UserError(f"{path}: none of its weights fits; take a checkpoint of part 3's ResNet18")
    network.load_state_dict(agreeing, strict=False)
    print(f"{path}: {len(agreeing)} of {len(own)} tensors used", file=sys.stderr)
