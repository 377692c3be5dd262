import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import small_sets

import run_part
from common import training
from datasets.synthetic import cached

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def told(capsys):
    """Calls the command line within this process: exit status, stdout, the lines of stderr."""

    def call(*line):
        capsys.readouterr()
        status = run_part.main([str(word) for word in line])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return call


def python(code, *line):
    """Runs ``code`` in a Python of its own, in the repository, and then ``main(line)``."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *map(str, line)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return small_sets.write_imm(tmp_path_factory.mktemp("sets"))


@pytest.mark.parametrize("line", [["--help"], ["1", "--help"], ["3", "--help"], ["data", "--help"]])
def test_help_comes_at_once_because_no_library_is_loaded_for_it(line):
    code = (
        "import run_part\n"
        "try: run_part.main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "slow = {'torch', 'numpy', 'PIL', 'cv2', 'matplotlib'} & sys.modules.keys()\n"
        "assert not slow, slow"
    )
    before = os.times()
    done = python(code, *line)
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python run_part.py")
    # The processor's seconds: those on the wall count what else the machine does.
    assert after.children_user + after.children_system - sum(before[2:4]) < 1


def test_help_names_every_command():
    done = python("import run_part; run_part.main(['--help'])")
    listed = re.findall(r"^    (\w+)  ", done.stdout, re.MULTILINE)
    known = "1 2 3 compare ladder ablation data evaluate predict explain export check webcam"
    assert listed == known.split()


@pytest.mark.skipif(os.name != "posix", reason="pipes end otherwise there")
def test_whoever_reads_our_lines_may_stop():
    code = (
        "import sys, run_part\n"
        "try: print('a line that nobody reads', flush=True)\n"
        "except BrokenPipeError as fault: sys.exit(run_part.report(fault))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=writing,
        stderr=subprocess.PIPE, timeout=100, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("part", ["1", "2", "3"])
def test_a_data_set_that_is_asked_for_and_missing_is_told_in_one_line(told, tmp_path, part):
    name = {"1": "imm", "2": "imm", "3": "ibug"}[part]
    reports = tmp_path / "reports"
    status, out, errors = told(part, "--dataset", name, "--data", tmp_path, "--reports", reports)
    assert (status, out) == (2, "")
    (line,) = errors
    assert line.startswith(f"error: {name}: not found")
    assert str(tmp_path) in line
    assert f"run_part.py data {name} --download" in line
    assert not reports.exists()


@pytest.mark.parametrize("part", ["1", "2", "3"])
def test_without_any_data_set_a_part_says_so_and_runs_on_drawn_faces(
    told, tmp_path, monkeypatch, part
):
    few = {key: 6 if key[1] == "train" else 3 for key in cached.COUNTS}
    monkeypatch.setattr(cached, "COUNTS", few)
    line = ["--data", tmp_path, "--reports", tmp_path / "reports", "--epochs", 1]
    status, _, errors = told(part, *line, "--device", "cpu")
    assert status == 0
    (first,) = [text for text in errors if "not found" in text]
    assert f"run_part.py data {'ibug' if part == '3' else 'imm'} --download" in first
    folder = tmp_path / "reports" / f"part{part}"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["synthetic"] is True
    assert metrics["dataset"] == "synthetic"
    assert (metrics["n_train"], metrics["n_test"]) == (6, 3)
    status, out, _ = told("evaluate", folder / "checkpoint.pt", "--json", "--data", tmp_path)
    assert status == 0
    assert json.loads(out)["nme"] == pytest.approx(metrics["nme"], rel=1e-5)


def test_the_whole_program_ends_with_status_2_and_no_traceback(tmp_path):
    line = ["1", "--dataset", "imm", "--data", tmp_path, "--reports", tmp_path / "r"]
    done = subprocess.run(
        [sys.executable, "run_part.py", *line],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")


def test_the_data_folder_comes_from_the_environment_too(told, root, monkeypatch, tmp_path):
    monkeypatch.setenv("FACE_DATA", str(root))
    status, out, _ = told("data")
    assert status == 0
    assert f"found in {root}" in out
    status, out, _ = told("data", "--data", tmp_path)
    assert status == 0
    assert f"not found in {tmp_path}" in out


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (["1", "--dataset", "nothing"], "--dataset nothing"),
        (["1", "--dataset", "ibug"], "--dataset ibug"),
        (["3", "--dataset", "imm"], "--dataset imm"),
        (["1", "--epochs", "0"], "--epochs 0"),
        (["2", "--epochs", "-5"], "--epochs -5"),
        (["1", "--device", "nonsense"], "--device nonsense"),
        (["1", "--device", "cuda:99"], "--device cuda:99"),
        (["data", "nothing", "--download"], "nothing"),
        (["data", "--download"], "--download"),
        (["evaluate", "none.pt"], "none.pt"),
        (["evaluate", "pyproject.toml"], "pyproject.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_persons_mistake_is_told_in_one_line(told, root, tmp_path, monkeypatch, line, named):
    monkeypatch.chdir(REPOSITORY)
    reports = ["--reports", tmp_path / "reports"] if line[0] in "123" else []
    status, _, errors = told(*line, "--data", root, *reports)
    assert status == 2
    (last,) = [text for text in errors if text.startswith("error: ")]
    assert last == errors[-1]
    assert named in last
    assert not any("Traceback" in text for text in errors)


@pytest.mark.parametrize(
    "line",
    [[], ["4"], ["1", "--recipe", "none"], ["1", "--epochs", "many"], ["predict"], ["1", "--no"]],
    ids=" ".join,
)
def test_an_unknown_word_is_told_with_the_usage(line, capsys):
    with pytest.raises(SystemExit) as end:
        run_part.main(line)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: ")
    assert "error: " in error.splitlines()[-1]


def test_a_reports_folder_that_cannot_be_written_is_told_before_training(told, root, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, errors = told("1", "--data", root, "--reports", tmp_path / "file")
    assert status == 2
    assert "cannot be written" in errors[-1]
    assert not any("training" in line for line in errors)


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(told, root, tmp_path):
    line = ["1", "--data", root, "--reports", tmp_path, "--epochs", "1", "--device", "cpu"]
    assert told(*line, "--recipe", "course")[0] == 0
    status, _, errors = told(*line, "--recipe", "best", "--resume")
    assert status == 2
    assert "another recipe or seed" in errors[-1]
    (tmp_path / "part1" / "checkpoint.pt").write_bytes(b"damaged")
    status, _, errors = told(*line, "--recipe", "course", "--resume")
    assert status == 2
    assert "checkpoint.pt: damaged" in errors[-1]


@pytest.mark.parametrize("package", ["torch", "torchvision", "jinja2", "PIL"])
def test_a_missing_package_is_told_in_one_line_with_the_remedy(tmp_path, package):
    # What Python itself does where a package is not installed.
    code = (
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import run_part; sys.exit(run_part.main(sys.argv[1:]))"
    )
    done = python(code, "1", "--dataset", "imm", "--data", tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the package {package} is missing")
    assert "pip install" in line


@pytest.mark.parametrize("module", ["common", "common.training", "parts.part1_nose_tip"])
def test_a_fault_in_our_own_imports_is_not_told_as_a_missing_package(module):
    fault = ImportError("cannot import name 'fit'", name=module)
    with pytest.raises(ImportError) as told:
        run_part.report(fault)
    assert told.value is fault


def test_ctrl_c_ends_with_one_line(told, root, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_epoch", interrupted)
    status, _, errors = told("1", "--data", root, "--reports", tmp_path, "--device", "cpu")
    assert status == 130
    assert "--resume" in errors[-1]
    assert not any("Traceback" in line for line in errors)


def test_asked_to_stop_twice_it_ends_at_once(monkeypatch):
    """torchrun passes Ctrl-C on to processes that have met it already."""
    monkeypatch.setattr(run_part, "stops", [])
    ends = []
    monkeypatch.setattr(os, "_exit", lambda status: ends.append(status))
    with pytest.raises(KeyboardInterrupt):
        run_part.stop(2, None)
    assert ends == []
    with pytest.raises(KeyboardInterrupt):
        run_part.stop(15, None)
    assert ends == [130]


def test_ctrl_c_that_a_library_turns_into_another_error_is_ctrl_c(
    told, root, tmp_path, monkeypatch
):
    monkeypatch.setattr(run_part, "stops", [])

    def turned(*_):
        try:
            run_part.stop(2, None)
        except KeyboardInterrupt:
            raise ValueError("Invalid affine transformation matrix") from None

    monkeypatch.setattr(training, "train_epoch", turned)
    status, _, errors = told("1", "--data", root, "--reports", tmp_path, "--device", "cpu")
    assert status == 130
    assert errors[-1].startswith("stopped")
    assert not any("Traceback" in line for line in errors)
