"""One training loop for all parts and networks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from common import checkpoints
from common.augmentation import augment
from common.crops import to_fractions
from common.inference import predict_keypoints
from common.loading import Crops
from common.losses import coordinate_loss, known_loss, training_loss
from common.metrics import mean_shape, nme
from common.recipe import Options, Recipe
from common.snapshots import SnapshotRecorder
from common.system.device import autocast, best_device, keep_freed_heap, preload_if_fits
from common.system.distributed import (
    data_parallel,
    local_shard,
    mean_over_processes,
    on_main_process,
    own_random_numbers,
)
from common.system.files import make_writable

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
OFF_AT_THE_END = (
    "rotation", "scale", "shift", "brightness", "contrast", "saturation", "hue", "occlusion",
    "side_light", "blur", "compression",
)  # fmt: skip
SECONDS_BETWEEN_CHECKPOINTS = 10  # short runs would otherwise spend their time on writing


def fit(
    network: nn.Module, train: Crops, test: Crops, recipe: Recipe, options: Options, path: Path
) -> list[dict[str, float]]:
    """Train ``network`` in place and return its history, one dict per epoch.

    test: only monitored, no model selection: the weights are those of the final epoch.
    path: the checkpoint, from which ``options.resume`` continues.
    The same seed on the same CPU gives the same weights, bit for bit, resumed or not: each epoch
    seeds its random numbers.
    Raises UserError where the checkpoint is of another run or its folder cannot be written.
    """
    on_main_process(lambda: make_writable(path.parent))
    keep_freed_heap()
    device = best_device(options.device)
    initialise(network.to(device, memory_format=torch.channels_last), train, recipe)
    crops = replace(train, images=preload_if_fits(train.images, device))
    optimizer, ema = new_optimizer(network, recipe), EMA(network, recipe.ema_decay)
    schedule = Schedule(optimizer, recipe, len(train))
    snapshots = SnapshotRecorder(test, recipe)
    states = {"network": network, "optimizer": optimizer, "snapshots": snapshots} | ema.states
    run = checkpoints.Run(path, states, train, recipe, options)
    history = run.begin()
    snapshots.record(len(history), ema.network)
    learner, saved_at = data_parallel(network), time.monotonic()
    with tqdm(total=recipe.epochs, initial=len(history), desc="training", unit="epoch") as bar:
        for epoch in range(len(history), recipe.epochs):
            began = time.monotonic()
            torch.manual_seed(options.seed * 1_000_003 + epoch)
            schedule.start_epoch(epoch)
            loss = train_epoch(learner, crops, optimizer, schedule, ema)
            row = {"epoch": epoch + 1, "train_loss": loss}
            row |= on_main_process(lambda: monitor(ema.network, test, recipe))
            row |= {"learning_rate": schedule.last_rate, "seconds": time.monotonic() - began}
            history.append(row)
            snapshots.record(epoch + 1, ema.network)
            bar.set_postfix(loss=f"{loss:.2e}", nme=f"{row['test_nme']:.2f} %")
            bar.update()
            done = epoch + 1 == recipe.epochs
            if done or time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
                run.save(ema.network, history)
                saved_at = time.monotonic()
    network.load_state_dict(ema.network.state_dict())
    return history


def train_epoch(
    network: nn.Module, crops: Crops, optimizer: Optimizer, schedule: Schedule, ema: EMA
) -> float:
    """Train on every face once, or on ``max_steps`` batches; returns the mean coordinate loss."""
    network.train()
    device = next(network.parameters()).device
    total, count = torch.zeros((), device=device), 0
    for chosen in batches(crops, schedule.recipe):
        recipe = schedule.recipe  # its augmentation changes with the step
        faces, points = augment(*crops.batch(chosen, device), recipe, crops.flip_order)
        target = to_fractions(points, recipe.height, recipe.width)  # (B, k, 2)
        with autocast(device, recipe.bfloat16):
            predicted = network(faces)  # (B, k, 2), or heatmaps (B, k, h, w)
        loss = training_loss(predicted, target, recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        ema.update(network)
        total += coordinate_loss(predicted.detach(), target, recipe) * len(chosen)
        count += len(chosen)
    return mean_over_processes(total) / count


def batches(crops: Crops, recipe: Recipe) -> Iterator[Tensor]:
    """Indices (B,) of the shuffled faces: this process's share of each batch."""
    order = torch.randperm(len(crops))  # the same in every process
    own_random_numbers()
    for chosen in order.split(recipe.batch)[: recipe.max_steps or None]:
        yield local_shard(chosen)


class Schedule:
    """Learning rate and augmentation of each step; they follow the progress of the whole run.

    recipe: the recipe with the augmentation of the next step.
    last_rate: the learning rate of the last step.
    """

    def __init__(self, optimizer: Optimizer, recipe: Recipe, n_faces: int) -> None:
        self.optimizer, self.whole, self.recipe = optimizer, recipe, recipe
        self.epoch_steps = math.ceil(n_faces / recipe.batch)
        if recipe.max_steps:
            self.epoch_steps = min(self.epoch_steps, recipe.max_steps)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Go to the first step of ``epoch``, counted from 0."""
        self._go_to(epoch * self.epoch_steps)

    def step(self) -> None:
        """Go to the next step."""
        self._go_to(self.number + 1)

    @property
    def last_rate(self) -> float:
        """The learning rate of the step before this one."""
        return learning_rate(self._progress(self.number - 1), self.whole)

    def _go_to(self, number: int) -> None:
        self.number = number
        self.recipe = augmentation_at(self._progress(number), self.whole)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self._progress(number), self.whole)

    def _progress(self, number: int) -> float:
        return number / (self.epoch_steps * self.whole.epochs)


def learning_rate(progress: float, recipe: Recipe) -> float:
    """The learning rate at ``progress`` of the run, 0 to below 1.

    It rises from zero (warm-up), then stays or falls along a cosine, and restarts as often as the
    recipe says (warm restarts: Loshchilov and Hutter, arXiv 1608.03983).
    """
    progress = progress * (recipe.restarts + 1) % 1
    if progress < recipe.warmup:
        return recipe.learning_rate * progress / recipe.warmup
    if not recipe.cosine:
        return recipe.learning_rate
    return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def augmentation_at(progress: float, recipe: Recipe) -> Recipe:
    """The recipe with the augmentation at ``progress`` 0..1, see ``Recipe.no_aug_fraction``."""
    if progress * (recipe.restarts + 1) % 1 < 1 - recipe.no_aug_fraction:
        return recipe
    return replace(recipe, **dict.fromkeys(OFF_AT_THE_END, 0.0))


class EMA:
    """Exponential moving average of a network's weights and buffers.

    network: what predicts; with decay 0 the trained network itself.
    states: what a checkpoint holds of it.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.states, self.averaged = network, {}, None
        if decay:
            average = get_ema_multi_avg_fn(decay)
            self.averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
            self.network, self.states = self.averaged.module, {"ema": self.averaged}

    def update(self, network: nn.Module) -> None:
        """Take in the weights after one optimizer step."""
        if self.averaged is not None:
            self.averaged.update_parameters(network)


def monitor(network: nn.Module, test: Crops, recipe: Recipe) -> dict[str, float]:
    """Loss and mean NME in % on faces that the network is not trained on."""
    predicted = predict_keypoints(network, test.images, test.flip_order, recipe)
    size = recipe.height, recipe.width
    fractions = (to_fractions(points, *size) for points in (predicted, test.points))
    loss = known_loss(recipe.loss, *fractions)
    error = nme(predicted, test.points, test.norm_distance).mean()
    return {"test_loss": loss.item(), "test_nme": error.item()}


def new_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer for all weights of ``network``.

    Fused, it takes one pass over the weights: an eighth of the time, with 106 million of them.
    """
    kind, rate, decay = OPTIMIZERS[recipe.optimizer], recipe.learning_rate, recipe.weight_decay
    return kind(network.parameters(), lr=rate, weight_decay=decay, fused=True)


def initialise(network: nn.Module, train: Crops, recipe: Recipe) -> None:
    """Set the initial weights of the recipe; all others stay as torch drew them."""
    if recipe.he_init:
        he_init(network)
    if recipe.init_bias_to_mean:
        init_bias_to_mean(network, mean_shape(train, recipe))


def he_init(network: nn.Module) -> None:
    """Draw the convolutions' weights so that ReLU layers keep the variance of their input.

    He et al., Delving Deep into Rectifiers, ICCV 2015 (arXiv 1502.01852). torch's own initial
    weights are 2.4 times smaller; after five layers the signal has faded, and with some seeds the
    network never learns.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def init_bias_to_mean(network: nn.Module, shape: Tensor) -> None:
    """Let the untrained network predict ``shape``, (k, 2) fractions, for every face.

    The last layer's weights become zero and its bias the shape; its first gradient is that of a
    linear model on the last features. A network whose last layer predicts in another unit gives in
    ``unit`` the fractions that are its 0 and its 1.
    """
    zero, one = getattr(network, "unit", (0.0, 1.0))
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_((shape.flatten() - zero) / one)
