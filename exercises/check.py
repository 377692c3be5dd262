"""Check the exercises of a part: ``python run_part.py check 1``.

A learner's code runs in a process of its own. A loop that never ends, or a crash, ends only that
process; the next task is checked in a new one.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import astuple
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from common.system.errors import UserError
from common.system.files import make_writable, write_atomically
from common.system.parallel import end_with_parent, terminating_children

FOLDER = Path(__file__).resolve().parent  # the sheets and the starters
SECONDS = 10.0  # that a learner's function may take for all trials of a task
SECONDS_TO_START = 60.0  # that a learner's file may take, which may load large libraries


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``run_part.py check``."""
    parser.add_argument("part", choices=("1", "2", "3"))
    default = "default: exercises/partN.py, edited in place"
    parser.add_argument("--file", type=Path, metavar="MY.py", help=default)
    parser.add_argument(
        "--save-dir", type=Path, default=Path("reports/exercises"), metavar="DIR",
        help="where pictures of mistakes go (default: reports/exercises)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return check(options.part, options.file, options.save_dir)


def check(
    part: str,
    file: Path | None = None,
    save_dir: Path = Path("reports/exercises"),
    seconds: float = SECONDS,
    seconds_to_start: float = SECONDS_TO_START,
) -> int:
    """Check the functions of a file and print one line per task.

    part: "1", "2" or "3". file: the learner's, by default ``exercises/partN.py``.
    save_dir: where pictures of mistakes go, as ``partN-task.png``; older ones are removed.
    seconds: time limit of a task. seconds_to_start: of running the file itself.
    Returns the exit status: 0 if all tasks are done, 1 if not.
    Raises UserError where the file cannot be run or a picture cannot be written.
    """
    file = file or FOLDER / f"part{part}.py"
    make_writable(save_dir)
    sheet = (FOLDER / f"part{part}.md").read_text(encoding="utf-8")
    names = re.findall(r"^## \d+\. `(\w+)`$", sheet, re.MULTILINE)
    finished, verdicts = 0, _verdicts(names, file, seconds, seconds_to_start)
    for name, (message, done, picture) in zip(names, verdicts, strict=True):
        finished += done
        print(f"{name:<17}  {message}", flush=True)
        path = save_dir / f"part{part}-{name}.png"
        path.unlink(missing_ok=True)
        if picture:
            write_atomically(path, lambda target, picture=picture: target.write(picture))
            print(f"{'':<17}  a picture of it: {path}", flush=True)
    print(f"{finished} of {len(names)} done")
    return 0 if finished == len(names) else 1


def _verdicts(
    names: list[str], file: Path, seconds: float, seconds_to_start: float
) -> Iterator[tuple[str, bool, bytes | None]]:
    """The fields of each task's ``Verdict``. Raises UserError where the file cannot be run."""
    pool = None
    with TemporaryDirectory() as folder, terminating_children():
        stack = Path(folder, "stack.txt")  # where a process was that took too long
        for name in names:
            if pool is None:
                pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
                try:
                    pool.submit(_start, file, seconds_to_start, stack).result()
                except BrokenProcessPool:
                    reason = _reason(stack, file, seconds_to_start)
                    raise UserError(f"{file}: {reason}; correct it and check again") from None
            try:
                yield pool.submit(_judge, name, file, seconds, stack).result()
            except BrokenProcessPool:
                pool = None
                yield _reason(stack, file, seconds), False, None


def _reason(stack: Path, file: Path, seconds: float) -> str:
    """Why a process ended: it took too long, if it left a ``stack``; otherwise it crashed."""
    lines = stack.read_text(encoding="utf-8") if stack.is_file() else ""
    stack.unlink(missing_ok=True)
    if not lines:
        return "Python itself ended: a crash, or too little memory"
    name = str(file).encode("ascii", "backslashreplace").decode()  # as faulthandler writes it
    line = re.search(rf'File "{re.escape(name)}", line (\d+)', lines)
    where = f" (line {line[1]})" if line else ""
    return f"still running after {seconds:g} seconds: is there a loop that never ends?{where}"


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent reports Ctrl-C
    end_with_parent()


def _start(file: Path, seconds: float, stack: Path) -> None:
    from exercises import tasks  # noqa: F401  torch is imported here, not on the learner's time

    with _time_limit(seconds, stack):
        load(file)


def _judge(name: str, file: Path, seconds: float, stack: Path) -> tuple[str, bool, bytes | None]:
    from exercises.judge import judge
    from exercises.tasks import TASKS

    function, limit = getattr(load(file), name, None), partial(_time_limit, seconds, stack)
    return astuple(judge(TASKS[name], function, file, limit))


@contextmanager
def _time_limit(seconds: float, stack: Path) -> Iterator[None]:
    """End this process where the block takes longer; ``stack`` then says where it was."""
    with open(stack, "w", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


@lru_cache
def load(file: Path) -> ModuleType:
    """The module in a learner's file; no compiled copy is left beside it.

    Raises UserError where it cannot be read, is not Python, or fails when it runs.
    """
    from exercises.judge import Failure, attempt

    try:
        code = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except OSError as fault:
        raise UserError(f"{file}: {fault.strerror}; name the file with --file") from None
    except (SyntaxError, ValueError) as fault:  # before Python 3.12, ValueError for a zero byte
        line, reason = getattr(fault, "lineno", None), getattr(fault, "msg", fault)
        where = f", line {line}" if line else ""
        raise UserError(f"{file}{where}: {reason}; correct it and check again") from None
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    stopped = attempt(lambda: exec(code, module.__dict__), file)
    if isinstance(stopped, Failure):
        raise UserError(f"{file}: {stopped}; correct it and check again")
    return module
