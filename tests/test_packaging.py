"""``datasets`` and ``common`` are names of other packages too: neither is in the other's way."""

import ast
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


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A Python with other packages of our names installed, and our libraries behind them."""
    python, packages = new_environment(tmp_path_factory.mktemp("venv"))
    for name in NAMESAKES:
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text("theirs = True\n")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return python, packages


def run(python, *words, folder=REPOSITORY, **variables):
    return subprocess.run(
        [str(python), *map(str, words)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip


def test_the_namesakes_are_installed(environment, tmp_path):
    python, _ = environment
    for name in NAMESAKES:
        done = run(python, "-c", f"import {name}; assert {name}.theirs", folder=tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the repository", "from elsewhere"])
def test_our_own_folders_are_found_before_installed_namesakes(environment, tmp_path, elsewhere):
    python, packages = environment
    root = small_sets.write_imm(tmp_path / "sets")
    folder, script = (tmp_path, REPOSITORY / "run_part.py") if elsewhere else (None, "run_part.py")
    # Also where the namesakes' folder is named once more.
    done = run(
        python, script, "data", "--data", root,
        folder=folder or REPOSITORY, PYTHONPATH=str(packages),
    )  # fmt: skip
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
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, folder)
    for name in ("common", "datasets", "parts"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    return folder


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
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_package_asks_for_what_the_code_imports():
    """Every library that the code imports is named, with a bound, in pyproject.toml."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    named = dict(re.findall(r'^\s*"([a-z0-9-]+)([<>=][^"]*)"', text, re.MULTILINE))
    imported = set()
    for house in ("common", "datasets", "parts"):
        for file in (REPOSITORY / house).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add(node.module.partition(".")[0])
    theirs = imported - set(sys.stdlib_module_names) - {"common", "datasets", "parts"}
    called = {"PIL": "pillow", "cv2": "opencv-python", "skimage": "scikit-image"}
    assert theirs >= {"torch", "PIL", "numpy"}
    for name in theirs:
        assert ">=" in named[called.get(name, name)]
    assert "<5" in named["opencv-python"]
