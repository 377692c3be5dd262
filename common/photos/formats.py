"""Photos in from files, faces out to files that other programs read: JSON, CSV and ``.pts``."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.crops import read_picture
from common.keypoints import IBUG_68
from common.photos.finder import FoundFace
from common.system.errors import UserError

with suppress(ImportError):  # the extra "heic"
    import pillow_heif

    pillow_heif.register_heif_opener()

HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # at byte 8
TO_READ_HEIC = 'to read it install: python -m pip install -e ".[heic]", or save it as JPEG'
SEVERAL = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")  # a photo of two lenses is one picture
COLUMNS = (
    "image", "frame", "face", "left", "top", "width", "height", "score", "confidence",
    "yaw", "pitch", "roll", "eyes_open", "mouth_open",
    *(f"{axis}{index}" for index in range(IBUG_68.n_points) for axis in "xy"),
    "network",
)  # fmt: skip


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


Found = list[tuple[int | None, list[FoundFace]]]
"""The faces of each frame with its number, from 0; a photo is one frame without a number."""


def as_dict(face: FoundFace) -> dict[str, Any]:
    """One face in plain values; pixels to a thousandth, as finer is noise."""
    number = {} if face.number is None else {"number": face.number}
    return number | {
        "box": [round(side, 3) for side in face.box],
        "score": None if face.score is None else round(face.score, 4),
        "confidence": round(face.confidence, 4),
        "keypoints": [[round(x, 3), round(y, 3)] for x, y in face.keypoints.tolist()],
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
    for frame, faces in found:
        values: dict[str, Any] = {"image": image} | ({} if frame is None else {"frame": frame})
        values |= {} if network is None else {"network": network}
        values |= {"width": width, "height": height, "faces": [as_dict(face) for face in faces]}
        lines += json.dumps(values) + "\n"
    return {f"{stem}.{'json' if found[0][0] is None else 'jsonl'}": lines}


def as_csv(
    image: str, stem: str, size: tuple[int, int], found: Found, network: str | None = None
) -> dict[str, str]:
    """One line of COLUMNS per face; coordinates as in JSON, counted from 0."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for frame, faces in found:
        for place, face in enumerate(map(as_dict, faces), start=1):
            lines.writerow(
                [
                    image, frame, face.get("number", place), *face["box"], face["score"],
                    face["confidence"], *face["pose"].values(), face["eyes_open"],
                    face["mouth_open"], *(value for point in face["keypoints"] for value in point),
                    network,
                ]
            )  # fmt: skip
    return {f"{stem}.csv": text.getvalue()}


def as_pts(
    image: str, stem: str, size: tuple[int, int], found: Found, network: str | None = None
) -> dict[str, str]:
    """A file per face in the format of 300-W, which counts pixels from 1."""
    texts = {}
    for frame, faces in found:
        of_frame = stem if frame is None else f"{stem}.frame{frame:06d}"
        for place, face in enumerate(faces, start=1):
            rows = "".join(f"{x + 1:.3f} {y + 1:.3f}\n" for x, y in face.keypoints.tolist())
            text = f"version: 1\nn_points: {len(face.keypoints)}\n{{\n{rows}}}\n"
            texts[f"{of_frame}.face{face.number or place}.pts"] = text
    return texts


FORMATS = {"json": as_json, "csv": as_csv, "pts": as_pts}
"""Each from the name of a photo or video, the stem of the names of its results, its size (H, W),
the faces of its frames and the network's name to the texts of files, by their names."""
