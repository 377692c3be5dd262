"""What a network is made of and what it costs: layers, multiply-adds, time, kernels, responses."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.report import image_figures
from common.report.page import Gallery

Note = Callable[[nn.Module, object, Tensor], None]
"""Gets a module, its inputs and its output."""


@dataclass(frozen=True)
class Layer:
    """One row of the table of layers."""

    name: str
    does: str
    output: str
    parameters: int


@contextmanager
def forward_hooks(notes: dict[nn.Module, Note]) -> Iterator[None]:
    """Within it, every output of a module is passed to the module's note."""
    hooks = [module.register_forward_hook(note) for module, note in notes.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def multiply_adds(network: nn.Module, image: Tensor) -> int:
    """Multiplications with an addition that one image (1, C, H, W) costs.

    Those of convolutions and matrix products, half of PyTorch's floating-point operations; all
    others together are a small part.
    """
    with FlopCounterMode(display=False) as counter:
        network.eval()(image)
    return counter.get_total_flops() // 2


@torch.inference_mode()
def milliseconds(network: nn.Module, image: Tensor, times: int = 10) -> float:
    """The median time for one image (1, C, H, W), after two to warm up."""
    network.eval()
    spent = []
    for _ in range(times + 2):
        start = time.perf_counter()
        network(image)
        spent.append(1000 * (time.perf_counter() - start))
    return statistics.median(spent[2:])


def layers(network: nn.Module, image: Tensor) -> list[Layer]:
    """What happens to one image (1, 1, H, W) on its way through the network, in order.

    A row is a module without children or a small block such as a ResNet's ``BasicBlock``;
    containers are opened.
    """
    rows: list[Layer] = []
    counted: set[int] = set()

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        own = [parameter for parameter in module.parameters() if id(parameter) not in counted]
        counted.update(map(id, own))
        shape = " × ".join(map(str, output.shape[1:]))
        parameters = sum(parameter.numel() for parameter in own)
        rows.append(Layer(type(module).__name__, _describe(module), shape, parameters))

    with forward_hooks(dict.fromkeys(_steps(network), note)):
        _forward(network, image)
    return rows


def convolutions(
    gallery: Gallery, network: nn.Module, image: Tensor, first: int = 2
) -> list[dict[str, Any]]:
    """Kernels of the ``first`` convolutions, and their responses to a face, for the template.

    image: float32 (1, 1, H, W) in -0.5..0.5.
    """
    found = []
    chosen_layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)][:first]
    for number, convolution in enumerate(chosen_layers, 1):
        weight = convolution.weight.detach().float().cpu()  # (out, in, h, w)
        count, channels, height, width = weight.shape
        maps = _output_of(network, convolution, image)  # (out, H, W)
        strength = maps.flatten(1).std(dim=1)  # (out,)
        chosen = strength.argsort(descending=True, stable=True)[:8]
        names = [f"kernel {index + 1}" for index in chosen.tolist()]
        single = weight[chosen, 0] if channels == 1 else None
        kernels = image_figures.kernels(weight if channels == 1 else weight[chosen])
        responses = image_figures.responses(single, maps[chosen], names)
        found.append(
            {
                "number": number,
                "count": count,
                "channels": channels,
                "height": height,
                "width": width,
                "low": weight.min().item(),
                "high": weight.max().item(),
                "kernels": gallery.add(f"kernels-{number}", kernels),
                "responses": gallery.add(f"responses-{number}", responses),
                "shown": len(chosen),
                "strongest": names[0],
                "strength": strength.max().item(),
                "median": strength.median().item(),
            }
        )
    return found


def _steps(module: nn.Module) -> list[nn.Module]:
    steps = []
    for child in module.children():
        n_leaves = sum(not list(inner.children()) for inner in child.modules())
        opened = isinstance(child, (nn.Sequential, nn.ModuleList)) or n_leaves > 10
        steps += _steps(child) if opened and list(child.children()) else [child]
    return steps


def _describe(module: nn.Module) -> str:
    match module:
        case nn.Conv2d():
            height, width = module.kernel_size
            stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
            return f"{height}×{width}, {module.in_channels} → {module.out_channels}{stride}"
        case nn.MaxPool2d() | nn.AvgPool2d():
            return f"{module.kernel_size}×{module.kernel_size}, stride {module.stride}"
        case nn.Linear():
            return f"{module.in_features} → {module.out_features}"
        case nn.Dropout():
            return f"p = {module.p:g}"
    return "; ".join(_describe(inner) for inner in module.modules() if isinstance(inner, nn.Conv2d))


def _output_of(network: nn.Module, module: nn.Module, image: Tensor) -> Tensor:
    """The output of ``module`` for one image: (C, H, W)."""
    outputs: list[Tensor] = []
    with forward_hooks({module: lambda _module, _inputs, output: outputs.append(output)}):
        _forward(network, image)
    return outputs[0][0].float().cpu()


@torch.inference_mode()
def _forward(network: nn.Module, image: Tensor) -> None:
    network.eval()
    network(image.to(next(network.parameters()).device))
