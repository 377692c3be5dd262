import math
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


def on_the_outline(what):
    """Pixels that must be drawn for each of SHOWN, from the keypoints, the box or the pose."""
    if what == "boxes":
        lines = [(x, y) for x in (59.5, 239.5) for y in range(70, 230)]
        return np.array(lines + [(x, y) for x in range(120, 230) for y in (59.5, 239.5)])
    if what == "pose":  # from the nose's tip to the chin's side, 10° down and 5° anticlockwise
        down = np.array([math.sin(math.radians(5)), math.cos(math.radians(5))])
        return POINTS[30] + np.arange(20, 80)[:, None] * down
    if what == "mesh":  # every point has an edge, and its neighbour on the jaw is one
        return (POINTS[:16] + POINTS[1:17]) / 2
    return POINTS


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("what", SHOWN)
def test_lines_and_points_stand_out_from_any_photo_where_they_belong(what, grey):
    before = photo(grey)
    drawn = difference(draw_faces(before, [FACE], [what]), before)
    assert (before == grey).all()  # the photo itself stays as it is
    for faces, shown in (([FACE], []), ([], [what])):
        np.testing.assert_array_equal(draw_faces(before, faces, shown), before)
    columns, rows = on_the_outline(what).round().astype(int).T
    near = np.max([drawn[rows + y, columns + x] for x in (-1, 0, 1) for y in (-1, 0, 1)], axis=0)
    assert near.min() > 60


def test_the_nose_points_where_the_head_looks():
    def red(yaw):  # how far to the right of the nose it lies
        face = replace(FACE, pose=Pose(yaw, 0.0, 0.0))
        drawn = draw_faces(photo(128), [face], ["pose"]).astype(int)
        is_red = (drawn[..., 0] > 220) & (drawn[..., 1] < 120)
        return np.nonzero(is_red)[1].mean() - POINTS[30, 0]

    assert red(40) > 10
    assert red(-40) < -10


@pytest.mark.parametrize("move", [(-150, -100), (200, 150), (-5000, 90000)])
def test_a_face_that_reaches_out_of_the_photo_is_drawn_as_on_a_larger_photo(move):
    shown = [what for what in SHOWN if what != "boxes"]  # whose text is kept inside
    drawn, whole = (
        draw_faces(image, [replace(FACE, keypoints=POINTS + np.float32(move) + by)], shown)
        for image, by in ((photo(50), 0), (np.full((900, 900, 3), 50, np.uint8), 300))
    )
    different = difference(drawn, whole[300:580, 300:600]) > 20
    assert different[4:-4, 4:-4].mean() < 1e-4  # OpenCV smooths a line otherwise where it is cut


def test_lines_grow_with_the_face():
    def width(scale):
        points = (POINTS - POINTS[8]) * scale + np.float32((150, 250))
        drawn = draw_faces(photo(0), [replace(FACE, keypoints=points)], ["points"])
        return (drawn[242:258, 150].max(axis=1) > 60).sum()  # the dot on the chin, with soft edges

    assert width(0.5) < width(2.5) == pytest.approx(2 * 180 * 2.5 / 110, abs=3)


def test_the_mesh_covers_the_face_with_triangles_between_its_points():
    corners = triangles(POINTS)  # (T, 3, 2)
    assert len(corners) == pytest.approx(2 * 68 - 2 - 22, abs=12)  # 2 n - 2 - the hull's points
    known = {tuple(point) for point in POINTS.round(2).tolist()}
    assert {tuple(point) for point in corners.reshape(-1, 2).round(2).tolist()} == known
