import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.keypoints import IBUG_68
from common.photos.pose import MEAN_HEAD, Pose, axes, head_pose
from datasets.synthetic import scene as synthetic_scene
from datasets.synthetic.render import people

angles = st.floats(-35, 35)
few = settings(max_examples=30)


def seen(yaw, pitch, roll, away=20.0):
    """The mean head's points in a picture, turned by the renderer's own rotation: (68, 2)."""
    head = MEAN_HEAD * (1, 1, -1) - (0, 40, 0)
    turned = head @ synthetic_scene.rotation(yaw, pitch, roll).astype(float).T
    depth = away * np.ptp(MEAN_HEAD, axis=0).max() - turned[:, 2]
    return turned[:, :2] * (3000 / depth)[:, None] + (200, 150)


def measured(points):
    pose = head_pose(points.astype(np.float32))
    return np.array([pose.yaw, pose.pitch, pose.roll])


@few
@given(angles, angles, angles, st.floats(0.05, 20), st.floats(-3000, 3000))
def test_the_pose_of_a_mean_head_is_measured_at_any_size_and_place_and_mirrored(
    yaw, pitch, roll, size, shift
):
    points = seen(yaw, pitch, roll)
    found = measured(points)
    np.testing.assert_allclose(found, [yaw, pitch, roll], atol=2.5)
    np.testing.assert_allclose(measured(points * size + shift), found, atol=0.2)
    mirrored = (points * (-1, 1))[IBUG_68.flip_order.numpy()]
    np.testing.assert_allclose(measured(mirrored), found * (-1, 1, -1), atol=0.05)


def test_each_angle_has_its_sign():
    straight = seen(0, 0, 0)
    np.testing.assert_allclose(measured(straight), 0, atol=0.5)
    nose, left_eye, right_eye = 30, 36, 45
    to_the_right, down, clockwise = (seen(*angles) for angles in 20 * np.eye(3))
    assert to_the_right[nose, 0] > straight[nose, 0] + 5
    assert down[nose, 1] > straight[nose, 1] + 5
    assert clockwise[right_eye, 1] > clockwise[left_eye, 1] + 5
    for axis, points in enumerate((to_the_right, down, clockwise)):
        assert measured(points)[axis] == pytest.approx(20, abs=2)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (20, -20), (-80, 0), (80, 20)])
def test_the_pose_is_right_at_every_roll_also_upside_down(yaw, pitch):
    upright, middle = seen(yaw, pitch, 0), (200, 150)
    expected = measured(upright)
    for roll in range(-180, 180, 15):
        cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
        turned = (upright - middle) @ [[cosine, sine], [-sine, cosine]] + middle  # clockwise
        off = measured(turned) - expected - (0, 0, roll)
        off[2] = (off[2] + 180) % 360 - 180
        np.testing.assert_allclose(off, 0, atol=1)


def test_the_pose_of_drawn_faces_is_known_within_degrees():
    """Other proportions, expressions and distances than the mean head's; see docs for 400 faces."""
    errors = []
    for seed in range(20):
        person, scene, _ = people(seed, "crop")
        subject = synthetic_scene.Posed(person, scene, IBUG_68, (256, 256))
        points, _ = subject.camera.project(subject.points)
        errors.append(np.abs(measured(points) - scene.turn))
    assert (np.mean(errors, axis=0) < (2, 3, 1)).all()  # yaw, pitch and roll


@few
@given(angles, angles, angles)
def test_the_axes_are_those_of_the_turned_head(yaw, pitch, roll):
    expected = synthetic_scene.rotation(yaw, pitch, roll)[:2].T
    np.testing.assert_allclose(axes(Pose(yaw, pitch, roll)), expected, atol=1e-6)
