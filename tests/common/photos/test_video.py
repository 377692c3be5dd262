import time

import numpy as np
import pytest

from common.photos import video
from common.photos.video import Frames, Recorder, Stopwatch, check_window
from common.system.errors import UserError

SIZE = (64, 48)


def frame(number):
    """A grey frame whose brightness encodes its number."""
    return np.full((SIZE[1], SIZE[0], 3), 20 + 7 * number, np.uint8)


def write(path, count, rate=25.0):
    recorder = Recorder(path, rate, SIZE, overwrite=False)
    for number in range(count):
        recorder.write(frame(number), number / rate)
    recorder.close()
    return path


def numbers(path):
    frames = Frames(path)
    read = [(round((image.mean() - 20) / 7), seconds) for image, seconds in frames]
    frames.close()
    return read


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "A.MP4"])
def test_frames_come_back_in_order_with_their_times(tmp_path, name):
    path = write(tmp_path / name, 30)
    shown, seconds = zip(*numbers(path), strict=True)
    assert shown == tuple(range(30))
    assert seconds == pytest.approx(np.arange(30) / 25)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_colours_are_red_green_blue_on_both_ways(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0], image[..., 1] = 200, 90
    recorder = Recorder(tmp_path / "a.avi", 25.0, SIZE, overwrite=False)
    recorder.write(image, 0.0)
    recorder.close()
    (shown, _), *_ = list(Frames(tmp_path / "a.avi"))
    assert shown.mean(axis=(0, 1)) == pytest.approx((200, 90, 0), abs=4)


def test_a_late_frame_is_repeated_for_those_that_were_skipped(tmp_path):
    recorder = Recorder(tmp_path / "a.avi", 10.0, SIZE, overwrite=False)
    for number, seconds in ((0, 0.0), (1, 0.1), (2, 0.5), (3, 0.52)):
        recorder.write(frame(number), seconds)
    recorder.close()
    assert [number for number, _ in numbers(tmp_path / "a.avi")] == [0, 1, 2, 2, 2, 2, 3]


def test_a_recording_has_its_name_only_when_it_is_complete(tmp_path):
    path = write(tmp_path / "a.avi", 3)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"a\.avi: is there already; add --overwrite"):
        Recorder(path, 25.0, SIZE, overwrite=False)
    recorder = Recorder(path, 25.0, SIZE, overwrite=True)
    recorder.write(frame(9), 0.0)
    assert path.read_bytes() == before
    recorder.close()
    assert [number for number, _ in numbers(path)] == [9]


@pytest.mark.parametrize("rate", [59.9405, 100.001, 239.812])
def test_uneven_rates_of_fast_videos_are_written(tmp_path, rate):
    path = write(tmp_path / "a.mp4", 12, rate)
    shown, seconds = zip(*numbers(path), strict=True)
    assert shown == tuple(range(12))
    assert seconds[-1] == pytest.approx(11 / rate, rel=0.01)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_on_a_full_disk_a_recording_is_an_error_and_the_older_one_stays(tmp_path, name):
    resource = pytest.importorskip("resource")
    path = write(tmp_path / name, 3)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(path, 25.0, SIZE, overwrite=True)
    noise = np.random.default_rng(0).integers(0, 255, (200, SIZE[1], SIZE[0], 3), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        for number, image in enumerate(noise):
            recorder.write(image, number / 25)
        with pytest.raises(UserError, match=r"only \d+ of 200 frames could be written; free some"):
            recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_an_unknown_kind_of_video_or_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("a.gif", "a", "folder.d/../a.txt"):
        with pytest.raises(UserError, match=r"take a name ending in \.mp4 or \.avi"):
            Recorder(tmp_path / name, 25.0, SIZE, overwrite=True)
    with pytest.raises(UserError, match="cannot be written"):
        Recorder(tmp_path / "file" / "a.mp4", 25.0, SIZE, overwrite=True)


def test_a_missing_or_damaged_video_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"none\.mp4: no such file"):
        Frames(tmp_path / "none.mp4")
    for content in (b"", b"no video", write(tmp_path / "a.mp4", 5).read_bytes()[:40]):
        (tmp_path / "bad.mp4").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.mp4: not a video that can be read"):
            Frames(tmp_path / "bad.mp4")
    with pytest.raises(UserError, match="camera 97: not there"):
        Frames(97)


class Camera:
    """Stands in for cv2.VideoCapture: a frame every 10 ms, each with its number."""

    def __init__(self, source):
        self.count = 0

    def read(self):
        time.sleep(0.01)
        self.count += 1
        return self.count < 60, frame(self.count % 30)

    def get(self, what):
        return 0.0

    def release(self):
        pass


def test_of_a_camera_the_newest_frame_comes_and_old_ones_are_dropped(monkeypatch):
    monkeypatch.setattr(video.cv2, "VideoCapture", Camera)
    frames = Frames(0)
    assert frames.rate == video.DEFAULT_RATE
    times = []
    for _, seconds in frames:
        times.append(seconds)
        time.sleep(0.1)
    frames.close()
    assert 3 <= len(times) < 20  # of 59
    assert (np.diff(times) > 0.05).all()


def test_closing_ends_the_reader_even_when_nobody_takes_its_frames(tmp_path):
    frames = Frames(write(tmp_path / "a.avi", 30))
    next(iter(frames))
    frames.close()
    assert not frames._reader.is_alive()


def test_without_a_display_the_error_names_no_window(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")  # whatever else could open a window
    with pytest.raises(UserError, match="--no-window"):
        check_window()


@pytest.fixture
def clock(monkeypatch):
    """A stopwatch whose time passes only where the test says so."""
    now = [100.0]
    monkeypatch.setattr(video.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    watch = Stopwatch()
    watch.wait = wait
    return watch


def test_each_stage_counts_for_itself_alone(clock):
    clock.wait(1)
    with clock.stage("outer"):
        clock.wait(2)
        with clock.stage("inner"):
            clock.wait(4)
        clock.wait(8)
    with clock.stage("inner"):
        clock.wait(16)
    clock.frame()
    clock.frame()
    assert clock.seconds == {"own": 1, "outer": 10, "inner": 20}
    assert clock.per_frame() == {"own": 500, "outer": 5000, "inner": 10000}
    assert str(clock).startswith("2 frames in 31.0 s, 0.1 frames/s: own 500.0 ms, outer 5000.0 ms")


def test_a_stage_that_fails_is_counted_and_left(clock):
    with pytest.raises(KeyError), clock.stage("bad"):
        clock.wait(3)
        raise KeyError
    clock.wait(1)
    clock.frame()
    assert clock.seconds == {"own": 1, "bad": 3}


def test_the_rate_is_that_of_the_last_frames(clock):
    assert clock.rate == 0
    for _ in range(40):
        clock.wait(1)
        clock.frame()
    for _ in range(30):
        clock.wait(0.1)
        clock.frame()
    assert clock.rate == pytest.approx(10)
