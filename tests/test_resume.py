"""Runs that are killed at random moments and resumed end where an undisturbed run ends."""

import contextlib
import json
import os
import random
import signal
import time

import pytest
import small_sets
import torch

import run_part
from common import checkpoints, training
from common.errors import UserError
from parts import part1_nose_tip, part2_full_face, part3_large_dataset

# Loaded before a run is forked, so that its time is spent on training.
assert part1_nose_tip and part2_full_face and part3_large_dataset

KILLS = 8
EPOCHS = 80


def start(line):
    """The command line in a process of its own, which needs not load torch again; its id.

    Forked: nothing but the checkpoint and the cache passes from one run to the next.
    """
    process = os.fork()
    if process:
        return process
    status = 1
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        with contextlib.suppress(BaseException):
            status = run_part.main(line)
    os._exit(status)


def finish(line):
    _, status = os.waitpid(start(line), 0)
    assert os.waitstatus_to_exitcode(status) == 0


def epochs_done(checkpoint):
    try:
        return len(checkpoints.load(checkpoint)["training"]["history"])
    except UserError:
        assert not checkpoint.exists()  # there is none yet; a damaged one would be a failure
        return 0


def test_killed_runs_end_with_the_weights_of_an_undisturbed_one(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    root = small_sets.write_imm(tmp_path / "sets")
    line = ["1", "--data", str(root), "--epochs", str(EPOCHS), "--device", "cpu", "--reports"]
    began = time.monotonic()
    finish([*line, str(tmp_path / "undisturbed")])
    seconds = time.monotonic() - began

    chance = random.Random(20)
    checkpoint = tmp_path / "killed" / "part1" / "checkpoint.pt"
    stopped_at = [0]
    for kill in range(KILLS):
        run = start([*line, str(tmp_path / "killed"), "--resume"])
        longest = seconds / 6 if kill < KILLS - 2 else seconds  # the last may hit the page
        time.sleep(chance.uniform(0, longest))
        os.kill(run, signal.SIGKILL)
        os.waitpid(run, 0)
        stopped_at.append(epochs_done(checkpoint))
    assert stopped_at == sorted(stopped_at)  # nothing that was done is lost
    assert any(0 < epochs < EPOCHS for epochs in stopped_at)
    finish([*line, str(tmp_path / "killed"), "--resume"])

    reports = [tmp_path / name / "part1" for name in ("undisturbed", "killed")]
    one, other = (checkpoints.load(folder / "checkpoint.pt") for folder in reports)
    assert one["weights"].keys() == other["weights"].keys()
    for name, weights in one["weights"].items():
        assert torch.equal(weights, other["weights"][name])
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in reports]
    for measured in metrics:
        measured.pop("seconds")
    assert metrics[0] == metrics[1]
    assert (reports[1] / "index.html").is_file()
    assert len(other["training"]["history"]) == EPOCHS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_leaves_no_half_file(tmp_path, number, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    root = small_sets.write_imm(tmp_path / "sets")
    line = ["1", "--data", str(root), "--device", "cpu", "--reports", str(tmp_path)]
    checkpoint = tmp_path / "part1" / "checkpoint.pt"
    run = start(line)
    until = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(run, number)
    _, status = os.waitpid(run, 0)
    assert os.waitstatus_to_exitcode(status) in (130, -signal.SIGTERM)
    assert 0 < epochs_done(checkpoint) < part1_nose_tip.Best.epochs
