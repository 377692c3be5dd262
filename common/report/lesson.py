"""The words of a lesson on its page, read from a Markdown file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Question:
    """A question with its choices: whether each is right, its text, and the reason."""

    text: str
    choices: tuple[tuple[bool, str, str], ...]


@dataclass(frozen=True)
class Lesson:
    """The words that a lesson gives to its page; text between backticks is code."""

    folder: str  # where the page lies below ``reports``, such as part1
    title: str = ""
    question: str = ""  # what the lesson is about
    notes: tuple[str, ...] = ()  # facts to know before reading the numbers
    try_next: tuple[str, ...] = ()  # what to change, and what to look at then
    ask_before: tuple[Question, ...] = ()  # to be thought about before reading the page
    ask_after: tuple[Question, ...] = ()
    carries_over: str = ""  # what the next part takes from this one, for the start page
    ablation: Path | None = None  # committed results that measured the recipe ``best``
    before: Path | None = None  # those of the part before, which tried this part's recipe


SECTIONS = {
    "The question": "question",
    "Good to know": "notes",
    "Questions before": "ask_before",
    "Questions after": "ask_after",
    "What to try next": "try_next",
    "What the next part takes over": "carries_over",
}


def read_lesson(
    path: Path, base: Lesson | None = None, ablation: Path | None = None, **named: str
) -> Lesson:
    """The lesson in ``path``, whose folder is named like the file.

    base: has the sections that the file lacks.
    named: words that are replaced in the text, and by what.
    The file has a title (``# ``) and ``SECTIONS`` (``## ``); notes and try_next are lists. A
    question is a heading (``### ``) with its choices as ``- [x] text | reason``, wrong ones
    ``- [ ]``.
    """
    text = path.read_text(encoding="utf-8").removeprefix("# ")
    for name, value in named.items():
        text = text.replace(name, value)
    title, *sections = text.split("\n## ")
    lesson = replace(base or Lesson(path.stem), folder=path.stem, title=title.strip())
    lesson = replace(lesson, ablation=ablation or lesson.ablation)
    for section in sections:
        heading, _, body = section.partition("\n")
        words: str | tuple[str | Question, ...] = body.strip()
        if SECTIONS[heading].startswith("ask"):
            words = tuple(map(_question, body.split("\n### ")[1:]))
        elif SECTIONS[heading] in ("notes", "try_next"):
            words = tuple(line.removeprefix("- ") for line in body.strip().splitlines())
        lesson = replace(lesson, **{SECTIONS[heading]: words})
    return lesson


def _question(block: str) -> Question:
    text, *lines = block.strip().splitlines()
    choices = (line[6:].split(" | ") for line in lines if line)
    right = [line.startswith("- [x] ") for line in lines if line]
    return Question(text, tuple((ok, *choice) for ok, choice in zip(right, choices, strict=True)))
