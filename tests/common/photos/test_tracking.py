import math
import threading
import time

import numpy as np
import pytest
import torch

from common.faces import landmark_boxes
from common.photos.detectors import Detection, overlap
from common.photos.tracking import (
    CHECK_EVERY,
    SEARCH_EVERY,
    SEARCH_TAKES,
    TURNED_EVERY,
    OneEuro,
    Tracker,
)

RATE = 30.0
FACE = np.random.default_rng(0).uniform(-50, 50, (68, 2)).astype(np.float32)
FACE[[36, 45]] = [[-30, -10], [30, -10]]  # the outer eye corners, level
FRAME = np.zeros((480, 640, 3), np.uint8)


def box_of(points):
    return landmark_boxes(torch.from_numpy(points)[None])[0].numpy()


def run(smooth, places):
    """The filtered x of a face's middle that lies at each of ``places``."""
    filtered = [smooth(FACE + [place, 0.0], index / RATE) for index, place in enumerate(places)]
    return np.array([(points - FACE)[:, 0].mean() for points in filtered])


def test_a_step_is_approached_as_a_low_pass_filter_does():
    cutoff, passed = 2.0, 1 / RATE
    alpha = 1 / (1 + 1 / (2 * math.pi * cutoff * passed))  # the paper's equation 5
    filtered = run(OneEuro(least_cutoff=cutoff, gain=0.0), [0.0] + [8.0] * 20)
    assert filtered == pytest.approx(8 * (1 - (1 - alpha) ** np.arange(21)), abs=1e-4)


def test_a_steady_motion_is_followed_at_the_distance_that_the_equations_give():
    step, size = 5.0, np.ptp(FACE, axis=0).max()
    smooth = OneEuro(least_cutoff=1.0, gain=10.0, speed_cutoff=1.0)
    behind = 399 * step - run(smooth, np.arange(400) * step)[-1]
    # The paper takes the speed from the last filtered point, which was as far behind one step ago.
    assert smooth.speed[:, 0] == pytest.approx((step + behind) * RATE, rel=1e-4)
    cutoff = 1.0 + 10.0 * (step + behind) * RATE / size
    assert behind == pytest.approx(step / (2 * math.pi * cutoff / RATE), rel=1e-3)


def test_noise_at_rest_is_removed_and_motion_does_not_lag():
    random = np.random.default_rng(2)
    noise = random.normal(0, 0.4, (150, 68, 2))
    rest, motion = OneEuro(), OneEuro()
    still = np.array([rest(FACE + noise[i], i / RATE) for i in range(150)])[30:]
    assert (still - FACE).std() < noise[30:].std() / 3
    moved = [motion(FACE + noise[i] + [5.0 * i, 0], i / RATE) for i in range(150)]
    assert (FACE + [5.0 * 149, 0] - moved[-1])[:, 0].mean() < 5


class Scene:
    """Faces at known places; stands in for detector and network.

    places: of each face, (x, y) of its middle in every frame, or None where it is hidden. The first
    is in front: where two overlap by more than half, only it is seen.
    """

    def __init__(self, *places, **how):
        self.places, self.frame, self.searches, self.checks = places, 0, [], []
        self.tracker = Tracker(self.detect, self.locate, **how)

    def shown(self):
        faces = []
        for places in self.places:
            place = places[min(self.frame, len(places) - 1)]
            face = None if place is None else FACE + np.float32(place)
            if face is not None and all(overlap(box_of(face), box_of(o)) < 0.5 for o in faces):
                faces.append(face)
        return faces

    def detect(self, image):
        self.searches.append(self.frame)
        return [Detection(tuple(box_of(face)), 1.0) for face in self.shown()]

    def locate(self, image, boxes, angles, check):
        self.checks.append(check)
        points, sure = np.zeros((len(boxes), 68, 2), np.float32), np.zeros(len(boxes), np.float32)
        for index, box in enumerate(boxes):
            near = {overlap(box, box_of(face)).item(): face for face in self.shown()}
            if near and max(near) > 0.2:  # a network predicts the face that is nearest
                points[index], sure[index] = near[max(near)], 1.0
            else:  # and a face in the middle of an empty box
                points[index] = FACE + box[:2] + box[2:] / 2
        return points, sure if check else np.ones_like(sure)

    def play(self, count, pictures=None):
        """For each frame the identities, each with the middle of its points."""
        seen = []
        for self.frame in range(count):
            picture = FRAME if pictures is None else pictures[self.frame]
            tracks = self.tracker.update(picture, self.frame / RATE)
            seen.append({track.number: (track.keypoints - FACE).mean(axis=0) for track in tracks})
        self.tracker.close()
        return seen


def test_turned_faces_are_searched_now_and_then_and_at_once_for_a_lost_face():
    places = [None] * 15 + [(100, 200)] * 10 + [None] * 2
    scene = Scene(places, check_every=1, wait=True)
    turned = []

    def detect_turned(image):
        turned.append(scene.frame)
        return scene.detect(image)

    scene.tracker.detect_turned = detect_turned
    scene.play(len(places))
    assert turned == [0, TURNED_EVERY, 25, 26]
    assert scene.searches == [*range(16), 25, 26]


def test_a_face_is_detected_once_and_then_tracked():
    scene = Scene([(100 + 5 * i, 200) for i in range(SEARCH_EVERY)])
    seen = scene.play(SEARCH_EVERY)
    assert scene.searches == [0]
    assert all(list(faces) == [1] for faces in seen)
    assert seen[-1][1] == pytest.approx((100 + 5 * (SEARCH_EVERY - 1), 200), abs=6)
    assert scene.checks.count(True) <= 1 + SEARCH_EVERY // CHECK_EVERY


def test_without_a_face_every_frame_is_searched():
    scene = Scene([None] * 6 + [(300, 200)])
    seen = scene.play(8)
    assert scene.searches == list(range(7))
    assert [list(faces) for faces in seen] == [[]] * 6 + [[1]] * 2


def test_a_later_face_is_found_at_a_frame_that_does_not_depend_on_the_machine():
    scene = Scene([(150, 200)], [None] * 3 + [(450, 200)])
    seen = scene.play(SEARCH_EVERY + SEARCH_TAKES + 2)
    first = next(index for index, faces in enumerate(seen) if 2 in faces)
    assert first == SEARCH_EVERY + SEARCH_TAKES
    assert seen[-1][2] == pytest.approx((450, 200), abs=1)
    assert seen[-1][1] == pytest.approx((150, 200), abs=1)


@pytest.mark.parametrize(("hidden", "last"), [(10, 1), (40, 2)])
def test_a_face_that_is_hidden_for_a_moment_keeps_its_number_and_one_that_left_does_not(
    hidden, last
):
    places = [(200 + i, 200) for i in range(20 + hidden + 30)]
    places[20 : 20 + hidden] = [None] * hidden
    seen = Scene(places).play(len(places))
    assert all(list(faces) == [1] for faces in seen[:20]) and list(seen[-1]) == [last]
    assert set().union(*seen) == set(range(1, last + 1))
    assert not any(seen[20 + CHECK_EVERY : 20 + hidden])


def test_confidence_is_measured_as_often_as_requested():
    scene = Scene([(200, 200)] * 12 + [None] * 3, check_every=1)
    seen = scene.play(15)
    assert all(scene.checks)
    assert [list(faces) for faces in seen] == [[1]] * 12 + [[]] * 3  # gone at once, not 10 later


@pytest.mark.parametrize("surest", [0, 1])
def test_a_find_that_the_network_rejects_takes_nobodys_place(surest):
    alarm, face = FACE + np.float32((100, 100)), FACE + np.float32((400, 300))

    def detect(image):
        found = [Detection(tuple(box_of(points)), 1.0) for points in (alarm, face)]
        return found[surest:] + found[:surest]

    def locate(image, boxes, angles, check):
        is_alarm = boxes[:, 0] < 250
        points = np.where(is_alarm[:, None, None], alarm, face)
        return points, np.where(is_alarm, 0.0, 1.0)

    tracker = Tracker(detect, locate, check_every=1)
    for frame in range(2 * SEARCH_EVERY):
        (track,) = tracker.update(FRAME, frame / RATE)
        assert (track.number, track.confidence) == (1, 1.0)
        assert track.keypoints == pytest.approx(face, abs=1e-3)
    tracker.close()


@pytest.mark.parametrize(("widths", "numbers"), [(0.3, {1}), (0.9, set(range(1, 61)))])
def test_where_frames_wait_for_the_detector_a_face_is_seen_in_every_frame(widths, numbers):
    width = float(box_of(FACE)[2])
    places = [(100 + widths * width * abs(i % 12 - 6), 200) for i in range(60)]
    seen = Scene(places, check_every=1, wait=True).play(60)
    for faces, place in zip(seen, places, strict=True):
        ((number, middle),) = faces.items()
        assert number in numbers and middle == pytest.approx(place, abs=width / 5)


def test_where_frames_wait_a_later_face_is_found_with_the_next_search():
    scene = Scene([(150, 200)], [None] * 3 + [(450, 200)], check_every=1, wait=True)
    seen = scene.play(SEARCH_EVERY + 1)
    assert scene.searches == [0, SEARCH_EVERY]
    assert [list(faces) for faces in seen] == [[1]] * SEARCH_EVERY + [[1, 2]]


def test_at_a_cut_every_number_ends_and_in_other_light_none():
    shots = np.random.default_rng(3).integers(0, 255, (2, 6, 8, 3), np.uint8)
    shots = [np.kron(shot, np.ones((80, 80, 1), np.uint8)) for shot in shots]  # (480, 640, 3)
    pictures = [shots[i // 10 % 2] // (2 + i % 2) + 40 * (i % 3) for i in range(30)]
    scene = Scene([(200, 200)], [(450, 200)])
    seen = scene.play(30, pictures)
    expected = [[2 * (i // 10) + 1, 2 * (i // 10) + 2] for i in range(30)]
    assert [list(faces) for faces in seen] == expected
    assert scene.searches == [0, 10, 20]


@pytest.mark.slow
def test_the_detector_searches_one_frame_at_a_time():
    searching, most = threading.Semaphore(), []

    class Slow(Scene):
        def detect(self, image):
            most.append(searching.acquire(blocking=False))
            time.sleep(0.005)
            searching.release()
            return super().detect(image)

    # A face leaves, and with it the last track, while a search still runs.
    for stays in range(SEARCH_EVERY - 4, SEARCH_EVERY + 4):
        Slow([(200, 200)] * stays + [None]).play(stays + 30)
    assert len(most) > 100 and all(most)


@pytest.mark.parametrize("apart", [0, 40, 80])
def test_faces_that_cross_keep_their_numbers(apart):
    # Over two seconds from side to side; the second passes behind, or above and below.
    front = [(120 + 7 * i, 240) for i in range(60)]
    behind = [(540 - 7 * i, 240 - apart) for i in range(60)]
    seen = Scene(front, behind).play(60)
    numbers = {
        place: min(seen[0], key=lambda n: abs(seen[0][n][0] - place)) for place in (120, 540)
    }
    assert seen[-1].keys() == {1, 2}
    assert seen[-1][numbers[120]] == pytest.approx(front[-1], abs=12)
    assert seen[-1][numbers[540]] == pytest.approx(behind[-1], abs=12)
