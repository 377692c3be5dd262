"""What README and docs report, measured: ``python -m benchmarks.NAME``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from common.recipe import need_one
from common.system.errors import UserError


def parser_of(docstring: str, **counts: int) -> argparse.ArgumentParser:
    """The parser of a benchmark, described by the first line of its docstring.

    counts: options that take a whole number from 1 on, such as ``seeds``, and their defaults.
    """
    parser = argparse.ArgumentParser(description=docstring.partition("\n")[0])
    for name, default in counts.items():
        kind, shown = partial(_count, f"--{name}"), f"default: {default}"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=shown)
    return parser


def _count(option: str, text: str) -> int:
    need_one(option, int(text))
    return int(text)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Exit with the status of ``main``; with one line and 2 for what a user can correct."""
    try:
        sys.exit(main())
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
