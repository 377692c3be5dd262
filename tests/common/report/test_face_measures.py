import math
from functools import lru_cache

import cv2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.keypoints import IBUG_68, IMM_58, SCHEMES
from common.report import face_measures
from common.report.face_measures import ATTRIBUTES, Extreme, face_attributes, what_stands_out
from common.report.page import templates
from datasets import imm

SIDE = 200
both_schemes = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)


def symmetric_face(scheme):
    """A made-up face (1, K, 2), equal left and right of the middle of a picture of SIDE pixels."""
    middle = (SIDE - 1) / 2
    points = torch.rand(scheme.n_points, 2, generator=torch.Generator().manual_seed(0)) * 20
    points += torch.tensor([middle - 20, 90.0])
    left, right = torch.tensor(scheme.flip_pairs).T
    points[right] = torch.tensor([2 * middle, 0.0]) + points[left] * torch.tensor([-1.0, 1.0])
    points[scheme.flip_order == torch.arange(scheme.n_points), 0] = middle
    for (left, right), x, y in ((scheme.outer_eyes, 40, 80), (jaw_ends(scheme), 60, 100)):
        points[left] = torch.tensor([middle - x, y])
        points[right] = torch.tensor([middle + x, y])
    return points[None]


def jaw_ends(scheme):
    return scheme.lines[0][0], scheme.lines[0][-1]


def turned(points, degrees):
    """Points after a clockwise turn, as seen on the screen, about the picture's middle."""
    angle = math.radians(degrees)
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (SIDE - 1) / 2
    return (points - middle) @ matrix.T + middle


@lru_cache
def noise(count=1):
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(count, 1, SIDE // 4, SIDE // 4, generator=generator)
    grey = torch.nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    return (grey * 200 + 20).to(torch.uint8)


def page_words():
    """The macros that make sentences of measures."""
    return templates().get_template("errors.html").module


@both_schemes
def test_roll_is_the_angle_that_the_face_was_turned_by(scheme):
    degrees = torch.linspace(-60, 60, 25)
    points = torch.cat([turned(symmetric_face(scheme), angle.item()) for angle in degrees])
    attributes = face_attributes(noise().expand(25, -1, -1, -1), points, scheme)
    assert list(attributes) == list(ATTRIBUTES)
    assert all(v.shape == (25,) and v.isfinite().all() for v in attributes.values())
    torch.testing.assert_close(attributes["roll"], degrees, atol=1e-3, rtol=0)
    assert attributes["turn"].abs().max() < 1e-2  # tilting is not turning


@pytest.mark.parametrize(("scheme", "nose"), [(IMM_58, 52), (IBUG_68, 33)])
def test_turn_follows_from_where_the_nose_stands_between_the_jaw_ends(scheme, nose):
    points = symmetric_face(scheme)
    points[0, nose, 0] += 60 * math.tan(math.radians(30))  # the jaw ends lie 60 px to each side
    for tilt in (0, 20):
        attributes = face_attributes(noise(), turned(points, tilt), scheme)
        assert attributes["turn"].item() == pytest.approx(30, abs=0.01)


@both_schemes
def test_a_mirrored_face_has_the_same_measures_and_the_opposite_sides(scheme):
    points = symmetric_face(scheme) + 6 * torch.rand(4, scheme.n_points, 2)
    images = noise(4)
    mirrored = points[:, scheme.flip_order].clone()
    mirrored[..., 0] = SIDE - 1 - mirrored[..., 0]
    before = face_attributes(images, points, scheme)
    after = face_attributes(images.flip(-1), mirrored, scheme)
    for key, values in before.items():
        expected = -values if ATTRIBUTES[key].sided else values
        if key != "shape":  # the mean of four random faces is itself not symmetric
            # Masks are rounded to whole pixels, .5 upwards on either side.
            torch.testing.assert_close(after[key], expected, rtol=0.03, atol=0.3, msg=key)


def test_a_darkened_picture_is_poorer_in_contrast_but_no_less_sharp_as_a_blurred_one_is():
    points, image = symmetric_face(IBUG_68), noise()
    darkened = (image.float() * 0.5).round().to(torch.uint8)
    blurred = torch.from_numpy(cv2.GaussianBlur(image[0, 0].numpy(), (0, 0), 3))[None, None]
    light, dark, soft = (
        face_attributes(picture, points, IBUG_68) for picture in (image, darkened, blurred)
    )
    for key, share in (("brightness", 0.5), ("contrast", 0.5), ("sharpness", 1)):
        assert dark[key].item() == pytest.approx(share * light[key].item(), rel=0.02)
    assert soft["sharpness"] < 0.7 * light["sharpness"]


def test_only_the_pixels_of_the_face_count():
    points, image = symmetric_face(IMM_58), noise()
    (left, top), (right, bottom) = points[0].aminmax(dim=0)
    face = ..., slice(int(top) - 3, int(bottom) + 4), slice(int(left) - 3, int(right) + 4)
    around = torch.full_like(image, 255)
    around[face] = image[face]
    for key in ("brightness", "contrast", "sharpness", "side_light"):
        expected = face_attributes(image, points, IMM_58)[key]
        torch.testing.assert_close(face_attributes(around, points, IMM_58)[key], expected)


def test_light_from_the_side_is_the_difference_of_the_halves():
    image = torch.full((1, 1, SIDE, SIDE), 100, dtype=torch.uint8)
    image[..., SIDE // 2 :] = 140
    attributes = face_attributes(image, symmetric_face(IMM_58), IMM_58)
    assert attributes["side_light"].item() == pytest.approx(100 * 40 / 120, rel=0.02)


def test_openness_is_the_gap_over_the_width():
    points = symmetric_face(IBUG_68)
    corners_and_lips = torch.tensor([[80.0, 150], [120, 150], *[[100, 145]] * 3, *[[100, 155]] * 3])
    points[0, [48, 54, 61, 62, 63, 65, 66, 67]] = corners_and_lips
    attributes = face_attributes(noise(), points, IBUG_68)
    assert attributes["mouth"].item() == pytest.approx(10 / 40)


@both_schemes
@settings(max_examples=30)
@given(st.floats(-90, 90), st.floats(0.2, 5), st.tuples(*[st.floats(-100, 100)] * 2))
def test_place_roll_and_size_are_no_part_of_the_mean_shape(scheme, degrees, factor, shift):
    face = symmetric_face(scheme)
    moved = turned(face, degrees) * factor + torch.tensor(shift)
    shape = face_measures.procrustes_mean(torch.cat([face, moved]), scheme)
    expected = (face[0] - face[0, list(scheme.outer_eyes)].mean(dim=0)) / 80  # upright already
    torch.testing.assert_close(shape, expected, atol=1e-4, rtol=0)


def test_the_face_with_moved_points_is_the_one_far_from_the_mean_shape():
    faces = symmetric_face(IBUG_68).repeat(20, 1, 1)
    faces[3, 27:36, 1] += 10
    shape = face_attributes(noise(20), faces, IBUG_68)["shape"]
    assert shape[3] > 10 * shape[[*range(3), *range(4, 20)]].max()


def test_the_dark_face_is_named_and_the_first_of_a_narrow_field_or_one_like_the_mean_is_not():
    values = torch.linspace(95, 130, 50)
    values[7] = 61
    assert what_stands_out({"brightness": values}, 7) == [Extreme("brightness", 61, "darker", 100)]
    assert what_stands_out({"brightness": values}, 20) == []
    shape = torch.linspace(5, 6, 50)
    shape[0] = 0.1
    for key, values in (
        *(("brightness", torch.linspace(95, 130, 50)), ("contrast", torch.full((50,), 30.0))),
        *(("contrast", torch.tensor([30.0])), ("shape", shape)),
    ):
        assert what_stands_out({key: values}, 0) == []


def test_a_tilt_counts_on_both_sides():
    roll = torch.linspace(-3, 3, 50)
    roll[4], roll[9] = -32, 30
    for face, degrees, share, said in (
        (4, -32, 100, "all other test faces (eye line 32° down to the left)"),
        (9, 30, 100 * 48 / 49, "97 % of the test faces (eye line 30° down to the right)"),
    ):
        found = what_stands_out({"roll": roll}, face)
        assert found == [Extreme("roll", degrees, "more tilted", pytest.approx(share))]
        assert page_words().extremes(found) == f"More tilted than {said}"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("turn", -31.6, "turned about 32° to the picture&#39;s left"),
        ("turn", 0.4, "seen from the front"),
        ("roll", 2.0, "eye line 2° down to the right"),
        ("roll", -0.3, "eye line level"),
        ("side_light", 12.3, "12 % brighter on the right"),
        ("size", 17.84, "eye distance 17.8 px"),
        ("mouth", 0.0, "0.00 of the mouth&#39;s width"),
    ],
)
def test_values_are_quoted_with_their_unit_and_their_side(key, value, words):
    assert page_words().quote(key, value) == words
    assert all(page_words().quote(key, 1.0) for key in ATTRIBUTES)


def test_the_farthest_measures_come_first_and_no_more_than_asked():
    base = torch.linspace(-1, 1, 60)
    attributes = {key: base + 100 for key in ("brightness", "contrast", "sharpness", "size")}
    for size, values in zip((110, 120, 130, 140), attributes.values(), strict=True):
        values[3] = size
    found = what_stands_out(attributes, 3, at_most=2)
    assert [extreme.word for extreme in found] == ["larger", "sharper"]


def test_imm_views_read_as_their_makers_say(real_data):
    faces = imm.load(real_data)
    view = torch.tensor([int(path.stem[3]) for path in faces.files])
    empty = torch.zeros(len(faces), 1, 48, 64, dtype=torch.uint8)
    turn = face_attributes(empty, faces.points / 10, faces.scheme)["turn"]
    for number, degrees in ((1, 0), (2, 0), (3, -27), (4, 29), (5, 0)):
        assert turn[view == number].mean().item() == pytest.approx(degrees, abs=1.5)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_is_grey_whatever_its_file_says_where_its_channels_are_alike(tmp_path, ending):
    grey = torch.arange(0, 200, 2, dtype=torch.uint8).expand(100, 100).numpy()
    faint = grey // 2 + 20  # red differs by 12 below: more than a JPEG rounds to
    files = []
    for name, *channels in (
        ("grey", grey),
        ("three channels", grey, grey, grey),
        ("colour", grey, grey // 2, grey),
        ("faint", faint + 12, faint, faint),
    ):
        files.append(tmp_path / f"{name}.{ending}")
        mode = "RGB" if len(channels) == 3 else "L"
        Image.merge(mode, [Image.fromarray(channel) for channel in channels]).save(files[-1])
    assert face_measures.colours(files) == ("grey", "grey", "colour", "colour")
