import multiprocessing
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Tests that stop processes fork them from a clean one, which has loaded these and runs no thread.
multiprocessing.set_forkserver_preload(["run_part", "parts.commands.train", "parts.toolkit"])
# FFmpeg reads it once, at a process's first video, which here may be one that a test writes.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def pytest_configure(config):
    config.option.loadscopereorder = False  # of xdist, which would begin with the most tests


def pytest_collectstart():
    """Before a test file is imported; the process that hands out the tests imports none, and must
    not keep the others waiting."""
    import torch
    from hypothesis import settings

    # A slow machine is not an error.
    settings.register_profile("any machine", deadline=None, max_examples=40)
    settings.load_profile("any machine")
    torch.set_num_threads(1)  # tiny tensors: more threads cost time, and the order of sums


def pytest_collection_modifyitems(items):
    """Files with slow tests first: at the end no process works alone on a long one."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder of the test's own: nothing is written beside the code."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))  # mktemp lists them all
    monkeypatch.setenv("FACE_CACHE", str(folder))
    return folder


@pytest.fixture
def command(capfd, monkeypatch, tmp_path):
    """Calls the command line in an empty folder: exit status, stdout, lines of stderr but for that
    on the network, which is kept in ``network``."""
    import run_part

    monkeypatch.chdir(tmp_path)

    def call(*line):
        capfd.readouterr()
        status = run_part.main([str(word) for word in line])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        lines = err.splitlines()
        call.network = [line for line in lines if line.startswith("network: ")]
        return status, out, [line for line in lines if line not in call.network]

    return call


@pytest.fixture
def few(monkeypatch):
    """Synthetic sets of 6 training and 3 test faces, small enough to be rendered in a test."""
    from datasets.synthetic import cached

    counts = {key: 6 if key[1] == "train" else 3 for key in cached.COUNTS}
    monkeypatch.setattr(cached, "COUNTS", counts)
    monkeypatch.setattr(cached, "SIZES", {"portrait": (48, 64), "crop": (48, 48)})


@pytest.fixture(scope="session")
def real_data():
    """The folder with the real sets, or the test is skipped."""
    from datasets import ibug, imm

    root = Path(os.environ.get("FACE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (root / imm.FOLDER).is_dir() or not (root / ibug.FOLDER).is_dir():
        pytest.skip("the real faces are not here")
    return root


@pytest.fixture(scope="session")
def small_root(tmp_path_factory):
    """A folder with a few synthetic faces in the layout of IMM and of 300-W."""
    import small_sets

    return small_sets.write_ibug(small_sets.write_imm(tmp_path_factory.mktemp("sets")))


@pytest.fixture
def small_runs(monkeypatch):
    """Runs of the parts with small crops and without the drawing, which takes most of the time."""
    import made_up_reports
    from small_sets import shrink_crops

    shrink_crops(monkeypatch)
    made_up_reports.draw_nothing(monkeypatch)
