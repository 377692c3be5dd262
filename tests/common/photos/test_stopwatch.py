import pytest

from common.photos import stopwatch
from common.photos.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A stopwatch whose time goes on only where the test says so."""
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    watch = Stopwatch()
    watch.wait = wait
    return watch


def test_each_stage_counts_for_itself_alone(clock):
    clock.wait(1)
    with clock.stage("outer"):
        clock.wait(2)
        with clock.stage("inner"):
            clock.wait(4)
        clock.wait(8)
    with clock.stage("inner"):
        clock.wait(16)
    clock.frame()
    clock.frame()
    assert clock.seconds == {"own": 1, "outer": 10, "inner": 20}
    assert clock.per_frame() == {"own": 500, "outer": 5000, "inner": 10000}
    assert str(clock).startswith("2 frames in 31.0 s, 0.1 frames/s: own 500.0 ms, outer 5000.0 ms")


def test_a_stage_that_fails_is_counted_and_left(clock):
    with pytest.raises(KeyError), clock.stage("bad"):
        clock.wait(3)
        raise KeyError
    clock.wait(1)
    clock.frame()
    assert clock.seconds == {"own": 1, "bad": 3}


def test_the_rate_is_that_of_the_last_frames(clock):
    assert clock.rate == 0
    for _ in range(40):
        clock.wait(1)
        clock.frame()
    for _ in range(30):
        clock.wait(0.1)
        clock.frame()
    assert clock.rate == pytest.approx(10)
