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

import cv2
import numpy as np
import torch

from common.faces import landmark_boxes, upright_boxes
from common.keypoints import IBUG_68, Scheme
from common.photos.detectors import Detection, overlap
from common.photos.finder import LEAST_CONFIDENCE
from common.photos.placement import LEANING
from common.photos.video import Stopwatch

Detect = Callable[[np.ndarray], Sequence[Detection]]
Place = tuple[np.ndarray, float]  # a box (4,) and by how many degrees it is turned clockwise
Locate = Callable[[np.ndarray, np.ndarray, np.ndarray, bool], tuple[np.ndarray, np.ndarray]]

LEAVES_AFTER = 0.5  # seconds without being seen after which a track ends
SEARCH_EVERY = 20  # frames from one search for new faces to the next
TURNED_EVERY = 10  # frames from one search for turned faces to the next while there is no face
CHECK_EVERY = 10  # frames from one prediction for the mirror image, for the confidence, to the next
SEARCH_TAKES = 5  # frames after which the search's result is taken, and waited for if need be
SAME_FACE = 0.5  # overlap from which two tracks follow one face
KNOWN = 0.2  # overlap from which a detection is a face that is tracked already
SMALLEST = 12.0  # pixels of a face's box that is still tracked
THUMBNAIL = (8, 6)  # pixels to which frames are shrunk to be compared: motion changes them little
CUT = 0.65, 5.0  # Another shot begins where the thumbnails' correlation is below the first number
# and their mean difference above the second, in grey levels, as flat ones hold only noise. Between
# 120 training photos 118 cuts are found; a pan by a sixteenth of the picture is one in 1 of 120.


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
    scheme: Scheme = IBUG_68  # of the keypoints

    @property
    def box(self) -> np.ndarray:
        """The landmarks' box (4,)."""
        return landmark_boxes(torch.from_numpy(self.keypoints)[None])[0].numpy()

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
    detect_turned: the same for faces turned by any angle, which takes ten times as long; called
        instead for lost faces and every ``TURNED_EVERY`` frames.
    locate: ``FaceKeypoints.keypoints``; the confidence counts only where ``flip`` is True.
    """

    detect: Detect
    locate: Locate
    clock: Stopwatch = field(default_factory=Stopwatch)  # of the stages "detect" and "network"
    check_every: int = CHECK_EVERY  # frames from one measurement of the confidence to the next
    detect_turned: Detect | None = None
    wait: bool = False  # for every search, so that a lost face is found again in the same frame
    tracks: list[Track] = field(default_factory=list)
    frame: int = 0
    _met: int = 0  # faces so far
    _searcher: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "search"))
    _search: Future[Sequence[Detection]] | None = None
    _next_search: int = SEARCH_EVERY
    _next_turned: int = 0
    _thumbnail: np.ndarray | None = None  # of the last frame

    def update(self, image: np.ndarray, seconds: float) -> list[Track]:
        """The faces in the next frame, the longest known first.

        image: uint8 (H, W, 3), RGB.
        seconds: the frame's time, which must grow.
        """
        if self._is_cut(image):
            self.tracks, self._next_turned = [], self.frame
        # The confidence costs a second prediction: only now and then, or for a lost face.
        check = self.frame % self.check_every == 0 or not all(t.seen for t in self.tracks)
        places = [track.expected(seconds) for track in self.tracks]
        predicted = self._predict(image, places, check, [])
        for index, track in enumerate(self.tracks):
            track.seen = index in predicted
            if track.seen:
                points, confidence = predicted[index]
                track.follow(points, confidence if check else track.confidence, seconds)
        self._meet(self._look(image), image, seconds)
        self.tracks = [
            track for track in self.tracks
            if track.seen or seconds - track.smooth.seconds < LEAVES_AFTER
        ]  # fmt: skip
        self.frame += 1
        return [track for track in self.tracks if track.seen]

    def close(self) -> None:
        """End the search that may still be running."""
        self._searcher.shutdown(cancel_futures=True)

    def _is_cut(self, image: np.ndarray) -> bool:
        """Whether another shot begins with this frame; light alone makes none."""
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float64)
        small -= small.mean(axis=(0, 1))
        before, self._thumbnail = self._thumbnail, small
        if before is None or np.abs(small - before).mean() < CUT[1]:
            return False
        return (small * before).sum() < CUT[0] * np.linalg.norm(small) * np.linalg.norm(before)

    def _predict(
        self, image: np.ndarray, places: list[Place], check: bool, known: list[np.ndarray]
    ) -> dict[int, tuple[np.ndarray, float]]:
        """The points (K, 2) and the confidence of each place that leads to a face, by its index.

        known: the boxes (4,) of faces that are left out. Where two places lead to one face, the
            place that overlaps it more has it.
        """
        if not places:
            return {}
        boxes = np.array([box for box, _ in places])  # (N, 4)
        with self.clock.stage("network"):
            turns = np.array([turn for _, turn in places])
            points, confidence = self.locate(image, boxes, turns, check)
        measured = landmark_boxes(torch.from_numpy(points)).numpy()  # (N, 4)
        predicted: dict[int, tuple[np.ndarray, float]] = {}
        for index in np.argsort(-overlap(boxes, measured).diagonal(), kind="stable").tolist():
            taken = np.array([*known, *measured[list(predicted)]])
            if (
                confidence[index] >= LEAST_CONFIDENCE
                and measured[index, 2:].max() >= SMALLEST
                and (overlap(measured[index], taken) < SAME_FACE).all()
            ):
                predicted[index] = points[index], float(confidence[index])
        return predicted

    def _look(self, image: np.ndarray) -> Sequence[Detection]:
        """What the detector found, where a search ends at this frame.

        While no face is tracked, every frame is searched. Otherwise a search runs beside the
        frames and its result is taken a fixed number of frames later: frames do not wait for it,
        and the same video gives the same faces on a slower machine.
        """
        due = self.frame >= self._next_search
        wanted = due or not all(track.seen for track in self.tracks)
        detect = self.detect
        if self.detect_turned and (self.tracks or self.frame >= self._next_turned):
            detect, self._next_turned = self.detect_turned, self.frame + TURNED_EVERY
        with self.clock.stage("detect"):
            if not self.tracks or (self.wait and wanted):
                self._search = None  # it may still run, and a detector does one thing at a time
                self._next_search = self.frame + SEARCH_EVERY
                return self._searcher.submit(detect, image).result()
            if self._search is None and wanted:
                self._search = self._searcher.submit(detect, image)
                self._next_search = self.frame + SEARCH_TAKES
            elif self._search is not None and due:
                found, self._search = self._search.result(), None
                self._next_search = self.frame + SEARCH_EVERY
                return found
        return []

    def _meet(self, found: Sequence[Detection], image: np.ndarray, seconds: float) -> None:
        """Follow the lost faces that were found again, and begin tracks of new ones."""
        seen = [track.box for track in self.tracks if track.seen]
        lost = [track for track in self.tracks if not track.seen]
        places = [(np.array(face.box), face.angle) for face in found]
        places = [place for place in places if (overlap(place[0], np.array(seen)) < KNOWN).all()]
        for index, (points, confidence) in self._predict(image, places, True, seen).items():
            near = [overlap(places[index][0], t.expected(seconds)[0]).item() for t in lost]
            if near and max(near) >= KNOWN:
                track = lost.pop(near.index(max(near)))
            else:
                self._met += 1
                track = Track(self._met, points, confidence)
                self.tracks.append(track)
            track.follow(points, confidence, seconds)
