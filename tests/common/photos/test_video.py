import time

import numpy as np
import pytest

from common.photos import video
from common.photos.video import Frames, Recorder, check_window
from common.system.errors import UserError

SIZE = (64, 48)


def frame(number):
    """A grey frame whose brightness tells its number."""
    return np.full((SIZE[1], SIZE[0], 3), 20 + 7 * number, np.uint8)


def write(path, count, rate=25.0):
    recorder = Recorder(path, rate, SIZE, overwrite=False)
    for number in range(count):
        recorder.write(frame(number), number / rate)
    recorder.close()
    return path


def numbers(path):
    frames = Frames(path)
    told = [((image.mean() - 20) / 7, seconds) for image, seconds in frames]
    frames.close()
    return told


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "A.MP4"])
def test_frames_come_back_in_order_with_their_times(tmp_path, name):
    path = write(tmp_path / name, 30)
    told = numbers(path)
    assert [round(number) for number, _ in told] == list(range(30))
    assert [seconds for _, seconds in told] == pytest.approx(np.arange(30) / 25)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_colours_are_red_green_blue_on_both_ways(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0], image[..., 1] = 200, 90
    recorder = Recorder(tmp_path / "a.avi", 25.0, SIZE, overwrite=False)
    recorder.write(image, 0.0)
    recorder.close()
    (shown, _), *_ = list(Frames(tmp_path / "a.avi"))
    assert shown.mean(axis=(0, 1)) == pytest.approx((200, 90, 0), abs=4)


def test_a_late_frame_stands_in_for_those_that_did_not_come(tmp_path):
    recorder = Recorder(tmp_path / "a.avi", 10.0, SIZE, overwrite=False)
    for number, seconds in ((0, 0.0), (1, 0.1), (2, 0.5), (3, 0.52)):
        recorder.write(frame(number), seconds)
    recorder.close()
    assert [round(number) for number, _ in numbers(tmp_path / "a.avi")] == [0, 1, 2, 2, 2, 2, 3]


def test_a_recording_has_its_name_only_when_it_is_complete(tmp_path):
    path = write(tmp_path / "a.avi", 3)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"a\.avi: is there already; add --overwrite"):
        Recorder(path, 25.0, SIZE, overwrite=False)
    recorder = Recorder(path, 25.0, SIZE, overwrite=True)
    recorder.write(frame(9), 0.0)
    assert path.read_bytes() == before
    recorder.close()
    assert [round(number) for number, _ in numbers(path)] == [9]


@pytest.mark.parametrize("rate", [59.9405, 100.001, 119.953, 239.812])
def test_uneven_rates_of_fast_videos_are_written(tmp_path, rate):
    path = write(tmp_path / "a.mp4", 12, rate)
    told = numbers(path)
    assert [round(number) for number, _ in told] == list(range(12))
    assert told[-1][1] == pytest.approx(11 / rate, rel=0.01)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_a_recording_that_did_not_fit_on_the_disk_is_told_and_the_older_one_stays(tmp_path, name):
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


@pytest.mark.parametrize("name", ["a.gif", "a", "folder.d/../a.txt"])
def test_an_unknown_kind_of_video_is_told(tmp_path, name):
    with pytest.raises(UserError, match=r"take a name ending in \.mp4 or \.avi"):
        Recorder(tmp_path / name, 25.0, SIZE, overwrite=True)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Recorder(tmp_path / "file" / "a.mp4", 25.0, SIZE, overwrite=True)


def test_what_is_no_video_is_told_in_one_line(tmp_path):
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
    assert frames.rate == video.USUAL_RATE
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


def test_without_a_display_the_way_without_a_window_is_told(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")  # whatever else could open a window
    with pytest.raises(UserError, match="--no-window"):
        check_window()
