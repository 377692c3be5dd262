import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from common import metrics
from common.crops import network_matrices
from common.faces import Faces
from common.keypoints import IMM_58
from common.loading import Crops
from common.recipe import Recipe

RECIPE = Recipe(height=50, width=100, margin=5)
VIEWS = ("front", "side", "front")
percentages = st.lists(st.floats(0, 30), min_size=1, max_size=40)


@pytest.fixture
def crops():
    """Three faces: the picture is twice as wide and four times as high as the kept crop."""
    torch.manual_seed(0)
    points = 40 + 100 * torch.rand(3, 58, 2)
    points[:, 13], points[:, 21] = torch.tensor([[60.0, 100]]), torch.tensor([[140.0, 100]])
    boxes = torch.tensor([[0.0, 0, 220, 240]] * 3)
    faces = Faces("imm/val", "imm", IMM_58, (Path("x.png"),) * 3, points, boxes, VIEWS, VIEWS)
    images = torch.zeros(3, 1, 60, 110, dtype=torch.uint8)
    return Crops(faces, images, network_matrices(boxes, RECIPE), (52, 13, 21))


def test_nme_of_a_three_four_five_triangle():
    truth = torch.tensor([[[10.0, 10], [30, 50]], [[10, 10], [30, 50]]])
    predicted = truth + torch.tensor([[[3.0, 4], [-4, 3]], [[0, 0], [6, 8]]])
    # 5 pixels of 50; (0 + 10) / 2 pixels of 25.
    assert metrics.nme(predicted, truth, torch.tensor([50.0, 25])).tolist() == [10, 20]


@given(percentages)
@example([4.0, 8.0, 8.001, 12.0, 100.0])  # 8 % is no failure
def test_failure_rate_and_area_agree_with_counting_and_integrating(values):
    errors = torch.tensor(values, dtype=torch.float64)
    above = 100 * sum(e > 8 for e in values) / len(values)
    assert metrics.failure_rate(errors) == pytest.approx(above)
    assert metrics.failure_rate(errors / 2, limit=4) == metrics.failure_rate(errors)
    # The cumulative curve itself, integrated in steps of a thousandth of a percent.
    at = (np.arange(8000) + 0.5) / 1000
    curve = (np.array(values)[:, None] <= at).mean(axis=0)
    assert metrics.area_under_curve(errors) == pytest.approx(100 * curve.mean(), abs=0.02)


def test_errors_in_every_unit_by_hand(crops):
    truth = crops.points
    errors = metrics.errors_per_face(truth + torch.tensor([3.0, -1.0]), crops, RECIPE)
    scaled = 224 / 100 / 50  # from pixels of the crop to the nanodegree's unit
    expected = {
        "mse_px": (9 + 1) / 2,
        "mse_ratio": (0.03**2 + 0.02**2) / 2,
        "mae_px_original": (3 * 2 + 1 * 4) / 2,  # the picture's own pixels
        "smooth_l1_224": ((3 * scaled) ** 2 + scaled**2) / 2 / 2,
        "nme": 100 * 10**0.5 / 40,  # eyes are 80 pixels of the picture apart, 40 of the crop
    }
    found = {name: values.tolist() for name, values in errors.items()}
    assert found == {name: pytest.approx([value] * 3, rel=1e-4) for name, value in expected.items()}


def test_the_nanodegrees_loss_is_its_own_code_on_its_own_unit():
    torch.manual_seed(1)
    truth, predicted = 224 * torch.rand(3, 68, 2), 224 * torch.rand(3, 68, 2)
    loss = torch.nn.SmoothL1Loss()
    pairs = zip((predicted - 100) / 50, (truth - 100) / 50, strict=True)
    expected = torch.stack([loss(*pair) for pair in pairs])
    torch.testing.assert_close(metrics.smooth_l1_224(predicted - truth, 224), expected)
    # The same faces in crops of half the size, whose pixels count twice.
    torch.testing.assert_close(metrics.smooth_l1_224((predicted - truth) / 2, 112), expected)


def test_mean_shape_is_the_mean_in_fractions(crops):
    shape = metrics.mean_shape(crops, RECIPE)
    in_picture = crops.faces.points[:, [52, 13, 21]].mean(dim=0)
    kept = (in_picture + 0.5) / torch.tensor([2.0, 4.0])  # from the kept crop's edge
    torch.testing.assert_close(shape, (kept - 5) / torch.tensor([100.0, 50.0]))


def test_groups_and_the_mean_face_are_measured_by_themselves(crops):
    truth = crops.points
    off = torch.tensor([1.0, 4.0, 3.0])[:, None, None] * torch.tensor([1.0, 0.0])
    shape = torch.tensor([[0.5, 0.5], [0.4, 0.4], [0.6, 0.4]])
    found = metrics.measure(truth + off, crops, shape, RECIPE)
    assert found["per_group"].keys() == {"front", "side"}
    front, side = found["per_group"]["front"], found["per_group"]["side"]
    assert (front["n"], side["n"]) == (2, 1)
    nme = [each["nme"] for each in (front, side, found)]
    assert nme == pytest.approx([(2.5 + 7.5) / 2, 10, 100 * (1 + 4 + 3) / 3 / 40], rel=1e-4)
    assert (front["fr8"], side["fr8"], found["fr8"]) == pytest.approx((0, 100, 100 / 3))
    assert front["auc8"] == pytest.approx(100 * (5.5 + 0.5) / 8 / 2, rel=1e-3)
    always = shape * torch.tensor([100.0, 50.0]) - 0.5
    expected = (always - truth).square().mean()
    assert found["baseline_mean_face"]["mse_px"] == pytest.approx(expected.item(), rel=1e-4)


def test_missing_points_are_not_counted_and_boxes_replace_missing_eyes(crops):
    points = crops.faces.points.clone()
    points[1, 13] = points[0, 52] = torch.nan  # an outer eye corner; one of the points learned
    faces = replace(crops.faces, points=points)
    crops = replace(crops, faces=faces)
    off = torch.tensor([[[3.0, 4.0], [0, 0], [6, 8]]]).expand(3, -1, -1)
    found = metrics.errors_per_face(crops.points.nan_to_num(0) + off, crops, RECIPE)
    # The box is 110 x 60 pixels of the kept crop; the first face lacks the first point.
    expected = [100 * mean / math.hypot(110, 60) for mean in (5, 7.5, 5)]
    assert found["nme"].tolist() == pytest.approx(expected, rel=1e-4)
    assert found["mse_px"].tolist() == pytest.approx([100 / 4, 125 / 4, 125 / 6], rel=1e-3)
    assert all(values.isfinite().all() for values in found.values())
    assert metrics.mean_shape(crops, RECIPE).isfinite().all()
