"""Photos in from files, faces out to files that other programs read: JSON, CSV, ``.pts``, COCO."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.crops import read_picture
from common.keypoints import IBUG_68
from common.photos.finder import FoundFace
from common.system.errors import UserError

COLUMNS = (
    "image", "frame", "time", "face", "left", "top", "width", "height", "score", "confidence",
    "yaw", "pitch", "roll", "eyes_open", "mouth_open",
    *(f"{axis}{index}" for index in range(IBUG_68.n_points) for axis in "xy"),
    *(f"uncertainty{index}" for index in range(IBUG_68.n_points)),
)  # fmt: skip


def read_photo(path: str) -> np.ndarray:
    """A photo as uint8 (H, W, 3), RGB, turned as its EXIF data say.

    path: of a picture, of which an animated one gives its first; "-" reads from stdin.
    Raises UserError where it cannot be decoded whole.
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
        "pose": {name: round(angle, 2) for name, angle in vars(face.pose).items()},
        "eyes_open": round(face.eyes_open, 4),
        "mouth_open": round(face.mouth_open, 4),
    }


def as_json(image: str, stem: str, size: tuple[int, int], found: Found) -> dict[str, str]:
    """A line of JSON for a photo, or one for each frame of a video."""
    height, width = size
    lines = ""
    for moment, faces in found:
        values: dict[str, Any] = {"image": image}
        if moment is not None:
            values |= {"frame": moment.frame, "time": round(moment.time, 4)}
        values |= {"width": width, "height": height, "faces": [as_dict(face) for face in faces]}
        lines += json.dumps(values) + "\n"
    return {f"{stem}.{'json' if found[0][0] is None else 'jsonl'}": lines}


def as_csv(image: str, stem: str, size: tuple[int, int], found: Found) -> dict[str, str]:
    """One line of COLUMNS per face; coordinates as in JSON, counted from 0."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for moment, faces in found:
        frame, time = (None, None) if moment is None else (moment.frame, round(moment.time, 4))
        for place, face in enumerate(map(as_dict, faces), start=1):
            lines.writerow(
                [
                    image, frame, time, face.get("number", place), *face["box"], face["score"],
                    face["confidence"], *face["pose"].values(), face["eyes_open"],
                    face["mouth_open"], *(value for point in face["keypoints"] for value in point),
                    *(face["uncertainty"] or [None] * len(face["keypoints"])),
                ]
            )  # fmt: skip
    return {f"{stem}.csv": text.getvalue()}


def as_pts(image: str, stem: str, size: tuple[int, int], found: Found) -> dict[str, str]:
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
"""Each from the name of a photo or video, the stem of the names of its results, its size (H, W) and
the faces of its frames to the texts of files, by their names."""

Picture = tuple[str, tuple[int, int], Found]
"""The name of a photo or video, its size (H, W) and the faces of its frames."""

COCO = "coco.json"
COCO_CATEGORY = {
    "id": 1,
    "name": "face",
    "supercategory": "person",
    "keypoints": [f"face-{index}" for index in range(IBUG_68.n_points)],  # as COCO-WholeBody
    "skeleton": [
        [start + 1, end + 1] for line in IBUG_68.lines for start, end in pairwise(line)
    ],  # counted from 1
}


def as_coco(pictures: Sequence[Picture]) -> str:
    """The text of one file with all faces, COCO's keypoint format (cocodataset.org/#format-data).

    Every frame of a video is an image. A keypoint in the picture has the flag 2, one outside 1.
    Coordinates are as in JSON: COCO, too, counts keypoints from the middle of the first pixel and
    boxes from its edge.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
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
                        "category_id": COCO_CATEGORY["id"],
                        "keypoints": [value for (x, y), flag in points for value in (x, y, flag)],
                        "num_keypoints": IBUG_68.n_points,
                        "bbox": face["box"],
                        "area": round(face["box"][2] * face["box"][3], 3),
                        "iscrowd": 0,
                        "score": face["confidence"],
                    }
                    | track
                )
    content = {"images": images, "annotations": annotations, "categories": [COCO_CATEGORY]}
    return json.dumps(content) + "\n"
