"""Your own points from labelled pictures to a page, to numbers and to predictions."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import checkpoint_of
from small_sets import IBUG_FACE, draw_face, place, shrink_crops, write_kaggle

from common import checkpoints
from common.recipe import Recipe
from datasets import imm
from datasets.own.reading import load
from parts import (
    own_points,
    part1_nose_tip,
    part2_full_face,
    part3_large_dataset,
    toolkit,
)
from parts.commands import export

FIVE = {"left_eye": 36, "right_eye": 45, "nose": 30, "left_mouth": 48, "right_mouth": 54}
SIZE = 120, 110


def write_coco(folder, count=10, missing=()):
    """Labelled pictures of synthetic faces; ``missing`` are (face, point)."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(count):
        points = place(IBUG_FACE, random) * SIZE - 0.5
        draw_face(folder / f"{index}.jpg", points, SIZE, random)
        images.append({"id": index, "file_name": f"{index}.jpg"})
        chosen = points[list(FIVE.values())]
        values = [
            [*chosen[point].tolist(), 2] if (index, point) not in missing else [0, 0, 0]
            for point in range(len(FIVE))
        ]
        annotations.append(
            {
                "id": index,
                "image_id": index,
                "category_id": 1,
                "keypoints": np.ravel(values).tolist(),
            }
        )
    categories = [{"id": 1, "name": "face", "keypoints": list(FIVE), "skeleton": [[4, 5]]}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "faces.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The reports folder of a short training on ten faces, some incomplete."""
    import made_up_reports

    import run_part

    folder = tmp_path_factory.mktemp("own")
    labels = write_coco(folder / "cats", missing=[(0, 2), (3, 0), (7, 0), (8, 4)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_CACHE", str(folder / "cache"))
        patch.setattr(own_points, "measure_framing", lambda *_: (0.0, 0.1, 0.8, 0.8))
        shrink_crops(patch)
        made_up_reports.draw_coarsely(patch)
        line = ["3", "--dataset", str(labels), "--epochs", "2", "--device", "cpu"]
        line += ["--pretrained", str(toolkit.WEIGHTS / "part3.pt"), "--reports", str(folder)]
        assert run_part.main(line) == 0
    return folder


@pytest.mark.slow
def test_the_page_names_points_and_what_nme_divides_by(trained):
    page = (trained / "own-cats" / "index.html").read_text()
    metrics = json.loads((trained / "own-cats" / "metrics.json").read_text())
    assert "box diagonal" in page and "eye distance" not in page
    assert "split by picture with seed 0: 2 of 10 are test faces" in page
    assert metrics["per_point"].keys() == FIVE.keys() and metrics["norm"] == "the box's diagonal"
    assert metrics["nme"] > 0 and 0 < metrics["baseline_mean_face"]["nme"] < 100
    assert all(f'<th scope="row">{name}</th>' in page for name in FIVE)


@pytest.mark.slow
def test_the_checkpoint_holds_scheme_and_framing_and_is_measured_again(trained, command):
    file = trained / "own-cats" / "checkpoint.pt"
    scheme = checkpoints.scheme_of(checkpoints.load(file))
    assert scheme.point_names == tuple(FIVE) and scheme.flip_pairs == ((0, 1), (3, 4))
    facts = export.crop_facts(checkpoints.load(file))
    assert facts["point_names"] == ",".join(FIVE) and facts["flip_order"] == "1,0,2,4,3"
    status, out, err = command("evaluate", file, "--json", "--device", "cpu")
    assert status == 0, err
    metrics = json.loads((trained / "own-cats" / "metrics.json").read_text())
    assert json.loads(out)["nme"] == pytest.approx(metrics["nme"], rel=1e-5)


@pytest.mark.slow
def test_photos_are_predicted_in_given_boxes_and_in_found_faces(trained, command, monkeypatch):
    file, photo = trained / "own-cats" / "checkpoint.pt", trained / "cats" / "0.jpg"
    line = ["predict", photo, "--checkpoint", file, "--device", "cpu", "--format", "json,csv,coco"]
    status, _, err = command(*line, "--boxes", "whole")
    assert status == 0, err
    (face,) = json.loads(Path("predictions/0.json").read_text())["faces"]
    assert face["box"] == [0, 0, *SIZE] and len(face["keypoints"]) == 5 and "pose" not in face
    coco = json.loads(Path("predictions/coco.json").read_text())
    assert coco["categories"][0]["keypoints"] == list(FIVE)
    assert load(Path("predictions/0.csv")).points.shape == (1, 5, 2)

    found = toolkit.FaceKeypoints.predict  # the finder sees one face, as if it were 68 points
    monkeypatch.setattr(
        toolkit.FaceKeypoints, "predict",
        lambda self, image: found(self, image, [[30.0, 20, 60, 60]]),
    )  # fmt: skip
    status, _, err = command(*line, "--overwrite")
    assert status == 0 and "pose, eyes and mouth need its 68 points" in err[0]
    (face,) = json.loads(Path("predictions/0.json").read_text())["faces"]
    assert len(face["keypoints"]) == 5 and face["box"][2] == face["box"][3]
    status, _, err = command("predict", photo, "--checkpoint", file, "--boxes", "none.csv")
    assert status == 2 and err[0].endswith("No such file or directory; take whole, or a CSV file")


@pytest.mark.slow
def test_explain_shows_your_own_points_by_name(trained, command, monkeypatch):
    import made_up_reports

    from common.report import explanation_page

    made_up_reports.draw_nothing(monkeypatch)
    monkeypatch.setattr(explanation_page, "PLACES", 3)
    file = trained / "own-cats" / "checkpoint.pt"
    line = ["explain", trained / "cats" / "0.jpg", "--checkpoint", file, "--boxes", "whole"]
    status, _, err = command(*line)
    assert status == 0, err
    page = Path("reports/explain/index.html").read_text()
    assert "left_eye" in page and "eye distance" not in page and "0 to 4" in page
    status, _, err = command(*line, "--point", "5")
    assert (status, err) == (2, ["error: --point 5: there is no such point; take one from 0 to 4"])


@pytest.mark.slow
def test_kaggles_file_is_read_trained_and_predicted(tmp_path, command, small_runs, monkeypatch):
    monkeypatch.setattr(own_points, "measure_framing", lambda *_: None)
    tiny = partial(part3_large_dataset.Best, height=32, width=32, margin=4, max_steps=2)
    monkeypatch.setitem(part3_large_dataset.RECIPES, "best", tiny)
    file, _, _ = write_kaggle(tmp_path, 200)
    status, _, err = command("3", "--dataset", file, "--epochs", "1", "--device", "cpu")
    assert status == 0, err
    metrics = json.loads(Path("reports/own-training/metrics.json").read_text())
    assert metrics["n_train"] + metrics["n_test"] == 200 and len(metrics["per_point"]) == 15
    assert all(0 < error < 100 for error in (metrics["nme"], *metrics["per_point"].values()))
    picture = load(file).files[0]
    line = ["predict", picture, "--checkpoint", "reports/own-training/checkpoint.pt"]
    status, _, err = command(*line)
    assert status == 2 and "add --boxes whole, or --boxes FILE" in err[0]
    status, _, err = command(*line, "--boxes", "whole", "--format", "csv")
    assert status == 0, err
    assert load(next(Path("predictions").glob("*.csv"))).points.isfinite().all()


def test_the_audit_lists_a_wrong_label_first_and_holds_out_each_group(
    tmp_path, command, monkeypatch
):
    """The network is replaced by the mean of the faces that it would be trained on."""
    import made_up_reports

    from parts.commands import audit

    made_up_reports.draw_nothing(monkeypatch)
    labels, learned = write_coco(tmp_path / "cats", 12, [(1, 0)]), []
    content = json.loads((labels / "faces.json").read_text())
    wrong = content["annotations"][7]["keypoints"]
    wrong[:2], wrong[3:5] = wrong[3:5], wrong[:2]  # the eyes exchanged
    (labels / "faces.json").write_text(json.dumps(content))

    def fit(network, train, test, recipe, options, checkpoint):
        assert not {*train.faces.groups} & {*test.faces.groups}
        learned.append((len(train), len(test), train.points.nanmean(dim=0)))
        checkpoint.touch()

    monkeypatch.setattr(audit, "fit", fit)
    monkeypatch.setattr(audit.part3_variants, "new_network", lambda *_: None)
    monkeypatch.setattr(
        audit, "predict_keypoints",
        lambda network, images, *_: learned[-1][2].expand(len(images), -1, -1),
    )  # fmt: skip
    status, out, err = command("data", labels, "--audit")
    assert status == 0, err
    first, *others = out.splitlines()
    assert first.startswith(f"1. {labels / '7.jpg'}: ") and "eye" in first
    assert len(others) == 12 and sum(test for _, test, _ in learned) == 12
    page = Path("reports/audit-cats/index.html").read_text()
    assert page.index("1. 7.jpg: ") < page.index("2. ") and not [*Path("reports").rglob("*.pt")]


@pytest.mark.slow
@pytest.mark.parametrize("part, ids", [(part1_nose_tip, (52,)), (part2_full_face, range(58))])
def test_parts_1_and_2_predict_on_photos_framed_as_imm(
    tmp_path, small_root, command, monkeypatch, part, ids
):
    found = toolkit.FaceKeypoints.predict
    monkeypatch.setattr(
        toolkit.FaceKeypoints, "predict",
        lambda self, image: found(self, image, [[30.0, 20, 60, 60]]),
    )  # fmt: skip
    network = part.NoseNet() if part is part1_nose_tip else part.FaceNet()
    named = {"scheme": "imm58", "point_ids": list(ids), "dataset": "imm"}
    file = checkpoint_of(tmp_path / "part.pt", network, part.Best(), **named)
    photo = small_root / imm.FOLDER / "01-1m.jpg"
    status, _, err = command("predict", photo, "--checkpoint", file, "--format", "json,csv,pts")
    assert status == 0, err
    (face,) = json.loads(Path("predictions/01-1m.json").read_text())["faces"]
    *_, width, height = face["box"]
    assert len(face["keypoints"]) == len(ids) and width / height == pytest.approx(4 / 3, rel=1e-3)
    points = Path("predictions/01-1m.face1.pts").read_text().splitlines()
    assert len(points) == len(ids) + 4


@pytest.mark.slow
def test_all_but_the_last_layer_of_a_checkpoint_is_used(capsys):
    from parts import part3_variants
    from parts.part3_large_dataset import HeatmapResNet18

    network, path = HeatmapResNet18(5), toolkit.WEIGHTS / "part3.pt"
    before = network.state_dict()["maps.3.weight"].clone()
    part3_variants.load_agreeing(network, path)
    total = len(network.state_dict())
    assert f"{total - 2} of {total} tensors used" in capsys.readouterr().err
    assert torch.equal(network.state_dict()["maps.3.weight"], before)
    shipped = checkpoints.load(path)["weights"]
    assert torch.equal(network.state_dict()["resnet.conv1.weight"], shipped["resnet.conv1.weight"])


@pytest.mark.slow
def test_five_points_of_imm_measure_the_same_through_coco(tmp_path, real_data):
    from dataclasses import replace

    from common.loading import load_crops
    from common.metrics import errors_per_face

    ids = (21, 13, 39, 43, 52)
    names = ["left_eye_outer", "right_eye_outer", "left_mouth", "right_mouth", "nose"]
    reader = imm.load(real_data)
    reader = reader.take(list(range(0, len(reader), 12)))
    images = [{"id": i, "file_name": str(file)} for i, file in enumerate(reader.files)]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": reader.boxes[i].tolist(),
         "keypoints": [v for x, y in reader.points[i, list(ids)].tolist() for v in (x, y, 2)]}
        for i in range(len(reader))
    ]  # fmt: skip
    categories = [{"id": 1, "name": "face", "keypoints": names}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "imm.json").write_text(json.dumps(content))
    own = load(tmp_path / "imm.json")
    assert own.scheme.outer_eyes == (0, 1) and own.has_eyes
    recipe = Recipe(height=60, width=80)
    errors = []
    for faces, point_ids in ((reader, ids), (own, None)):
        crops = load_crops(faces, recipe, point_ids)
        torch.manual_seed(0)
        predicted = torch.rand(len(crops), 5, 2) * 60
        errors.append(errors_per_face(predicted, crops, recipe)["nme"])
    torch.testing.assert_close(errors[0], errors[1], atol=1e-4, rtol=0)
    assert replace(own, scheme=replace(own.scheme, outer_eyes=None)).has_eyes is False


def test_a_network_of_ones_own_is_built_and_found_again(tmp_path):
    from common import own_network

    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "class MyNet(nn.Module):\n"
        "    def __init__(self, n_points, height):\n"
        "        super().__init__()\n"
        "        self.last = nn.Linear(height * height, 2 * n_points)\n"
        "    def forward(self, faces):\n"
        "        return self.last(faces.flatten(1)).unflatten(1, (-1, 2))\n"
        "class Wrong(nn.Flatten): pass\n"
    )
    network = own_network.new_network(f"{file}:MyNet", 96, 96, 68)
    path = checkpoint_of(tmp_path / "own.pt", network, network_file=type(network).own_file)
    again = checkpoints.read(path).network
    assert torch.equal(again.last.weight, network.last.weight)
    for name, fault in (("Wrong", r"returns \(2, 9216\)"), ("No", "no nn.Module called No")):
        with pytest.raises(checkpoints.UserError, match=fault):
            own_network.new_network(f"{file}:{name}", 96, 96, 68)
    file.unlink()
    with pytest.raises(checkpoints.UserError, match=f"there is no file {file}"):
        checkpoints.read(path)
