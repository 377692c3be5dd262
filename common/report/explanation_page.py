"""What a trained network looks at on one face, and the page that shows it.

The part of the picture that a point depends on is found by hiding places one after the other
(occlusion sensitivity: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks,
ECCV 2014, arXiv 1311.2901). There the measure is a class's probability; here it is how far the
point moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.crops import to_pixels
from common.keypoints import IBUG_68, Scheme
from common.report import image_figures
from common.report.image_figures import Overlay
from common.report.index_page import write_index
from common.report.network_summary import Note, convolutions, forward_hooks, varied_maps
from common.report.page import Gallery, Picture, rename_norm, render, write_page

PLACES = 24  # number of places of the patch across and down
PATCH = 1 / 8  # side of the patch over that of the crop: it hides an eye


@dataclass(frozen=True)
class Subject:
    """One face and the network that predicts its K keypoints."""

    name: str  # the photo's, for captions
    network: nn.Module
    checkpoint: str  # the file, or "shipped"
    face: Tensor  # float32 (1, 1, h, w) in -0.5..0.5, on the network's device
    n_faces: int  # how many faces the photo holds
    scheme: Scheme = IBUG_68  # which points these are

    def unit(self, predicted: Tensor) -> Tensor:
        """What distances are in % of, in pixels: the eye distance of the points (K, 2); of your own
        points the crop's width."""
        if self.scheme is IBUG_68:
            return IBUG_68.eye_distance(predicted)
        return predicted.new_tensor(self.face.shape[-1])


@torch.inference_mode()
def predict(network: nn.Module, faces: Tensor) -> Tensor:
    """Keypoints of faces (B, 1, h, w), not flipped: (B, K, 2) pixels of the crop, on the CPU."""
    return to_pixels(network(faces).float().cpu(), *faces.shape[-2:])


@torch.inference_mode()
def occlusion(network: nn.Module, face: Tensor, batch: int = 32) -> tuple[Tensor, Tensor]:
    """How far every point moves when a patch of the crop's mean grey, ``PATCH`` of its sides large,
    hides each of PLACES x PLACES places.

    face: float32 (1, 1, h, w).
    Returns the patches' middles (PLACES², 2), row by row from the upper left, in pixels of the
    crop, and the distances (PLACES², K) in the same pixels.
    """
    height, width = face.shape[-2:]
    steps = (torch.arange(PLACES) + 0.5) / PLACES
    y_x = torch.cartesian_prod(steps * height - 0.5, steps * width - 0.5)
    middles = y_x.flip(dims=[1])  # (PLACES², 2)
    before, moved = predict(network, face), []
    for some in tqdm(middles.split(batch), "hiding places"):
        across = (torch.arange(width) - some[:, :1]).abs() <= PATCH * width / 2  # (B, w)
        down = (torch.arange(height) - some[:, 1:]).abs() <= PATCH * height / 2  # (B, h)
        hidden = (down[:, None, :, None] & across[:, None, None, :]).to(face.device)
        after = predict(network, torch.where(hidden, face.mean(), face))
        moved.append((after - before).norm(dim=-1))
    return middles, torch.cat(moved)


@torch.inference_mode()
def feature_maps(network: nn.Module, face: Tensor) -> dict[str, Tensor]:
    """The maps (C, H, W) of some layers for one face (1, 1, h, w), by name, in computing order: of
    all layers whose maps have the same size, the last of those with the most maps."""
    found: list[tuple[str, Tensor]] = []

    def noter(name: str) -> Note:
        # A copy, as a later layer may change the maps in place.
        return lambda _module, _inputs, maps: found.append((name, maps[0].float().cpu().clone()))

    with forward_hooks({module: noter(name) for name, module in network.named_modules() if name}):
        network(face)
    chosen: dict[tuple[int, ...], tuple[str, Tensor]] = {}
    for name, maps in found:
        size = tuple(maps.shape[1:])
        if len(size) == 2 and min(size) > 1 and len(maps) >= len(chosen.get(size, ("", ()))[1]):
            chosen.pop(size, None)  # it moves to the end
            chosen[size] = name, maps
    return dict(chosen.values())


def write_explanation(reports: Path, subject: Subject, points: Sequence[int]) -> Path:
    """Write ``reports/explain/``: the page on one face, for some of its points.

    Returns the page's path; raises UserError where it cannot be written.
    """
    network, face, scheme = subject.network, subject.face, subject.scheme
    height, width = face.shape[-2:]
    predicted = predict(network, face)[0]  # (K, 2)
    middles, moved = occlusion(network, face)
    moves = middles, 100 * moved / subject.unit(predicted)  # %

    def fill(work: Path) -> None:
        gallery = Gallery(work)
        crop = image_figures.face(face[0, 0].cpu(), predicted, scheme, range(scheme.n_points))
        contents = {
            "name": subject.name,
            "network": type(network).__name__,
            "checkpoint": subject.checkpoint,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "height": height,
            "width": width,
            "n_faces": subject.n_faces,
            "n_points": scheme.n_points,
            "names": [] if scheme is IBUG_68 else list(map(scheme.name_of, range(scheme.n_points))),
            "heatmaps": hasattr(network, "heatmaps"),
            "places": PLACES,
            "patch": round(PATCH * width),
            "face": gallery.add("face", crop),
            "convolutions": convolutions(gallery, network, face, first=1),
            "layers": _layers(gallery, subject),
            "points": [_point(gallery, subject, predicted, *moves, n) for n in points],
        }
        render(work, "explain.html", contents)
        if scheme is not IBUG_68:
            rename_norm(work / "index.html", "width of the crop", "crop width")

    page = write_page(reports / "explain", fill)
    write_index(reports)
    return page


def _layers(gallery: Gallery, subject: Subject) -> list[Picture]:
    """The most varied maps of every layer but the first, whose kernels are shown elsewhere."""
    pictures = []
    layers = list(feature_maps(subject.network, subject.face).items())[1:]
    for number, (name, maps) in enumerate(layers, 1):
        facts = {"layer": name, "shape": maps.shape, "most": maps.max().item()}
        facts["not_above"] = 100 * (maps <= 0).double().mean().item()
        pictures.append(varied_maps(gallery, f"layer-{number}", maps, "map", **facts))
    return pictures


def _point(
    gallery: Gallery, subject: Subject, predicted: Tensor, middles: Tensor, effects: Tensor, n: int
) -> Picture:
    """What point ``n`` depends on and, of a network that predicts heatmaps, its own. effects:
    (PLACES², K), how far patches at ``middles`` move the points, % of the eye distance."""
    eyes, own, effect = subject.unit(predicted), predicted[n], effects[:, n]
    away = 100 * (middles - own).norm(dim=-1) / eyes  # (PLACES²,), % of the eye distance
    most, here, order = int(effect.argmax()), int(away.argmin()), away.argsort()
    covered = int((predicted - middles[most]).norm(dim=-1).argmin())
    facts = {
        "point": n,
        "most": effect[most].item(),
        "here": effect[here].item(),
        "median": effect.median().item(),
        "away": away[most].item(),
        "covered": covered,
        "half": away[order][effect[order].cumsum(0) >= effect.sum() / 2][0].item(),
    }
    image = subject.face[0, 0].cpu()
    square = middles[most], (PATCH * image.shape[1], PATCH * image.shape[0])
    overlays = [Overlay("moves by, %", effect.view(PLACES, PLACES), square)]
    if hasattr(subject.network, "heatmaps"):
        heatmap, spread = _heatmap(subject, n)
        overlays.append(Overlay("heatmap, % of the sum", 100 * heatmap))
        facts |= {"cells": heatmap.shape[::-1], "highest": 100 * heatmap.max().item()}
        facts["spread"] = 100 * spread / eyes.item()
    return gallery.add(f"point-{n}", image_figures.overlays(image, own, overlays), **facts)


@torch.inference_mode()
def _heatmap(subject: Subject, point: int) -> tuple[Tensor, float]:
    """A point's distribution over the crop (h, w), and its standard deviation in pixels."""
    spread = subject.network.with_spread(subject.face)[1][0, point] * subject.face.shape[-1]
    return subject.network.heatmaps(subject.face)[0, point].float().exp().cpu(), spread.item()
