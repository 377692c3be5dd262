"""One training loop for all parts and networks."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from common import checkpoints
from common.augmentation import augment
from common.crops import to_fractions
from common.inference import flip_disagreement_p99, predict_keypoints
from common.loading import Crops
from common.losses import LOSSES, training_loss
from common.metrics import mean_shape, nme
from common.recipe import Options, Recipe
from common.snapshots import SnapshotRecorder
from common.system.device import best_device, computes_in_bfloat16, keep_freed_heap, preload_if_fits
from common.system.distributed import (
    average_buffers,
    is_main_process,
    local_shard,
    on_main_process,
    sum_gradients,
    summed,
)
from common.system.files import make_writable

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
OFF_AT_THE_END = (
    "rotation", "scale", "shift", "brightness", "contrast", "saturation", "hue", "occlusion",
    "side_light", "blur", "compression",
)  # fmt: skip
SECONDS_BETWEEN_CHECKPOINTS = 10  # short runs would otherwise spend their time on writing


def fit(
    network: nn.Module,
    train: Crops,
    validation: Crops,
    recipe: Recipe,
    options: Options,
    checkpoint: Path,
) -> list[dict[str, float]]:
    """Train ``network`` in place and return its history, one dict per epoch.

    The last epoch counts: ``validation`` is watched and chooses nothing. ``checkpoint`` is
    written while training, and ``options.resume`` goes on from it. The same ``options.seed`` on
    the same CPU gives the same weights, bit for bit, resumed or not, because every epoch draws
    from random numbers of its own.
    Raises UserError where the checkpoint to go on from is of another recipe, seed or data set,
    or the folder cannot be written.
    """
    on_main_process(lambda: make_writable(checkpoint.parent))
    keep_freed_heap()
    device = best_device(options.device)
    network.to(device, memory_format=torch.channels_last)
    if recipe.he_init:
        he_init(network)
    if recipe.init_bias_to_mean:
        init_bias_to_mean(network, mean_shape(train, recipe))
    images, points = preload_if_fits(train.images, device), train.points
    optimizer = new_optimizer(network, recipe)
    film = SnapshotRecorder(validation, recipe)
    learners: dict[str, Any] = {"network": network, "optimizer": optimizer, "snapshots": film}
    average, answering = None, network
    if recipe.ema_decay:
        decay = get_ema_multi_avg_fn(recipe.ema_decay)
        average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
        learners["ema"], answering = average, average.module
    if options.resume:
        history = checkpoints.restore(checkpoint, learners, train, recipe, options)
    else:
        history = []
        on_main_process(lambda: checkpoints.set_aside_other_run(checkpoint, train, recipe, options))
    film.record(len(history), answering)
    saved_at = time.monotonic()
    with tqdm(total=recipe.epochs, initial=len(history), desc="training", unit="epoch") as bar:
        for epoch in range(len(history), recipe.epochs):
            began = time.monotonic()
            torch.manual_seed(options.seed * 1_000_003 + epoch)
            loss, rate = train_epoch(
                network, images, points, train.flip_order, recipe, optimizer, average, epoch
            )
            row = {"epoch": epoch + 1, "train_loss": loss}
            row |= on_main_process(lambda: watch(answering, validation, recipe))
            history.append(row | {"learning_rate": rate, "seconds": time.monotonic() - began})
            film.record(epoch + 1, answering)
            bar.set_postfix(loss=f"{loss:.2e}", nme=f"{row['validation_nme']:.2f} %")
            bar.update()
            last = epoch + 1 == recipe.epochs
            due = last or time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS
            if is_main_process() and due:
                state = checkpoints.describe(answering, learners, train, recipe, options, history)
                if last:
                    state["flip_disagreement"] = flip_disagreement_p99(
                        answering.eval(), train, recipe
                    )
                checkpoints.save(state, checkpoint)
                saved_at = time.monotonic()
    network.load_state_dict(answering.state_dict())
    return history


def train_epoch(
    network: nn.Module,
    images: Tensor,
    points: Tensor,
    flip_order: Tensor,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    epoch: int,
) -> tuple[float, float]:
    """Show every face once, or ``recipe.max_steps`` batches. Returns the mean loss and the last
    learning rate.

    images: uint8 (N, C, H, W), on the device or not; points: float32 (N, k, 2) in their pixels.
    """
    network.train()
    device = next(network.parameters()).device
    half = recipe.bfloat16 and computes_in_bfloat16(device)
    batches = torch.randperm(len(images)).split(recipe.batch)[: recipe.max_steps or None]
    total = torch.zeros((), device=device)
    for step, chosen in enumerate(batches, start=epoch * len(batches)):
        progress = step / (len(batches) * recipe.epochs)
        rate = learning_rate(progress, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = images[chosen.to(images.device)].to(device), points[chosen].to(device)
        faces, truth = augment(*batch, varied(progress, recipe), flip_order)
        truth = to_fractions(truth, recipe.height, recipe.width)  # (B, k, 2)
        mine, weight = local_shard(
            len(chosen)
        )  # of the batch: all, unless there are more processes
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            predicted = network(faces[mine])  # (B, k, 2), or maps (B, k, h, w)
        objective, loss = training_loss(predicted.float(), truth[mine], recipe)
        optimizer.zero_grad()
        (objective * weight).backward()
        sum_gradients(network)
        optimizer.step()
        if average is not None:
            average.update_parameters(network)
        total += loss.detach() * weight * len(chosen)
    average_buffers(network)
    if average is not None:
        average_buffers(average)
    return summed(total) / sum(map(len, batches)), rate


def learning_rate(progress: float, recipe: Recipe) -> float:
    """The learning rate at ``progress`` of the run, 0 to below 1: warm-up, then constant or a
    cosine, in each of the recipe's cycles (warm restarts: Loshchilov and Hutter, arXiv 1608.03983).
    """
    progress = progress * (recipe.restarts + 1) % 1
    if progress < recipe.warmup:
        return recipe.learning_rate * progress / recipe.warmup
    if not recipe.cosine:
        return recipe.learning_rate
    return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def varied(progress: float, recipe: Recipe) -> Recipe:
    """The recipe whose augmentation holds at ``progress`` 0..1 of the run, see ``Recipe.calm``."""
    if progress * (recipe.restarts + 1) % 1 < 1 - recipe.no_aug_fraction:
        return recipe
    return replace(recipe, **dict.fromkeys(OFF_AT_THE_END, 0.0))


def watch(network: nn.Module, crops: Crops, recipe: Recipe) -> dict[str, float]:
    """Loss and mean NME in % of ``network`` on faces that it does not learn from."""
    predicted = predict_keypoints(network, crops.images, crops.flip_order, recipe)
    truth = crops.points - recipe.margin  # (N, k, 2) pixels of the network's crop
    size = recipe.height, recipe.width
    loss = LOSSES[recipe.loss](to_fractions(predicted, *size), to_fractions(truth, *size))
    error = nme(predicted, truth, crops.eye_distance).mean()
    return {"validation_loss": loss.item(), "validation_nme": error.item()}


def new_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer for all weights of ``network``.

    Fused, it takes one pass over the weights: an eighth of the time, with 106 million of them.
    """
    kind, rate, decay = OPTIMIZERS[recipe.optimizer], recipe.learning_rate, recipe.weight_decay
    return kind(network.parameters(), lr=rate, weight_decay=decay, fused=True)


def he_init(network: nn.Module) -> None:
    """Draw the convolutions' weights anew, so that ReLU layers keep the size of what passes.

    He et al., Delving Deep into Rectifiers, ICCV 2015 (arXiv 1502.01852). torch's own first
    weights are 2.4 times smaller; in five layers the picture fades, and some seeds never see it.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def init_bias_to_mean(network: nn.Module, shape: Tensor) -> None:
    """Let the untrained network answer about ``shape``, (k, 2) fractions, by its last bias.

    A network whose last layer answers in another unit tells in ``unit`` which fractions are its
    0 and how many its 1.
    """
    zero, one = getattr(network, "unit", (0.0, 1.0))
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_((shape.flatten() - zero) / one)
