"""``python run_part.py webcam``: the faces of a camera or a video file, tracked and decorated."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing, nullcontext
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
from common.photos.tracking import Track, Tracker
from common.photos.video import Frames, Recorder, Stopwatch, check_window
from common.system.errors import UserError
from common.system.files import write_atomically
from parts.commands.options import add_engine, add_finder
from parts.toolkit import FILTERS, choose_network, face_keypoints

WINDOW = "faces"
KEYS = "f filter   space pause   s save   q quit"
ESCAPE = 27
CAMERAS = 100  # larger numbers name OpenCV's backends


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``webcam``."""
    add_finder(parser)
    add_engine(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--camera", type=int, metavar="N", help="which one (default: 0)")
    source.add_argument("--video", type=Path, metavar="FILE", help="instead of a camera")
    add = parser.add_argument
    add("--filter", metavar="NAME", help="what to put on the faces: sunglasses, ...")
    add("--record", type=Path, metavar="FILE", help="write what is shown, .mp4 or .avi")
    add("--no-window", dest="window", action="store_false", help="show nothing")
    add("--overwrite", action="store_true", help="a recording that is there already")


def run(options: argparse.Namespace) -> None:
    """Track faces until the video ends or somebody quits, then print the times in one line.

    Raises UserError where camera, files, filter or window are missing or cannot be used.
    """
    source = (options.camera or 0) if options.video is None else options.video
    if not isinstance(source, Path) and source not in range(CAMERAS):
        raise UserError(f"--camera {source}: no such camera; take 0, 1, ...")
    if options.video and options.record and options.record.resolve() == options.video.resolve():
        raise UserError(f"{options.record}: is the video itself; choose another name for --record")
    view = View.load(options.filter)
    if options.window:
        check_window()
    finder = face_keypoints(
        choose_network(options.checkpoint),
        options.detector,
        options.data,
        options.device,
        video=True,
        engine=options.engine,
    )
    with closing(Frames(source)) as frames:
        recorder = None
        if options.record is not None:
            shape = frames.rate, frames.size
            recorder = Recorder(options.record, *shape, options.overwrite, options.video)
        print(track(frames, finder, view, recorder, options.window))
        frames.check_complete()


@dataclass
class View:
    """What is drawn on the faces: one of several face filters, or the points."""

    names: list[str | None]  # what the key ``f`` goes through; None means the points
    loaded: dict[str | None, face_filters.FaceFilter]  # by their names
    at: int = 0  # the index in ``names`` of what is drawn now

    @classmethod
    def load(cls, name: str | None) -> View:
        """All face filters, ``name`` first; raises UserError where there is no such filter."""
        first = [] if name is None else [name]
        others = [other for other in face_filters.names(FILTERS) if other != name]
        loaded = {each: face_filters.load(each, FILTERS) for each in first + others}
        return cls([*loaded, None] if name else [None, *loaded], loaded)

    def next(self) -> None:
        """The next face filter; after the last the points."""
        self.at = (self.at + 1) % len(self.names)

    def draw(self, image: np.ndarray, tracks: list[Track]) -> np.ndarray:
        """A copy of ``image``, uint8 (H, W, 3) RGB, with every face's filter or points."""
        face_filter = self.loaded.get(self.names[self.at])
        if face_filter is not None:
            for face in tracks:
                image = face_filter.apply(image, face.keypoints)
            return image
        image = draw_faces(image, tracks, ("points",))
        for face in tracks:
            left, top = face.keypoints.min(axis=0).astype(int).tolist()
            write(image, str(face.number), top - 6, left)
        return image


def track(
    frames: Frames, finder: FaceKeypoints, view: View, recorder: Recorder | None, window: bool
) -> Stopwatch:
    """The loop over all frames, until they end or somebody quits, then closes the recorder and
    returns the time of each stage.

    The network leaves one core to the threads that read and search, and OpenCV starts no threads
    of its own: they would compete for the cores.
    """
    cores, helpers = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(max(1, cores - 1))
    cv2.setNumThreads(1)
    clock, source = Stopwatch(), iter(frames)
    detect = partial(finder.detect, turned=False)
    tracker = Tracker(detect, partial(finder.keypoints, average=False), clock)
    try:
        with closing(tracker), nullcontext() if recorder is None else closing(recorder):
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
        torch.set_num_threads(cores)
        cv2.setNumThreads(helpers)
        if window:
            cv2.destroyAllWindows()
    return clock


def show(image: np.ndarray, clock: Stopwatch, view: View, seconds: float, live: bool) -> bool:
    """Show a frame with the times on it and act on a key; False to quit.

    seconds: the frame's own time; a file is shown no faster than it was filmed.
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
    return key not in (ord("q"), ESCAPE)


def save(image: np.ndarray) -> Path:
    """Write a picture under a name that is not taken yet, and return it."""
    name = time.strftime("webcam-%Y%m%d-%H%M%S")
    path, number = Path(f"{name}.png"), 1
    while path.exists():
        path, number = Path(f"{name}-{number}.png"), number + 1
    write_atomically(path, lambda file: Image.fromarray(image).save(file, "PNG"))
    return path


def write(image: np.ndarray, text: str, bottom: int, left: int = 8) -> None:
    """Light text with a dark rim, drawn into ``image``."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(image, text, (left, bottom), font, 0.45, colour, thickness, cv2.LINE_AA)
