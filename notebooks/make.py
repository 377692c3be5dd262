"""Make the notebooks from the parts' own files: ``python -m notebooks.make``.

A notebook holds no code of its own. It is the ``run`` of its part's file, split at the numbered
comments into one cell per step; ``notebooks.inline`` shows the result of each. Its text is the
part's docstring and lesson, put into ``notebook.md``. After a change of a part, make the notebooks
again; a test checks it.
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

from parts import part1_nose_tip, part2_full_face, part3_large_dataset

FOLDER = Path(__file__).parent
PARTS = {"part1": part1_nose_tip, "part2": part2_full_face, "part3": part3_large_dataset}
REPOSITORY = "https://example.org/facial-keypoints-course.git"  # where Colab clones it from
SHOWN = {  # by a step's number, the recipe being 0: what is shown below it
    0: "inline.recipe(recipe)",
    2: "inline.faces(train, recipe)",
    3: "inline.network(network, recipe)",
    4: "inline.curves(history)",
    5: "inline.page(page)",
}


def notebook(module: ModuleType) -> str:
    """The text of one notebook, made from a part's module."""
    lesson, parts = module.LESSON, enumerate(steps(inspect.getsource(module)))
    words = (FOLDER / "notebook.md").read_text(encoding="utf-8")
    template = jinja2.Template(words, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = template.render(
        lesson=lesson,
        part=module.__name__.rpartition(".")[2],
        about=module.__doc__.strip().removeprefix(f"{lesson.title}. ").replace("``", "`"),
        repository=REPOSITORY,
        steps=[
            (title, "\n\n".join(filter(None, (code, SHOWN.get(number)))))
            for number, (title, code) in parts
        ],
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
    for name, module in PARTS.items():
        file = FOLDER / f"{name}.ipynb"
        file.write_text(notebook(module), encoding="utf-8")
        print(file)


if __name__ == "__main__":
    main()
