import multiprocessing
import os
import signal
import time
from contextlib import closing

import pytest
import torch

from common.system.errors import UserError
from common.system.parallel import map_unordered


def work(number):
    """The number doubled, and what the process is like."""
    from tqdm import tqdm

    return 2 * number, os.getpid(), torch.get_num_threads(), tqdm(total=1).disable


def meet(mine, other):
    """Returns whether another process was here before this one went on."""
    mine.touch()
    for _ in range(600):
        if other.exists():
            return True
        time.sleep(0.1)
    return False


def fail(number):
    if number == 1:
        raise UserError("1: too small; take 2")
    time.sleep(600)


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_at_once_is_done_here_and_in_order():
    before = torch.get_num_threads()
    told = list(map_unordered(work, ((n,) for n in range(3)), 1, 8))
    assert told == [((n,), (2 * n, os.getpid(), before, False)) for n in range(3)]


@pytest.mark.slow
def test_more_are_done_in_other_processes_which_share_the_threads_and_show_no_bars():
    told = dict(map_unordered(work, ((n,) for n in range(5)), 2, 6))
    assert {piece: answer[0] for piece, answer in told.items()} == {(n,): 2 * n for n in range(5)}
    processes = {answer[1] for answer in told.values()}
    assert os.getpid() not in processes and len(processes) <= 2
    assert {answer[2:] for answer in told.values()} == {(3, True)}
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_they_are_done_at_the_same_time(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert dict(map_unordered(meet, [(one, two), (two, one)], 2, 2)) == {
        (one, two): True,
        (two, one): True,
    }


@pytest.mark.slow
def test_a_piece_is_taken_when_a_process_is_free_for_it():
    taken = []

    def pieces():
        for number in range(4):
            taken.append(number)
            yield (number,)

    with closing(map_unordered(work, pieces(), 2, 2)) as answers:
        next(answers)
        assert taken == [0, 1]


@pytest.mark.slow
def test_a_fault_in_one_ends_the_others():
    began = time.monotonic()
    with pytest.raises(UserError, match=r"^1: too small; take 2$"):
        list(map_unordered(fail, [(0,), (1,)], 2, 2))
    assert multiprocessing.active_children() == []
    assert time.monotonic() - began < 120  # the other one sleeps for 600


def test_a_fault_outside_ends_them_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), closing(map_unordered(fail, [(0,)], 2, 2)) as answers:
        signal.setitimer(signal.ITIMER_REAL, 1)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            next(answers)
        finally:
            signal.signal(signal.SIGALRM, before)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_process_that_was_killed_is_told_in_one_line():
    with pytest.raises(UserError, match=r"^one of 2 processes .* was killed.*; take 1 and"):
        list(map_unordered(die, [(0,), (1,)], 2, 2, "take 1"))
