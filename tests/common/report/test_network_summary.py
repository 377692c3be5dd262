import torch
from test_part_page import SmallNet
from torchvision.models import resnet18

from common.report.network_summary import layers


def test_layers_are_listed_with_shapes_and_parameters():
    rows = layers(SmallNet(), torch.zeros(1, 1, 48, 64))
    assert [(row.name, row.output, row.parameters) for row in rows] == [
        ("Conv2d", "6 × 44 × 60", 6 * 26),
        ("ReLU", "6 × 44 × 60", 0),
        ("MaxPool2d", "6 × 22 × 30", 0),
        ("Conv2d", "10 × 20 × 28", 10 * 55),
        ("ReLU", "10 × 20 × 28", 0),
        ("AdaptiveAvgPool2d", "10 × 1 × 1", 0),
        ("Flatten", "10", 0),
        ("Linear", "116", 11 * 116),
    ]


def test_a_resnet_is_listed_by_its_blocks_and_nothing_is_counted_twice():
    network = resnet18()
    rows = layers(network, torch.zeros(1, 3, 64, 64))
    assert [row.name for row in rows].count("BasicBlock") == 8 and len(rows) == 14
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in network.parameters())
