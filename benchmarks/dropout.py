"""What dropout does to predictions: ``python -m benchmarks.dropout CHECKPOINT``.

In training, dropout sets random units to zero, and the network learns with that. In evaluation it
is off, the mean activations behind it differ, and all faces may share an offset. It is printed with
dropout off and on, for a network of the Udacity route on the test frames of its data set, and so
are the units of the first dense layer that are constant.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import parser_of, run
from common import checkpoints
from common.augmentation import to_network_input
from common.crops import to_pixels
from common.loading import load_crops
from common.system.errors import UserError
from datasets.splits import train_and_test
from parts.udacity_networks import NETWORKS


@torch.inference_mode()
def main() -> None:
    """Print one line with dropout off, one with it on, and one on constant units."""
    parser = parser_of(__doc__)
    parser.add_argument("checkpoint", type=Path)
    file = parser.parse_args().checkpoint

    checkpoint = checkpoints.load(file)
    network, recipe = checkpoints.network_of(checkpoint).eval(), checkpoints.recipe_of(checkpoint)
    if type(network).__name__ not in NETWORKS:
        raise UserError(f"{file}: is none of {', '.join(NETWORKS)}; name another")
    _, test = train_and_test("ibug", checkpoint["dataset"], None)
    crops = load_crops(test, recipe)

    outputs: list[Tensor] = []  # of the first dense layer's activation, (B, units) each
    network.head[1].register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    for state in ("off", "on"):
        torch.manual_seed(0)
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.train(state == "on")
        outputs.clear()
        batches = crops.images.split(recipe.batch)
        fractions = torch.cat([network(to_network_input(images, recipe)) for images in batches])
        offset = to_pixels(fractions, recipe.height, recipe.width) - crops.points  # (N, K, 2)
        if state == "off":
            constant = torch.cat(outputs).std(dim=0) < 1e-6  # (units,)
        shared = offset.mean(dim=0)  # (K, 2)
        whole, same, rest = (x.square().mean().sqrt() for x in (offset, shared, offset - shared))
        print(
            f"dropout {state}: {whole:.2f} px off (root mean square), "
            f"{same:.2f} the same for every face, {rest:.2f} from face to face"
        )
    print(
        f"{constant.sum()} of {len(constant)} hidden units are the same for all {len(crops)} faces"
    )


if __name__ == "__main__":
    run(main)
