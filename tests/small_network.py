"""A checkpoint of a network that has learned nothing, to be loaded."""

from dataclasses import asdict

from common import checkpoints
from common.recipe import Recipe
from parts.part3_large_dataset import ResNet18


def checkpoint_of(path, scheme="ibug68", points=68, **changes):
    network = ResNet18(points)
    recipe = Recipe(height=32, width=32, margin=4, box_scale=1.3)
    checkpoints.save(
        {
            "network": "parts.part3_large_dataset.ResNet18",
            "arguments": network.arguments,
            "weights": network.state_dict(),
            "recipe": asdict(recipe),
            "scheme": scheme,
            "point_ids": tuple(range(points)),
        }
        | changes,
        path,
    )
    return path
