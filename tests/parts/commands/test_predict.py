"""``run_part.py predict``: files in, files out, with a stand-in that finds a face in every picture;
finding itself is tested in tests/common."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import warnings
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import run_part
from common.faces import landmark_boxes
from common.photos.detectors import Detection
from common.photos.drawing import draw_faces
from common.photos.finder import face_from_keypoints
from common.photos.formats import as_json
from common.photos.pose import MEAN_HEAD
from common.photos.video import Frames, Recorder
from parts.commands import predict as predicting


class Seer:
    """Finds one face in the middle of every picture, or as many as ``count``, side by side."""

    def __init__(self):
        self.count = 1
        self.seen = []

    def predict(self, image):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        self.seen.append(image)
        height, width = image.shape[:2]
        points = (MEAN_HEAD[:, :2] * width / 300 + (width / 2, height / 3)).astype("f4")
        boxes = [(width * (0.2 + i), height * 0.2, width * 0.6, height * 0.6) for i in range(5)]
        return [face_from_keypoints(box, 1.0, 0.9, points) for box in boxes[: self.count]]

    def detect(self, image):
        (box,) = landmark_boxes(torch.from_numpy(self.face(image))[None]).tolist()
        return [Detection(tuple(box), 1.0)]

    def keypoints(self, image, boxes, angles, flip):
        assert flip
        self.seen.append(image)
        return np.repeat(self.face(image)[None], len(boxes), axis=0), np.ones(len(boxes))

    @staticmethod
    def face(image):
        """Keypoints (68, 2) of the one face in a frame of a video."""
        return (MEAN_HEAD[:, :2] * 0.2 + np.array(image.shape[1::-1]) / 2).astype("f4")


@pytest.fixture
def seer(monkeypatch):
    seer = Seer()
    monkeypatch.setattr(predicting, "choose_network", lambda *_: SimpleNamespace(name="one.pt"))
    monkeypatch.setattr(predicting, "face_keypoints", lambda *_: seer)
    return seer


@pytest.fixture
def predict(command):
    return partial(command, "predict")


def photo(path, mode="RGB", size=(90, 60), **how):
    """A picture with a bright left half."""
    pixels = np.full((size[1], size[0], 3), 60, np.uint8)
    pixels[:, : size[0] // 2] = (230, 180, 150)
    Image.fromarray(pixels).convert(mode).save(path, **how)
    return path


def photo_of_any_name(path):
    """A JPEG picture, whatever its name."""
    photo(path, format="JPEG")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_photo_is_drawn_and_written_as_json(seer, predict, tmp_path):
    photo(tmp_path / "me.png")
    status, out, errors = predict("me.png")
    assert (status, errors) == (0, [])
    assert out == f"me.png: 1 face, see {os.path.join('predictions', 'me.faces.jpg')}\n"
    assert names(tmp_path / "predictions") == ["me.faces.jpg", "me.json"]
    written = (tmp_path / "predictions" / "me.json").read_text()
    image, faces = seer.seen[0], seer.predict(seer.seen[0])
    assert {"me.json": written} == as_json("me.png", "me", (60, 90), [(None, faces)], "one.pt")
    drawn = np.asarray(Image.open(tmp_path / "predictions" / "me.faces.jpg")).astype(int)
    expected = draw_faces(image, faces, ("boxes", "points"))
    assert np.abs(drawn - expected).mean() < np.abs(drawn - image).mean() / 3  # JPEG


def test_every_format_is_written(seer, predict, tmp_path):
    seer.count = 2
    photo(tmp_path / "two.jpg")
    line = ["two.jpg", "--format", "json,csv,pts", "--save-dir"]
    assert predict(*line, "out")[0] == 0
    expected = ["two.csv", "two.face1.pts", "two.face2.pts", "two.faces.jpg", "two.json"]
    assert names(tmp_path / "out") == expected
    assert predict("two.jpg", "--format", "csv", "--save-dir", "other")[0] == 0
    assert names(tmp_path / "other") == ["two.csv", "two.faces.jpg"]

    seer.count = 0  # which is not an error
    shown = f"two.jpg: 0 faces, see {Path('none/two.faces.jpg')}\n"
    assert predict(*line, "none") == (0, shown, [])
    assert json.loads((tmp_path / "none" / "two.json").read_text())["faces"] == []
    assert names(tmp_path / "none") == ["two.csv", "two.faces.jpg", "two.json"]


def test_a_folder_gives_its_pictures_and_other_files_are_counted(seer, predict, tmp_path):
    (tmp_path / "album" / "inner").mkdir(parents=True)
    for name in ("a.jpg", "B.PNG", "c.webp"):
        photo(tmp_path / "album" / name)
    for name in ("notes.txt", ".DS_Store", "._a.jpg", "bad.jpg"):
        (tmp_path / "album" / name).write_text("no picture")
    status, out, (counted, error) = predict("album")
    assert (status, len(out.splitlines())) == (2, 3)
    assert counted == "album: 1 other files left out"
    assert error.startswith(f"error: {os.path.join('album', 'bad.jpg')}: ")
    written = names(tmp_path / "predictions")
    assert [name for name in written if name.endswith(".json")] == ["B.json", "a.json", "c.json"]


def test_a_picture_comes_from_stdin(seer, predict, tmp_path, monkeypatch):
    content = photo(tmp_path / "me.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert predict("-")[1].startswith("-: 1 face")
    assert json.loads((tmp_path / "predictions" / "stdin.json").read_text())["image"] == "-"


TURNED = Image.Exif()
TURNED[0x0112] = 6  # a quarter turn clockwise
FRAMES = [Image.new("RGB", (90, 60), colour) for colour in ("red", "green")]
KINDS = {
    "cmyk.jpg": {"mode": "CMYK"},
    "palette.png": {"mode": "P"},
    "grey.jpg": {"mode": "L"},
    "black-and-white.png": {"mode": "1"},
    "transparent.png": {"mode": "RGBA"},
    "dot.png": {"size": (1, 1)},
    "thin.png": {"size": (1, 700)},
    "turned.jpg": {"exif": TURNED},  # as a viewer shows it
    "animated.gif": {"save_all": True, "append_images": FRAMES},  # the first frame counts
}


def test_every_kind_of_picture_is_read(seer, predict, tmp_path):
    for name, how in KINDS.items():
        photo(tmp_path / name, **how)
    grey = np.linspace(0, 65535, 5400).astype(np.uint16).reshape(60, 90)
    Image.fromarray(grey).save(tmp_path / "16-bits.png")
    status, _, errors = predict("16-bits.png", *KINDS)
    assert (status, errors) == (0, ["animated.gif: of several pictures in it the first counts"])
    for name, seen in zip(("16-bits.png", *KINDS), seer.seen, strict=True):
        with Image.open(tmp_path / name) as file:
            original = ImageOps.exif_transpose(file)
        wide = original.convert("I" if original.mode.startswith("I") else "RGB")
        expected = np.atleast_3d(np.asarray(wide)) // (257 if wide.mode == "I" else 1)
        assert np.abs(seen - expected.astype(int)).max() <= 1, name
    with Image.open(tmp_path / "predictions" / "turned.faces.jpg") as drawn:
        assert drawn.size == (60, 90)


WIDE = {  # values of more than 8 bits: those of black and of white
    "12-bits.png": (np.uint16, 0, 4095),
    "float.tif": (np.float32, 0.0, 1.0),
    "signed.tif": (np.float32, -0.5, 0.5),
    "32-bits.tif": (np.int32, 0, 2**20 - 1),
}


def test_wide_pictures_are_stretched(seer, predict, tmp_path):
    for name, (kind, low, high) in WIDE.items():
        values = np.linspace(low, high, 60).astype(kind)
        Image.fromarray(np.repeat(values[:, None], 90, axis=1)).save(tmp_path / name)
    assert predict(*WIDE)[0] == 0
    for seen in seer.seen:
        assert np.abs(seen[:, 0, 0] - np.linspace(0, 255, 60)).max() < 1.5


def test_folders_take_what_is_read_when_it_is_named(seer, predict, tmp_path):
    endings = "avif jfif jpe jp2 mpo tga dib apng pbm"
    for ending in endings.split():
        kind = {"jfif": "jpeg", "jpe": "jpeg", "apng": "png", "pbm": "ppm", "jp2": "jpeg2000"}.get(
            ending, ending
        )
        photo(tmp_path / f"{ending}.{ending}", {"pbm": "1"}.get(ending, "RGB"), format=kind)
    assert predict(".")[0] == 0
    assert len(seer.seen) == len(endings.split())


def test_several_pictures_in_a_file_are_named(seer, predict, tmp_path):
    photo(tmp_path / "two.gif", **KINDS["animated.gif"])
    photo(tmp_path / "lenses.mpo", **KINDS["animated.gif"])  # of one moment
    assert predict("two.gif", "lenses.mpo")[2] == [
        "two.gif: of several pictures in it the first counts"
    ]


def test_damaged_notes_of_a_picture_are_no_matter(seer, predict, tmp_path):
    content = photo(tmp_path / "me.jpg", exif=TURNED).read_bytes()
    (tmp_path / "me.jpg").write_bytes(content.replace(b"\x01\x12\x00\x03", b"\x01\x12\x00\x02"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predict("me.jpg")[::2] == (0, [])


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="needs the extra heic")
def test_heic_is_read_where_its_library_is_installed(seer, predict, tmp_path):
    import pillow_heif

    image = Image.open(photo(tmp_path / "me.png", size=(128, 64)))
    pillow_heif.from_pillow(image).save(tmp_path / "me.heic", quality=90)
    assert predict("me.heic")[0] == 0
    assert np.abs(seer.seen[0].astype(int) - np.asarray(image)).mean() < 5


BAD = {
    "": lambda path: None,
    "https://example.org/me.jpg": lambda path: None,
    "x" * 252 + ".jp": photo_of_any_name,
    "not a picture.heic": lambda path: path.write_bytes(b"\0\0\0\x1cftypheix" + bytes(99)),
    "empty.jpg": lambda path: path.write_bytes(b""),
    "text.png": lambda path: path.write_text("no picture"),
    "half.jpg": lambda path: path.write_bytes(photo(path).read_bytes()[:400]),
    "huge.png": lambda path: Image.new("1", (20_000, 10_000)).save(path),
    "empty.mp4": lambda path: path.write_bytes(b""),
    "text.avi": lambda path: path.write_text("no video"),
    "missing.jpg": lambda path: None,
    "missing.mp4": lambda path: None,
    "nothing-in-it": lambda path: path.mkdir(),
}


def test_what_cannot_be_read_is_one_line_and_the_rest_is_done(seer, predict, tmp_path):
    for name, write in BAD.items():
        write(tmp_path / name)
    photo(tmp_path / "first.png")
    photo(tmp_path / "last.png")
    status, out, errors = predict("first.png", *BAD, "last.png")
    assert status == 2
    for name in BAD:
        (line,) = [
            line for line in errors if line.startswith((f"error: {name}: ", f'error: "{name}"'))
        ]
        assert ";" in line  # and what to do
    assert len(errors) == len(BAD)
    assert [line.partition(":")[0] for line in out.splitlines()] == ["first.png", "last.png"]
    written = names(tmp_path / "predictions")
    assert written == ["first.faces.jpg", "first.json", "last.faces.jpg", "last.json"]


def test_nothing_is_overwritten_unless_it_may_be(seer, predict, tmp_path):
    def written():
        return {file: file.read_bytes() for file in (tmp_path / "predictions").iterdir()}

    line = [photo(tmp_path / "me.png"), "--format", "json,pts"]
    seer.count = 2
    assert predict(*line)[0] == 0
    before, seer.count = written(), 1
    status, out, errors = predict(*line)
    assert (status, out) == (2, "") and "--overwrite" in errors[0]
    assert written() == before
    assert len(seer.seen) == 1  # checked before the work
    assert predict(*line, "--overwrite")[0] == 0
    assert names(tmp_path / "predictions") == ["me.face1.pts", "me.faces.jpg", "me.json"]


def test_overwriting_destroys_no_input_and_nothing_of_another_file(seer, predict, clip, tmp_path):
    """Each case: files that are there already, and the call's own."""
    theirs, other = '{"annotation": 1}', '{"image": "a/me.png"}'
    seer.count = 1
    photo(tmp_path / "me.jpg")
    photo(tmp_path / "me.faces.jpg")
    for there, line, fault in (
        ({}, "me.jpg me.faces.jpg --save-dir .", "would overwrite me.faces.jpg"),
        ({"me.json": theirs}, "me.jpg --save-dir .", "me.json: is no result of me.jpg"),
        ({"out/me.json": other}, "me.jpg --save-dir out", "me.json: is no result of me.jpg"),
        ({"out/me.csv": "a,b\n1,2\n"}, "me.jpg --format csv --save-dir out", "is no result"),
    ):
        for name, text in there.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        kept = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
        status, _, (error,) = predict(*line.split(), "--overwrite")
        assert status == 2 and fault in error
        assert all(file.read_bytes() == content for file, content in kept.items())
        for name in there:
            (tmp_path / name).unlink()


def test_points_of_a_videos_frames_are_not_those_of_a_photo(seer, predict, clip, tmp_path):
    photo(tmp_path / "clip.jpg")
    for _ in range(2):
        for name in ("clip.avi", "clip.jpg"):
            assert predict(name, "--format", "pts", "--overwrite")[0] == 0
    assert sum(name.endswith(".pts") for name in names(tmp_path / "predictions")) == 6


def test_a_photo_and_the_film_of_its_moment_are_both_done(seer, predict, clip, tmp_path):
    photo(tmp_path / "clip.jpg")
    status, out, errors = predict("clip.jpg", "clip.avi")
    assert (status, len(out.splitlines()), errors) == (0, 2, [])
    written = names(tmp_path / "predictions")
    assert written == ["clip.faces.jpg", "clip.faces.mp4", "clip.json", "clip.jsonl"]
    assert predict("clip.jpg", "clip.avi", "--format", "csv", "--save-dir", "csv")[0] == 0
    assert {"clip.csv", "clip.avi.csv"} < {*names(tmp_path / "csv")}


def test_a_path_that_may_not_be_entered_is_one_line(seer, predict, tmp_path, monkeypatch):
    """As root may enter everything, the folder's mode alone tests nothing."""
    is_dir = Path.is_dir

    def refuse(path, **how):
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path, **how)

    monkeypatch.setattr(Path, "is_dir", refuse)
    photo(tmp_path / "me.jpg")
    status, out, (error,) = predict("closed", "me.jpg")
    assert (status, out[:6]) == (2, "me.jpg")
    assert error == "error: closed: Permission denied; check its name and permissions"


def test_a_file_that_is_named_twice_is_done_once(seer, predict, tmp_path):
    photo(tmp_path / "me.jpg")
    assert predict("me.jpg", "./me.jpg", tmp_path / "me.jpg", ".")[1:] == (
        f"me.jpg: 1 face, see {Path('predictions/me.faces.jpg')}\n",
        [],
    )


def test_results_of_which_one_cannot_be_written_are_taken_back(seer, predict, tmp_path):
    photo(tmp_path / "me.jpg")
    (tmp_path / "predictions" / "me.csv").mkdir(parents=True)
    photo(tmp_path / "you.jpg")
    status, out, (error,) = predict("me.jpg", "you.jpg", "--format", "csv,json", "--overwrite")
    assert status == 2 and out.startswith("you.jpg") and "me.csv" in error
    assert names(tmp_path / "predictions") == ["me.csv", "you.csv", "you.faces.jpg", "you.json"]


def test_two_pictures_of_one_name_do_not_overwrite_each_other(seer, predict, tmp_path):
    photo(tmp_path / "me.png")
    photo(tmp_path / "me.jpg")
    status, out, (error,) = predict("me.png", "me.jpg", "--overwrite")
    assert status == 2 and out.startswith("me.png: ")
    assert "me.jpg" in error and "results of me.png" in error
    assert json.loads((tmp_path / "predictions" / "me.json").read_text())["image"] == "me.png"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (["--show", "points,ears"], "--show ears"),
        (["--format", "xml"], "--format xml"),
        (["--checkpoint", "none.pt"], "none.pt"),
        (["--filter", "nobody-drew-it"], "nobody-drew-it"),
        (["--detector", "yunet", "--data", "nowhere"], "data yunet --download"),
        (["--device", "nonsense"], "nonsense"),
        (["--save-dir", "me.png"], "cannot be written"),
    ],
)
def test_a_mistake_that_concerns_all_is_reported_before_the_first_picture(
    predict, untrained, tmp_path, line, named
):
    photo(tmp_path / "me.png")
    status, out, (error,) = predict("me.png", "--checkpoint", untrained, *line)
    assert (status, out) == (2, "")
    assert error.startswith("error: ") and named in error
    assert not (tmp_path / "predictions").exists()


@pytest.fixture
def clip(tmp_path):
    """A video of five frames that grow brighter."""
    writer = Recorder(tmp_path / "clip.avi", 12.0, (96, 64), overwrite=False)
    for number in range(5):
        writer.write(np.full((64, 96, 3), 40 * number, np.uint8), number / 12)
    writer.close()


def test_a_video_gives_a_line_of_json_a_frame_and_a_video(seer, predict, clip, tmp_path):
    status, out, errors = predict("clip.avi", "--format", "json,csv,pts")
    assert (status, errors) == (0, [])
    assert out.startswith("clip.avi: 5 frames, see ")
    folder = tmp_path / "predictions"
    frames = [json.loads(line) for line in (folder / "clip.jsonl").read_text().splitlines()]
    assert [(frame["frame"], frame["width"]) for frame in frames] == [(n, 96) for n in range(5)]
    assert [round(float(image.mean()) / 40) for image in seer.seen] == [0, 1, 2, 3, 4]
    assert [[face["number"] for face in frame["faces"]] for frame in frames] == [[1]] * 5
    rows = (folder / "clip.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == list("01234")
    assert sum(name.endswith(".pts") for name in names(folder)) == 5
    with closing(Frames(folder / "clip.faces.mp4")) as drawn:
        assert (len(list(drawn)), drawn.rate) == (5, pytest.approx(12))
    assert not [name for name in names(folder) if "tmp" in name]


def test_a_filter_is_laid_onto_the_face_in_place_of_lines(seer, predict, tmp_path):
    photo(tmp_path / "me.png", size=(300, 240))
    assert predict("me.png", "--filter", "sunglasses")[0] == 0
    drawn = np.asarray(Image.open(tmp_path / "predictions" / "me.faces.jpg")).astype(int)
    changed = np.abs(drawn - seer.seen[0]).max(axis=2) > 60
    eyes = seer.predict(seer.seen[0])[0].keypoints[36:48].mean(axis=0).round().astype(int)
    assert changed[eyes[1] - 10 : eyes[1] + 10].any()
    assert not changed[eyes[1] + 60 :].any()  # no points on the mouth and the chin


def test_a_video_that_is_stopped_leaves_no_half_result(seer, predict, clip, tmp_path, monkeypatch):
    def stopped(image, *more):
        if image.mean() > 100:
            raise KeyboardInterrupt
        return Seer.keypoints(seer, image, *more)

    monkeypatch.setattr(seer, "keypoints", stopped)
    assert predict("clip.avi")[0] == 130
    assert names(tmp_path / "predictions") == []


def test_results_beside_the_photos_are_not_taken_for_photos(seer, predict, tmp_path):
    content = photo(tmp_path / "me.jpg").read_bytes()
    for _ in range(2):
        assert predict(".", "--save-dir", ".", "--overwrite")[0] == 0
    assert names(tmp_path) == ["me.faces.jpg", "me.jpg", "me.json"]
    assert (tmp_path / "me.jpg").read_bytes() == content


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_name_that_is_not_utf8_does_not_stop_the_others(untrained, tmp_path):
    photo(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    photo(tmp_path / "z.png")
    done = subprocess.run(
        [
            *(sys.executable, Path(run_part.__file__), "predict", tmp_path, "--checkpoint"),
            *(untrained, "--format", "json,csv", "--save-dir", tmp_path / "out"),
        ],
        capture_output=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = [Path(os.fsdecode(line.split(b": ")[0])).name for line in done.stdout.splitlines()]
    assert printed == [r"caf\udce9.png", "z.png"]
    written = [os.fsencode(file) for file in sorted(os.listdir(tmp_path / "out"))]
    assert b"caf\xe9.csv" in written and b"z.json" in written
