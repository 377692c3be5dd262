import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
from small_network import checkpoint_of

from common import checkpoints
from common.keypoints import IBUG_68
from common.photos.finder import crop_faces
from common.recipe import Recipe
from common.system.errors import UserError
from datasets.synthetic.render import render
from parts import package, toolkit
from parts.part3_large_dataset import HeatmapResNet18, ResNet18


@pytest.fixture(scope="module")
def faces68(tmp_path_factory):
    """The package of the network that ships, imported from where it was written."""
    list(map(pytest.importorskip, ("onnx", "onnxscript", "onnxruntime")))
    folder = tmp_path_factory.mktemp("package")
    line = package.write(toolkit.named(toolkit.SHIPPED), folder, "faces68", folder)
    assert line.startswith(f"{folder}: ") and line.endswith(f"pip install {folder}")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("faces68")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def photo():
    images, _, _ = render([4], IBUG_68, size=(480, 640), leave_out=("occluders",))
    return images[0].permute(1, 2, 0).numpy()


@pytest.mark.slow
def test_its_faces_are_those_of_the_project(faces68, photo):
    finder = toolkit.face_keypoints(detector="haar", device="cpu", engine="onnx")
    ((ours,), (its,)) = finder.predict(photo), faces68.predict(photo)
    assert np.linalg.norm(its.keypoints - ours.keypoints, axis=1).mean() < 0.5  # of 300 pixels
    assert its.confidence == pytest.approx(ours.confidence, abs=0.02)
    assert its.box == pytest.approx(ours.box) and its.score == ours.score
    assert vars(its.pose) == pytest.approx(vars(ours.pose), abs=1)
    assert (its.eyes_open, its.mouth_open) == pytest.approx(
        (ours.eyes_open, ours.mouth_open), abs=0.02
    )
    assert its.uncertainty.mean() == pytest.approx(ours.uncertainty.mean(), rel=0.1)
    (given,) = faces68.predict(photo, [ours.box])
    assert np.linalg.norm(given.keypoints - its.keypoints, axis=1).mean() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("angle", [0.0, 25.0])
@pytest.mark.parametrize("box", [(200, 100, 240, 260), (-40, -30, 200, 180), (500, 400, 300, 300)])
def test_its_crops_are_those_of_the_project(faces68, photo, box, angle):
    finder = toolkit.face_keypoints(detector="haar", device="cpu")
    boxes = np.array([box], float)
    crops, matrices = crop_faces(photo, boxes, np.array([angle]), finder.recipe)
    margin = finder.recipe.margin
    inner = crops[0, 0].numpy()[margin : crops.shape[2] - margin, margin : crops.shape[3] - margin]
    look = faces68._look(photo, boxes[0], angle)
    np.testing.assert_allclose(look.matrix, matrices[0], atol=1e-3)
    off = np.abs((look.crop[0, 0] + 0.5) * 255 - inner)
    assert off.max() <= (1 if not angle else 20) and off.mean() < (0.01 if not angle else 1)


@pytest.mark.slow
def test_it_needs_neither_torch_nor_pillow_and_pip_knows_what_it_needs(faces68):
    file = faces68.HERE / "__init__.py"
    code = "import sys, faces68; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=file.parents[1]).returncode == 0
    assert len(file.read_text().splitlines()) <= 300
    project = (file.parents[1] / "pyproject.toml").read_text()
    assert 'name = "faces68"' in project and "torch" not in project
    assert "research only" in (file.parents[1] / "README.md").read_text()
    assert sum(one.stat().st_size for one in file.parent.glob("*")) < 15e6


@pytest.mark.slow
def test_its_command_prints_a_line_a_photo_and_names_what_is_none(faces68, photo, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "photo.png"), photo[..., ::-1])
    (tmp_path / "text.jpg").write_text("no picture")
    command = [sys.executable, "-c", "import faces68; faces68.main()"]
    command += [str(tmp_path / "text.jpg"), str(tmp_path / "photo.png")]
    done = subprocess.run(command, cwd=faces68.HERE.parent, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {tmp_path / 'text.jpg'}: not")
    (face,) = json.loads(done.stdout)["faces"]
    assert np.array(face["keypoints"]).shape == (68, 2) and len(face["uncertainty"]) == 68
    with pytest.raises(ValueError, match="uint8"):
        faces68.predict(photo / 255)


@pytest.mark.parametrize(
    ("network", "name", "fault"),
    [(HeatmapResNet18, "No-Name", "no name for a package"), (ResNet18, "faces", "no heatmaps")],
)
def test_what_cannot_be_a_package_is_one_line(tmp_path, network, name, fault):
    more = {"scheme": "ibug68", "point_ids": list(range(68)), "dataset": "synthetic"}
    file = checkpoint_of(tmp_path / "net.pt", network(), Recipe(64, 64, 8, 1.3), **more)
    with pytest.raises(UserError, match=fault):
        package.write(checkpoints.read(file), tmp_path / "out", name, None)
