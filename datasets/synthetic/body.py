"""What belongs to a head beside its sheet: ears, neck, shoulders and hair. Lengths in mm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.head import Array, angles_of, curve, on_sheet, sheet_triangles, soft

EAR_ROWS, EAR_COLUMNS = 8, 25
TORSO_ROWS, TORSO_COLUMNS = 30, 49
HAIR_ROWS, HAIR_COLUMNS = 44, 97
_HAIR_ON_HEAD = 30
# Cross-sections of neck and shoulders: half width, half depth, height, centre in depth.
_TORSO_RINGS = np.array(
    [(48.0, 34, 40, -86), (50, 36, 85, -88), (53, 38, 112, -90), (55, 44, 136, -95),
     (60, 54, 146, -98), (78, 64, 155, -100), (112, 74, 165, -100), (150, 84, 177, -100),
     (180, 92, 194, -100), (196, 98, 230, -100), (202, 104, 310, -100), (205, 108, 460, -100)]
)  # fmt: skip


def ears(grid: Array, size: float, stand_out: float) -> tuple[Array, NDArray[np.int32]]:
    """Right and left ear of a head (ROWS, COLUMNS, 3): vertices (V, 3), triangles (T, 3)."""
    ring, turn = np.linspace(0, 1, EAR_ROWS), np.linspace(0, 2 * np.pi, EAR_COLUMNS)
    r, t = np.meshgrid(ring, turn, indexing="ij")
    back = 15 * r * np.sin(t) * (1 - 0.25 * np.cos(t) * r)
    down = -29 * r * np.cos(t) + 5 * r * (np.sin(t) < 0)
    rim = 3.5 * np.exp(-(((r - 0.88) / 0.12) ** 2)) - 6 * np.exp(-((r / 0.5) ** 2)) - 5 * (r > 0.97)
    root = on_sheet(grid, angles_of(np.array([[74.0, 20.0, -64.0]])))[0]
    lean = stand_out * (back + 14)
    x = root[0] - 1 + size * (lean + rim)
    y = root[1] + size * (down - 0.12 * back)
    z = root[2] - size * (0.92 * back - 0.15 * down - 0.3 * rim)
    right = np.stack([x, y, z], -1).reshape(-1, 3)
    triangles = sheet_triangles(EAR_ROWS, EAR_COLUMNS)
    triangles = np.concatenate([triangles[:, ::-1], triangles + len(right)])
    return np.concatenate([right, right * (-1, 1, 1)]), triangles


def torso(neck_width: float, shoulders: float) -> tuple[Array, Array]:
    """Neck and shoulders: vertices (TORSO_ROWS, TORSO_COLUMNS, 3), and how far each row
    (TORSO_ROWS,) follows the head's turn, 0 to 1."""
    t = np.linspace(0, len(_TORSO_RINGS) - 1, TORSO_ROWS)
    width, depth, height, middle = curve(_TORSO_RINGS, t).T
    low = soft(135, 175, height)
    width = width * (neck_width * (1 - low) + shoulders * low)
    turn = np.linspace(-np.pi, np.pi, TORSO_COLUMNS)
    x = width[:, None] * np.sin(turn)
    z = middle[:, None] + depth[:, None] * np.cos(turn)
    # Shoulders slope: rows that are low at the sides rise towards the neck in front and behind.
    y = height[:, None] + (low * 14)[:, None] * np.cos(turn) ** 2
    return np.stack([x, y, z], -1), 1 - soft(80, 155, height)


class Hair:
    """A random haircut. Lengths in mm, angles in radians."""

    def __init__(self, random: np.random.Generator, woman: bool) -> None:
        long = random.random() < (0.75 if woman else 0.08)
        fringe = random.random() < (0.35 if woman else 0.25)
        self.bulk = random.uniform(8, 26) if woman else random.uniform(3, 20)  # off the scalp
        # Elevation where it ends on the forehead; azimuth where that is highest, by ``arch``.
        self.fringe = np.radians(random.uniform(-43, -32) if fringe else random.uniform(-68, -50))
        self.parting = np.radians(random.normal() * 22)
        self.arch = np.radians(random.uniform(1, 5) if fringe else random.uniform(2, 14))
        # Elevation of the hairline at the temple and beside the face; how far it falls from there.
        self.temple = np.radians(random.uniform(-52, -36))
        self.sides = np.radians(random.uniform(-5, 25) if long else random.uniform(-22, 0))
        self.hang = random.uniform(50, 240) if long else 0.0
        # Azimuth from which on it falls.
        self.front = np.radians(random.uniform(62, 92) if long else random.uniform(76, 88))
        self.waves = random.uniform(0.05, 0.5)  # how uneven the outline is
        # Share of the bulk that is left at the forehead, small where it is combed back.
        self.tip = random.uniform(0.15, 0.4) if fringe else random.uniform(0.0, 0.15)

    def mesh(self, grid: Array, outward: Array, wobble: Array) -> tuple[Array, Array]:
        """The surface of the hair.

        grid, outward: (ROWS, COLUMNS, 3), head and its normals.
        wobble: (2, HAIR_COLUMNS), smooth noise in -1..1.
        Returns vertices (HAIR_ROWS, HAIR_COLUMNS, 3) and, (HAIR_ROWS, HAIR_COLUMNS, 2), azimuth and
        place along the strand, 0 at the crown and 1 at the tip.
        """
        azimuth = np.linspace(-np.pi, np.pi, HAIR_COLUMNS)
        aside = np.abs(azimuth)
        front = self.fringe - self.arch * np.cos(2 * (azimuth - self.parting))
        line = front + (self.temple - front) * soft(*np.radians([28.0, 58.0]), aside)
        line += (self.sides - self.temple) * soft(self.front - 0.16, self.front + 0.12, aside)
        line += (np.radians(42.0) - self.sides) * soft(*np.radians([100.0, 125.0]), aside)  # nape
        line += 0.05 * wobble[0]
        down = np.linspace(0, 1, _HAIR_ON_HEAD)[:, None]
        elevation = np.radians(-88) + (line - np.radians(-88)) * down
        where = np.stack([np.broadcast_to(azimuth, elevation.shape), elevation], -1)
        tip = self.tip + (0.5 - self.tip) * soft(0.9, 1.5, aside)
        tip = 1 - soft(0.55, 1.0, down) * (1 - tip)
        bulk = self.bulk * tip * (1 + self.waves * wobble[1] * down) + 1.0
        scalp = on_sheet(grid, where) + bulk[..., None] * on_sheet(outward, where)

        fall = np.linspace(0, 1, HAIR_ROWS - _HAIR_ON_HEAD + 1)[1:, None]
        length = self.hang * soft(self.front - 0.05, self.front + 0.2, aside)
        hanging = np.repeat(scalp[-1:], len(fall), 0)
        hanging[..., 1] += fall * length * (1 + 0.12 * wobble[0])
        push = 1 + 0.14 * np.sin(2.6 * fall) * np.minimum(length / 100, 1) * (1 + wobble[1])
        hanging[..., 0] *= push
        hanging[..., 2] += 10 * fall * np.minimum(length / 100, 1)
        along = np.concatenate([down * 0.7, 0.7 + 0.3 * fall])
        along = along + (0.3 * down[-1] * (length < 5)) * np.concatenate([down, np.ones_like(fall)])
        strands = np.stack([np.broadcast_to(azimuth, along.shape), along], -1)
        return np.concatenate([scalp, hanging]), strands
