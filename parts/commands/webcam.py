"""The webcam: what ``python run_part.py webcam`` does, with a camera or with a video file.

Each frame goes the same way: read it, follow the faces in it, put a filter or the points on them,
show and record it. What each of these takes is written on the picture.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from common.photos import face_filters
from common.photos.drawing import draw_faces
from common.photos.finder import FaceKeypoints
from common.photos.stopwatch import Stopwatch
from common.photos.tracking import Track, Tracker
from common.photos.video import Frames, Recorder, check_window
from common.system.files import write_atomically
from parts.toolkit import FILTERS, face_keypoints

WINDOW = "faces"
KEYS = "f filter   space pause   s save   q quit"


@dataclass
class View:
    """What is shown of the faces: a filter, or the points where there is none."""

    names: list[str | None]
    art: dict[str | None, face_filters.Filter]
    at: int = 0

    @classmethod
    def load(cls, name: str | None) -> View:
        """All filters, that of ``name`` first; raises UserError where there is no such filter."""
        art: dict[str | None, face_filters.Filter] = {}
        if name is not None:
            art[name] = face_filters.load(name, FILTERS)
        art |= {
            other: face_filters.load(other, FILTERS)
            for other in face_filters.names(FILTERS)
            if other not in art
        }
        return cls([*art, None] if name else [None, *art], art)

    def next(self) -> None:
        """The next filter; after the last the points."""
        self.at = (self.at + 1) % len(self.names)

    def draw(self, image: np.ndarray, tracks: list[Track]) -> np.ndarray:
        """A copy of ``image``, uint8 (H, W, 3) RGB, with every face's filter or points."""
        art = self.art.get(self.names[self.at])
        if art is not None:
            for track in tracks:
                image = art.apply(image, track.keypoints)
            return image
        image = draw_faces(image, tracks, ("points",))
        for track in tracks:
            left, top = track.keypoints.min(axis=0).astype(int).tolist()
            write(image, str(track.number), top - 6, left)
        return image


def webcam(
    camera: int = 0,
    video: Path | None = None,
    art: str | None = None,
    record: Path | None = None,
    window: bool = True,
    checkpoint: Path | None = None,
    detector: str = "haar",
    overwrite: bool = False,
    data: Path | None = None,
    device: str | None = None,
) -> str:
    """Follow the faces of a camera or, with ``video``, of a file until it ends.

    art: a filter's name or path; points are drawn without one. record: the video that is written.
    checkpoint, detector, data, device: as in ``own_photos.predict``.
    Returns one line: frames, frames a second, milliseconds a stage. Raises UserError where
    camera, files, filter or window are not there or cannot be used.
    """
    view = View.load(art)
    if window:
        check_window()
    finder = face_keypoints(checkpoint, detector, data, device).for_video()
    with ExitStack() as closing:
        frames = Frames(camera if video is None else video)
        closing.callback(frames.close)
        recorder = None
        if record is not None:
            recorder = Recorder(record, frames.rate, frames.size, overwrite)
            closing.callback(recorder.close)
        return str(follow(frames, finder, view, recorder, window))


def follow(
    frames: Frames, finder: FaceKeypoints, view: View, recorder: Recorder | None, window: bool
) -> Stopwatch:
    """The loop over all frames, until they end or somebody quits; returns what it took.

    The network leaves one core to the threads that read and search, and OpenCV starts no more of
    its own: they would hold each other up.
    """
    cores, helpers = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(max(1, cores - 1))
    cv2.setNumThreads(1)
    clock = Stopwatch()
    tracker = Tracker(partial(finder.detect, turned=False), finder.follow, clock)
    source = iter(frames)
    try:
        while True:
            with clock.stage("read"):
                image, seconds = next(source, (None, 0.0))
            if image is None:
                break
            tracks = tracker.update(image, seconds)
            if recorder is not None or window:
                with clock.stage("draw"):
                    drawn = view.draw(image, tracks)
                    if recorder is not None:
                        recorder.write(drawn, seconds)
                    if window and not show(drawn, clock, view, seconds, frames.live):
                        break
            clock.frame()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        tracker.close()
        torch.set_num_threads(cores)
        cv2.setNumThreads(helpers)
        if window:
            cv2.destroyAllWindows()
    return clock


def show(image: np.ndarray, clock: Stopwatch, view: View, seconds: float, live: bool) -> bool:
    """Show a frame with the times on it and do what a key asks; False to quit.

    seconds: the frame's own time; a file is shown no faster than it was taken.
    """
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    stages = "  ".join(f"{name} {spent:.1f}" for name, spent in clock.per_frame().items())
    write(picture, f"{clock.rate:.0f} frames/s   ms: {stages}", 18)
    write(picture, KEYS, picture.shape[0] - 10)
    cv2.imshow(WINDOW, picture)
    shown_for = sum(clock.seconds.values()) - clock.seconds.get("pause", 0.0)
    early = 0.0 if live else seconds - shown_for
    with clock.stage("wait"):
        key = cv2.waitKey(max(1, int(1000 * early)))
    if key == ord(" "):
        with clock.stage("pause"):
            key = cv2.waitKey(0)
    if key == ord("f"):
        view.next()
    elif key == ord("s"):
        print(save(image))
    return key not in (ord("q"), 27)  # 27: escape


def save(image: np.ndarray, folder: Path = Path()) -> Path:
    """Write a picture under a name that is not taken yet, and return it."""
    name = time.strftime("webcam-%Y%m%d-%H%M%S")
    path, number = folder / f"{name}.png", 1
    while path.exists():
        path, number = folder / f"{name}-{number}.png", number + 1
    write_atomically(path, lambda file: Image.fromarray(image).save(file, "PNG"))
    return path


def write(image: np.ndarray, text: str, bottom: int, left: int = 8) -> None:
    """Light text with a dark rim, drawn into ``image``."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(image, text, (left, bottom), font, 0.45, colour, thickness, cv2.LINE_AA)
