"""Who is rendered and how: every proportion, colour and light of a picture, sampled at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from datasets.synthetic import body, head
from datasets.synthetic.head import Array

Random = np.random.Generator
Light = tuple[Array, Array]  # unit vector towards it, colour


def linear(colour: ArrayLike) -> Array:
    """Light 0..1 of sRGB 0..255, by the plain power 2.2."""
    return ((np.asarray(colour, np.float32) / 255) ** 2.2).astype(np.float32)


_SKIN, _HAIR, _IRIS = (
    linear(np.reshape([*bytes.fromhex(colours)], (-1, 3)))
    for colours in (
        "f5d0bc e9bca0 d6a484 ba8462 926246 664230 462e24",
        "161211 261a14 422a1b 624026 96693c c49c62 8c3e1e 969492 cdcbc8",
        "4a2e1a 342216 5c6c7a 60785c 6e5434 3c5470",
    )
)
# Where beards grow: on the chin, the cheeks, the upper lip and beside the mouth.
_BEARDS = ((1, 1, 1, 1), (1, 0, 1, 1), (0, 0, 1, 0), (1, 1, 0, 0))


def _between(random: Random, table: Array, weights: Sequence[float]) -> Array:
    """A colour between two of a table, mostly near the first."""
    a, b = random.choice(len(table), 2, p=np.array(weights) / np.sum(weights))
    share = random.beta(1, 3)
    return (table[a] * (1 - share) + table[b] * share).astype(np.float32)


def _clipped(random: Random, mean: float, deviation: float, low: float, high: float) -> float:
    return float(np.clip(random.normal() * deviation + mean, low, high))


def _sample_proportions(random: Random, woman: bool) -> dict[str, float]:
    proportions = {name: _clipped(random, 0, 1, -2.3, 2.3) for name in head.PROPORTIONS}
    proportions["child"] = float(max(0.0, random.normal() - 1.0) * 1.5)
    if woman:
        proportions["jaw width"] -= 0.4
        proportions["brow ridge"] -= 0.6
        proportions["brow height"] += 0.3
    return proportions


def _sample_wobble(random: Random) -> Array:
    """Smooth noise (2, HAIR_COLUMNS) around the head; half of all outlines are ragged."""
    knots = random.normal(size=(2, 25))
    knots[:, -1] = knots[:, 0]
    wobble = cv2.resize(knots, (body.HAIR_COLUMNS, 2), interpolation=cv2.INTER_CUBIC)
    wobble = wobble.clip(-1.5, 1.5)
    if random.random() < 0.5:
        wobble[0] += random.normal(size=body.HAIR_COLUMNS) * random.uniform(0, 0.6)
    return wobble.astype(np.float32)


def _sample_beard(random: Random) -> tuple[float, tuple[int, int, int, int]]:
    """Amount, 0.1 stubble to 1 full, and where it grows, in the order of ``_BEARDS``."""
    amount = random.uniform(0.1, 0.5) if random.random() < 0.5 else random.uniform(0.6, 1.0)
    return amount, _BEARDS[random.choice(4, p=[0.5, 0.25, 0.15, 0.1])]


class Glasses:
    """Glasses of random shape; lengths in mm, width and height are half of a lens."""

    def __init__(self, random: Random, dark: bool) -> None:
        self.thickness = random.uniform(*((0.8, 1.6) if random.random() < 0.5 else (1.8, 4.5)))
        coloured = random.random() < 0.4
        colour = random.uniform(10, 130, 3) if coloured else np.full(3, random.uniform(8, 60))
        self.colour = linear(colour)
        self.width = random.uniform(22, 29)
        self.height = random.uniform(14, 24)
        self.power = random.uniform(2.0, 4.5)  # of the outline: 2 for an ellipse, more for boxes
        self.tint = random.uniform(0.55, 0.98) if dark else random.uniform(0, 0.08)
        self.tint_colour = linear(random.uniform(5, 60, 3))
        self.low = random.uniform(-1, 5)  # below the eyes
        self.shine = random.uniform(0, 0.5)


class Person:
    """What stays the same in all pictures of a person; colours are linear light, lengths mm."""

    def __init__(self, random: Random) -> None:  # the order of its draws counts
        woman = random.random() < 0.5
        self.proportions = _sample_proportions(random, woman)
        tone = float(np.clip(random.beta(1.1, 2.0) * 6, 0, 5.99))
        skin = _SKIN[int(tone)] + (tone % 1) * (_SKIN[int(tone) + 1] - _SKIN[int(tone)])
        self.skin = (skin * np.exp(random.normal(size=3) * [0.05, 0.06, 0.10])).astype(np.float32)
        dark = tone > 3.2
        weights = [8, 4, 1, 0.2, 0.1, 0.1, 0.1, 0.6, 0.4] if dark else [5, 5, 4, 3, 2, 2, 1, 1, 1]
        self.hair_colour = _between(random, _HAIR, weights)
        self.wobble = _sample_wobble(random)
        bearded = not woman and random.random() < 0.55
        self.beard = _sample_beard(random) if bearded else None
        painted = woman and random.random() < 0.5
        self.scale = (1 + random.normal(size=3) * [0.035, 0.045, 0.045]).astype(np.float32)
        self.unevenness = random.normal(size=head.TEMPLATE.shape) * 0.3
        self.blemish = random.uniform(0.2, 1.0)
        self.freckles = max(0.0, random.normal() * 0.5 - 0.2)
        self.age = random.random()
        self.lip_colour = random.uniform(1.2, 2.0) if painted else random.uniform(0.3, 1.0)
        weights = [6, 6, 0.1, 0.1, 0.5, 0.1] if dark else [4, 4, 2, 1, 2, 2]
        self.iris = _between(random, _IRIS, weights)
        self.pupil = random.uniform(1.7, 2.9)
        self.lashes = random.uniform(0.5, 0.95) if woman else random.uniform(0.3, 0.7)
        self.brow_thickness = random.uniform(4.5, 9.0) * (0.8 if woman else 1.0)
        self.brow_density = random.uniform(0.45, 1.0)
        self.brow_colour = self.hair_colour * random.uniform(0.25, 0.8)
        bald = random.random() < (0.02 if woman else 0.13)
        self.hair = None if bald else body.Hair(random, woman)
        self.ears = (random.uniform(0.95, 1.25), random.uniform(0.3, 0.7))
        neck_width = random.uniform(0.85, 1.0) if woman else random.uniform(0.95, 1.15)
        self.neck = (neck_width, random.uniform(0.85, 1.1))
        cloth = random.normal(size=3) * 40 + random.choice([40, 110, 210])
        self.cloth = linear(np.clip(cloth, 8, 245))
        self.neckline = random.uniform(128, 172)
        kind = random.random()
        self.glasses = Glasses(random, dark=kind < 0.07) if kind <= 0.22 else None
        self.offsets = random.uniform(0, 256, 8).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """What changes from picture to picture."""

    expression: dict[str, float | tuple[float, float]]
    gaze: tuple[float, float]
    turn: tuple[float, float, float]  # yaw, pitch, roll in degrees
    body_turn: tuple[float, float, float]
    distance: float  # of the camera, mm
    share: float  # of the picture's shorter side that the keypoints take
    shift: tuple[float, float]  # of their centre from the picture's, in shares of that side
    lights: tuple[Light, ...]  # the first one casts shadows
    ambient: Array
    exposure: float  # brightness of the face, 0..1
    gloss: float


def _both(random: Random, amount: float) -> tuple[float, float]:
    return amount * (1 + random.normal() * 0.2), amount * (1 + random.normal() * 0.2)


def sample_expression(random: Random) -> dict[str, float | tuple[float, float]]:
    """Amounts for ``head.shaped``: about half of all faces smile, as in 300-W."""
    smile = random.uniform(0.2, 1.5) if random.random() < 0.55 else random.normal() * 0.2
    jaw = head.CLOSED_JAW
    if random.random() < 0.6:
        jaw += random.gamma(1.4, 1.6)
    if random.random() < 0.05:
        jaw += random.uniform(2, 7)
    blink = random.uniform(0.7, 1.0) if random.random() < 0.03 else random.normal() * 0.13
    blink += 0.1 * max(smile, 0.0)
    uneven = random.normal() * 0.06 if random.random() < 0.97 else 0.8
    return {
        "smile": _both(random, smile - 0.45),
        "sad": max(0.0, random.normal() * 0.5 - 0.3),
        "pout": max(0.0, random.normal() * 0.4 - 0.3),
        "brows up": _both(random, random.normal() * 0.7),
        "frown": max(-0.3, random.normal() * 0.45),
        "sneer": max(0.0, random.normal() * 0.4 - 0.2),
        "jaw": min(jaw, 6.5),
        "upper lip up": max(0.0, random.normal() * 0.7) + 1.6 * max(0.0, smile - 0.5),
        "close left": float(np.clip(blink + uneven, -0.45, 1)),
        "close right": float(np.clip(blink - uneven, -0.45, 1)),
        "mouth aside": random.normal() * 1.0,
    }


def _light_from(azimuth: float, height: float, colour: ArrayLike) -> Light:
    """A light at degrees to the right and above the camera."""
    a, b = np.radians([azimuth, height])
    towards = np.array([np.sin(a) * np.cos(b), -np.sin(b), np.cos(a) * np.cos(b)], np.float32)
    return towards, np.asarray(colour, np.float32)


def sample_scene(random: Random) -> Scene:
    """A picture as it might come from the web: any pose, light and expression."""
    lights = []
    for number in range(random.choice([1, 2, 3], p=[0.45, 0.35, 0.2])):
        warmth = random.normal() * 0.13
        strength = 1.0 if number == 0 else random.uniform(0.15, 0.7)
        colour = np.array([1 + warmth, 1.0, 1 - warmth]) * strength
        wide = 40 if number == 0 else 60
        lights.append(_light_from(random.normal() * wide, random.normal() * 20 + 28, colour))
    ambient = np.exp(random.normal() * 0.5) * 0.42 * (1 + random.normal(size=3) * 0.08)
    # Mostly as in 300-W; one face in ten is turned at random, so that every turn occurs.
    rare = random.random() < 0.1
    yaw, pitch, roll = (
        random.uniform(-most, most) if rare else _clipped(random, mean, deviation, -most, most)
        for most, mean, deviation in ((60, 0, 14), (30, -3.5, 8), (40, 0, 7))
    )
    follow = np.array([random.uniform(0, 0.8), 0, 0.2])  # of the body
    return Scene(
        expression=sample_expression(random),
        gaze=(_clipped(random, -0.03 * yaw, 2.2, -6, 6), random.normal() * 1.1),
        turn=(yaw, pitch, roll),
        body_turn=tuple(follow * (yaw, pitch, roll) + random.normal(size=3) * [8, 4, 4]),
        distance=float(np.exp(random.uniform(np.log(600), np.log(4000)))),
        share=random.uniform(0.56, 0.66),
        shift=tuple(random.uniform(-0.04, 0.04, 2)),
        lights=tuple(lights),
        ambient=ambient.astype(np.float32),
        exposure=_clipped(random, 0.62, 0.09, 0.35, 0.85),
        gloss=random.uniform(0.1, 1.0),
    )


VIEWS = ("neutral", "happy", "turned right", "turned left", "spot light", "joker")
"""IMM's six views of a person; "right" is the person's: the face looks to the picture's left."""


def sample_portrait(random: Random, view: str) -> Scene:
    """A picture as IMM took them: same room, same camera, one of VIEWS."""
    neutral = {"smile": -0.45, "jaw": head.CLOSED_JAW, "close left": -0.05, "close right": -0.05}
    expression = neutral | {"brows up": random.normal() * 0.3}
    expression["smile"] += random.normal() * 0.15
    main = _light_from(random.normal() * 8 - 10, 45, (1, 1, 1))
    lights = (main, _light_from(35, 25, (0.5, 0.5, 0.52)))
    yaw = random.normal() * 4
    if view == "happy":
        smile = random.uniform(0.6, 1.5)
        expression = {
            "smile": _both(random, smile - 0.45),
            "jaw": head.CLOSED_JAW + random.gamma(1.5, 0.8),
            **dict.fromkeys(("close left", "close right"), 0.1 * smile),
            "upper lip up": 1.6 * max(0.0, smile - 0.5),
        }
    elif view.startswith("turned"):
        yaw = (-30 if view == "turned right" else 30) + random.normal() * 6
    elif view == "spot light":
        lights = (_light_from(55, 15, (1.6, 1.5, 1.4)), main)
    elif view == "joker":
        expression, yaw = sample_expression(random), random.normal() * 12
    return Scene(
        expression=expression,
        gaze=(random.normal() * 0.8 - 0.04 * yaw, random.normal() * 0.5),
        turn=(yaw, -8 + random.normal() * 4, random.normal() * (6 if view == "joker" else 2.5)),
        body_turn=(0.5 * yaw + random.normal() * 3, 0.0, random.normal() * 1.5),
        distance=1400.0,
        share=random.uniform(0.41, 0.46),
        shift=(0.015 + 0.0017 * yaw + random.normal() * 0.05, 0.115 + random.normal() * 0.03),
        lights=lights,
        ambient=np.full(3, 0.45, np.float32),
        exposure=0.5 + random.normal() * 0.03,
        gloss=0.5,
    )
