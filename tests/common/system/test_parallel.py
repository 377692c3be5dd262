import multiprocessing
import os
import signal
import threading
import time
from contextlib import closing

import pytest

from common.system import parallel
from common.system.errors import UserError
from common.system.parallel import map_unordered


def work(number, folder):
    """The number doubled, and what the process is like: its number, its threads, whether it shows
    no bars and ends with its parent. 0 and 1 wait for each other."""
    import torch
    from tqdm import tqdm

    (folder / f"{number}").touch()
    while True:  # or until pytest's time limit
        if number > 1 or (folder / f"{1 - number}").exists():
            watched = any("(end)" in thread.name for thread in threading.enumerate())
            return 2 * number, os.getpid(), torch.get_num_threads(), tqdm(total=1).disable, watched
        time.sleep(0.1)


def fail(number):
    if number == 1:
        raise UserError("1: too small; take 2")
    time.sleep(600)


def die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def begin(threads):
    """In place of what a process does first, which imports torch: seconds."""
    parallel.end_with_parent()


@pytest.fixture
def quick_start(monkeypatch):
    monkeypatch.setattr(parallel, "_begin", begin)


def test_one_at_once_is_done_here_and_in_order(tmp_path):
    import torch

    pieces = [(n, tmp_path) for n in (2, 3)]
    here = os.getpid(), torch.get_num_threads(), False, False
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
    assert {result[2:] for result in done.values()} == {(3, True, True)}
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.usefixtures("quick_start")
@pytest.mark.parametrize(
    ("job", "fault"),
    [(fail, "^1: too small; take 2$"), (die, r"^one of 2 processes .* was killed.*; take 1 and")],
)
def test_a_fault_in_one_ends_the_others(job, fault):
    with pytest.raises(UserError, match=fault):  # the other one sleeps past the time limit
        list(map_unordered(job, [(0,), (1,)], 2, 2, "take 1"))
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.usefixtures("quick_start")
def test_a_process_that_dies_unseen_by_the_pool_ends_the_others(monkeypatch):
    start = multiprocessing.get_context("spawn").Process.start

    def slowly(process):
        start(process)
        time.sleep(0.5)  # the pool waits for its processes already, without this one

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", slowly)
    monkeypatch.setattr(parallel, "SECONDS", 0.2)
    with pytest.raises(UserError, match=r"^one of 2 processes .* was killed"):
        list(map_unordered(die, [(0,), (1,)], 2, 2))
    assert multiprocessing.active_children() == []


def wait(number, folder):
    (folder / f"{os.getpid()}").touch()
    time.sleep(600)


def start_two(folder):
    parallel._begin = begin
    list(map_unordered(wait, [(0, folder), (1, folder)], 2, 2))


@pytest.mark.slow
def test_processes_end_with_one_that_is_killed(tmp_path):
    parent = multiprocessing.get_context("spawn").Process(target=start_two, args=(tmp_path,))
    parent.start()
    while len(files := list(tmp_path.iterdir())) < 2:
        time.sleep(0.05)
    parent.kill()
    parent.join()
    for file in files:
        with pytest.raises(ProcessLookupError):
            while True:  # or until pytest's time limit
                os.kill(int(file.name), 0)
                time.sleep(0.05)


def interrupt(number):
    os.kill(os.getppid(), signal.SIGALRM)
    time.sleep(600)


@pytest.mark.usefixtures("quick_start")
def test_a_fault_outside_ends_them_all():
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    results = map_unordered(interrupt, [(0,)], 2, 2)
    with pytest.raises(KeyboardInterrupt), closing(results):
        next(results)
    signal.signal(signal.SIGALRM, before)
    assert multiprocessing.active_children() == []
