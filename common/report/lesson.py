"""What a part says of itself on its page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """The words that a part gives to its page; text between backticks is code."""

    folder: str  # where the page lies below ``reports``, such as part1
    title: str
    question: str  # what the part asks
    notes: tuple[str, ...]  # facts to know before reading the numbers
    try_next: tuple[str, ...]  # what to change, and what to look at then
    carries_over: str = ""  # what the next part takes from this one, for the start page
