"""Faces a second while training, three ways: ``python -m benchmarks.training``.

For each part and device: the network alone, on one batch that is ready; our pipeline, which picks
bytes and varies them in batches; and the classical one, as courses have it: a ``Dataset`` that
opens, cuts and varies every face by itself, in a ``DataLoader`` with a worker for each core. All
three run the training loop of ``common/training.py``; only where its batches come from differs.
The classical one varies less than ours: it turns and relights, and does no more. "Batches alone"
is the loop of either with a network that costs nothing.

The ways take turns, and ratios are the median over the rounds, so that what else the machine does
meanwhile counts little. Part 3 is measured from the small pictures at hand and from full-size
photos, made of them for the purpose.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms
from torchvision.transforms import functional

from benchmarks.folds import changed
from common import training
from common.augmentation import augment
from common.crops import square_boxes
from common.faces import Faces
from common.loading import Crops, load_crops
from common.recipe import Recipe
from common.system.device import best_device, keep_freed_heap, preload_if_fits
from datasets.splits import train_and_test
from parts.studies.experiment import PARTS, Experiment, network_of

OURS, OUR_BATCHES = "our pipeline", "our pipeline, batches alone"
PHOTOS = 64  # full-size photos that are made
PHOTO_SIDE = 3000  # pixels of their longer side
Augment = Callable[[Tensor, Tensor, Recipe, Tensor], tuple[Tensor, Tensor]]


class OneByOne(Dataset):
    """Faces by index, each opened, cut, turned and relit by itself, as courses teach it."""

    def __init__(self, faces: Faces, recipe: Recipe, kept: tuple[int, ...]) -> None:
        boxes = square_boxes(faces.boxes, recipe.box_scale) if recipe.box_scale else faces.boxes
        self.files, self.boxes = faces.files, boxes.tolist()
        self.points, self.recipe = faces.points[:, list(kept)].numpy(), recipe
        self.relight = transforms.ColorJitter(recipe.brightness, recipe.contrast)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """float32 (1, h, w) in -0.5..0.5 and points (k, 2) in its pixels."""
        height, width = self.recipe.height, self.recipe.width
        left, top, wide, high = self.boxes[index]
        face = Image.open(self.files[index]).convert("L")
        face = face.crop((left, top, left + wide, top + high)).resize((width, height))
        points = (self.points[index] + 0.5 - (left, top)) * (width / wide, height / high) - 0.5
        angle = random.uniform(-self.recipe.rotation, self.recipe.rotation)
        face = functional.rotate(self.relight(face), angle, functional.InterpolationMode.BILINEAR)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        middle = np.array([width - 1, height - 1]) / 2
        points = (points - middle) @ np.array([[cosine, -sine], [sine, cosine]]) + middle
        return functional.to_tensor(face) - 0.5, torch.from_numpy(points).float()


class Unmoved(nn.Module):
    """Answers the same for every face (B, k, 2): what a step then costs is its batch."""

    def __init__(self, n_points: int) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.full((n_points, 2), 0.5))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, k, 2)."""
        return self.answer.expand(len(faces), -1, -1)


@dataclass(frozen=True)
class Learner:
    """A part's network and all that its training loop takes."""

    network: nn.Module
    crops: Crops
    recipe: Recipe

    def speed(self, augment: Augment, seconds: float) -> float:
        """Faces a second of the loop when ``augment`` hands out the batches."""
        steps, faces = 1, 0
        ema = training.EMA(self.network, self.recipe.ema_decay)
        optimizer = training.new_optimizer(self.network, self.recipe)
        began = time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            if faces:  # as many steps as fill the time that is left
                left = (seconds - spent) * faces / spent / self.recipe.batch
                steps = max(1, min(round(left), len(self.crops) // self.recipe.batch))
            recipe = replace(self.recipe, max_steps=steps)
            schedule = training.Schedule(optimizer, recipe, len(self.crops))
            with mock.patch.object(training, "augment", augment):
                training.train_epoch(self.network, self.crops, optimizer, schedule, ema)
            faces += steps * self.recipe.batch
        return faces / spent


def learner(number: str, changes: list[str], device: torch.device) -> Learner:
    """A part's untrained network with its faces."""
    part, dataset = PARTS[number]
    recipe = changed(part.RECIPES["best"](), changes)
    crops = load_crops(train_and_test(dataset, None, None)[0], recipe, getattr(part, "NOSE", None))
    network = network_of(Experiment(number, recipe)).to(device, memory_format=torch.channels_last)
    crops = replace(crops, images=preload_if_fits(crops.images, device))
    return Learner(network, crops, recipe)


def without_network(learner: Learner) -> Learner:
    """The same faces and recipe with a network that costs nothing."""
    device = next(learner.network.parameters()).device
    network = Unmoved(len(learner.crops.point_ids)).to(device)
    return replace(learner, network=network, recipe=replace(learner.recipe, ema_decay=0.0))


def ready(learner: Learner) -> Augment:
    """Hands out one and the same batch, on the device."""
    device = next(learner.network.parameters()).device
    some = slice(learner.recipe.batch)
    images, points = learner.crops.images[some].to(device), learner.crops.points[some].to(device)
    batch = augment(images, points, learner.recipe, learner.crops.flip_order)
    return lambda *_: batch


def classical(faces: Faces, learner: Learner, workers: int) -> Augment:
    """Hands out the batches of a ``DataLoader``, from now on."""
    device = next(learner.network.parameters()).device
    dataset = OneByOne(faces, learner.recipe, learner.crops.point_ids)
    loader = DataLoader(
        dataset, learner.recipe.batch, num_workers=workers, drop_last=True,
        sampler=RandomSampler(dataset, num_samples=len(learner.crops)),
        pin_memory=device.type == "cuda",
    )  # fmt: skip

    def without_end() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    batches = without_end()
    for _ in range(2 * workers + 1):  # what the workers hold ready when the clock starts
        next(batches)

    def augment(*_: object) -> tuple[Tensor, Tensor]:
        images, points = next(batches)
        images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
        return images, points.to(device, non_blocking=True)

    return augment


def full_size(faces: Faces, folder: Path) -> Faces:
    """Some of the faces in photos of ``PHOTO_SIDE`` pixels, enlarged into ``folder``."""
    faces = faces.take(torch.linspace(0, len(faces) - 1, PHOTOS).long())
    files, points, boxes = [], [], []
    for index, file in enumerate(faces.files):
        with Image.open(file) as picture:
            scale = PHOTO_SIDE / max(picture.size)
            size = round(picture.width * scale), round(picture.height * scale)
            picture.convert("RGB").resize(size).save(folder / f"{index}.jpg", quality=90)
        files.append(folder / f"{index}.jpg")
        points.append((faces.points[index] + 0.5) * scale - 0.5)
        boxes.append(faces.boxes[index] * scale)
    return replace(faces, files=tuple(files), points=torch.stack(points), boxes=torch.stack(boxes))


def compare(
    number: str, changes: list[str], device: torch.device, asked: argparse.Namespace
) -> None:
    """Print faces a second of one part on one device, and the ratios."""
    keep_freed_heap()  # as the parts do
    one = learner(number, changes, device)
    held_ready, costless = ready(one), without_network(one)
    speeds: dict[str, list[float]] = {"network alone": [], OURS: [], "classical": []}
    if asked.compile:
        speeds["network alone, compiled"] = []
        compiled, began = replace(one, network=torch.compile(one.network)), time.perf_counter()
        compiled.speed(held_ready, 0.1)
        print(f"compiled, and first steps, in {time.perf_counter() - began:.0f} s")
    sources = {"classical": one.crops.faces}
    with tempfile.TemporaryDirectory() as folder:
        if number == "3":
            sources["classical, full-size photos"] = full_size(one.crops.faces, Path(folder))
            speeds["classical, full-size photos"] = []
        speeds |= {OUR_BATCHES: []} | {f"{name}, batches alone": [] for name in sources}
        for way in (held_ready, augment):
            one.speed(way, 0.5)  # first steps are slow
        for _ in range(asked.rounds):
            speeds["network alone"].append(one.speed(held_ready, asked.seconds))
            speeds[OURS].append(one.speed(augment, asked.seconds))
            speeds[OUR_BATCHES].append(costless.speed(augment, asked.seconds))
            if asked.compile:
                speeds["network alone, compiled"].append(compiled.speed(held_ready, asked.seconds))
            for name, faces in sources.items():
                handed_out = classical(faces, one, asked.workers)
                speeds[name].append(one.speed(handed_out, asked.seconds))
                batches = costless.speed(handed_out, asked.seconds)
                speeds[f"{name}, batches alone"].append(batches)
    for name, values in speeds.items():
        ours = speeds[OUR_BATCHES if "batches" in name else OURS]
        ratio = statistics.median(own / other for own, other in zip(ours, values, strict=True))
        told = "" if values is ours else f"   ours: {ratio:.3g} times as fast"
        print(
            f"part {number}  {device.type:4}  {name:42} "
            f"{statistics.median(values):9.1f} faces/s{told}",
            flush=True,
        )


def main() -> None:
    """Read the arguments and compare part by part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE", help="of the parts' recipes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--devices", nargs="+", metavar="D", help="default: cpu, and cuda if there")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="default: one a core")
    asked = parser.parse_intermixed_args()
    devices = asked.devices or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in map(best_device, devices):
        for number in asked.parts:
            compare(number, asked.changes, device, asked)


if __name__ == "__main__":
    main()
