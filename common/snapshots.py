"""Snapshots of a training: what a network predicts for a few faces, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.inference import predict_keypoints
from common.loading import Crops
from common.metrics import errors_per_face
from common.recipe import Recipe
from common.system.distributed import is_main_process

FACES = 4
FRAMES = 60  # at most, so that the page of a long training stays small


def snapshot_epochs(epochs: int) -> list[int]:
    """After which epochs a snapshot is recorded; 0 is before the first.

    Most is learned early, so the distance between snapshots grows with the square of their
    number, from one epoch at first.
    """
    last = FRAMES - 1
    steps = (max(frame, round(epochs * (frame / last) ** 2)) for frame in range(FRAMES))
    return sorted({min(step, epochs) for step in steps})


class SnapshotRecorder:
    """Records predictions for a few faces, spread evenly over ``crops``.

    It has a state as network and optimizer have, so a resumed training continues the recording.
    """

    def __init__(self, crops: Crops, recipe: Recipe) -> None:
        self.faces = torch.linspace(0, len(crops) - 1, min(FACES, len(crops))).long().tolist()
        self.crops, self.recipe = crops.take(self.faces), recipe
        self.epochs = snapshot_epochs(recipe.epochs)
        self.frames: dict[int, Tensor] = {}  # by epoch, (F, k, 2) pixels of the network's crop

    def record(self, epoch: int, network: nn.Module) -> None:
        """Record what ``network`` predicts after ``epoch`` epochs, in the first process alone."""
        if is_main_process() and epoch in self.epochs:
            self.frames[epoch] = predict_keypoints(
                network, self.crops.images, self.crops.flip_order, self.recipe
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"faces": self.faces, "frames": self.frames}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what a checkpoint held."""
        self.frames = state["frames"]


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of F test faces as the page plays them."""

    faces: list[int]  # their indices among the test faces
    epochs: list[int]  # after which each of E snapshots was recorded
    predictions: Tensor  # float32 (E, F, k, 2), pixels of the network's crop
    nme: Tensor  # (E, F), %


def load_snapshots(state: dict[str, Any], test: Crops, recipe: Recipe) -> Snapshots | None:
    """The snapshots in a checkpoint's ``training``, measured; None where fewer than two exist."""
    recorded = state.get("snapshots", {"frames": {}})
    if len(recorded["frames"]) < 2:
        return None
    epochs, predictions = zip(*sorted(recorded["frames"].items()), strict=True)
    crops = test.take(recorded["faces"])
    nme = torch.stack([errors_per_face(frame, crops, recipe)["nme"] for frame in predictions])
    return Snapshots(recorded["faces"], list(epochs), torch.stack(predictions), nme)
