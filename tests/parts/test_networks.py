import math
from functools import cache

import pytest
import torch
import torchvision
from small_network import checkpoint_of
from states import same
from torch import nn

from common import checkpoints
from common.heatmaps import soft_argmax
from common.recipe import Options, Recipe, reasons
from common.system.errors import UserError
from parts import part1_nose_tip as part1
from parts import part2_full_face as part2
from parts import part3_large_dataset as part3
from parts import part3_variants, udacity_networks
from parts.part1_nose_tip import NoseNet
from parts.part2_full_face import FaceNet
from parts.part3_large_dataset import HeatmapResNet18, ResNet18
from parts.part3_variants import NETWORKS, load_imagenet, new_network
from parts.udacity_networks import FourConvNet, LightNet, LightNetBN, NaimishNet

IMAGENET = torchvision.models.ResNet18_Weights


def meta(kind, **arguments):
    """A network without memory for its weights: enough to see shapes, and free."""
    with torch.device("meta"):
        return kind(**arguments)


def shapes(network, height, width):
    """The class of every leaf of the network, and the (C, H, W) or (features) that it puts out."""
    found = []

    def note(layer, _, out):
        found.append((type(layer), tuple(out.shape[1:])))

    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(note)
    network.eval()(torch.zeros(2, 1, height, width, device="meta"))
    return found


def n_parameters(network):
    return sum(weight.numel() for weight in network.parameters())


LIGHT = {
    "convolutions": ((32, 5, 220, 110), (64, 3, 108, 54), (128, 3, 52, 26), (256, 3, 24, 12),
                     (512, 1, 12, 6)),
    "after": (nn.MaxPool2d, nn.ReLU), "dense": (1024, 512), "dropouts": [0.25, 0.25],
}  # fmt: skip
SOURCES = {  # of each convolution: channels, side of its kernels, size before and after pooling
    NoseNet: {
        "convolutions": ((12, 7, (54, 74), (26, 36)), (16, 5, (22, 32), (10, 15)),
                         (32, 3, (8, 13), (3, 6))),
        "after": (nn.ReLU, nn.MaxPool2d), "dense": (200,), "dropouts": [], "numbers": 2,
        "size": (60, 80),
    },
    FaceNet: {
        "convolutions": ((4, 7, (114, 154), (57, 77)), (8, 5, (53, 73), (26, 36)),
                         (16, 3, (24, 34), (12, 17)), (32, 3, (10, 15), (5, 7)),
                         (56, 3, (3, 5), (3, 5))),
        "after": (nn.ReLU, nn.MaxPool2d), "dense": (420,), "dropouts": [], "numbers": 116,
        "size": (120, 160),
    },
    NaimishNet: {
        "convolutions": ((32, 5, 224, 112), (64, 3, 112, 56), (128, 3, 56, 28), (256, 3, 28, 14)),
        "after": (nn.MaxPool2d, nn.ELU, nn.Dropout), "dense": (2048, 1024),
        "dropouts": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    },
    LightNet: LIGHT,
    LightNetBN: LIGHT | {"after": (nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU)},
    FourConvNet: {
        "convolutions": ((32, 5, 220, 110), (64, 5, 106, 53), (128, 3, 51, 25), (256, 3, 23, 23)),
        "after": (nn.MaxPool2d, nn.ReLU), "dense": (512, 256), "dropouts": [0.25, 0.2],
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_layers_are_those_of_the_source(kind):
    network, source, expected, weights, inputs = meta(kind), SOURCES[kind], [], 0, 1
    for n, side, *sizes in source["convolutions"]:
        before, after = ((n, *torch.broadcast_to(torch.tensor(s), (2,)).tolist()) for s in sizes)
        weights, inputs, shape = weights + n * (inputs * side**2 + 1), n, before
        expected.append((nn.Conv2d, before))
        for layer in source["after"]:
            weights += 2 * n * (layer is nn.BatchNorm2d)
            shape = after if layer is nn.MaxPool2d else shape
            if layer is not nn.MaxPool2d or after != before:
                expected.append((layer, shape))
    inputs = math.prod(after)
    activation = nn.ELU if nn.ELU in source["after"] else nn.ReLU
    dense = (nn.Linear, activation, nn.Dropout) if source["dropouts"] else (nn.Linear, activation)
    for n in source["dense"]:
        weights, inputs = weights + n * (inputs + 1), n
        expected += [(layer, (n,)) for layer in dense]
    numbers = source.get("numbers", 136)
    expected.append((nn.Linear, (numbers,)))
    assert shapes(network, *source.get("size", (224, 224))) == expected
    assert n_parameters(network) == weights + numbers * (inputs + 1)
    dropouts = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == source["dropouts"]


def test_resnet_takes_one_grey_channel_and_gives_136_numbers():
    network = meta(ResNet18)
    found = shapes(network, 112, 96)
    assert (found[0][1], found[-1][1]) == ((64, 56, 48), (136,))
    # torchvision's 11,689,512 less two channels of the first layer and 864 of the 1000 classes.
    assert n_parameters(network) == 11_689_512 - 64 * 2 * 49 - 864 * 513


@pytest.mark.parametrize("name", [*NETWORKS, "HeatmapResNet18"])
def test_every_network_predicts_fractions_and_is_rebuilt_from_its_arguments(name):
    kind = checkpoints.NETWORKS[name]
    network = meta(kind, n_points=29).eval()
    assert network(torch.zeros(2, 1, 224, 224, device="meta")).shape == (2, 29, 2)
    assert n_parameters(meta(kind, **network.arguments)) == n_parameters(network)


def test_the_heatmap_network_predicts_by_a_heatmap_a_point_at_a_quarter_of_the_side():
    network = HeatmapResNet18(5).eval()
    faces = torch.randn(2, 1, 64, 96)
    heatmaps = network.heatmaps(faces)
    assert heatmaps.shape == network.train()(faces).shape == (2, 5, 16, 24)
    torch.testing.assert_close(heatmaps.exp().sum(dim=(2, 3)), torch.ones(2, 5))
    network.eval()
    torch.testing.assert_close(network.with_spread(faces), soft_argmax(network.heatmaps(faces)))
    torch.testing.assert_close(network(faces), network.with_spread(faces)[0])


@cache
def drawn_weights():
    torch.manual_seed(5)
    return torchvision.models.resnet18().state_dict()


def imagenet_weights():
    return drawn_weights().copy()


@pytest.mark.parametrize("kind", [ResNet18, HeatmapResNet18])
def test_imagenet_weights_see_a_grey_picture_as_they_saw_it_in_colour(monkeypatch, kind):
    loaded = torchvision.models.resnet18()
    loaded.load_state_dict(imagenet_weights())
    monkeypatch.setattr(IMAGENET, "get_state_dict", lambda *_, **__: imagenet_weights())
    network = kind()
    load_imagenet(network.resnet)
    grey = torch.rand(1, 1, 64, 64)
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    seen = loaded.conv1(grey.expand(1, 3, 64, 64) / deviation)
    torch.testing.assert_close(network.resnet.conv1(grey), seen, atol=1e-4, rtol=1e-4)
    block = torch.rand(1, 64, 16, 16)
    torch.testing.assert_close(network.resnet.layer1.eval()(block), loaded.layer1.eval()(block))


def test_the_other_head_begins_with_a_checkpoints_weights_and_its_own_last_layer(tmp_path):
    torch.manual_seed(7)
    taught = HeatmapResNet18().half()
    path = checkpoint_of(tmp_path / "taught.pt", taught)
    recipe = part3.Best(head="coordinates")
    random = new_network(recipe, Options(seed=3), 68)
    begun = new_network(recipe, Options(seed=3, pretrained=str(path)), 68)
    last = {name: values for name, values in random.state_dict().items() if "resnet.fc" in name}
    expected = taught.float().state_dict() | last
    assert same(begun.state_dict(), {name: expected[name] for name in begun.state_dict()})


def test_a_checkpoint_of_which_nothing_fits_is_refused(tmp_path):
    path = checkpoint_of(tmp_path / "nose.pt", NoseNet())
    with pytest.raises(UserError, match=rf"{path}: none of its weights fits; take"):
        new_network(part3.Best(), Options(pretrained=str(path)), 68)


@pytest.mark.parametrize("part", [part1, part2, part3, udacity_networks, part3_variants])
def test_every_line_of_a_recipe_has_its_reason(part):
    for kind in part.RECIPES.values():
        own = [field for each in kind.__mro__[-3::-1] for field in each.__annotations__]
        explained = reasons(kind())
        assert [field for field, _, _ in explained] == list(dict.fromkeys(own))
        assert set(own) <= set(Recipe.__annotations__)
        assert all(value == str(getattr(kind(), field)) for field, value, _ in explained)


@pytest.mark.parametrize(
    ("part", "loss", "batch", "rate", "rotation"),
    [
        (part1, "mse", 1, 1e-3, 0.0),
        (part2, "mse", 1, 1e-4, 10.0),
        (part3, "mse", 1, 1e-3, 10.0),
        (udacity_networks, "smooth_l1_course", 16, 1e-4, 0.0),
    ],
)
def test_the_course_recipe_is_that_of_its_source(part, loss, batch, rate, rotation):
    course = part.RECIPES["course"]()
    assert (course.optimizer, course.loss, course.batch) == ("adam", loss, batch)
    assert (course.flip, course.cosine, course.ema_decay) == (0.0, False, 0.0)
    assert (course.learning_rate, course.rotation) == (rate, rotation)
    if part is part2:
        assert course.colour
        assert min(course.brightness, course.contrast, course.saturation, course.hue) > 0
