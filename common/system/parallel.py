"""Several tasks side by side, each in a process of its own.

Two small networks finish sooner on one core each than one after the other on both cores.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from common.system.errors import UserError

Result = TypeVar("Result")
Done = tuple[tuple[Any, ...], Result]
SECONDS = 5.0  # between looks whether a process died


def map_unordered(
    work: Callable[..., Result],
    pieces: Iterable[tuple[Any, ...]],
    at_once: int,
    threads: int,
    remedy: str = "close other programs",
) -> Iterator[Done[Result]]:
    """Yields (args, work(*args)) for each args of ``pieces``, in the order in which they end.

    work: a function that can be pickled, as its arguments and results.
    at_once: how many processes; with 1 the work is done here, in order.
    threads: how many the processes share.
    Wrap it in ``contextlib.closing``, so that an exception outside ends the processes at once.
    Raises what ``work`` raises, and UserError with the ``remedy`` where a process was killed.
    """
    if at_once == 1:
        for piece in pieces:
            yield piece, work(*piece)
        return
    pool = ProcessPoolExecutor(
        at_once, multiprocessing.get_context("spawn"), _begin, (max(threads // at_once, 1),)
    )
    waiting: dict[Future[Result], tuple[Any, ...]] = {}
    others = set(multiprocessing.active_children())
    try:
        with terminating_children():
            for piece in pieces:
                waiting[pool.submit(work, *piece)] = piece
                if len(waiting) == at_once:
                    yield from _first(waiting, others)
            while waiting:
                yield from _first(waiting, others)
    except BrokenProcessPool:
        raise UserError(
            f"one of {at_once} processes at work was killed, mostly for want of memory; {remedy} "
            "and start again"
        ) from None
    finally:
        pool.shutdown()


@contextmanager
def terminating_children() -> Iterator[None]:
    """End the processes that are started in the block, at work or not, when it is left."""
    others = multiprocessing.active_children()
    try:
        yield
    finally:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()


def _first(
    waiting: dict[Future[Result], tuple[Any, ...]], others: set[BaseProcess]
) -> Iterator[Done[Result]]:
    """The first results of those tasks; others: processes that are not the pool's."""
    # Now and then the pool does not see the death of a process that it started a moment after a
    # task was submitted, and would wait for ever: each task that is waited for needs a process.
    while not (done := wait(waiting, SECONDS, return_when=FIRST_COMPLETED).done):
        if len(set(multiprocessing.active_children()) - others) < len(waiting):
            raise BrokenProcessPool
    for future in done:
        yield waiting.pop(future), future.result()


def _begin(threads: int) -> None:
    """What each process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process reports it
    os.environ["TQDM_DISABLE"] = "1"  # no bars over one another; read when tqdm is imported
    import cv2
    import torch
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own is a semaphore, left behind where we are ended
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    end_with_parent()


def end_with_parent() -> None:
    """A killed parent cannot end its processes: without this they would wait for ever."""

    def end() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
