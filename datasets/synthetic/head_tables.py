"""Measures of the head: anatomical points, and what proportions and expressions displace.

Lengths in mm; right of the picture, down and towards the camera; the half with x >= 0.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

_FOLDER = Path(__file__).parent

ANATOMY_HALF = np.genfromtxt(_FOLDER / "head_points.csv", delimiter=",", skip_header=1)[:, 1:]
"""float64 (P, 3), beside the iBUG points, which are those of ``common.photos.pose.MEAN_HEAD``."""


def _bumps(kind: str) -> dict[str, list[list[float]]]:
    bumps = defaultdict(list)
    with open(_FOLDER / "head_bumps.csv", newline="") as table:
        for this, name, *numbers in csv.reader(table):
            if this == kind:
                bumps[name].append([float(number) for number in numbers])
    return dict(bumps)


PROPORTIONS, EXPRESSIONS = _bumps("proportion"), _bumps("expression")
"""What one standard deviation of each proportion, and the amount 1 of each expression, displaces.

Bumps of seven numbers: centre (done on both sides), reach (standard deviation of a Gaussian), and
shift of the centre. ``head.shaped`` knows more expressions, which are no bumps.
"""
