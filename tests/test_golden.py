"""Golden numbers: a restructuring that moves and renames code must leave each of them as it is.

- Seven short trainings through ``run_part.main``, on faces rendered here: the training losses of
  the first three epochs and the NME at the end. They guard the order of the random draws, the
  augmentation, the schedule, the EMA, initial weights, losses and the metric. Only the page is
  left out. The recipes are the parts' own but for the sizes that ``SHRUNK`` lists.
- The weights that ship: their NME on rendered faces.
- One picture to JSON by ``run_part.main(["predict", ...])``, compared with the renderer's truth.

A number that changes with intent is recorded again by copying it from the failure's message.
"""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import run_part
from common.faces import landmark_boxes
from common.keypoints import IBUG_68
from common.metrics import nme
from common.report import run_report
from datasets.synthetic import cached
from datasets.synthetic.render import render
from parts import part1_nose_tip, part2_full_face, part3_large_dataset, part3_variants
from parts.toolkit import SHIPPED, face_keypoints, named

PARTS = {"1": part1_nose_tip, "2": part2_full_face, "3": part3_large_dataset}
FACES = {  # rendered for a training and its test; at most 24, which are rendered in this process
    ("portrait", "train"): 24, ("portrait", "test"): 12, ("crop", "train"): 24, ("crop", "test"): 12
}  # fmt: skip
CROP = {"height": 64, "width": 64, "margin": 8}
SHRUNK = {
    "1-course": {"epochs": 3},
    "1-best": {"epochs": 60, "batch": 4},
    "2-best": {"epochs": 24, "batch": 4},
    "2-course": {"epochs": 3},
    "3-long": CROP | {"epochs": 3, "batch": 4, "restarts": 1, "warmup": 0.2, "ema_decay": 0.8},
    "3-from-heatmaps": CROP | {"epochs": 3, "batch": 8, "warmup": 0.3, "ema_decay": 0.8},
    "3-best": {"height": 96, "width": 96, "margin": 12, "epochs": 3, "batch": 8, "warmup": 0.2},
}
GOLDEN = {  # the training losses of three epochs and the NME after them in %; relative tolerance
    # Behind it, of the number that changes most: the largest change by other instructions
    # (ATEN_CPU_CAPABILITY=default; ONEDNN_MAX_CPU_ISA=SSE41 with MKL and OpenCV alike), and the
    # least by a break, of those tried on it: learning rate or augmentation off by one step, EMA
    # before the step, one more random draw, flips drawn after the matrices, margin off by one,
    # pairs not exchanged. Other instructions stay within that of 1-course, too.
    "1-course": ([0.0430929, 0.00514234, 0.00725732, 64.4371], 1e-3),
    "1-best": ([0.00523201, 0.00566492, 0.00468861, 44.6808], 2e-3),  # 3e-4, 3e-1
    "2-best": ([0.0489878, 0.0386772, 0.0417565, 30.0421], 1e-3),  # 6e-5, 5e-2
    "2-course": ([0.287867, 0.177211, 0.0202681, 46.2229], 5e-4),  # 1e-5, 2e-1
    "3-long": ([0.202303, 0.185479, 0.179342, 51.2796], 5e-4),  # 4e-5, 1e-2
    "3-from-heatmaps": ([0.607229, 0.441775, 0.35173, 108.064], 4e-3),  # 8e-4, 1e-2
    "3-best": ([0.0706494, 0.0531747, 0.0447767, 13.4793], 2e-2),  # 6e-3, 7e-2
}
QUICK = ("1-course",)  # of the quick tier; of part 3 it has the weights that ship
BEATS_THE_MEAN_FACE = ("1-best", "2-best", "3-best")
# In %, by the count of faces; other instructions changed it by 5e-5, half a pixel by 0.09.
SHIPPED_NME = {12: 6.23741, 48: 5.85915}


def train(case, reports, patch):
    """The losses of three epochs, the NME after them in %; the last NME over the mean face's."""
    part, recipe = case.split("-", 1)
    kind = (part3_variants.RECIPES | PARTS[part].RECIPES)[recipe]
    patch.setitem(PARTS[part].RECIPES, recipe, partial(kind, bfloat16=False, **SHRUNK[case]))
    for key, count in FACES.items():
        patch.setitem(cached.COUNTS, key, count)
    patch.setattr(run_report, "write_report", lambda *_: None)  # seconds of drawing figures
    line = [part, "--recipe", recipe, "--dataset", "synthetic", "--device", "cpu"]
    if case == "3-best":  # from random weights it would need minutes to beat the mean face
        line += ["--pretrained", str(named(SHIPPED).path)]
    assert run_part.main([*line, "--reports", str(reports)]) == 0
    kept = torch.load(reports / f"part{part}" / "checkpoint.pt", weights_only=True)
    history, metrics = kept["training"]["history"], kept["metrics"]
    numbers = [row["train_loss"] for row in history[:3]] + [history[2]["test_nme"]]
    return numbers, metrics["nme"] / metrics["baseline_mean_face"]["nme"]


def shipped(count):
    """NME in % of the weights that ship on rendered faces in the boxes of their landmarks."""
    images, truth, _ = render(range(600_000_000, 600_000_000 + count), IBUG_68)
    finder, boxes = face_keypoints(device="cpu"), landmark_boxes(truth)
    found = [
        finder.keypoints(image.permute(1, 2, 0).numpy(), box[None].numpy())[0][0]
        for image, box in zip(images, boxes, strict=True)
    ]
    return nme(torch.from_numpy(np.stack(found)), truth, IBUG_68.eye_distance(truth)).mean().item()


@pytest.fixture(scope="module")
def renders(tmp_path_factory):
    """The cache folder of this file's trainings: every face is rendered once."""
    return tmp_path_factory.mktemp("renders")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in SHRUNK],
)
def test_a_short_training_gives_the_recorded_numbers(case, renders, tmp_path, monkeypatch):
    monkeypatch.setenv("FACE_CACHE", str(renders))
    numbers, of_mean_face = train(case, tmp_path, monkeypatch)
    numbers, (golden, tolerance) = [float(f"{number:.6g}") for number in numbers], GOLDEN[case]
    assert numbers == pytest.approx(golden, rel=tolerance), numbers
    if case in BEATS_THE_MEAN_FACE:
        assert of_mean_face < 0.8


@pytest.mark.parametrize("count", [12, pytest.param(48, marks=pytest.mark.slow)])
def test_the_shipped_weights_find_rendered_faces_as_well_as_recorded(count):
    assert shipped(count) == pytest.approx(SHIPPED_NME[count], abs=0.02)


def test_predict_writes_where_the_face_of_a_picture_is(tmp_path):
    (image,), truth, _ = render([6], IBUG_68, "portrait", (480, 640))
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "face.png")
    line = ["predict", str(tmp_path / "face.png"), "--save-dir", str(tmp_path / "found")]
    line += ["--device", "cpu", "--checkpoint", SHIPPED, "--detector", "haar"]
    assert run_part.main(line) == 0
    found = json.loads((tmp_path / "found" / "face.json").read_text())
    (face,) = found["faces"]
    assert (found["width"], found["height"]) == (640, 480)
    assert face["confidence"] > 0.99
    eyes = float(IBUG_68.eye_distance(truth))
    boxes = torch.cat([torch.tensor([face["box"]]), landmark_boxes(truth)])  # (2, 4)
    one, other = boxes[:, :2] + boxes[:, 2:] / 2
    assert (one - other).abs().max() < 0.05 * eyes
    assert float(boxes[0, 2:].max()) == pytest.approx(float(boxes[1, 2:].max()), rel=0.2)
    off = np.linalg.norm(np.array(face["keypoints"]) - truth[0].numpy(), axis=1) / eyes  # (68,)
    assert off.mean() < 0.045
    assert off[[30, 36, 45]].max() < 0.045  # the tip of the nose, the outer corners of the eyes
