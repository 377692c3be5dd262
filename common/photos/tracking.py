"""Faces tracked from frame to frame: detected once, then each crop comes from the last points.

The network, given a crop where the face was a moment ago, predicts where its points are and, with
its confidence, whether it still is a face. So the slow detector is needed only for new faces, and
it searches on another thread while the known ones are tracked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from common.faces import landmark_boxes, upright_boxes
from common.keypoints import IBUG_68
from common.photos.detectors import Detection, overlap
from common.photos.finder import LEAST_CONFIDENCE
from common.photos.placement import LEANING
from common.photos.video import Stopwatch

Detect = Callable[[np.ndarray], Sequence[Detection]]
Place = tuple[np.ndarray, float]  # a box (4,) and by how many degrees it is turned clockwise
Locate = Callable[[np.ndarray, np.ndarray, np.ndarray, bool], tuple[np.ndarray, np.ndarray]]

LEAVES_AFTER = 0.5  # seconds without being seen after which a track ends
SEARCH_EVERY = 20  # frames from one search for new faces to the next
CHECK_EVERY = 10  # frames from one prediction for the mirror image, for the confidence, to the next
SEARCH_TAKES = 5  # frames after which the search's result is taken, and waited for if need be
SAME_FACE = 0.5  # overlap from which two tracks follow one face
KNOWN = 0.2  # overlap from which a detection is a face that is tracked already
SMALLEST = 12.0  # pixels of a face's box that is still tracked


@dataclass
class OneEuro:
    """The One Euro filter of a face's points: strong smoothing at rest, little lag in motion.

    A low-pass filter whose cutoff frequency rises with the speed. Source: G. Casiez, N. Roussel,
    D. Vogel, 1€ Filter, CHI 2012, equations 1 to 7. Two things differ. Speeds are measured in
    sizes of the face a second, so that a face twice as near is smoothed alike. And a point's speed
    is that of the whole face, the mean of 68 points with little noise, plus half of the point's
    speed relative to it.

    """

    least_cutoff: float = 0.7  # Hz at rest
    gain: float = 12.0  # Hz more for each size of the face a second (the paper's beta)
    speed_cutoff: float = 1.0  # Hz, at which the speed itself is smoothed (the paper's dcutoff)
    points: np.ndarray | None = None  # (K, 2), the last result
    speed: np.ndarray | None = None  # (K, 2), its speed in pixels a second
    seconds: float = 0.0  # its time

    def __call__(self, points: np.ndarray, seconds: float) -> np.ndarray:
        """The smoothed points (K, 2) at the time ``seconds``, which must grow from call to call.

        The first points are taken as they are.
        """
        if self.points is None:
            self.points, self.speed = points, np.zeros_like(points)
        else:
            passed = seconds - self.seconds
            speed = (points - self.points) / passed
            self.speed = self.speed + smoothing(self.speed_cutoff, passed) * (speed - self.speed)
            whole = self.speed.mean(axis=0)  # (2,)
            beside = np.linalg.norm(self.speed - whole, axis=1, keepdims=True)  # (K, 1)
            sizes = (np.linalg.norm(whole) + beside / 2) / np.ptp(points, axis=0).max()
            cutoff = self.least_cutoff + self.gain * sizes  # (K, 1)
            self.points = self.points + smoothing(cutoff, passed) * (points - self.points)
        self.seconds = seconds
        return self.points


def smoothing(cutoff: np.ndarray | float, passed: float) -> np.ndarray | float:
    """The weight, 0 to 1, of a value that comes ``passed`` seconds after the last in a low-pass
    filter of ``cutoff`` Hz: alpha of the paper's equation 5."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * passed))


@dataclass
class Track:
    """One face while it is tracked."""

    number: int  # its identity, counted from 1
    keypoints: np.ndarray  # float32 (K, 2), smoothed, pixels of the frame
    confidence: float  # 0 to 1, of the last frame in which it was seen
    seen: bool = True  # whether that is the current frame
    smooth: OneEuro = field(default_factory=OneEuro)

    def follow(self, points: np.ndarray, confidence: float, seconds: float) -> None:
        """Take the points (K, 2) that the network predicted at the time ``seconds``."""
        self.keypoints = self.smooth(points.astype(np.float64), seconds).astype(np.float32)
        self.confidence, self.seen = confidence, True

    def expected(self, seconds: float) -> tuple[np.ndarray, float]:
        """Where the face is at the time ``seconds`` if it keeps its speed: its landmarks' box (4,),
        and degrees by which both are turned clockwise, 0 for a face that is about upright."""
        shift = self.smooth.speed.mean(axis=0) * (seconds - self.smooth.seconds)
        points = self.keypoints + shift.astype(np.float32)
        left, right = points[list(IBUG_68.outer_eyes)]
        angle = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
        faces = torch.from_numpy(points)[None]  # (1, K, 2)
        if abs(angle) < LEANING:
            return landmark_boxes(faces)[0].numpy(), 0.0
        return upright_boxes(faces, IBUG_68)[0][0].numpy(), angle


@dataclass
class Tracker:
    """All faces of a video, each with its identity, smoothed points and confidence.

    detect: ``FaceKeypoints.detect``; called on another thread while faces are tracked, so frames
        must not be changed once they were given.
    locate: ``FaceKeypoints.keypoints``; the confidence counts only where ``flip`` is True.
    """

    detect: Detect
    locate: Locate
    clock: Stopwatch = field(default_factory=Stopwatch)  # of the stages "detect" and "network"
    check_every: int = CHECK_EVERY  # frames from one measurement of the confidence to the next
    tracks: list[Track] = field(default_factory=list)
    frame: int = 0
    _met: int = 0  # faces so far
    _searcher: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "search"))
    _search: Future[Sequence[Detection]] | None = None
    _next_search: int = SEARCH_EVERY

    def update(self, image: np.ndarray, seconds: float) -> list[Track]:
        """The faces in the next frame, the longest known first.

        image: uint8 (H, W, 3), RGB.
        seconds: the frame's time, which must grow.
        """
        places = [track.expected(seconds) for track in self.tracks]
        places += self._sort_out(self._look(image), places)
        boxes = np.array([box for box, _ in places]).reshape(-1, 4)
        # The confidence costs a second prediction: only now and then, or for a new or lost face.
        lost_or_new = len(boxes) > len(self.tracks) or not all(t.seen for t in self.tracks)
        check = lost_or_new or self.frame % self.check_every == 0
        with self.clock.stage("network"):
            turns = np.array([turn for _, turn in places])
            points, confidence = self.locate(image, boxes, turns, check)
        if not check:
            confidence = np.array([track.confidence for track in self.tracks])
        self._follow(boxes, points, confidence, seconds)
        self.frame += 1
        return [track for track in self.tracks if track.seen]

    def close(self) -> None:
        """End the search that may still be running."""
        self._searcher.shutdown(cancel_futures=True)

    def _look(self, image: np.ndarray) -> Sequence[Detection]:
        """What the detector found, where a search ends at this frame.

        While no face is tracked, every frame is searched. Otherwise a search runs beside the
        frames and its result is taken a fixed number of frames later: frames do not wait for it,
        and the same video gives the same faces on a slower machine.
        """
        with self.clock.stage("detect"):
            if not self.tracks:
                self._search = None  # it may still run, and a detector does one thing at a time
                return self._searcher.submit(self.detect, image).result()
            if self._search is None:
                if self.frame >= self._next_search or not all(t.seen for t in self.tracks):
                    self._search = self._searcher.submit(self.detect, image)
                    self._next_search = self.frame + SEARCH_TAKES
            elif self.frame >= self._next_search:
                found, self._search = self._search.result(), None
                self._next_search = self.frame + SEARCH_EVERY
                return found
        return []

    def _sort_out(self, found: Sequence[Detection], expected: list[Place]) -> list[Place]:
        """The places that are new; one of a lost face replaces the expected one in ``expected``."""
        fresh = []
        for face in found:
            place = np.array(face.box), face.angle
            overlaps = overlap(place[0], np.array([box for box, _ in expected]))[0]  # (T,)
            nearest = int(overlaps.argmax()) if expected else -1
            if not expected or overlaps[nearest] < KNOWN:
                fresh.append(place)
            elif not self.tracks[nearest].seen:
                expected[nearest] = place
        return fresh

    def _follow(
        self, boxes: np.ndarray, points: np.ndarray, confidence: np.ndarray, seconds: float
    ) -> None:
        """Give every track its points; begin those of new faces, end those of lost ones.

        Where two boxes (N, 4) led to one face, the track that overlaps it more keeps it.
        """
        measured = landmark_boxes(torch.from_numpy(points)).numpy()  # (N, 4)
        near, between = np.split(overlap(np.concatenate([boxes, measured]), measured), 2)  # (N, N)
        known = len(self.tracks)
        taken: list[int] = []
        for index in sorted(range(len(boxes)), key=lambda i: (i >= known, -near[i, i])):
            seen = (
                confidence[index] >= LEAST_CONFIDENCE
                and measured[index, 2:].max() >= SMALLEST
                and (between[index, taken] < SAME_FACE).all()
            )
            if seen:
                taken.append(index)
                if index >= known:
                    self._met += 1
                    self.tracks.append(Track(self._met, points[index], 0.0))
                track = self.tracks[index if index < known else -1]
                track.follow(points[index], float(confidence[index]), seconds)
            elif index < known:
                self.tracks[index].seen = False
        self.tracks = [
            track for track in self.tracks
            if track.seen or seconds - track.smooth.seconds < LEAVES_AFTER
        ]  # fmt: skip
