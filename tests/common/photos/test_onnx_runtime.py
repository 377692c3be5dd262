import sys

import pytest
import torch
from small_network import checkpoint_of

from common.photos import onnx_runtime
from common.photos.onnx_runtime import Int8Heatmaps, int8_heatmaps
from common.recipe import Recipe
from parts import toolkit
from parts.part3_large_dataset import HeatmapResNet18, ResNet18

FACES = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.fixture(scope="module")
def network():
    list(map(pytest.importorskip, ("onnx", "onnxscript", "onnxruntime")))
    torch.manual_seed(0)
    network = HeatmapResNet18(channels=16)
    network.train()(FACES)  # batch normalisation has seen some noise
    network.maps[-1].weight.data *= 10  # peaks, as after training
    return network.eval()


@pytest.fixture(scope="module")
def kept(network, tmp_path_factory):
    """The cache folder in which the network in int8 is kept."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FACE_CACHE", str(folder))
        int8_heatmaps(network, (64, 64), lambda: FACES)
    return folder


@pytest.mark.slow
def test_it_is_made_once_and_predicts_nearly_as_pytorch_does(network, kept, monkeypatch, capsys):
    monkeypatch.setenv("FACE_CACHE", str(kept))
    monkeypatch.setattr(onnx_runtime, "quantised", None)  # is not made again
    int8 = Int8Heatmaps(int8_heatmaps(network, (64, 64), lambda: FACES), 1)
    assert len(list(kept.iterdir())) == 1 and capsys.readouterr().err == ""
    with torch.inference_mode():
        off = 64 * (int8(FACES) - network(FACES)).norm(dim=-1)  # (8, 68)
    assert 0 < off.mean() < 0.5


@pytest.mark.slow
def test_other_weights_are_another_file(network, kept, monkeypatch):
    monkeypatch.setenv("FACE_CACHE", str(kept))
    made = []
    monkeypatch.setattr(onnx_runtime, "as_onnx", lambda *_: b"")
    monkeypatch.setattr(onnx_runtime, "quantised", lambda *_: made.append(1) or b"no model")
    other = HeatmapResNet18(channels=16)
    assert int8_heatmaps(other, (64, 64), lambda: FACES) == b"no model"
    assert len(made) == 1 and len(list(kept.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 1000, -1000])
def test_a_damaged_file_is_made_again(network, kept, monkeypatch, tmp_path, left):
    monkeypatch.setenv("FACE_CACHE", str(tmp_path))
    file = max(kept.iterdir(), key=lambda file: file.stat().st_size)
    whole = file.read_bytes()
    (tmp_path / file.name).write_bytes(whole[:left])
    monkeypatch.setattr(onnx_runtime, "as_onnx", lambda *_: b"")
    monkeypatch.setattr(onnx_runtime, "quantised", lambda *_: whole)
    assert int8_heatmaps(network, (64, 64), lambda: FACES) == whole
    assert (tmp_path / file.name).read_bytes() == whole


@pytest.mark.usefixtures("network")
def test_where_the_cache_cannot_be_written_a_line_says_so(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(onnx_runtime, "as_onnx", lambda *_: b"")
    monkeypatch.setattr(onnx_runtime, "quantised", lambda *_: b"a model")
    assert int8_heatmaps(HeatmapResNet18(), (64, 64), lambda: FACES) == b"a model"
    *_, last = capsys.readouterr().err.splitlines()
    assert "cannot be written" in last and last.endswith("set FACE_CACHE to another folder")


@pytest.mark.parametrize(
    ("engine", "video", "device", "installed", "taken"),
    [
        ("auto", True, "cpu", True, True),
        ("auto", True, "cpu", False, False),
        ("auto", True, "meta", True, False),
        ("auto", False, "cpu", True, False),
        ("onnx", False, "cpu", False, True),  # and a line names the missing package
        ("torch", True, "cpu", True, False),
    ],
)
def test_videos_take_it_where_it_is_installed(monkeypatch, engine, video, device, installed, taken):
    monkeypatch.setattr(toolkit, "is_installed", lambda: installed)
    network = HeatmapResNet18(channels=16)
    assert toolkit._takes_onnx(network, engine, torch.device(device), video) is taken
    assert not toolkit._takes_onnx(ResNet18(), "auto", torch.device("cpu"), True)


def test_a_network_without_heatmaps_is_refused_in_one_line(command, tmp_path):
    file = checkpoint_of(
        tmp_path / "net.pt", ResNet18(), Recipe(64, 64, 8, 1.3),
        scheme="ibug68", point_ids=list(range(68)), dataset="synthetic",
    )  # fmt: skip
    status, _, errors = command("predict", "--engine", "onnx", "--checkpoint", file, "photo.jpg")
    assert status == 2 and errors[-1] == (
        "error: --engine onnx: for networks with heatmaps on the CPU; leave it out"
    )


def test_without_the_packages_one_line_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(onnx_runtime.UserError, match=r"onnx.* is missing.*pip install"):
        toolkit.face_keypoints(detector="haar", device="cpu", engine="onnx")
