import numpy as np
import pytest
import torch
from dots import draw, offsets
from handmade import few_examples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common import crops
from common.faces import landmark_boxes
from common.recipe import Recipe

boxes = st.tuples(
    st.floats(-300, 600, width=32), st.floats(-300, 600, width=32),
    st.floats(8, 800, width=32), st.floats(8, 800, width=32),
)  # fmt: skip
sides = st.integers(4, 300)


def test_matrices_are_those_computed_by_hand():
    # x -> (x + 1/2 - left) * crop width / box width - 1/2, and the same for y.
    two = torch.tensor([[0.0, 0, 640, 480], [10, 20, 100, 50]])
    whole, part = crops.crop_matrices(two[:1], 120, 160), crops.crop_matrices(two[1:], 50, 200)
    assert whole.tolist() == [[[0.25, 0, -0.375], [0, 0.25, -0.375]]]
    assert part.tolist() == [[[2, 0, -19.5], [0, 1, -20]]]
    # The first pixel's middle, x = 10, is a quarter into the first of two pixels that it becomes.
    assert crops.transform_points(torch.tensor([[[10.0, 20.0]]]), part).tolist() == [[[0.5, 0.0]]]


def test_the_edges_of_the_box_are_the_edges_of_the_crop():
    box = torch.tensor([[30.0, 40.0, 120.0, 60.0]])
    corners = torch.tensor([[[29.5, 39.5], [149.5, 99.5]]])
    moved = crops.transform_points(corners, crops.crop_matrices(box, 24, 48))
    fractions = torch.tensor([[[0.0, 0], [1, 1]]])
    torch.testing.assert_close(crops.to_fractions(moved, 24, 48), fractions)
    assert crops.to_pixels(fractions, 24, 48).tolist() == [[[-0.5, -0.5], [47.5, 23.5]]]


@few_examples
@given(box=boxes, height=sides, width=sides, x=st.floats(0, 640), y=st.floats(0, 640))
def test_the_way_back_ends_where_the_way_there_began(box, height, width, x, y):
    matrices = crops.crop_matrices(torch.tensor([box]), height, width)
    points = torch.tensor([[[x, y], [y, x]]], dtype=torch.float32)
    there = crops.transform_points(points, matrices)
    back = crops.transform_points(there, crops.inverse(matrices))
    again = crops.to_pixels(crops.to_fractions(there, height, width), height, width)
    torch.testing.assert_close((back, again), (points, there), atol=5e-3, rtol=1e-5)


def test_boxes_are_moved_and_scaled_in_longer_sides_and_squared_about_their_middle():
    box = torch.tensor([[10.0, 20.0, 40.0, 80.0]])  # its middle is 30, 60
    assert crops.square_boxes(box, 1.5).tolist() == [[-30, 0, 120, 120]]
    box = torch.tensor([[100.0, 100.0, 100.0, 80.0]])  # its middle is 150, 140
    assert crops.adjust_box(box, 0.1, 0.2, 0.5).tolist() == [[135, 135, 50, 50]]  # middle 160, 160


def test_the_margin_enlarges_the_box_and_not_the_scale():
    recipe = Recipe(height=100, width=100, margin=10, box_scale=1.5)
    face = torch.tensor([[200.0, 300.0, 80.0, 40.0]])  # its middle is 240, 320
    kept = crops.crop_boxes(face, recipe)
    assert kept.tolist() == [[168, 248, 144, 144]]  # 80 * 1.5 * 120 / 100
    assert recipe.cached_size == (120, 120)
    in_crop = crops.crop_matrices(kept, *recipe.cached_size)[0, 0, 0].item()
    assert in_crop == pytest.approx(100 / (80 * 1.5))  # what a crop without margin would have
    assert torch.equal(crops.crop_boxes(face, Recipe(height=60, width=80)), face)


def test_landmark_boxes_count_from_the_pictures_edge():
    points = torch.tensor([[[0.0, 5.0], [10.0, 2.0], [4.0, 9.0]]])
    assert landmark_boxes(points).tolist() == [[0.5, 2.5, 10.0, 7.0]]


POINTS = [(60.3, 45.8), (131.0, 52.5), (95.7, 90.25), (62.2, 141.9), (140.4, 133.3)]


def picture_of_dots(mode):
    """200 wide, 180 high; in colour, the channels differ in brightness."""
    grey = draw(POINTS, 180, 200, sigma=2.5)
    colours = np.stack([grey, grey // 2, grey // 4 * 3], axis=-1)
    return Image.fromarray(grey if mode == "L" else colours)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("box", "height", "width"),
    [
        ((0, 0, 200, 180), 180, 200),  # as it is
        ((0, 0, 200, 180), 144, 128),  # smaller, squeezed
        ((30.4, 21.7, 140.2, 139.1), 190, 170),  # larger, between the pixels
        ((-60, -45.5, 300, 290), 220, 240),  # outside on every side
        ((40, -80.25, 190.5, 240), 210, 200),  # outside above and to the right
        ((-90.7, 20, 250, 250), 230, 230),  # outside to the left and below
    ],
)
def test_dots_lie_in_the_crop_where_the_matrix_moves_them(mode, box, height, width):
    box = torch.tensor(box, dtype=torch.float32)
    crop = crops.crop_and_resize(picture_of_dots(mode), box, height, width)
    assert (crop.dtype, crop.shape) == (np.uint8, (len(mode), height, width))
    matrices = crops.crop_matrices(box[None], height, width)
    moved = crops.transform_points(torch.tensor([POINTS]), matrices)[0].numpy()
    off = [by for channel in crop for by in offsets(channel, moved, reach=12)]
    assert len(off) >= 4 * len(crop) and max(off) <= 0.1


def crop_of(pixels, box, height, width):
    return crops.crop_and_resize(Image.fromarray(pixels), torch.tensor(box), height, width)[0]


def test_dots_lie_right_in_a_strongly_shrunken_crop():
    points = [(220.0, 170.0), (410.5, 300.3)]
    crop = crop_of(draw(points, 480, 640, sigma=10), [0.0, 0, 640, 480], 120, 160)
    off = offsets(crop, (np.array(points) + 0.5) / 4 - 0.5)
    assert len(off) == 2 and max(off) <= 0.1


def test_shrinking_averages_over_all_pixels():
    stripes = np.zeros((240, 320), np.uint8)
    stripes[:, ::2] = 200  # plain bilinear sampling would see all of them or none
    crop = crop_of(stripes, [0.0, 0, 320, 240], 60, 80)
    assert 90 <= crop.min() <= crop.max() <= 110  # 100, but for the first and last column


@few_examples
@given(box=boxes, height=sides, width=sides)
def test_any_box_gives_a_whole_crop_without_a_black_margin(box, height, width):
    for mode in ("L", "RGB"):
        picture = Image.new("L", (90, 70), 77).convert(mode)
        crop = crops.crop_and_resize(picture, torch.tensor(box), height, width)
        assert np.array_equal(crop, np.full((len(mode), height, width), 77))


def test_where_the_box_reaches_outside_the_edge_repeats():
    ramp = np.tile(np.arange(50, 150, dtype=np.uint8), (80, 1))  # 50 at the left, 149 right
    crop = crop_of(ramp, [-20.0, -10, 140, 100], 100, 140)
    assert np.array_equal(crop, np.pad(ramp, ((10, 10), (20, 20)), mode="edge"))


def cut(pixels, box, angle, mode=None):
    """A crop of 48 x 40 pixels, turned or not."""
    if angle:
        return crops.crop_and_resize_turned(pixels, box, angle, 48, 40, mode)[0]
    return crops.crop_and_resize(pixels, box, 48, 40, mode)


@pytest.mark.parametrize("angle", [0.0, 33.0])
def test_a_crop_depends_on_nothing_but_what_it_shows(angle):
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    left, top = 50, 40  # what is cut away of the picture
    part = picture[top:280, left:330]
    for box in ((120.3, 110.7, 90.0, 90.0), (150.0, 120.0, 60.5, 64.25)):
        whole, near = torch.tensor(box), torch.tensor(box) - torch.tensor([left, top, 0, 0])
        np.testing.assert_array_equal(cut(picture, whole, angle, "L"), cut(part, near, angle, "L"))


@pytest.mark.parametrize("angle", [0.0, 20.0])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_turning_grey_what_is_cut_is_cutting_what_was_turned_grey(mode, angle):
    picture = picture_of_dots("RGB")
    for box in torch.tensor([[30.4, 21.7, 140.2, 139.1], [-60.0, -45.5, 300.0, 290.0]]):
        cut_first = cut(np.asarray(picture), box, angle, mode)
        np.testing.assert_array_equal(cut_first, cut(picture.convert(mode), box, angle))
