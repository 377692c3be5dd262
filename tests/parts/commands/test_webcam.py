"""``run_part.py webcam`` on synthetic videos, with a stand-in that knows where their faces are;
finding and tracking themselves are tested in tests/common."""

import os
import shutil
import signal
import time
from contextlib import closing
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from small_films import break_off

import run_part
from common.faces import landmark_boxes
from common.keypoints import IBUG_68
from common.photos import face_filters
from common.photos.detectors import Detection
from common.photos.tracking import Track
from common.photos.video import Frames, Recorder, Stopwatch
from datasets.synthetic.render import render
from parts import toolkit
from parts.commands import webcam
from parts.toolkit import FILTERS

SIZE, STEP, COUNT = (320, 240), 3, 16  # pixels, pixels a frame, frames


@pytest.fixture(autouse=True)
def in_pytorch(monkeypatch):
    """int8 networks are tested in test_onnx_runtime.py."""
    monkeypatch.setattr(toolkit, "is_installed", lambda: False)


@pytest.fixture(scope="module")
def drawn():
    """A synthetic face, uint8 (240, 320, 3), and its points (68, 2)."""
    images, points, _ = render([1], IBUG_68, size=SIZE[::-1])
    return images[0].permute(1, 2, 0).numpy(), points[0].numpy()


@pytest.fixture(scope="module")
def film(drawn, tmp_path_factory):
    """A video of it moving to the right."""
    path = tmp_path_factory.mktemp("film") / "face.avi"
    recorder = Recorder(path, 30.0, SIZE, overwrite=False)
    for number in range(COUNT):
        recorder.write(np.roll(drawn[0], STEP * number - 45, axis=1), number / 30)
    recorder.close()
    return path


class Knower:
    """Stands in for detector and network: the face of ``film`` is where it is."""

    def __init__(self, points):
        self.points, self.frame = points, 0

    def now(self):
        return self.points + np.float32([STEP * self.frame - 45, 0])

    def detect(self, image, turned):
        (box,) = landmark_boxes(torch.from_numpy(self.now())[None]).tolist()
        return [Detection(tuple(box), 1.0)]

    def keypoints(self, image, boxes, angles, flip, average):
        assert image.shape == (SIZE[1], SIZE[0], 3) and not average
        points = np.repeat(self.now()[None], len(boxes), axis=0)
        self.frame += 1
        return points, np.ones(len(boxes), np.float32)


@pytest.fixture
def call(command):
    return partial(command, "webcam")


@pytest.fixture
def knower(monkeypatch, drawn):
    finder = Knower(drawn[1])
    monkeypatch.setattr(webcam, "face_keypoints", lambda *_, video, engine: video and finder)
    return finder


def frames_of(path):
    with closing(Frames(path)) as frames:
        return [image for image, _ in frames]


def test_a_video_is_recorded_with_the_filter_on_the_moving_face(call, knower, film, tmp_path):
    line = ["--video", film, "--no-window", "--filter", "sunglasses", "--record", "out.avi"]
    status, out, errors = call(*line)
    assert (status, errors) == (0, [])
    assert out.startswith(f"{COUNT} frames in ")
    assert all(f"{stage} " in out for stage in ("read", "detect", "network", "own", "draw"))
    changed = np.abs(np.int16(frames_of(tmp_path / "out.avi")) - frames_of(film)).max(axis=3) > 25
    assert len(changed) == COUNT
    places = [frame.nonzero()[1].mean() for frame in changed]
    eyes = knower.points[36:48, 0].mean() - 45
    assert places[0] == pytest.approx(eyes, abs=25)
    assert places[-1] - places[5] == pytest.approx(STEP * (COUNT - 6), abs=8)


def test_without_a_filter_the_points_are_drawn_and_numbered(knower, drawn):
    image, points = drawn
    shown = webcam.View([None], {}).draw(image, [Track(1, points, 1.0)])
    changed = (shown != image).any(axis=2)
    columns, rows = np.round(points).astype(int).T
    assert changed[rows, columns].all()
    assert changed.mean() < 0.25
    assert (shown is not image) and (image == drawn[0]).all()


@pytest.mark.slow
def test_a_network_that_learned_nothing_goes_through_as_well(call, film, tmp_path, untrained):
    line = ["--video", film, "--no-window", "--checkpoint", untrained, "--device", "cpu"]
    status, out, errors = call(*line, "--record", "out.mp4")
    assert (status, errors) == (0, []) and out.startswith(f"{COUNT} frames in ")
    assert len(frames_of(tmp_path / "out.mp4")) == COUNT
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("--no-window --camera 97", "camera 97: not there"),
        ("--no-window --camera -1", "--camera -1: no such camera"),
        ("--no-window --camera 99999999999", "--camera 99999999999: no such camera"),
        ("--no-window --video there.avi --record ./there.avi --overwrite", "is the video itself"),
        ("--no-window --video FILM --filter monocle", "monocle: no such filter"),
        ("--no-window --video FILM --record there.avi", "there.avi: is there already"),
        ("--no-window --video FILM --checkpoint none.pt", "none.pt"),
        ("--video FILM", "--no-window"),
    ],
)
def test_a_persons_mistake_is_one_line(call, film, untrained, tmp_path, monkeypatch, line, fault):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    (tmp_path / "there.avi").write_bytes(b"mine")
    words = [film if word == "FILM" else word for word in line.split()]
    status, out, errors = call("--checkpoint", untrained, *words)
    assert (status, out) == (2, "")
    (last,) = [text for text in errors if text.startswith("error: ")]
    assert fault in last
    assert (tmp_path / "there.avi").read_bytes() == b"mine"


def test_a_camera_and_a_video_are_one_too_many(capsys):
    with pytest.raises(SystemExit):
        run_part.main(["webcam", "--camera", "0", "--video", "a.mp4"])
    assert "--video: not allowed with argument --camera" in capsys.readouterr().err


def test_keys_change_the_filter_save_pause_and_quit(call, monkeypatch, tmp_path, drawn):
    image, waited, keys = drawn[0], [], []
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: None)
    monkeypatch.setattr(cv2, "waitKey", lambda ms: (waited.append(ms), keys.pop(0))[1])
    view = webcam.View.load("hat")

    def press(*pressed):
        keys[:] = [ord(key) if key else -1 for key in pressed]
        return webcam.show(image, Stopwatch(), view, 0.0, live=True)

    assert press(None) and view.names[view.at] == "hat"
    assert press("f") and view.names[view.at] == view.names[1] != "hat"
    assert press(" ", "x") and waited[-1] == 0  # until a key comes
    assert press("s") and press("s")
    one, _ = tmp_path.glob("webcam-*.png")
    assert (np.asarray(Image.open(one)) == image).all()
    assert not press("q")
    for _ in view.names[1:]:
        view.next()
    assert view.names[view.at] == "hat"
    assert set(view.names) == {None, *face_filters.names(FILTERS)}


def test_a_file_keeps_its_own_pace_after_a_pause(monkeypatch, drawn):
    waited, keys, now = [], [ord(" "), ord("x"), -1], [0.0]

    def wait(ms):
        waited.append(ms)
        now[0] += 3.0 if ms == 0 else ms / 1000  # a pause of three seconds
        return keys.pop(0)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: None)
    monkeypatch.setattr(cv2, "waitKey", wait)
    clock, view = Stopwatch(), webcam.View.load(None)
    for seconds in (0.2, 0.4):
        webcam.show(drawn[0], clock, view, seconds, live=False)
    assert waited == pytest.approx([200, 0, 200], abs=1)
    assert clock.seconds["pause"] == 3.0


def test_ctrl_c_keeps_what_was_recorded(call, knower, film, tmp_path, monkeypatch):
    keypoints = knower.keypoints

    def stopped(*arguments, **more):
        if knower.frame == 10:
            raise KeyboardInterrupt
        return keypoints(*arguments, **more)

    monkeypatch.setattr(knower, "keypoints", stopped)
    status, out, errors = call("--video", film, "--no-window", "--record", "out.avi")
    assert (status, errors) == (0, ["stopped"]) and out.startswith("10 frames in ")
    assert len(frames_of(tmp_path / "out.avi")) == 10


def test_a_second_ctrl_c_waits_until_the_recording_has_its_name(
    call, knower, film, tmp_path, monkeypatch
):
    before = signal.signal(signal.SIGINT, run_part.stop)
    complete, kept = Recorder.complete, []

    def interrupted(self):
        os.kill(os.getpid(), signal.SIGINT)
        complete(self)

    def end(status):
        kept.append((status, len(frames_of(tmp_path / "out.avi"))))

    monkeypatch.setattr(run_part, "stops", [signal.SIGINT])  # the first has come already
    monkeypatch.setattr(Recorder, "complete", interrupted)
    monkeypatch.setattr(os, "_exit", end)
    call("--video", film, "--no-window", "--record", "out.avi")
    signal.signal(signal.SIGINT, before)
    assert kept == [(130, COUNT)]
    assert [file.name for file in tmp_path.iterdir()] == ["out.avi"]


def test_a_film_that_breaks_off_is_recorded_and_reported(call, knower, film, tmp_path):
    shutil.copy(film, tmp_path / "half.avi")
    break_off(tmp_path / "half.avi", 12)
    status, out, (error,) = call("--video", "half.avi", "--no-window", "--record", "out.avi")
    assert status == 2 and out.startswith("12 frames in ")
    assert error.startswith(f"error: half.avi: breaks off after 12 of {COUNT} frames")
    assert len(frames_of(tmp_path / "out.avi")) == 12


@pytest.mark.parametrize(("cores", "for_the_network"), [(1, 1), (2, 1), (4, 3)])
def test_the_network_leaves_a_core_to_reading_and_searching(drawn, film, cores, for_the_network):
    counted = []

    class Counter(Knower):
        def keypoints(self, *arguments, **more):
            counted.append((torch.get_num_threads(), cv2.getNumThreads()))
            return super().keypoints(*arguments, **more)

    before, helpers = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(cores)
    with closing(Frames(film)) as frames:
        webcam.track(frames, Counter(drawn[1]), webcam.View([None], {}), None, window=False)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert counted == [(for_the_network, 1)] * COUNT
    assert (after, cv2.getNumThreads()) == (cores, helpers)
