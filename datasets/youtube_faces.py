"""Frames of YouTube Faces with 68 points, as Udacity's computer vision course distributes them.

Source: https://s3.amazonaws.com/video.udacity-data.com/topher/2018/May/5aea1b91_train-test-data/
train-test-data.zip, frames of the YouTube Faces dataset (https://www.cs.tau.ac.il/~wolf/ytfaces/).
Research only; cite L. Wolf, T. Hassner, I. Maoz, "Face Recognition in Unconstrained Videos with
Matched Background Similarity", CVPR 2011.

Frames are RGB, 72x87 to 494x478 pixels, cut around one face whose points take up about 0.44 of
the shorter side, and called ``Person_Name_VF.jpg``: video V, frame F. Of the 2308 test frames only
770 are in the list of labels; the others have no points and are not read.

Traps, counted over all labelled frames:

- Training and test show the same 347 people in the same 770 videos, so that the test error is that
  of known people, lower than that of new ones; two test frames, Carlos_Iturgaitz_31 and
  Poala_Suarez_51, are training frames byte for byte. ``load`` keeps every tenth person out of
  "train", and marks every test frame by whether its person is in "train".
- Points are whole pixels, with eyes 43 pixels apart in the median: rounding alone costs about
  0.9 % NME. They look like a program's predictions: points of the far side of a face are guessed,
  and six training faces have points outside the frame.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68
from common.system.errors import UserError
from datasets.annotations import DamagedError, Face, check_points, gather, picture_size, placed
from datasets.download import RemoteFile
from datasets.location import data_folder, not_found

TITLE = "YouTube Faces, as Udacity's course distributes them: 4232 frames with 68 points"
LICENCE = "research only; cite Wolf, Hassner, Maoz, CVPR 2011"
FOLDER = "youtube_faces"
ARCHIVE = RemoteFile(
    name="train-test-data.zip",
    url="https://s3.amazonaws.com/video.udacity-data.com/topher/2018/May/"
    "5aea1b91_train-test-data/train-test-data.zip",
)

LISTS = {"training": "training_frames_keypoints.csv", "test": "test_frames_keypoints.csv"}
MARKER = LISTS["training"]
FRAMES = {"training": 3462, "test": 770}  # with points, in the complete set
SPLITS = ("train", "validation", "training", "test")
KNOWN, NEW = "person in training", "new person"  # views
HELD_OUT = 10  # every tenth person, by name, is kept out of "train"


def find(root: Path) -> Path | None:
    """The folder below ``root`` that holds the frames: ours, or the course's own ``data``."""
    folders = [root / FOLDER, root / FOLDER / "data", root / "data"]
    return next((folder for folder in folders if (folder / MARKER).is_file()), None)


def load(data: Path | None, split: str) -> Faces:
    """The faces of one split; decodes no picture.

    data: see ``location.data_folder``.
    split: "training", the course's 3462 training frames; "train" and "validation", those without
        and those of every tenth person; "test", the 770 test frames that have points.
    Returns points (N, 68, 2) in whole pixels, boxes around them, the person as group, and as view
    ``KNOWN`` if "train" has frames of the person, else ``NEW``.
    Raises UserError where the set or a list is missing, the split is unknown, or more than 1 % of
    the faces are damaged.
    """
    folder = find(data_folder(data)[0])
    if folder is None:
        raise UserError(not_found("youtube_faces", FOLDER, data))
    if split not in SPLITS:
        raise UserError(f"--split {split}: youtube_faces has {', '.join(SPLITS)}")
    faces = _gather(folder, split)
    if split in ("test", "training"):
        return faces
    wanted = KNOWN if split == "train" else NEW
    return faces.take([i for i, view in enumerate(faces.views) if view == wanted])


def people_in_both(train: Faces, test: Faces) -> str:
    """One sentence: how many of the test frames show people of the training frames."""
    known = set(train.groups)
    frames = sum(person in known for person in test.groups)
    both = len(known & set(test.groups))
    return (
        f"{both} of the {len(set(test.groups))} people of the test frames are in the training "
        f"frames, too: {frames} of the {len(test)} test frames show somebody whom the network "
        f"was trained on, {len(test) - frames} somebody new."
    )


def counts(folder: Path) -> dict[str, tuple[int, int]]:
    """Frames with points (in the list, in the complete set) of each list."""
    return {part: (len(_rows(folder, part)), complete) for part, complete in FRAMES.items()}


def verify(folder: Path) -> list[str]:
    """Read every list and every frame's header; returns warnings, one a line.

    Raises UserError where frames are missing or more than 1 % are damaged.
    """
    for part, (count, complete) in counts(folder).items():
        if count < complete:
            raise UserError(f"youtube_faces: {LISTS[part]} lists {count} of {complete} frames")
    return [line for part in LISTS for line in _gather(folder, part).left_out]


def _gather(folder: Path, split: str) -> Faces:
    """All faces in the list that ``split`` is taken from."""
    held_out = sorted({_person(row[0]) for row in _rows(folder, "training")})[::HELD_OUT]
    part = "test" if split == "test" else "training"
    read = partial(_read, folder / part, held_out)
    return gather("youtube_faces", split, IBUG_68, _rows(folder, part), read)


def _rows(folder: Path, part: str) -> list[list[str]]:
    """The rows of a list below its header: a frame's name and 136 coordinates."""
    file = folder / LISTS[part]
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            rows = [row for row in csv.reader(lines) if row][1:]
        if rows and len(rows[0]) == 1:
            raise UserError(f"{file}: its columns are not separated by commas; unpack it again")
        return rows
    except OSError as fault:
        raise UserError(f"{file}: {fault.strerror}; unpack the data set again") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{file}: not a list of frames; unpack the data set again") from None


def _read(folder: Path, held_out: Sequence[str], row: Sequence[str]) -> Face:
    file = folder / row[0]
    pairs = list(zip(row[1::2], row[2::2], strict=False))
    points = check_points(file, placed(file, pairs), IBUG_68, picture_size(file))
    person = _person(row[0])
    if not person:
        raise DamagedError(f"{file}: the name does not give the person, like Some_Body_01.jpg")
    box = landmark_boxes(points[None])[0]
    view = NEW if person in held_out else KNOWN
    return Face(file, points, tuple(box.tolist()), person, view)


def _person(name: str) -> str:
    """The person whom a frame shows, by its name; "" if the name has no "_"."""
    return Path(name).stem.rpartition("_")[0]
