"""One task, and how an answer is judged: by the project's own code and by mistakes with names.

A mistake is a function too. What a learner's function answers is held against what the right one
and each wrong one answer; the wrong one that agrees tells what is wrong.
"""

from __future__ import annotations

import ctypes
import sys
import traceback
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from textwrap import fill
from threading import Thread
from typing import Any, TypeVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

Function = Callable[..., Any]
Answer = tuple[Tensor, ...]  # float64 each
Result = TypeVar("Result")

SECONDS = 10.0  # that a learner's function may take for all trials of a task
SECONDS_TO_START = 60.0  # that a learner's file may take, which may load large libraries
CLOSE = 1e-4  # of the largest value: what may come from rounding; half a pixel of 640 is 8 times it
NOT_DONE = "not done yet"


@dataclass(frozen=True)
class Task:
    """A function that a learner writes.

    right: the project's own code, under the task's name and with its arguments.
    mistakes: by what is told, a function that makes that mistake.
    trials: draws the arguments of a few calls, from a seed, in several sizes.
    call: calls a function with such arguments and returns what is judged.
    picture: of a trial, by its number and arguments, the right answer and the learner's.
    """

    name: str
    right: Function
    mistakes: dict[str, Function]
    trials: Callable[[], Sequence[tuple[Any, ...]]]
    call: Function = lambda function, *arguments: function(*arguments)
    picture: Callable[[int, tuple[Any, ...], Answer, Answer], Figure] | None = None


@dataclass(frozen=True)
class Failure:
    """No answer: what stopped the function, and in which line of the learner's file."""

    told: str
    line: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.told if self.line is None else f"{self.told} (line {self.line})"


@dataclass(frozen=True)
class Verdict:
    """What is told of a task, and a picture of the mistake where one helps."""

    told: str
    done: bool = False
    figure: Figure | None = None


class Slip(Exception):
    """An answer that cannot be compared; its text tells why."""


class _Overtime(BaseException):
    """Ends a function that takes too long."""


def judge(task: Task, function: Function | None, file: Path) -> Verdict:
    """Try a learner's function, None where ``file`` has none of the task's name."""
    if not callable(function):
        return Verdict(f"{NOT_DONE}: {file} has no function of that name")
    trials = task.trials()
    right = _answers(task, task.right, trials)  # first: what it imports is not on their time
    theirs = attempt(partial(_answers, task, function, trials), file)
    if theirs == Failure(NOT_DONE):
        return Verdict(NOT_DONE)
    if _agree(theirs, right):
        return Verdict("done", done=True)
    known = (
        told
        for told, mistake in task.mistakes.items()
        if _agree(theirs, attempt(partial(_answers, task, mistake, trials), file))
    )
    told = next(known, None)
    if isinstance(theirs, Failure):
        return Verdict(str(replace(theirs, told=told or theirs.told)))
    told = told or _difference(theirs, right)
    return Verdict(told, figure=_picture(task, trials, right, theirs, told))


def attempt(
    work: Callable[[], Result], file: Path, seconds: float | None = None
) -> Result | Failure:
    """What ``work``, code of a learner's ``file``, returns, or the Failure that stopped it.

    It runs on a thread of its own, so that one that never ends can be left. seconds: after which
    it is, by default SECONDS.
    """
    seconds = seconds or SECONDS
    results: list[Result | Failure] = []

    def run() -> None:
        try:
            results.append(work())
        except Slip as slip:
            results.append(Failure(str(slip)))
        except (Exception, SystemExit) as fault:
            results.append(_failure(fault, file))
        except _Overtime:
            pass

    worker = Thread(target=run, daemon=True)
    worker.start()
    worker.join(seconds)
    if results:
        return results[0]
    lines = traceback.extract_stack(sys._current_frames().get(worker.ident))
    told = f"still running after {seconds:g} seconds: is there a loop that never ends?"
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(worker.ident), ctypes.py_object(_Overtime)
    )
    return Failure(told, _last_line(lines, file))


def _failure(fault: BaseException, file: Path) -> Failure:
    text = " ".join(str(fault).split())
    if isinstance(fault, NotImplementedError) and not text:
        return Failure(NOT_DONE)
    told = f"{type(fault).__name__}: {text}" if text else type(fault).__name__
    return Failure(told, _last_line(traceback.extract_tb(fault.__traceback__), file))


def _last_line(lines: traceback.StackSummary, file: Path) -> int | None:
    return next((line.lineno for line in reversed(lines) if line.filename == str(file)), None)


def _answers(task: Task, function: Function, trials: Sequence[tuple[Any, ...]]) -> list[Answer]:
    """What a function answers in each trial. Raises Slip where that cannot be compared."""
    answers = []
    for arguments in trials:
        given = deepcopy(arguments)
        answer = task.call(function, *given)
        if answer is None:
            raise Slip("nothing comes back: does it end with return?")
        answers.append(tuple(map(_values, answer if isinstance(answer, tuple) else (answer,))))
        for before, after in zip(arguments, given, strict=True):
            if isinstance(before, Tensor) and not torch.equal(before, after):
                raise Slip("what came in was changed on the way: work on a copy, x.clone()")
    return answers


def _values(answer: object) -> Tensor:
    try:
        return torch.as_tensor(answer).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise Slip(f"a {type(answer).__name__} comes back where numbers are asked for") from None


def _agree(some: list[Answer] | Failure, others: list[Answer] | Failure) -> bool:
    """Whether two functions gave the same in all trials, but for rounding."""
    if isinstance(some, Failure) or isinstance(others, Failure):
        return some == others
    return all(
        _shapes(one) == _shapes(other) and all(map(_close, one, other))
        for one, other in zip(some, others, strict=True)
    )


def _shapes(answer: Answer) -> list[tuple[int, ...]]:
    return [tuple(values.shape) for values in answer]


def _close(some: Tensor, others: Tensor) -> bool:
    largest = others.nan_to_num(0, 0, 0).abs().max().item()
    return torch.allclose(some, others, rtol=0, atol=CLOSE * largest, equal_nan=True)


def _difference(theirs: list[Answer], right: list[Answer]) -> str:
    """Where an answer differs that no known mistake explains."""
    for mine, asked in zip(theirs, right, strict=True):
        if _shapes(mine) != _shapes(asked):
            return f"the shape is {_words(_shapes(mine))}, asked is {_words(_shapes(asked))}"
    mine, asked = next(
        (one, other)
        for answers in zip(theirs, right, strict=True)
        for one, other in zip(*answers, strict=True)
        if not _close(one, other)
    )
    worst = (mine - asked).abs().nan_to_num(float("inf")).argmax()
    found, wanted = mine.flatten()[worst], asked.flatten()[worst]
    return f"not right, in a way that is not known here: {found:.6g} where {wanted:.6g} is right"


def _words(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(str(shape) if shape else "a single number" for shape in shapes)


def _picture(
    task: Task,
    trials: Sequence[tuple[Any, ...]],
    right: list[Answer],
    theirs: list[Answer],
    told: str,
) -> Figure | None:
    """The first trial that went wrong, where it can be drawn."""
    index = next(i for i in range(len(trials)) if not _agree([theirs[i]], [right[i]]))
    if task.picture is None or _shapes(theirs[index]) != _shapes(right[index]):
        return None
    figure = task.picture(index, trials[index], right[index], theirs[index])
    figure.suptitle(fill(told, 88), fontsize=9)
    return figure
