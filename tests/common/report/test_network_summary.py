from unittest.mock import Mock

import pytest
import torch
from made_up_reports import SmallNet
from torch import nn
from torchvision.models import resnet18

from common.report import network_summary
from common.report.network_summary import layers, milliseconds, multiply_adds
from parts.part3_large_dataset import ResNet18


def test_layers_are_listed_with_shapes_and_parameters():
    rows = layers(SmallNet(), torch.zeros(1, 1, 48, 64))
    assert [(row.name, row.output, row.parameters) for row in rows] == [
        *(("Conv2d", "6 × 44 × 60", 6 * 26), ("ReLU", "6 × 44 × 60", 0)),
        *(("MaxPool2d", "6 × 22 × 30", 0), ("Conv2d", "10 × 20 × 28", 10 * 55)),
        *(("ReLU", "10 × 20 × 28", 0), ("AdaptiveAvgPool2d", "10 × 1 × 1", 0)),
        *(("Flatten", "10", 0), ("Linear", "116", 11 * 116), ("Unflatten", "58 × 2", 0)),
    ]


def test_a_resnet_is_listed_by_its_blocks_and_nothing_is_counted_twice():
    network = resnet18()
    rows = layers(network, torch.zeros(1, 3, 64, 64))
    assert [row.name for row in rows].count("BasicBlock") == 8 and len(rows) == 14
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_multiply_adds_of_layers_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(2, 8, (3, 5), stride=2, padding=1, groups=2),  # 10 x 14 -> 5 x 6
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 5 * 6, 7),
    )
    image = torch.zeros(1, 2, 10, 14)
    assert multiply_adds(network, image) == 8 * 5 * 6 * (1 * 3 * 5) + 8 * 5 * 6 * 7


def test_multiply_adds_of_resnet18_are_the_papers_1800_million():
    # He et al., table 1: 1.8 billion with three colours and 1000 classes. Two colours fewer are
    # 2 · 49 · 64 · 112² less, and 864 classes fewer 864 · 512.
    with torch.device("meta"):
        ours = multiply_adds(ResNet18(), torch.zeros(1, 1, 224, 224))
    in_colour = ours + 2 * 49 * 64 * 112**2 + 864 * 512
    assert round(in_colour / 1e9, 1) == 1.8


def test_milliseconds_are_the_median_without_the_first_two(monkeypatch):
    took = iter([9.0, 9.0, 0.03, 0.01, 0.02])  # seconds a call; the clock is read before and after
    clock = [0.0]
    network = Mock(side_effect=lambda _image: clock.append(clock[-1] + next(took)))
    monkeypatch.setattr(network_summary.time, "perf_counter", lambda: clock[-1])
    assert milliseconds(network, torch.zeros(1, 1, 4, 4), times=3) == pytest.approx(20)
