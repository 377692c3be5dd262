import numpy as np
import pytest
import torch
from PIL import Image

from common.photos.pictures import as_boxes, as_pixels
from common.system.errors import UserError

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
COLOUR[0, 0] = 0, 128, 255
GREY = COLOUR[..., 1].copy()
GREY[0, :2] = 0, 255
CLEAR = np.full((6, 9, 1), 90, np.uint8)


def chw(pixels):
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (COLOUR, COLOUR),
        (COLOUR[:, ::-1, ::-1], COLOUR[:, ::-1, ::-1]),
        (COLOUR / 255, COLOUR),
        ((COLOUR / 255).astype(np.float16), COLOUR),
        (COLOUR / 255 * 1.1 - 0.05, ((COLOUR * 1.1 - 12.75).clip(0, 255)).round()),
        (COLOUR.astype(np.float32), COLOUR),
        (COLOUR.astype(np.int64), COLOUR),
        (COLOUR.astype(np.uint16) * 257, COLOUR),
        (COLOUR.astype(np.uint16) * 16, COLOUR),  # 12 bits
        (COLOUR.astype(np.uint64) << 8, COLOUR),
        (np.concatenate([COLOUR, CLEAR], axis=2), COLOUR),
        (chw(COLOUR), COLOUR),
        (chw(COLOUR).double().div(255).requires_grad_(), COLOUR),
        (chw(COLOUR).numpy(), COLOUR),
        (Image.fromarray(COLOUR), COLOUR),
        (Image.fromarray(np.concatenate([COLOUR, CLEAR], axis=2)), COLOUR),
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[None] / 255, GREY),
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(GREY).convert("P"), np.repeat(GREY[..., None], 3, axis=2)),
        (Image.fromarray(GREY.astype(np.uint16) * 257), GREY),
        (Image.fromarray(GREY.astype(np.float32)), GREY),
        (GREY > 99, (GREY > 99) * 255),
    ],
)
def test_pictures_are_the_same_pixels_however_people_hold_them(picture, expected):
    pixels = as_pixels(picture)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        ("photo.jpg", "str: no picture"),
        (None, "NoneType: no picture"),
        (GREY[0, :5], r"of the shape \(5,\)"),
        (np.zeros((8, 96, 96)), r"of the shape \(8, 96, 96\)"),
        (np.zeros((0, 4, 3)), "without pixels"),
        (COLOUR * 1j, "of complex128"),
        (COLOUR / 127.5 - 1, "of float64 from -1 to 1"),
        (COLOUR / 64, "from 0 to 3.984"),
        (COLOUR * 100.0, "from 0 to 2.55e"),
        (np.where(COLOUR > 9, COLOUR / 255, np.nan), "from nan to nan"),
        (COLOUR.astype(np.int16) - 99, "of int16 from -99 to 156"),
    ],
)
def test_what_is_no_picture_is_one_sentence_that_says_what_is_expected(picture, fault):
    with pytest.raises(UserError, match=f"{fault}.*expected is a picture of uint8") as raised:
        as_pixels(picture)
    assert "\n" not in str(raised.value)


def test_boxes_are_rows_of_four_numbers():
    rows = [(1.5, 2.0, 3.0, 4.0), (-5.0, 6.0, 7.0, 8.0)]
    for boxes in (rows, np.array(rows), torch.tensor(rows, dtype=torch.float64)):
        assert as_boxes(boxes) == rows
    assert as_boxes([1, 2, 3, 4]) == [(1.0, 2.0, 3.0, 4.0)]
    assert as_boxes([]) == as_boxes(np.empty((0, 4))) == []
    for boxes in ([1, 2, 3], [[1, 2, 3]], [[1, 2, 3, 0]], [[np.nan, 2, 3, 4]], "all", [[rows]]):
        with pytest.raises(UserError, match=r"^boxes: expected is \(N, 4\), .* above 0$"):
            as_boxes(boxes)
