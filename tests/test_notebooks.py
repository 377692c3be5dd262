"""The notebooks: those in the repository agree with the parts' files, and they run."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from html import unescape
from pathlib import Path

import pytest
from made_up_reports import draw_nothing
from small_sets import shrink_crops
from test_architecture import REPOSITORY, imports

from common.recipe import Options
from notebooks import make


def cells(name, kind):
    notebook = json.loads((make.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def run_cell(source, names):
    """Run a cell as Jupyter does; what it shows of its last value."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else ast.parse("None").body[0]
    exec(compile(tree, "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return "" if value is None else value._repr_html_()


FIRST = "".join(cells("part1", "code")[0]["source"])  # the same in all notebooks


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The current folder of a machine that has nothing of the project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize("name", make.PARTS)
def test_the_notebook_agrees_with_the_parts_file_and_keeps_no_output(name):
    text = (make.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == make.notebook(make.PARTS[name]), "run: python -m notebooks.make"
    for cell in cells(name, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_first_cells_register_the_networks_of_all_parts():
    code = ["".join(cells(name, "code")[2]["source"]) for name in make.PARTS]
    assert all("from notebooks import inline" in source for source in code)
    assert "parts.toolkit" in imports("notebooks.inline")
    assert {"parts.part1_nose_tip", "parts.part2_full_face"} < imports("parts.toolkit")
    assert {"parts.part3_large_dataset", "parts.udacity_networks"} < imports("parts.part3_variants")


@pytest.mark.slow
@pytest.mark.parametrize("name", make.PARTS)
def test_the_notebook_runs_and_shows_its_steps(name, small_root, tmp_path, monkeypatch):
    monkeypatch.chdir(make.FOLDER)  # where Jupyter starts it
    monkeypatch.setattr(sys, "path", [*sys.path])
    shrink_crops(monkeypatch)
    options = Options(epochs=1, data=small_root, device="cpu", reports=tmp_path)
    names, shown = {}, []
    for cell in cells(name, "code"):
        source = "".join(cell["source"])
        if "write_run_report(" in source:  # figures of pages have tests of their own
            draw_nothing(monkeypatch)
        if cell["metadata"].get("tags") == ["parameters"]:
            names["options"] = options
        else:
            shown.append(run_cell(source, names))
    assert Path.cwd() == REPOSITORY and sys.path[0] == str(REPOSITORY)
    recipe, faces, network, curves, page = filter(None, shown)
    assert "<td>epochs</td><td>1</td>" in recipe
    assert faces.count("<img") == 2 * min(8, len(names["train"])) and curves.count("<img") == 1
    assert f"class {type(names['network']).__name__}(nn.Module):" in network
    assert "<td>Conv2d</td>" in network
    written = (tmp_path / name / "index.html").read_text()
    inside = unescape(re.search('srcdoc="([^"]*)"', page)[1])
    assert inside.count("<img") == written.count("<img") > 20
    assert 'src="figures' not in inside and "history.csv</a>" in inside
    assert len(names["history"]) == 1


INSTALL = [sys.executable, "-m", "pip", "install", "--quiet", "-e", "course"]


@pytest.fixture
def called(monkeypatch):
    """The commands that a cell runs; each leaves the project's folder behind."""
    commands = []

    def run(command, check=False):
        commands.append(command)
        Path("course").mkdir(exist_ok=True)
        Path("course/run_part.py").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", run)
    return commands


def test_the_first_cell_fetches_and_installs_the_project(empty_folder, called):
    for _ in range(2):  # Colab, restarted, starts above the project again
        os.chdir(empty_folder)
        run_cell(FIRST, {})
        assert Path.cwd() == empty_folder / "course" and sys.path[0] == os.getcwd()
    assert called == [["git", "clone", "--depth", "1", make.REPOSITORY, "course"], INSTALL]


def test_the_first_cell_takes_uploaded_files_and_refuses_damaged_ones(empty_folder, called):
    with zipfile.ZipFile("course.zip", "w") as files:
        files.writestr("run_part.py", "a part" * 99)
    whole = Path("course.zip").read_bytes()
    Path("course.zip").write_bytes(whole.replace(b"a part", b"a ...."))
    with pytest.raises(zipfile.BadZipFile, match=r"run_part\.py"):
        run_cell(FIRST, {})
    assert not Path("course").exists() and called == []
    Path("course.zip").write_bytes(whole)
    run_cell(FIRST, {})
    assert Path("run_part.py").read_bytes() == b"a part" * 99
    assert (Path.cwd(), called) == (empty_folder / "course", [INSTALL])


def test_an_address_that_cannot_be_cloned_ends_with_one_line_and_the_remedy(empty_folder):
    nowhere = empty_folder / "nowhere"
    with pytest.raises(SystemExit, match="nowhere: no clone of it; correct it, or upload course"):
        run_cell(FIRST.replace(make.REPOSITORY, str(nowhere)), {})
    assert not Path("course").exists()  # so the cell can be run again


def test_a_run_is_split_at_its_numbered_comments():
    source = (
        'def run(options):\n    """Run."""\n    recipe = 1\n\n    # 1. The faces.\n'
        "    if recipe:\n        faces = 2\n\n    # 2. Crops.\n    crops = 3\n"
    )
    assert make.steps(source + "    return crops\n") == [
        ("0. The recipe: every value with its reason.", "recipe = 1"),
        ("1. The faces.", "if recipe:\n    faces = 2"),
        ("2. Crops.", "crops = 3"),
    ]
