"""Make the notebooks: ``python -m notebooks.make``.

``notebook.md`` is what all have in common, ``partN.md`` the way through one part. Code that exists
is taken from its file: ``step`` gives a step of ``run`` in the part's file, which is split at its
numbered comments, and ``task`` a function of the exercises with its sheet. After a change of one of
these, make the notebooks again; a test checks it.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2

import exercises.part1
import exercises.part2
import exercises.part3
from parts import part1_nose_tip, part2_full_face, part3_large_dataset

FOLDER = Path(__file__).parent
PARTS = {  # the lesson, and the starter of its exercises
    "part1": (part1_nose_tip, exercises.part1),
    "part2": (part2_full_face, exercises.part2),
    "part3": (part3_large_dataset, exercises.part3),
}
REPOSITORY = "https://example.org/facial-keypoints-course.git"  # where Colab clones it from


def notebook(module: ModuleType, starter: ModuleType) -> str:
    """The text of one notebook, made from a part's module and the starter of its exercises."""
    loader = jinja2.FileSystemLoader(FOLDER, encoding="utf-8")
    words = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    lesson, pieces = module.LESSON, steps(inspect.getsource(module))
    text = words.get_template(f"{lesson.folder}.md").render(
        lesson=lesson,
        part=module.__name__.rpartition(".")[2],
        about=module.__doc__.strip().removeprefix(f"{lesson.title}. ").replace("``", "`"),
        repository=REPOSITORY,
        step=lambda number, *shown: _step(*pieces[number], *shown),
        task=lambda name: task(name, starter),
    )
    whole = {
        "cells": [cell | {"id": f"cell-{number}"} for number, cell in enumerate(_cells(text))],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def steps(source: str) -> list[tuple[str, str]]:
    """The body of a part's ``run``, split at its numbered comments: title and code of each step.

    The first is what precedes them, the choice of the recipe; the last loses its ``return``.
    """
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    body = next(function.body for function in functions if function.name == "run")
    lines = source.splitlines()[body[0].end_lineno : body[-1].lineno - 1]
    pieces = re.split(r"^# (\d\. .+)$", textwrap.dedent("\n".join(lines)), flags=re.MULTILINE)
    titles = ["0. The recipe: every value with its reason.", *pieces[1::2]]
    return [(title, code.strip()) for title, code in zip(titles, pieces[::2], strict=True)]


def _step(title: str, code: str, *shown: str) -> str:
    """A heading and a cell; shown: the line that shows the result below the cell."""
    return f"## {title}\n\n{_fenced(code, *shown)}"


def task(name: str, starter: ModuleType) -> str:
    """A function of the exercises: what its sheet says, and a cell to write it in and check it."""
    sheet = Path(starter.__file__ or "").with_suffix(".md").read_text(encoding="utf-8")
    about = sheet.partition(f". `{name}`\n")[2].partition("\n## ")[0]
    about = about.strip().replace("](pictures/", "](../exercises/pictures/")
    unfinished = inspect.getsource(getattr(starter, name)).strip()
    cell = _fenced(f"# your turn\n{unfinished}", f"\ninline.check({name})")
    return f"## Your turn: `{name}`\n\n{about}\n\n{cell}"


def _fenced(*code: str) -> str:
    return "\n\n".join(["```python\n" + code[0], *code[1:]]) + "\n```"


def _cells(text: str) -> list[dict[str, Any]]:
    """The cells of Markdown whose fenced blocks are code, their tags behind the fences."""
    cells = []
    fences = re.compile(r"^```python ?(\w*)\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
    for number, piece in enumerate(fences.split(text)):  # text, tag, code, text, tag, ...
        lines = piece.strip().splitlines(keepends=True)
        if number % 3 == 0 and lines:
            cells.append({"cell_type": "markdown", "metadata": {}, "source": lines})
        elif number % 3 == 1:
            metadata = {"tags": [piece]} if piece else {}
        elif number % 3 == 2:
            code = {"cell_type": "code", "execution_count": None, "metadata": metadata}
            cells.append(code | {"outputs": [], "source": lines})
    return cells


def main() -> None:
    """Write ``notebooks/part1.ipynb`` and so on."""
    for name, modules in PARTS.items():
        file = FOLDER / f"{name}.ipynb"
        file.write_text(notebook(*modules), encoding="utf-8")
        print(file)


if __name__ == "__main__":
    main()
