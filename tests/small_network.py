"""Checkpoints of networks that have learned nothing, to be loaded."""

from dataclasses import asdict

from common import checkpoints
from common.recipe import Recipe
from parts.part2_full_face import FaceNet

RECIPE = Recipe(height=96, width=96, margin=4, box_scale=1.3)


def checkpoint_of(path, network=None, recipe=RECIPE, **changes):
    """Write the checkpoint of a network of 68 points, or as ``changes`` say; its path."""
    network = network or FaceNet(96, 96, n_points=68)  # a fraction of a megabyte
    checkpoint = {
        "network": type(network).__name__, "arguments": network.arguments,
        "weights": network.state_dict(), "recipe": asdict(recipe), "scheme": "ibug68",
        "point_ids": list(range(68)), "dataset": "ibug",
    }  # fmt: skip
    checkpoints.save(checkpoint | changes, path)
    return path
