"""Docstrings, pages and documents use the field's own terms (docs/glossary.md)."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BANNED = {  # a pattern: what to write instead
    r"\btold\b|\btells?\b": "reported, says, shows",
    r"\banew\b": "again",
    r"\bstands?\b(?![- ](for|in|ins|out)\b)": "is, lies",
    r"\bwhat is none\b": "name it",
    r"\bheld against\b": "compared with",
    r"\bso many\b": "the number",
    r"\bever more rarely\b": "less and less often",
    r"\bdoubts?\b": "flip disagreement, uncertainty",
    r"\bby chance\b|\bchance (may|explains)\b|\bbeyond chance\b": "random variation, noise",
    r"\bfirst weights\b": "initial weights",
    r"\brunning mean\b": "exponential moving average",
    r"\bdrawn faces?\b": "synthetic faces",
    r"\basked (for|of)\b|\bis asked\b|\bare asked\b": "requested, evaluated on, input",
    r"\bmirror mean\b": "test-time flip",
    r"\b(network|networks) answers?\b|\banswered\b": "predicts, predicted",
    r"\bcalm end\b": "no_aug_fraction",
    r"\brungs?\b|\bclimb(s|ing)?\b": "row, change, ablation",
}
READ = (".md", ".html", ".py")
MEANS_WHAT_IT_SAYS = {("common/checkpoints.py", "doubt")}  # a name that old files have


@cache
def texts():
    """(file, text) of every docstring, comment, template and document."""
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    found = []
    for name in listed:
        if name.endswith(READ) and name != "tests/test_words.py":
            text = (ROOT / name).read_text(encoding="utf-8")
            found.append((name, "\n".join(strings(text)) if name.endswith(".py") else text))
    return found


def strings(source):
    """The docstrings, comments and other strings of a Python file."""
    yield from re.findall(r"#.*", source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("pattern", BANNED)
def test_no_text_uses_words_of_our_own(pattern):
    found = [
        (name, " ".join(text[max(hit.start() - 40, 0) : hit.end() + 30].split()))
        for name, text in texts()
        for hit in re.finditer(pattern, text, re.IGNORECASE)
        if (name, hit.group()) not in MEANS_WHAT_IT_SAYS
    ]
    assert not found, f"write {BANNED[pattern]}: {found}"
