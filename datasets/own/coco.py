"""COCO's keypoint format, as CVAT, Label Studio and others export it.

Source: https://cocodataset.org/#format-data. Keypoints count from the middle of the first pixel,
boxes from the picture's edge; a keypoint's third number is 0 where nobody placed it. Annotations
without keypoints, which Label Studio writes for rectangles, do not count.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common.system.errors import UserError
from datasets.annotations import DamagedError, Face, read_text
from datasets.own.labels import NO_BOX, Labels, Pictures, own_face

TITLE = "COCO keypoints JSON"
ENDING = ".json"


def matches(file: Path) -> bool:
    """Whether a file is in this format."""
    text = read_text(file)
    return '"images"' in text and '"annotations"' in text


def labels(files: list[Path]) -> Labels:
    """The labels of one file; raises UserError where it is not as it should be."""
    (file,) = files
    try:
        content = json.loads(read_text(file))
        images = {image["id"]: image for image in content["images"]}
        counted = Counter(image["id"] for image in content["images"])
        categories = [each for each in content["categories"] if each.get("keypoints")]
        names = {tuple(map(str, each["keypoints"])) for each in categories}
        skeleton = categories[0].get("skeleton") or () if categories else ()
        lines = tuple((int(start) - 1, int(end) - 1) for start, end in skeleton)
        ids = {each["id"] for each in categories}
        sources = [each for each in content["annotations"] if each["category_id"] in ids]
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise UserError(f"{file}: not as COCO has it ({fault!r}); export it again") from None
    if twice := [number for number, count in counted.items() if count > 1]:
        raise UserError(f"{file}: {len(twice)} image ids are there twice, the first is {twice[0]}; "
                        "give each image an id of its own")  # fmt: skip
    if not names:
        raise UserError(f"{file}: no category has keypoints; export it as COCO keypoints")
    if len(names) > 1:
        named = " and ".join(str(each.get("name")) for each in categories)
        raise UserError(f"{file}: categories {named} have different keypoints; keep one of them")
    (names,) = names
    sources = [each for each in sources if "keypoints" in each and not each.get("iscrowd")]
    return Labels(names, lines, sources, partial(_face, Pictures(file), file, images, len(names)))


def _face(pictures: Pictures, file: Path, images: dict, count: int, source: dict[str, Any]) -> Face:
    where = f"{file}, annotation {source.get('id')}"
    image = images.get(source.get("image_id"))
    if image is None:
        raise DamagedError(f"{where}: its image, {source.get('image_id')}, is not in the list")
    try:
        values = torch.tensor(source.get("keypoints") or [], dtype=torch.float64)
        box = source.get("bbox")
        box = NO_BOX if box is None else tuple(map(float, box))
    except (TypeError, ValueError):
        raise DamagedError(f"{where}: a coordinate is not a number") from None
    if len(values) != 3 * count:
        raise DamagedError(f"{where}: {len(values) / 3:g} points instead of {count}")
    table = values.view(count, 3)
    points = torch.where(table[:, 2:] > 0, table[:, :2], torch.nan)
    picture = pictures.find(where, image.get("file_name", ""))
    return own_face(where, picture, points, box, str(image.get("group", "")))
