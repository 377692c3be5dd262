"""Make the notebooks from the parts' own files: ``python -m notebooks.make``.

A notebook holds no code of its own. It is the ``run`` of its part's file, cut at the numbered
comments, a cell a step, and ``notebooks.inline`` shows below each what there is to see. Its words
are the part's docstring and lesson. Whoever changes a part makes the notebooks anew; a test tells.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from common.report.lesson import Lesson
from parts import part1_nose_tip, part2_full_face, part3_large_dataset

FOLDER = Path(__file__).parent
PARTS = {
    "part1": part1_nose_tip,
    "part2": part2_full_face,
    "part3": part3_large_dataset,
}  # by the notebook's name
REPOSITORY = "https://example.org/facial-keypoints-course.git"  # where Colab clones it from
SHOWN = {  # by a step's number, the recipe being 0: what is shown below it
    0: "inline.recipe(recipe)",
    2: "inline.faces(train, recipe)",
    3: "inline.network(network, recipe)",
    4: "inline.curves(history)",
    5: "inline.page(page)",
}
SETUP = f'''\
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = "{REPOSITORY}"  # @param {{type: "string"}}
# On Colab that is a field: the address of the project, or of your own copy of it. Without one,
# upload the project's files as course.zip, made by: git archive --output course.zip HEAD

if Path("../run_part.py").is_file():
    os.chdir("..")  # a notebook starts in its own folder
if not Path("run_part.py").is_file():  # on Colab, say
    if not Path("course").is_dir():
        if Path("course.zip").is_file():
            shutil.unpack_archive("course.zip", "unpacked")
            os.rename("unpacked", "course")  # so half of a damaged one is not taken for it
        elif subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, "course"]).returncode:
            raise SystemExit(f"{{REPOSITORY}}: no clone of it; correct it, or upload course.zip")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "-e", "course"]
        subprocess.run(install, check=True)
    os.chdir("course")
sys.path.insert(0, os.getcwd())  # before other packages that are called datasets or common'''
OPTIONS = """\
from common.recipe import Options

options = Options()  # as on the command line; Options(epochs=3) is done sooner"""


def notebook(module: ModuleType) -> str:
    """The text of one notebook, made from a part's file."""
    part = module.__name__.rpartition(".")[2]
    lesson, source = module.LESSON, Path(module.__file__).read_text(encoding="utf-8")
    imports = f"from notebooks import inline\nfrom parts.{part} import *"
    cells = [
        _words(_introduction(lesson, module.__doc__, part)),
        _code(SETUP),
        _words("What is asked of the run, and what the part's own file holds:"),
        _code(OPTIONS, "parameters"),
        _code(imports),
    ]
    for number, (title, code) in enumerate(steps(source)):
        cells += [
            _words(f"## {title}"),
            _code("\n\n".join(filter(None, (code, SHOWN.get(number))))),
        ]
    cells.append(_words("## What to try next\n\n" + _listed(lesson.try_next)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def steps(source: str) -> list[tuple[str, str]]:
    """The body of a part's ``run``, cut at its numbered comments: title and code of each step.

    The first is what stands before them, the choice of the recipe; the last loses its ``return``.
    """
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    body = next(function.body for function in functions if function.name == "run")
    lines = source.splitlines()[body[0].end_lineno : body[-1].lineno - 1]
    pieces = re.split(r"^# (\d\. .+)$", textwrap.dedent("\n".join(lines)), flags=re.MULTILINE)
    titles = ["0. The recipe: every value with its reason.", *pieces[1::2]]
    return [(title, code.strip()) for title, code in zip(titles, pieces[::2], strict=True)]


def _introduction(lesson: Lesson, docstring: str, part: str) -> str:
    told = docstring.strip().removeprefix(f"{lesson.title}. ").replace("``", "`")
    return (
        f"# {lesson.title}\n\n{told}\n\n{_listed(lesson.notes)}\n\n"
        f"This notebook is `run` of `parts/{part}.py`, step by step; `python -m notebooks.make` "
        "makes it from that file."
    )


def _listed(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _words(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str, *tags: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }


def main() -> None:
    """Write ``notebooks/part1.ipynb`` and so on."""
    for name, module in PARTS.items():
        file = FOLDER / f"{name}.ipynb"
        file.write_text(notebook(module), encoding="utf-8")
        print(file)


if __name__ == "__main__":
    main()
