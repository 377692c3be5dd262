"""Frames in from a camera or a file, frames out to a file, and where the time goes."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from common.system.errors import UserError
from common.system.files import make_writable

Frame = tuple[np.ndarray, float]  # uint8 (H, W, 3) RGB, and its time in seconds

DEFAULT_RATE = 30.0  # frames a second, where camera or file do not say
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
FINEST = 65  # frames a second that MPEG-4 can count in thousandths; it has 65535 ticks a second
AHEAD = 4  # frames that are decoded in advance
OWN = "own"  # the stopwatch's name for time outside of all stages


class Frames:
    """The frames of a camera or a video file, read ahead on a thread of their own.

    Iterating gives each frame, uint8 (H, W, 3) RGB, and its time in seconds: every frame of a
    file, the newest of a camera, so that a slow network skips frames and does not fall behind.
    """

    def __init__(self, source: int | Path) -> None:
        """Open it. Raises UserError where there is no such camera or the file cannot be read."""
        self.live = isinstance(source, int)
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg adds lines to ours
        self._capture = cv2.VideoCapture(source if self.live else str(source))
        read, first = self._capture.read()
        if not read:
            self._capture.release()
            fault = "not a video that can be read; save it again as MP4"
            if self.live:
                source = f"camera {source}"
                fault = "not there or in use; try --camera 1, or --video FILE"
            elif not source.is_file():
                fault = "no such file; check the name"
            raise UserError(f"{source}: {fault}")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else DEFAULT_RATE
        self.size = (first.shape[1], first.shape[0])
        self._queue: queue.Queue[Frame | None] = queue.Queue(1 if self.live else AHEAD)
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(first,), daemon=True)
        self._reader.start()

    def __iter__(self) -> Iterator[Frame]:
        yield from iter(self._queue.get, None)

    def close(self) -> None:
        """Stop reading and let the camera go."""
        self._closed.set()
        self._reader.join(timeout=2)
        self._capture.release()

    def _read(self, frame: np.ndarray) -> None:
        began, count, read = time.perf_counter(), 0, True
        while read and not self._closed.is_set():
            seconds = time.perf_counter() - began if self.live else count / self.rate
            self._put((cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), seconds))
            read, frame = self._capture.read()
            count += 1
        self._put(None)

    def _put(self, frame: Frame | None) -> None:
        while not self._closed.is_set():
            if self.live:
                with suppress(queue.Empty):
                    self._queue.get_nowait()  # an older frame that nobody has taken
            with suppress(queue.Full):
                self._queue.put(frame, timeout=0.1)
                return


class Recorder:
    """Writes frames to a video file, which has its name only once it is complete."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int], overwrite: bool) -> None:
        """Open it. size: (width, height).

        Raises UserError where it exists already, cannot be written or is of an unknown kind.
        """
        if path.suffix.lower() not in CODECS:
            raise UserError(f"{path}: no known kind of video; take a name ending in .mp4 or .avi")
        if path.exists() and not overwrite:
            raise UserError(f"{path}: is there already; add --overwrite or choose another name")
        make_writable(path.parent)
        rate = round(rate) if rate > FINEST else rate
        self.path, self.rate, self.written = path, rate, 0
        self._temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._temporary), code, rate, size)
        if not self._writer.isOpened():
            raise UserError(f"{path}: cannot be written; choose another folder or .avi")

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Show ``image``, uint8 (H, W, 3) RGB, at the time ``seconds`` of the recording.

        A late frame is repeated in place of those that were skipped.
        """
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        times = max(round(seconds * self.rate) + 1 - self.written, 1)
        for _ in range(times):
            self._writer.write(image)
        self.written += times

    def close(self, keep: bool = True) -> None:
        """Complete the file, or drop it.

        Raises UserError where frames are missing: OpenCV reports no error when a disk is full.
        """
        self._writer.release()
        written = cv2.VideoCapture(str(self._temporary))
        count = max(int(written.get(cv2.CAP_PROP_FRAME_COUNT)), 0)  # 0 where it is not a video
        written.release()
        if keep and count == self.written > 0:
            self._temporary.replace(self.path)
        self._temporary.unlink(missing_ok=True)
        if keep and count != self.written:
            raise UserError(
                f"{self.path}: only {count} of {self.written} frames could be written; free some "
                "space or choose another folder"
            )


class Stopwatch:
    """Seconds spent in each stage of a loop; a stage within a stage counts for itself alone.

    Times are those of the thread that calls, waiting included.
    """

    def __init__(self) -> None:
        self.seconds = defaultdict(float, {OWN: 0.0})
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
        self.seconds[self._stages[-1]] += now - self._since
        self._since = now


def check_window() -> None:
    """Raises UserError where no window can be opened; tried in a process of its own, since without
    a display OpenCV ends the whole program."""
    code = "import cv2; cv2.namedWindow('faces')"
    if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode:
        raise UserError(
            "no window can be opened on this machine; add --no-window, and --record FILE to see "
            "the result"
        )
