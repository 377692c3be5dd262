"""Watch it learn: what a network answers for a few faces, kept from epoch to epoch."""

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
FRAMES = 60  # at most; a longer training is told by its first epochs and ever fewer of the later


def snapshot_epochs(epochs: int) -> list[int]:
    """After which of so many epochs a frame is kept; 0 is before the first.

    Most is learned early, so their distance grows with the square of their number, from every
    epoch at first.
    """
    last = FRAMES - 1
    steps = (max(frame, round(epochs * (frame / last) ** 2)) for frame in range(FRAMES))
    return sorted({min(step, epochs) for step in steps})


class SnapshotRecorder:
    """The answers for a few faces, spread evenly over the list of those that are watched.

    It has a state as network and optimizer have, so that a resumed training goes on with it.
    """

    def __init__(self, crops: Crops, recipe: Recipe) -> None:
        self.faces = torch.linspace(0, len(crops) - 1, min(FACES, len(crops))).long().tolist()
        self.crops, self.recipe = crops.take(self.faces), recipe
        self.moments = snapshot_epochs(recipe.epochs)
        self.frames: dict[int, Tensor] = {}  # by epoch, (F, k, 2) pixels of the network's crop

    def record(self, epoch: int, network: nn.Module) -> None:
        """Keep what ``network`` answers after ``epoch`` epochs; the first process alone does."""
        if is_main_process() and epoch in self.moments:
            crops = self.crops
            self.frames[epoch] = predict_keypoints(
                network, crops.images, crops.flip_order, self.recipe
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"faces": self.faces, "frames": self.frames}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.frames = state["frames"]


@dataclass(frozen=True)
class Snapshots:
    """A film of F test faces as the page plays it.

    faces: their indices among the test faces. epochs: after which each of E frames was kept.
    answers: float32 (E, F, k, 2), pixels of the network's crop. nme: (E, F), %.
    """

    faces: list[int]
    epochs: list[int]
    answers: Tensor
    nme: Tensor


def load_snapshots(state: dict[str, Any], test: Crops, recipe: Recipe) -> Snapshots | None:
    """The film in a checkpoint's ``training``, measured; None where there is nothing to play."""
    film = state.get("snapshots", {"frames": {}})
    if len(film["frames"]) < 2:
        return None
    epochs, answers = zip(*sorted(film["frames"].items()), strict=True)
    crops = test.take(film["faces"])
    errors = [errors_per_face(answer, crops, recipe)["nme"] for answer in answers]
    return Snapshots(film["faces"], list(epochs), torch.stack(answers), torch.stack(errors))
