from dataclasses import replace

import pytest
import torch
from torch import nn

from common.inference import predict_keypoints
from common.recipe import Recipe

RECIPE = Recipe(height=20, width=30, margin=2)
PLACES = torch.tensor([[4, 5], [17, 3], [12, 14]])  # (3, 2) of 30 x 20 pixels


class Brightest(nn.Module):
    """Predicts two points: the brightest pixel, and the one that lies 2 to the right of it."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(2.0))
        self.batches = []

    def forward(self, faces):
        assert not self.training
        self.batches.append(len(faces))
        place = faces.flatten(1).argmax(dim=1)  # (B,)
        x, y = place % 30, place // 30
        two = torch.stack([x, y, x + self.by, y], dim=1).unflatten(1, (2, 2))  # (B, 2, 2)
        return (two + 0.5) / torch.tensor([30.0, 20.0])


def pictures(places):
    images = torch.zeros(len(places), 1, 24, 34, dtype=torch.uint8)
    for image, (x, y) in zip(images, places.tolist(), strict=True):
        image[0, y + 2, x + 2] = 200
    return images


@pytest.mark.parametrize(("flip_tta", "first", "second"), [(False, 0, 2), (True, -1, 1)])
def test_predictions_are_pixels_of_the_crop_also_those_of_the_mirror_image(flip_tta, first, second):
    recipe = replace(RECIPE, flip_tta=flip_tta)
    predicted = predict_keypoints(Brightest(), pictures(PLACES), torch.tensor([1, 0]), recipe)
    # In the mirror image the second point is found to the other side, and renamed the first:
    # the first is predicted at 0 and at -2, the second at 2 and at 0; then the mean is taken.
    expected = [PLACES + torch.tensor([by, 0.0]) for by in (first, second)]
    torch.testing.assert_close(predicted, torch.stack(expected, dim=1))


def test_many_faces_are_predicted_in_batches_and_in_order():
    places = torch.stack([torch.arange(300) % 28, torch.arange(300) % 19], dim=1)
    network = Brightest()
    predicted = predict_keypoints(network, pictures(places), torch.tensor([1, 0]), RECIPE)
    torch.testing.assert_close(predicted[:, 0], places.float())
    assert len(network.batches) > 1 and sum(network.batches) == 300
