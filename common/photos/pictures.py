"""Pictures and boxes as people pass them from Python, converted to uint8 arrays."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image

from common.system.errors import UserError

Picture = np.ndarray | torch.Tensor | Image.Image

EXPECTED = (
    "expected is a picture of uint8, 0 to 255, or floats, 0 to 1: RGB (H, W, 3) or (3, H, W), grey "
    "(H, W), PIL's, or a list or a batch of such"
)
SLACK = 0.1  # of the range, by which interpolation may leave it


def as_pixels(picture: Picture) -> np.ndarray:
    """One picture as uint8 (H, W, 3), RGB, or (H, W), grey, with its pixels where they were.

    picture: an array, a tensor or PIL's. Transparency is dropped and EXIF data are not applied.
        Floats run from 0 to 1 or to 255; integers above 255 lose their lower bits.
    Raises UserError with what is expected where it is none of these.
    """
    if isinstance(picture, Image.Image):
        if picture.mode not in ("L", "RGB", "RGBA") and picture.mode[0] not in "IF":
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif isinstance(picture, torch.Tensor):
        picture = picture.detach().cpu()
        picture = picture.float() if picture.is_floating_point() else picture
    elif not isinstance(picture, np.ndarray):
        raise UserError(f"{type(picture).__name__}: no picture; {EXPECTED}")
    values = np.asarray(picture)
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3):
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] in (1, 3, 4):
        values = values[..., 0] if values.shape[2] == 1 else values[..., :3]
    elif values.ndim != 2:
        raise UserError(f"a picture of the shape {values.shape}; {EXPECTED}")
    if not values.size:
        raise UserError(f"a picture of the shape {values.shape}, without pixels; {EXPECTED}")
    return np.ascontiguousarray(values if values.dtype == np.uint8 else _as_bytes(values))


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Numbers of another type as uint8, 0 to 255, of the same shape."""
    if values.dtype.kind not in "bfiu":
        raise UserError(f"a picture of {values.dtype}; {EXPECTED}")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu" and low >= 0:
        return (values >> values.dtype.type(max(0, int(high).bit_length() - 8))).astype(np.uint8)
    top = 1 if high <= 1 + SLACK else 255
    dark = 1 + SLACK < high < 255 * SLACK  # of neither range
    if dark or not -SLACK * top <= low <= high <= (1 + SLACK) * top:  # NaN is not, either
        raise UserError(f"a picture of {values.dtype} from {low:.4g} to {high:.4g}; {EXPECTED}")
    return (values.clip(0, top) * (255 / top)).round().astype(np.uint8)


def as_boxes(boxes: ArrayLike) -> list[tuple[float, float, float, float]]:
    """Boxes (N, 4), or one box (4,), as N tuples left, top, width, height.

    Raises UserError where they have another shape, or no width and height.
    """
    try:
        values = torch.as_tensor(boxes, dtype=torch.float64).detach().cpu().numpy()
    except (TypeError, ValueError, RuntimeError):
        values = np.empty(1)
    values = values.reshape(-1, 4) if values.size == 0 or values.shape == (4,) else values
    good = values.ndim == 2 and values.shape[1] == 4 and np.isfinite(values).all()
    if not good or (values[:, 2:] <= 0).any():
        raise UserError(
            "boxes: expected is (N, 4), of each face the left, top, width and height in pixels, "
            "the last two above 0"
        )
    return [tuple(box) for box in values.tolist()]
