import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from small_network import checkpoint_of

import run_part
from common import training
from common.system.signals import STOPS
from datasets.synthetic import cached

REPOSITORY = Path(__file__).resolve().parents[1]
ON_CPU = ("--epochs", 1, "--device", "cpu")


def python(code, *line, **settings):
    """Runs ``code`` in a Python of its own, in the repository."""
    return subprocess.run(
        [sys.executable, "-c", code, *line],
        **{"stdout": subprocess.PIPE} | settings,
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_what_needs_no_library_comes_at_once():
    code = (
        "import sys, run_part\n"
        "for line in sys.argv[1:]:\n"
        "    try: run_part.main(line.split())\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "slow = {'torch', 'numpy', 'PIL', 'cv2', 'matplotlib'} & sys.modules.keys()\n"
        "assert not slow, slow"
    )
    lines = "--help", "1 --help", "3 --help", "data --help", "check --help", "data --download"
    done = python(code, *lines)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: python run_part.py") == 5


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        run_part.main(["--help"])
    listed = re.findall(r"^    (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    known = "1 2 3 compare ladder ablation data evaluate predict explain export check webcam site"
    assert listed == known.split()


@pytest.mark.skipif(os.name != "posix", reason="pipes end otherwise there")
def test_a_closed_pipe_is_not_an_error():
    code = (
        "import sys, run_part\n"
        "try: print('a line that nobody reads', flush=True)\n"
        "except BrokenPipeError as fault: sys.exit(run_part.report(fault))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = python(code, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_behind_stdout_is_one_line():
    code = (
        "import run_part, sys\n"
        "try: print('lost', flush=True)\n"
        "except OSError as fault: sys.exit(run_part.report(fault))"
    )
    with open("/dev/full", "w") as full:
        done = python(code, stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: stdout: No space left on device; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="shells close them otherwise there")
def test_the_whole_program_ends_with_status_2_and_no_traceback_its_streams_closed_or_not():
    for closed in ("", "<&- >&-"):
        line = f"exec {sys.executable} run_part.py data --download {closed}"
        done = subprocess.run(["sh", "-c", line], cwd=REPOSITORY, capture_output=True, timeout=120)
        assert (done.returncode, done.stdout) == (2, b"")
        (error,) = done.stderr.splitlines()
        assert error.startswith(b"error: --download: name the data set")


@pytest.mark.parametrize(("part", "name"), [("1", "imm"), ("3", "ibug")])
def test_a_requested_data_set_that_is_missing_ends_in_one_line(command, tmp_path, part, name):
    status, out, (line,) = command(part, "--dataset", name, "--data", tmp_path)
    assert (status, out) == (2, "")
    assert line.startswith(f"error: {name}: not found") and str(tmp_path) in line
    assert f"run_part.py data {name} --download" in line
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("part", "usual"), [("1", "imm"), pytest.param("3", "ibug", marks=pytest.mark.slow)]
)
def test_without_data_synthetic_faces_are_taken(command, tmp_path, few, small_runs, part, usual):
    status, _, errors = command(part, "--data", tmp_path, *ON_CPU)
    assert status == 0
    (first,) = [text for text in errors if "not found" in text]
    assert f"run_part.py data {usual} --download" in first
    folder = tmp_path / "reports" / f"part{part}"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["synthetic"], metrics["dataset"]) == (True, "synthetic")
    assert (metrics["n_train"], metrics["n_test"]) == (6, 3)
    assert "Synthetic faces." in (folder / "index.html").read_text()
    _, out, _ = command("evaluate", folder / "checkpoint.pt", "--json", "--data", tmp_path)
    assert json.loads(out)["nme"] == pytest.approx(metrics["nme"], rel=1e-5)


@pytest.mark.parametrize(
    "line", ["", "4", "1 --recipe none", "1 --epochs many", "predict", "1 --no"]
)
def test_an_unknown_word_is_reported_with_the_usage(line, capsys):
    with pytest.raises(SystemExit) as end:
        run_part.main(line.split())
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert usage.startswith("usage: ") and "error: " in error


@pytest.mark.slow
def test_refusals_come_before_faces_are_rendered(command, tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "load", lambda *_: pytest.fail("rendered"))
    checkpoint = checkpoint_of(tmp_path / "one.pt", dataset="synthetic")
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACE_DATA", str(tmp_path))
    for line in (
        "1 --device nonsense", "compare --device nonsense", "1 --reports file/r",
        f"evaluate {checkpoint} --boxes yunet", f"evaluate {checkpoint} --device nonsense",
        f"export {checkpoint} file/out.onnx", f"export {checkpoint} {checkpoint} --overwrite",
    ):  # fmt: skip
        status, out, errors = command(*line.split())
        assert (status, out, len(errors)) == (2, "", 1), errors
    assert not (tmp_path / "reports").exists() and checkpoint.stat().st_size > 1000


def test_reports_that_cannot_be_written_end_before_the_training(command, small_root, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, errors = command("1", "--data", small_root, "--reports", tmp_path / "file")
    assert status == 2 and "cannot be written" in errors[-1]
    assert not any("training" in line for line in errors)


def test_without_torch_one_line_says_what_to_install():
    missing = "import sys; sys.modules['torch'] = None"  # importing it fails as if it were missing
    done = python(f"{missing}; import run_part; sys.exit(run_part.main(['1']))")
    (error,) = done.stderr.splitlines()
    assert done.returncode == 2 and "pip install -e ." in error
    assert error.startswith("error: the package torch is missing")


@pytest.mark.parametrize("module", ["common", "common.training", "parts.part1_nose_tip"])
def test_an_error_in_our_own_imports_is_not_reported_as_a_missing_package(module):
    fault = ImportError("cannot import name 'fit'", name=module)
    with pytest.raises(ImportError) as raised:
        run_part.report(fault)
    assert raised.value is fault


def test_at_the_second_signal_the_process_ends_at_once(monkeypatch):
    """torchrun passes Ctrl-C on to processes that have received it already."""
    ends = []
    monkeypatch.setattr(run_part, "stops", [])
    monkeypatch.setattr(os, "_exit", ends.append)
    for number, expected in ((2, []), (15, [130])):
        with pytest.raises(KeyboardInterrupt):
            run_part.stop(number, None)
        assert ends == expected


@pytest.mark.parametrize("number", STOPS)
def test_sigterm_and_a_closed_terminal_stop_a_command_as_ctrl_c_does(monkeypatch, capsys, number):
    def work(options):
        os.kill(os.getpid(), number)
        pytest.fail("goes on after the signal")

    module = SimpleNamespace(add_options=lambda parser: None, run=work)
    monkeypatch.setattr(run_part, "module_of", lambda called: module)
    monkeypatch.setattr(run_part, "stops", [])
    before = signal.signal(number, run_part.stop)
    try:
        assert run_part.main(["data"]) == 130
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err.startswith("stopped; ")


def interrupted_in_a_library(*_):
    try:
        run_part.stop(2, None)
    except KeyboardInterrupt:
        raise ValueError("Invalid affine transformation matrix") from None


@pytest.mark.parametrize("stop", [Mock(side_effect=KeyboardInterrupt), interrupted_in_a_library])
def test_ctrl_c_ends_with_one_line(command, small_root, monkeypatch, stop):
    monkeypatch.setattr(run_part, "stops", [])
    monkeypatch.setattr(training, "train_epoch", stop)
    status, _, errors = command("1", "--data", small_root, *ON_CPU)
    assert status == 130 and errors[-1].startswith("stopped; parts go on with --resume")
