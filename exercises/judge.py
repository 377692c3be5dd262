"""A task, and how a learner's function is judged: by correct code and by mistakes with names.

A mistake is a function, too. The learner's results are compared with those of the correct function
and of every known mistake; the mistake with the same results is the one that was made.
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
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

import torch
from torch import Tensor

from exercises.faces import View, side_by_side

Function = Callable[..., Any]
Result = tuple[Tensor, ...]  # float64 each
Returned = TypeVar("Returned")

TRIALS = 2
CLOSE = 1e-4  # of the largest value: more than rounding, an eighth of half a pixel of 640
NOT_DONE = "not done yet"
FEEDBACK = ConfigParser(delimiters="=", interpolation=None)  # [task] name of a mistake = sentence
FEEDBACK.read_string(Path(__file__).with_name("feedback.ini").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Task:
    """A function that a learner writes."""

    name: str
    right: Function  # the correct function; where the project has it, that one
    trial: Callable[[int], tuple[Any, ...]]  # arguments of trials 0 and 1, which differ in size
    mistakes: dict[str, Function]  # by name; ``feedback.ini`` has a sentence for each
    view: View | None = None  # shows a result; None where no picture helps
    numbered: tuple[int, ...] = ()  # points whose numbers are drawn
    # Calls a function with a trial's arguments and returns what is compared.
    call: Function = lambda function, *arguments: function(*arguments)


@dataclass(frozen=True)
class Failure:
    """A function that gave no result: the reason, and the line of the learner's file."""

    message: str
    line: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.message if self.line is None else f"{self.message} (line {self.line})"


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
    trials = [task.trial(number) for number in range(TRIALS)]
    right = _results(task, task.right, trials)  # first: its imports are not on the learner's time
    with limit():
        own = attempt(partial(_results, task, function, trials), file)
    if own == Failure(NOT_DONE):
        return Verdict(NOT_DONE)
    wrong = difference(own, right)
    if wrong is None:
        return Verdict("done", done=True)
    trial, message = wrong
    for name, mistake in task.mistakes.items():
        if difference(own, attempt(partial(_results, task, mistake, trials), file)) is None:
            message = FEEDBACK[task.name][name]
            break
    if isinstance(own, Failure):
        return Verdict(str(replace(own, message=message)))
    if task.view is None or _shapes(own[trial]) != _shapes(right[trial]):
        return Verdict(message)
    views = [task.view(trial, result[trial]) for result in (right, own)]
    figure = side_by_side(*views, task.numbered)
    figure.suptitle(fill(message, 88), fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return Verdict(message, picture=png.getvalue())


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


def _results(task: Task, function: Function, trials: Sequence[tuple[Any, ...]]) -> list[Result]:
    """The result of every trial. Raises BadResult where it cannot be compared."""
    results = []
    for arguments in trials:
        given = deepcopy(arguments)
        result = task.call(function, *given)
        results.append(tuple(map(_values, result if isinstance(result, tuple) else (result,))))
        for before, after in zip(arguments, given, strict=True):
            if isinstance(before, Tensor) and not torch.equal(before, after):
                raise BadResult("an argument was changed: work on a copy, x.clone()")
    return results


def _values(result: object) -> Tensor:
    if result is None:
        raise BadResult("nothing is returned: does the function end with return?")
    try:
        return torch.as_tensor(result).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise BadResult(f"a {type(result).__name__} is returned instead of numbers") from None


def difference(
    own: list[Result] | Failure, other: list[Result] | Failure
) -> tuple[int, str] | None:
    """The first trial in which two functions differ, and how; None where they never do.

    Numbers differ by more than ``CLOSE`` of the largest one, failures by their messages.
    """
    failure = next((one for one in (own, other) if isinstance(one, Failure)), None)
    if failure:
        return None if own == other else (0, failure.message)
    for trial, (mine, wanted) in enumerate(zip(own, other, strict=True)):
        if _shapes(mine) != _shapes(wanted):
            return trial, f"the shape is {_shapes(mine)}, expected is {_shapes(wanted)}"
        for found, expected in zip(mine, wanted, strict=True):
            close = CLOSE * expected.nan_to_num(0, 0, 0).abs().max().item()
            if not torch.allclose(found, expected, rtol=0, atol=close, equal_nan=True):
                worst = (found - expected).abs().nan_to_num(float("inf")).argmax()
                numbers = f"{found.flatten()[worst]:.6g} instead of {expected.flatten()[worst]:.6g}"
                return trial, f"wrong, but no mistake that is known here: {numbers}"
    return None


def _shapes(result: Result) -> str:
    return " and ".join(str(tuple(one.shape)) if one.ndim else "a single number" for one in result)
