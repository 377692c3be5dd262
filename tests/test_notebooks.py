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
from tqdm import tqdm

from common import crops
from common.recipe import Options
from notebooks import inline, make


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
BATCHES = {  # of a step by hand: the network's input and what it predicts
    "part1": ((8, 1, 60, 80), (8, 1, 2)),
    "part2": ((8, 1, 120, 160), (8, 58, 2)),
    "part3": ((6, 1, 64, 64), (6, 68, 16, 16)),
}
GUESSES = {"part1": 3, "part2": 4, "part3": 4}


class Display:
    """Stands in for IPython's: the lines that a notebook would hold."""

    def __init__(self):
        self.lines = []

    def __call__(self, line, raw, display_id):
        assert raw and display_id
        self.lines.append(line["text/plain"])
        return self

    def update(self, line, raw):
        self.lines[-1] = line["text/plain"]


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The current folder of a machine that has nothing of the project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize("name", make.PARTS)
def test_the_notebook_agrees_with_the_parts_file_and_keeps_no_output(name):
    text = (make.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == make.notebook(*make.PARTS[name]), "run: python -m notebooks.make"
    for cell in cells(name, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert not re.search("youtube|mixed|udacity|pretrained", "".join(cell["source"]))


def test_the_first_cells_register_the_networks_of_all_parts():
    code = ["".join(cells(name, "code")[2]["source"]) for name in make.PARTS]
    assert all("from notebooks import inline" in source for source in code)
    assert "parts.toolkit" in imports("notebooks.inline")
    assert {"parts.part1_nose_tip", "parts.part2_full_face"} < imports("parts.toolkit")
    assert {"parts.part3_large_dataset", "parts.udacity_networks"} < imports("parts.part3_variants")


@pytest.mark.slow
@pytest.mark.parametrize("name", make.PARTS)
def test_the_notebook_runs_unfinished(name, small_root, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(make.FOLDER)  # where Jupyter starts it
    monkeypatch.setattr(sys, "path", [*sys.path])
    shrink_crops(monkeypatch)
    monkeypatch.setattr(tqdm, "__init__", tqdm.__init__)  # which a notebook changes
    options = Options(epochs=1, data=small_root, device="cpu", reports=tmp_path)
    names, shown, tasks = {"display": Display()}, [], []
    for cell in cells(name, "code"):
        source = "".join(cell["source"])
        if "write_run_report(" in source:  # figures of pages have tests of their own
            draw_nothing(monkeypatch)
        if cell["metadata"].get("tags") == ["parameters"]:
            names["options"] = options
        else:
            shown.append(run_cell(source.replace("range(10)", "range(1)"), names))
            if source.startswith("# your turn\ndef "):
                tasks.append(f"{source.split('(')[0].split()[-1]}: not done yet</pre>" in shown[-1])
    assert Path.cwd() == REPOSITORY and sys.path[0] == str(REPOSITORY)
    html = "".join(shown)
    assert tasks == [True] * 3 and html.count("No guess yet") == GUESSES[name]
    cell = '<td style="text-align: left">'
    assert f"{cell}epochs</td>{cell}1</td>" in html and f"{cell}Conv2d</td>" in html
    assert f"class {type(names['network']).__name__}(nn.Module):" in html
    faces = shown[4]
    assert faces.count("<img") == 2 * min(8, len(names["train"]))
    curves = re.findall('<img [^>]*alt="([^"]*per epoch[^"]*)"', html)
    assert len(curves) == (1 if name == "part3" else 2)
    out, err = capfd.readouterr()
    given, predicted = BATCHES[name]
    assert f"faces   {given} torch.float32" in out and f"predicted {predicted}" in out
    bars = [line[:14] for line in names["display"].lines if "training" in line]
    assert bars == ["training: 100%"] * (1 + len(names.get("runs", ()))) and "training" not in err
    (page,) = (text for text in shown if "srcdoc" in text)
    written = (tmp_path / name / "index.html").read_text()
    inside = unescape(re.search('srcdoc="([^"]*)"', page)[1])
    assert inside.count("<img") == written.count("<img") > 20
    assert 'src="figures' not in inside and "history.csv</a>" in inside
    assert len(names["history"]) == 1


def test_a_guess_is_needed_to_see_what_was_measured():
    assert "12.5" not in inline.compare(None, 12.5, "%").text
    assert re.findall(r"[\d.]+ %", inline.compare(30.0, 12.5, "%").text) == ["30 %", "12.5 %"]


@pytest.mark.slow
def test_a_function_is_judged_by_its_name_with_a_picture_and_the_line_of_its_cell():
    names = {}
    no_half = "def to_fractions(points, h, w):\n    return points / points.new_tensor([w, h])\n"
    run_cell(no_half, names)
    wrong = inline.check(names["to_fractions"]).text
    run_cell(no_half.replace("return", "return 1 / 0 +"), names)
    assert "half a pixel" in wrong and wrong.count("<img") == 1
    assert (
        "ZeroDivisionError: division by zero (line 2)<" in inline.check(names["to_fractions"]).text
    )
    assert inline.check(crops.to_fractions).text.endswith("to_fractions: done</pre>")


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
