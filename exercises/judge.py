"""A task, and how a learner's function is judged: by correct code and by mistakes with names.

A mistake is a function, too. The learner's results are compared with those of the correct function
and of every known mistake; the mistake with the same results is the one that was made.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

import torch
from torch import Tensor

from exercises.faces import side_by_side

Function = Callable[..., Any]
Result = tuple[Tensor, ...]  # float64 each
Returned = TypeVar("Returned")

TRIALS = 2
CLOSE = 1e-4  # of the largest value: more than rounding, an eighth of half a pixel of 640
NOT_DONE = "not done yet"


@dataclass(frozen=True)
class Task:
    """A function that a learner writes.

    right: the correct function, under the task's name and with its arguments; where the project
        has such a function, it calls that one.
    mistakes: for each message, a function that makes this mistake.
    trial: draws the arguments of trial 0 and of trial 1, which differ in size.
    call: calls a function with such arguments and returns what is compared.
    view: a trial's number, arguments and result -> the picture (1, H, W) with points (K, 2) that
        shows the result; None where no picture helps.
    numbered: points whose numbers are drawn.
    """

    right: Function
    mistakes: dict[str, Function]
    trial: Callable[[int], tuple[Any, ...]]
    call: Function = lambda function, *arguments: function(*arguments)
    view: Callable[[int, tuple[Any, ...], Result], tuple[Tensor, Tensor]] | None = None
    numbered: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Of the function that is to be written."""
        return self.right.__name__


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
    """Try a learner's function; None if ``file`` has none of the task's name.

    limit: entered while the learner's code runs, to stop it where it takes too long.
    """
    if not callable(function):
        return Verdict(f"{NOT_DONE}: {file} has no function of that name")
    trials = [task.trial(number) for number in range(TRIALS)]
    right = _results(task, task.right, trials)  # first: its imports are not on the learner's time
    with limit():
        own = attempt(partial(_results, task, function, trials), file)
    if own == Failure(NOT_DONE):
        return Verdict(NOT_DONE)
    if _agree(own, right):
        return Verdict("done", done=True)
    named = (
        message
        for message, mistake in task.mistakes.items()
        if _agree(own, attempt(partial(_results, task, mistake, trials), file))
    )
    message = next(named, None)
    if isinstance(own, Failure):
        return Verdict(str(replace(own, message=message or own.message)))
    wrong = next(i for i in range(TRIALS) if not _same(own[i], right[i]))
    message = message or _difference(own[wrong], right[wrong])
    if task.view is None or _shapes(own[wrong]) != _shapes(right[wrong]):
        return Verdict(message)
    views = [task.view(wrong, trials[wrong], result[wrong]) for result in (right, own)]
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
        if result is None:
            raise BadResult("nothing is returned: does the function end with return?")
        results.append(tuple(map(_values, result if isinstance(result, tuple) else (result,))))
        for before, after in zip(arguments, given, strict=True):
            if isinstance(before, Tensor) and not torch.equal(before, after):
                raise BadResult("an argument was changed: work on a copy, x.clone()")
    return results


def _values(result: object) -> Tensor:
    try:
        return torch.as_tensor(result).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise BadResult(f"a {type(result).__name__} is returned instead of numbers") from None


def _agree(own: list[Result] | Failure, other: list[Result] | Failure) -> bool:
    """Whether two functions gave the same results, or failed alike, in all trials."""
    if isinstance(own, Failure) or isinstance(other, Failure):
        return own == other
    return all(map(_same, own, other))


def _same(own: Result, other: Result) -> bool:
    return _shapes(own) == _shapes(other) and all(map(_close, own, other))


def _shapes(result: Result) -> list[tuple[int, ...]]:
    return [tuple(values.shape) for values in result]


def _close(own: Tensor, other: Tensor) -> bool:
    largest = other.nan_to_num(0, 0, 0).abs().max().item()
    return torch.allclose(own, other, rtol=0, atol=CLOSE * largest, equal_nan=True)


def _difference(own: Result, right: Result) -> str:
    """Where a result differs that no known mistake explains."""
    if _shapes(own) != _shapes(right):
        own_shape, right_shape = (
            " and ".join(str(shape) if shape else "a single number" for shape in _shapes(result))
            for result in (own, right)
        )
        return f"the shape is {own_shape}, expected is {right_shape}"
    mine, wanted = next(pair for pair in zip(own, right, strict=True) if not _close(*pair))
    worst = (mine - wanted).abs().nan_to_num(float("inf")).argmax()
    found, expected = mine.flatten()[worst], wanted.flatten()[worst]
    return f"wrong, but no mistake that is known here: {found:.6g} instead of {expected:.6g}"
