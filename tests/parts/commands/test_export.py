import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_network import checkpoint_of

from common import checkpoints
from common.crops import crop_and_resize, crop_boxes, crop_matrices, inverse, transform_points
from common.faces import landmark_boxes
from common.inference import predict_keypoints
from common.keypoints import IBUG_68, SCHEMES
from common.recipe import Recipe
from datasets import catalog, ibug
from datasets.synthetic.render import render
from parts.commands import export
from parts.part1_nose_tip import NOSE, NoseNet
from parts.part2_full_face import FaceNet
from parts.part3_large_dataset import HeatmapResNet18, ResNet18

FLIPPED = Recipe(64, 64, 8, 1.3, flip_tta=True)
NETWORKS = {  # class, arguments, recipe, scheme, kept, data set
    "nose": (NoseNet, {}, Recipe(60, 80), "imm58", NOSE, "imm"),
    "full face": (FaceNet, {}, Recipe(120, 160), "imm58", range(58), "synthetic"),
    "coordinates": (ResNet18, {}, Recipe(64, 64, 8, 1.3), "ibug68", range(68), "mixed"),
    "heatmap": (HeatmapResNet18, {"channels": 16}, FLIPPED, "ibug68", range(68), "ibug"),
}


def trained(name, path):
    """The checkpoint of a network whose batch normalisation has seen some noise."""
    kind, arguments, recipe, scheme, kept, dataset = NETWORKS[name]
    torch.manual_seed(0)
    network = kind(**arguments)
    network.train()(torch.rand(4, 1, recipe.height, recipe.width) - 0.5)
    more = {"scheme": scheme, "point_ids": list(kept), "dataset": dataset}
    return checkpoint_of(path, network, recipe, **more)


@pytest.fixture(scope="module")
def open_onnx():
    """Opens an ONNX file in ONNX Runtime."""
    *_, runtime = map(pytest.importorskip, ("onnx", "onnxscript", "onnxruntime"))
    return lambda file: runtime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory, open_onnx):
    """Exports a network once: the checkpoint, the ONNX file, and what the command printed."""
    folder, done = tmp_path_factory.mktemp("exported"), {}

    def call(name, command):
        if name not in done:
            checkpoint, output = trained(name, folder / f"{name}.pt"), folder / f"{name}.onnx"
            done[name] = checkpoint, output, command("export", checkpoint, output)[1]
        return done[name]

    return call


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nose", "coordinates", "heatmap"])  # layers of the others, too
def test_the_file_predicts_any_faces_as_pytorch_does(exported, open_onnx, name, command):
    file, output, printed = exported(name, command)
    recipe = NETWORKS[name][2]
    assert printed.startswith(f"{output}: ")
    assert float(printed.split("by at most ")[1].split()[0]) < 0.05
    checkpoint, session = checkpoints.load(file), open_onnx(output)
    network = checkpoints.network_of(checkpoint)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts == export.crop_facts(checkpoint)
    for count in (1, 2, 7):
        faces = torch.rand(count, 1, recipe.height, recipe.width) - 0.5
        (fractions,) = session.run([facts["output"]], {facts["input"]: faces.numpy()})
        with torch.inference_mode():
            expected = network(faces).numpy()
        np.testing.assert_allclose(fractions, expected, atol=0.01 / max(faces.shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_metadata_describe_network_crop_and_points(name, tmp_path):
    kind, _, recipe, scheme, kept, dataset = NETWORKS[name]
    facts = export.crop_facts(checkpoints.load(trained(name, tmp_path / "net.pt")))
    expected = {
        "network": kind.__name__, "height": str(recipe.height), "width": str(recipe.width),
        "scheme": scheme, "points": ",".join(map(str, kept)),
        "data": dataset, "data_licence": catalog.licence(dataset),
    }  # fmt: skip
    assert facts.items() >= expected.items()
    assert float(facts["box_scale"]) == recipe.box_scale
    assert facts["input_range"].startswith("-0.5..0.5")
    assert facts["flip_average"].startswith(str(recipe.flip_tta))
    order = list(map(int, facts["flip_order"].split(",")))
    assert [kept[place] for place in order] == SCHEMES[scheme].flip_order[[*kept]].tolist()


def test_without_a_checkpoint_the_newest_finished_run_is_exported(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("part3", "part3-mixed")):
        file = tmp_path / "reports" / folder / "checkpoint.pt"
        file.parent.mkdir(parents=True)
        side = 96 + 32 * number
        network, recipe = FaceNet(side, side, n_points=68), Recipe(side, side, 4, 1.3)
        os.utime(checkpoint_of(file, network, recipe, metrics={}), (number, number))
    monkeypatch.setattr(export, "onnx_packages", lambda: None)
    monkeypatch.setattr(export, "OnnxNetwork", lambda model: None)
    monkeypatch.setattr(export, "largest_difference", lambda *_: 0.0)
    monkeypatch.setattr(export, "as_onnx", lambda _, height, *rest: str(height).encode())
    assert command("export", "face.onnx")[0] == 0
    assert Path("face.onnx").read_bytes() == b"128"


@pytest.mark.slow
def test_the_metadata_are_enough_to_predict_a_photo(exported, open_onnx, command):
    """Written from the metadata alone, for a face in the middle of a larger picture."""
    checkpoint, output, _ = exported("heatmap", command)
    session = open_onnx(output)
    facts = session.get_modelmeta().custom_metadata_map
    images, points, _ = render([3], IBUG_68, "crop", (300, 340))
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy()).convert("L")
    low, high, side = *np.quantile(points[0], (0, 1), axis=0), int(facts["width"])
    middle, longer = (low + high + 1) / 2, (high - low).max() * float(facts["box_scale"])
    region = [*(middle - longer / 2), *(middle + longer / 2)]
    assert min(region) >= 0
    crop = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, region))
    faces = (crop.astype(np.float32) / 255 - 0.5)[None, None]
    order = [int(place) for place in facts["flip_order"].split(",")]
    (one,) = session.run(None, {facts["input"]: faces})
    (other,) = session.run(None, {facts["input"]: faces[..., ::-1].copy()})
    other = other[:, order] * [-1, 1] + [1, 0]
    found = region[:2] + (one + other)[0] / 2 * longer - 0.5

    saved = checkpoints.load(checkpoint)
    recipe = checkpoints.recipe_of(saved)
    boxes = crop_boxes(landmark_boxes(points), recipe)
    kept = torch.from_numpy(crop_and_resize(picture, boxes[0], *recipe.cached_size).copy())[None]
    network = checkpoints.network_of(saved)
    ours = predict_keypoints(network, kept, IBUG_68.flip_order, recipe) + recipe.margin
    ours = transform_points(ours, inverse(crop_matrices(boxes, *recipe.cached_size)))[0]
    np.testing.assert_allclose(found, ours.numpy(), atol=0.5)


@pytest.mark.slow
def test_nothing_is_overwritten_without_overwrite(exported, tmp_path, command, monkeypatch):
    checkpoint, model, _ = exported("nose", command)
    monkeypatch.setattr(export, "as_onnx", lambda *_: model.read_bytes())  # seconds
    output = tmp_path / "nose.onnx"
    output.write_text("mine")
    status, _, (error,) = command("export", checkpoint, output)
    assert status == 2 and error.startswith(f"error: {output}: is there already")
    assert output.read_text() == "mine"
    assert command("export", checkpoint, output, "--overwrite")[0] == 0
    assert output.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("off", [0.06 / 80, float("nan")])  # of a picture 80 pixels wide
@pytest.mark.usefixtures("open_onnx")
def test_a_file_that_would_predict_otherwise_is_not_written(nose, command, monkeypatch, off):
    network = checkpoints.network_of(checkpoints.load(nose)).eval()
    monkeypatch.setattr(export, "as_onnx", lambda *_: b"a model")
    monkeypatch.setattr(export, "OnnxNetwork", lambda model: lambda faces: network(faces) + off)
    status, _, errors = command("export", nose, "nose.onnx")
    assert status == 2 and "not written" in errors[-1]
    assert not Path("nose.onnx").exists()


def test_licences_are_those_of_the_training_faces():
    assert catalog.licence("ibug") == catalog.licence("mixed") == ibug.LICENCE
    assert "research" in ibug.LICENCE
    assert "commercial" not in catalog.licence("synthetic")
    assert catalog.licence("my own") == "unknown, that of my own"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
@pytest.mark.usefixtures("open_onnx")
def test_a_missing_package_is_one_line_with_its_remedy(command, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    status, _, (error,) = command("export", "any.pt", "out.onnx")
    assert status == 2
    assert error.startswith(f"error: the package {package} is missing")
    assert error.endswith('python -m pip install -e ".[export]"')
