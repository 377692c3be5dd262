"""``python run_part.py predict``: the faces of your own photos and videos, drawn and in numbers.

Pixels are those of the photo as a viewer shows it, its EXIF turn applied.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from common.faces import landmark_boxes
from common.photos import face_filters, video
from common.photos.drawing import SHOWN, draw_faces
from common.photos.finder import FaceKeypoints, FoundFace, face_from_keypoints
from common.photos.formats import COCO, FORMATS, Found, Moment, Picture, as_coco, read_photo
from common.photos.own_points import OwnPoints
from common.photos.tracking import Track, Tracker
from common.system.errors import UserError
from common.system.files import Write, make_writable, say, write_atomically, write_together
from common.system.signals import uninterrupted
from datasets.location import fetch_command
from parts.commands.options import add_boxes, add_engine, add_finder
from parts.toolkit import FILTERS, choose_network, point_finder

PHOTOS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".bmp",
    ".dib", ".gif", ".tif", ".tiff", ".jp2", ".j2k", ".mpo", ".tga", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
VIDEOS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv",
    ".mts", ".m2ts", ".ts", ".3gp", ".flv", ".ogv", ".vob", ".mxf",
)  # fmt: skip
DRAWN = (".faces.jpg", ".faces.mp4")  # endings of the names of what is drawn here


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``predict``."""
    add_finder(parser)
    add_engine(parser)
    add_boxes(parser)
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="picture, folder, video, or - for stdin")
    add("--filter", metavar="NAME", help="what to put on the faces: sunglasses, ...")
    add(
        "--show", metavar="LIST",
        help="of boxes, points, mesh, pose (default: boxes,points; with --filter none)",
    )  # fmt: skip
    add(
        "--save-dir", type=Path, default=Path("predictions"), metavar="DIR",
        help="where results go (default: predictions)",
    )  # fmt: skip
    add(
        "--format", dest="formats", default="json", metavar="LIST",
        help="of json, csv, pts, coco (default: json)",
    )  # fmt: skip
    add("--overwrite", action="store_true", help="results that are there already")


def run(options: argparse.Namespace) -> int:
    """Find the faces of every path and write them; one line is printed for each file.

    Returns the exit status: 2 where a file could not be read or written; each such fault is one
    line on stderr, and the other files are done. Raises UserError for what concerns all paths.
    """
    output = Output.of(options)
    trained = choose_network(options.checkpoint)
    finder = point_finder(
        trained, options.boxes, options.detector, options.data, options.device, options.engine
    )
    if isinstance(finder, OwnPoints) and output.face_filter is not None:
        raise UserError("--filter: needs a search and a network of 68 points; leave it out")
    make_writable(output.folder)
    output = replace(output, network=trained.name)
    faults: list[UserError] = []
    once: dict[tuple[str, str], str] = {}  # each file of this call, by its real path and its stem
    for path in options.paths:
        with reported(faults, path):
            for file in files_of(path, output.folder):
                once.setdefault((os.path.realpath(file), stem_of(file)), file)
    output.inputs.update(path for path, _ in once)
    if "coco" in output.formats:
        output.check_coco()
    for file in once.values():
        with reported(faults, file):
            film, stem = is_video(file), stem_of(file)
            if {f"{stem}.csv", f"{stem}{DRAWN[not film]}"} <= output.written.keys():
                stem = Path(file).name  # a photo and the film of its moment: a table for each
            predict = predict_video if film else predict_photo
            say(predict(file, stem, finder, output))
    if output.pictures:
        with reported(faults, COCO):
            text = as_coco(output.pictures).encode("utf-8", "surrogateescape")
            write_atomically(output.folder / COCO, lambda file: file.write(text))
    if finder.missed and options.detector == "auto":
        print(
            f"{finder.missed} photos are large or show no face that Haar finds; YuNet finds more, "
            f"fetch it with: {fetch_command('yunet', options.data)}",
            file=sys.stderr,
        )
    return 2 if faults else 0


def stem_of(file: str) -> str:
    """What the names of a file's results begin with."""
    return "stdin" if file == "-" else Path(file).stem


@dataclass(frozen=True)
class Output:
    """What is written about every photo or video, and where."""

    folder: Path
    show: tuple[str, ...]  # of ``drawing.SHOWN``
    face_filter: face_filters.FaceFilter | None
    formats: tuple[str, ...]  # of FORMATS
    overwrite: bool  # whether older results may be replaced
    pictures: list[Picture] = field(default_factory=list)  # for the one file of "coco"
    network: str = ""  # its name
    inputs: set[str] = field(default_factory=set)  # the real paths of all that is to be read
    written: dict[str, str] = field(default_factory=dict)  # the input of each result of this call

    @classmethod
    def of(cls, options: argparse.Namespace) -> Output:
        """As the command line says; raises UserError for a name that does not exist."""
        name, show = options.filter, options.show
        if show is None:
            show = "" if name else "boxes,points"
        return cls(
            folder=options.save_dir,
            show=_names("--show", show, SHOWN),
            face_filter=None if name is None else face_filters.load(name, FILTERS),
            formats=_names("--format", options.formats, (*FORMATS, "coco")),
            overwrite=options.overwrite,
        )

    def draw(self, image: np.ndarray, faces: list[FoundFace]) -> np.ndarray:
        """A copy of uint8 (H, W, 3) with the face filter and what is to be shown on every face."""
        if self.face_filter is not None:
            for face in faces:
                image = self.face_filter.apply(image, face.keypoints)
        return draw_faces(image, faces, self.show)

    def check_free(self, path: str, stem: str, film: bool = False) -> None:
        """Raises UserError where a result of ``path`` would replace an input or what another file
        led to, or where older results may not be replaced."""
        ends = {"json": ".jsonl" if film else ".json", "csv": ".csv"}
        ends = [DRAWN[film], *(ends[name] for name in self.formats if name in ends)]
        names = [stem + end for end in ends]
        self._check_others(path, names)
        older = [file for name in names if (file := self.folder / name).exists()]
        older += self.points_of(stem, film) if "pts" in self.formats else []
        if older and not self.overwrite:
            raise UserError(
                f"{older[0]}: is there already; add --overwrite or choose another --save-dir"
            )
        for file in older:
            if subject_of(file) not in (None, Path(path).name):
                raise UserError(f"{file}: is no result of {path}; choose another --save-dir")

    def check_coco(self) -> None:
        """Raises UserError where the one file of "coco" exists and may not be replaced."""
        file = self.folder / COCO
        if file.exists() and not self.overwrite:
            raise UserError(
                f"{file}: is there already; add --overwrite or choose another --save-dir"
            )
        if file.exists() and subject_of(file):
            raise UserError(f"{file}: is no result of --format coco; choose another --save-dir")
        self.written[COCO] = "--format coco"

    def _check_others(self, path: str, names: Iterable[str]) -> None:
        """Raises UserError where a result of ``path`` would replace what this call needs."""
        for name in names:
            if name in self.written:
                raise UserError(
                    f"{path}: would overwrite the results of {self.written[name]}; predict it in "
                    "another call with another --save-dir"
                )
            if os.path.realpath(self.folder / name) in self.inputs:
                raise UserError(f"{path}: would overwrite {name}; choose another --save-dir")

    def points_of(self, stem: str, film: bool) -> list[Path]:
        """The .pts files that an earlier call wrote for this photo or video."""
        frame = r"\.frame\d+" if film else ""
        name = re.compile(rf"{re.escape(stem)}{frame}\.face\d+\.pts")
        return [file for file in self.folder.iterdir() if name.fullmatch(file.name)]

    def write(
        self, path: str, stem: str, size: tuple[int, int], found: Found, draw: Write | None = None
    ) -> None:
        """The faces of a photo or of all frames of a video of ``size`` (H, W), in every format, and
        what ``draw`` writes: all of it or nothing."""
        texts: dict[str, str] = {}
        for name in self.formats:
            if name == "coco":
                self.pictures.append((path, size, found))
            else:
                texts |= FORMATS[name](path, stem, size, found, self.network)
        self._check_others(path, texts)
        film = found[0][0] is not None
        older = self.points_of(stem, film) if "pts" in self.formats else []
        drawn = self.folder / f"{stem}{DRAWN[film]}"
        contents: dict[Path, Write] = {} if draw is None else {drawn: draw}
        for name, text in texts.items():
            content = text.encode("utf-8", "surrogateescape")  # file names are not always UTF-8
            contents[self.folder / name] = lambda file, content=content: file.write(content)
        write_together(contents)
        self.written.update(dict.fromkeys([*texts, drawn.name], path))
        for file in older:  # perhaps of more faces than now
            if file.name not in texts:
                file.unlink()


def subject_of(file: Path) -> str | None:
    """The name of the picture or video that results are about, "" where they are no results of
    ours; None where the format does not say it."""
    if file.suffix not in (".json", ".jsonl", ".csv"):
        return None
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
            if file.suffix == ".csv":
                header, first = next(csv.reader(lines)), next(csv.reader(lines), None)
                return "" if header[0] != "image" else Path(first[0]).name if first else None
            return Path(json.loads(lines.readline())["image"]).name
    except (OSError, ValueError, LookupError, TypeError, csv.Error, StopIteration):
        return ""


@contextmanager
def reported(faults: list[UserError], path: str) -> Iterator[None]:
    """Print in one line what is wrong with ``path``, note it in ``faults`` and go on."""
    try:
        yield
    except (UserError, OSError) as fault:
        if isinstance(fault, OSError):  # the name is too long, a folder may not be entered, ...
            why = fault.strerror or fault
            fault = UserError(f"{path}: {why}; check its name and permissions")
        print(f"error: {fault}", file=sys.stderr)
        faults.append(fault)


def files_of(path: str, save_dir: Path) -> list[str]:
    """The files that a path of the command line means; those of a folder are chosen by endings.

    A line on stderr counts the others. Hidden files are left out, and in ``save_dir`` what an
    earlier call drew. Raises UserError where a folder cannot be read or holds no picture.
    """
    if not path or "://" in path:
        raise UserError(f'"{path}": no file; name a picture, a video or a folder on this machine')
    if path == "-" or not Path(path).is_dir():
        return [path]
    try:
        files = [str(file) for file in sorted(Path(path).iterdir()) if file.is_file()]
        files = [file for file in files if not Path(file).name.startswith(".")]
    except OSError as fault:
        raise UserError(f"{path}: {fault.strerror}; choose a folder that can be read") from None
    if Path(path).resolve() == save_dir.resolve():
        files = [file for file in files if not file.endswith(DRAWN)]
    shown = [file for file in files if not Path(file).name.startswith(".")]
    known = [file for file in shown if file.lower().endswith((*PHOTOS, *VIDEOS))]
    if not known:
        raise UserError(f"{path}: no picture in this folder; name one that holds some")
    if len(known) < len(files):
        print(f"{path}: {len(files) - len(known)} other files left out", file=sys.stderr)
    return known


def is_video(path: str) -> bool:
    """Whether a file is a video: by the ending of its name, else by what can read it."""
    if path == "-" or path.lower().endswith((*PHOTOS, *VIDEOS)):
        return path.lower().endswith(VIDEOS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            Image.open(path).close()
        except UnidentifiedImageError:
            return video.is_readable(Path(path))
        except Exception:
            return False  # the reader of photos reports it
    return False


def predict_photo(path: str, stem: str, finder: FaceKeypoints | OwnPoints, output: Output) -> str:
    """Find, draw and write the faces of one photo; returns the line to print."""
    drawn = output.folder / f"{stem}{DRAWN[0]}"
    output.check_free(path, stem)
    image = read_photo(path)
    named = (path,) if isinstance(finder, OwnPoints) else ()  # of whom boxes may be given
    faces = finder.predict(image, *named)
    picture = Image.fromarray(output.draw(image, faces))
    output.write(
        path, stem, image.shape[:2], [(None, faces)],
        lambda file: picture.save(file, "JPEG", quality=92),
    )  # fmt: skip
    return f"{path}: {len(faces)} face{'s' * (len(faces) != 1)}, see {drawn}"


def predict_video(path: str, stem: str, finder: FaceKeypoints | OwnPoints, output: Output) -> str:
    """As ``predict_photo``, of a video; faces are tracked, so that each keeps its number."""
    if isinstance(finder, OwnPoints):
        raise UserError(f"{path}: a video needs a search and a network of 68 points; take photos")
    drawn = output.folder / f"{stem}{DRAWN[1]}"
    output.check_free(path, stem, film=True)
    found: Found = []
    upright, turned = partial(finder.detect, turned=False), finder.detect
    tracker = Tracker(upright, finder.keypoints, check_every=1, detect_turned=turned, wait=True)
    with closing(video.Frames(Path(path))) as frames, closing(tracker):
        recorder = video.Recorder(drawn, frames.rate, frames.size, output.overwrite, Path(path))
        try:
            for number, (image, seconds) in enumerate(frames):
                faces = [tracked_face(track) for track in tracker.update(image, seconds)]
                found.append((Moment(number, seconds), faces))
                recorder.write(output.draw(image, faces), seconds)
            recorder.complete()
            with uninterrupted():
                output.write(path, stem, frames.size[::-1], found)
                recorder.close()
        except BaseException:  # such as Ctrl-C: half a result is none
            recorder.close(keep=False)
            raise
        frames.check_complete()
    return f"{path}: {len(found)} frames, see {drawn}"


def tracked_face(track: Track) -> FoundFace:
    """A face of a video in the current frame."""
    (box,) = landmark_boxes(torch.from_numpy(track.keypoints)[None]).tolist()
    return face_from_keypoints(tuple(box), None, track.confidence, track.keypoints, track.number)


def _names(option: str, value: str, known: Collection[str]) -> tuple[str, ...]:
    names = tuple(name for name in value.split(",") if name)
    if unknown := set(names) - set(known):
        raise UserError(f"{option} {','.join(sorted(unknown))}: choose among {', '.join(known)}")
    return names
