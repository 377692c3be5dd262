"""Several pieces of work at once, each in a process of its own.

A small network has little to share between the cores: two that learn side by side, on a core each,
are through sooner than two that learn on both cores, one after the other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from common.system.errors import UserError

Answer = TypeVar("Answer")
Done = tuple[tuple[Any, ...], Answer]


def map_unordered(
    work: Callable[..., Answer],
    pieces: Iterable[tuple[Any, ...]],
    at_once: int,
    threads: int,
    remedy: str = "close other programs",
) -> Iterator[Done[Answer]]:
    """Yields the arguments and the answer of ``work`` for each of ``pieces``, its arguments.

    One at once: here, in their order. More: in processes that share ``threads``, in the order in
    which they end; a piece is taken when a process is free for it. ``work`` and all it takes and
    gives must be known to pickle. Wrap it in ``contextlib.closing``, so that a fault outside ends
    the processes at once.
    Raises what ``work`` raises, and UserError with the ``remedy`` where a process was killed.
    """
    if at_once == 1:
        for piece in pieces:
            yield piece, work(*piece)
        return
    pool = ProcessPoolExecutor(
        at_once, multiprocessing.get_context("spawn"), _begin, (max(threads // at_once, 1),)
    )
    waiting: dict[Future[Answer], tuple[Any, ...]] = {}
    others = multiprocessing.active_children()
    try:
        for piece in pieces:
            waiting[pool.submit(work, *piece)] = piece
            if len(waiting) == at_once:
                yield from _first(waiting)
        while waiting:
            yield from _first(waiting)
    except BrokenProcessPool:
        raise UserError(
            f"one of {at_once} processes at work was killed, mostly for want of memory; {remedy} "
            "and start again"
        ) from None
    finally:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        pool.shutdown()


def _first(waiting: dict[Future[Answer], tuple[Any, ...]]) -> Iterator[Done[Answer]]:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        yield waiting.pop(future), future.result()


def _begin(threads: int) -> None:
    """What each process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first one tells it
    os.environ["TQDM_DISABLE"] = "1"  # no bars over one another; read when tqdm is imported
    import cv2
    import torch
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own is a semaphore, left behind where we are ended
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed tells its processes nothing: they would wait for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
