"""Faces per second in training, three ways: ``python -m benchmarks.training``.

For each part: the network alone, on one batch that is ready; our pipeline, which picks uint8 crops
and augments them in batches; and the classical one, as courses have it: a ``Dataset`` that opens,
crops and augments (rotation, brightness, contrast) every face by itself, in a ``DataLoader``, of
part 3 also from full-size photos. All run the loop of ``common/training.py``; "batches alone" is
that with a network that costs nothing. All take turns, and ratios are the median over the rounds.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms
from torchvision.transforms import functional

from benchmarks import parser_of, run
from common import training
from common.augmentation import augment
from common.crops import crop_matrices, square_boxes, transform_points
from common.faces import Faces
from common.loading import Crops, load_crops
from common.recipe import Recipe
from common.system.device import best_device, keep_freed_heap, preload_if_fits
from datasets.splits import train_and_test
from parts.studies.experiment import PARTS, Experiment, network_of

OURS, BATCHES_ALONE = "our pipeline", "{}, batches alone"
PHOTOS = 64  # full-size photos that are made
PHOTO_SIDE = 3000  # pixels of their longer side
STEPS = 4  # of the training loop between two looks at the clock
Augment = Callable[..., tuple[Tensor, Tensor]]
"""Called as ``augmentation.augment``, returns a batch (B, 1, h, w) and its points (B, k, 2)."""


class OneByOne(Dataset):
    """Faces by index, each opened, cropped and augmented by itself, as courses teach it."""

    def __init__(self, faces: Faces, recipe: Recipe, point_ids: tuple[int, ...]) -> None:
        boxes = square_boxes(faces.boxes, recipe.box_scale) if recipe.box_scale else faces.boxes
        matrices = crop_matrices(boxes, recipe.height, recipe.width)
        self.points = transform_points(faces.points[:, list(point_ids)], matrices).numpy()
        self.files, self.boxes, self.recipe = faces.files, boxes.tolist(), recipe
        self.jitter = transforms.ColorJitter(recipe.brightness, recipe.contrast)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """float32 (1, h, w) in -0.5..0.5 and points (k, 2) in its pixels."""
        size = self.recipe.width, self.recipe.height
        left, top, wide, high = self.boxes[index]
        face = Image.open(self.files[index]).convert("L")
        face = face.crop((left, top, left + wide, top + high)).resize(size)
        angle = random.uniform(-self.recipe.rotation, self.recipe.rotation)
        face = functional.rotate(self.jitter(face), angle, functional.InterpolationMode.BILINEAR)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        middle = (np.array(size) - 1) / 2
        points = (self.points[index] - middle) @ np.array([[cosine, -sine], [sine, cosine]])
        return functional.to_tensor(face) - 0.5, torch.from_numpy(points + middle).float()


class Constant(nn.Module):
    """Predicts the same for every face (B, k, 2): the cost of a step is that of its batch."""

    def __init__(self, n_points: int) -> None:
        super().__init__()
        self.prediction = nn.Parameter(torch.full((n_points, 2), 0.5))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, k, 2)."""
        return self.prediction.expand(len(faces), -1, -1)


@dataclass(frozen=True)
class Learner:
    """A network and all else that a training step takes."""

    network: nn.Module
    recipe: Recipe
    crops: Crops
    device: torch.device

    def speed(self, source: Augment, seconds: float) -> float:
        """Faces per second of the training loop whose batches come from ``source``."""
        faces, steps = 0, min(STEPS, len(self.crops) // self.recipe.batch)
        optimizer = training.new_optimizer(self.network, self.recipe)
        ema = training.EMA(self.network, self.recipe.ema_decay)
        recipe = replace(self.recipe, max_steps=steps)
        began = time.perf_counter()
        with mock.patch.object(training, "augment", source):
            while (spent := time.perf_counter() - began) < seconds:
                schedule = training.Schedule(optimizer, recipe, len(self.crops))
                training.train_epoch(self.network, self.crops, optimizer, schedule, ema)
                faces += steps * recipe.batch
        return faces / spent

    def classical(self, faces: Faces, workers: int) -> Augment:
        """The batches of a ``DataLoader``, which starts now."""
        dataset = OneByOne(faces, self.recipe, self.crops.point_ids)
        loader = DataLoader(
            dataset, self.recipe.batch, num_workers=workers, drop_last=True,
            sampler=RandomSampler(dataset, num_samples=len(self.crops)),
            pin_memory=self.device.type == "cuda",
        )  # fmt: skip
        batches = chain.from_iterable(repeat(loader))
        for _ in range(2 * workers + 1):  # what the workers hold ready when the clock starts
            next(batches)

        def source(*_: object) -> tuple[Tensor, Tensor]:
            images, points = next(batches)
            images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
            return images, points.to(self.device, non_blocking=True)

        return source


def learner(number: str, device: torch.device) -> Learner:
    """A part's untrained network with its faces."""
    part, dataset = PARTS[number]
    recipe = part.RECIPES["best"]()
    crops = load_crops(train_and_test(dataset, None, None)[0], recipe, getattr(part, "NOSE", None))
    crops = replace(crops, images=preload_if_fits(crops.images, device))
    network = network_of(Experiment(number, recipe)).to(device, memory_format=torch.channels_last)
    return Learner(network, recipe, crops, device)


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


def compare(number: str, device: torch.device, options: argparse.Namespace) -> None:
    """Print faces per second of one part on one device, and the ratios."""
    keep_freed_heap()  # as the parts do
    one = learner(number, device)
    constant = Constant(len(one.crops.point_ids)).to(device)
    costless = replace(one, network=constant, recipe=replace(one.recipe, ema_decay=0.0))
    batch = one.crops.batch(torch.arange(one.recipe.batch), device)
    batch = augment(*batch, one.recipe, one.crops.flip_order)

    def ready(*_: object) -> tuple[Tensor, Tensor]:
        return batch

    ways: dict[str, tuple[Learner, Callable[[], Augment]]] = {
        "network alone": (one, lambda: ready),
        OURS: (one, lambda: augment),
        BATCHES_ALONE.format(OURS): (costless, lambda: augment),
    }
    if options.compile:
        compiled, began = replace(one, network=torch.compile(one.network)), time.perf_counter()
        compiled.speed(ready, 0.1)
        print(f"compiled, and first steps, in {time.perf_counter() - began:.0f} s")
        ways["network alone, compiled"] = (compiled, lambda: ready)
    with tempfile.TemporaryDirectory() as folder:
        sources = {"classical": one.crops.faces}
        if number == "3":
            sources["classical, full-size photos"] = full_size(one.crops.faces, Path(folder))
        for name, faces in sources.items():
            source = partial(one.classical, faces, options.workers)
            ways |= {name: (one, source), BATCHES_ALONE.format(name): (costless, source)}
        one.speed(augment, 0.5)  # first steps are slow
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, (who, source) in ways.items():
                speeds[name].append(who.speed(source(), options.seconds))
    for name, values in speeds.items():
        ours = speeds[BATCHES_ALONE.format(OURS) if "batches" in name else OURS]
        ratio = statistics.median(own / other for own, other in zip(ours, values, strict=True))
        times = "" if values is ours else f"   ours: {ratio:.3g} times as fast"
        speed = statistics.median(values)
        print(f"part {number}  {device.type:4}  {name:42} {speed:9.1f} faces/s{times}", flush=True)


def main() -> None:
    """Compare part by part."""
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--device", help="default: cuda if there, else cpu")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement, or 4 steps")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="default: one a core")
    options = parser.parse_args()
    for number in options.parts:
        compare(number, best_device(options.device), options)


if __name__ == "__main__":
    run(main)
