import os
import signal
import threading

import pytest

from common.system.signals import STOPS, uninterrupted


@pytest.fixture(params=STOPS)
def number(request):
    """A signal that raises KeyboardInterrupt, as in ``run_part.py``."""

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(request.param, stop)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_waits_for_the_end_of_what_it_must_not_tear(number):
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), number)
        done.append("written")
        with uninterrupted():
            os.kill(os.getpid(), number)
        done.append("renamed")
    assert done == ["written", "renamed"]
    with pytest.raises(KeyboardInterrupt):  # and later ones act at once again
        os.kill(os.getpid(), number)
        done.append("never")
    assert len(done) == 2


def test_a_signal_that_is_ignored_stays_so(number):
    signal.signal(number, signal.SIG_IGN)
    with uninterrupted():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == signal.SIG_IGN


def test_in_another_thread_nothing_has_to_wait():
    done = []

    def work():
        with uninterrupted():
            done.append("in a thread")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["in a thread"]
