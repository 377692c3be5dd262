"""Speed of one network in several runtimes, and its NME there: ``python -m benchmarks.inference``.

Milliseconds a face, one and eight at once, of a network for 68 points in PyTorch and, where the
packages of the extra ``export`` are installed, in ONNX Runtime as float32 and int8, each with its
NME on lfpw/testset. All take turns, call by call, so that other processes disturb all alike. int8
is static: its ranges are measured on training faces.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import parser_of, run
from common import checkpoints
from common.augmentation import to_network_input
from common.checkpoints import Checkpoint
from common.crops import to_pixels
from common.inference import predict_flipped
from common.keypoints import IBUG_68
from common.loading import Crops, load_crops
from common.metrics import errors_per_face
from common.photos.finder import optimise_for_inference, require_all_points
from common.photos.onnx_runtime import OnnxNetwork, as_onnx, quantised
from common.recipe import Recipe
from common.system.device import computes_in_bfloat16
from common.system.errors import UserError
from datasets.splits import split
from parts.toolkit import SHIPPED, named

Predict = Callable[[Tensor], Tensor]
"""From float32 (B, 1, h, w) to fractions (B, 68, 2)."""

INT8 = {  # the CalibrationMethod of ranges, whether each kernel has a scale, what stays float32
    "int8": ("MinMax", True, "last layer"),
    "int8, last layer too": ("MinMax", True, "nothing"),
    "int8, a scale a layer": ("MinMax", False, "last layer"),
    "int8, entropy": ("Entropy", True, "last layer"),
    "int8, percentile": ("Percentile", True, "last layer"),
}


def main() -> None:
    """Print one line for each runtime."""
    parser = parser_of(__doc__, calls=50)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="default: the one that ships")
    options = parser.parse_args()

    chosen = named(options.checkpoint or SHIPPED)
    trained, recipe = chosen.checkpoint, chosen.recipe
    require_all_points(trained, chosen.name)
    test = load_crops(split("ibug", "lfpw/testset", None, "landmarks", IBUG_68), recipe)
    ways = in_pytorch(trained)
    try:
        ways |= in_onnx_runtime(trained)
    except UserError as fault:
        print(f"without ONNX Runtime: {fault}")
    faces = to_network_input(test.images, recipe)
    ones, eights = (milliseconds(ways, faces[:count], options.calls) for count in (1, 8))
    errors = {name: nme(way, faces, test, recipe) for name, way in ways.items()}
    first = next(iter(ways))
    print(
        f"{trained['network']}, {recipe.width} × {recipe.height}, {torch.get_num_threads()} "
        f"threads; ms a face, median of {options.calls} calls; NME on lfpw/testset, with test-time "
        f"flip: {recipe.flip_tta}\n{'':36}{'1 at once':>11}{'8 at once':>11}{'faster':>9}"
        f"{'NME, %':>9}{'worse':>9}"
    )
    for name in ways:
        print(
            f"{name:36}{ones[name]:11.2f}{eights[name]:11.2f}{ones[first] / ones[name]:9.2f}"
            f"{errors[name]:9.3f}{errors[name] - errors[first]:+9.3f}"
        )


def in_pytorch(trained: Checkpoint) -> dict[str, Predict]:
    """Plain, as ``predict`` runs it, and as a video does, see ``optimise_for_inference``."""

    def last(network: nn.Module, dtype: torch.dtype) -> Predict:
        network = network.to(dtype, memory_format=torch.channels_last)
        return lambda faces: network(faces.to(dtype, memory_format=torch.channels_last)).float()

    plain, other, folded = (checkpoints.network_of(trained) for _ in range(3))
    half = computes_in_bfloat16(torch.device("cpu"))
    name, dtype = ("bfloat16", torch.bfloat16) if half else ("float32", torch.float32)
    return {
        "PyTorch float32": plain,
        "PyTorch float32, channels last": last(other, torch.float32),
        f"PyTorch {name}, folded": last(optimise_for_inference(folded), dtype),
    }


def in_onnx_runtime(trained: Checkpoint) -> dict[str, Predict]:
    """As float32 and in each way of INT8. Raises UserError where the packages are missing."""
    recipe = checkpoints.recipe_of(trained)
    model = as_onnx(checkpoints.network_of(trained), recipe.height, recipe.width, {})
    train = split("ibug", "train", None, "landmarks", IBUG_68)
    some = train.take(torch.linspace(0, len(train) - 1, 256).long(), "ibug/calibration")
    faces = to_network_input(load_crops(some, recipe).images, recipe)  # (256, 1, h, w)
    int8 = {name: quantised(model, faces, *how) for name, how in INT8.items()}
    models = {"float32": model} | int8
    return {f"ONNX Runtime {name}": OnnxNetwork(file) for name, file in models.items()}


@torch.inference_mode()
def milliseconds(ways: dict[str, Predict], faces: Tensor, calls: int) -> dict[str, float]:
    """The median milliseconds a face that each way takes for these faces, after ten calls."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(10 + calls):
        for name, way in ways.items():
            began = time.perf_counter()
            way(faces)
            seconds[name].append(time.perf_counter() - began)
    return {name: 1000 * statistics.median(of[10:]) / len(faces) for name, of in seconds.items()}


@torch.inference_mode()
def nme(way: Predict, faces: Tensor, test: Crops, recipe: Recipe) -> float:
    """Mean NME in % of the test faces, whose input is ``faces`` (N, 1, h, w)."""
    fractions = []
    for batch in faces.split(32):
        fractions.append(way(batch))
        if recipe.flip_tta:
            fractions[-1] = (fractions[-1] + predict_flipped(way, batch, test.flip_order)) / 2
    points = to_pixels(torch.cat(fractions), recipe.height, recipe.width)  # (N, 68, 2)
    return errors_per_face(points, test, recipe)["nme"].mean().item()


if __name__ == "__main__":
    run(main)
