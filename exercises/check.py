"""Exercises, checked: ``python run_part.py check 1``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType

from common.system.errors import UserError
from common.system.files import make_writable, write_atomically
from exercises import checks_part1, checks_part2, checks_part3
from exercises.judge import SECONDS_TO_START, Failure, attempt, judge

FOLDER = Path(__file__).resolve().parent  # the sheets and the starters
TASKS = {"1": checks_part1.TASKS, "2": checks_part2.TASKS, "3": checks_part3.TASKS}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``check``."""
    parser.add_argument("part", choices=("1", "2", "3"))
    parser.add_argument(
        "--file", type=Path, metavar="MY.py", help="default: exercises/partN.py, edited in place"
    )
    parser.add_argument(
        "--save-dir", type=Path, default=Path("reports/exercises"), metavar="DIR",
        help="where pictures of mistakes go (default: reports/exercises)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Check a learner's file; see ``check``."""
    return check(options.part, options.file, options.save_dir)


def check(part: str, file: Path | None = None, save_dir: Path = Path("reports/exercises")) -> int:
    """Check the functions in ``file``, by default ``exercises/partN.py``, and print a line a task.

    Pictures of mistakes are written to ``save_dir`` as ``partN-task.png``; those of an earlier
    check are gone. Returns the exit status: 0 where all is done, 1 where something is not.
    Raises UserError where the file cannot be run or a picture cannot be written.
    """
    file = file or FOLDER / f"part{part}.py"
    module, tasks = load(file), TASKS[part]
    make_writable(save_dir)
    done = 0
    for task in tasks:
        verdict = judge(task, getattr(module, task.name, None), file)
        done += verdict.done
        print(f"{task.name:<17}  {verdict.told}", flush=True)
        path = save_dir / f"part{part}-{task.name}.png"
        path.unlink(missing_ok=True)
        if verdict.figure:
            write_atomically(path, partial(verdict.figure.savefig, format="png"))
            print(f"{'':<17}  a picture of it: {path}", flush=True)
    print(f"{done} of {len(tasks)} done")
    return 0 if done == len(tasks) else 1


def load(file: Path) -> ModuleType:
    """The module in a learner's file; no compiled copy is left beside it.

    Raises UserError where it cannot be read, is not Python, or fails or never ends when it runs.
    """
    try:
        code = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except OSError as fault:
        raise UserError(f"{file}: {fault.strerror}; name the file with --file") from None
    except SyntaxError as fault:
        where = f", line {fault.lineno}" if fault.lineno else ""
        raise UserError(f"{file}{where}: {fault.msg}; mend it and check again") from None
    except ValueError as fault:  # before Python 3.12, a zero byte
        raise UserError(f"{file}: {fault}; mend it and check again") from None
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    stopped = attempt(lambda: _run(code, module), file, SECONDS_TO_START)
    if isinstance(stopped, Failure):
        raise UserError(f"{file}: {stopped}; mend it and check again")
    return module


def _run(code: CodeType, module: ModuleType) -> None:
    exec(code, module.__dict__)
