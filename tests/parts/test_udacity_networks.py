from dataclasses import replace
from functools import partial
from urllib.error import URLError

import pytest
import torch
from states import same
from test_networks import IMAGENET, imagenet_weights, meta
from torch import nn

import run_part
from common.crops import to_pixels
from common.recipe import Options
from common.system.errors import NotHereError, UserError
from common.training import init_bias_to_mean
from parts import udacity_networks
from parts.part2_full_face import FaceNet
from parts.part3_variants import NETWORKS, new_network
from parts.udacity_networks import FourConvNet, LightNet, LightNetBN, NaimishNet


@pytest.mark.parametrize("kind", [NaimishNet, LightNet, LightNetBN, FourConvNet])
def test_pooling_before_the_activation_predicts_as_the_sources_order_does(kind):
    torch.manual_seed(0)
    features = meta(kind).features.to_empty(device="cpu").eval()
    for layer in features:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    layers, sources = list(features), []
    while layers:
        layer = layers.pop(0)
        if isinstance(layer, nn.MaxPool2d):
            sources.append(layers.pop(0))
        sources.append(layer)
    faces = torch.rand(2, 1, 96, 96) - 0.5
    assert [type(layer) for layer in sources] != [type(layer) for layer in features]
    assert torch.equal(nn.Sequential(*sources)(faces), features(faces))


@pytest.mark.parametrize("name", ["NaimishNet", "LightNet", "FourConvNet"])
def test_the_last_layer_predicts_in_the_courses_unit(name):
    network = meta(udacity_networks.NETWORKS[name]).to_empty(device="cpu").eval()
    for values in network.state_dict().values():
        values.zero_()
    pixels, face = torch.rand(68, 2) * 223, torch.rand(1, 1, 224, 224) - 0.5
    network.head[-1].bias.data = ((pixels - 100) / 50).flatten()
    assert torch.allclose(to_pixels(network(face), 224, 224)[0], pixels, atol=1e-3)
    shape = torch.rand(68, 2)
    init_bias_to_mean(network, shape)
    assert torch.allclose(network(face)[0], shape, atol=1e-6)


def test_the_command_line_knows_every_network(capsys):
    with pytest.raises(SystemExit):
        run_part.main(["3", "--network", "nothing"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert all(name in line for name in NETWORKS)


def test_the_seed_draws_the_initial_weights(monkeypatch):
    monkeypatch.setitem(NETWORKS, "LightNet", partial(FaceNet, 96, 96))  # a hundredth as large
    recipe = udacity_networks.Course()
    one, again, other = (
        new_network(recipe, Options(network="LightNet", seed=seed), 68) for seed in (1, 1, 2)
    )
    assert isinstance(one, FaceNet)
    assert same(one.state_dict(), again.state_dict())
    assert not same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("more", [{"step": "coordinates"}, {"pretrained": "imagenet"}])
def test_what_only_resnet_has_is_refused_to_the_others(more):
    options = Options(network="LightNet", **more)
    with pytest.raises(UserError, match=r"--network LightNet: .* or take ResNet18"):
        new_network(options.choose(udacity_networks.RECIPES), options, 68)


def test_unreachable_weights_stop_the_run_unless_random_ones_are_allowed(monkeypatch, capsys):
    def unreachable(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(IMAGENET, "get_state_dict", unreachable)
    recipe = udacity_networks.Course()
    options = Options(network="ResNet18", pretrained="imagenet")
    with pytest.raises(NotHereError, match=r"^--pretrained: [^\n]* --allow-random[^\n]*$"):
        new_network(recipe, options, 68)
    network = new_network(recipe, replace(options, allow_random=True), 68)
    assert "going on from random weights" in capsys.readouterr().err
    random = new_network(recipe, Options(network="ResNet18"), 68)
    assert torch.equal(network.resnet.conv1.weight, random.resnet.conv1.weight)

    monkeypatch.setattr(IMAGENET, "get_state_dict", lambda *_, **__: imagenet_weights())
    weight = new_network(recipe, options, 68).resnet.layer1[0].conv1.weight
    assert torch.equal(weight, imagenet_weights()["layer1.0.conv1.weight"])
