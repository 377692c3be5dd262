"""Frames in from a camera or a file, frames out to a file, and where the time goes."""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from common.photos.h264 import H264Writer, pyav
from common.system.errors import UserError
from common.system.files import make_writable, temporary_name
from common.system.signals import uninterrupted

Frame = tuple[np.ndarray, float]  # uint8 (H, W, 3) RGB, and its time in seconds

DEFAULT_RATE = 30.0  # frames a second, where camera or file do not say
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
FINEST = 65  # frames a second that MPEG-4 can count in thousandths; it has 65535 ticks a second
AHEAD = 4  # frames that are decoded in advance
WHOLE = 0.95  # of the announced frames, whose number is only estimated in some kinds of files
STILL = 60.0  # seconds of a recording for which one frame is shown at most
NO_PYAV = (
    'as MPEG-4, which browsers do not play, and without sound; pip install -e ".[video]" for both'
)
UNWRITABLE = "cannot be written; choose another folder or .avi"
OWN = "own"  # the stopwatch's name for time outside of all stages


def _open(source: int | Path) -> cv2.VideoCapture:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg adds lines to ours
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # and OpenCV
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    # No other library than FFmpeg: each has times and turns of its own.
    capture = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


class Frames:
    """The frames of a camera or a video file, read ahead on a thread of their own.

    Iterating gives each frame, uint8 (H, W, 3) RGB, and its time in seconds: every frame of a
    file, turned and mirrored as its metadata say and at its own time, and the newest of a camera,
    so that a slow network skips frames and does not fall behind.
    """

    def __init__(self, source: int | Path) -> None:
        """Open it. Raises UserError where there is no such camera or the file cannot be read."""
        self.source, self.live = source, isinstance(source, int)
        self._capture = _open(source)
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
        self.rate = rate if 0.1 <= rate < 1000 else DEFAULT_RATE
        self.size = (first.shape[1], first.shape[0])
        self.count = 0  # frames so far
        self._announced = 0 if self.live else self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._reached = 0.0  # frames so far if all had come at the usual rate
        self._ended = False
        self._mirrored = not self.live and is_mirrored(source)
        self._queue: queue.Queue[Frame | None] = queue.Queue(1 if self.live else AHEAD)
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(first,), daemon=True)
        self._reader.start()

    def __iter__(self) -> Iterator[Frame]:
        yield from iter(self._queue.get, None)

    def check_complete(self) -> None:
        """Raises UserError where a file ended long before the last frame that it announces."""
        if self._ended and max(self.count, self._reached) < WHOLE * self._announced:
            raise UserError(
                f"{self.source}: breaks off after {self.count} of {self._announced:.0f} frames, "
                "which are done; copy it again from where it came"
            )

    def close(self) -> None:
        """Stop reading and let the camera go."""
        self._closed.set()
        self._reader.join(timeout=2)
        self._capture.release()

    def _read(self, frame: np.ndarray) -> None:
        began, seconds, read = time.perf_counter(), -1.0, True
        with suppress(cv2.error, MemoryError):  # the damage at which a file breaks off
            while read and not self._closed.is_set():
                seconds = self._time(seconds) if not self.live else time.perf_counter() - began
                self._put((self._upright(frame), seconds))
                self.count, self._reached = self.count + 1, seconds * self.rate + 1
                read, frame = self._capture.read()
        self._ended = not self._closed.is_set()
        self._put(None)

    def _time(self, before: float) -> float:
        """The time in seconds of the frame that was read last: what the file says, else by its
        number; above ``before`` in any case."""
        seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return seconds if seconds > before else max(self.count / self.rate, before + 1e-3)

    def _upright(self, frame: np.ndarray) -> np.ndarray:
        """A frame as OpenCV reads it, BGR and turned, to RGB, mirrored and of one size."""
        if self._mirrored:  # vertically before it was turned
            turned = self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180
            frame = cv2.flip(frame, 1 if turned else 0)
        if frame.shape[1::-1] != self.size:
            frame = cv2.resize(frame, self.size)
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def _put(self, frame: Frame | None) -> None:
        while not self._closed.is_set():
            if self.live:
                with suppress(queue.Empty):
                    self._queue.get_nowait()  # an older frame that nobody has taken
            with suppress(queue.Full):
                self._queue.put(frame, timeout=0.1)
                return


def is_readable(path: Path) -> bool:
    """Whether a file of any name is a video, and neither text, which FFmpeg reads as one, nor a
    picture, which is one frame."""
    with open(path, "rb") as file:
        if b"\0" not in file.read(4096):
            return False
    capture = _open(path)
    read = capture.get(cv2.CAP_PROP_FRAME_COUNT) != 1 and capture.read()[0]
    capture.release()
    return read


def is_mirrored(path: Path) -> bool:
    """Whether the display matrix of an MP4 or MOV file mirrors its video, which OpenCV ignores.

    Source: ISO/IEC 14496-12, 4.2 and 8.3.2, boxes and the track's header.
    """
    with suppress(struct.error), open(path, "rb") as file:
        while header := file.read(8):
            size, kind = struct.unpack(">I4s", header)
            if size == 1:
                size = struct.unpack(">Q", file.read(8))[0] - 8
            if kind == b"tkhd":
                body = file.read(size - 8)
                a, b, _, c, d, _, _, _, _, width, _ = struct.unpack(">11i", body[-44:])
                if width:  # else a track of sound
                    return a * d < b * c
            elif size < 8:
                break
            elif kind not in (b"moov", b"trak"):
                file.seek(size - 8, os.SEEK_CUR)
    return False


class Recorder:
    """Writes frames to a video file, which has its name only once it is complete."""

    def __init__(
        self,
        path: Path,
        rate: float,
        size: tuple[int, int],
        overwrite: bool,
        sound: Path | None = None,
    ) -> None:
        """Open it. size: (width, height). sound: the film whose sound an .mp4 gets, with PyAV.

        Raises UserError where it exists already, cannot be written or is of an unknown kind.
        """
        if path.suffix.lower() not in CODECS:
            raise UserError(f"{path}: no known kind of video; take a name ending in .mp4 or .avi")
        if path.exists() and not overwrite:
            raise UserError(f"{path}: is there already; add --overwrite or choose another name")
        make_writable(path.parent)
        rate = round(rate) if rate > FINEST else rate
        self.path, self.rate, self.written = path, rate, 0
        self._shown = 0  # frames, as if all had the usual rate
        self._left_out = 0  # frames by which stills were shortened
        self._temporary = temporary_name(path, path.suffix)  # OpenCV takes the format from it
        self._remove = weakref.finalize(self, self._temporary.unlink, missing_ok=True)
        self._writer: H264Writer | cv2.VideoWriter | None
        if path.suffix.lower() == ".mp4" and pyav():
            try:
                self._writer = H264Writer(self._temporary, rate, size, sound)
            except (OSError, ValueError):
                raise UserError(f"{path}: {UNWRITABLE}") from None
            return
        if path.suffix.lower() == ".mp4":
            print(f"{path}: {NO_PYAV}", file=sys.stderr)
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._temporary), code, rate, size)
        if not self._writer.isOpened():
            raise UserError(f"{path}: {UNWRITABLE}")

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Show ``image``, uint8 (H, W, 3) RGB, at the time ``seconds`` of the recording.

        A late frame is repeated in place of those that were skipped, for STILL seconds at most;
        H.264 has times instead. Raises UserError on a full disk, some kinds only in ``complete``.
        """
        times = round(seconds * self.rate) + 1 - self._shown - self._left_out
        self._left_out += max(times - round(STILL * self.rate), 0)
        times = max(min(times, round(STILL * self.rate)), 1)
        self._shown += times
        if isinstance(self._writer, H264Writer):
            with self._full_disk():
                self._writer.write(image, seconds - self._left_out / self.rate)
            self.written += 1
            return
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        for _ in range(times):
            self._writer.write(image)
        self.written += times

    def complete(self) -> None:
        """End the file under its temporary name.

        Raises UserError where frames are missing: OpenCV reports no error when a disk is full.
        """
        with self._full_disk():
            self._release()
        written = cv2.VideoCapture(str(self._temporary))
        count = max(int(written.get(cv2.CAP_PROP_FRAME_COUNT)), 0)  # 0 where it is not a video
        written.release()
        if count != self.written:
            raise self._full()

    def close(self, keep: bool = True) -> None:
        """Complete the file and give it its name, or drop it; raises UserError as ``complete``."""
        with uninterrupted():
            try:
                if keep:
                    self.complete()
                if keep and self.written:
                    self._temporary.replace(self.path)
            finally:
                with suppress(OSError):
                    self._release()
                self._remove()

    def _release(self) -> None:
        writer, self._writer = self._writer, None
        if writer:
            writer.release()

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            raise self._full() from None

    def _full(self) -> UserError:
        return UserError(
            f"{self.path}: not all frames could be written; free some space or choose another "
            "folder"
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
