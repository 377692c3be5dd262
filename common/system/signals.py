"""Signals that stop the process, and what they must not tear apart."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = [signal.SIGINT, signal.SIGTERM]
"""Ctrl-C, ``kill``, and a terminal that is closed, where there is a signal for it."""
if hasattr(signal, "SIGHUP"):
    STOPS.append(signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the signals that are handled in Python wait until what is done within has ended.

    Signals interrupt the main thread alone, so that in another one nothing has to wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOPS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
