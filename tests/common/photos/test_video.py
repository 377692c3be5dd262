import gc
import os
import struct
import time
from contextlib import closing

import numpy as np
import pytest
from small_films import break_off

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


def durations(path, ticks):
    """Give the frames of an MP4 file other durations, with the same sum as before."""
    content = path.read_bytes()
    start = content.index(b"stts")
    table = struct.pack(">2I", 0, len(ticks)) + b"".join(struct.pack(">2I", 1, t) for t in ticks)
    before = struct.unpack(">I", content[start - 4 : start])[0] - 8
    rest = content[start + 4 + before :]
    content = bytearray(content[: start + 4] + table + rest)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        place = content.index(kind) - 4
        size = struct.unpack_from(">I", content, place)[0] + len(table) - before
        struct.pack_into(">I", content, place, size)
    path.write_bytes(content)


def test_times_are_those_of_the_container_at_a_variable_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "pyav", lambda: None)  # whose files have another table of times
    path = write(tmp_path / "a.mp4", map(frame, range(30)), 25.0)
    (tick,) = struct.unpack_from(">I", path.read_bytes(), path.read_bytes().index(b"stts") + 16)
    ticks = np.round(tick * np.tile([0.3, 1.5, 1.2], 10)).astype(int)
    durations(path, ticks.tolist())
    shown, seconds = read(path)
    assert shown == list(range(30))
    expected = np.append(0, ticks.cumsum()[:-1]) / tick / 25
    assert seconds == pytest.approx(expected, abs=1e-3)


class Timed:
    """Stands in for cv2.VideoCapture: frames at the milliseconds ``times``, 25 a second."""

    times, count = (), 0

    def __init__(self, *source):
        pass

    def set(self, what, value):
        pass

    def read(self):
        self.count += 1
        return self.count <= len(self.times), frame(0)

    def get(self, what):
        here = self.times[self.count - 1] if self.count else 0
        return {video.cv2.CAP_PROP_POS_MSEC: here, video.cv2.CAP_PROP_FPS: 25}.get(what, 0)

    def release(self):
        pass


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((0, 0, 0, 0), (0, 0.04, 0.08, 0.12)),  # without times
        ((0, 40, 40, 120), (0, 0.04, 0.08, 0.12)),
        ((0, 40, 0, 120), (0, 0.04, 0.08, 0.12)),
        ((0, 9e9, 80, 120), (0, 9e6, 9e6 + 1e-3, 9e6 + 2e-3)),
    ],
)
def test_times_grow_where_those_of_the_file_do_not(tmp_path, monkeypatch, times, expected):
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setattr(Timed, "times", times)
    monkeypatch.setattr(video.cv2, "VideoCapture", Timed)
    with closing(Frames(tmp_path / "a.mp4")) as frames:
        assert [seconds for _, seconds in frames] == pytest.approx(expected, rel=1e-12)


MATRICES = {
    "as it is": (1, 0, 0, 1),
    "a quarter turn": (0, 1, -1, 0),
    "half a turn": (-1, 0, 0, -1),
    "three quarter turns": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down and mirrored": (1, 0, 0, -1),
    "a quarter turn and mirrored": (0, 1, 1, 0),
    "three quarter turns and mirrored": (0, -1, -1, 0),
}


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_a_film_is_turned_and_mirrored_as_its_metadata_say(tmp_path, matrix):
    image = np.random.default_rng(0).integers(0, 255, (3, 4, 3), np.uint8)
    image = np.kron(image, np.ones((16, 16, 1), np.uint8))  # (48, 64, 3)
    path = write(tmp_path / "a.mp4", [image] * 2)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = matrix
    struct.pack_into(">9i", content, place, *(v << 16 for v in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    path.write_bytes(content)
    # x' = ax + cy, y' = bx + dy, then shifted into the picture; ISO/IEC 14496-12, 6.2.2
    y, x = np.mgrid[:48, :64]
    x, y = a * x + c * y, b * x + d * y
    expected = np.zeros((np.ptp(y) + 1, np.ptp(x) + 1, 3), np.uint8)
    expected[y - y.min(), x - x.min()] = image
    with closing(Frames(path)) as frames:
        shown, _ = next(iter(frames))
        assert frames.size == expected.shape[1::-1]
    assert np.abs(shown - expected.astype(int)).mean() < 12


def test_a_film_that_breaks_off_is_an_error_after_its_last_frame(tmp_path):
    path = write(tmp_path / "a.avi", map(frame, range(30)))
    break_off(path, 20)
    with closing(Frames(path)) as frames:
        assert [round((image.mean() - 20) / 7) for image, _ in frames] == list(range(20))
        with pytest.raises(UserError, match=r"a\.avi: breaks off after 20 of 30 frames"):
            frames.check_complete()


def test_a_film_that_is_closed_before_its_end_is_no_error(tmp_path):
    with closing(Frames(write(tmp_path / "a.avi", map(frame, range(30))))) as frames:
        next(iter(frames))
    frames.check_complete()


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


def test_writers_of_one_recording_do_not_share_a_file_and_leave_none(tmp_path):
    one, other = (Recorder(tmp_path / "a.mp4", 25.0, SIZE, overwrite=True) for _ in range(2))
    for number in range(3):
        one.write(frame(number), number / 25)
        other.write(frame(number + 9), number / 25)
    assert all(file.name.startswith(".a.mp4.") for file in tmp_path.iterdir())
    other.close()
    one.close(keep=False)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    shown, _ = read(tmp_path / "a.mp4")
    assert shown == [9, 10, 11]
    Recorder(tmp_path / "b.avi", 25.0, SIZE, overwrite=True)  # that nobody closes
    gc.collect()
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    left = [tmp_path / f".a.mp4.7-{age}.tmp.mp4" for age in (60, 6000)]
    for file, age in zip(left, (60, 6000), strict=True):
        file.write_bytes(b"half a film")
        os.utime(file, (time.time() - age,) * 2)
    write(tmp_path / "a.mp4", [frame(0)])
    assert set(tmp_path.iterdir()) == {left[0], tmp_path / "a.mp4"}  # which may still be written


def test_a_frame_whose_time_is_damaged_does_not_fill_the_disk(tmp_path):
    path = write(tmp_path / "a.avi", map(frame, range(3)), 10.0, (0.0, 1e6, 1e6 + 0.1))
    shown, _ = read(path)
    assert shown == [0] + [1] * round(video.STILL * 10) + [2]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_on_a_full_disk_a_recording_is_an_error_and_the_older_one_stays(tmp_path, name):
    resource = pytest.importorskip("resource")
    path = write(tmp_path / name, map(frame, range(3)))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 255, (200, SIZE[1], SIZE[0], 3), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(UserError, match="not all frames could be written; free some"):
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


def test_damage_that_ends_the_reader_ends_the_film(tmp_path, monkeypatch):
    path = write(tmp_path / "a.avi", map(frame, range(30)))
    capture = video.cv2.VideoCapture(str(path))

    class Damaged:
        get, set, release, count = capture.get, capture.set, capture.release, 0

        def read(self):
            self.count += 1
            if self.count > 4:
                raise video.cv2.error("resize: too large")
            return capture.read()

    monkeypatch.setattr(video.cv2, "VideoCapture", lambda *_: Damaged())
    frames = Frames(path)
    assert len(list(frames)) == 4
    with pytest.raises(UserError, match="4 of 30 frames"):
        frames.check_complete()


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
