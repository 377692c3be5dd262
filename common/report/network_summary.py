"""What a network is made of and what it costs: layers, multiply-adds, time, kernels, responses."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.report import image_figures
from common.report.page import Gallery, Picture

SHOWN = 8  # maps of a layer on a page

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
    """Multiplications with an addition that convolutions and matrix products of one image
    (1, C, H, W) cost: half of PyTorch's floating-point operations."""
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
    """What happens to one image (1, 1, H, W) on its way through the network, in order: a row for
    each module without children or small block such as a ResNet's ``BasicBlock``."""
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
) -> list[tuple[Picture, Picture]]:
    """Kernels of the ``first`` convolutions, and their responses to a face (1, 1, H, W)."""
    found = []
    chosen = [module for module in network.modules() if isinstance(module, nn.Conv2d)][:first]
    outputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, _: object, output: Tensor) -> None:
        # A copy, as a later layer may change the output in place.
        outputs[module] = output[0].float().cpu().clone()  # (out, H, W)

    with forward_hooks(dict.fromkeys(chosen, keep)):
        _forward(network, image)
    for number, convolution in enumerate(chosen, 1):
        weight = convolution.weight.detach().float().cpu()  # (out, in, h, w)
        single = weight[:, 0] if weight.shape[1] == 1 else None
        maps = varied_maps(gallery, f"responses-{number}", outputs[convolution], "kernel", single)
        tiles = image_figures.kernels(weight[maps["chosen"]] if single is None else weight)
        facts = {"shape": weight.shape, "low": weight.min().item(), "high": weight.max().item()}
        found.append((gallery.add(f"kernels-{number}", tiles, **facts), maps))
    return found


def varied_maps(
    gallery: Gallery,
    name: str,
    maps: Tensor,
    word: str,
    kernels: Tensor | None = None,
    **facts: object,
) -> Picture:
    """The most varied of the maps (C, H, W) of one face, each below its kernel (C, h, w) if given.
    word: what a number in a title counts."""
    strength = maps.flatten(1).std(dim=1)  # (C,)
    chosen = strength.argsort(descending=True, stable=True)[:SHOWN].tolist()
    titles = [f"{word} {index + 1}" for index in chosen]
    own = None if kernels is None else kernels[chosen]
    facts |= {"strength": strength.max().item(), "median": strength.median().item()}
    figure = image_figures.responses(own, maps[chosen], titles)
    return gallery.add(name, figure, chosen=chosen, **facts)


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


@torch.inference_mode()
def _forward(network: nn.Module, image: Tensor) -> None:
    network.eval()
    network(image.to(next(network.parameters()).device))
