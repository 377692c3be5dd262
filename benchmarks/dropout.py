"""What dropout does to a network's answers: ``python -m benchmarks.dropout CHECKPOINT``.

For the networks of the Udacity route, on the test frames of the set that the checkpoint is of.

While training, dropout silences units by chance, and the network learns to be right with that.
Where it is switched off, as it is for every answer, activations behind it are no longer the same
on average, and an offset that all faces share may be left. It is told with dropout off and on,
together with the units of the first dense layer that say the same of every face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoints
from common.augmentation import to_network_input
from common.crops import to_pixels
from common.loading import Crops, load_crops
from common.recipe import Recipe
from common.system.errors import UserError
from datasets.splits import train_and_test
from parts.udacity_networks import NETWORKS


@torch.inference_mode()
def offsets(network: nn.Module, crops: Crops, recipe: Recipe) -> Tensor:
    """How far each answer lies beside the truth: (N, K, 2) pixels of the crop."""
    answers = [
        network(to_network_input(images, recipe)) for images in crops.images.split(recipe.batch)
    ]
    return to_pixels(torch.cat(answers), recipe.height, recipe.width) - crops.points


def main() -> None:
    """Print one line with dropout off and one with it on, and one on silent units."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    asked = parser.parse_args()

    checkpoint = checkpoints.load(asked.checkpoint)
    network, recipe = checkpoints.network_of(checkpoint).eval(), checkpoints.recipe_of(checkpoint)
    if type(network).__name__ not in NETWORKS:
        raise UserError(f"{asked.checkpoint}: is none of {', '.join(NETWORKS)}; name another")
    _, test = train_and_test("ibug", checkpoint["dataset"], None)
    crops = load_crops(test, recipe)

    said: list[Tensor] = []  # by the first dense layer's activation, (B, units) each
    hook = network.head[1].register_forward_hook(lambda _module, _inputs, out: said.append(out))
    off = {"off": offsets(network, crops, recipe)}
    hook.remove()
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.train()
    off["on"] = offsets(network, crops, recipe)
    for state, offset in off.items():
        shared = offset.mean(dim=0)  # (K, 2)
        whole, same, rest = (x.square().mean().sqrt() for x in (offset, shared, offset - shared))
        print(
            f"dropout {state}: {whole:.2f} px off (root mean square), "
            f"{same:.2f} the same for every face, {rest:.2f} from face to face"
        )
    silent = torch.cat(said).std(dim=0) < 1e-6  # (units,)
    print(f"{silent.sum()} of {len(silent)} hidden units say the same of all {len(crops)} faces")


if __name__ == "__main__":
    main()
