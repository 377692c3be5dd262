"""Videos as browsers play them, H.264 with a film's sound; needs PyAV, the extra ``video``."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

TICKS = Fraction(1, 90_000)  # of a second: frames have times of their own
USUAL_RATE = 48_000  # samples a second of sound whose own rate AAC does not have
ENCODING = {"preset": "veryfast", "crf": "20"}  # a little larger, and twice as fast as the default


def pyav() -> ModuleType | None:
    """PyAV, or None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av


class H264Writer:
    """Writes an MP4 file: frames at their own times, and the sound of another film as AAC."""

    def __init__(
        self, path: Path, rate: float, size: tuple[int, int], sound: Path | None = None
    ) -> None:
        """Open it. rate: the usual number of frames a second. size: (width, height); colours are
        stored for pairs of pixels, so a last odd column or row is left out.

        Raises OSError where the file cannot be written, ValueError where H.264 has no such size.
        """
        self._av = pyav()
        self._file = self._av.open(str(path.absolute()), "w", format="mp4")
        rounded = Fraction(rate).limit_denominator(1001)
        self._video = self._file.add_stream("libx264", rounded, options=dict(ENCODING))
        self._video.width, self._video.height = (side // 2 * 2 for side in size)
        self._video.pix_fmt, self._video.codec_context.time_base = "yuv420p", TICKS
        self._video.codec_context.open()
        self._pieces = self._sound(sound)
        self._next_piece = next(self._pieces, math.inf)
        self._last = -1  # tick of the last frame

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Show ``image``, uint8 (H, W, 3) RGB, from ``seconds`` on, after the frame before."""
        shown = np.ascontiguousarray(image[: self._video.height, : self._video.width])
        frame = self._av.VideoFrame.from_ndarray(shown, format="rgb24")
        self._last = max(round(seconds / TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, TICKS
        self._file.mux(self._video.encode(frame))
        self._play_until(seconds)

    def release(self) -> None:
        """End the file. Raises OSError where it could not be written."""
        if self._last >= 0:
            self._file.mux(self._video.encode())
            self._play_until(float(self._last * TICKS + 1 / self._video.average_rate))
            self._pieces.close()
        self._file.close()

    def _play_until(self, seconds: float) -> None:
        while self._next_piece <= seconds:
            self._next_piece = next(self._pieces, math.inf)

    def _sound(self, source: Path | None) -> Generator[float, None, None]:
        """Write the sound piece by piece; before each yields its time in seconds of the film.

        Damage ends the sound with a line.
        """
        if source is None:
            return
        try:
            yield from self._pieces_of(source)
        except OSError:  # it cannot be written
            raise
        except self._av.error.FFmpegError as fault:
            print(f"{source}: its sound breaks off ({fault}); the rest is silent", file=sys.stderr)

    def _pieces_of(self, source: Path) -> Generator[float, None, None]:
        with self._av.open(str(source.absolute())) as film:
            heard, shown = (film.streams.best(kind) for kind in ("audio", "video"))
            if heard is None or shown is None:
                return
            begin = float((shown.start_time or 0) * shown.time_base)
            known = heard.rate in self._av.Codec("aac", "w").audio_rates
            audio = self._file.add_stream("aac", heard.rate if known else USUAL_RATE)
            audio.codec_context.layout = "mono" if heard.channels == 1 else "stereo"
            try:
                for piece in film.decode(heard):
                    yield piece.time - begin
                    piece.pts -= round(begin / piece.time_base)
                    self._file.mux(audio.encode(piece))
            finally:
                self._file.mux(audio.encode())
