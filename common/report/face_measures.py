"""What can be measured of a face: pose, light, sharpness, expression, distance from the mean."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.crops import transform_points
from common.keypoints import Scheme, fit_similarity
from common.metrics import known_mean
from common.photos.pose import LANDMARKS, openness


@dataclass(frozen=True)
class Attribute:
    """One measure and the words for a face that stands out in it."""

    name: str  # with its unit, for tables
    more: str  # the comparative for a high value
    less: str | None = None  # for a low one; None where that end is ordinary
    sided: bool = False  # whether the sign is only the side


EYES = "% of the eye distance"
ATTRIBUTES: dict[str, Attribute] = {
    "roll": Attribute("roll, °", "more tilted", sided=True),
    "turn": Attribute("turn to the side, °", "more turned aside", sided=True),
    "size": Attribute("eye distance, px", "larger", "smaller"),
    "offset": Attribute(
        f"distance from the usual place, {EYES}", "farther from the usual place in the picture"
    ),
    "shape": Attribute(f"distance from the mean shape, {EYES}", "farther from the mean shape"),
    "eyes": Attribute("eye openness, of the eye's width", "eyes wider open", "eyes more closed"),
    "mouth": Attribute(
        "mouth openness, of the mouth's width", "mouth wider open", "mouth more closed"
    ),
    "brightness": Attribute("mean brightness, of 255", "brighter", "darker"),
    "contrast": Attribute(
        "contrast: standard deviation, of 255", "richer in contrast", "poorer in contrast"
    ),
    "sharpness": Attribute("sharpness", "sharper", "blurrier"),
    "side_light": Attribute(
        "light from one side, %", "more unevenly lit from the side", sided=True
    ),
}
"""Every key that ``face_attributes`` returns, in the order in which a table shows them."""


LIGHT = ("brightness", "contrast", "sharpness", "side_light")


@dataclass(frozen=True)
class Extreme:
    """A measure in which one face stands out among all."""

    key: str  # of ATTRIBUTES
    value: float
    word: str  # the comparative
    share: float  # of the other faces, %, that it lies beyond


def face_attributes(
    images: Tensor, points: Tensor, scheme: Scheme, norm_distance: Tensor | None = None
) -> dict[str, Tensor]:
    """Measure N faces.

    images: uint8 (N, 1, H, W).
    points: float32 (N, K, 2), all K points of the scheme, in pixels of these images.
    norm_distance: (N,), what NME divides by, in the same pixels; by default the eye distance.
    Returns float32 tensors (N,) by the names of ``ATTRIBUTES``; of your own points, or where one is
    missing, only ``size``, which is ``norm_distance``, and the light of the whole image:

    - ``roll``: angle of the line through the outer eye corners, degrees, positive where the
      right-hand eye of the picture is the lower one.
    - ``turn``: with a and b the distances, along the eye line, from the nose's base to the left
      and the right end of the jaw line, atan((a - b) / (a + b)) in degrees: 0 from the front,
      positive where the nose moves to the right of the picture. It equals the head's yaw where
      the nose lies in front of the jaw ends by half their distance.
    - ``size``: distance of the outer eye corners, pixels.
    - ``offset``: distance of the middle of all points from its mean over the N faces, and
      ``shape``: mean distance of the points from the mean shape after the best similarity
      transform, both in % of the inter-ocular distance.
    - ``eyes``: distance of the lids over the eye's width, mean of both (the eye aspect ratio of
      Soukupová and Čech, CVWW 2016). ``mouth``: the same of the lips, the inner edge where
      the scheme has one, else the outer edge.
    - ``brightness``, ``contrast``: mean and standard deviation of the grey values, 0 to 255, of
      the pixels inside the convex hull of the points, as are the next two.
    - ``sharpness``: standard deviation of the Laplacian over that of the grey values, so that a
      face does not count as blurred because it is poor in contrast.
    - ``side_light``: mean of the picture's right half of the face less that of its left half,
      in % of the brightness.
    """
    marks = LANDMARKS.get(scheme.name)
    if marks is None or not points.isfinite().all():
        height, width = images.shape[-2:]
        whole = torch.tensor([[0.0, 0], [width, 0], [width, height], [0, height]]) - 0.5
        light = torch.tensor([_light(image, whole, (1.0, 0.0)) for image in images[:, 0].numpy()])
        return {"size": norm_distance, **dict(zip(LIGHT, light.unbind(dim=1), strict=True))}
    left, right = (points[:, index] for index in scheme.outer_eyes)  # (N, 2) each
    eye_distance = scheme.eye_distance(points)  # (N,)
    axis = (right - left) / eye_distance[:, None]  # (N, 2), along the eye line
    left_jaw, right_jaw = (points[:, index] for index in marks.jaw_ends)
    nose = points[:, marks.nose_base]
    to_left, to_right = ((nose - left_jaw) * axis).sum(-1), ((right_jaw - nose) * axis).sum(-1)
    middle = points.mean(dim=1)  # (N, 2)
    eyes, mouth = openness(points, scheme)
    shape = procrustes_mean(points, scheme)
    faces = zip(images[:, 0].numpy(), points, axis.tolist(), strict=True)
    light = torch.tensor([_light(*face) for face in faces]).unbind(dim=1)
    return {
        "roll": torch.rad2deg(torch.atan2(axis[:, 1], axis[:, 0])),
        # atan2 and not atan of the ratio: a + b may vanish where the jaw line is seen edge on.
        "turn": torch.rad2deg(torch.atan2(to_left - to_right, to_left + to_right)),
        "size": eye_distance,
        "offset": 100 * (middle - middle.mean(dim=0)).norm(dim=-1) / eye_distance,
        "shape": 100 * (_aligned(points, shape) - shape).norm(dim=-1).mean(dim=1),
        "eyes": eyes,
        "mouth": mouth,
        **dict(zip(LIGHT, light, strict=True)),
    }


def colours(files: Sequence[Path]) -> tuple[str, ...]:
    """What each picture is: "grey" where red, green and blue differ by 2 of 255 or less on average,
    else "colour"."""
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        return tuple(pool.map(_colour, files))


def _colour(file: Path) -> str:
    with Image.open(file) as picture:
        picture.draft("RGB", (64, 64))  # JPEG files are decoded at an eighth of their size
        pixels = np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BOX))
    spread = pixels.max(axis=-1).astype(float) - pixels.min(axis=-1)
    return "grey" if spread.mean() <= 2 else "colour"


def procrustes_mean(points: Tensor, scheme: Scheme) -> Tensor:
    """The mean of N faces after removing place, size and roll: (N, K, 2) -> (K, 2), its outer eye
    corners at (-0.5, 0) and (0.5, 0). Procrustes analysis (Gower, Psychometrika 1975)."""
    shape = _upright(points.mean(dim=0), scheme)
    for _ in range(4):  # on IMM the second round moves it by 2e-5, the third by 5e-7
        shape = _upright(_aligned(points, shape).mean(dim=0), scheme)
    return shape


def mean_shape(points: Tensor, scheme: Scheme, norm_distance: Tensor) -> Tensor:
    """The mean of N faces (N, K, 2) for a figure: ``procrustes_mean``, or of points without eye
    corners, or with missing ones, the mean over ``norm_distance`` (N,)."""
    if scheme.outer_eyes is not None and points.isfinite().all():
        return procrustes_mean(points, scheme)
    return known_mean(points / norm_distance[:, None, None], 0)


def what_stands_out(attributes: dict[str, Tensor], face: int, at_most: int = 3) -> list[Extreme]:
    """In which measures one face is extreme among all, the farthest first.

    A measure is named if it lies beyond 95 % of the other faces and, as among few faces some face
    is always first, 2.5 robust standard deviations (1.4826 median absolute ones) from the median.
    """
    found = []
    for key, values in attributes.items():
        words = ATTRIBUTES[key]
        sizes = (values.abs() if words.sided else values).double()
        value, median = sizes[face].item(), sizes.median().item()
        spread = 1.4826 * (sizes - median).abs().median().item()
        word = words.more if value > median else words.less
        beyond = (sizes < value) if value > median else (sizes > value)
        share = 100 * beyond.sum().item() / max(len(sizes) - 1, 1)
        deviations = abs(value - median) / max(spread, 1e-9)
        if word and share >= 95 and deviations > 2.5:
            found.append((deviations, Extreme(key, values[face].item(), word, share)))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [extreme for _, extreme in found[:at_most]]


def _aligned(points: Tensor, shape: Tensor) -> Tensor:
    """Faces (N, K, 2) after the similarity transform that moves each onto (K, 2)."""
    return transform_points(points, fit_similarity(points, shape))


def _upright(shape: Tensor, scheme: Scheme) -> Tensor:
    """Move (K, 2) so that the outer eye corners lie at (-0.5, 0) and (0.5, 0)."""
    corners = torch.tensor([[-0.5, 0.0], [0.5, 0.0]])
    matrix = fit_similarity(shape[list(scheme.outer_eyes)], corners)
    return transform_points(shape[None], matrix[None])[0]


def _light(image: np.ndarray, points: Tensor, axis: tuple[float, float]) -> tuple[float, ...]:
    """Brightness, contrast, sharpness and light from the side of one face, uint8 (H, W)."""
    inside = np.zeros_like(image)
    cv2.fillConvexPoly(inside, cv2.convexHull(points.round().int().numpy()), 1)
    (brightness,), (contrast,) = np.squeeze(cv2.meanStdDev(image, mask=inside), axis=-1)
    edges = cv2.Laplacian(image, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE)
    sharpness = cv2.meanStdDev(edges, mask=inside)[1].item() / max(contrast, 1e-6)
    middle = points.mean(dim=0).tolist()
    y, x = np.indices(image.shape)
    along = (x - middle[0]) * axis[0] + (y - middle[1]) * axis[1]  # (H, W)
    right, left = (cv2.mean(image, inside * half)[0] for half in (along > 0, along < 0))
    return brightness, contrast, sharpness, 100 * (right - left) / max(brightness, 1.0)
