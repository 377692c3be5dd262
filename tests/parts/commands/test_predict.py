"""``run_part.py predict``: files in, files out, with a stand-in that finds a face in every picture;
finding itself is tested in tests/common."""

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from small_films import break_off

import run_part
from common.faces import landmark_boxes
from common.keypoints import IBUG_68
from common.photos.detectors import Detection
from common.photos.drawing import draw_faces
from common.photos.finder import face_from_keypoints
from common.photos.formats import as_json
from common.photos.pose import MEAN_HEAD
from common.photos.video import Frames, Recorder
from common.system.errors import UserError
from datasets.synthetic.render import render
from parts.commands import predict as predicting


class Seer:
    """Finds one face in the middle of every picture, or as many as ``count``, side by side."""

    def __init__(self):
        self.count = 1
        self.seen = []
        self.missed = 0

    def predict(self, image):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        self.seen.append(image)
        height, width = image.shape[:2]
        points = (MEAN_HEAD[:, :2] * width / 300 + (width / 2, height / 3)).astype("f4")
        boxes = [(width * (0.2 + i), height * 0.2, width * 0.6, height * 0.6) for i in range(5)]
        return [face_from_keypoints(box, 1.0, 0.9, points) for box in boxes[: self.count]]

    def detect(self, image, turned=True):
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
    monkeypatch.setattr(predicting, "point_finder", lambda *_: seer)
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


def test_where_haar_may_miss_faces_one_line_names_the_command_that_fetches_yunet(
    seer, predict, tmp_path
):
    seer.missed = 2
    photo(tmp_path / "me.png")
    status, _, (line,) = predict("me.png", "--data", "my sets")
    assert status == 0
    assert line.startswith("2 photos are large or show no face that Haar finds; ")
    assert line.endswith('run_part.py data yunet --download --data "my sets"')
    assert predict("me.png", "--detector", "haar", "--overwrite")[2] == []


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


def test_coco_is_one_file_for_all_pictures_of_a_call(seer, predict, tmp_path):
    for name in ("one.jpg", "two.jpg", "coco.jpg"):
        photo(tmp_path / name)
    line = ["one.jpg", "broken.jpg", "two.jpg", "coco.jpg", "--format", "coco"]
    status, _, errors = predict(*line)
    assert (status, len(errors)) == (2, 1)
    drawn = ["coco.faces.jpg", "one.faces.jpg", "two.faces.jpg"]
    assert names(tmp_path / "predictions") == sorted(["coco.json", *drawn])
    coco = json.loads((tmp_path / "predictions" / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["one.jpg", "two.jpg", "coco.jpg"]
    assert [face["image_id"] for face in coco["annotations"]] == [1, 2, 3]
    seen = len(seer.seen)
    status, out, (error,) = predict("coco.jpg", "--format", "json,coco")
    assert (status, out, len(seer.seen)) == (2, "", seen) and "coco.json: is there" in error
    status, _, (error,) = predict("coco.jpg", "--format", "json,coco", "--save-dir", "new")
    assert status == 2 and "results of --format coco" in error


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
    assert [frame["time"] for frame in frames] == pytest.approx(np.arange(5) / 12, abs=1e-3)
    assert [round(float(image.mean()) / 40) for image in seer.seen] == [0, 1, 2, 3, 4]
    assert [[face["number"] for face in frame["faces"]] for frame in frames] == [[1]] * 5
    rows = (folder / "clip.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == list("01234")
    assert sum(name.endswith(".pts") for name in names(folder)) == 5
    with closing(Frames(folder / "clip.faces.mp4")) as drawn:
        assert (len(list(drawn)), drawn.rate) == (5, pytest.approx(12))
    assert not [name for name in names(folder) if "tmp" in name]


ENDINGS = [".mts", ".m2ts", ".TS", ".3gp", ".flv", ".ogv", ".vob", ".mxf", ".mov", ".unheard-of"]


def test_a_video_of_any_ending_or_none_is_read_as_one(seer, predict, clip, tmp_path):
    content = (tmp_path / "clip.avi").read_bytes()
    films = ["none", *(f"{number}{ending}" for number, ending in enumerate(ENDINGS))]
    for name in films:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes").write_text("neither a picture nor a video\n" * 50)
    status, out, (error,) = predict(*films, "notes")
    assert status == 2 and error.startswith("error: notes: ")
    lines = out.splitlines()
    assert all(line.startswith(f"{f}: 5 frames") for f, line in zip(films, lines, strict=True))


@pytest.mark.parametrize("formats", ["json", "csv", "json,csv,pts"])
def test_a_photo_and_a_video_of_one_name_are_both_done(seer, predict, clip, tmp_path, formats):
    folder = tmp_path / "phone"
    folder.mkdir()
    (tmp_path / "clip.avi").rename(folder / "IMG_1.MOV")
    photo(folder / "IMG_1.JPG")
    line = ["phone", "--format", formats]
    for overwrite in ([], ["--overwrite"]):
        status, out, errors = predict(*line, *overwrite)
        assert (status, errors) == (0, [])
        assert [text.split(", see")[0].split(": ")[1] for text in out.splitlines()] == [
            "1 face", "5 frames"
        ]  # fmt: skip
    written = names(tmp_path / "predictions")
    tables = [(tmp_path / "predictions" / name).read_text() for name in written if "csv" in name]
    assert sorted(table.count("\n") for table in tables) == ([2, 6] if "csv" in formats else [])
    assert sum(name.endswith(".pts") for name in written) == (6 if "pts" in formats else 0)
    assert sum(name.endswith((".json", ".jsonl")) for name in written) == 2 * ("json" in formats)


def test_of_a_video_that_breaks_off_what_is_there_is_done_and_reported(
    seer, predict, clip, tmp_path
):
    break_off(tmp_path / "clip.avi", 3)
    photo(tmp_path / "last.png")
    status, out, (error,) = predict("clip.avi", "last.png")
    assert status == 2 and out.startswith("last.png: ")
    assert error.startswith("error: clip.avi: breaks off after 3 of 5 frames")
    lines = (tmp_path / "predictions" / "clip.jsonl").read_text().splitlines()
    with closing(Frames(tmp_path / "predictions" / "clip.faces.mp4")) as drawn:
        assert len(list(drawn)) == len(lines) == 3


def test_of_a_video_whose_numbers_cannot_be_written_nothing_is(
    seer, predict, clip, tmp_path, monkeypatch
):
    def full(self, *_):
        assert [Path(name).suffix for name in names(self.folder)] == [".mp4"]
        raise UserError("clip.jsonl: cannot be written; free some space")

    monkeypatch.setattr(predicting.Output, "write", full)
    assert predict("clip.avi")[0] == 2
    assert names(tmp_path / "predictions") == []


@pytest.mark.slow
def test_a_face_that_moves_by_a_fifth_of_its_width_a_frame_keeps_its_number(predict, tmp_path):
    images, points, _ = render([4], IBUG_68, size=(240, 320), leave_out=("occluders",))
    step = 0.2 * np.ptp(points[0, :, 0].numpy())
    with closing(Recorder(tmp_path / "fast.mp4", 30.0, (640, 240), overwrite=False)) as recorder:
        for number in range(40):
            place = 160 - 8 * step + step * abs(number % 32 - 16)  # from side to side
            frame = cv2.warpAffine(
                images[0].permute(1, 2, 0).numpy(), np.float32([[1, 0, place], [0, 1, 0]]),
                (640, 240), borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            recorder.write(frame, number / 30)
    assert predict("fast.mp4")[0] == 0
    lines = (tmp_path / "predictions" / "fast.jsonl").read_text().splitlines()
    faces = [json.loads(line)["faces"] for line in lines]
    assert len(faces) == 40 and sum(map(bool, faces)) >= 38
    assert len({face["number"] for found in faces for face in found}) <= 2


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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal that is closed")
def test_a_process_that_is_stopped_leaves_no_half_result(untrained, tmp_path):
    with closing(Recorder(tmp_path / "long.avi", 30.0, (320, 240), overwrite=False)) as recorder:
        for index in range(900):
            recorder.write(np.full((240, 320, 3), 128, np.uint8), index / 30)
    process = subprocess.Popen(
        [
            *(sys.executable, Path(run_part.__file__), "predict", "long.avi"),
            *("--checkpoint", untrained, "--device", "cpu"),
        ],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder = tmp_path / "predictions"
    while process.poll() is None and not list(folder.glob(".long.faces.mp4.*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130 and errors.splitlines()[-1].startswith("stopped")
    assert names(folder) == [] and names(tmp_path) == ["long.avi", "predictions"]


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
