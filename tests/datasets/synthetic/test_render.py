"""Synthetic faces: labels against painted dots and outlines, and what training relies on."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes

from common.keypoints import IBUG_68, IMM_58
from common.photos.pose import head_pose
from datasets.synthetic import head, picture, scene, shading
from datasets.synthetic.people import sample_scene
from datasets.synthetic.render import FIRST_SEED, SETTINGS, names, people, render

BARE = ("hair", "glasses", "beard", "occluders", "background", "camera")
schemes = pytest.mark.parametrize("scheme", [IBUG_68, IMM_58], ids=lambda scheme: scheme.name)


def posed(seed, scheme, size, turn=None, leave_out=BARE):
    person, setup, _ = people(seed, "crop", leave_out)
    setup = replace(setup, turn=turn) if turn else setup
    return scene.Posed(person, setup, scheme, size)


def test_dots_painted_on_the_skin_are_found_at_their_labels():
    rows, columns = np.mgrid[:128, :128]
    face = (*people(20, "crop", BARE), IBUG_68, (128, 128), "crop", BARE)
    plain, points, visible = picture.draw(*face)
    distances = []
    # A few dots at once, far apart. Jaw dots lie on the outline, half of them hidden: the
    # outline itself is their test.
    for first in range(17, 30):
        dots = range(first, 68, 13)
        change = np.abs(picture.draw(*face, dots)[0].astype(float) - plain).sum(0)
        for x, y in points[[dot for dot in dots if visible[dot]]]:
            weight = change * (np.hypot(columns - x, rows - y) < 3.5)
            weight[weight < 0.05 * weight.max()] = 0
            found = [np.average(at, weights=weight + 1e-12) for at in (columns, rows)]
            distances.append(np.hypot(found[0] - x, found[1] - y))
    assert len(distances) > 40 and max(distances) <= 0.5


@pytest.mark.parametrize("yaw", [-50, -30, 30, 50])
@schemes
def test_jaw_points_on_the_far_side_lie_on_the_outline_of_the_head(scheme, yaw):
    subject = posed(3, scheme, (256, 256), (yaw, 0.0, 10.0))
    triangles = head.sheet_triangles(head.ROWS, head.COLUMNS)
    pixels, depth = subject.camera.project(subject.posed.reshape(-1, 3))
    empty, mask = np.full((256, 256), np.inf, np.float32), np.zeros((256, 256), np.uint8)
    hit, *_ = shading.rasterise(pixels, depth, triangles, depth[:, None], empty)
    mask.ravel()[hit] = 1
    edge = sum(cv2.distanceTransform(side, cv2.DIST_L2, 5) for side in (mask, 1 - mask))
    jaw = subject.camera.project(subject.points)[0][list(scheme.lines[0])]
    # From ear to the corner of the jaw; further down the neck's side of the chin is in the picture.
    quarter = len(jaw) // 4
    columns, rows = np.round(jaw[-quarter:] if yaw > 0 else jaw[:quarter]).astype(int).T
    assert edge[rows, columns].max() <= 2.0  # of 256 pixels


def test_jaw_points_on_the_near_side_stay_on_the_bone():
    some, more = (posed(3, IBUG_68, (128, 128), (yaw, 0.0, 0.0)).places for yaw in (20.0, 40.0))
    np.testing.assert_allclose(some[:4], more[:4], atol=1e-6)
    assert np.abs(some[13:17] - more[13:17]).min() > 1e-3


def test_a_triangle_covers_its_pixels_interpolates_and_hides_what_is_behind():
    points = np.array([[1, 1], [7, 1], [1, 7], [0, 0], [9, 0], [0, 9]], np.float32)
    depth = np.array([5, 5, 5, 8, 8, 8], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5], [0, 2, 1]], np.int32)  # the last one faces away
    distance = np.full((9, 9), np.inf, np.float32)
    distance[2, 2] = 4
    hit, triangle, near, value = shading.rasterise(points, depth, triangles, points, distance)
    rows, columns = np.divmod(hit, 9)
    covered = [(x, y) for y in range(9) for x in range(9) if x + y <= 9 and (x, y) != (2, 2)]
    assert list(zip(columns.tolist(), rows.tolist(), strict=True)) == covered
    front = (columns >= 1) & (rows >= 1) & (columns + rows <= 8)
    assert triangle.tolist() == np.where(front, 0, 1).tolist()
    assert near.tolist() == pytest.approx(np.where(front, 5, 8).tolist())
    np.testing.assert_allclose(value, np.stack([columns, rows], 1), atol=1e-4)


@settings(max_examples=4)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.sampled_from(sorted(SETTINGS)))
def test_a_seed_gives_the_same_face_whatever_is_rendered_beside_it(seed, other, setting):
    alone = render([seed], IBUG_68, setting, (48, 64))
    among = render([other, seed], IBUG_68, setting, (48, 64))
    assert all(torch.equal(one[0], batch[1]) for one, batch in zip(alone, among, strict=True))
    assert other == seed or not torch.equal(*among[0])


@settings(max_examples=8)
@given(st.integers(0, 2**40))
def test_every_seed_gives_a_face_within_its_ranges(seed):
    _, setup, _ = people(seed, "crop")
    yaw, pitch, roll = setup.turn
    assert abs(yaw) <= 60 and abs(pitch) <= 30 and abs(roll) <= 40
    low, high = names(seed, "crop")[1].removeprefix("turned ").removesuffix("°").split("-")
    assert int(low) <= abs(yaw) <= int(high) == int(low) + 15
    images, points, _ = render([seed], IBUG_68, size=(48, 64))
    assert (points >= -0.5).all() and (points <= torch.tensor([63.5, 47.5])).all()
    extent = (points[0].amax(0) - points[0].amin(0)).max() / 48
    assert extent.item() == pytest.approx(setup.share, rel=1e-4)
    assert images.float().std() > 5


def test_wide_turns_do_occur():
    turns = np.array([sample_scene(np.random.default_rng(seed)).turn for seed in range(1000)])
    assert (np.abs(turns).max(0) > [55, 27, 36]).all()


@pytest.mark.parametrize("setting", SETTINGS)
def test_both_schemes_agree_in_picture_and_in_what_they_both_name(setting):
    ibug = render([4, 7], IBUG_68, setting)
    imm = render([4, 7], IMM_58, setting)
    assert torch.equal(ibug[0], imm[0])
    # IMM and iBUG number of eye corners, mouth corners and middles, nose base, brow.
    same = {13: 45, 17: 42, 21: 36, 25: 39, 39: 48, 43: 54, 41: 51, 45: 57, 52: 33, 30: 23, 6: 8}
    one, other = imm[1][:, list(same)], ibug[1][:, list(same.values())]
    torch.testing.assert_close(one, other, rtol=0, atol=0.02)


@schemes
def test_the_mean_head_is_its_own_mirror_image(scheme):
    flip, places = scheme.flip_order.numpy(), head.places(scheme)
    np.testing.assert_allclose(places[flip] * [-1, 1], places, atol=np.radians(0.3))
    points = head.on_sheet(head.sheet(head.TEMPLATE), places)
    np.testing.assert_allclose(points[flip] * [-1, 1, 1], points, atol=0.3)  # mm


def test_six_seeds_in_a_row_are_a_persons_views_who_share_the_head_and_turn_as_named():
    who, views = zip(*[names(seed, "portrait") for seed in range(12)], strict=True)
    assert who == ("person 0",) * 6 + ("person 1",) * 6
    assert views[:6] == views[6:] and len(set(views)) == 6
    _, points, _ = render(range(6), IMM_58, "portrait")
    eyes, nose = points[:, [13, 21], 0].mean(1), points[:, 52, 0]
    turned = dict(zip(views, (nose - eyes).tolist(), strict=False))
    assert turned["turned right"] < -3 < 3 < turned["turned left"]
    heads = [people(seed, "portrait")[0].proportions for seed in range(7)]
    assert all(one == heads[0] for one in heads[:6]) and heads[6] != heads[0]
    assert all(first % 6 == 0 for first in FIRST_SEED.values())  # no person in both splits


def test_closed_eyes_and_lips_meet():
    closed = {"close left": 1.0, "close right": 1.0, "jaw": head.CLOSED_JAW}
    mean, shut = (
        head.on_sheet(head.sheet(head.shaped({}, np.ones(3), expression)), head.places(IBUG_68))
        for expression in ({}, closed)
    )
    upper, lower = [37, 38, 43, 44, 62], [41, 40, 47, 46, 66]
    opened, closed = (np.hypot(*(face[upper] - face[lower])[:, :2].T) for face in (mean, shut))
    assert opened.min() > 4 and closed.max() < 1  # mm


def test_what_is_left_out_leaves_the_points_where_they_are():
    seeds = range(30, 36)
    whole, bare, (_, points, _) = (
        render(seeds, IBUG_68, size=(64, 64), leave_out=leave_out)
        for leave_out in ((), (*BARE, "light"), ("proportions", "expression", "pose"))
    )
    torch.testing.assert_close(whole[1], bare[1])
    assert all(not torch.equal(a, b) for a, b in zip(whole[0], bare[0], strict=True))
    shapes = points - points.mean(1, keepdim=True)
    sides = (shapes.amax(1) - shapes.amin(1)).amax(1)[:, None, None]
    assert (shapes / sides).std(0).max() < 0.02  # only the distance of the camera is left
    for unknown in ({"leave_out": ("hats",)}, {"setting": "passport"}):
        with pytest.raises(ValueError, match=r"hats|passport"):
            render(seeds, IBUG_68, **unknown)


def test_heads_turn_as_far_as_requested_and_all_else_is_as_without():
    own = people(5, "crop")[1].turn[0]
    for usual, turned in zip(
        render([5], IBUG_68, size=(64, 64)),
        render([5], IBUG_68, size=(64, 64), yaw=own),
        strict=True,
    ):
        assert torch.equal(usual, turned)
    for yaw in (-80, 80):
        _, points, visible = render(range(4), IBUG_68, size=(64, 64), yaw=yaw)
        hidden = visible[:, [36, 39, 45, 42]].logical_not()  # of both eyes, the left one first
        assert hidden[:, 2:].all() if yaw > 0 else hidden[:, :2].all()
        nose = points[:, 30, 0] - points[:, [0, 16], 0].mean(dim=1)  # beside the ears' middle
        assert (nose * yaw > 0).all()
        assert [head_pose(face.numpy()).yaw for face in points] == pytest.approx([yaw] * 4, abs=12)


@pytest.mark.slow
def test_the_mean_shape_is_that_of_real_annotations(real_data):
    folder = real_data / "ibug_300W_large_face_landmark_dataset" / "lfpw" / "trainset"
    files = [path for path in sorted(folder.glob("*.pts")) if "_mirror" not in path.name]
    real = np.stack([np.loadtxt(path, skiprows=3, max_rows=68) for path in files])
    subjects = [posed(seed, IBUG_68, (256, 256), leave_out=()) for seed in range(150)]
    ours = np.stack([subject.camera.project(subject.points)[0] for subject in subjects])

    def mean_shape(shapes, mean):
        for _ in range(5):
            shapes = [procrustes(mean, shape)[1] for shape in shapes]
            mean = np.mean(shapes, 0)
        return mean

    real = mean_shape(real, real[0])
    real, ours, _ = procrustes(real, mean_shape(ours, real))
    eyes = np.linalg.norm(real[36] - real[45])
    assert np.linalg.norm(ours - real, axis=1).mean() < 0.015 * eyes
