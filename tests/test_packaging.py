"""``datasets`` and ``common`` are names of other packages too: neither is in the other's way."""

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
FOLDERS = ("datasets", "common", "parts")
NAMESAKES = (*FOLDERS, "run_part")


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
    assert f"found in {root}" in done.stdout, done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """What a build needs of the repository, so that it leaves nothing beside the code."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("repository")
    for name in ("pyproject.toml", "README.md", "LICENSE", "run_part.py"):
        shutil.copy(REPOSITORY / name, folder)
    for name in FOLDERS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
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
    code = f"from importlib.util import find_spec; assert not any(map(find_spec, {NAMESAKES}))"
    done = run(python, "-c", code, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_requires_what_the_code_imports():
    """Every library that the code imports is named, with a bound, in pyproject.toml."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    named = dict(re.findall(r'^\s*"([a-z0-9-]+)([<>=][^"]*)"', text, re.MULTILINE))
    line = re.compile(r"^ *(?:from (?=\S+ import)|import (?=[\w. ,]+$))(\w+)", re.MULTILINE)
    files = [file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*.py")]
    imported = {name for file in files for name in line.findall(file.read_text(encoding="utf-8"))}
    theirs = imported - sys.stdlib_module_names - {*FOLDERS}
    called = {"PIL": "pillow", "cv2": "opencv-python", "skimage": "scikit-image"}
    called |= {"pillow_heif": "pillow-heif", "google": "protobuf", "markdown_it": "markdown-it-py"}
    assert theirs >= {"torch", "PIL", "numpy"}
    assert all(">=" in named[called.get(name, name)] for name in theirs), theirs
    assert "<5" in named["opencv-python"]
