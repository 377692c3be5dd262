"""What can be measured of a face: pose, light, sharpness, expression, distance from the mean.

Every measure is a plain number per face, so that "the network fails on dark pictures" becomes
a claim that the faces of a test set confirm or refute.
"""

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
from common.photos.pose import LANDMARKS, Landmarks, openness


@dataclass(frozen=True)
class Attribute:
    """One measure and the words for a face that stands out in it."""

    name: str  # with its unit, for tables
    value: str  # how a sentence quotes it, a format string for the number and its side
    more: str  # the comparative for a high value
    less: str | None = None  # for a low one; None where that end is ordinary
    even: str | None = None  # the words for neither side, where the sign is only the side


EYES = "% of the eye distance"
ATTRIBUTES: dict[str, Attribute] = {
    "roll": Attribute(
        "roll, °", "eye line {:.0f}° down to the {}", "more tilted", even="eye line level"),
    "turn": Attribute(
        "turn to the side, °", "turned about {:.0f}° to the picture's {}", "more turned aside",
        even="seen from the front"),
    "size": Attribute("eye distance, px", "eyes {:.1f} px apart", "larger", "smaller"),
    "offset": Attribute(
        f"distance from the usual place, {EYES}", f"{{:.0f}} {EYES} away from it",
        "farther from the usual place in the picture"),
    "shape": Attribute(
        f"distance from the mean shape, {EYES}", f"points {{:.1f}} {EYES} away from it",
        "farther from the mean shape"),
    "eyes": Attribute(
        "eye openness, of the eye's width", "{:.2f} of the eye's width",
        "eyes wider open", "eyes more closed"),
    "mouth": Attribute(
        "mouth openness, of the mouth's width", "{:.2f} of the mouth's width",
        "mouth wider open", "mouth more closed"),
    "brightness": Attribute(
        "mean brightness, of 255", "mean brightness {:.0f} of 255", "brighter", "darker"),
    "contrast": Attribute(
        "contrast: standard deviation, of 255", "standard deviation {:.0f} of 255",
        "richer in contrast", "poorer in contrast"),
    "sharpness": Attribute("sharpness", "sharpness {:.2f}", "sharper", "blurrier"),
    "side_light": Attribute(
        "light from one side, %", "{:.0f} % brighter on the {}",
        "more unevenly lit from the side", even="both halves as bright"),
}  # fmt: skip
"""Every key that ``face_attributes`` returns, in the order in which a table shows them."""


def face_attributes(images: Tensor, points: Tensor, scheme: Scheme) -> dict[str, Tensor]:
    """Measure N faces.

    images: uint8 (N, 1, H, W).
    points: float32 (N, K, 2), all K points of the scheme, in pixels of these images.
    Returns float32 tensors (N,) by the names of ``ATTRIBUTES``:

    - ``roll``: angle of the line through the outer eye corners, degrees, positive where the
      right-hand eye of the picture is the lower one.
    - ``turn``: with a and b the distances, along the eye line, from the nose's base to the left
      and the right end of the jaw line, atan((a - b) / (a + b)) in degrees: 0 for a face seen
      from the front, positive where the nose moves to the right of the picture, at most 45
      before the nose covers the far end. It equals the head's yaw where the nose lies in front
      of the jaw ends by half their distance. On IMM's 80 pictures taken at about 30
      degrees it reads -27 and +29 on average.
    - ``size``: distance of the outer eye corners, pixels.
    - ``offset``: distance of the middle of all points from where it lies on average, and
      ``shape``: mean distance of the points from the mean shape after the best similarity
      transform, both in % of the inter-ocular distance. The averages are those of the N faces.
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
    marks = LANDMARKS[scheme.name]
    left, right = (points[:, index] for index in scheme.outer_eyes)  # (N, 2) each
    eye_distance = scheme.eye_distance(points)  # (N,)
    axis = (right - left) / eye_distance[:, None]  # (N, 2), along the eye line
    inside = _inside(points, images.shape[-2:])  # (N, H, W)
    grey = images[:, 0].float()  # (N, H, W)
    brightness, contrast = _mean_and_deviation(grey, inside)
    eyes, mouth = openness(points, scheme)
    shape = procrustes_mean(points, scheme)
    edges = np.stack(
        [cv2.Laplacian(face, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE) for face in grey.numpy()]
    )
    return {
        "roll": torch.rad2deg(torch.atan2(axis[:, 1], axis[:, 0])),
        "turn": _turn(points, marks, axis),
        "size": eye_distance,
        "offset": 100 * _distance_from_usual_place(points) / eye_distance,
        "shape": 100 * (_aligned(points, shape) - shape).norm(dim=-1).mean(dim=1),
        "eyes": eyes,
        "mouth": mouth,
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": _mean_and_deviation(torch.from_numpy(edges), inside)[1]
        / contrast.clamp(min=1e-6),
        "side_light": 100 * _right_less_left(grey, inside, points, axis) / brightness.clamp(min=1),
    }


def colours(files: Sequence[Path]) -> tuple[str, ...]:
    """What each picture is, "grey" or "colour".

    Grey is a picture whose red, green and blue differ by 2 of 255 or less on average. JPEG files
    are decoded at an eighth of their size for this.
    """
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        return tuple(pool.map(_colour, files))


def _colour(file: Path) -> str:
    with Image.open(file) as picture:
        picture.draft("RGB", (64, 64))
        pixels = np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BOX))
    spread = pixels.max(axis=-1).astype(float) - pixels.min(axis=-1)
    return "grey" if spread.mean() <= 2 else "colour"


def procrustes_mean(points: Tensor, scheme: Scheme) -> Tensor:
    """The mean of N faces after removing place, size and roll: (N, K, 2) -> (K, 2).

    Generalised Procrustes analysis (Gower, Psychometrika 1975). The outer eye corners of the
    result lie at (-0.5, 0) and (0.5, 0): its unit is the inter-ocular distance.
    """
    shape = _upright(points.mean(dim=0), scheme)
    for _ in range(4):  # on IMM the second round moves it by 2e-5, the third by 5e-7
        shape = _upright(_aligned(points, shape).mean(dim=0), scheme)
    return shape


def what_stands_out(attributes: dict[str, Tensor], face: int, at_most: int = 3) -> list[str]:
    """In words, in which measures one face is extreme among all, the farthest first.

    A measure is named if it lies beyond 95 % of the other faces and more than 2.5 robust standard
    deviations (1.4826 times the median absolute deviation) from the median: among few faces or
    on a narrow measure some face is always first, and that explains nothing.
    """
    found = []
    for key, values in attributes.items():
        words = ATTRIBUTES[key]
        sizes = (values if words.even is None else values.abs()).double()
        value, median = sizes[face].item(), sizes.median().item()
        spread = 1.4826 * (sizes - median).abs().median().item()
        comparative = words.more if value > median else words.less
        beyond = (sizes < value) if value > median else (sizes > value)
        share = 100 * beyond.sum().item() / max(len(sizes) - 1, 1)
        deviations = abs(value - median) / max(spread, 1e-9)
        if comparative and share >= 95 and deviations > 2.5:
            whom = "all other" if share == 100 else f"{int(share)} % of the"
            sentence = f"{comparative} than {whom} test faces ({quote(key, values[face])})"
            found.append((deviations, sentence))
    return [sentence for _, sentence in sorted(found, reverse=True)[:at_most]]


def quote(key: str, value: Tensor) -> str:
    """One value of the measure ``key`` as a sentence quotes it, e.g. ``sharpness 0.31``."""
    words, number = ATTRIBUTES[key], value.item()
    if words.even is not None and abs(number) < 0.5:
        return words.even
    return words.value.format(abs(number), "right" if number > 0 else "left")


def _aligned(points: Tensor, shape: Tensor) -> Tensor:
    """Faces (N, K, 2) after the similarity transform that moves each onto (K, 2)."""
    return transform_points(points, fit_similarity(points, shape))


def _upright(shape: Tensor, scheme: Scheme) -> Tensor:
    """Move (K, 2) so that the outer eye corners lie at (-0.5, 0) and (0.5, 0)."""
    corners = torch.tensor([[-0.5, 0.0], [0.5, 0.0]])
    matrix = fit_similarity(shape[list(scheme.outer_eyes)], corners)
    return transform_points(shape[None], matrix[None])[0]


def _turn(points: Tensor, marks: Landmarks, axis: Tensor) -> Tensor:
    left, right = (points[:, index] for index in marks.jaw_ends)
    nose = points[:, marks.nose_base]
    to_left, to_right = ((nose - left) * axis).sum(-1), ((right - nose) * axis).sum(-1)
    # atan2 and not atan of the ratio: a + b may vanish where the jaw line is seen edge on.
    return torch.rad2deg(torch.atan2(to_left - to_right, to_left + to_right))


def _distance_from_usual_place(points: Tensor) -> Tensor:
    middle = points.mean(dim=1)  # (N, 2)
    return (middle - middle.mean(dim=0)).norm(dim=-1)


def _inside(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels lie in the convex hull of each face's points: (N, H, W), bool."""
    masks = np.zeros((len(points), *size), dtype=np.uint8)
    for mask, face in zip(masks, points.round().int().numpy(), strict=True):
        cv2.fillConvexPoly(mask, cv2.convexHull(face), 1)
    return torch.from_numpy(masks).bool()


def _mean_and_deviation(values: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Over the pixels ``inside``: (N, H, W) twice -> (N,), (N,); 0 without any."""
    count = inside.sum(dim=(1, 2)).clamp(min=1)  # (N,)
    mean = (values * inside).sum(dim=(1, 2)) / count
    squares = ((values - mean[:, None, None]).square() * inside).sum(dim=(1, 2)) / count
    return mean, squares.sqrt()


def _right_less_left(grey: Tensor, inside: Tensor, points: Tensor, axis: Tensor) -> Tensor:
    """Mean grey value right of the face's middle line less that left of it: (N,)."""
    height, width = grey.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).float()  # (H, W, 2)
    middle = points.mean(dim=1)  # (N, 2)
    along = torch.einsum("hwc,nc->nhw", pixels, axis) - (middle * axis).sum(-1)[:, None, None]
    return (
        _mean_and_deviation(grey, inside & (along > 0))[0]
        - _mean_and_deviation(grey, inside & (along < 0))[0]
    )
