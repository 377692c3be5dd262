"""Train a part with a learner's functions: ``python run_part.py 1 --mine exercises/part1.py``.

``SEAMS`` is the only place that says which of our functions a learner's one replaces, and only
while this run lasts: the lessons and ``common`` know nothing of it.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from common import augmentation, heatmaps, inference, losses, metrics, training
from common.keypoints import IMM_58
from common.recipe import Recipe
from common.report import run_report
from common.system.errors import UserError
from datasets import ibug, imm
from datasets.annotations import Face
from exercises.check import load
from exercises.judge import NOT_DONE, Function, judge
from exercises.tasks import PARTS, TASKS
from parts import part3_large_dataset
from parts.commands import train
from parts.part1_nose_tip import NoseNet

Functions = Mapping[str, Function]
put = mock.patch.object  # (holder, name, function): a replacement while it is entered


def run(options: argparse.Namespace) -> None:
    """Train a part with the functions that ``options.mine`` has, into ``reports/mine/``.

    Raises UserError where the file cannot be run, has no function yet, or one of them fails.
    """
    file = options.mine
    options.mine = verdicts(options.command, file)
    used = {name: getattr(load(file), name) for name in options.mine if name in SEAMS}
    for name, message in options.mine.items():
        print(f"your {name}: {message}{'' if name in used else ' (no training uses it)'}")
    if not used:
        raise UserError(f"{file}: no function that a training uses is written yet; fill one in")
    options.mine = {name: options.mine[name] for name in used}
    options.reports = options.reports / "mine"
    options.device = options.device or "cpu"  # where tensors that a learner makes lie
    with replaced(used), blamed_on(file):
        train.run(options)


def verdicts(part: str, file: Path) -> dict[str, str]:
    """What the judge says of each function that ``file`` has for a part, right or wrong."""
    module = load(file)
    found = {
        task.name: judge(replace(task, view=None), getattr(module, task.name, None), file).message
        for task in PARTS[int(part) - 1].TASKS
    }
    return {name: words for name, words in found.items() if not words.startswith(NOT_DONE)}


@contextmanager
def replaced(functions: Functions) -> Iterator[None]:
    """Let a learner's functions do what ours do."""
    with ExitStack() as stack:
        for name in functions:
            for seam in SEAMS[name](functions):
                stack.enter_context(seam)
        yield


@contextmanager
def blamed_on(file: Path) -> Iterator[None]:
    """Raise UserError, which names the learner's line, for an error inside of the block."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as fault:
        frames = traceback.extract_tb(fault.__traceback__)
        lines = [f", line {frame.lineno}" for frame in frames if frame.filename == str(file)]
        reason = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
        where = f"{file}{lines[-1] if lines else ''}"
        raise UserError(f"{where}: training stopped, {reason}; correct the function") from fault


def _train_epoch(step: Function) -> Function:
    """``training.train_epoch`` around a learner's ``training_step``."""

    def train_epoch(
        network: nn.Module,
        crops: training.Crops,
        optimizer: torch.optim.Optimizer,
        schedule: training.Schedule,
        ema: training.EMA,
    ) -> float:
        network.train()
        device, total = next(network.parameters()).device, 0.0
        for chosen in training.batches(crops, schedule.recipe):
            recipe = schedule.recipe
            batch = crops.batch(chosen, device)
            faces, points = training.augment(*batch, recipe, crops.flip_order)
            target = training.to_fractions(points, recipe.height, recipe.width)
            total += float(step(network, optimizer, faces, target)) * len(chosen)
            schedule.step()
            ema.update(network)
        return total / len(crops)

    return train_epoch


def _augment(functions: Functions) -> list[AbstractContextManager[object]]:
    """Part 2's rotation by ``turning`` and ``move_both``, its flip by ``mirror``."""
    turning, move_both = (
        functions.get(name, TASKS[name].right) for name in ("turning", "move_both")
    )
    own_turn, mirror = {"turning", "move_both"} & set(functions), functions.get("mirror")
    ours = augmentation.augment

    def augment(
        images: Tensor, points: Tensor, recipe: Recipe, flip_order: Tensor
    ) -> tuple[Tensor, Tensor]:
        angle, flip = recipe.rotation if own_turn else 0.0, recipe.flip if mirror else 0.0
        rest = replace(recipe, rotation=recipe.rotation - angle, flip=recipe.flip - flip)
        faces, points = ours(images, points, rest, flip_order)
        if angle:
            angles = (angle * (2 * torch.rand(len(faces)) - 1)).tolist()
            size = recipe.height, recipe.width
            faces, points = move_both(
                faces, points, torch.stack([turning(one, *size) for one in angles])
            )
        chosen = torch.rand(len(faces)) < flip
        if chosen.any():
            faces, points = faces.clone(), points.clone()
            faces[chosen], points[chosen] = mirror(faces[chosen], points[chosen], flip_order)
        return faces, points

    return [put(training, "augment", augment), put(run_report, "augment", augment)]


def _read_asf(read: Function) -> Callable[[Path], Face]:
    ours = imm.read_asf

    def read_asf(file: Path) -> Face:
        face = ours(file)
        points = read(file.read_text(), *face.box[2:])
        return replace(face, points=imm.number_eyes_from_outside(points))

    return read_asf


def _soft_argmax(read: Function) -> Function:
    ours = heatmaps.soft_argmax
    return lambda log_heatmaps: (read(log_heatmaps), ours(log_heatmaps)[1])


# What each function replaces, given all that the learner has written.
SEAMS: dict[str, Callable[[Functions], list[AbstractContextManager[object]]]] = {
    "read_asf": lambda own: [put(imm, "read_asf", _read_asf(own["read_asf"]))],
    "to_fractions": lambda own: [put(training, "to_fractions", own["to_fractions"])],
    "to_pixels": lambda own: [put(inference, "to_pixels", own["to_pixels"])],
    "nose_net": lambda own: [
        put(NoseNet, "forward", lambda net, faces: own["nose_net"](
            list(net.features[::3]), list(net.head[::2]), faces
        ))
    ],
    "training_step": lambda own: [put(training, "train_epoch", _train_epoch(own["training_step"]))],
    "turning": _augment,
    "move_both": _augment,
    "mirror": _augment,
    "nme": lambda own: [
        put(holder, "nme", lambda found, truth, _: own["nme"](found, truth, IMM_58.outer_eyes))
        for holder in (training, metrics)
    ],
    "flip_tta": lambda own: [
        put(inference, "predict_flipped", lambda network, faces, order: (
            2 * own["flip_tta"](network, faces, order) - network(faces)
        ))
    ],
    "read_pts": lambda own: [put(ibug, "read_pts", lambda file: own["read_pts"](file.read_text()))],
    "soft_argmax": lambda own: [
        put(holder, "soft_argmax", _soft_argmax(own["soft_argmax"]))
        for holder in (losses, part3_large_dataset)
    ],
    "heatmap_loss": lambda own: [put(losses, "cross_entropy", own["heatmap_loss"])],
    "wing_loss": lambda own: [
        mock.patch.dict(losses.LOSSES, wing=lambda found, truth: own["wing_loss"](
            found, truth, 0.04, 0.008
        ))
    ],
    "failures_and_area": lambda own: [
        put(metrics, name, lambda errors, limit=8.0, part=part: own["failures_and_area"](
            errors, limit
        )[part])
        for part, name in enumerate(("failure_rate", "area_under_curve"))
    ],
}  # fmt: skip
