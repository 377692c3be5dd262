import dots
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from common.keypoints import IBUG_68
from common.photos import face_filters
from common.system.errors import UserError
from datasets.synthetic.render import VARIATIONS, render
from parts.toolkit import FILTERS

MARKED = (36, 45, 30, 48, 54, 8, 1, 15)
LOADED = {name: face_filters.load(name, FILTERS) for name in face_filters.names(FILTERS)}

EMPTY = np.zeros((300, 260, 4), np.uint8)  # art that shows nothing


@pytest.fixture(scope="module")
def face():
    """The points of a plain face, about the origin, eyes 100 pixels apart."""
    _, points, _ = render([0], IBUG_68, leave_out=VARIATIONS)
    points = points[0].numpy().astype(np.float64)
    return (points - points.mean(axis=0)) * 100 / np.linalg.norm(points[45] - points[36])


def turned(face, yaw=0.0, roll=0.0, scale=1.0, to=(320.0, 240.0)):
    """The face as a head of a half cylinder's depth, turned aside, tilted, scaled and moved."""
    depth = np.sqrt(np.clip(110**2 - face[:, 0] ** 2, 0, None))
    yaw, roll = np.radians(yaw), np.radians(roll)
    x, y = face[:, 0] * np.cos(yaw) + (depth - 80) * np.sin(yaw), face[:, 1]
    moved = np.column_stack(
        [x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)]
    )
    return moved * scale + to


def write(folder, face, warp, art):
    """A face filter whose art is drawn on ``face`` + 130."""
    Image.fromarray(art).save(folder / "dots.png")
    lines = [f"{x + 130} {y + 130} {point}" for point, (x, y) in enumerate(face) if point in MARKED]
    (folder / "dots.txt").write_text("\n".join([f"warp {warp}  # as it is", "", *lines]))
    return face_filters.load(folder / "dots.png", FILTERS)


@pytest.mark.parametrize("point", MARKED)
@pytest.mark.parametrize(
    ("warp", "how"),
    [
        *(("bend", how) for how in ((0, 30, 1.3), (35, 0, 1), (-30, -25, 0.6))),
        *(("rigid", how) for how in ((0, -40, 1.2), (0, 15, 0.5))),
    ],
)
def test_a_marked_pixel_of_the_art_lands_on_its_keypoint(tmp_path, face, point, warp, how):
    art = EMPTY + 255
    art[..., 3] = dots.draw([face[point] + 130], 300, 260)
    made, keypoints = write(tmp_path, face, warp, art), turned(face, *how)
    black = np.zeros((480, 640, 3), np.uint8)
    drawn = made.apply(black, keypoints)
    centre = dots.centre_near(drawn.mean(axis=2), keypoints[point])
    assert np.linalg.norm(centre - keypoints[point]) < 0.75
    assert not black.any()  # the picture given stays as it is


def test_without_any_turn_the_art_is_copied_pixel_by_pixel(tmp_path, face):
    art = EMPTY.copy()
    random = np.random.default_rng(0)
    art[40:90, 30:200] = random.integers(0, 256, (50, 170, 4))
    image = random.integers(0, 256, (400, 500, 3), dtype=np.uint8)
    for index in (*face_filters.LEFT_CHEEK, *face_filters.RIGHT_CHEEK):  # lit as the art was drawn
        x, y = (face[list(index)].mean(axis=0) + (140, 150)).round().astype(int)
        image[y, x] = 140
    drawn = write(tmp_path, face, "rigid", art).apply(image, face + (140, 150))
    alpha = art[..., 3:] / 255.0
    blended = image[20:320, 10:270] * (1 - alpha) + art[..., :3] * alpha
    assert np.abs(drawn[20:320, 10:270] - blended).max() <= 2
    drawn[20:320, 10:270] = image[20:320, 10:270]
    assert (drawn == image).all()


def test_a_face_in_the_dark_gets_darker_art_and_a_lamp_on_one_side_shows(tmp_path, face):
    art = EMPTY.copy()
    art[60:90, 30:230] = (200, 200, 200, 255)
    made, keypoints = write(tmp_path, face, "rigid", art), face + (130, 130)

    def strip(left, right):
        image = np.full((300, 260, 3), left, np.uint8)
        image[:, 130:] = right
        return made.apply(image, keypoints)[75, 35:225, 0].astype(int)

    assert strip(140, 140) == pytest.approx(200, abs=2)
    assert strip(35, 35) == pytest.approx(100, abs=2)  # half the art's light for a quarter
    aside = strip(35, 140)
    assert (np.diff(aside) >= 0).all()
    assert aside[0] < 120 < 180 < aside[-1]


def test_a_small_face_takes_the_mean_of_many_pixels_of_the_art(tmp_path, face):
    art = EMPTY.copy()
    art[..., 3] = 255
    art[::2, ::2] = art[1::2, 1::2] = (240, 240, 240, 255)  # a fine chequer, 120 on average
    made = write(tmp_path, face, "rigid", art)
    drawn = made.apply(np.full((100, 100, 3), 140, np.uint8), face * 0.15 + 50)
    assert drawn[40:60, 40:60].astype(int) == pytest.approx(120, abs=3)


places = st.floats(-1e4, 1e4) | st.floats(-50, 150) | st.sampled_from([np.nan, np.inf, 1e30])


@settings(max_examples=60)
@given(
    keypoints=arrays.arrays(np.float64, (68, 2), elements=places, fill=places),
    name=st.sampled_from(sorted(LOADED)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_any_keypoints_at_all_raise_nothing_and_keep_the_pictures_size(keypoints, name, size):
    image = np.full((*size, 3), 90, np.uint8)
    drawn = LOADED[name].apply(image, keypoints)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    assert (image == 90).all()


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(LOADED)),
    x=st.integers(-150, 350), y=st.integers(-150, 300),
    yaw=st.floats(-60, 60), roll=st.floats(-180, 180), scale=st.floats(0.05, 2),
)  # fmt: skip
def test_a_face_at_the_border_looks_as_in_a_larger_picture(face, name, x, y, yaw, roll, scale):
    # Both lit alike, so that the cheeks that only the larger picture shows make no difference.
    large, small = np.full((900, 1000, 3), 120, np.uint8), np.full((150, 200, 3), 120, np.uint8)
    keypoints = turned(face, yaw, roll, scale, (x, y))
    whole = LOADED[name].apply(large, keypoints + (400, 400))[400:550, 400:600]
    part = LOADED[name].apply(small, keypoints)
    difference = np.abs(whole.astype(int) - part)
    assert difference.mean() < 4  # of 255; the grids' nodes lie elsewhere


@pytest.mark.parametrize("name", LOADED)
def test_every_filter_that_ships_lies_on_the_face_and_is_small(face, name):
    image = np.full((700, 700, 3), 140, np.uint8)
    changed = (LOADED[name].apply(image, face + (350, 350)) != image).any(axis=2)
    low, high = face.min(axis=0) + 350, face.max(axis=0) + 350
    rows, columns = changed.nonzero()
    assert changed.sum() > 1500
    assert columns.mean() == pytest.approx((low[0] + high[0]) / 2, abs=15)
    assert low[1] - 150 < rows.mean() < high[1]
    assert (FILTERS / f"{name}.png").stat().st_size < 100_000


def test_six_filters_ship_and_a_name_loads_the_same_as_its_path():
    assert set(LOADED) == {"sunglasses", "moustache", "hat", "mask", "octopus", "diver"}
    by_path = face_filters.load(FILTERS / "hat.png", FILTERS)
    assert by_path.name == "hat"
    assert (by_path.weights == LOADED["hat"].weights).all()


def test_several_keypoints_mean_their_middle(tmp_path):
    file = tmp_path / "middle.txt"
    file.write_bytes(b"\xef\xbb\xbf# as some editors save it\n10 20.5 0 16 # both\n-30 4 8\n\n")
    anchors, weights, bend = face_filters.read_anchors(file)
    assert anchors.tolist() == [[10, 20.5], [-30, 4]]
    expected = np.zeros((2, 68))
    expected[0, [0, 16]], expected[1, 8] = 0.5, 1
    np.testing.assert_array_equal(weights, expected)
    assert not bend


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        *((text, 1, "warp rigid") for text in ("warp sideways", "warp")),
        ("1 2 3\n4 5", 2, "'4 5'"),
        ("1 2 3\n\n4 x 5", 3, "keypoints from 0 to 67"),
        *((text, 1, repr(text)) for text in ("1 2 68", "1 2 -1", "1 2 3.5", "nan 2 3", "1 inf 3")),
        *((text, None, "too few") for text in ("", "1 2 3", "1 2 3\n1 2 4")),
        ("warp bend\n1 2 3\n4 5 6", None, "3 or more"),
        (b"\xff\xfe1 2 3", None, "cannot be read"),
    ],
)
def test_a_mistake_in_the_text_file_is_one_line_with_its_place(tmp_path, text, line, fault):
    file = tmp_path / "mine.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    Image.new("RGBA", (8, 8)).save(tmp_path / "mine.png")
    with pytest.raises(UserError) as error:
        face_filters.load(tmp_path / "mine.png", FILTERS)
    message = str(error.value)
    assert message.startswith(str(file) + (f", line {line}:" if line else ":"))
    assert fault in message
    assert "\n" not in message


def test_a_missing_or_unfit_picture_is_an_error(tmp_path, face):
    for name in ("grey", "text", "gone"):
        (tmp_path / f"{name}.txt").write_text("0 0 0\n5 5 16\n")
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "grey.png")
    for name, fault in (
        ("monocle", r"monocle: no such filter; there are .*sunglasses"),
        (tmp_path / "none.png", "no such filter"),
        (tmp_path / "gone.png", r"gone\.png: not found"),
        (tmp_path / "text.png", r"text\.png: not a picture"),
        (tmp_path / "grey.png", "has no transparency"),
    ):
        with pytest.raises(UserError, match=fault):
            face_filters.load(name, FILTERS)
    for dtype, points, fault in (("f4", face, "uint8"), ("u1", face[:58], "68")):
        with pytest.raises(ValueError, match=fault):
            LOADED["hat"].apply(np.zeros((9, 9, 3), dtype), points)


def test_the_spline_maps_anchors_onto_each_other_and_is_affine_between_affine_ones():
    random = np.random.default_rng(0)
    source = random.uniform(0, 300, (12, 2))
    target = source + random.normal(0, 10, (12, 2))
    # The stiffness gives way by a small fraction of the bending.
    assert np.abs(face_filters.spline(source, target)(source) - target).max() < 0.1
    matrix = np.array([[1.2, 0.3], [-0.4, 0.8]])
    moved = face_filters.spline(source, source @ matrix.T + (7, -5))(np.array([[[900.0, -300.0]]]))
    assert moved == pytest.approx(np.array([[matrix @ (900, -300) + (7, -5)]]), abs=1e-6)


@pytest.mark.parametrize("width", [0, 1e-9, 1e-5])
def test_anchors_on_a_line_move_along_it_and_nothing_flies_away(width):
    along = np.array([[0.0, 0], [10, 10], [20, 20], [50, 50]])
    source = along + width * np.array([[1, -1], [0, 0], [-1, 1], [1, -1]])
    warp = face_filters.spline(source, 2 * along + (7, -5))
    assert warp(along) == pytest.approx(2 * along + (7, -5), abs=0.01)
    assert warp(along + (30, -30)) == pytest.approx(2 * along + (7, -5), abs=0.01)
