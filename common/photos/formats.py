"""Photos in from files, faces out to files that other programs read: JSON, CSV, ``.pts``, COCO."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.crops import read_picture
from common.keypoints import IBUG_68, Scheme
from common.photos.finder import FoundFace
from common.system.errors import UserError

with suppress(ImportError):  # the extra "heic"
    import pillow_heif

    pillow_heif.register_heif_opener()

HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # at byte 8
TO_READ_HEIC = 'to read it install: python -m pip install -e ".[heic]", or save it as JPEG'
SEVERAL = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")  # a photo of two lenses is one picture
BEFORE_POINTS = (
    "image", "frame", "time", "face", "left", "top", "width", "height", "score", "confidence",
)  # fmt: skip
MEASURED = ("yaw", "pitch", "roll", "eyes_open", "mouth_open")  # of 68 points alone


def columns(scheme: Scheme = IBUG_68) -> tuple[str, ...]:
    """The columns of ``as_csv`` for faces with the points of ``scheme``."""
    numbers = range(scheme.n_points)
    return (
        *BEFORE_POINTS,
        *(MEASURED if scheme is IBUG_68 else ()),
        *(f"{axis}{index}" for index in numbers for axis in "xy"),
        *(f"uncertainty{index}" for index in numbers),
        "network",
    )


def read_photo(path: str) -> np.ndarray:
    """A photo as uint8 (H, W, 3), RGB, turned as its EXIF data say.

    path: of a picture, of which an animated one gives its first; "-" reads from stdin.
    One line on stderr names an animation, and a file of several pages.
    Raises UserError where it cannot be decoded whole.
    """
    beginning = b""
    try:
        source = io.BytesIO(sys.stdin.buffer.read()) if path == "-" else open(path, "rb")  # noqa: SIM115
        with source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is large, or its notes are damaged
            beginning, _ = source.read(12), source.seek(0)
            pixels = np.asarray(read_picture(source, colour=True))
            with Image.open(source) as picture:
                several = picture.format in SEVERAL and getattr(picture, "n_frames", 1) > 1
                if picture.format == "PNG":
                    picture.verify()  # its checksums, which reading does not compare
        if several:
            print(f"{path}: of several pictures in it the first counts", file=sys.stderr)
        return pixels
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the name") from None
    except UnidentifiedImageError:
        fault = "not a picture" if beginning else "empty"
        if beginning[4:8] == b"ftyp" and beginning[8:] in HEIC:
            raise UserError(f"{path}: a HEIC picture; {TO_READ_HEIC}") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: more than 178 million pixels; make it smaller") from None
    except Exception as damage:  # a damaged picture fails wherever the damage is met first
        if isinstance(damage, OSError) and damage.strerror:
            raise UserError(f"{path}: {damage.strerror}; check its name and permissions") from None
        fault = " ".join(str(damage).split()) or type(damage).__name__
    raise UserError(f"{path}: cannot be read ({fault}); save it again as JPEG or PNG")


class Moment(NamedTuple):
    """A frame of a video."""

    frame: int  # its number, from 0
    time: float  # seconds, as the file says


Found = list[tuple[Moment | None, list[FoundFace]]]
"""The faces of each frame of a video; a photo is one frame without a moment."""


def as_dict(face: FoundFace) -> dict[str, Any]:
    """One face in plain values; pixels to a thousandth, as finer is noise."""
    number = {} if face.number is None else {"number": face.number}
    unsure = None if face.uncertainty is None else face.uncertainty.tolist()
    return number | {
        "box": [round(side, 3) for side in face.box],
        "score": None if face.score is None else round(face.score, 4),
        "confidence": round(face.confidence, 4),
        "keypoints": [[round(x, 3), round(y, 3)] for x, y in face.keypoints.tolist()],
        "uncertainty": None if unsure is None else [round(pixels, 3) for pixels in unsure],
        **(_measured(face) if face.pose is not None else {}),
    }


def _measured(face: FoundFace) -> dict[str, Any]:
    """What follows from 68 points alone."""
    return {
        "pose": {name: round(angle, 2) for name, angle in vars(face.pose).items()},
        "eyes_open": round(face.eyes_open, 4),
        "mouth_open": round(face.mouth_open, 4),
    }


def as_json(
    image: str, stem: str, size: tuple[int, int], found: Found, network: str | None = None
) -> dict[str, str]:
    """A line of JSON for a photo, or one for each frame of a video."""
    height, width = size
    lines = ""
    for moment, faces in found:
        values: dict[str, Any] = {"image": image}
        if moment is not None:
            values |= {"frame": moment.frame, "time": round(moment.time, 4)}
        values |= {} if network is None else {"network": network}
        values |= {"width": width, "height": height, "faces": [as_dict(face) for face in faces]}
        lines += json.dumps(values) + "\n"
    return {f"{stem}.{'json' if found[0][0] is None else 'jsonl'}": lines}


def as_csv(
    image: str, stem: str, size: tuple[int, int], found: Found, network: str | None = None
) -> dict[str, str]:
    """One line of ``columns`` per face; coordinates as in JSON, counted from 0."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns(scheme_of(found)))
    for moment, faces in found:
        frame, time = (None, None) if moment is None else (moment.frame, round(moment.time, 4))
        for place, face in enumerate(map(as_dict, faces), start=1):
            lines.writerow(
                [
                    image, frame, time, face.get("number", place), *face["box"], face["score"],
                    face["confidence"], *face.get("pose", {}).values(),
                    *(face[name] for name in MEASURED if name in face),
                    *(value for point in face["keypoints"] for value in point),
                    *(face["uncertainty"] or [None] * len(face["keypoints"])),
                    network,
                ]
            )  # fmt: skip
    return {f"{stem}.csv": text.getvalue()}


def as_pts(
    image: str, stem: str, size: tuple[int, int], found: Found, network: str | None = None
) -> dict[str, str]:
    """A file per face in the format of 300-W, which counts pixels from 1."""
    texts = {}
    for moment, faces in found:
        of_frame = stem if moment is None else f"{stem}.frame{moment.frame:06d}"
        for place, face in enumerate(faces, start=1):
            rows = "".join(f"{x + 1:.3f} {y + 1:.3f}\n" for x, y in face.keypoints.tolist())
            text = f"version: 1\nn_points: {len(face.keypoints)}\n{{\n{rows}}}\n"
            texts[f"{of_frame}.face{face.number or place}.pts"] = text
    return texts


FORMATS = {"json": as_json, "csv": as_csv, "pts": as_pts}
"""Each from the name of a photo or video, the stem of the names of its results, its size (H, W),
the faces of its frames and the network's name to the texts of files, by their names."""

Picture = tuple[str, tuple[int, int], Found]
"""The name of a photo or video, its size (H, W) and the faces of its frames."""

COCO = "coco.json"


def coco_category(scheme: Scheme = IBUG_68) -> dict[str, Any]:
    """The category of faces with the points of ``scheme``."""
    numbers = range(scheme.n_points)
    names = [scheme.name_of(index) if scheme.point_names else f"face-{index}" for index in numbers]
    return {
        "id": 1,
        "name": "face",
        "supercategory": "person",
        "keypoints": names,  # of unnamed points as COCO-WholeBody's
        "skeleton": [
            [start + 1, end + 1] for line in scheme.lines for start, end in pairwise(line)
        ],  # counted from 1
    }


def scheme_of(found: Found) -> Scheme:
    """Which points the faces of a photo or video have; the 68 where there is no face."""
    return next((face.scheme for _, faces in found for face in faces), IBUG_68)


def as_coco(pictures: Sequence[Picture]) -> str:
    """The text of one file with all faces, COCO's keypoint format (cocodataset.org/#format-data).

    Every frame of a video is an image. A keypoint in the picture has the flag 2, one outside 1.
    Coordinates are as in JSON: COCO, too, counts keypoints from the middle of the first pixel and
    boxes from its edge.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    scheme = scheme_of([frame for _, _, found in pictures for frame in found])
    for name, (height, width), found in pictures:
        for moment, faces in found:
            image = {"id": len(images) + 1, "file_name": name, "width": width, "height": height}
            images.append(image | ({} if moment is None else {"frame": moment.frame}))
            for face in map(as_dict, faces):
                inside = [
                    2 if -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5 else 1
                    for x, y in face["keypoints"]
                ]
                points = zip(face["keypoints"], inside, strict=True)
                track = {"track_id": face["number"]} if "number" in face else {}
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image["id"],
                        "category_id": 1,
                        "keypoints": [value for (x, y), flag in points for value in (x, y, flag)],
                        "num_keypoints": len(face["keypoints"]),
                        "bbox": face["box"],
                        "area": round(face["box"][2] * face["box"][3], 3),
                        "iscrowd": 0,
                        "score": face["confidence"],
                    }
                    | track
                )
    content = {"images": images, "annotations": annotations, "categories": [coco_category(scheme)]}
    return json.dumps(content) + "\n"
