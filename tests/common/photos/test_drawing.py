from dataclasses import replace

import numpy as np
import pytest

from common.photos.drawing import SHOWN, draw_faces, triangles
from common.photos.finder import FoundFace
from common.photos.pose import MEAN_HEAD, Pose

POINTS = (MEAN_HEAD[:, :2] * 1.2 + (150, 90)).astype(np.float32)  # about 180 pixels across
FACE = FoundFace(
    box=(60.0, 60.0, 180.0, 180.0), score=1.0, confidence=0.9, keypoints=POINTS,
    pose=Pose(25.0, 10.0, -5.0), eyes_open=0.3, mouth_open=0.1,
)  # fmt: skip


def photo(grey):
    return np.full((280, 300, 3), grey, np.uint8)


def difference(one, other):
    """The largest difference of a colour at each pixel: (H, W)."""
    return np.abs(one.astype(int) - other.astype(int)).max(axis=2)


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("what", SHOWN)
def test_everything_can_be_seen_on_any_photo(what, grey):
    before = photo(grey)
    drawn = draw_faces(before, [FACE], [what])
    assert (before == grey).all()  # the photo itself stays as it is
    assert drawn.shape == before.shape
    assert (difference(drawn, before) > 60).sum() > 200


def test_every_keypoint_is_marked_where_it_is():
    marked = difference(draw_faces(photo(0), [FACE], ["points"]), photo(0))
    for x, y in POINTS.round().astype(int):
        assert marked[y, x] > 150


def test_the_box_is_drawn_at_its_edges():
    drawn = difference(draw_faces(photo(0), [FACE], ["boxes"]), photo(0)) > 100
    assert drawn[150, 58:62].any() and drawn[150, 238:242].any()
    assert drawn[58:62, 200].any() and drawn[238:242, 200].any()
    assert not drawn[150, 70:230].any()


def test_the_nose_points_where_the_head_looks():
    """Red lies on the side that the head is turned to."""

    def red(yaw):
        face = replace(FACE, pose=Pose(yaw, 0.0, 0.0))
        drawn = draw_faces(photo(128), [face], ["pose"]).astype(int)
        is_red = (drawn[..., 0] > 220) & (drawn[..., 1] < 120)
        return np.nonzero(is_red)[1].mean() - POINTS[30, 0]

    assert red(40) > 10
    assert red(-40) < -10


def test_nothing_to_show_leaves_the_photo_as_it_is():
    np.testing.assert_array_equal(draw_faces(photo(77), [FACE], []), photo(77))
    np.testing.assert_array_equal(draw_faces(photo(77), [], SHOWN), photo(77))


@pytest.mark.parametrize("move", [(-150, -100), (200, 150), (-5000, 90000)])
def test_a_face_that_reaches_out_of_the_photo_is_drawn_as_far_as_it_is_in(move):
    box = (FACE.box[0] + move[0], FACE.box[1] + move[1], *FACE.box[2:])
    outside = replace(FACE, keypoints=POINTS + np.float32(move), box=box)
    assert draw_faces(photo(50), [outside], SHOWN).shape == photo(50).shape


def test_small_faces_get_thin_lines():
    small = replace(FACE, keypoints=(POINTS - POINTS.mean(0)) / 6 + np.float32((150, 140)))
    drawn = difference(draw_faces(photo(0), [small], ["points"]), photo(0))
    assert 50 < (drawn > 60).sum() < 1500


def test_the_mesh_covers_the_face_with_triangles_between_its_points():
    corners = triangles(POINTS)
    assert corners.shape[1:] == (3, 2)
    assert len(corners) == pytest.approx(2 * 68 - 2 - 22, abs=12)  # 2 n - 2 - the hull's points
    known = {tuple(point) for point in POINTS.round(2).tolist()}
    assert {tuple(point) for point in corners.reshape(-1, 2).round(2).tolist()} == known
