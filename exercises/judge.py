"""A task, and how a learner's function is judged: by correct code and by mistakes with names.

A mistake is a function of the correct function and its arguments, so that two of them can be made
at once. The learner's results are compared with those of the correct function, of every known
mistake and of every two; the one with the same results was made.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable, Sequence
from configparser import ConfigParser
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

import torch
from torch import Tensor

from exercises.describe import close, describe, inputs, shapes
from exercises.faces import View, side_by_side

Function = Callable[..., Any]
Result = tuple[Tensor, ...]  # float64 each
Returned = TypeVar("Returned")

NOT_DONE = "not done yet"
FEEDBACK = ConfigParser(delimiters="=", interpolation=None)  # [task] name of a mistake = sentence
FEEDBACK.read_string(Path(__file__).with_name("feedback.ini").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Task:
    """A function that a learner writes."""

    name: str
    right: Function  # the correct function; where the project has it, that one
    trial: Callable[[int], tuple[Any, ...]]  # arguments of trials 0, 1, ..., which differ in size
    # By name, called with the correct function and its arguments; ``feedback.ini`` has a sentence
    # for each.
    mistakes: dict[str, Function]
    view: View | None = None  # shows a result of trial 0 or 1; None where no picture helps
    numbered: tuple[int, ...] = ()  # points whose numbers are drawn
    # Calls a function with a trial's arguments and returns what is compared.
    call: Function = lambda function, *arguments: function(*arguments)
    trials: int = 2
    names: tuple[str, ...] = ()  # of what is compared, where a result has several parts


@dataclass(frozen=True)
class Failure:
    """A function that gave no result: the reason, and the line of the learner's file."""

    message: str
    line: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.message if self.line is None else f"{self.message} (line {self.line})"


Outcome = Result | Failure


@dataclass(frozen=True)
class Verdict:
    """One task's outcome in one line, and a picture of the mistake (PNG) where one helps."""

    message: str
    done: bool = False
    picture: bytes | None = None


class BadResult(Exception):
    """A result that cannot be compared; the text says why."""


def judge(
    task: Task,
    function: Function | None,
    file: Path,
    limit: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Verdict:
    """Try a learner's function; None if ``file`` has none of the task's name. limit: entered while
    the learner's code runs, to stop it where it takes too long."""
    if not callable(function):
        return Verdict(f"{NOT_DONE}: {file} has no function of that name")
    trials = [task.trial(number) for number in range(task.trials)]
    right = outcomes(task, task.right, trials, file)  # first: not on the learner's time
    with limit():
        own = outcomes(task, function, trials, file)
    wrong = [number for number in range(task.trials) if not same(own[number], right[number])]
    if not wrong:
        return Verdict("done", done=True)
    first = wrong[0]
    mine, expected, given = own[first], right[first], trials[first]
    if mine == Failure(NOT_DONE):
        return Verdict(NOT_DONE)
    message = _known(task, own, first, trials, file)
    if isinstance(mine, Failure):
        line = str(replace(mine, message=message or mine.message))
        return Verdict(line + (inputs(given, function) if first and not message else ""))
    if not message:
        message = describe(mine, expected, given, function, task.names)
        if shapes(mine) == shapes(expected):
            message = f"wrong, but no mistake that is known here: {message}"
        elif first:
            message += inputs(given, function)
    if task.view is None or first > 1 or shapes(mine) != shapes(expected):
        return Verdict(message)
    views = [task.view(first, result) for result in (expected, mine)]
    figure = side_by_side(*views, task.numbered)
    figure.suptitle(fill(message, 88), fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return Verdict(message, picture=png.getvalue())


def _known(
    task: Task, own: list[Outcome], first: int, trials: list[tuple[Any, ...]], file: Path
) -> str | None:
    """The sentence of the mistake that has the learner's results, or of two at once; None where no
    known one has. first: the first wrong trial."""
    sentences, one_trial = FEEDBACK[task.name], None
    made = {name: partial(mistake, task.right) for name, mistake in task.mistakes.items()}
    for name, mistake in made.items():
        found = outcomes(task, mistake, trials, file)
        if all(map(same, own, found)):
            return sentences[name]
        if one_trial is None and same(own[first], found[first]):
            one_trial = f"{sentences[name]}; and with other inputs, something else is wrong"
    for inner, outer in permutations(made, 2):
        function = partial(task.mistakes[outer], made[inner])
        tries = (outcomes(task, function, [one], file)[0] for one in trials)
        if all(
            same(mine, other) and isinstance(other, tuple)
            for mine, other in zip(own, tries, strict=True)
        ):
            return f"two mistakes: {sentences[inner]}; and {sentences[outer]}"
    return one_trial


def attempt(work: Callable[[], Returned], file: Path) -> Returned | Failure:
    """What ``work``, code of a learner's ``file``, returns, or the Failure that stopped it."""
    try:
        return work()
    except BadResult as fault:
        return Failure(str(fault))
    except (Exception, SystemExit) as fault:
        text = " ".join(str(fault).split())
        if isinstance(fault, NotImplementedError) and not text:
            return Failure(NOT_DONE)
        frames = reversed(traceback.extract_tb(fault.__traceback__))
        line = next((frame.lineno for frame in frames if frame.filename == str(file)), None)
        return Failure(f"{type(fault).__name__}: {text}" if text else type(fault).__name__, line)


def outcomes(
    task: Task, function: Function, trials: Sequence[tuple[Any, ...]], file: Path
) -> list[Outcome]:
    """The result of every trial, or the Failure that stopped it."""
    return [attempt(partial(_result, task, function, given), file) for given in trials]


def _result(task: Task, function: Function, arguments: tuple[Any, ...]) -> Result:
    """The result of a trial. Raises BadResult where it cannot be compared."""
    given = deepcopy(arguments)
    result = task.call(function, *given)
    values = tuple(map(_values, result if isinstance(result, tuple) else (result,)))
    for before, after in zip(arguments, given, strict=True):
        if isinstance(before, Tensor) and not torch.equal(before, after):
            raise BadResult("an argument was changed: work on a copy, x.clone()")
    return values


def _values(result: object) -> Tensor:
    if result is None:
        raise BadResult("nothing is returned: does the function end with return?")
    try:
        return torch.as_tensor(result).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise BadResult(f"a {type(result).__name__} is returned instead of numbers") from None


def same(own: Outcome, other: Outcome) -> bool:
    """Whether two functions do the same in a trial: close numbers, none at all, or one failure."""
    if isinstance(own, Failure) or isinstance(other, Failure):
        return own == other
    if shapes(own) != shapes(other):
        return all(one.numel() == 0 for one in (*own, *other))
    return all(close(*pair).all() for pair in zip(own, other, strict=True))
