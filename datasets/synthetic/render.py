"""Synthetic faces: no data set, no network, exact keypoints, as many as one likes.

Every face is a head in three dimensions (``head``) with sampled proportions, expression, skin,
hair, glasses, light, pose and camera (``people``), painted (``paint``), lit (``shading``) and
photographed (``picture``). The keypoints are points on the same surface, moved by the same
projection, so their labels are exact and free. After Wood et al., "Fake It Till You Make It: Face
analysis in the wild using synthetic data alone" (ICCV 2021), but analytic and much simpler.

Licence: these pictures show nobody; they are free of the restrictions of real data sets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from common.keypoints import Scheme
from datasets.synthetic.people import VIEWS, Person, Random, Scene, sample_portrait, sample_scene
from datasets.synthetic.picture import draw

VARIATIONS = (
    "proportions", "expression", "pose", "light", "hair", "beard", "glasses", "occluders",
    "background", "camera",
)  # fmt: skip
"""What ``leave_out`` can hold: kinds of variation that are held at their plainest."""

SETTINGS = {"crop": (128, 128), "portrait": (120, 160)}
"""Setting and its usual size (H, W): a face as in 300-W, or head and shoulders as in IMM."""

FIRST_SEED = {"train": 0, "test": 600_000_000}
"""Of a split; multiples of six, because a person of "portrait" has six seeds in a row."""


_ONES = np.ones(3, np.float32)
_PLAIN_PERSON = {
    "proportions": {"proportions": {}, "scale": _ONES, "unevenness": 0.0},
    **{name: {name: None} for name in ("hair", "beard", "glasses")},
}
_PLAIN_SCENE = {
    "expression": {"expression": {}, "gaze": (0.0, 0.0)},
    "pose": {"turn": (0.0, 0.0, 0.0), "body_turn": (0.0, 0.0, 0.0)},
    "light": {
        "lights": ((np.array([0.0, -0.5, 0.866], np.float32), _ONES),),
        "ambient": np.full(3, 0.42, np.float32),
    },
}


def _who_and_view(seed: int, setting: str) -> tuple[int, int]:
    return (seed, 0) if setting == "crop" else divmod(seed, len(VIEWS))


def people(
    seed: int, setting: str, leave_out: Collection[str] = (), yaw: float | None = None
) -> tuple[Person, Scene, Random]:
    """Who a seed shows and how, and the random numbers for what is left.

    "crop": every seed is another person. "portrait": six seeds in a row are one person's views.
    yaw: see ``render``.
    """
    who, view = _who_and_view(seed, setting)
    person = Person(np.random.default_rng([1, who]))
    random = np.random.default_rng([2, seed])
    if setting == "portrait":
        person.glasses = None  # as in IMM
        scene = sample_portrait(random, VIEWS[view])
    else:
        scene = sample_scene(random)
    for name in leave_out:
        vars(person).update(_PLAIN_PERSON.get(name, {}))
        scene = replace(scene, **_PLAIN_SCENE.get(name, {}))
    if yaw is not None:
        shift = yaw - scene.turn[0]
        body = scene.body_turn[0] + shift / 2, *scene.body_turn[1:]
        scene = replace(scene, turn=(yaw, *scene.turn[1:]), body_turn=body)
    return person, scene, random


def names(seed: int, setting: str, leave_out: Collection[str] = ()) -> tuple[str, str]:
    """The person that a seed shows, and IMM's view or, for "crop", how far the head is turned."""
    who, view = _who_and_view(seed, setting)
    if setting == "portrait":
        return f"person {who}", VIEWS[view]
    yaw = abs(people(seed, setting, leave_out)[1].turn[0])
    first = min(int(yaw // 15) * 15, 45)
    return f"person {who}", f"turned {first}-{first + 15}°"


def render(
    seeds: Sequence[int],
    scheme: Scheme,
    setting: str = "crop",
    size: tuple[int, int] | None = None,
    leave_out: Collection[str] = (),
    yaw: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One synthetic face per seed; ``cached`` renders on all cores.

    seeds: whole numbers from 0; a seed gives the same picture, whatever is rendered with it.
    scheme: IBUG_68 or IMM_58.
    setting: "crop", the keypoints take about 0.6 of the picture's shorter side, anything may be
        behind and in front; or "portrait", head and shoulders before a wall.
    size: (H, W), by default that of SETTINGS.
    leave_out: names of VARIATIONS.
    yaw: degrees by which every head is turned to the right of the picture, -90 to 90, instead of
        a random angle of mostly less than 45; all else is as without it.
    Returns images uint8 (N, 3, H, W) RGB, points float32 (N, K, 2) in their pixels, and which of
    them no other part of the face hides, bool (N, K).
    Raises ValueError for an unknown setting or variation.
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting must be one of {', '.join(SETTINGS)}, not {setting!r}")
    if unknown := set(leave_out) - set(VARIATIONS):
        raise ValueError(f"unknown variation {', '.join(sorted(unknown))}: {', '.join(VARIATIONS)}")
    size = size or SETTINGS[setting]
    images = torch.empty(len(seeds), 3, *size, dtype=torch.uint8)
    points = torch.empty(len(seeds), scheme.n_points, 2)
    visible = torch.empty(len(seeds), scheme.n_points, dtype=torch.bool)
    for index, seed in enumerate(seeds):
        who = people(int(seed), setting, leave_out, yaw)
        face = draw(*who, scheme, size, setting, leave_out)
        for batch, one in zip((images, points, visible), face, strict=True):
            batch[index] = torch.from_numpy(one.copy())
    return images, points, visible
