"""What README and docs report, measured: ``python -m benchmarks.NAME``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from common.recipe import need_one
from common.system.errors import UserError


def parser_of(docstring: str, **counts: int) -> argparse.ArgumentParser:
    """The parser of a benchmark, described by the first line of its docstring.

    counts: options that take a whole number from 1 on, such as ``seeds``, and their defaults.
    """
    parser = argparse.ArgumentParser(description=docstring.partition("\n")[0])
    for name, default in counts.items():

        def count(text: str, option: str = f"--{name}") -> int:
            need_one(option, int(text))
            return int(text)

        shown = f"default: {default}"
        parser.add_argument(f"--{name}", type=count, default=default, metavar="N", help=shown)
    return parser


def run(main: Callable[[], int | None]) -> NoReturn:
    """Exit with the status of ``main``; with one line and 2 for what a user can correct."""
    try:
        sys.exit(main())
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
