"""Drawn faces: labels against painted dots and outlines, and what training relies on."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.keypoints import IBUG_68, IMM_58
from datasets.synthetic import head, render, shading
from datasets.synthetic import scene as drawing
from datasets.synthetic.people import sample_scene

BARE = ("hair", "glasses", "beard", "occluders", "background", "camera")
DATA = Path(os.environ.get("FACE_DATA") or Path(__file__).parents[4] / "shared" / "data")


def test_dots_painted_on_the_skin_are_found_at_their_labels():
    rows, columns = np.mgrid[:128, :128]
    distances = []
    for seed in range(20, 24):
        person, scene, _ = render.people(seed, "crop", BARE)

        def draw(dots, person=person, scene=scene):
            random = np.random.default_rng(0)
            return drawing.draw(person, scene, random, IBUG_68, (128, 128), "crop", BARE, dots)

        plain, points, in_sight = draw(())
        # A few dots at once, far apart. Jaw dots lie on the outline, half of them out of sight:
        # the outline itself is their test.
        for first in range(20):
            dots = [48 + first, 17 + first] + [37 + first] * (first < 11)
            change = np.abs(draw(dots)[0].astype(float) - plain).sum(0)
            for dot in dots:
                if in_sight[dot]:
                    x, y = points[dot]
                    weight = change * (np.hypot(columns - x, rows - y) < 3.5)
                    weight[weight < 0.05 * weight.max()] = 0
                    total = max(weight.sum(), 1e-9)
                    found = (columns * weight).sum() / total, (rows * weight).sum() / total
                    distances.append(np.hypot(found[0] - x, found[1] - y))
    assert len(distances) > 4 * 40
    assert np.mean(np.array(distances) <= 0.5) >= 0.99


@pytest.mark.parametrize("yaw", [-50, -30, 30, 50])
@pytest.mark.parametrize("scheme", [IBUG_68, IMM_58], ids=lambda scheme: scheme.name)
def test_jaw_points_on_the_far_side_lie_on_the_outline_of_the_head(scheme, yaw):
    size = (256, 256)
    person, scene, _ = render.people(3, "crop", BARE)
    scene = replace(scene, turn=(yaw, 0.0, 10.0))
    posed = drawing.pose(person, scene, scheme, size)
    triangles = head.sheet_triangles(head.ROWS, head.COLUMNS)
    pixels, depth = posed.camera.project(posed.posed.reshape(-1, 3))
    found, _, _ = shading.rasterise(pixels, depth, triangles, size)
    mask = (found >= 0).reshape(size).astype(np.uint8)
    edge = cv2.distanceTransform(mask, cv2.DIST_L2, 5) + cv2.distanceTransform(
        1 - mask, cv2.DIST_L2, 5
    )
    jaw = posed.camera.project(posed.points)[0][list(scheme.lines[0])]
    count = len(jaw)
    # From ear to the corner of the jaw; further down the neck's side of the chin is in the picture.
    far = jaw[count * 3 // 4 :] if yaw > 0 else jaw[: count // 4]
    columns, rows = np.round(far).astype(int).T
    assert edge[rows, columns].max() <= 2.0  # of 256 pixels


def test_bone_is_kept_on_the_near_side():
    person, scene, _ = render.people(3, "crop", BARE)
    places = [
        drawing.pose(person, replace(scene, turn=(yaw, 0.0, 0.0)), IBUG_68, (128, 128)).places
        for yaw in (20.0, 40.0)
    ]
    np.testing.assert_allclose(places[0][:4], places[1][:4], atol=1e-6)
    assert np.abs(places[0][13:17] - places[1][13:17]).min() > 1e-3


def test_same_seed_same_picture_whatever_is_drawn_beside_it():
    one = render.render([5], IBUG_68)
    among = render.render([9, 5, 2], IBUG_68)
    for alone, batch in zip(one, among, strict=True):
        torch.testing.assert_close(alone[0], batch[1], rtol=0, atol=0)
    assert not torch.equal(among[0][0], among[0][1])


@pytest.mark.parametrize("setting", render.SETTINGS)
def test_both_schemes_agree_in_picture_and_in_what_they_both_name(setting):
    ibug = render.render([4, 7], IBUG_68, setting)
    imm = render.render([4, 7], IMM_58, setting)
    torch.testing.assert_close(ibug[0], imm[0], rtol=0, atol=0)
    # IMM and iBUG number of eye corners, mouth corners and middles, nose base, brow.
    same = {13: 45, 17: 42, 21: 36, 25: 39, 39: 48, 43: 54, 41: 51, 45: 57, 52: 33, 30: 23, 6: 8}
    torch.testing.assert_close(
        imm[1][:, list(same)], ibug[1][:, list(same.values())], rtol=0, atol=0.02
    )


@pytest.mark.parametrize("scheme", [IBUG_68, IMM_58], ids=lambda scheme: scheme.name)
def test_the_mean_head_is_its_own_mirror_image(scheme):
    places = head.places(scheme)
    mirrored = places[scheme.flip_order.numpy()] * [-1, 1]
    np.testing.assert_allclose(mirrored, places, atol=np.radians(0.3))
    points = head.on_sheet(head.sheet(head.TEMPLATE), places)
    np.testing.assert_allclose(
        points[scheme.flip_order.numpy()] * [-1, 1, 1], points, atol=0.3
    )  # mm


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40))
def test_every_seed_gives_a_face_within_its_ranges(seed):
    scene = sample_scene(np.random.default_rng(seed))
    yaw, pitch, roll = scene.turn
    assert abs(yaw) <= 60 and abs(pitch) <= 30 and abs(roll) <= 40
    assert 1 <= len(scene.lights) <= 3
    images, points, in_sight = render.render([seed], IBUG_68, size=(48, 64))
    assert images.shape == (1, 3, 48, 64) and images.dtype == torch.uint8
    assert points.shape == (1, 68, 2) and points.dtype == torch.float32
    assert in_sight.shape == (1, 68)
    assert (points >= -0.5).all() and (points <= torch.tensor([63.5, 47.5])).all()
    assert images.float().std() > 5


def test_wide_turns_do_occur():
    turns = np.array([sample_scene(np.random.default_rng(seed)).turn for seed in range(2000)])
    assert (np.abs(turns).max(0) > [55, 27, 36]).all()


def test_train_and_test_show_different_people():
    train = render.load("train", IMM_58, "portrait", count=12, size=(30, 40))
    test = render.load("test", IMM_58, "portrait", count=12, size=(30, 40))
    assert not set(train.groups) & set(test.groups)
    assert len(set(train.groups)) == 2  # six views each
    assert train.views[:6] == train.views[6:]
    heads = [render.people(first, "crop")[0].proportions for first in (0, 600_000_000)]
    assert heads[0] != heads[1]


def test_views_of_a_person_share_the_head_and_turn_as_named():
    faces = render.load("train", IMM_58, "portrait", count=6)
    eyes = faces.points[:, [13, 21], 0].mean(1)
    nose = faces.points[:, 52, 0]
    turned = dict(zip(faces.views, (nose - eyes).tolist(), strict=True))
    assert turned["turned right"] < -3 < 3 < turned["turned left"]
    people = {str(render.people(seed, "portrait")[0].proportions) for seed in range(6)}
    assert len(people) == 1


def test_closed_eyes_and_lips_meet():
    closed = {"close left": 1.0, "close right": 1.0, "jaw": head.CLOSED_JAW}
    points = {
        name: head.on_sheet(
            head.sheet(head.shaped({}, np.ones(3), expression)), head.places(IBUG_68)
        )
        for name, expression in (("mean", {}), ("closed", closed))
    }
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (62, 66)):
        gaps = {name: np.linalg.norm(p[upper, :2] - p[lower, :2]) for name, p in points.items()}
        assert gaps["mean"] > 4  # mm
        assert gaps["closed"] < 1


def test_what_is_left_out_leaves_the_points_where_they_are():
    seeds = range(30, 36)
    whole = render.render(seeds, IBUG_68, size=(64, 64))
    bare = render.render(seeds, IBUG_68, size=(64, 64), leave_out=(*BARE, "light"))
    torch.testing.assert_close(whole[1], bare[1])
    assert all(not torch.equal(a, b) for a, b in zip(whole[0], bare[0], strict=True))
    plain = render.render(
        seeds, IBUG_68, size=(64, 64), leave_out=("proportions", "expression", "pose")
    )
    shapes = plain[1] - plain[1].mean(1, keepdim=True)
    sides = (shapes.amax(1) - shapes.amin(1)).amax(1)[:, None, None]
    assert (shapes / sides).std(0).max() < 0.02  # only the distance of the camera is left
    with pytest.raises(ValueError, match="hats"):
        render.render(seeds, IBUG_68, leave_out=("hats",))
    with pytest.raises(ValueError, match="passport"):
        render.render(seeds, IBUG_68, setting="passport")


@pytest.mark.skipif(
    not (DATA / "ibug_300W_large_face_landmark_dataset").is_dir(), reason="no real faces here"
)
def test_the_mean_shape_is_that_of_real_annotations():
    folder = DATA / "ibug_300W_large_face_landmark_dataset" / "lfpw" / "trainset"
    real = np.stack(
        [
            np.loadtxt(path.read_text().split("{")[1].split("}")[0].strip().splitlines())
            for path in sorted(folder.glob("*.pts"))
            if "_mirror" not in path.name
        ]
    )
    drawn = []
    for seed in range(150):
        person, scene, _ = render.people(seed, "crop")
        posed = drawing.pose(person, scene, IBUG_68, (256, 256))
        drawn.append(posed.camera.project(posed.points)[0])

    def mean_shape(shapes, mean=None):
        shapes = shapes - shapes.mean(1, keepdims=True)
        shapes = shapes / np.sqrt((shapes**2).sum((1, 2), keepdims=True))
        mean = shapes[0] if mean is None else mean
        for _ in range(5):
            u, _, v = np.linalg.svd(shapes.transpose(0, 2, 1) @ mean)
            mean = (shapes @ (u @ v)).mean(0)
            mean /= np.sqrt((mean**2).sum())
        return mean

    real = mean_shape(real)
    ours = mean_shape(np.stack(drawn).astype(float), real)
    u, _, v = np.linalg.svd(ours.T @ real)
    distance = np.linalg.norm(ours @ u @ v - real, axis=1).mean()
    assert distance < 0.015 * np.linalg.norm(real[36] - real[45])
