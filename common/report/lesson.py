"""The words of a lesson on its page, read from a Markdown file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Lesson:
    """The words that a lesson gives to its page; text between backticks is code."""

    folder: str  # where the page lies below ``reports``, such as part1
    title: str = ""
    question: str = ""  # what the lesson is about
    notes: tuple[str, ...] = ()  # facts to know before reading the numbers
    try_next: tuple[str, ...] = ()  # what to change, and what to look at then
    carries_over: str = ""  # what the next part takes from this one, for the start page
    ablation: Path | None = None  # committed results that measured the recipe ``best``
    before: Path | None = None  # those of the part before, which tried this part's recipe


SECTIONS = {
    "The question": "question",
    "Good to know": "notes",
    "What to try next": "try_next",
    "What the next part takes over": "carries_over",
}


def read_lesson(
    path: Path, base: Lesson | None = None, ablation: Path | None = None, **named: str
) -> Lesson:
    """The lesson in ``path``, whose folder is named like the file.

    base: has the sections that the file lacks.
    named: words that are replaced in the text, and by what.
    The file has a title (``# ``) and ``SECTIONS`` (``## ``); notes and try_next are lists.
    """
    text = path.read_text(encoding="utf-8").removeprefix("# ")
    for name, value in named.items():
        text = text.replace(name, value)
    title, *sections = text.split("\n## ")
    lesson = replace(base or Lesson(path.stem), folder=path.stem, title=title.strip())
    lesson = replace(lesson, ablation=ablation or lesson.ablation)
    for section in sections:
        heading, _, body = section.partition("\n")
        words: str | tuple[str, ...] = body.strip()
        if SECTIONS[heading] in ("notes", "try_next"):
            words = tuple(line.removeprefix("- ") for line in body.strip().splitlines())
        lesson = replace(lesson, **{SECTIONS[heading]: words})
    return lesson
