"""Runs that are stopped at any point and resumed end where an undisturbed run ends.

Each process stops itself at a given point, so nothing depends on the machine's speed.
"""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import traceback
from functools import partial
from pathlib import Path

import made_up_reports
import pytest
import small_sets
import torch
from states import same, state_of

from common import checkpoints, training

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).resolve().parents[1] / "run_part.py"
PROCESSES = multiprocessing.get_context("forkserver")  # see conftest.py for what it has loaded
EPOCHS = 7  # of one step each
PATIENCE = 120  # seconds; a run that takes longer hangs


def stop_at(module, name, call, number):
    """Send this process a signal at a given call of a function of the module of that name."""
    original, calls = getattr(sys.modules[module], name), []

    def counting(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(sys.modules[module], name, counting)


def fill_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


KILLED = -signal.SIGKILL
in_step = partial(stop_at, "common.training", "augment")
in_writing = partial(stop_at, "os", "fsync")  # of the temporary file
in_drawing = partial(stop_at, "common.report.figures", "save")
STOPS = {  # what stops a process, its exit status, and the epochs done since the first start
    "killed before the first checkpoint": (partial(in_step, 1, signal.SIGKILL), KILLED, 0),
    "killed": (partial(in_step, 3, signal.SIGKILL), KILLED, 2),
    "SIGTERM": (partial(in_step, 2, signal.SIGTERM), 130, 3),
    "Ctrl-C": (partial(in_step, 2, signal.SIGINT), 130, 4),
    "a full disk": (fill_disk, 2, 4),
    "killed while writing a checkpoint": (partial(in_writing, 4, signal.SIGKILL), KILLED, 5),
    "killed while drawing": (partial(in_drawing, 3, signal.SIGKILL), KILLED, EPOCHS),
}


def run_program(line, folder, stop):
    """What a forked process does: the command line, with a checkpoint after every epoch.

    stop: arranges how this process ends.
    """
    os.environ["FACE_CACHE"] = str(folder / "cache")
    training.SECONDS_BETWEEN_CHECKPOINTS = 0
    made_up_reports.draw_nothing(pytest.MonkeyPatch())  # drawing takes most of a run's time
    torch.set_num_threads(1)
    sys.argv = [str(PROGRAM), *line, "--reports", str(folder)]
    sys.stdout = sys.stderr = (folder / "stderr").open("w", buffering=1)
    try:
        stop()
        runpy.run_path(str(PROGRAM), run_name="__main__")
    except Exception:
        traceback.print_exc()
        raise


def run(line, folder, stop=tuple):
    """The exit status of a process, minus the signal's number if one killed it, and its errors."""
    process = PROCESSES.Process(target=run_program, args=(line, folder, stop), daemon=True)
    process.start()
    process.join(PATIENCE)
    assert not process.is_alive(), "the run hangs"
    return process.exitcode, (folder / "stderr").read_text().replace("\r", "\n").splitlines()


def epochs_done(checkpoint):
    return len(checkpoints.load(checkpoint)["training"]["history"]) if checkpoint.exists() else 0


def test_stopped_runs_end_with_the_weights_of_an_undisturbed_one(tmp_path):
    root = small_sets.write_imm(tmp_path / "sets")
    line = ["1", "--data", str(root), "--epochs", str(EPOCHS), "--device", "cpu", "--resume"]
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    undisturbed.mkdir()
    stopped.mkdir()
    checkpoint = stopped / "part1" / "checkpoint.pt"
    last_lines = {130: "stopped; parts go on with --resume", 2: f"error: {checkpoint}: cannot be"}
    for name, (stop, status, epochs) in STOPS.items():
        exit_status, errors = run(line, stopped, stop)
        assert (exit_status, epochs_done(checkpoint)) == (status, epochs), name
        if status in last_lines:
            assert errors[-1].startswith(last_lines[status])
            assert not any("Traceback" in text for text in errors)
            assert [file.name for file in checkpoint.parent.iterdir()] == ["checkpoint.pt"]
        assert not (checkpoint.parent / "index.html").exists()
    assert [run(line, folder)[0] for folder in (undisturbed, stopped)] == [0, 0]
    # The weights, snapshots and metrics in the checkpoints are the same, bit for bit.
    assert same(state_of(undisturbed / "part1" / checkpoint.name), state_of(checkpoint))
    assert epochs_done(checkpoint) == EPOCHS
    assert (checkpoint.parent / "index.html").is_file()
