import re
import sys

import pytest
import torch
from torch import nn

from benchmarks import run
from benchmarks.folds import HARDER, changed, harder, main
from common.loading import load_crops
from common.metrics import nme
from common.recipe import Recipe
from common.system.errors import UserError
from datasets.splits import train_and_test
from parts.part1_nose_tip import NOSE, Best
from parts.studies.experiment import Experiment, crops_of


def test_values_are_read_as_what_they_are():
    changes = ["batch=16", "rotation=2.5", "loss=wing", "cosine=True", "colour=False"]
    recipe = changed(Recipe(colour=True), changes)
    assert recipe == Recipe(batch=16, rotation=2.5, loss="wing", cosine=True)


REFUSED = "none=1 batch batch=many cosine=yes cached_size=1 loss=huber optimizer=sgd head=maps"


@pytest.mark.parametrize("change", [*REFUSED.split(), "batch=0", "epochs=0"])
def test_a_change_that_cannot_be_made_is_refused_with_one_line(change):
    with pytest.raises(UserError, match=f"^{change}: .*; "):
        changed(Recipe(), [change])


class TheMiddle(nn.Module):
    def forward(self, faces):
        return torch.full((len(faces), 68, 2), 0.5)


def test_harder_faces_keep_the_distances_of_their_points_to_the_middle(small_root):
    """Light, blur and patches do not move points, and rotation moves them around the middle."""
    recipe = Recipe(height=32, width=32, margin=4, box_scale=1.3)
    _, held_out = crops_of(Experiment("3", recipe), small_root)
    off = nme(torch.full_like(held_out.points, 15.5), held_out.points, held_out.norm_distance)
    errors = harder(TheMiddle(), recipe, held_out)
    assert errors == {name: pytest.approx(off.mean().item(), rel=1e-5) for name in HARDER}


@pytest.mark.parametrize(
    "line", ["--harder 1", "--harder 3 --network LightNet", "--harder 3 --test", "--synthetic 2 1"]
)
def test_what_only_part_3_can_do_is_refused_elsewhere_before_the_training(line, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["folds", *line.split()])
    with pytest.raises(UserError, match=f"^{line.split()[0]}: .*; leave it out$"):
        main()


def test_on_request_the_parts_own_test_faces_are_evaluated(small_root, monkeypatch, capsys):
    monkeypatch.setenv("FACE_DATA", str(small_root))
    monkeypatch.setattr(sys, "argv", ["folds", "1", "epochs=1", "--test", "--seeds", "2"])
    main()
    lines = capsys.readouterr().out.splitlines()
    values = [[float(x) for x in re.findall(r" ([\d.e-]+)(?=,|$)", line)] for line in lines]
    first, second, mean, spread, mean_face = (row[:6] for row in values)
    assert mean[2] == pytest.approx((first[2] + second[2]) / 2, abs=0.02)
    assert spread[2] == pytest.approx(abs(first[2] - second[2]) / 2**0.5, abs=0.02)
    train, test = (load_crops(f, Best(), NOSE) for f in train_and_test("imm", "imm", small_root))
    off = nme(train.points.mean(dim=0).expand_as(test.points), test.points, test.norm_distance)
    assert mean_face[2] == pytest.approx(off.mean().item(), rel=1e-3)


def test_a_benchmark_ends_with_one_line_where_a_user_can_correct_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["folds", "1", "--seeds", "0"])
    with pytest.raises(SystemExit, match=r"^2$"):
        run(main)
    fault = "error: --seeds 0: nothing would be done; take 1 or more\n"
    assert capsys.readouterr() == ("", fault)
