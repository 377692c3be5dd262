"""``datasets`` and ``common`` are names of other packages too: neither is in the other's way."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import small_sets

REPOSITORY = Path(__file__).resolve().parents[1]
NAMESAKES = ("datasets", "common", "parts", "run_part")


def new_environment(folder):
    """A Python with nothing installed; its program and its site-packages."""
    venv.create(folder, with_pip=False)
    (packages,) = [*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")]
    return next(folder.glob("bin/python*"), folder / "Scripts" / "python.exe"), packages


def run(python, *words, folder, **variables):
    return subprocess.run(
        [str(python), *map(str, words)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.slow
def test_our_own_folders_are_found_before_installed_namesakes(tmp_path):
    python, packages = new_environment(tmp_path / "venv")
    for name in NAMESAKES:
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text("theirs = True\n")
    theirs = "; ".join(f"import {name}; assert {name}.theirs" for name in NAMESAKES)
    assert run(python, "-c", theirs, folder=tmp_path).returncode == 0
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))  # ours, behind them
    root = small_sets.write_imm(tmp_path / "sets")
    line = [REPOSITORY / "run_part.py", "data", "--data", root]
    done = run(python, *line, folder=tmp_path, PYTHONPATH=str(packages))
    assert done.returncode == 0, done.stderr
    assert "IMM Face Database" in done.stdout
    assert f"found in {root}" in done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """What a build needs of the repository, so that it leaves nothing beside the code."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("copy") / "repository"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "run_part.py"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("common", "datasets", "parts"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_installing_puts_nothing_on_the_import_path(copy, tmp_path, kind):
    build = f"import setuptools.build_meta as b, sys; b.build_{kind}(sys.argv[1])"
    done = run(sys.executable, "-c", build, tmp_path, folder=copy)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    python, packages = new_environment(tmp_path / "venv")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)  # what installing a wheel does
    (metadata,) = packages.glob("*.dist-info/METADATA")
    assert "Requires-Dist: torch" in metadata.read_text()
    code = (
        "import importlib.util, sys; "
        "assert not [name for name in sys.argv[1:] if importlib.util.find_spec(name)]"
    )
    done = run(python, "-c", code, *NAMESAKES, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_requires_what_the_code_imports():
    """Every library that the code imports is named, with a bound, in pyproject.toml."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    named = dict(re.findall(r'^\s*"([a-z0-9-]+)([<>=][^"]*)"', text, re.MULTILINE))
    line = re.compile(r"^ *(?:from (\w+)[\w.]* import|import (\w+)[\w. ,]*$)", re.MULTILINE)
    imported = set()
    for house in ("common", "datasets", "parts"):
        for file in (REPOSITORY / house).rglob("*.py"):
            for names in line.findall(file.read_text(encoding="utf-8")):
                imported |= {*names}
    theirs = imported - set(sys.stdlib_module_names) - {"", "common", "datasets", "parts"}
    called = {
        "PIL": "pillow",
        "cv2": "opencv-python",
        "skimage": "scikit-image",
        "pillow_heif": "pillow-heif",
    }
    assert theirs >= {"torch", "PIL", "numpy"}
    for name in theirs:
        assert ">=" in named[called.get(name, name)]
    assert "<5" in named["opencv-python"]
