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
from common.keypoints import IBUG_68
from common.report import image_figures
from common.report.image_figures import Overlay
from common.report.index_page import write_index
from common.report.network_summary import Note, forward_hooks, kernels_and_responses
from common.report.page import Gallery, Picture, render, write_page

PLACES = 24  # the patch is put to so many places across and down
PATCH = 1 / 8  # side of the patch over that of the crop: it hides an eye
SHOWN = 8  # maps of a layer on the page


@dataclass(frozen=True)
class Subject:
    """One face and the network that predicts its keypoints.

    name: the photo's, for captions.
    network: predicts 68 points.
    face: float32 (1, 1, h, w) in -0.5..0.5, on the network's device.
    n_faces: how many faces the photo holds.
    """

    name: str
    network: nn.Module
    face: Tensor
    n_faces: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop in pixels."""
        return tuple(self.face.shape[-2:])


@torch.inference_mode()
def predict(network: nn.Module, faces: Tensor) -> Tensor:
    """Keypoints of (B, 1, h, w) without test-time flip: (B, K, 2) pixels of the crop, on the CPU."""
    return to_pixels(network(faces).float().cpu(), *faces.shape[-2:])


@torch.inference_mode()
def occlusion(network: nn.Module, face: Tensor, batch: int = 32) -> tuple[Tensor, Tensor]:
    """How far every point moves when a patch of the crop's mean grey hides a place of the face.

    The patch, ``PATCH`` of the sides large, is put to PLACES x PLACES places and cut off at the
    crop's edge.

    face: float32 (1, 1, h, w).
    Returns the patches' middles (PLACES², 2), row by row from the upper left, in pixels of the
    crop, and the distances (PLACES², K) in the same pixels.
    """
    height, width = face.shape[-2:]
    steps = (torch.arange(PLACES) + 0.5) / PLACES
    y, x = torch.meshgrid(steps * height - 0.5, steps * width - 0.5, indexing="ij")
    middles = torch.stack([x, y], dim=-1).flatten(0, 1)  # (PLACES², 2)
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
    """The maps (C, H, W) of some layers for one face (1, 1, h, w), in the order of computing.

    Of all layers whose maps have the same size, the last of those with the most maps, by its name
    in the network.
    """
    found: list[tuple[str, Tensor]] = []

    def noter(name: str) -> Note:
        # A copy, as a later layer may change the maps in place.
        return lambda _module, _inputs, maps: found.append((name, maps[0].float().cpu().clone()))

    with forward_hooks({module: noter(name) for name, module in network.named_modules() if name}):
        network(face)
    chosen: dict[tuple[int, ...], tuple[str, Tensor]] = {}
    for name, maps in found:
        size = tuple(maps.shape[1:])
        if len(size) == 2 and min(size) > 1:
            if size in chosen and len(chosen[size][1]) > len(maps):
                continue
            chosen.pop(size, None)
            chosen[size] = name, maps
    return dict(chosen.values())


def write_explanation(reports: Path, subject: Subject, points: Sequence[int]) -> Path:
    """Write ``reports/explain/``: the page on one face, for some of the 68 points.

    Returns the page's path; raises UserError where it cannot be written.
    """
    network, face = subject.network, subject.face
    predicted = predict(network, face)[0]  # (68, 2)
    middles, moved = occlusion(network, face)
    effects = 100 * moved / IBUG_68.eye_distance(predicted)  # (PLACES², 68), % of the eye distance
    first = effects[:, points[0]]

    def fill(work: Path) -> None:
        gallery = Gallery(work, "")
        contents = {
            "name": subject.name,
            "network": type(network).__name__,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "height": subject.size[0],
            "width": subject.size[1],
            "n_faces": subject.n_faces,
            "heatmaps": hasattr(network, "heatmaps"),
            "places": PLACES,
            "patch": round(PATCH * subject.size[1]),
            "first": _name(points[0]),
            "most": first.max().item(),
            "median": first.median().item(),
            "face": _face(gallery, subject, predicted),
            "filters": kernels_and_responses(gallery, network, face, subject.name, first=1),
            "layers": _layers(gallery, subject),
            "points": [
                _point(gallery, subject, predicted, middles, effects[:, n], n) for n in points
            ],
        }
        render(work, "explain.html", contents)

    page = write_page(reports / "explain", fill)
    write_index(reports)
    return page


def _face(gallery: Gallery, subject: Subject, predicted: Tensor) -> Picture:
    figure = image_figures.face(subject.face[0, 0].cpu(), predicted, IBUG_68, range(68))
    caption = (
        f"{subject.name}: the face as the network gets it, rotated upright and cropped, with its "
        "68 predictions."
    )
    return gallery.add("face", figure, "The face's crop with the network's 68 points", caption)


def _layers(gallery: Gallery, subject: Subject) -> list[Picture]:
    """The most varied maps of every layer but the first, whose kernels are shown elsewhere."""
    pictures = []
    layers = list(feature_maps(subject.network, subject.face).items())[1:]
    for name, maps in layers:
        strength = maps.flatten(1).std(dim=1)  # (C,)
        chosen = strength.argsort(descending=True, stable=True)[:SHOWN]
        count, height, width = maps.shape
        below = 100 * (maps <= 0).double().mean().item()
        caption = (
            f"{name}: the {len(chosen)} most varied of {count} maps of {width} × {height}; a value "
            f"stands for {subject.size[1] / width:.0f} × {subject.size[0] / height:.0f} pixels of "
            "the crop. Each map has its own colours, orange above zero and purple below; the "
            f"largest value of all maps is {maps.max():.1f}, and {below:.0f} % are not above zero."
        )
        names = [f"map {index + 1}" for index in chosen.tolist()]
        figure = image_figures.responses(None, maps[chosen], names)
        alt = f"The {len(chosen)} most varied maps of layer {name} for the face"
        pictures.append(gallery.add(f"layer-{len(pictures) + 1}", figure, alt, caption))
    return pictures


def _point(
    gallery: Gallery, subject: Subject, predicted: Tensor, middles: Tensor, effect: Tensor, n: int
) -> Picture:
    """What point ``n`` depends on and, of a network that predicts heatmaps, its own."""
    eyes, own = IBUG_68.eye_distance(predicted), predicted[n]
    away = 100 * (middles - own).norm(dim=-1) / eyes  # (PLACES²,), % of the eye distance
    most, here, order = int(effect.argmax()), int(away.argmin()), away.argsort()
    half = away[order][effect[order].cumsum(0) >= effect.sum() / 2][0]
    covered = int((predicted - middles[most]).norm(dim=-1).argmin())
    where = "" if covered == n else f"; the prediction nearest to that is {_name(covered)}"
    caption = (
        f"{_name(n).capitalize()}. A grey patch moves it by up to {effect[most]:.2g} % of the "
        f"eye distance, by {effect[here]:.2g} % where it hides the point itself, by "
        f"{effect.median():.2g} % at the median place. It moves it most at the dashed square, "
        f"{away[most]:.0f} % of the eye distance away{where}. Half of all movement comes from "
        f"patches within {half:.0f} %."
    )
    image = subject.face[0, 0].cpu()
    square = middles[most], (PATCH * image.shape[1], PATCH * image.shape[0])
    overlays = [Overlay("moves by, % of eye distance", effect.view(PLACES, PLACES), square)]
    alt = f"The face, coloured by how far a patch there moves point {n}"
    if hasattr(subject.network, "heatmaps"):
        heatmap, spread = _heatmap(subject, n)
        overlays.append(Overlay("heatmap, % of the sum", 100 * heatmap))
        caption += (
            f" On the right its heatmap, whose mean is the prediction: of {heatmap.shape[1]} × "
            f"{heatmap.shape[0]} cells the highest holds {100 * heatmap.max():.0f} %, and the "
            f"standard deviation is {100 * spread / eyes:.1f} % of the eye distance."
        )
        alt += ", beside its heatmap"
    return gallery.add(f"point-{n}", image_figures.overlays(image, own, overlays), alt, caption)


@torch.inference_mode()
def _heatmap(subject: Subject, point: int) -> tuple[Tensor, float]:
    """A point's distribution over the crop (h, w), and its standard deviation in pixels."""
    spread = subject.network.with_spread(subject.face)[1][0, point] * subject.size[1]
    return subject.network.heatmaps(subject.face)[0, point].float().exp().cpu(), spread.item()


def _name(point: int) -> str:
    """Such as "point 30, the nose tip", or "point 8, of the jaw"."""
    region = next(name for last, name in REGIONS if point <= last)
    return f"point {point}, {'the nose tip' if point == 30 else f'of the {region}'}"


REGIONS = (  # of IBUG_68: the last point and the name; sides are the picture's
    (16, "jaw"), (21, "brow on the left"), (26, "brow on the right"), (30, "nose's bridge"),
    (35, "nostrils"), (41, "eye on the left"), (47, "eye on the right"), (59, "outer lip"),
    (67, "inner lip"),
)  # fmt: skip
