"""What README and docs quote, measured: ``python -m benchmarks.NAME``."""

from __future__ import annotations

import sys
from types import TracebackType

from common.system.errors import UserError


def _one_line(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """What a person can mend is told without the way that led there, as ``run_part.py`` does."""
    if isinstance(fault, UserError):
        print(f"error: {fault}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, fault, trace)


sys.excepthook = _one_line
