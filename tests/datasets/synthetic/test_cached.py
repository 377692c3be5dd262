import json
import os
from functools import partial
from unittest.mock import Mock

import made_up_reports
import numpy as np
import pytest
import small_sets
import torch

import run_part
from common import checkpoints
from common.crops import read_picture
from common.keypoints import IBUG_68, IMM_58
from common.loading import load_crops
from common.report.page import rounded
from common.system.errors import NotHereError, UserError
from datasets import splits
from datasets.synthetic import cached, render
from parts import part3_large_dataset
from parts.part3_large_dataset import Best


def test_the_pictures_on_disk_are_those_that_the_renderer_makes_once(few, monkeypatch):
    faces = cached.load("crop", "test")
    seeds = range(600_000_000, 600_000_003)
    images, points, _ = render.render(seeds, IBUG_68, "crop", cached.SIZES["crop"])
    assert torch.equal(faces.points, points)
    named = [render.names(seed, "crop") for seed in seeds]
    assert list(zip(faces.groups, faces.views, strict=True)) == named
    for file, image in zip(faces.files, images, strict=True):
        picture = np.asarray(read_picture(file, True))  # (48, 48, 3)
        assert (picture == image.permute(1, 2, 0).numpy()).all()
    monkeypatch.setattr(cached, "_fill", lambda *_: pytest.fail("rendered again"))
    again = cached.load("crop", "test")
    assert faces.files == again.files and torch.equal(faces.points, again.points)


DAMAGED = [("notes.pt", 100), ("00001.png", -1), ("00001.png", None)]


@pytest.mark.parametrize(("name", "end"), DAMAGED, ids=["cut notes", "cut picture", "lost picture"])
def test_a_damaged_set_is_rendered_again_with_a_warning(few, capfd, name, end):
    first = cached.load("crop", "test")
    folder = first.files[0].parent
    whole = {file.name: file.read_bytes() for file in first.files}
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if end:
        (folder / name).write_bytes(content[:end])
    capfd.readouterr()
    for _ in range(2):
        again = cached.load("crop", "test")
    warnings = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert warnings == [f"{folder}: the synthetic faces are damaged and are rendered again"]
    assert {file.name: file.read_bytes() for file in again.files} == whole
    assert torch.equal(first.points, again.points)


def test_a_set_that_another_process_rendered_meanwhile_is_taken(few, monkeypatch, cache):
    write, another = cached.write_atomically, []

    def meanwhile(path, job):
        if not another:
            another.append("at work")
            with monkeypatch.context() as other:
                other.setattr(os, "getpid", lambda: 1)
                cached.load("crop", "test")
        write(path, job)

    monkeypatch.setattr(cached, "write_atomically", meanwhile)
    faces = cached.load("crop", "test")
    assert [read_picture(file, True).size for file in faces.files] == [(48, 48)] * 3
    assert list(cache.iterdir()) == [faces.files[0].parent]


def test_another_mean_head_renders_other_files(few, monkeypatch):
    first = cached.load("crop", "test")
    monkeypatch.setattr(cached, "TEMPLATE", cached.TEMPLATE + 1)
    assert cached.load("crop", "test").files[0].parent != first.files[0].parent


def test_rendering_that_breaks_off_leaves_no_set_behind(few, monkeypatch, cache):
    monkeypatch.setattr(torch, "save", Mock(side_effect=OSError(28, "disk full")))
    with pytest.raises(UserError, match="disk full"):
        cached.load("crop", "test")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["synthetic", "imm", "youtube_faces"])
def test_a_set_without_boxes_of_its_own_is_refused(few, name):
    with pytest.raises(NotHereError, match=f"^--boxes file: {name} has no boxes of its own; leave"):
        splits.split(name, "test", None, "file", IBUG_68)


def test_a_missing_set_is_replaced_by_portraits_of_people_in_six_views(few, tmp_path, capsys):
    train, test = splits.train_and_test("imm", None, tmp_path)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "not found" in line]
    assert line.startswith("imm: not found") and line.endswith("; going on with synthetic faces")
    assert train.scheme is IMM_58 and train.synthetic
    assert len(set(train.views)) == 6 and len(set(train.groups)) == 1
    assert train.boxes[0].tolist() == [0, 0, 64, 48]
    assert not set(train.groups) & set(test.groups)


def test_synthetic_faces_have_room_for_the_margin_of_part_3(few):
    """Nearly nothing of a crop may be the repeated edge of its picture."""
    faces = cached.load("crop", "train")
    crops = load_crops(faces, Best())
    corners = torch.tensor([[-0.5, -0.5], [47.5, 47.5]]).expand(len(faces), 2, 2)
    scale, offset = crops.matrices[:, [0, 1], [0, 1]], crops.matrices[:, :, 2]
    edges = corners * scale[:, None] + offset[:, None]  # (N, 2, 2) pixels of the network's crop
    assert (edges[:, 0] < -4).all() and (edges[:, 1] > 128).all()


@pytest.mark.slow
def test_mixed_is_compared_with_real_faces_alone_after_as_many_steps(few, tmp_path, monkeypatch):
    small_sets.shrink_crops(monkeypatch)
    small = partial(part3_large_dataset.RECIPES["best"], batch=4)  # a few faces, several steps
    monkeypatch.setitem(part3_large_dataset.RECIPES, "best", small)
    made_up_reports.draw_nothing(monkeypatch)
    data, reports = small_sets.write_ibug(tmp_path / "data"), tmp_path / "reports"
    line = ["3", "--dataset", "mixed", "--epochs", "2", "--device", "cpu", "--data", str(data)]
    assert run_part.main([*line, "--reports", str(reports)]) == 0
    folder = reports / "part3-mixed"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["dataset"] == "mixed" and metrics["n_train"] == 6 + 6
    assert metrics["n_test"] == 3 and not metrics["synthetic"]
    (alone,) = metrics["beside"].values()
    assert alone["nme"] != metrics["nme"]
    page = (folder / "index.html").read_text()
    assert "Face by face" in page and ">real faces alone<" in page
    assert f">{rounded(alone['nme'])}<" in page
    trained = [checkpoints.load(folder / name) for name in ("checkpoint.pt", "real-alone.pt")]
    assert [one["dataset"] for one in trained] == ["mixed", "ibug"]
    steps = [one["training"]["optimizer"]["state"][0]["step"].item() for one in trained]
    assert steps == [4, 4]  # 6 real faces by 4 are 2 an epoch; 12 faces would be 3

    # Alone means alone: it is the network that part 3 trains by itself.
    assert run_part.main([*line[:2], "ibug", *line[3:], "--reports", str(reports)]) == 0
    by_itself = json.loads((reports / "part3" / "metrics.json").read_text())
    assert {name: by_itself[name] for name in alone} == pytest.approx(alone, rel=1e-6)
