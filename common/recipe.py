"""A recipe: every hyper-parameter of a training run, in one frozen dataclass.

A part writes a subclass that lists only what it sets, one line a value, each with its reason as
the comment behind it. The page shows those lines.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass


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
    head: str = "coordinates"  # how part 3's network answers: coordinates or heatmap
    # Training
    epochs: int = 1
    batch: int = 1
    steps: int = 0  # an epoch ends after so many, before every face was seen; 0: each face once
    loss: str = "mse"
    map_weight: float = 0.0  # of the maps' cross-entropy beside the loss, with heatmaps
    map_width: float = 1.0  # cells by which it blurs the truth
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    cosine: bool = False  # let the learning rate fall to zero along a cosine
    warmup: float = 0.0  # share of a cycle's steps in which the learning rate rises from zero
    cycles: int = 1  # how often the learning rate starts anew, after equally many steps
    average: float = 0.0  # decay of the running mean of the weights; 0: the last weights
    he_init: bool = False  # draw the convolutions' weights so that signals keep their size
    start_at_mean: bool = False  # let the untrained network answer the mean training shape
    flip_average: bool = False  # answer the mean of a face and of its mirror image
    bfloat16: bool = False  # compute in half the bits where the processor can
    # Augmentation
    calm: float = 0.0  # share of a cycle's steps, its last, in which faces are mirrored and boxes
    # err as below, and nothing else is varied
    rotation: float = 0.0  # ± degrees
    scale: float = 0.0  # ± share of the size
    shift: float = 0.0  # ± share of the crop's side
    flip: float = 0.0  # share of faces that are mirrored
    box_shift: float = 0.0  # standard deviation of the box's centre, share of the side
    box_scale_spread: float = 0.0  # standard deviation of the box's size, share of it
    brightness: float = 0.0  # ± share: all values times 1 ± this
    contrast: float = 0.0  # ± share: distance from the mean grey times 1 ± this
    saturation: float = 0.0  # ± share: distance from the grey picture times 1 ± this
    hue: float = 0.0  # ± share of the full turn around the colour circle
    occlusion: float = 0.0  # share of faces with a patch over them
    side_light: float = 0.0  # ± share by which one edge is brighter and the other darker
    blur: float = 0.0  # share of faces that are blurred
    compression: float = 0.0  # share of faces with the marks of strong JPEG compression

    @property
    def kept_size(self) -> tuple[int, int]:
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
    told: dict[str, str] = {}
    for kind in reversed(classes[:-1]):  # a recipe that changes another one shows both
        told |= dict(line.findall(inspect.getsource(kind)))
    lines = []
    for name, reason in told.items():
        value, own = getattr(recipe, name), getattr(type(recipe)(), name)
        if value != own:
            reason = f"asked for in this run, instead of the recipe's {own}"
        lines.append((name, str(value), reason))
    return lines
