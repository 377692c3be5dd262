"""A recipe: every hyper-parameter of a training run, in one frozen dataclass.

A part writes a subclass that lists only what it sets, one line a value, each with its reason as
the comment behind it. The page shows those lines.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from common.system.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """The values that training starts from: nothing augmented, nothing scheduled.

    Sizes are pixels of the network's crop, shifts fractions of its side, angles degrees. A "±"
    range is uniform around zero; every face of every batch draws its own number.
    """

    # The crop
    height: int = 0
    width: int = 0
    margin: int = 0  # pixels kept around the crop in memory, for turned and shifted faces
    box_scale: float = 0.0  # side of the square crop over the box's longer side; 0: the box itself
    colour: bool = False  # keep colour in memory; needed for saturation and hue
    # The network
    head: str = "coordinates"  # what part 3's network predicts: coordinates or heatmap
    # Training
    epochs: int = 1
    batch: int = 1
    max_steps: int = 0  # batches after which an epoch ends; 0: after every face
    loss: str = "mse"
    heatmap_weight: float = 0.0  # of the cross-entropy beside the coordinates' loss
    heatmap_sigma: float = 1.0  # standard deviation of its Gaussian target, in cells
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    cosine: bool = False  # the learning rate falls to zero along a cosine
    warmup: float = 0.0  # fraction of each cycle in which the learning rate rises from zero
    restarts: int = 0  # of the learning rate: the run has one cycle more than this
    ema_decay: float = 0.0  # of the weights' exponential moving average; 0: no EMA
    he_init: bool = False  # initial weights of the convolutions by He et al.
    init_bias_to_mean: bool = False  # last layer: weights zero, bias = mean training shape
    flip_tta: bool = False  # test-time flip: mean over the face and its mirror image
    bfloat16: bool = False  # mixed precision where the processor supports it
    # Augmentation
    no_aug_fraction: float = 0.0  # of each cycle, at its end: flips and box jitter only
    rotation: float = 0.0  # ± degrees
    scale: float = 0.0  # ± share of the size
    shift: float = 0.0  # ± share of the crop's side
    flip: float = 0.0  # probability of a mirrored face
    box_shift: float = 0.0  # standard deviation of the box's centre, share of the side
    box_scale_spread: float = 0.0  # standard deviation of the box's size, share of it
    brightness: float = 0.0  # ± share: all values times 1 ± this
    contrast: float = 0.0  # ± share: distance from the mean grey times 1 ± this
    saturation: float = 0.0  # ± share: distance from the grey picture times 1 ± this
    hue: float = 0.0  # ± share of the full turn around the colour circle
    occlusion: float = 0.0  # probability of a patch over the face
    side_light: float = 0.0  # ± share by which one edge is brighter and the other darker
    blur: float = 0.0  # probability of blur
    compression: float = 0.0  # probability of strong JPEG compression

    @property
    def cached_size(self) -> tuple[int, int]:
        """Height and width of the crops in memory, margins included, in pixels."""
        return self.height + 2 * self.margin, self.width + 2 * self.margin


def reasons(recipe: Recipe) -> list[tuple[str, str, str]]:
    """(name, value, reason) of each line that the recipe's class sets, or one it builds on.

    Values are those of ``recipe``, so a changed number of epochs shows as it was run, with the
    class's own in place of the reason. Reasons are the comments behind the lines, read from the
    source.
    """
    line = re.compile(r"^    (\w+): \w+ = .*?  # (.+)$", re.MULTILINE)
    classes = [kind for kind in type(recipe).__mro__ if issubclass(kind, Recipe)]
    comments: dict[str, str] = {}
    for kind in reversed(classes[:-1]):  # a recipe that changes another one shows both
        comments |= dict(line.findall(inspect.getsource(kind)))
    lines = []
    for name, reason in comments.items():
        value, own = getattr(recipe, name), getattr(type(recipe)(), name)
        if value != own:
            reason = f"set for this run, instead of the recipe's {own}"
        lines.append((name, str(value), reason))
    return lines


def stairs(recipe: Recipe) -> list[dict[str, str]]:
    """The values of each recipe that the recipe's class builds on, from the first to its own."""
    classes = [kind for kind in type(recipe).__mro__ if issubclass(kind, Recipe)]
    return [{name: value for name, value, _ in reasons(kind())} for kind in classes[-2::-1]]


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def need_one(option: str, count: int) -> None:
    """Raises UserError where ``count``, the value of ``option``, is below 1."""
    if count < 1:
        raise UserError(f"{option} {count}: nothing would be done; take 1 or more")


@dataclass(frozen=True)
class Options:
    """The options of ``python run_part.py 1`` (2, 3).

    dataset: a data set's name; None takes the part's own, or synthetic faces where it is missing.
    data: the folder below which data sets lie; None means FACE_DATA, else datasets/files.
    epochs, loss: instead of the recipe's own.
    step: of part 3: crops, coordinates or heatmaps.
    network: part 3's; None takes its own ResNet18, a name one of the Udacity route's by the
        route's recipes.
    pairs: left-right pairs of your own points, such as "a=b,c=d"; None: from their names.
    pretrained: what part 3 starts from: "imagenet" or a checkpoint's file; None: random weights.
    allow_random: go on from random weights where ImageNet's cannot be fetched.
    device: such as "cpu" or "cuda:1"; None takes the best there is.
    mine: the learner's functions that train instead of ours, and what ``check`` says of each.
    """

    recipe: str = "best"
    dataset: str | None = None
    data: Path | None = None
    epochs: int | None = None
    loss: str | None = None
    step: str = "heatmaps"
    network: str | None = None
    pretrained: str | None = None
    allow_random: bool = False
    pairs: str | None = None
    seed: int = 0
    device: str | None = None
    reports: Path = Path("reports")
    resume: bool = False
    mine: Mapping[str, str] | None = None

    def choose(self, recipes: dict[str, type[AnyRecipe]]) -> AnyRecipe:
        """The recipe by its name, with the values that these options change."""
        if self.epochs is not None:
            need_one("--epochs", self.epochs)
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed {self.seed}: take a whole number from 0 to {2**32 - 1}")
        if self.recipe not in recipes:
            raise UserError(
                f"--recipe {self.recipe}: not for this network; it has {', '.join(recipes)}"
            )
        given = {"epochs": self.epochs, "loss": self.loss}
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(recipes[self.recipe](), **changes)
