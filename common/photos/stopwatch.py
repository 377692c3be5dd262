"""What the time goes into, stage by stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

OWN = "own"  # what is in no stage


class Stopwatch:
    """Seconds spent in each stage of a loop; a stage within a stage counts for itself alone.

    Times are those of the thread that calls, waiting included.
    """

    def __init__(self) -> None:
        self.seconds = {OWN: 0.0}
        self.frames = 0
        self._recent: deque[float] = deque(maxlen=30)
        self._stages = [OWN]
        self._since = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens within for ``name``."""
        self._count()
        self._stages.append(name)
        try:
            yield
        finally:
            self._count()
            self._stages.pop()

    def frame(self) -> None:
        """One more frame is done."""
        self._count()
        self.frames += 1
        self._recent.append(self._since)

    @property
    def rate(self) -> float:
        """Frames a second over the last thirty frames."""
        if len(self._recent) < 2:
            return 0.0
        return (len(self._recent) - 1) / (self._recent[-1] - self._recent[0])

    def per_frame(self) -> dict[str, float]:
        """Milliseconds a frame of each stage, in the order in which they came first."""
        return {name: 1000 * spent / max(self.frames, 1) for name, spent in self.seconds.items()}

    def __str__(self) -> str:
        """Frames, frames a second over all, and the stages, in one line."""
        total = sum(self.seconds.values())
        stages = ", ".join(f"{name} {spent:.1f} ms" for name, spent in self.per_frame().items())
        rate = self.frames / max(total, 1e-9)
        return f"{self.frames} frames in {total:.1f} s, {rate:.1f} frames/s: {stages}"

    def _count(self) -> None:
        now = time.perf_counter()
        stage = self._stages[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
