"""Faces followed from frame to frame: found once, then each crop comes from the last points.

A detector is slow and knows nothing of the frame before; the network, shown the place where the
face was a moment ago, answers both where its points are and, with its confidence, whether there
still is a face. So the detector is needed only for faces that are new, and it looks for them on
another thread while the known ones are followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from common.faces import upright_boxes
from common.keypoints import IBUG_68
from common.photos.detectors import Detection, overlap
from common.photos.finder import LEANING, LEAST_CONFIDENCE
from common.photos.stopwatch import Stopwatch

Detect = Callable[[np.ndarray], Sequence[Detection]]
Place = tuple[np.ndarray, float]  # a box (4,) and by how many degrees it is turned clockwise
Locate = Callable[[np.ndarray, np.ndarray, np.ndarray, bool], tuple[np.ndarray, np.ndarray]]

LEAVES_AFTER = 0.5  # seconds without being seen after which a face is gone
SEARCH_EVERY = 20  # frames from one search for new faces to the next
CHECK_EVERY = 10  # frames from one look at the mirror image, which tells faces, to the next
SEARCH_TAKES = 5  # frames after which its answer is taken, and waited for if need be
SAME_FACE = 0.5  # overlap from which two tracks follow one face
KNOWN = 0.2  # overlap from which a detection is a face that is followed already
SMALLEST = 12.0  # pixels of a face's box that is still followed


class OneEuro:
    """The One Euro filter of a face's points: calm while they rest, quick while they move.

    A low-pass filter whose cutoff frequency rises with the speed of what it smooths: at rest it
    takes the tremor away, in motion it does not lag. Géry Casiez, Nicolas Roussel, Daniel Vogel:
    1€ Filter, CHI 2012, equations 1 to 7. Two things differ. Speeds are counted in sizes of the
    face a second, so that a face twice as near is smoothed alike. And a point's speed is that of
    the whole face, which 68 points tell without much noise, and half of what the point moves
    beside it.

    least_cutoff: Hz at rest. gain: Hz more for each size of the face a second (the paper's beta).
    speed_cutoff: Hz, at which the speed itself is smoothed (the paper's dcutoff).
    """

    def __init__(
        self, least_cutoff: float = 0.7, gain: float = 12.0, speed_cutoff: float = 1.0
    ) -> None:
        self.least_cutoff, self.gain, self.speed_cutoff = least_cutoff, gain, speed_cutoff
        self.points: np.ndarray | None = None  # (K, 2), the last answer
        self.speed = np.zeros(2)  # (K, 2), pixels a second
        self.seconds = 0.0  # when that was

    def __call__(self, points: np.ndarray, seconds: float) -> np.ndarray:
        """The smoothed points (K, 2) at the time ``seconds``, which must grow from call to call.

        The first points are taken as they are.
        """
        if self.points is None:
            self.points, self.speed = points, np.zeros_like(points)
        else:
            passed = seconds - self.seconds
            speed = (points - self.points) / passed
            self.speed = self.speed + share(self.speed_cutoff, passed) * (speed - self.speed)
            whole = self.speed.mean(axis=0)  # (2,)
            beside = np.linalg.norm(self.speed - whole, axis=1, keepdims=True)  # (K, 1)
            sizes = (np.linalg.norm(whole) + beside / 2) / np.ptp(points, axis=0).max()
            cutoff = self.least_cutoff + self.gain * sizes  # (K, 1)
            self.points = self.points + share(cutoff, passed) * (points - self.points)
        self.seconds = seconds
        return self.points


def share(cutoff: np.ndarray | float, passed: float) -> np.ndarray | float:
    """How much of the way to a new value a low-pass filter goes: alpha of the paper's equation 5.

    cutoff: Hz. passed: seconds since the last value.
    """
    return 1 / (1 + 1 / (2 * math.pi * cutoff * passed))


@dataclass
class Track:
    """One face while it is followed.

    number: its identity, counted from 1. keypoints: float32 (K, 2), smoothed, pixels of the
    frame. confidence: of the last frame in which it was seen. seen: whether that is this one.
    """

    number: int
    keypoints: np.ndarray
    confidence: float
    seen: bool = True
    smooth: OneEuro = field(default_factory=OneEuro)

    def follow(self, points: np.ndarray, confidence: float, seconds: float) -> None:
        """Take the points (K, 2) that the network found at the time ``seconds``."""
        self.keypoints = self.smooth(points.astype(np.float64), seconds).astype(np.float32)
        self.confidence, self.seen = confidence, True

    def expected(self, seconds: float) -> tuple[np.ndarray, float]:
        """Where the face should be by now if it goes on moving: the box of its landmarks (4,) and
        by how many degrees both are turned clockwise, 0 for a face that stands about upright."""
        shift = self.smooth.speed.mean(axis=0) * (seconds - self.smooth.seconds)
        points = self.keypoints + shift.astype(np.float32)
        left, right = points[list(IBUG_68.outer_eyes)]
        angle = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
        if abs(angle) < LEANING:
            return box_of(points), 0.0
        box, _ = upright_boxes(torch.from_numpy(points)[None], IBUG_68)
        return box[0].numpy(), angle


class Tracker:
    """All faces of a video, each with its identity, smoothed points and confidence.

    detect: finds faces in a frame, uint8 (H, W, 3); called on another thread while faces are
        followed, so frames must not be changed once they were given.
    locate: points (N, 68, 2) of the faces in boxes (N, 4) of a frame, which are turned by angles
        (N,), and the confidence (N,), which counts only where the last argument asks for it.
    clock: is told what time detection ("detect") and the network ("network") take.
    check_every: how often ``locate`` is asked for the confidence of faces that are followed.
    """

    def __init__(
        self,
        detect: Detect,
        locate: Locate,
        clock: Stopwatch | None = None,
        check_every: int = CHECK_EVERY,
    ) -> None:
        self.detect, self.locate, self.clock = detect, locate, clock or Stopwatch()
        self.check_every = check_every
        self.tracks: list[Track] = []
        self.frame = 0
        self._met = 0
        self._searcher = ThreadPoolExecutor(1, "search")
        self._search: Future[Sequence[Detection]] | None = None
        self._next_search = SEARCH_EVERY

    def update(self, image: np.ndarray, seconds: float) -> list[Track]:
        """The faces in the next frame, the longest known first.

        image: uint8 (H, W, 3), RGB. seconds: the frame's time, which must grow.
        """
        places = [track.expected(seconds) for track in self.tracks]
        places += self._sort_out(self._look(image), places)
        boxes = np.array([box for box, _ in places]).reshape(-1, 4)
        with self.clock.stage("network"):
            turns, check = np.array([turn for _, turn in places]), self._check(len(boxes))
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
        """What the detector found, if it is time to know.

        While nobody is followed, every frame is searched. Otherwise a search runs beside the
        frames and its answer is taken a fixed number of frames later: so much does not wait for
        it, and the same video gives the same faces on a slower machine.
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

    def _check(self, count: int) -> bool:
        """Whether it is time to ask if what is followed still are faces; it costs as much as
        finding their points, so it is done now and then, and where there is reason to doubt."""
        new_or_lost = count > len(self.tracks) or not all(track.seen for track in self.tracks)
        return new_or_lost or self.frame % self.check_every == 0

    def _sort_out(self, found: Sequence[Detection], expected: list[Place]) -> list[Place]:
        """The places that are new; one of a lost face takes the place where it was expected."""
        fresh = []
        for face in found:
            place = np.array(face.box), face.angle
            overlaps = [overlap(place[0], box) for box, _ in expected]
            nearest = int(np.argmax(overlaps)) if overlaps else -1
            if not overlaps or overlaps[nearest] < KNOWN:
                fresh.append(place)
            elif not self.tracks[nearest].seen:
                expected[nearest] = place
        return fresh

    def _follow(
        self, boxes: np.ndarray, points: np.ndarray, confidence: np.ndarray, seconds: float
    ) -> None:
        """Give every track its points; begin those of new faces, end those of lost ones.

        Where two boxes (N, 4) led to one face, it belongs to the one that was nearer to it.
        """
        measured = [box_of(face) for face in points]
        near = [overlap(box, other) for box, other in zip(boxes, measured, strict=True)]
        known = len(self.tracks)
        taken: list[np.ndarray] = []
        for index in sorted(range(len(boxes)), key=lambda i: (i >= known, -near[i])):
            seen = (
                confidence[index] >= LEAST_CONFIDENCE
                and measured[index][2:].max() >= SMALLEST
                and all(overlap(measured[index], other) < SAME_FACE for other in taken)
            )
            if seen:
                taken.append(measured[index])
                if index >= known:
                    self._met += 1
                    self.tracks.append(Track(self._met, points[index], 0.0))
                    index = len(self.tracks) - 1
                self.tracks[index].follow(points[index], float(confidence[index]), seconds)
            elif index < known:
                self.tracks[index].seen = False
        self.tracks = [
            track for track in self.tracks
            if track.seen or seconds - track.smooth.seconds < LEAVES_AFTER
        ]  # fmt: skip


def box_of(points: np.ndarray) -> np.ndarray:
    """``faces.landmark_boxes`` of one face: (K, 2) -> (4,)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low + 0.5, high - low])
