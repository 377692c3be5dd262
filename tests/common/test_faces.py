import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.faces import landmark_boxes, upright_boxes
from common.keypoints import IBUG_68
from common.photos.pose import MEAN_HEAD

UPRIGHT = torch.tensor(MEAN_HEAD[:, :2], dtype=torch.float32) + 200  # (68, 2), its eyes level


@given(st.floats(-179, 179), st.floats(0.1, 5), st.floats(-300, 300))
def test_the_box_of_a_turned_face_is_the_upright_ones_turned(angle, size, shift):
    (upright,) = landmark_boxes(UPRIGHT[None])
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = size * torch.tensor([[cosine, -sine], [sine, cosine]])  # clockwise, as y points down
    boxes, angles = upright_boxes((UPRIGHT @ turn.T + shift)[None], IBUG_68)
    assert angles.item() == pytest.approx(angle, abs=0.01)
    torch.testing.assert_close(boxes[0, 2:], upright[2:] * size, atol=0.01, rtol=1e-4)
    centre = (upright[:2] + upright[2:] / 2 - 0.5) @ turn.T + shift + 0.5
    torch.testing.assert_close(boxes[0, :2] + boxes[0, 2:] / 2, centre, atol=0.01, rtol=1e-4)


def test_every_face_has_a_box_and_an_angle_of_its_own():
    faces = torch.stack([UPRIGHT, UPRIGHT.flip(-1), UPRIGHT * 2])
    boxes, angles = upright_boxes(faces, IBUG_68)
    torch.testing.assert_close(boxes[[0, 2]], landmark_boxes(faces[[0, 2]]))
    torch.testing.assert_close(angles, torch.tensor([0.0, 90.0, 0.0]))
