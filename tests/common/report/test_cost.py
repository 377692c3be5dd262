import time

import torch
from common.report.cost import milliseconds, multiply_adds
from torch import nn

from parts.part3_large_dataset import ResNet18
from parts.udacity_networks import FourConvNet, LightNetBN


def test_layers_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(2, 8, (3, 5), stride=2, padding=1, groups=2),  # 10 x 14 -> 5 x 6
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 5 * 6, 7),
    )
    image = torch.zeros(1, 2, 10, 14)
    assert multiply_adds(network, image) == 8 * 5 * 6 * (1 * 3 * 5) + 8 * 5 * 6 * 7
    assert not any(layer._forward_hooks for layer in network.modules())


def test_the_udacity_networks_counted_by_hand():
    image = torch.zeros(1, 1, 224, 224)
    light = (
        220**2 * 32 * 25 + 108**2 * 64 * 32 * 9 + 52**2 * 128 * 64 * 9 + 24**2 * 256 * 128 * 9
        + 12**2 * 512 * 256 + 18432 * 1024 + 1024 * 512 + 512 * 136
    )  # fmt: skip
    assert multiply_adds(LightNetBN(), image) == light
    four = (
        220**2 * 32 * 25 + 106**2 * 64 * 32 * 25 + 51**2 * 128 * 64 * 9 + 23**2 * 256 * 128 * 9
        + 135424 * 512 + 512 * 256 + 256 * 136
    )  # fmt: skip
    assert multiply_adds(FourConvNet(), image) == four


def test_resnet18_is_the_papers_1800_million():
    # He et al., table 1: 1.8 billion with three colours and 1000 classes. Two colours fewer are
    # 2 · 49 · 64 · 112² less, and 864 classes fewer 864 · 512.
    image = torch.zeros(1, 1, 224, 224)
    in_colour = multiply_adds(ResNet18(), image) + 2 * 49 * 64 * 112**2 + 864 * 512
    assert round(in_colour / 1e9, 1) == 1.8


def test_milliseconds_are_those_of_a_network_that_waits():
    class Slow(nn.Module):
        def forward(self, faces):
            time.sleep(0.02)
            return faces

    assert 20 <= milliseconds(Slow(), torch.zeros(1, 1, 4, 4), times=3) < 200
