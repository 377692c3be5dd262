"""``python run_part.py predict``: the faces of your own photos and videos, drawn and in numbers.

Pixels are those of the photo as a viewer shows it, its EXIF turn applied.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from common.faces import landmark_boxes
from common.photos import face_filters, video
from common.photos.drawing import SHOWN, draw_faces
from common.photos.finder import FaceKeypoints, FoundFace, face_from_keypoints
from common.photos.formats import COCO, FORMATS, Found, Moment, Picture, as_coco, read_photo
from common.photos.tracking import Track, Tracker
from common.system.errors import UserError
from common.system.files import make_writable, write_atomically
from common.system.signals import uninterrupted
from datasets.location import fetch_command
from parts.commands.options import add_finder
from parts.toolkit import FILTERS, face_keypoints

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
VIDEOS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv",
    ".mts", ".m2ts", ".ts", ".3gp", ".flv", ".ogv", ".vob", ".mxf",
)  # fmt: skip
DRAWN = (".faces.jpg", ".faces.mp4")  # endings of the names of what is drawn here


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``predict``."""
    add_finder(parser)
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
    finder = face_keypoints(options.checkpoint, options.detector, options.data, options.device)
    make_writable(output.folder)
    faults: list[UserError] = []
    done: dict[tuple[str, bool], str] = {}  # the file of each stem, of photos and of videos
    if "coco" in output.formats:
        output.check_free(Path(COCO).stem, COCO)
        done[Path(COCO).stem, False] = "--format coco"
    for path in options.paths:
        with reported(faults):
            for file in files_of(path, output.folder):
                with reported(faults):
                    stem = "stdin" if file == "-" else Path(file).stem
                    film = is_video(file)
                    if (stem, not film) in done and "csv" in output.formats:
                        stem = Path(file).name  # a table for each
                    if (stem, film) in done:
                        raise UserError(
                            f"{file}: would overwrite the results of {done[stem, film]}; predict "
                            "it in another call with another --save-dir"
                        )
                    predict = predict_video if film else predict_photo
                    print(predict(file, stem, finder, output), flush=True)
                    done[stem, film] = file
    if output.pictures:
        with reported(faults):
            write_text(output.folder / COCO, as_coco(output.pictures))
    if finder.missed and options.detector == "auto":
        print(
            f"{finder.missed} photos are large or show no face that Haar finds; YuNet finds more, "
            f"fetch it with: {fetch_command('yunet', options.data)}",
            file=sys.stderr,
        )
    return 2 if faults else 0


@dataclass(frozen=True)
class Output:
    """What is written about every photo or video, and where."""

    folder: Path
    show: tuple[str, ...]  # of ``drawing.SHOWN``
    face_filter: face_filters.FaceFilter | None
    formats: tuple[str, ...]  # of FORMATS
    overwrite: bool  # whether older results may be replaced
    pictures: list[Picture] = field(default_factory=list)  # for the one file of "coco"

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

    def check_free(self, stem: str, *names: str, film: bool = False) -> None:
        """Raises UserError where results exist already and may not be overwritten."""
        older = [self.folder / name for name in (*names, f"{stem}.csv")]
        older = [file for file in (*older, *self.points_of(stem, film)) if file.exists()]
        if older and not self.overwrite:
            raise UserError(
                f"{older[0]}: is there already; add --overwrite or choose another --save-dir"
            )

    def points_of(self, stem: str, film: bool) -> list[Path]:
        """The .pts files that an earlier call wrote for this photo or video."""
        frame = r"\.frame\d+" if film else ""
        name = re.compile(rf"{re.escape(stem)}{frame}\.face\d+\.pts")
        return [file for file in self.folder.iterdir() if name.fullmatch(file.name)]

    def write(self, path: str, stem: str, size: tuple[int, int], found: Found) -> None:
        """The faces of a photo or of all frames of a video of ``size`` (H, W), in every format."""
        texts: dict[str, str] = {}
        for name in self.formats:
            if name == "coco":
                self.pictures.append((path, size, found))
            else:
                texts |= FORMATS[name](path, stem, size, found)
        if "pts" in self.formats:
            film = found[0][0] is not None
            for file in self.points_of(stem, film):  # perhaps of more faces than now
                file.unlink()
        for name, text in texts.items():
            write_text(self.folder / name, text)


def write_text(path: Path, text: str) -> None:
    """Write a file of results, whole or not at all."""
    content = text.encode("utf-8", "surrogateescape")  # file names are not always UTF-8
    write_atomically(path, lambda file: file.write(content))


@contextmanager
def reported(faults: list[UserError]) -> Iterator[None]:
    """Print a UserError in one line, note it in ``faults`` and go on."""
    try:
        yield
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        faults.append(fault)


def files_of(path: str, save_dir: Path) -> list[str]:
    """The files that a path of the command line means; those of a folder are chosen by endings.

    A line on stderr counts the others. What an earlier call drew is left out in ``save_dir``.
    Raises UserError where a folder cannot be read or holds no picture.
    """
    if path == "-" or not Path(path).is_dir():
        return [path]
    try:
        files = [str(file) for file in sorted(Path(path).iterdir()) if file.is_file()]
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


def predict_photo(path: str, stem: str, finder: FaceKeypoints, output: Output) -> str:
    """Find, draw and write the faces of one photo; returns the line to print."""
    drawn = output.folder / f"{stem}{DRAWN[0]}"
    output.check_free(stem, drawn.name, f"{stem}.json")
    image = read_photo(path)
    faces = finder.predict(image)
    output.write(path, stem, image.shape[:2], [(None, faces)])
    picture = Image.fromarray(output.draw(image, faces))
    write_atomically(drawn, lambda file: picture.save(file, "JPEG", quality=92))
    return f"{path}: {len(faces)} face{'s' * (len(faces) != 1)}, see {drawn}"


def predict_video(path: str, stem: str, finder: FaceKeypoints, output: Output) -> str:
    """As ``predict_photo``, of a video; faces are tracked, so that each keeps its number."""
    drawn = output.folder / f"{stem}{DRAWN[1]}"
    output.check_free(stem, drawn.name, f"{stem}.jsonl", film=True)
    found: Found = []
    tracker = Tracker(finder.detect, finder.keypoints, check_every=1, wait=True)
    with closing(video.Frames(Path(path))) as frames, closing(tracker):
        recorder = video.Recorder(drawn, frames.rate, frames.size, output.overwrite)
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
