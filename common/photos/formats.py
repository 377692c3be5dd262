"""What was found, as files that other programs read: JSON, CSV and ``.pts``."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from common.keypoints import IBUG_68
from common.photos.finder import FoundFace

COLUMNS = (
    "image", "frame", "face", "left", "top", "width", "height", "score", "confidence",
    "yaw", "pitch", "roll", "eyes_open", "mouth_open",
    *(f"{axis}{index}" for index in range(IBUG_68.n_points) for axis in "xy"),
)  # fmt: skip


def as_dict(face: FoundFace) -> dict[str, Any]:
    """One face in plain values; pixels to a thousandth, as finer is noise."""
    followed = {} if face.number is None else {"number": face.number}
    return followed | {
        "box": [round(side, 3) for side in face.box],
        "score": None if face.score is None else round(face.score, 4),
        "confidence": round(face.confidence, 4),
        "keypoints": [[round(x, 3), round(y, 3)] for x, y in face.keypoints.tolist()],
        "pose": {
            "yaw": round(face.pose.yaw, 2),
            "pitch": round(face.pose.pitch, 2),
            "roll": round(face.pose.roll, 2),
        },
        "eyes_open": round(face.eyes_open, 4),
        "mouth_open": round(face.mouth_open, 4),
    }


def as_json(
    image: str, size: tuple[int, int], faces: list[FoundFace], frame: int | None = None
) -> str:
    """One picture of ``size`` (H, W), or one frame of a video, as a line of JSON."""
    height, width = size
    told: dict[str, Any] = {"image": image} if frame is None else {"image": image, "frame": frame}
    told |= {"width": width, "height": height, "faces": [as_dict(face) for face in faces]}
    return json.dumps(told) + "\n"


def as_csv(image: str, faces: list[FoundFace], frame: int | None = None) -> str:
    """One line of COLUMNS per face; coordinates as in JSON, counted from 0."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    for place, face in enumerate(map(as_dict, faces), start=1):
        number = face.get("number", place)
        places = [value for point in face["keypoints"] for value in point]
        others = (face["score"], face["confidence"], *face["pose"].values())
        opened = (face["eyes_open"], face["mouth_open"])
        lines.writerow([image, frame, number, *face["box"], *others, *opened, *places])
    return text.getvalue()


def as_pts(face: FoundFace) -> str:
    """One face in the format of 300-W, which counts pixels from 1."""
    rows = "".join(f"{x + 1:.3f} {y + 1:.3f}\n" for x, y in face.keypoints.tolist())
    return f"version: 1\nn_points: {len(face.keypoints)}\n{{\n{rows}}}\n"
