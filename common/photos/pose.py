"""What keypoints say about a head: which way it is turned, how open eyes and mouth are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from common.keypoints import IBUG_68, IMM_58, Scheme, fit_similarity


@dataclass(frozen=True)
class Pose:
    """Degrees from a head that looks straight into the camera; it is turned in this order.

    yaw: positive where it is turned towards the right of the picture.
    pitch: positive where it looks down.
    roll: positive where it leans clockwise, so that the right-hand eye is the lower.
    """

    yaw: float
    pitch: float
    roll: float


_FACE_SIZES_AWAY = 8.0  # assumed distance of the camera; between 4 and 20 it hardly matters

HEAD_HALF = {
    8: (0, 111.5, -6.7), 9: (20.5, 108.6, -10.2), 10: (37.5, 97.3, -19.3), 11: (50, 87.9, -29.3),
    12: (61, 72.5, -39), 13: (68, 55, -46), 14: (70.8, 36.4, -51), 15: (73, 16.3, -54),
    16: (74, -3.5, -55), 22: (11.6, -14.7, 22.5), 23: (24.2, -20.2, 19), 24: (37.7, -22.6, 13.6),
    25: (50.7, -20.8, 4.7), 26: (59.9, -13.3, -7), 27: (0, 0, 23.2), 28: (0, 12.8, 29.2),
    29: (0, 25.5, 36), 30: (0, 38.5, 42.6), 33: (0, 50.8, 27.2), 34: (7.8, 48.4, 25.1),
    35: (15.1, 45.5, 21.8), 42: (19, 2.3, 6), 43: (27.4, -3.9, 8.8), 44: (37, -4.2, 6.7),
    45: (45, 0, 0), 46: (37.6, 3.6, 5.3), 47: (28, 3.9, 7.5), 51: (0, 63.9, 20.2),
    52: (7.4, 62, 19.5), 53: (18.1, 63.6, 11.6), 54: (28.6, 66.6, -1.3), 55: (18.4, 77.3, 6.3),
    56: (8.1, 82.1, 11.1), 57: (0, 83, 12.2), 62: (0, 68.7, 18.2), 63: (7.5, 67.9, 17.4),
    64: (24.2, 67.3, 0.6), 65: (7.6, 72.9, 14.5), 66: (0, 73.9, 15.6),
}  # fmt: skip
"""Half of the mean head, the one to the right of the picture: by the index of a 68-point keypoint
its place in mm to the right, down and towards the camera. Measured by rigid structure from motion
(Tomasi and Kanade, 1992) on the points of 300-W's training faces, scaled to 90 mm between the outer
eye corners; the jaw is moved back to the bone."""


MEAN_HEAD = np.zeros((IBUG_68.n_points, 3))  # right, down and away from the camera, as in OpenCV
for _index, (_right, _down, _near) in HEAD_HALF.items():
    MEAN_HEAD[_index] = _right, _down, -_near
    MEAN_HEAD[IBUG_68.flip_order[_index]] = -_right, _down, -_near


def head_pose(keypoints: np.ndarray) -> Pose:
    """Which way the head of the 68 keypoints (68, 2) looks, seen from the camera.

    The mean head is turned until its points fall on the keypoints with least squared distance
    (``cv2.solvePnP``). It is rolled as the keypoints are before, as the search only goes downhill,
    and from an upright head not to one that is upside down. The camera is assumed to look straight
    at the face, so a face in a corner of the picture has the same pose as in its middle, and the
    lens need not be known.
    """
    points = keypoints.astype(np.float64)
    flat = fit_similarity(torch.tensor(MEAN_HEAD[:, :2]), torch.from_numpy(points)).numpy()
    roll = np.array([0, 0, np.arctan2(flat[1, 0], flat[0, 0])])
    low, high = points.min(axis=0), points.max(axis=0)
    focal, (x, y) = _FACE_SIZES_AWAY * (high - low).max(), (low + high) / 2
    camera = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]])
    distance = _FACE_SIZES_AWAY * np.ptp(MEAN_HEAD, axis=0).max()
    _, turn, _ = cv2.solvePnP(
        MEAN_HEAD, points, camera, None, roll, np.array([0, 0, distance]), True
    )
    turn = cv2.Rodrigues(turn)[0] * np.outer([1, 1, -1], [1, 1, -1])  # depth towards us again
    yaw = np.arctan2(-turn[2, 0], turn[2, 2])
    pitch = np.arcsin(np.clip(-turn[2, 1], -1, 1))
    roll = np.arctan2(-turn[0, 1], turn[1, 1])
    return Pose(*np.degrees([yaw, pitch, roll]).tolist())


def axes(pose: Pose) -> np.ndarray:
    """Where a turned head's right side, chin and nose point in the picture: (3, 2), projections of
    unit vectors; the nose of a head that looks into the camera has length 0."""
    a, b, c = np.radians([pose.yaw, pose.pitch, pose.roll])
    right = np.array([np.cos(a), 0, np.sin(a)])  # of the head's three axes, pitched after yawed
    down = np.array([-np.sin(a) * np.sin(b), np.cos(b), np.cos(a) * np.sin(b)])
    return np.stack(
        [np.cos(c) * right - np.sin(c) * down, np.sin(c) * right + np.cos(c) * down], axis=1
    )


Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Landmarks:
    """The points of a scheme that the measures need; "left" is that of the picture."""

    jaw_ends: tuple[int, int]  # the first and last point of the jaw, beside the ears
    nose_base: int  # the middle point below the nose
    eye_corners: Pairs  # of an eye
    lids: Pairs  # an upper and a lower one
    mouth_corners: tuple[int, int]  # left and right
    lips: Pairs  # the upper and the lower one


LANDMARKS = {
    IMM_58.name: Landmarks(
        jaw_ends=(0, 12),
        nose_base=52,
        eye_corners=((13, 17), (21, 25)),
        lids=((14, 20), (15, 19), (16, 18), (22, 28), (23, 27), (24, 26)),
        mouth_corners=(39, 43),
        lips=((41, 45),),  # the outer edge of the lips: this scheme has no inner one
    ),
    IBUG_68.name: Landmarks(
        jaw_ends=(0, 16),
        nose_base=33,
        eye_corners=((36, 39), (42, 45)),
        lids=((37, 41), (38, 40), (43, 47), (44, 46)),
        mouth_corners=(48, 54),
        lips=((61, 67), (62, 66), (63, 65)),
    ),
}


def openness(points: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """How open eyes and mouth are, see ``face_attributes``: (N, K, 2) -> (N,), (N,)."""
    marks = LANDMARKS[scheme.name]
    eyes = _distance(points, marks.lids) / _distance(points, marks.eye_corners)
    return eyes, _distance(points, marks.lips) / _distance(points, (marks.mouth_corners,))


def _distance(points: Tensor, pairs: Pairs) -> Tensor:
    """The mean distance between the points (N, K, 2) of each pair: (N,)."""
    ends = points[:, torch.tensor(pairs)]  # (N, P, 2, 2)
    return (ends[:, :, 0] - ends[:, :, 1]).norm(dim=-1).mean(dim=1)
