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

IMAGENET = torchvision.models.ResNet18_Weights


def meta(kind, **arguments):
    """A network without memory for its weights: enough to see shapes, and free."""
    with torch.device("meta"):
        return kind(**arguments)


def shapes(network, height, width):
    """The shape (C, H, W) or (features) that every leaf of the network puts out, in order."""
    found = []
    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _, __, out: found.append(tuple(out.shape[1:])))
    network.eval()(torch.zeros(2, 1, height, width, device="meta"))
    return found


def kinds(network):
    return [type(layer) for layer in network.modules() if not list(layer.children())]


def n_parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def test_nose_net_is_the_courses():
    network = meta(NoseNet)
    assert shapes(network, 60, 80) == [
        (12, 54, 74), (12, 54, 74), (12, 26, 36),
        (16, 22, 32), (16, 22, 32), (16, 10, 15),
        (32, 8, 13), (32, 8, 13), (32, 3, 6),
        (200,), (200,), (2,),
    ]  # fmt: skip
    convolution = [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert kinds(network) == convolution * 3 + [nn.Linear, nn.ReLU, nn.Linear]
    # 12(49 + 1) + 16(12·25 + 1) + 32(16·9 + 1) + 200(576 + 1) + 2(200 + 1)
    assert n_parameters(network) == 600 + 4816 + 4640 + 115400 + 402


def test_face_net_is_the_courses_with_two_more_points():
    network = meta(FaceNet)
    found = shapes(network, 120, 160)
    assert found[::3][:5] == [(4, 114, 154), (8, 53, 73), (16, 24, 34), (32, 10, 15), (56, 3, 5)]
    assert found[2:12:3] == [(4, 57, 77), (8, 26, 36), (16, 12, 17), (32, 5, 7)]
    assert found[-3:] == [(420,), (420,), (116,)]
    assert kinds(network).count(nn.MaxPool2d) == 4
    assert n_parameters(network) == (
        200 + 808 + 1168 + 4640 + 56 * (32 * 9 + 1) + 420 * 841 + 116 * 421
    )


def test_resnet_takes_one_grey_channel_and_gives_136_numbers():
    network = meta(ResNet18)
    found = shapes(network, 112, 96)
    assert (found[0], found[-1]) == ((64, 56, 48), (136,))
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


def imagenet_weights():
    torch.manual_seed(5)
    return torchvision.models.resnet18().state_dict()


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
