"""Faces that are drawn: no data set, no network, exact keypoints, as many as one likes.

Every face is a head in three dimensions (``head``) with proportions, expression, skin,
hair, glasses, light, pose and camera by lot (``people``), painted and lit pixel by pixel
(``shading``) and photographed (``scene``). The keypoints are points on the same
surface, moved by the same projection, so their labels are exact and free.

That a network trained on drawn faces alone can find keypoints in photos was shown by Wood et al.,
"Fake It Till You Make It: Face analysis in the wild using synthetic data alone" (ICCV 2021), who
used scanned heads and an artist's hair; here everything is analytic, and much simpler.

Licence: these pictures show nobody; they are free of the restrictions of real data sets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from common.keypoints import Scheme
from datasets.synthetic.head import PROPORTIONS
from datasets.synthetic.people import (
    VIEWS,
    Beard,
    Person,
    Scene,
    sample_person,
    sample_portrait,
    sample_scene,
)
from datasets.synthetic.scene import draw

VARIATIONS = (
    "proportions", "expression", "pose", "light", "hair", "beard", "glasses", "occluders",
    "background", "camera",
)  # fmt: skip
"""What ``leave_out`` can hold: kinds of variation that are held at their plainest."""

SETTINGS = {"crop": (128, 128), "portrait": (120, 160)}
"""Setting and its usual size (H, W): a face as in 300-W, or head and shoulders as in IMM."""

# Multiples of six, because a person of "portrait" has six seeds in a row.
_FIRST_SEED = {"train": 0, "test": 600_000_000}


@dataclass(frozen=True)
class RenderedFaces:
    """N drawn faces, one entry of every field per face; the counterpart of ``common.faces.Faces``.

    images: uint8 (N, 3, H, W), RGB; points: float32 (N, K, 2), pixels of the picture; in_sight:
    bool (N, K), False where another part of the face hides the point; groups: the person;
    views: IMM's view, or for "crop" the turn of the head.
    """

    name: str
    scheme: Scheme
    images: Tensor
    points: Tensor
    in_sight: Tensor
    groups: tuple[str, ...]
    views: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def _plainer(person: Person, scene: Scene, leave_out: Collection[str]) -> tuple[Person, Scene]:
    if "proportions" in leave_out:
        even = dict.fromkeys(PROPORTIONS, 0.0)
        person = replace(
            person,
            proportions=even,
            scale=np.ones(3, np.float32),
            unevenness=0.0 * person.unevenness,
        )
    if "hair" in leave_out:
        person = replace(person, hair=None)
    if "beard" in leave_out:
        person = replace(person, beard=Beard())
    if "glasses" in leave_out:
        person = replace(person, glasses=None)
    if "expression" in leave_out:
        scene = replace(scene, expression={}, gaze=(0.0, 0.0))
    if "pose" in leave_out:
        scene = replace(scene, turn=(0.0, 0.0, 0.0), body_turn=(0.0, 0.0, 0.0))
    if "light" in leave_out:
        towards = np.array([0.0, -0.5, 0.866], np.float32)
        scene = replace(
            scene, lights=((towards, np.ones(3, np.float32)),), ambient=np.full(3, 0.42, np.float32)
        )
    return person, scene


def people(
    seed: int, setting: str, leave_out: Collection[str] = ()
) -> tuple[Person, Scene, np.random.Generator]:
    """Who a seed shows and how, and the random numbers for what is left.

    "crop": every seed is another person. "portrait": six seeds in a row are one person's views.
    """
    who, view = (seed, 0) if setting == "crop" else divmod(seed, len(VIEWS))
    person = sample_person(np.random.default_rng([1, who]))
    random = np.random.default_rng([2, seed])
    if setting == "portrait":
        person = replace(person, glasses=None)  # as in IMM
    scene = sample_scene(random) if setting == "crop" else sample_portrait(random, view)
    return *_plainer(person, scene, leave_out), random


def render(
    seeds: Sequence[int],
    scheme: Scheme,
    setting: str = "crop",
    size: tuple[int, int] | None = None,
    leave_out: Collection[str] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one face per seed; ``cached`` does it on all cores.

    seeds: whole numbers from 0; the same seed gives the same picture, whatever is drawn with it.
    scheme: IBUG_68 or IMM_58. setting: "crop", the keypoints take about 0.6 of the picture's
    shorter side, anything may be behind and in front; or "portrait", head and shoulders before a
    wall. size: (H, W), by default that of SETTINGS. leave_out: names of VARIATIONS.
    Returns images uint8 (N, 3, H, W) RGB, points float32 (N, K, 2) in their pixels, and whether
    each point is in sight, bool (N, K).
    Raises ValueError for an unknown setting or variation.
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting must be one of {', '.join(SETTINGS)}, not {setting!r}")
    if unknown := set(leave_out) - set(VARIATIONS):
        raise ValueError(f"unknown variation {', '.join(sorted(unknown))}: {', '.join(VARIATIONS)}")
    height, width = size or SETTINGS[setting]
    images = torch.empty(len(seeds), 3, height, width, dtype=torch.uint8)
    points = torch.empty(len(seeds), scheme.n_points, 2)
    in_sight = torch.empty(len(seeds), scheme.n_points, dtype=torch.bool)

    for index, seed in enumerate(seeds):
        person, scene, random = people(int(seed), setting, leave_out)
        image, places, seen = draw(
            person, scene, random, scheme, (height, width), setting, leave_out
        )
        images[index] = torch.from_numpy(image.copy())
        points[index] = torch.from_numpy(places)
        in_sight[index] = torch.from_numpy(seen)
    return images, points, in_sight


def load(
    split: str,
    scheme: Scheme,
    setting: str = "crop",
    count: int = 2000,
    first: int = 0,
    size: tuple[int, int] | None = None,
    leave_out: Collection[str] = (),
) -> RenderedFaces:
    """``count`` faces of a split, "train" or "test", from its ``first`` on; no person is in both.

    Groups are persons. Views are IMM's six ("portrait"), or how far the head is turned ("crop").
    """
    seeds = range(_FIRST_SEED[split] + first, _FIRST_SEED[split] + first + count)
    images, points, in_sight = render(seeds, scheme, setting, size, leave_out)
    if setting == "portrait":
        groups = tuple(f"person {seed // len(VIEWS)}" for seed in seeds)
        views = tuple(VIEWS[seed % len(VIEWS)] for seed in seeds)
    else:
        groups = tuple(f"person {seed}" for seed in seeds)
        views = tuple(_turn(people(seed, setting, leave_out)[1].turn[0]) for seed in seeds)
    return RenderedFaces(f"synthetic/{split}", scheme, images, points, in_sight, groups, views)


def _turn(yaw: float) -> str:
    for limit in (15, 30, 45):
        if abs(yaw) < limit:
            return f"turned {limit - 15}-{limit}°"
    return "turned 45-60°"
