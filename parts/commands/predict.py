"""Your own photos: what ``python run_part.py predict`` does with the network of part 3.

Every face of a picture, of the pictures in a folder, or of a video: the picture with what was
found drawn onto it, and the same in numbers for other programs. Pixels are those of the picture
as a viewer shows it, its EXIF turn applied.
"""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.crops import read_picture
from common.photos import face_filters, video
from common.photos.drawing import SHOWN, draw_faces
from common.photos.finder import FaceKeypoints, FoundFace, face_from_keypoints
from common.photos.formats import COLUMNS, as_csv, as_json, as_pts
from common.photos.tracking import Track, Tracker, box_of
from common.system.errors import UserError
from common.system.files import make_writable, write_atomically
from parts.toolkit import FILTERS, face_keypoints

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
DRAWN = (".faces.jpg", ".faces.mp4")  # how the names of what is drawn here end
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
FORMATS = ("json", "csv", "pts")

Found = list[tuple[int | None, list[FoundFace]]]
"""The faces of each frame beside its number, from 0; a picture is one frame without a number."""


@dataclass(frozen=True)
class Output:
    """What is written about every picture, and where.

    show: names of ``drawing.SHOWN``. art: laid onto every face. formats: names of FORMATS.
    """

    folder: Path
    show: Collection[str]
    art: face_filters.Filter | None
    formats: Collection[str]
    overwrite: bool

    def drawn(self, image: np.ndarray, faces: list[FoundFace]) -> np.ndarray:
        """uint8 (H, W, 3) with the art and what is to be shown on every face."""
        if self.art is not None:
            for face in faces:
                image = self.art.apply(image, face.keypoints)
        return draw_faces(image, faces, self.show)


def predict(
    paths: Sequence[str],
    checkpoint: Path | None = None,
    detector: str = "haar",
    art: str | None = None,
    show: str | None = None,
    save_dir: Path = Path("predictions"),
    formats: str = "json",
    overwrite: bool = False,
    data: Path | None = None,
    device: str | None = None,
) -> int:
    """Find the faces of every path and write what was found; one line is printed for each.

    paths: pictures, folders of them, videos, or "-" for a picture from stdin. checkpoint: of a
    network for 68 points, by default the one that ships. art: a filter's name. show, formats: names
    joined by commas; by default boxes and points are shown, and nothing beside a filter. data:
    the folder in which YuNet's file lies.
    Returns the exit status: 2 where something could not be read or written. Each such fault is
    one line on stderr, and all else is done. Raises UserError for what concerns every path.
    """
    if show is None:
        show = "" if art else "boxes,points"
    output = Output(
        folder=save_dir,
        show=_names("--show", show, SHOWN),
        art=None if art is None else face_filters.load(art, FILTERS),
        formats=_names("--format", formats, FORMATS),
        overwrite=overwrite,
    )
    finder = face_keypoints(checkpoint, detector, data, device)
    make_writable(save_dir)
    status, done = 0, {}
    for path in paths:
        try:
            files = files_of(path, save_dir)
        except UserError as fault:
            print(f"error: {fault}", file=sys.stderr)
            status, files = 2, []
        for file in files:
            try:
                stem = "stdin" if file == "-" else Path(file).stem
                if stem in done:
                    raise UserError(
                        f"{file}: would overwrite the results of {done[stem]}; predict it in "
                        "another call with another --save-dir"
                    )
                one = _video if file.lower().endswith(VIDEOS) else _picture
                print(one(file, stem, finder, output), flush=True)
                done[stem] = file
            except UserError as fault:
                print(f"error: {fault}", file=sys.stderr)
                status = 2
    return status


def files_of(path: str, save_dir: Path) -> list[str]:
    """The files that a path of the command line stands for.

    Those of a folder are chosen by their endings; a line on stderr counts the others. What an
    earlier call drew is left out where the folder is ``save_dir``.
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
    known = [file for file in files if file.lower().endswith((*PICTURES, *VIDEOS))]
    if not known:
        raise UserError(f"{path}: no picture in this folder; name one that holds some")
    if len(known) < len(files):
        print(f"{path}: {len(files) - len(known)} other files left out", file=sys.stderr)
    return known


def read(path: str) -> np.ndarray:
    """A picture as uint8 (H, W, 3), RGB, turned as EXIF says; "-" reads it from stdin.

    The first picture of an animated one. Raises UserError where it cannot be decoded whole.
    """
    try:
        source = io.BytesIO(sys.stdin.buffer.read()) if path == "-" else Path(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large, not too large
            return np.asarray(read_picture(source, colour=True))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the name") from None
    except UnidentifiedImageError:
        fault = "not a picture"
    except Image.DecompressionBombError:
        raise UserError(f"{path}: more than 178 million pixels; make it smaller") from None
    except Exception as damage:  # a damaged picture fails wherever the damage is met first
        fault = " ".join(str(damage).split()) or type(damage).__name__
    raise UserError(f"{path}: cannot be read ({fault}); save it anew as JPEG or PNG")


def _picture(path: str, stem: str, finder: FaceKeypoints, output: Output) -> str:
    drawn = output.folder / f"{stem}{DRAWN[0]}"
    _make_way(stem, [drawn.name, f"{stem}.json"], output)
    image = read(path)
    faces = finder.predict(image)
    _write(path, f"{stem}.json", image.shape[:2], [(None, faces)], output)
    picture = Image.fromarray(output.drawn(image, faces))
    write_atomically(drawn, lambda file: picture.save(file, "JPEG", quality=92))
    return f"{path}: {len(faces)} face{'s' * (len(faces) != 1)}, see {drawn}"


def _video(path: str, stem: str, finder: FaceKeypoints, output: Output) -> str:
    """Faces are followed from frame to frame; each keeps its number."""
    drawn = output.folder / f"{stem}{DRAWN[1]}"
    _make_way(stem, [drawn.name, f"{stem}.jsonl"], output)
    found: Found = []

    def locate(
        image: np.ndarray, boxes: np.ndarray, angles: np.ndarray, _check: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        return finder.keypoints(image, boxes, angles)

    tracker = Tracker(finder.detect, locate, check_every=1)  # the mirror image is asked anyway
    with closing(video.Frames(Path(path))) as frames, closing(tracker):
        width, height = frames.size
        recorder = video.Recorder(drawn, frames.rate, frames.size, output.overwrite)
        try:
            for number, (image, seconds) in enumerate(frames):
                faces = [followed(track) for track in tracker.update(image, seconds)]
                found.append((number, faces))
                recorder.write(output.drawn(image, faces), seconds)
        except BaseException:  # stopped, say: half of a result is none
            recorder.close(keep=False)
            raise
        recorder.close()
    _write(path, f"{stem}.jsonl", (height, width), found, output)
    return f"{path}: {len(found)} frames, see {drawn}"


def followed(track: Track) -> FoundFace:
    """What is told of a face while it is followed."""
    box = tuple(box_of(track.keypoints).tolist())
    return face_from_keypoints(box, None, track.confidence, track.keypoints, track.number)


def _make_way(stem: str, names: list[str], output: Output) -> None:
    """Raises UserError where results are there already and may not be overwritten."""
    older = [output.folder / name for name in (*names, f"{stem}.csv")]
    older = [file for file in (*older, *_points_of(stem, output.folder)) if file.exists()]
    if older and not output.overwrite:
        raise UserError(
            f"{older[0]}: is there already; add --overwrite or choose another --save-dir"
        )


def _points_of(stem: str, folder: Path) -> list[Path]:
    """The .pts files there that an earlier call wrote for this picture or video."""
    name = re.compile(rf"{re.escape(stem)}(\.frame\d+)?\.face\d+\.pts")
    return [file for file in folder.iterdir() if name.fullmatch(file.name)]


def _write(path: str, json_name: str, size: tuple[int, int], found: Found, output: Output) -> None:
    """The faces of a picture or of all frames of a video, in every format asked for."""
    stem, texts = Path(json_name).stem, {}
    if "json" in output.formats:
        texts[json_name] = "".join(as_json(path, size, faces, frame) for frame, faces in found)
    if "csv" in output.formats:
        rows = "".join(as_csv(path, faces, frame) for frame, faces in found)
        texts[f"{stem}.csv"] = f"{','.join(COLUMNS)}\n{rows}"
    if "pts" in output.formats:
        for file in _points_of(stem, output.folder):  # perhaps of more faces than now
            file.unlink()
        for frame, faces in found:
            of_frame = stem if frame is None else f"{stem}.frame{frame:06d}"
            for place, face in enumerate(faces, start=1):
                texts[f"{of_frame}.face{face.number or place}.pts"] = as_pts(face)
    for name, text in texts.items():
        write_atomically(output.folder / name, lambda file, text=text: file.write(as_bytes(text)))


def as_bytes(text: str) -> bytes:
    """In UTF-8; what is none in a file's name stays as it is there."""
    return text.encode("utf-8", "surrogateescape")


def _names(option: str, asked: str, known: Collection[str]) -> tuple[str, ...]:
    names = tuple(name for name in asked.split(",") if name)
    if unknown := set(names) - set(known):
        raise UserError(f"{option} {','.join(sorted(unknown))}: choose among {', '.join(known)}")
    return names
