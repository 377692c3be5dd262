"""Frames in from a camera or a file, frames out to a file."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from common.system.errors import UserError
from common.system.files import make_writable

USUAL_RATE = 30.0  # frames a second, where camera or file do not tell
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
FINEST = 65  # frames a second that MPEG-4 can count in thousandths; it has 65535 ticks a second
AHEAD = 4  # frames that are decoded before they are asked for


class Frames:
    """The frames of a camera or a video file, read ahead on a thread of their own.

    Iterating gives each frame, uint8 (H, W, 3) RGB, and its time in seconds. Of a file every
    frame comes, of a camera the newest: a slow network skips frames rather than fall behind.
    """

    def __init__(self, source: int | Path) -> None:
        """Open it. Raises UserError where there is no such camera or nothing that can be read."""
        self.live = isinstance(source, int)
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg adds lines to ours
        self._capture = cv2.VideoCapture(source if self.live else str(source))
        there, first = self._capture.read()
        if not there:
            self._capture.release()
            raise UserError(_fault(source))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else USUAL_RATE
        self.size = (first.shape[1], first.shape[0])
        self._queue: queue.Queue[tuple[np.ndarray, float] | None] = queue.Queue(
            1 if self.live else AHEAD
        )
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(first,), daemon=True)
        self._reader.start()

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        while (frame := self._queue.get()) is not None:
            yield frame

    def close(self) -> None:
        """Stop reading and let the camera go."""
        self._closed.set()
        self._reader.join(timeout=2)
        self._capture.release()

    def _read(self, frame: np.ndarray) -> None:
        began, count, there = cv2.getTickCount(), 0, True
        while there and not self._closed.is_set():
            passed = (cv2.getTickCount() - began) / cv2.getTickFrequency()
            seconds = passed if self.live else count / self.rate
            self._put((cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), seconds))
            there, frame = self._capture.read()
            count += 1
        self._put(None)

    def _put(self, frame: tuple[np.ndarray, float] | None) -> None:
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

        Raises UserError where it is there already, cannot be written or is of no known kind.
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

        A frame that comes late stands in for those that did not come.
        """
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        times = max(round(seconds * self.rate) + 1 - self.written, 1)
        for _ in range(times):
            self._writer.write(image)
        self.written += times

    def close(self, keep: bool = True) -> None:
        """Complete the file, or drop it.

        Raises UserError where not all frames got there: OpenCV is silent when a disk is full.
        """
        self._writer.release()
        there = frames_in(self._temporary)
        if keep and there == self.written > 0:
            self._temporary.replace(self.path)
        self._temporary.unlink(missing_ok=True)
        if keep and there != self.written:
            raise UserError(
                f"{self.path}: only {there} of {self.written} frames could be written; free some "
                "space or choose another folder"
            )


def frames_in(file: Path) -> int:
    """How many frames a video file says it has; 0 of what is none."""
    capture = cv2.VideoCapture(str(file))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return max(count, 0)


def check_window() -> None:
    """Raises UserError where no window can be opened.

    Tried in a process of its own: where there is no display OpenCV ends the whole program.
    """
    code = "import cv2; cv2.namedWindow('faces')"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if tried.returncode:
        raise UserError(
            "no window can be opened on this machine; add --no-window, and --record FILE to see "
            "the result"
        )


def _fault(source: int | Path) -> str:
    if isinstance(source, int):
        return f"camera {source}: not there or in use; try --camera 1, or --video FILE"
    if not source.is_file():
        return f"{source}: no such file; check the name"
    return f"{source}: not a video that can be read; save it anew as MP4"
