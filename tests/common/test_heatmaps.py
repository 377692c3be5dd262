import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.heatmaps import cross_entropy, soft_argmax
from common.losses import LOSSES, coordinate_loss, training_loss
from common.recipe import Recipe

inside = st.floats(0.3, 0.7)


def spot(x, y, cells=32, width=1.5):
    """Log-probabilities (1, 1, cells, cells) of a Gaussian about the fractions (x, y)."""
    middles = (torch.arange(cells) + 0.5) / cells
    across, down = (-0.5 * ((middles - place) * cells / width) ** 2 for place in (x, y))
    return (down[:, None] + across).flatten().log_softmax(0).view(1, 1, cells, cells)


def test_a_heatmap_predicts_its_mean_and_its_spread_is_the_standard_deviation():
    heatmaps = torch.zeros(1, 2, 10, 20)
    heatmaps[0, 0, 3, 7] = 1  # one cell of 10 rows and 20 columns
    heatmaps[0, 1, 2, 4], heatmaps[0, 1, 8, 12] = 0.25, 0.75
    predicted, spread = soft_argmax(heatmaps.log())
    middle = torch.tensor([(0.25 * 4.5 + 0.75 * 12.5) / 20, (0.25 * 2.5 + 0.75 * 8.5) / 10])
    expected = torch.stack([torch.tensor([7.5 / 20, 3.5 / 10]), middle])
    torch.testing.assert_close(predicted[0], expected)
    # Two cells at a and b, of probabilities p and q: the variance is p q (a - b)^2 in x and in y.
    deviation = (0.25 * 0.75 * ((8 / 20) ** 2 + (6 / 10) ** 2)) ** 0.5
    torch.testing.assert_close(spread[0], torch.tensor([0.0, deviation]))


@given(inside, inside)
def test_a_spot_is_found_where_it_lies_within_a_hundredth_of_a_cell(x, y):
    predicted, spread = soft_argmax(spot(x, y))
    assert (predicted[0, 0] - torch.tensor([x, y])).abs().max() < 0.01 / 32
    assert spread.item() == pytest.approx(math.sqrt(2) * 1.5 / 32, rel=0.01)


@given(inside, inside)
def test_the_cross_entropy_is_lowest_for_the_gaussian_about_the_truth(x, y):
    truth = torch.tensor([[[x, y]]])
    lowest = cross_entropy(spot(x, y, width=1.0), truth, 1.0)
    # Entropy of a Gaussian in two dimensions, in units of cells.
    assert lowest.item() == pytest.approx(math.log(2 * math.pi * math.e), abs=0.01)
    for other in (spot(x + 0.02, y), spot(x, y - 0.02), spot(x, y, width=2.0)):
        assert cross_entropy(other, truth, 1.0) > lowest
    two_peaks = torch.logaddexp(spot(x - 0.2, y), spot(x + 0.2, y)) - math.log(2)
    assert cross_entropy(two_peaks, truth, 1.0) > lowest + 1  # though its mean is right


def test_a_point_outside_the_crop_draws_to_its_edge():
    outside = torch.tensor([[[1.2, 0.5]]])
    edge, away = (cross_entropy(spot(x, 0.5), outside, 1.0) for x in (0.98, 0.6))
    assert edge.isfinite() and edge < away


def test_heatmaps_are_judged_by_their_mean_and_their_cells_coordinates_by_themselves():
    recipe = Recipe(loss="wing", heatmap_weight=0.5, heatmap_sigma=1.0)
    heatmaps, truth = spot(0.4, 0.6), torch.tensor([[[0.45, 0.58]]])
    answer = soft_argmax(heatmaps)[0]
    loss, objective = (judge(heatmaps, truth, recipe) for judge in (coordinate_loss, training_loss))
    torch.testing.assert_close(loss, LOSSES["wing"](answer, truth))
    torch.testing.assert_close(objective, loss + 0.5 * cross_entropy(heatmaps, truth, 1.0))
    for judge in (coordinate_loss, training_loss):
        torch.testing.assert_close(judge(answer, truth, recipe), LOSSES["wing"](answer, truth))
