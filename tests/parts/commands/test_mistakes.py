"""Mistakes on the command line, each of which ends with one line before any training."""

import re

import pytest

STEP = "3 --step crops"
NOT_OF_A_STEP = (
    "--recipe course", "--recipe long", "--dataset mixed", "--pretrained", "--network ResNet18"
)  # fmt: skip
ROUTE = "3 --dataset youtube_faces --network LightNet"
MISTAKES = (  # the line, and what its error names
    ("1 --dataset nothing", "--dataset nothing"),
    ("1 --dataset ibug", "--dataset ibug"),
    ("3 --dataset imm", "--dataset imm"),
    ("1 --epochs 0", "--epochs 0"),
    ("2 --epochs -5", "--epochs -5"),
    ("1 --device nonsense", "--device nonsense"),
    ("1 --device cuda:99", "--device cuda:99"),
    *((f"{STEP} {other}", rf"--step crops: is of the lesson alone.*{other}")
      for other in NOT_OF_A_STEP),
    ("3 --steps --recipe course", "--steps: trains"),
    (f"{ROUTE} --step crops", "--network LightNet"),
    (f"{ROUTE} --recipe long", "--recipe long"),
    ("compare AlexNet", "AlexNet: no such network; known are NaimishNet, "),
    ("compare --seeds 0", "--seeds 0"),
    ("compare --epochs 0", "--epochs 0"),
    ("compare --dataset imm", "--dataset imm"),
    ("ladder 1 --seeds 0", "--seeds 0: nothing would be done; take 1 or more"),
    ("ladder 1 --at-once 0", "--at-once 0: nothing would be done; take 1 or more"),
    ("ladder 1 --device nonsense", "--device nonsense: not on this machine; leave it out"),
    ("data lfw", "lfw: no such data set; known are imm, ibug"),
    ("data lfw --download", "lfw: no such data set; known are imm, ibug"),
    ("evaluate none.pt", "none.pt"),
    ("evaluate {text}", "test_mistakes.py"),
    ("evaluate {untrained} --split nowhere", "nowhere"),
    ("evaluate {untrained} --dataset imm", "ibug68"),
    ("evaluate {untrained} --dataset nothing", "nothing"),
    ("evaluate {untrained} --device nonsense", "nonsense"),
    ("evaluate {nose} --split nowhere", "nowhere"),
    ("evaluate {nose} --boxes haar", "1 points of imm58, and this needs all of ibug68"),
)  # fmt: skip


@pytest.mark.parametrize(("line", "named"), MISTAKES)
def test_a_mistake_ends_in_one_line(command, small_root, untrained, nose, tmp_path, line, named):
    words = line.format(untrained=untrained, nose=nose, text=__file__).split()
    status, out, errors = command(*words, "--data", small_root)
    assert (status, out) == (2, "")
    assert [text for text in errors if text.startswith("error: ")] == errors[-1:]
    assert re.search(named, errors[-1])
    assert not list(tmp_path.rglob("*.pt"))
