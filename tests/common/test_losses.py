import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.losses import LOSSES, known_loss, training_loss, wing
from common.recipe import Recipe


def of(name, error):
    """The loss of one face, one point, off by ``error`` in x and in y."""
    truth = torch.full((1, 1, 2), 0.5, dtype=torch.float64)
    return LOSSES[name](truth + error, truth).item()


@given(st.floats(-0.9, 0.9))
def test_wing_is_the_papers_formula(error):
    # Feng et al., equation 5: w ln(1 + |x| / e) if |x| < w, else |x| - (w - w ln(1 + w / e)).
    w, e = 0.04, 0.008
    near = w * math.log(1 + abs(error) / e)
    far = abs(error) - (w - w * math.log(1 + w / e))
    assert of("wing", error) == pytest.approx(near if abs(error) < w else far, abs=1e-9)
    assert of("wing", 0.0) == 0


def test_wing_pulls_at_the_smallest_error_and_rests_at_none():
    predicted = torch.tensor([[[0.5, 0.5]], [[0.5001, 0.4]]], requires_grad=True)
    wing(predicted, torch.full((2, 1, 2), 0.5)).backward()
    at_rest, ((near, far),) = predicted.grad
    assert at_rest.abs().max() == 0 and near > -3 * far > 0


def test_the_other_losses_by_hand():
    assert of("mse", 0.1) == pytest.approx(0.01)
    assert of("l1", -0.1) == pytest.approx(0.1)
    assert of("smooth_l1", 0.1) == pytest.approx(0.1 - 0.02 / 2)
    assert of("smooth_l1", 0.01) == pytest.approx(0.01**2 / 2 / 0.02)


@given(st.floats(-0.9, 0.9))
def test_the_courses_smooth_l1_is_torchs_in_the_courses_unit(error):
    truth = torch.full((1, 1, 2), 0.5, dtype=torch.float64)
    theirs = [(224 * fractions - 100.5) / 50 for fractions in (truth + error, truth)]
    unit = 50 / 224  # of the crop, which only scales the loss
    expected = unit * torch.nn.functional.smooth_l1_loss(*theirs).item()
    assert of("smooth_l1_course", error) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_mean_over_faces_points_and_axes(name):
    truth, predicted = torch.zeros(2, 4, 3, 2)
    predicted[1, 2, 0] = 0.3
    one = LOSSES[name](torch.full((1, 1, 1), 0.3), torch.zeros(1, 1, 1))
    torch.testing.assert_close(LOSSES[name](predicted, truth), one / 24)


@pytest.mark.parametrize("name", LOSSES)
def test_a_missing_point_has_no_error_and_no_gradient(name):
    truth = torch.tensor([[[0.5, 0.5], [math.nan, math.nan]], [[math.nan, math.nan], [0.2, 0.3]]])
    predicted = torch.tensor([[[0.6, 0.5], [0.1, 0.9]], [[0.4, 0.4], [0.2, 0.3]]])
    predicted.requires_grad_()
    loss = known_loss(name, predicted, truth)
    loss.backward()
    assert loss.item() == pytest.approx(of(name, 0.1) / 4)  # one coordinate of four is off
    ((first, missing), (also_missing, exact)) = predicted.grad
    assert first[0] > 0 and not torch.stack([missing, also_missing, exact]).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_missing_points_leave_no_nan_in_the_loss_of_heatmaps(dtype):
    torch.manual_seed(0)
    recipe = Recipe(loss="wing", heatmap_weight=0.1)
    scores = torch.randn(2, 3, 8, 8, dtype=dtype, requires_grad=True)
    heatmaps = scores.flatten(2).log_softmax(dim=-1).view_as(scores)
    target = torch.rand(2, 3, 2)
    target[0, 1], target[1] = math.nan, math.nan
    training_loss(heatmaps, target, recipe).backward()
    known = torch.tensor([0, 2])
    alone = training_loss(heatmaps[:1, known], target[:1, known], recipe)
    torch.testing.assert_close(training_loss(heatmaps, target, recipe), alone)
    assert scores.grad.isfinite().all() and scores.grad[0, known].flatten(1).any(dim=1).all()
    assert not scores.grad[0, 1].any() and not scores.grad[1].any()
