"""What README and docs report, measured: ``python -m benchmarks.NAME``."""

from __future__ import annotations

import argparse
import sys
from types import TracebackType

from common.system.errors import UserError


def parser_of(docstring: str) -> argparse.ArgumentParser:
    """The parser of a benchmark, described by the first line of its docstring."""
    return argparse.ArgumentParser(description=docstring.partition("\n")[0])


def _one_line(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """What a user can correct is printed without its traceback, as ``run_part.py`` does."""
    if isinstance(fault, UserError):
        print(f"error: {fault}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, fault, trace)


sys.excepthook = _one_line
