"""How sure placed points are, and the second look, with networks whose heatmaps are known."""

import math

import dots
import numpy as np
import pytest
import torch
from torch import nn

from common.crops import crop_matrices, square_boxes, to_fractions, transform_points
from common.faces import landmark_boxes
from common.keypoints import IBUG_68
from common.photos.detectors import Detector
from common.photos.finder import FaceKeypoints
from common.photos.placement import UNCERTAINTY, Look, second_look
from common.recipe import Recipe
from datasets.synthetic.render import render
from parts.toolkit import face_keypoints

CELLS, SIDE = 20, 80
RECIPE = Recipe(height=SIDE, width=SIDE, box_scale=1.25, heatmap_weight=0.1, heatmap_sigma=1.0)
SPOT = np.array([80.0, 60.0])
IMAGE = dots.draw([SPOT], 120, 160, sigma=3)
HALF = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (68, 2)), dtype=torch.float32)
SHAPE = HALF + HALF[IBUG_68.flip_order] * torch.tensor([-1.0, 1.0])  # symmetric, as faces are
for left, right in IBUG_68.flip_pairs:
    SHAPE[left, 0], SHAPE[right, 0] = -SHAPE[left, 0].abs(), SHAPE[left, 0].abs()
SHAPE = SHAPE / (SHAPE.amax(0) - SHAPE.amin(0))
SHAPE = SHAPE - (SHAPE.amax(0) + SHAPE.amin(0)) / 2  # its box is 1 x 1 about the spot


class Gaussians(nn.Module):
    """Heatmaps of Gaussians, ``width`` cells wide, about points that lie around the bright spot of
    the crop: a face of ``face`` pixels of the photo. Points are moved to the right by half of
    ``off``, and so, mirrored back, those of mirror images to the left."""

    def __init__(self, width=1.5, face=50.0, off=0.0, wider_when_centred=False):
        super().__init__()
        self.off = nn.Parameter(torch.tensor(off))
        self.width, self.face, self.wider = width, face, wider_when_centred
        self.looks, self.seen = [], 0

    def forward(self, faces):
        """Fractions alone, for mirror images."""
        self.seen += len(faces)
        return self.fractions(faces)[0]

    def fractions(self, faces):
        light = (faces[:, 0] + 0.5).clamp(min=0)
        light = light * (light > 0.2)
        at = (torch.arange(SIDE) + 0.5) / SIDE
        total = light.sum(dim=(1, 2))
        spot = torch.stack([light.sum(1) @ at / total, light.sum(2) @ at / total], dim=1)  # (B, 2)
        # The spot shows the scale: the number of bright pixels of a Gaussian cut at a fifth.
        pixels = (light > 0).sum(dim=(1, 2)) / (2 * math.pi * 3**2 * math.log(5))
        scale = pixels.sqrt() * self.face / SIDE  # the face's side as a fraction of the crop's
        moved = self.off / 2 * torch.tensor([1.0, 0.0])
        return spot[:, None] + SHAPE * scale[:, None, None] + moved, spot

    def heatmaps(self, faces):
        points, spot = self.fractions(faces)
        self.looks.append(spot[0].tolist())
        self.seen += len(faces)
        centred = (spot - 0.5).abs().amax(dim=1) < 0.02
        width = torch.where(centred & self.wider, 3.0, self.width)[:, None, None]
        cells = (torch.arange(CELLS) + 0.5) / CELLS
        x, y = (
            -0.5 * ((cells - points[..., [axis]]) * CELLS / width).square() for axis in (0, 1)
        )  # (B, 68, cells)
        maps = y[..., None] + x[..., None, :]
        return maps.flatten(2).log_softmax(dim=-1).view_as(maps)


def finder(network, box=None, recipe=RECIPE):
    detector = Detector("a test's", lambda image: (np.array([box]), np.ones(1)), 640, (0, 0, 1))
    return FaceKeypoints(network, recipe, detector, torch.device("cpu"))


GOOD = np.array([[*(SPOT + 0.5 - 25), 50.0, 50.0]])


@pytest.mark.parametrize(("width", "off"), [(1.5, 0.0), (2.0, 0.0), (1.0, 0.02), (1.5, 0.03)])
def test_the_uncertainty_is_that_of_the_gaussian_and_of_the_flip_in_pixels_of_the_photo(width, off):
    (face,) = finder(Gaussians(width, off=off)).predict(IMAGE, GOOD)
    crop = 50 * 1.25  # pixels of the photo; variances in x and in y add, the target's is 1 cell
    excess = math.sqrt(2 * (width**2 - 1)) / CELLS
    expected = UNCERTAINTY * crop * math.hypot(excess, off)
    inner = np.abs(SHAPE.numpy()).max(axis=1) < 0.2  # wide Gaussians reach beyond the crop
    np.testing.assert_allclose(face.uncertainty[inner], expected, rtol=0.06, atol=0.1)


def test_the_narrower_the_heatmaps_the_higher_the_confidence():
    sure, unsure, lost = (finder(Gaussians(w)).predict(IMAGE, GOOD)[0] for w in (1.05, 1.3, 4.0))
    assert sure.confidence > 0.99 > unsure.confidence > 0.1 > lost.confidence
    (coordinates,) = finder(Gaussians(), recipe=Recipe(height=SIDE, width=SIDE)).predict(
        IMAGE, GOOD
    )
    assert coordinates.uncertainty is None
    assert coordinates.confidence > 0.99  # by the flip alone


@pytest.mark.parametrize(
    ("move", "size"), [((0, 0), 1.0), ((5, 0), 1.0), ((0, -4), 1.1), ((0, 0), 1.3)]
)
def test_a_face_is_looked_at_again_where_its_box_was_off(move, size):
    network, box = Gaussians(1.05), GOOD[0] + [*(np.array(move) - 25 * (size - 1)), 0, 0]
    box[2:] *= size
    (face,) = finder(network, box).predict(IMAGE)
    again = size != 1 or move != (0, 0)
    assert len(network.looks) == 1 + again
    assert network.seen == 2 + again  # the look that counts has its mirror image, no other
    np.testing.assert_allclose(network.looks[-1], [0.5, 0.5], atol=0.02)
    np.testing.assert_allclose(face.keypoints, SPOT + 50 * SHAPE.numpy(), atol=1.5)


def test_of_two_looks_the_surer_one_counts():
    (face,) = finder(Gaussians(), GOOD[0] + [12, 0, 0, 0]).predict(IMAGE)
    (kept,) = finder(Gaussians(wider_when_centred=True), GOOD[0] + [12, 0, 0, 0]).predict(IMAGE)
    assert kept.confidence == pytest.approx(face.confidence, abs=0.05)
    assert kept.uncertainty.mean() < 1.3 * face.uncertainty.mean()


@pytest.mark.parametrize(("size", "kept"), [(0.75, 0.75), (1.4, 1.0)])
def test_the_spreads_of_two_looks_are_compared_in_pixels_of_the_photo(size, kept):
    truth = torch.from_numpy(SPOT).float() + 50 * SHAPE[None]  # (1, 68, 2)

    def look_at(boxes, angles, flip):
        matrices = crop_matrices(torch.from_numpy(boxes).float(), SIDE, SIDE)
        fractions = to_fractions(transform_points(truth, matrices), SIDE, SIDE)
        spread = torch.full((1, 68), 0.07)  # of every crop, so that wide crops are less exact
        faces = torch.zeros(1, 1, SIDE, SIDE)
        return Look(faces, matrices, fractions, spread, torch.full_like(fractions, torch.nan))

    box = np.array([[*(SPOT + 0.5 - 25 * size), 50 * size, 50 * size]])
    look = second_look(look_at, box, np.zeros(1))
    assert look.sides().item() == pytest.approx(50 * kept, rel=1e-3)


def test_two_boxes_that_lead_to_one_face_give_one():
    boxes = GOOD[[0, 0]] + [[0, 0, 0, 0], [28, -8, 0, 0]]  # they overlap by less than two faces do
    detector = Detector("a test's", lambda image: (boxes, np.ones(2)), 640, (0, 0, 1))
    found = FaceKeypoints(Gaussians(1.05), RECIPE, detector, torch.device("cpu")).predict(IMAGE)
    assert len(found) == 1
    np.testing.assert_allclose(found[0].keypoints, SPOT + 50 * SHAPE.numpy(), atol=1.5)


@pytest.mark.slow
def test_the_shipped_network_is_sure_of_faces_and_unsure_of_profiles():
    shipped = face_keypoints(device="cpu")

    def confidences(yaw):
        heads = {"size": (200, 200), "leave_out": ("occluders",), "yaw": yaw}
        images, truth, _ = render(range(4), IBUG_68, **heads)
        boxes = square_boxes(landmark_boxes(truth), 1.0)[:, None].numpy()
        return [
            shipped.predict(image.permute(1, 2, 0).numpy(), box)[0].confidence
            for image, box in zip(images, boxes, strict=True)
        ]

    assert min(confidences(15)) > 0.9
    assert max(confidences(-80) + confidences(80)) < 0.3
