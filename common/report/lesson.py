"""What a part says of itself on its page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """The words that a part gives to its page; text between backticks is code.

    folder: where the page lies below ``reports``, such as ``part1``.
    title: heading of the page.
    question: what the part asks.
    notes: facts to know before reading the numbers.
    try_next: what to change, and what to look at then.
    carries_over: what the next part takes from this one, for the start page.
    """

    folder: str
    title: str
    question: str
    notes: tuple[str, ...]
    try_next: tuple[str, ...]
    carries_over: str = ""
