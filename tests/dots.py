"""Pictures of soft dots, whose places can be measured without the code under test."""

import numpy as np

SIGMA = 2.0  # pixels; soft enough that resampling keeps the centre
REACH = 9  # pixels from a dot's centre beyond which it is black


def draw(points, height, width, sigma=SIGMA):
    """uint8 (height, width): a white dot at each (x, y), pixels' middles at whole numbers."""
    down, across = np.mgrid[:height, :width]
    picture = np.zeros((height, width))
    for x, y in points:
        picture += 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * sigma**2))
    return picture.clip(0, 255).round().astype(np.uint8)


def centre_near(picture, point, reach=REACH):
    """The centre of mass (x, y) of what is bright near ``point``; None at the picture's border.

    The window follows the mass, so that a dot beside ``point`` is found where it is.
    """
    height, width = picture.shape
    x, y = map(float, point)
    for _ in range(4):
        left, top = round(x) - reach, round(y) - reach
        if min(left, top) < 0 or left + 2 * reach >= width or top + 2 * reach >= height:
            return None
        window = np.asarray(picture, dtype=float)[
            top : top + 2 * reach + 1, left : left + 2 * reach + 1
        ]
        if window.sum() < 100:
            return None
        down, across = np.mgrid[: 2 * reach + 1, : 2 * reach + 1]
        x = left + (window * across).sum() / window.sum()
        y = top + (window * down).sum() / window.sum()
    return np.array([x, y])


def offsets(picture, points, reach=REACH):
    """Pixels by which the dots near ``points`` lie off them, along x or y, where one is found."""
    centres = [(point, centre_near(picture, point, reach)) for point in points]
    return [np.abs(centre - point).max() for point, centre in centres if centre is not None]
