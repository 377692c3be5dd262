import time
from contextlib import closing

import numpy as np
import pytest

from common.photos import video
from common.photos.video import Frames, Recorder, Stopwatch
from common.system.errors import UserError

SIZE = (64, 48)


def frame(number):
    """A grey frame whose brightness encodes its number."""
    return np.full((SIZE[1], SIZE[0], 3), 20 + 7 * number, np.uint8)


def write(path, images, rate=25.0, times=None, overwrite=False):
    with closing(Recorder(path, rate, SIZE, overwrite)) as recorder:
        for index, image in enumerate(images):
            recorder.write(image, times[index] if times else index / rate)
    return path


def read(path):
    """The numbers of the frames, and their times."""
    with closing(Frames(path)) as frames:
        pairs = [(round((image.mean() - 20) / 7), seconds) for image, seconds in frames]
    return map(list, zip(*pairs, strict=True))


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("a.avi", 25),
        ("a.mp4", 25),
        ("A.MP4", 25),
        *(("a.mp4", r) for r in (59.9405, 100.001, 239.8)),
    ],
)
def test_frames_come_back_in_order_with_their_times(tmp_path, name, rate):
    shown, seconds = read(write(tmp_path / name, map(frame, range(30)), rate))
    assert shown == list(range(30))
    assert seconds == pytest.approx(np.arange(30) / rate, rel=0.01)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_colours_are_red_green_blue_on_both_ways(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0], image[..., 1] = 200, 90
    (shown, _), *_ = list(Frames(write(tmp_path / "a.avi", [image])))
    assert shown.mean(axis=(0, 1)) == pytest.approx((200, 90, 0), abs=4)


def test_a_late_frame_is_repeated_for_those_that_were_skipped(tmp_path):
    path = write(tmp_path / "a.avi", map(frame, range(4)), 10.0, (0.0, 0.1, 0.5, 0.52))
    shown, _ = read(path)
    assert shown == [0, 1, 2, 2, 2, 2, 3]


def test_a_recording_has_its_name_only_when_it_is_complete(tmp_path):
    path = write(tmp_path / "a.avi", map(frame, range(3)))
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"a\.avi: is there already; add --overwrite"):
        Recorder(path, 25.0, SIZE, overwrite=False)
    recorder = Recorder(path, 25.0, SIZE, overwrite=True)
    recorder.write(frame(9), 0.0)
    assert path.read_bytes() == before
    recorder.close()
    shown, _ = read(path)
    assert shown == [9]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_on_a_full_disk_a_recording_is_an_error_and_the_older_one_stays(tmp_path, name):
    resource = pytest.importorskip("resource")
    path = write(tmp_path / name, map(frame, range(3)))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 255, (200, SIZE[1], SIZE[0], 3), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"only \d+ of 200 frames could be written; free some"):
            write(path, noise, overwrite=True)
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
    whole = write(tmp_path / "a.mp4", map(frame, range(5)))
    for content in (b"", b"no video", whole.read_bytes()[:40]):
        (tmp_path / "bad.mp4").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.mp4: not a video that can be read"):
            Frames(tmp_path / "bad.mp4")


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
    with closing(frames):
        times = [(seconds, time.sleep(0.1))[0] for _, seconds in frames]
    assert 3 <= len(times) < 20  # of 59
    assert (np.diff(times) > 0.05).all()


def test_closing_ends_the_reader_even_when_nobody_takes_its_frames(tmp_path):
    frames = Frames(write(tmp_path / "a.avi", map(frame, range(30))))
    next(iter(frames))
    frames.close()
    assert not frames._reader.is_alive()


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
    with pytest.raises(KeyError), clock.stage("inner"):  # one that fails is counted and left
        clock.wait(16)
        raise KeyError
    clock.frame()
    clock.frame()
    assert clock.seconds == {"own": 1, "outer": 10, "inner": 20}
    assert clock.per_frame() == {"own": 500, "outer": 5000, "inner": 10000}
    assert str(clock).startswith("2 frames in 31.0 s, 0.1 frames/s: own 500.0 ms, outer 5000.0 ms")


def test_the_rate_is_that_of_the_last_frames(clock):
    assert clock.rate == 0
    for seconds in [1] * 40 + [0.1] * 30:
        clock.wait(seconds)
        clock.frame()
    assert clock.rate == pytest.approx(10)
