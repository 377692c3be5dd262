"""Checkpoints of networks that have learned nothing, to be loaded."""

from dataclasses import asdict

from common import checkpoints
from common.recipe import Recipe
from parts.part3_large_dataset import ResNet18

RECIPE = Recipe(height=32, width=32, margin=4, box_scale=1.3)


def checkpoint_of(path, network=None, recipe=RECIPE, **changes):
    """Write the checkpoint of a network of 68 points, or as ``changes`` say; its path."""
    network = network or ResNet18()
    checkpoint = {
        "network": type(network).__name__, "arguments": network.arguments,
        "weights": network.state_dict(), "recipe": asdict(recipe), "scheme": "ibug68",
        "point_ids": list(range(68)), "dataset": "ibug",
    }  # fmt: skip
    checkpoints.save(checkpoint | changes, path)
    return path
