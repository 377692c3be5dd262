import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.report.first_kernels import KernelKind, choose, kind_of, respond
from common.report.page import templates

SIDE = 41


def sentence(found):
    """What a page says of a kernel."""
    return templates().get_template("pieces.html").module.responds(found).strip()


def slope(degrees, n=5):
    """A kernel that grows in a direction, clockwise from the right."""
    side = torch.linspace(-1, 1, n)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))


def step(degrees):
    """A picture that is dark, and bright on the side to which ``degrees`` point."""
    return torch.where(slope(degrees, SIDE) > 0, 200, 50).to(torch.uint8)


def bar(degrees):
    """A grey picture with a bright line through its middle that runs along ``degrees``."""
    away = slope(degrees + 90, SIDE).abs()
    return torch.where(away < 0.06, 250, 100).to(torch.uint8)


@pytest.mark.parametrize("n", [3, 5, 7])
def test_an_edge_is_named_with_the_side_that_is_brighter(n):
    sides = "right, lower right, bottom, lower left, left, upper left, top, upper right"
    for degrees, side in zip(range(0, 360, 45), sides.split(", "), strict=True):
        found = kind_of(slope(degrees, n))
        assert found == KernelKind("edge", pytest.approx(1), angle=pytest.approx(degrees, abs=1e-3))
        assert f"brighter at the {side} " in sentence(found)


@settings(max_examples=40)
@given(st.floats(0, 359.9))
def test_an_edge_kernel_responds_most_to_the_edge_that_its_sentence_names(degrees):
    kernel = slope(degrees)
    found = kind_of(kernel)
    along, across, against = (
        respond(step(found.angle + turn), kernel)[SIDE // 2, SIDE // 2].item()
        for turn in (0, 90, 180)
    )
    assert along > across > against and along > 0 > against


@pytest.mark.parametrize(
    ("degrees", "way"), [(0, "horizontally"), (45, "down"), (90, "vertically"), (135, "up")]
)
def test_a_line_is_named_with_its_direction_and_has_the_largest_response(degrees, way):
    along, away = slope(degrees), slope(degrees + 90)
    kernel = along.square() - away.square()
    found = kind_of(kernel)
    assert (found.kind, found.angle) == ("line", pytest.approx(degrees, abs=1e-3))
    assert f"A bright line that runs {way}" in sentence(found)
    responses = [respond(bar(turn), kernel)[SIDE // 2, SIDE // 2] for turn in (0, 45, 90, 135)]
    assert 45 * np.argmax(responses) == degrees


@pytest.mark.parametrize("sign", [1, -1])
def test_a_spot_and_an_even_grey_are_named_with_their_signs(sign):
    bowl, word = slope(0).square() + slope(90).square(), "bright" if sign > 0 else "dark"
    for name, kernel, said in (
        ("spot", bowl.mean() - bowl, f"A {word} spot (100 % of its energy)."),
        ("grey", torch.ones(5, 5), f"A {word} area"),
    ):
        found = kind_of(sign * kernel)
        assert found == KernelKind(name, pytest.approx(1), sign=sign)
        assert sentence(found).startswith(said)


def test_the_shares_of_a_mixture_are_its_energies():
    edge, grey = slope(30), torch.ones(5, 5)
    edge, grey = edge / edge.norm(), grey / grey.norm()
    assert kind_of(3 * edge + 4 * grey) == KernelKind("grey", pytest.approx(16 / 25))
    angle = pytest.approx(30, abs=1e-3)
    assert kind_of(4 * edge + 3 * grey) == KernelKind("edge", pytest.approx(16 / 25), angle=angle)
    assert kind_of(torch.zeros(5, 5)).share == 0


def test_the_purest_of_each_kind_and_of_both_ways_of_edges_is_chosen():
    noise = 0.2 * torch.randn(6, 5, 5, generator=torch.Generator().manual_seed(0))
    pure = [slope(0), slope(90), torch.ones(5, 5)]
    impure = [slope(10) + noise[0], slope(80) + noise[1], torch.ones(5, 5) + noise[2]]
    chosen = choose(torch.stack([*impure, *pure]))
    assert list(chosen) == [4, 3, 5]
    assert [found.kind for found in chosen.values()] == ["edge", "edge", "grey"]


def test_kernels_that_are_mostly_noise_are_left_out_unless_all_are():
    flicker = torch.tensor([1.0, -1]).repeat(13)[:25].view(5, 5)  # fits no pattern but a little
    faint = flicker + 0.15 * slope(0)
    assert kind_of(faint).share < 0.2
    fainter = flicker + 0.1 * torch.ones(5, 5)
    assert list(choose(torch.stack([faint, torch.ones(5, 5), fainter]))) == [1]
    assert len(choose(torch.stack([faint, fainter]))) == 1


def test_the_response_is_a_networks_own():
    torch.manual_seed(0)
    image = torch.randint(0, 256, (20, 30), dtype=torch.uint8)
    kernel = torch.randn(5, 5)
    values = image.float()[None, None] / 255 - 0.5
    expected = torch.nn.functional.conv2d(values, kernel[None, None])[0, 0]
    torch.testing.assert_close(respond(image, kernel)[2:-2, 2:-2], expected, atol=1e-4, rtol=1e-4)
