"""One training loop for all parts and networks."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from common import checkpoints
from common.augmentation import augment
from common.crops import to_fractions
from common.device import best_device, computes_in_bfloat16, keep_freed_memory, placed
from common.distributed import (
    average_buffers,
    from_first,
    is_first,
    share,
    sum_gradients,
    summed,
)
from common.errors import UserError
from common.files import make_writable
from common.loading import Crops
from common.losses import LOSSES, compare
from common.metrics import mean_shape, nme
from common.options import Options
from common.prediction import predict_keypoints, usual_doubt
from common.recipe import Recipe
from common.watching import Film

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
LEFT_OUT_WHEN_CALM = (
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
    from_first(lambda: make_writable(checkpoint.parent))
    keep_freed_memory()
    device = best_device(options.device)
    network.to(device, memory_format=torch.channels_last)
    if recipe.he_init:
        he_init(network)
    if recipe.start_at_mean:
        start_at_mean(network, mean_shape(train, recipe))
    images, points = placed(train.images, device), train.points
    optimizer = new_optimizer(network, recipe)
    film = Film(validation, recipe)
    learners: dict[str, Any] = {"network": network, "optimizer": optimizer, "film": film}
    average, answering = None, network
    if recipe.average:
        decay = get_ema_multi_avg_fn(recipe.average)
        average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
        learners["average"], answering = average, average.module
    if options.resume:
        history = _restore(checkpoint, learners, train, recipe, options)
    else:
        history = []
        from_first(lambda: _keep_other(checkpoint, train, recipe, options))
    film.note(len(history), answering)
    saved_at = time.monotonic()
    with tqdm(total=recipe.epochs, initial=len(history), desc="training", unit="epoch") as bar:
        for epoch in range(len(history), recipe.epochs):
            began = time.monotonic()
            torch.manual_seed(options.seed * 1_000_003 + epoch)
            loss, rate = train_epoch(
                network, images, points, train.flip_order, recipe, optimizer, average, epoch
            )
            row = {"epoch": epoch + 1, "train_loss": loss}
            row |= from_first(lambda: watch(answering, validation, recipe))
            history.append(row | {"learning_rate": rate, "seconds": time.monotonic() - began})
            film.note(epoch + 1, answering)
            bar.set_postfix(loss=f"{loss:.2e}", nme=f"{row['validation_nme']:.2f} %")
            bar.update()
            last = epoch + 1 == recipe.epochs
            due = last or time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS
            if is_first() and due:
                state = _checkpoint(answering, learners, train, recipe, options, history)
                if last:
                    state["doubt"] = usual_doubt(answering.eval(), train, recipe)
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
    """Show every face once, or ``recipe.steps`` batches. Returns the mean loss and the last
    learning rate.

    images: uint8 (N, C, H, W), on the device or not; points: float32 (N, k, 2) in their pixels.
    """
    network.train()
    device = next(network.parameters()).device
    half = recipe.bfloat16 and computes_in_bfloat16(device)
    batches = torch.randperm(len(images)).split(recipe.batch)[: recipe.steps or None]
    total = torch.zeros((), device=device)
    for step, chosen in enumerate(batches, start=epoch * len(batches)):
        progress = step / (len(batches) * recipe.epochs)
        rate = learning_rate(progress, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = images[chosen.to(images.device)].to(device), points[chosen].to(device)
        faces, truth = augment(*batch, varied(progress, recipe), flip_order)
        truth = to_fractions(truth, recipe.height, recipe.width)  # (B, k, 2)
        mine, weight = share(len(chosen))  # of the batch: all, unless there are more processes
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            predicted = network(faces[mine])  # (B, k, 2), or maps (B, k, h, w)
        objective, loss = compare(predicted.float(), truth[mine], recipe)
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
    progress = progress * recipe.cycles % 1
    if progress < recipe.warmup:
        return recipe.learning_rate * progress / recipe.warmup
    if not recipe.cosine:
        return recipe.learning_rate
    return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def varied(progress: float, recipe: Recipe) -> Recipe:
    """The recipe whose augmentation holds at ``progress`` 0..1 of the run, see ``Recipe.calm``."""
    if progress * recipe.cycles % 1 < 1 - recipe.calm:
        return recipe
    return replace(recipe, **dict.fromkeys(LEFT_OUT_WHEN_CALM, 0.0))


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


def start_at_mean(network: nn.Module, shape: Tensor) -> None:
    """Let the untrained network answer about ``shape``, (k, 2) fractions, by its last bias.

    A network whose last layer answers in another unit tells in ``unit`` which fractions are its
    0 and how many its 1.
    """
    zero, one = getattr(network, "unit", (0.0, 1.0))
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_((shape.flatten() - zero) / one)


def _checkpoint(
    answering: nn.Module,
    learners: dict[str, Any],
    train: Crops,
    recipe: Recipe,
    options: Options,
    history: list[dict[str, float]],
) -> checkpoints.Checkpoint:
    kind = type(answering)
    return {
        "network": f"{kind.__module__}.{kind.__qualname__}",
        "arguments": getattr(answering, "arguments", {}),
        "weights": answering.state_dict(),
        "recipe": asdict(recipe),
        "recipe_name": options.recipe,
        "pretrained": options.pretrained,
        "scheme": train.faces.scheme.name,
        "kept": train.kept,
        "dataset": train.faces.name.partition("/")[0],
        "mean_shape": mean_shape(train, recipe),
        "versions": {"torch": str(torch.__version__)},
        "training": {
            "history": history,
            "seed": options.seed,
            **{name: learner.state_dict() for name, learner in learners.items()},
        },
    }


def _keep_other(path: Path, train: Crops, recipe: Recipe, options: Options) -> None:
    """Rename the checkpoint of another recipe, seed or data set that would be overwritten."""
    try:
        other = checkpoints.load(path)
        values = asdict(checkpoints.recipe_of(other))
        began = other["training"]["seed"], other.get("pretrained")
        told = values, began, other["dataset"], other["kept"]
    except (UserError, KeyError):  # none, or nothing that anybody would miss
        return
    began = options.seed, options.pretrained
    if told != (asdict(recipe), began, train.faces.name.partition("/")[0], train.kept):
        kept = path.with_stem(f"{path.stem}-{other.get('recipe_name', 'before')}")
        path.replace(kept)
        print(f"{path}: was of another run and is {kept.name} now", file=sys.stderr)


def _restore(
    path: Path, learners: dict[str, Any], train: Crops, recipe: Recipe, options: Options
) -> list[dict[str, float]]:
    if not path.is_file():  # stopped before the first checkpoint: the start is where it was
        return []
    checkpoint = checkpoints.load(path)
    if "training" not in checkpoint:
        raise UserError(f"{path}: holds nothing to go on from; leave out --resume to start anew")
    training = checkpoint["training"]
    dataset = train.faces.name.partition("/")[0]
    known = asdict(checkpoints.recipe_of(checkpoint))  # values added since are at their default
    if known != asdict(recipe) or training["seed"] != options.seed:
        raise UserError(
            f"{path}: was trained with another recipe or seed; leave out --resume to start anew"
        )
    if checkpoint.get("pretrained") != options.pretrained:
        raise UserError(
            f"{path}: began with other weights (--pretrained); leave out --resume to start anew"
        )
    if checkpoint["dataset"] != dataset:
        raise UserError(
            f"{path}: was trained on {checkpoint['dataset']}, not on {dataset}; leave out --resume "
            "to start anew"
        )
    if (checkpoint["scheme"], checkpoint["kept"]) != (train.faces.scheme.name, train.kept):
        raise UserError(f"{path}: learned other points; leave out --resume to start anew")
    try:
        for name in learners.keys() & training.keys():  # older checkpoints hold no film
            learners[name].load_state_dict(training[name])
    except (RuntimeError, ValueError):
        raise UserError(
            f"{path}: is of another network; leave out --resume to start anew"
        ) from None
    return training["history"]
