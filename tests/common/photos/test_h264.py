"""Videos that browsers play: read back with PyAV and OpenCV, and played in Chromium."""

import base64
import re
import shutil
import subprocess
from contextlib import closing

import numpy as np
import pytest

from common.photos import video
from common.photos.video import Frames, Recorder
from common.system.errors import UserError

av = pytest.importorskip("av")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
RATE, BEEP = 8000, (1.0, 1.5)  # seconds of the film in which 440 Hz are heard
PLAYS = """<video muted preload="auto" src="data:video/mp4;base64,{}"></video><script>
const film = document.querySelector("video");
film.onerror = () => document.title = film.error.message;
film.onloadeddata = () => {{  // which the page waits for
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  context.drawImage(film, 0, 0);
  const [red] = context.getImageData(9, 9, 1, 1).data;
  document.title = [film.videoWidth, film.videoHeight, red, film.duration.toFixed(1)].join(" ");
}};</script>"""


def write(path, times, size=(64, 48), sound=None):
    """Frames that become brighter, from 20 by 7 grey levels."""
    with closing(Recorder(path, 25.0, size, False, sound)) as recorder:
        for number, seconds in enumerate(times):
            image = np.full((size[1], size[0], 3), 20 + 7 * number, np.uint8)
            recorder.write(image, seconds)
    return path


def with_beep(path, codec="aac", rate=RATE):
    """A film of two seconds with a beep."""
    file = av.open(str(path), "w")
    shown, heard = file.add_stream("mpeg4", 10), file.add_stream(codec, rate)
    shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
    heard.codec_context.layout = "mono"
    for _ in range(20):
        grey = np.full((48, 64, 3), 90, np.uint8)
        file.mux(shown.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
    file.mux(shown.encode())
    times = np.arange(2 * rate) / rate
    wave = np.sin(2 * np.pi * 440 * times) * ((times >= BEEP[0]) & (times < BEEP[1]))
    for start in range(0, len(wave), 1000):
        piece = (wave[None, start : start + 1000] * 9000).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        sound.sample_rate, sound.pts = rate, start
        file.mux(heard.encode(sound))
    file.mux(heard.encode())
    file.close()
    return path


def heard_in(path):
    """When something is heard, and its strongest frequency."""
    with av.open(str(path)) as file:
        rate = file.streams.audio[0].rate
        pieces = [(piece.time, piece.to_ndarray()[0]) for piece in file.decode(audio=0)]
    loud = [(time, piece) for time, piece in pieces if np.abs(piece).max() > 0.1]
    wave = np.concatenate([piece for _, piece in loud])
    return loud[0][0], loud[-1][0], np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)


def test_a_film_is_h264_with_a_time_for_every_frame(tmp_path):
    times = [0.0, 0.012, 0.072, 0.12, 0.4, 0.401]
    path = write(tmp_path / "a.mp4", times, (65, 49))
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (64, 48)
    with closing(Frames(path)) as frames:
        shown = [(image.mean(), seconds) for image, seconds in frames]
    levels, seconds = zip(*shown, strict=True)
    assert seconds == pytest.approx(times, abs=1e-3)
    assert levels == pytest.approx(20 + 7 * np.arange(6), abs=3)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.mp4", "aac", RATE), ("a.avi", "pcm_s16le", RATE), ("a.avi", "pcm_s16le", 6000)],
)
def test_the_sound_of_the_film_is_kept_at_its_time(tmp_path, name, codec, rate):
    film = with_beep(tmp_path / name, codec, rate)
    path = write(tmp_path / "b.mp4", np.arange(20) / 10, sound=film)
    begin, end, frequency = heard_in(path)
    assert (begin, end) == pytest.approx(BEEP, abs=0.15)  # a piece of 1024 samples is 0.13 s
    assert frequency == pytest.approx(440, abs=4)


def test_a_size_that_h264_does_not_have_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"a\.mp4: cannot be written; choose another folder or"):
        write(tmp_path / "a.mp4", [0.0], (1, 48))
    assert not list(tmp_path.iterdir())


def test_damaged_sound_ends_with_a_line_and_the_film_goes_on(tmp_path, capsys):
    (tmp_path / "no film").write_bytes(b"no film" * 99)
    path = write(tmp_path / "b.mp4", np.arange(20) / 10, sound=tmp_path / "no film")
    assert re.search(
        r"no film: its sound breaks off \(.+\); the rest is silent", capsys.readouterr().err
    )
    with closing(Frames(path)) as frames:
        assert len(list(frames)) == 20


def test_without_pyav_a_line_says_what_browsers_do_not_play(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video, "pyav", lambda: None)
    path = write(tmp_path / "a.mp4", [0.0, 0.04])
    assert capsys.readouterr().err.count("browsers do not play") == 1
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.name == "mpeg4"
    write(tmp_path / "a.avi", [0.0])
    assert not capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_chromium_plays_the_film(tmp_path):
    path = write(tmp_path / "a.mp4", np.arange(10) / 25, sound=with_beep(tmp_path / "b.mp4"))
    page = tmp_path / "page.html"
    page.write_text(PLAYS.format(base64.b64encode(path.read_bytes()).decode()))
    line = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    line += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    line += ["--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    line += [page.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    assert re.search(r"<title>64 48 (19|20|21) 0\.[45]</title>", done.stdout)
