"""From a found face to the box that a network of other points was trained with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_sets import IBUG_FACE

from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68, Scheme
from common.photos import framing
from common.photos.finder import face_from_keypoints
from common.photos.framing import Framing, measure_framing

POINTS = (torch.tensor(IBUG_FACE) * 200).float()  # a face about 100 pixels wide, upright
SCHEME = Scheme("own", 1, (), (), None, ("nose",))


def turned(points, degrees):
    angle = torch.tensor(degrees).deg2rad()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]),
                        torch.stack([angle.sin(), angle.cos()])])  # fmt: skip
    return (points - 300) @ turn.T + 300


def test_boxes_lie_beside_upright_faces_as_the_framing_says():
    (left, top, width, height), side = landmark_boxes(POINTS[None])[0], 0
    side = max(width, height)
    (box,), (angle,) = Framing(0.1, -0.2, 1.5, 0.5).boxes(POINTS[None])
    middle = torch.stack([left + width / 2 + 0.1 * side, top + height / 2 - 0.2 * side])
    torch.testing.assert_close(box[:2] + box[2:] / 2, middle)
    torch.testing.assert_close(box[2:], torch.stack([1.5 * side, 0.5 * side]))
    assert angle == 0


def test_which_framing_is_that_of_landmarks():
    assert Framing(0.01, -0.02, 0.95, 1.02).is_of_landmarks
    for other in (Framing(0.0, 0.11, 1.0, 1.0), Framing(0.0, 0.0, 1.1, 0.9), framing.IMM_PICTURE):
        assert not other.is_of_landmarks


def test_boxes_turn_with_a_face_that_leans():
    upright, _ = Framing(0.1, -0.2, 1.0, 1.0).boxes(POINTS[None])
    (box,), (angle,) = Framing(0.1, -0.2, 1.0, 1.0).boxes(turned(POINTS, 40.0)[None])
    assert angle.item() == pytest.approx(40, abs=0.1)
    torch.testing.assert_close(box[2:], upright[0, 2:], rtol=1e-3, atol=0)
    middle = turned(upright[:, :2] + upright[:, 2:] / 2 - 0.5, 40.0)[0] + 0.5
    torch.testing.assert_close(box[:2] + box[2:] / 2, middle, rtol=1e-3, atol=0)


def test_the_framing_is_measured_where_the_face_is_found(monkeypatch):
    monkeypatch.setattr(framing, "read_picture", lambda file, colour: np.array([int(file.stem)]))
    keypoints = {index: POINTS + 10 * index for index in range(5)}
    own = Framing(0.2, 0.1, 0.7, 0.6)
    boxes = torch.cat([own.boxes(points[None])[0] for points in keypoints.values()])
    names = tuple(map(str, keypoints))
    faces = Faces("own", "own", SCHEME, tuple(map(Path, names)), torch.zeros(5, 1, 2), boxes,
                  names, names)  # fmt: skip

    def find(seen):
        def predict(image):
            (index,) = image.tolist()
            if index not in seen:
                return []
            points = keypoints[index].numpy()
            box = tuple(landmark_boxes(torch.from_numpy(points)[None])[0].tolist())
            return [face_from_keypoints(box, 1.0, 0.9, points)]

        return predict

    assert measure_framing(faces, find({0, 2, 3, 4})) == pytest.approx(own, abs=1e-5)
    assert measure_framing(faces, find({0, 4})) is None
    assert IBUG_68.n_points == len(POINTS)
