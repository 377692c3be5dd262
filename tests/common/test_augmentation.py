import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from dots import draw, offsets
from PIL import Image
from scipy import stats

from common import augmentation
from common.augmentation import augment, color_jitter, grey, to_network_input
from common.crops import transform_points
from common.recipe import Recipe
from common.system.errors import UserError

PLAIN = Recipe(height=96, width=128, margin=24)
HIGH, WIDE = PLAIN.cached_size  # 144, 176
# Uneven, so that exchanged axes, signs or points cannot pass; 0-1 and 2-3 are the flip pairs.
POINTS = [(60.3, 50.8), (118.6, 53.2), (65.5, 99.4), (111.25, 92.7), (88.0, 73.5)]
PLACES = np.array(POINTS) - PLAIN.margin  # in the network's crop
FLIP_ORDER = torch.tensor([1, 0, 3, 2, 4])
LUMA = 0.299, 0.587, 0.114
FACES = 40
LOG = math.log(1.25)
MOVES = {"rotation": 30.0, "scale": 0.25, "shift": 0.1, "flip": 0.5, "box_shift": 0.05}
MOVES |= {"box_scale_spread": 0.1}
LIGHT = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1, "occlusion": 0.7}
LIGHT |= {"blur": 0.7, "side_light": 0.2, "compression": 0.5}
EVERYTHING = MOVES | LIGHT


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(7)


def batch(count=FACES):
    """``count`` times the same picture of dots, uint8 (B, 1, H, W), and its points (B, K, 2)."""
    picture = torch.from_numpy(draw(POINTS, HIGH, WIDE))
    points = torch.tensor(PLACES, dtype=torch.float32)
    return picture.expand(count, 1, -1, -1), points.expand(count, -1, -1)


def moved(count=FACES, **values):
    """What ``augment`` makes of the dots: pictures (B, h, w) in 0..255, points, as arrays."""
    recipe = replace(PLAIN, **values)
    images, points = augment(*batch(count), recipe, FLIP_ORDER)
    assert images.shape == (count, 1, 96, 128)
    assert images.dtype == points.dtype == torch.float32 and images.abs().max() <= 0.5
    return (images[:, 0].numpy() + 0.5) * 255, points.numpy()


@pytest.mark.parametrize("names", [[], *([name] for name in MOVES), list(MOVES)], ids=str)
def test_picture_and_points_move_together(names):
    faces = zip(*moved(**{name: MOVES[name] for name in names}), strict=True)
    off = [by for face in faces for by in offsets(*face, reach=8)]
    assert len(off) > 0.7 * FACES * len(POINTS)  # most stay in the crop
    assert max(off) <= 0.1


def moved_points(count, **values):
    """Where ``count`` random moves take the dots, in pixels of the network's crop: (B, K, 2)."""
    none, recipe = torch.zeros(count, dtype=bool), replace(PLAIN, **values)
    matrices = augmentation.random_matrices(count, none, recipe)
    return transform_points(batch(count)[1], matrices).numpy()


def similarity(points):
    """Turn in degrees and size of each face (B,), from its first two points, against PLACES."""
    across = points[:, 1] - points[:, 0]
    before = PLACES[1] - PLACES[0]
    turn = np.arctan2(across[:, 1], across[:, 0]) - np.arctan2(before[1], before[0])
    return np.degrees(turn), np.linalg.norm(across, axis=1) / np.linalg.norm(before)


def assert_law(values, law):
    """Kolmogorov and Smirnov's test takes the values for draws of the law."""
    assert stats.kstest(values, law.cdf).pvalue > 0.01


def test_rotation_is_uniform_up_to_its_limit_and_about_the_middle():
    points = moved_points(1000, rotation=30.0)
    turn, size = similarity(points)
    assert_law(turn, stats.uniform(-30, 60))
    np.testing.assert_allclose(size, 1, atol=1e-4)
    middle = np.array([63.5, 47.5])  # of 128 x 96 pixels
    radius = np.tile(np.linalg.norm(PLACES - middle, axis=1), (1000, 1))
    np.testing.assert_allclose(np.linalg.norm(points - middle, axis=2), radius, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "law"),
    [("scale", stats.uniform(-LOG, 2 * LOG)), ("box_scale_spread", stats.norm(0, 0.1))],
)
def test_scale_is_as_often_smaller_as_larger_and_the_boxs_error_in_size_normal(name, law):
    turn, size = similarity(moved_points(4000, **{name: MOVES[name]}))
    assert_law(np.log(size), law)
    np.testing.assert_allclose(turn, 0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "law"), [("shift", stats.uniform(-0.1, 0.2)), ("box_shift", stats.norm(0, 0.05))]
)
def test_shifts_are_shares_of_each_side_and_the_boxs_error_is_normal(name, law):
    by = (moved_points(4000, **{name: MOVES[name]})[:, 0] - PLACES[0]) / [128, 96]
    for axis in by.T:
        assert_law(axis, law)
    assert abs(np.corrcoef(by.T)[0, 1]) < 0.1  # x and y on their own


def test_a_flipped_face_has_its_pairs_exchanged():
    _, points = moved(200, flip=0.5)
    mirrored = np.stack([127 - PLACES[:, 0], PLACES[:, 1]], axis=1)[[1, 0, 3, 2, 4]]
    is_plain = np.abs(points - PLACES).max(axis=(1, 2)) < 1e-3
    is_mirrored = np.abs(points - mirrored).max(axis=(1, 2)) < 1e-3
    assert (is_plain ^ is_mirrored).all()
    assert 75 < is_mirrored.sum() < 125
    assert np.abs(moved(10, flip=1.0)[1] - mirrored).max() < 1e-3


def test_the_way_for_testing_is_augmentation_without_randomness():
    for channels in (1, 3):
        images = torch.randint(0, 256, (4, channels, HIGH, WIDE), dtype=torch.uint8)
        augmented, _ = augment(images, torch.zeros(4, 5, 2), PLAIN, FLIP_ORDER)
        torch.testing.assert_close(augmented, to_network_input(images, PLAIN), atol=1e-3, rtol=0)
    by_hand = torch.tensordot(torch.tensor(LUMA), images[0, :, 24:120, 24:152].float(), 1)
    torch.testing.assert_close(to_network_input(images, PLAIN)[0, 0], by_hand / 255 - 0.5)


def test_the_same_seed_gives_the_same_batch_and_the_next_batch_is_another():
    first, second = moved(8, **EVERYTHING), moved(8, **EVERYTHING)
    torch.manual_seed(7)
    again = moved(8, **EVERYTHING)
    for one, other, repeated in zip(first, second, again, strict=True):
        assert np.array_equal(one, repeated)
        assert not np.array_equal(one, other)


def test_no_input_is_written_over():
    given = [values.contiguous() for values in batch(4)]
    augment(*given, replace(PLAIN, **EVERYTHING), FLIP_ORDER)
    assert all(map(torch.equal, given, batch(4)))


def test_light_moves_no_point():
    _, points = moved(8, **LIGHT)
    np.testing.assert_allclose(points, np.tile(PLACES, (8, 1, 1)), atol=1e-4)


def flat(*colours, count=64):
    """Pictures float (B, C, 2, n * 2) that are the same n fields of one colour each."""
    fields = torch.tensor(colours, dtype=torch.float32).T  # (C, n)
    return fields.repeat_interleave(2, dim=1)[None, :, None].expand(count, -1, 2, -1).contiguous()


def fields(images):
    """The grey of each field, (B, n)."""
    assert images.shape[1] == 1
    return images[:, 0, 0, ::2]


def test_grey_is_pillows_grey():
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L"), dtype=float)
    ours = grey(torch.from_numpy(colours).permute(2, 0, 1)[None].float())[0, 0]
    assert np.abs(ours.numpy() - expected).max() <= 1


def assert_fills(values, low, high, slack=0.1):
    """The values reach to both limits, but for ``slack`` of their distance, and not beyond."""
    slack *= high - low
    assert low - 1e-3 <= values.min() < low + slack
    assert high - slack < values.max() <= high + 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_scales_values_and_contrast_their_distance_from_the_mean(channels):
    colours = flat((40,) * channels, (120,) * channels)
    dark, light = fields(color_jitter(colours, Recipe(brightness=0.3))).T
    torch.testing.assert_close(light, 3 * dark)
    assert_fills(dark / 40, 0.7, 1.3)
    assert len(dark.unique()) == len(colours)  # one a face
    dark, light = fields(color_jitter(colours, Recipe(contrast=0.5))).T
    torch.testing.assert_close(dark + light, torch.full_like(dark, 160.0))
    assert_fills((light - dark) / 80, 0.5, 1.5)
    both = fields(color_jitter(colours, Recipe(brightness=0.3, contrast=0.3)))
    assert_fills(both.mean(dim=1) / 80, 0.7, 1.3)  # brightness alone moves the mean


def test_saturation_is_seen_in_grey_only_once_hue_is_turned():
    colours = flat((200, 30, 90), (10, 220, 60), (128, 128, 128))
    plain = fields(grey(colours))
    torch.testing.assert_close(fields(color_jitter(colours, Recipe(saturation=0.9))), plain)
    # The same turns make more or less of a change, by the factors of the saturation.
    changes = []
    for saturation in (1e-9, 0.5):
        torch.manual_seed(3)
        changed = fields(color_jitter(colours, Recipe(hue=0.1, saturation=saturation)))
        changes.append((changed - plain)[:, 0])
    assert_fills(changes[1] / changes[0], 0.5, 1.5)


def test_hue_leaves_grey_alone_and_turns_pure_colours_on_a_circle():
    colours = flat((255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90), count=400)
    greys = fields(color_jitter(colours, Recipe(hue=0.5)))  # any turn of the circle
    torch.testing.assert_close(greys[:, 3], torch.full((400,), 90.0))
    torch.testing.assert_close(greys[:, :3].sum(dim=1), torch.full((400,), 255.0))
    # All hues: the grey of a turning colour swings about the mean of the channels. Red lies at
    # (1, 0, 0) - (1, 1, 1) / 3 from the axis, the luma at its weights less 1 / 3.
    off = torch.tensor(LUMA) - 1 / 3
    swing = 255 * off.norm().item() * math.sqrt(2 / 3)
    for pure in greys[:, :3].T:
        assert_fills(pure, 85 - swing, 85 + swing, 0.005)
    narrow = fields(color_jitter(colours, Recipe(hue=0.02)))
    assert (narrow[:, 0] - 0.299 * 255).abs().max() < 255 * 0.02 * 2 * math.pi * off.norm()


def test_a_third_of_the_circle_of_hues_moves_red_to_green():
    third = augmentation.hue_rotation(torch.tensor([2 * math.pi / 3]))[0]
    assert torch.allclose(third @ torch.tensor([10.0, 20.0, 30.0]), torch.tensor([30.0, 10, 20]))


@pytest.mark.parametrize("change", ["blur", "random_erasing", "compress"])
def test_a_share_of_the_faces_is_changed_and_no_other(change):
    dots = batch(150)[0].float()
    off = (getattr(augmentation, change)(dots, 0.3) - dots).abs().amax(dim=(1, 2, 3))
    assert 0.15 < (off > 0.5).float().mean() < 0.45
    assert off[off <= 0.5].max() < 1e-3


def test_blur_spreads_a_spot_about_its_place_as_a_gaussian_of_half_to_two_pixels():
    spots = torch.zeros(300, 1, 31, 31)
    spots[:, :, 15, 15] = 255
    blurred = augmentation.blur(spots, 1.0)[:, 0]
    torch.testing.assert_close(blurred.sum(dim=(1, 2)), torch.full((300,), 255.0))
    torch.testing.assert_close(blurred, blurred.flip(1, 2))
    away = torch.arange(31.0) - 15
    across, down = (((blurred.sum(dim) * away**2).sum(dim=1) / 255).sqrt() for dim in (1, 2))
    torch.testing.assert_close(across, down)
    assert_fills(across, 0.4, 2.0, 0.156)  # less than half and two: the kernel ends at 4 pixels


def test_occlusion_lays_one_grey_rectangle_over_a_face():
    pictures = torch.rand(100, 1, 40, 60) * 255
    covered, shades = augmentation.random_erasing(pictures, 1.0), []
    for before, after in zip(pictures[:, 0], covered[:, 0], strict=True):
        rows, columns = (before != after).nonzero().T
        patch = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (patch == patch[0, 0]).all() and len(rows) == patch.numel()
        assert 3 <= patch.shape[0] <= 21 and 5 <= patch.shape[1] <= 31  # a tenth to half of each
        shades.append(patch[0, 0])
    assert_fills(torch.stack(shades), 0, 255, 0.2)


def test_compression_loses_what_jpeg_loses():
    """Pillow writes the same pictures with the same qualities."""
    count = 30
    dots = (0.6 * batch(count)[0] + 80 * torch.rand(count, 1, HIGH, WIDE)).round()
    torch.manual_seed(11)
    quality = torch.randint(10, 61, (count,)).tolist()
    torch.manual_seed(11)
    ours = augmentation.compress(dots, 1.0)
    for picture, made, level in zip(dots[:, 0], ours[:, 0], quality, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture.byte().numpy()).save(file, "JPEG", quality=level)
        theirs = torch.from_numpy(np.array(Image.open(file))).float()
        lost = (theirs - picture).abs().mean()
        assert lost > 5
        assert (made.clamp(0, 255) - theirs).abs().mean() < 0.1 * lost  # they compute in integers


def test_sides_without_whole_blocks_cannot_be_compressed():
    with pytest.raises(UserError, match=r"^compression: crops of 80 x 60 pixels .*; set it to 0"):
        augmentation.compress(torch.zeros(1, 1, 60, 80), 1.0)


def test_light_from_one_side_is_a_slope_through_the_middle():
    lit = augmentation.light_from_one_side(torch.full((200, 1, 41, 61), 100.0), 0.4)[:, 0]
    torch.testing.assert_close(lit[:, 20, 30], torch.full((200,), 100.0))
    torch.testing.assert_close(lit + lit.flip(1, 2), torch.full_like(lit, 200.0))
    steepest = ((lit[:, 20, 60] - 100) ** 2 + (lit[:, 40, 30] - 100) ** 2).sqrt()
    assert_fills(steepest, 0, 40, 0.125)
