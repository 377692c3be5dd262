import json
import os
from dataclasses import dataclass

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


@dataclass(frozen=True)
class SmallBatches(Best):
    batch: int = 4  # so that a few faces are several steps


@pytest.fixture
def few(monkeypatch):
    """Sets small enough for a test; a process costs more than these faces."""
    counts = {("portrait", "train"): 6, ("portrait", "test"): 6}
    monkeypatch.setattr(cached, "COUNTS", counts | {("crop", "train"): 4, ("crop", "test"): 3})


def test_the_pictures_on_disk_are_those_that_the_renderer_draws(few):
    faces = cached.load("crop", "test")
    images, points, _ = render.render(
        range(600_000_000, 600_000_003), IBUG_68, "crop", cached.SIZES["crop"]
    )
    torch.testing.assert_close(faces.points, points)
    for file, image in zip(faces.files, images, strict=True):
        picture = torch.frombuffer(bytearray(read_picture(file, True).tobytes()), dtype=torch.uint8)
        assert torch.equal(picture.view(144, 144, 3).permute(2, 0, 1), image)


def test_faces_are_drawn_once(few, monkeypatch):
    first = cached.load("crop", "test")
    monkeypatch.setattr(cached, "_draw", lambda *_: pytest.fail("drawn again"))
    second = cached.load("crop", "test")
    assert first.files == second.files
    assert torch.equal(first.points, second.points)


def cut_notes(folder):
    notes = folder / "notes.pt"
    notes.write_bytes(notes.read_bytes()[:100])


def cut_picture(folder):
    picture = folder / "00001.png"
    picture.write_bytes(picture.read_bytes()[:-1])


def empty_picture(folder):
    (folder / "00001.png").write_bytes(b"")


def lose_picture(folder):
    (folder / "00001.png").unlink()


@pytest.mark.parametrize("damage", [cut_notes, cut_picture, empty_picture, lose_picture])
def test_a_damaged_set_is_drawn_anew_with_a_warning(few, capfd, damage):
    first = cached.load("crop", "test")
    folder = first.files[0].parent
    whole = {file.name: file.read_bytes() for file in first.files}
    damage(folder)
    capfd.readouterr()
    second = cached.load("crop", "test")
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert warning == f"{folder}: the drawn faces are damaged and are drawn anew"
    assert {file.name: file.read_bytes() for file in second.files} == whole
    assert torch.equal(first.points, second.points)
    cached.load("crop", "test")
    assert "damaged" not in capfd.readouterr().err


def test_a_set_that_another_process_drew_meanwhile_is_taken(few, monkeypatch, cache):
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
    assert [read_picture(file, True).size for file in faces.files] == [(144, 144)] * 3
    assert list(cache.iterdir()) == [faces.files[0].parent]


def test_another_renderer_draws_anew(few, monkeypatch):
    first = cached.load("crop", "test")
    monkeypatch.setattr(cached, "_renderer", lambda: "another")
    assert cached.load("crop", "test").files[0].parent != first.files[0].parent


def test_drawing_that_breaks_off_leaves_no_set_behind(few, monkeypatch, cache):
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(UserError, match="disk full"):
        cached.load("crop", "test")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["synthetic", "imm", "youtube_faces"])
def test_boxes_that_a_set_has_not_are_not_replaced_by_others(few, name):
    with pytest.raises(NotHereError, match=f"^--boxes file: {name} has no boxes of its own; leave"):
        splits.split(name, "test", None, "file", IBUG_68)


def test_portraits_are_whole_pictures_of_people_in_six_views(few):
    train, test = splits.train_and_test("imm", "synthetic", None)
    assert train.scheme is IMM_58
    assert len(set(train.views)) == 6 and len(set(train.groups)) == 1
    assert train.boxes[0].tolist() == [0, 0, 320, 240]
    assert not set(train.groups) & set(test.groups)


def test_drawn_faces_have_room_for_the_margin_of_part_3(few):
    """Nearly nothing of a crop may be the repeated edge of its picture."""
    faces = cached.load("crop", "train")
    crops = load_crops(faces, Best())
    corners = torch.tensor([[-0.5, -0.5], [143.5, 143.5]]).expand(len(faces), 2, 2)
    scale, offset = crops.matrices[:, [0, 1], [0, 1]], crops.matrices[:, :, 2]
    edges = corners * scale[:, None] + offset[:, None]  # (N, 2, 2) pixels of the 140-pixel crop
    assert (edges[:, 0] < 12).all() and (edges[:, 1] > 128).all()


@pytest.mark.parametrize("part", ["1", "2"])
def test_without_a_data_set_a_part_says_so_and_learns_from_drawn_faces(
    few, monkeypatch, tmp_path, capsys, part
):
    monkeypatch.setenv("FACE_DATA", str(tmp_path))
    assert run_part.main([part, "--epochs", "1", "--reports", str(tmp_path / "reports")]) == 0
    told = capsys.readouterr().err
    assert "imm: not found" in told and "data imm --download" in told and "synthetic faces" in told
    page = (tmp_path / "reports" / f"part{part}" / "index.html").read_text()
    assert "Synthetic faces" in page
    assert (
        '"synthetic": true' in (tmp_path / "reports" / f"part{part}" / "metrics.json").read_text()
    )


def test_real_faces_asked_for_are_not_replaced_by_drawn_ones(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FACE_DATA", str(tmp_path))
    assert run_part.main(["3", "--dataset", "ibug", "--reports", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_mixed_stands_beside_the_real_faces_alone_after_as_many_steps(few, tmp_path, monkeypatch):
    monkeypatch.setitem(part3_large_dataset.RECIPES, "best", SmallBatches)
    data, reports = small_sets.write_ibug(tmp_path / "data"), tmp_path / "reports"
    line = ["3", "--dataset", "mixed", "--epochs", "2", "--device", "cpu", "--data", str(data)]
    assert run_part.main([*line, "--reports", str(reports)]) == 0
    folder = reports / "part3-mixed"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["dataset"] == "mixed" and metrics["n_train"] == 6 + 4
    (alone,) = metrics["beside"].values()
    assert alone["nme"] != metrics["nme"]
    page = (folder / "index.html").read_text()
    assert "Face by face" in page and ">real faces alone<" in page
    assert f">{rounded(alone['nme'])}<" in page
    trained = [checkpoints.load(folder / name) for name in ("checkpoint.pt", "real-alone.pt")]
    assert [one["dataset"] for one in trained] == ["mixed", "ibug"]
    steps = [one["training"]["optimizer"]["state"][0]["step"].item() for one in trained]
    assert steps == [4, 4]  # 6 real faces by 4 are 2 an epoch; 10 faces would be 3

    # Alone means alone: it is the network that part 3 trains by itself.
    assert run_part.main([*line[:2], "ibug", *line[3:], "--reports", str(reports)]) == 0
    by_itself = json.loads((reports / "part3" / "metrics.json").read_text())
    assert {name: by_itself[name] for name in alone} == pytest.approx(alone, rel=1e-6)


def test_mixed_learns_from_both_and_is_tested_on_real_faces(few, real_data):
    train, test = splits.train_and_test("ibug", "mixed", real_data)
    assert len(train) == 3105 + 4 and len(test) == 224
    assert train.groups[0] == "afw" and train.groups[-1].startswith("person")
