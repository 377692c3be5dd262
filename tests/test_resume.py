"""Runs that are stopped at random moments and resumed end where an undisturbed run ends."""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest
import small_sets
import torch

from common import checkpoints, training
from common.errors import UserError
from parts import part1_nose_tip

PROGRAM = Path(__file__).resolve().parents[1] / "run_part.py"
PROCESSES = multiprocessing.get_context("forkserver")  # see conftest.py for what it has loaded
EPOCHS = 80
KILLS = 24
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 60  # seconds; a run that takes longer hangs


def run_program(line, folder, largest_file=resource.RLIM_INFINITY):
    """What a forked process does: the command line, a checkpoint after every epoch.

    What it prints goes to ``folder/stderr``. largest_file: bytes, for a disk that is full.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    os.environ["FACE_CACHE"] = str(folder / "cache")
    training.SECONDS_BETWEEN_CHECKPOINTS = 0
    torch.set_num_threads(1)
    sys.argv = [str(PROGRAM), *line]
    with (
        open(os.devnull, "w") as nowhere,
        open(folder / "stderr", "w") as errors,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(errors),
    ):
        runpy.run_path(str(PROGRAM), run_name="__main__")


@pytest.fixture
def start(tmp_path):
    """Starts the command line in a process of its own, which ends with the test at the latest."""
    started = []

    def call(line, **limits):
        process = PROCESSES.Process(target=run_program, args=(line, tmp_path), kwargs=limits)
        started.append(process)
        process.start()
        return process

    yield call
    for process in started:
        process.kill()
        process.join(PATIENCE)


@pytest.fixture
def line(tmp_path):
    """Part 1 on a few faces, up to the folder for its reports."""
    root = small_sets.write_imm(tmp_path / "sets")
    return ["1", "--data", str(root), "--epochs", str(EPOCHS), "--device", "cpu", "--reports"]


def end(process):
    """Wait for a process and return its exit status; minus the signal's number where one killed."""
    process.join(PATIENCE)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def told(folder):
    """The lines that the last run printed, but for the bars of tqdm."""
    lines = (folder / "stderr").read_text().replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "it/s" not in line and "epoch" not in line]


def epochs_done(checkpoint):
    try:
        return len(checkpoints.load(checkpoint)["training"]["history"])
    except UserError:
        assert not checkpoint.exists()  # there is none yet; a damaged one would be a failure
        return 0


def wait_for_an_epoch(checkpoint):
    until = time.monotonic() + PATIENCE
    while not epochs_done(checkpoint):
        assert time.monotonic() < until, "no checkpoint appears"
        time.sleep(0.01)


def assert_same_end(one, other):
    """Both reports hold the same weights, bit for bit, and the same metrics."""
    first, second = (checkpoints.load(folder / "checkpoint.pt") for folder in (one, other))
    assert first["weights"].keys() == second["weights"].keys()
    for name, weights in first["weights"].items():
        assert torch.equal(weights, second["weights"][name])
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (one, other)]
    for measured in metrics:
        measured.pop("seconds")
    assert metrics[0] == metrics[1]
    assert len(second["training"]["history"]) == EPOCHS
    assert (other / "index.html").is_file()


def test_killed_runs_end_with_the_weights_of_an_undisturbed_one(tmp_path, start, line):
    began = time.monotonic()
    assert end(start([*line, str(tmp_path / "undisturbed")])) == 0
    seconds = time.monotonic() - began

    chance = random.Random(20)
    resumed = [*line, str(tmp_path / "killed"), "--resume"]
    checkpoint = tmp_path / "killed" / "part1" / "checkpoint.pt"
    stopped_at, statuses = [0], []
    for kill in range(KILLS):
        run = start(resumed)
        longest = seconds / 8 if kill < KILLS - 3 else seconds  # the last may hit the page
        run.join(chance.uniform(0, longest))
        number = SIGNALS[kill % len(SIGNALS)]
        with contextlib.suppress(ProcessLookupError):  # has ended by itself
            os.kill(run.pid, number)
        statuses.append(end(run))
        stopped_at.append(epochs_done(checkpoint))
        # 130 after Ctrl-C and SIGTERM, unless the run had ended or not begun.
        assert statuses[-1] in (0, 130, -number), told(tmp_path)
    assert {130, -signal.SIGKILL} <= set(statuses)
    assert stopped_at == sorted(stopped_at)  # nothing that was done is lost
    assert len(set(stopped_at) - {0, EPOCHS}) >= 3  # they were killed while they trained
    assert end(start(resumed)) == 0
    assert_same_end(tmp_path / "undisturbed" / "part1", tmp_path / "killed" / "part1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_asked_to_stop_says_one_line_and_leaves_no_half_file(
    tmp_path, start, line, number
):
    line[line.index("--epochs") + 1] = str(part1_nose_tip.Best.epochs)
    checkpoint = tmp_path / "part1" / "checkpoint.pt"
    run = start([*line, str(tmp_path)])
    wait_for_an_epoch(checkpoint)
    os.kill(run.pid, number)
    assert end(run) == 130
    assert told(tmp_path) == ["stopped; --resume goes on from the last checkpoint"]
    assert 0 < epochs_done(checkpoint) < part1_nose_tip.Best.epochs
    assert [file.name for file in checkpoint.parent.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_fills_while_training_costs_no_checkpoint(tmp_path, start, line):
    assert end(start([*line, str(tmp_path / "undisturbed")])) == 0

    resumed = [*line, str(tmp_path / "full"), "--resume"]
    checkpoint = tmp_path / "full" / "part1" / "checkpoint.pt"
    run = start(resumed)
    wait_for_an_epoch(checkpoint)
    run.kill()
    end(run)
    before = checkpoint.read_bytes()
    assert end(start(resumed, largest_file=len(before) // 2)) == 2
    (complaint,) = told(tmp_path)
    assert complaint.startswith(f"error: {checkpoint}: cannot be written")
    assert checkpoint.read_bytes() == before
    assert [file.name for file in checkpoint.parent.iterdir()] == ["checkpoint.pt"]

    assert end(start(resumed)) == 0
    assert_same_end(tmp_path / "undisturbed" / "part1", tmp_path / "full" / "part1")
