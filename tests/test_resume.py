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
import traceback
from pathlib import Path

import pytest
import small_sets
import torch

from common import checkpoints, training
from common.system.errors import UserError
from parts import part1_nose_tip

PROGRAM = Path(__file__).resolve().parents[1] / "run_part.py"
PROCESSES = multiprocessing.get_context("forkserver")  # see conftest.py for what it has loaded
EPOCHS = 80
KILLS = 24
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 120  # seconds; a run that takes longer hangs


def run_program(line, folder, largest_file=resource.RLIM_INFINITY):
    """What a forked process does: the command line, a checkpoint after every epoch.

    What it prints goes to ``folder/stderr``. largest_file: bytes, for a disk that is full.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    os.environ["FACE_CACHE"] = str(folder / "cache")
    training.SECONDS_BETWEEN_CHECKPOINTS = 0
    torch.set_num_threads(1)
    sys.argv = [str(PROGRAM), *line]
    with (
        open(os.devnull, "w") as nowhere,
        open(folder / "stderr", "a") as errors,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(errors),
    ):
        try:
            runpy.run_path(str(PROGRAM), run_name="__main__")
        except Exception:
            traceback.print_exc()
            raise


def start(line, folder, **limits):
    (folder / "stderr").write_text("")
    process = PROCESSES.Process(target=run_program, args=(line, folder), kwargs=limits, daemon=True)
    process.start()
    return process


def end(process):
    """Wait for a process and return its exit status; minus the signal's number where one killed."""
    process.join(PATIENCE)
    hangs = process.is_alive()
    process.kill()
    process.join(PATIENCE)
    assert not hangs
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


def wait_for_an_epoch(checkpoint, run):
    """Until the run has written its next checkpoint, or has ended."""

    def written():
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    before, until = written(), time.monotonic() + PATIENCE
    while written() == before and run.is_alive():
        assert time.monotonic() < until, "no checkpoint appears"
        time.sleep(0.005)


def assert_same_end(one, other):
    """Both reports hold the same weights, bit for bit, and the same metrics."""
    first, second = (checkpoints.load(folder / "checkpoint.pt") for folder in (one, other))
    assert first["weights"].keys() == second["weights"].keys()
    for name, weights in first["weights"].items():
        assert torch.equal(weights, second["weights"][name])
    films = [checkpoint["training"]["film"]["frames"] for checkpoint in (first, second)]
    assert films[0].keys() == films[1].keys()
    assert all(torch.equal(frame, films[1][epoch]) for epoch, frame in films[0].items())
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (one, other)]
    for measured in metrics:
        measured.pop("seconds")
    assert metrics[0] == metrics[1]
    assert len(second["training"]["history"]) == EPOCHS
    assert (other / "index.html").is_file()


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Part 1 on a few faces, up to the folder for its reports."""
    root = small_sets.write_imm(tmp_path_factory.mktemp("sets"))
    return ["1", "--data", str(root), "--epochs", str(EPOCHS), "--device", "cpu", "--reports"]


@pytest.fixture(scope="module")
def undisturbed(line, tmp_path_factory):
    """The folder of a run that nothing stopped, and its seconds from start to page."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "warm up").mkdir()
    assert end(start(["data", "--data", str(folder)], folder / "warm up")) == 0
    began = time.monotonic()
    assert end(start([*line, str(folder)], folder)) == 0
    return folder / "part1", time.monotonic() - began


def test_killed_runs_end_with_the_weights_of_an_undisturbed_one(tmp_path, line, undisturbed):
    report, seconds = undisturbed
    training_seconds = json.loads((report / "metrics.json").read_text())["seconds"]
    resumed = [*line, str(tmp_path), "--resume"]
    checkpoint = tmp_path / "part1" / "checkpoint.pt"
    chance = random.Random(20)
    stopped_at, statuses = [0], []
    for kill in range(KILLS):
        run = start(resumed, tmp_path)
        # Most while it trains, some while it starts, the last anywhere up to the end of the page.
        late = kill >= KILLS - 4
        if not late and chance.random() < 0.7:
            wait_for_an_epoch(checkpoint, run)
        run.join(chance.uniform(0, seconds if late else training_seconds / 12))
        number = SIGNALS[kill % len(SIGNALS)]
        with contextlib.suppress(ProcessLookupError):  # has ended by itself
            os.kill(run.pid, number)
        statuses.append(end(run))
        # 130 after Ctrl-C and SIGTERM, unless the run had ended or had not begun.
        assert statuses[-1] in (0, 130, -signal.SIGKILL) or told(tmp_path) == []
        stopped_at.append(epochs_done(checkpoint))
    assert {130, -signal.SIGKILL} <= set(statuses)
    assert stopped_at == sorted(stopped_at)  # nothing that was done is lost
    assert len(set(stopped_at) - {0, EPOCHS}) >= 3  # they were killed while they trained
    assert end(start(resumed, tmp_path)) == 0
    assert_same_end(report, tmp_path / "part1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_asked_to_stop_says_one_line_and_leaves_no_half_file(tmp_path, line, number):
    checkpoint = tmp_path / "part1" / "checkpoint.pt"
    many = [str(part1_nose_tip.Best.epochs) if word == str(EPOCHS) else word for word in line]
    run = start([*many, str(tmp_path)], tmp_path)
    wait_for_an_epoch(checkpoint, run)
    os.kill(run.pid, number)
    assert end(run) == 130
    assert told(tmp_path) == ["stopped; parts go on with --resume, others by the same command"]
    assert 0 < epochs_done(checkpoint) < part1_nose_tip.Best.epochs
    assert [file.name for file in checkpoint.parent.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_fills_while_training_costs_no_checkpoint(tmp_path, line, undisturbed):
    resumed = [*line, str(tmp_path), "--resume"]
    checkpoint = tmp_path / "part1" / "checkpoint.pt"
    run = start(resumed, tmp_path)
    wait_for_an_epoch(checkpoint, run)
    os.kill(run.pid, signal.SIGKILL)
    end(run)
    before = checkpoint.read_bytes()
    assert end(start(resumed, tmp_path, largest_file=len(before) // 2)) == 2
    (complaint,) = told(tmp_path)
    assert complaint.startswith(f"error: {checkpoint}: cannot be written")
    assert checkpoint.read_bytes() == before
    assert [file.name for file in checkpoint.parent.iterdir()] == ["checkpoint.pt"]
    assert end(start(resumed, tmp_path)) == 0
    assert_same_end(undisturbed[0], tmp_path / "part1")
