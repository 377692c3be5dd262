import math

import pytest
import torch
from torch import nn

from common.report.explanation_page import PATCH, Subject, _heatmap, feature_maps, occlusion
from parts.part3_large_dataset import HeatmapResNet18, ResNet18
from parts.udacity_networks import NETWORKS

SIDE = 48


class Balance(nn.Module):
    """The first point is the centre of what is bright in the left half of the picture; the second
    never moves."""

    def forward(self, faces):
        light = (faces[:, 0] + 0.5)[:, :, : SIDE // 2]  # (B, h, w / 2)
        mass = light.sum(dim=(1, 2)).clamp(min=1e-6)
        x = (light.sum(dim=1) * torch.arange(SIDE // 2)).sum(dim=1) / mass
        y = (light.sum(dim=2) * torch.arange(SIDE)).sum(dim=1) / mass
        first = (torch.stack([x, y], dim=1) + 0.5) / SIDE
        return torch.stack([first, torch.full_like(first, 0.25)], dim=1)


def test_a_point_depends_on_the_places_that_the_network_reads():
    face = torch.full((1, 1, SIDE, SIDE), -0.5)
    face[..., 9:12, 5:8] = face[..., 33:36, 13:16] = 0.5
    middles, moved = occlusion(Balance(), face)
    torch.testing.assert_close(occlusion(Balance(), face, batch=1000)[1], moved)
    assert moved[:, 1].max() == 0
    torch.testing.assert_close(middles.mean(dim=0), torch.tensor([(SIDE - 1) / 2] * 2))
    # Hiding one of two equal spots moves the centre halfway, to the other one.
    for spot in ((6.0, 10.0), (14.0, 34.0)):
        nearest = (middles - torch.tensor(spot)).norm(dim=1).argmin()
        assert moved[nearest, 0] == pytest.approx(math.hypot(8, 24) / 2, rel=0.2)
    # What lies to the right of the half that is read moves nothing.
    unread = middles[:, 0] > SIDE / 2 + PATCH * SIDE / 2
    assert moved[unread, 0].max() < 1e-4


def uninitialised(network):
    """A network of this class with any weights: for large ones drawing them takes seconds."""
    with torch.device("meta"):
        made = network()
    return made.to_empty(device="cpu").eval()


def test_of_every_size_the_layer_with_the_most_maps_is_shown():
    face = torch.rand(1, 1, 96, 96) - 0.5
    for network in map(uninitialised, (ResNet18, HeatmapResNet18)):
        shown = {name: tuple(maps.shape) for name, maps in feature_maps(network, face).items()}
        last = {"maps": (68, 24, 24)} if hasattr(network, "maps") else {}
        first = {"resnet.relu": (64, 48, 48)} | ({} if last else {"resnet.layer1": (64, 24, 24)})
        sizes = ((128, 12, 12), (256, 6, 6), (512, 3, 3))
        deep = {f"resnet.layer{n}": size for n, size in enumerate(sizes, 2)}
        assert list(shown.items()) == list((first | deep | last).items())


def test_the_maps_are_those_that_the_next_layer_gets_also_where_it_works_in_place():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True))
    face = torch.randn(1, 1, 10, 10)
    maps = feature_maps(network, face)
    with torch.inference_mode():
        torch.testing.assert_close(maps["0"], network[0](face)[0])
        torch.testing.assert_close(maps["2"], network(face)[0])
    assert not network[2]._forward_hooks


@pytest.mark.parametrize("name", ["NaimishNet", "LightNetBN"])
def test_networks_of_another_build_show_their_layers_too(name):
    maps = feature_maps(uninitialised(NETWORKS[name]), torch.rand(1, 1, 224, 224) - 0.5)
    sizes = [shown.shape[-1] for shown in maps.values()]
    assert len(set(sizes)) == len(sizes) >= 3


def test_the_spread_of_a_heatmap_is_in_pixels():
    torch.manual_seed(0)
    face = torch.rand(1, 1, 96, 96) - 0.5
    network = HeatmapResNet18().eval()
    subject = Subject("one", network, "one.pt", face, n_faces=1)
    probabilities, spread = _heatmap(subject, 30)  # (24, 24), cells of 4 pixels
    y, x = torch.meshgrid(*(4 * torch.arange(n) + 1.5 for n in probabilities.shape), indexing="ij")
    middles = [(axis, (probabilities * axis).sum()) for axis in (x, y)]
    variance = sum((probabilities * (axis - middle) ** 2).sum() for axis, middle in middles)
    assert spread == pytest.approx(variance.sqrt().item(), rel=1e-4)
