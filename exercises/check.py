"""Check the exercises of a part: ``python run_part.py check 1``.

A learner's code runs in a process of its own. A loop that never ends, or a crash, ends only that
process; the next task is checked in a new one.
"""

from __future__ import annotations

import argparse
import ast
import faulthandler
import hashlib
import json
import multiprocessing
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import astuple
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from common.system.errors import UserError
from common.system.files import make_writable, write_atomically
from common.system.parallel import end_with_parent, terminating_children

FOLDER = Path(__file__).resolve().parent  # the sheets and the starters
SECONDS = 10.0  # that a learner's function may take for all trials of a task
SECONDS_TO_START = 60.0  # that a learner's file may take, which may load large libraries
SOLUTIONS = ("common", "datasets", "exercises", "parts")  # where the right functions are
NEXT = {
    "1": "then read exercises/part2.md",
    "2": "then read exercises/part3.md",
    "3": "then try your own photos: python run_part.py predict FOLDER",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``run_part.py check``."""
    parser.add_argument("part", choices=("1", "2", "3", "all"))
    parser.add_argument(
        "--file", type=Path, metavar="MY.py",
        help="default: exercises/partN.py, edited in place; of all parts the folder of the three",
    )  # fmt: skip
    parser.add_argument(
        "--save-dir", type=Path, default=Path("reports/exercises"), metavar="DIR",
        help="where pictures of mistakes go (default: reports/exercises)",
    )  # fmt: skip
    parser.add_argument("--watch", action="store_true", help="check again after every change")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there")
    parser.add_argument("--student", metavar="NAME", help="check with this student's own trials")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    parts = "123" if options.part == "all" else options.part
    if len(parts) > 1 and options.file and not options.file.is_dir():
        raise UserError(
            f"{options.file}: is no folder; name one that holds part1.py, part2.py and part3.py"
        )
    once = partial(check, parts, options.file, options.save_dir, options.json, options.student)
    return (
        watch(once, [learners_file(part, options.file) for part in parts])
        if options.watch
        else once()
    )


def learners_file(part: str, file: Path | None) -> Path:
    """The file of a part: ``file``, or in it if it is a folder, by default the starter."""
    folder = FOLDER if file is None else file
    return folder / f"part{part}.py" if folder.is_dir() else folder


def watch(once: Callable[[], int], files: Sequence[Path]) -> int:
    """Call ``once`` now and after every change of the files, until Ctrl-C; its last status."""
    status = 1
    with suppress(KeyboardInterrupt):
        while True:
            seen = _changed_at(files)
            try:
                status = once()
            except UserError as fault:
                print(f"error: {fault}")
            print("waiting for a change; Ctrl-C ends", flush=True)
            while _changed_at(files) == seen:
                time.sleep(0.5)
    return status


def _changed_at(files: Sequence[Path]) -> list[int | None]:
    return [file.stat().st_mtime_ns if file.exists() else None for file in files]


def check(
    parts: str,
    file: Path | None = None,
    save_dir: Path = Path("reports/exercises"),
    record: Path | None = None,
    student: str | None = None,
    seconds: float = SECONDS,
    seconds_to_start: float = SECONDS_TO_START,
) -> int:
    """Check the functions of a file and print one line per task.

    parts: "1", "2" or "3", or several. file: the learner's, by default ``exercises/partN.py``.
    save_dir: where pictures of mistakes go, as ``partN-task.png``; older ones are removed.
    record: a JSON file for the outcome. student: whose trials are taken, see ``seed_trials``.
    seconds: time limit of a task. seconds_to_start: of running the file itself.
    Returns the exit status: 0 if all tasks are done, 1 if not.
    Raises UserError where the file cannot be run or a picture cannot be written.
    """
    for folder in (save_dir, *([record.parent] if record else [])):
        make_writable(folder)
    limits = seconds, seconds_to_start
    checked = {
        part: _check_part(part, learners_file(part, file), save_dir, student, limits)
        for part in parts
    }
    done = sum(task["done"] for one in checked.values() for task in one["tasks"].values())
    tasks = sum(len(one["tasks"]) for one in checked.values())
    if record:
        from exercises.faces import seed_trials

        seed = seed_trials(student)
        outcome = {"student": student, "seed": seed, "done": done, "tasks": tasks, "parts": checked}
        text = json.dumps(outcome, indent=1, ensure_ascii=False)
        write_atomically(record, lambda target: target.write(text.encode()))
    return 0 if done == tasks else 1


def _check_part(
    part: str, file: Path, save_dir: Path, student: str | None, limits: tuple[float, float]
) -> dict[str, Any]:
    """Check one part and print its lines; returns what the JSON file holds of it."""
    sheet = (FOLDER / f"part{part}.md").read_text(encoding="utf-8")
    names = re.findall(r"^## \d+\. `(\w+)`$", sheet, re.MULTILINE)
    tasks, verdicts = {}, _verdicts(names, file, student, *limits)
    for name, (message, done, picture) in zip(names, verdicts, strict=True):
        tasks[name] = {"done": done, "message": message}
        print(f"{name:<17}  {message}", flush=True)
        path = save_dir / f"part{part}-{name}.png"
        path.unlink(missing_ok=True)
        if picture:
            write_atomically(path, lambda target, picture=picture: target.write(picture))
            print(f"{'':<17}  a picture of it: {path}", flush=True)
    if solutions := imported_solutions(file):
        print(f"note: {file} imports {', '.join(solutions)}, where the solutions are")
    finished = sum(task["done"] for task in tasks.values())
    print(f"{finished} of {len(names)} done")
    if finished == len(names):
        train = f"python run_part.py {part} --mine {file}"
        print(f"next: {train} trains with your functions; {NEXT[part]}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"file": str(file), "sha256": digest, "imports": solutions, "tasks": tasks}


def imported_solutions(file: Path) -> list[str]:
    """The modules that a learner's file imports from this project, but for what a sheet names."""
    found = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            warp = node.module == "common.augmentation" and [n.name for n in node.names] == ["warp"]
            found += [] if warp else [node.module or ""]
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    return [name for name in found if name.partition(".")[0] in SOLUTIONS]


def _verdicts(
    names: list[str], file: Path, student: str | None, seconds: float, seconds_to_start: float
) -> Iterator[tuple[str, bool, bytes | None]]:
    """The fields of each task's ``Verdict``. Raises UserError where the file cannot be run."""
    pool = None
    with TemporaryDirectory() as folder, terminating_children():
        stack = Path(folder, "stack.txt")  # where a process was that took too long
        for name in names:
            if pool is None:
                pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
                try:
                    pool.submit(_start, file, student, seconds_to_start, stack).result()
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


def _start(file: Path, student: str | None, seconds: float, stack: Path) -> None:
    from exercises import tasks  # noqa: F401  torch is imported here, not on the learner's time
    from exercises.faces import seed_trials

    seed_trials(student)
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
