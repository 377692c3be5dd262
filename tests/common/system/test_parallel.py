import multiprocessing
import os
import signal
import time
from contextlib import closing

import pytest
import torch

from common.system.errors import UserError
from common.system.parallel import map_unordered


def work(number, folder):
    """The number doubled, and what the process is like; 0 and 1 wait for each other."""
    from tqdm import tqdm

    (folder / f"{number}").touch()
    for _ in range(600):
        if number > 1 or (folder / f"{1 - number}").exists():
            return 2 * number, os.getpid(), torch.get_num_threads(), tqdm(total=1).disable
        time.sleep(0.1)


def fail(number):
    if number == 1:
        raise UserError("1: too small; take 2")
    time.sleep(600)


def die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def test_one_at_once_is_done_here_and_in_order(tmp_path):
    pieces, here = [(n, tmp_path) for n in (2, 3)], (os.getpid(), torch.get_num_threads(), False)
    done = list(map_unordered(work, pieces, 1, 8))
    assert done == [(pieces[0], (4, *here)), (pieces[1], (6, *here))]


@pytest.mark.slow
def test_more_are_done_at_once_in_processes_that_share_the_threads_and_show_no_bars(tmp_path):
    taken = []

    def pieces():
        for number in range(5):
            taken.append(number)
            yield number, tmp_path

    results = map_unordered(work, pieces(), 2, 6)
    first = next(results)
    assert taken == [0, 1]  # the others are taken when a process is free
    done = dict([first, *results])
    assert {piece[0]: result[0] for piece, result in done.items()} == {n: 2 * n for n in range(5)}
    processes = {result[1] for result in done.values()}
    assert os.getpid() not in processes and len(processes) <= 2
    assert {result[2:] for result in done.values()} == {(3, True)}
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "fault"),
    [(fail, "^1: too small; take 2$"), (die, r"^one of 2 processes .* was killed.*; take 1 and")],
)
def test_a_fault_in_one_ends_the_others(job, fault):
    with pytest.raises(UserError, match=fault):  # the other one sleeps past the time limit
        list(map_unordered(job, [(0,), (1,)], 2, 2, "take 1"))
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_process_that_dies_unseen_by_the_pool_ends_the_others(monkeypatch):
    start = multiprocessing.get_context("spawn").Process.start

    def slowly(process):
        start(process)
        time.sleep(0.5)  # the pool waits for its processes already, without this one

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", slowly)
    with pytest.raises(UserError, match=r"^one of 2 processes .* was killed"):
        list(map_unordered(die, [(0,), (1,)], 2, 2))
    assert multiprocessing.active_children() == []


def test_a_fault_outside_ends_them_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), closing(map_unordered(fail, [(0,)], 2, 2)) as results:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            next(results)
        finally:
            signal.signal(signal.SIGALRM, before)
    assert multiprocessing.active_children() == []
