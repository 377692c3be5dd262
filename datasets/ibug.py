"""iBUG 300-W as dlib distributes it: faces in the wild, 68 points each.

Source: http://dlib.net/files/data/ibug_300W_large_face_landmark_dataset.tar.gz (about 1.7 GB),
the pictures of https://ibug.doc.ic.ac.uk/resources/300-W/ plus a ``_mirror`` copy of each and two
lists with dlib's boxes. Research only, no commercial use; cite C. Sagonas, G. Tzimiropoulos,
S. Zafeiriou, M. Pantic, "300 Faces in-the-Wild Challenge", ICCV Workshops 2013.

The standard protocol goes by folder: 3148 faces for training, 689 for testing, of which 554 are
"common" and 135 "challenging". dlib's own two lists are a random split of all of them: 596 of the
689 standard test faces are in dlib's training list.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68
from common.system.errors import NotHereError, UserError
from datasets.annotations import (
    PICTURE_ENDINGS,
    DamagedError,
    Face,
    check_points,
    gather,
    numbers,
    picture_size,
    placed,
    read_text,
)
from datasets.download import RemoteFile
from datasets.location import find_folder, require_folder

TITLE = "iBUG 300-W: 3837 faces in the wild, 68 points"
LICENCE = "research only, no commercial use; cite Sagonas et al., ICCV Workshops 2013"
FOLDER = "ibug_300W_large_face_landmark_dataset"
ARCHIVE = RemoteFile(
    name="ibug_300W_large_face_landmark_dataset.tar.gz",
    url="http://dlib.net/files/data/ibug_300W_large_face_landmark_dataset.tar.gz",
)

FOLDERS = {  # faces in the complete set, mirror copies not counted
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
}
SPLITS = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
}
LISTS = {"dlib/train": "labels_ibug_300W_train.xml", "dlib/test": "labels_ibug_300W_test.xml"}
MARKER = LISTS["dlib/train"]

FILE_BOX_FIT = (0.021, 0.102, 0.974)
"""From the lists' boxes to landmark boxes, see ``crops.adjust_box``: medians over the 3105
training faces. The centres scatter by 9 % and 5 % of the side, the sides by 8 %."""
SAME_FACE = 0.1  # eye distances; two annotations with a smaller mean distance are of one face

Entry = tuple[str, ET.Element]  # a picture's name in an XML list, and the box of one face on it


def find(root: Path) -> Path | None:
    """The data set's folder below ``root``, None if it is not there."""
    return find_folder(root, FOLDER)


def load(data: Path | None, split: str, mirror: bool = False, boxes: str = "landmarks") -> Faces:
    """The faces of one split; decodes nothing.

    data: see ``location.data_folder``.
    split: "train" (afw, helen/trainset, lfpw/trainset), "common", "challenging" or "full", whose
        folders must all be there; "test", those folders of "full" that are there; one folder,
        such as "helen/testset"; or "dlib/train" and "dlib/test", the two XML lists.
    mirror: include dlib's ``_mirror`` copies.
    boxes: "landmarks", the bounding box of the points, or "file", the box that either XML list
        gives for the face; one line of ``left_out`` names the faces without one.
    Returns points (N, 68, 2), those of the XML lists rounded to whole pixels; the folder is each
    face's group and view.
    Raises UserError where the set, a folder or a list is missing, or more than 1 % of the faces
    are damaged.
    """
    folder = require_folder("ibug", FOLDER, data)
    if boxes not in ("landmarks", "file"):
        raise UserError(f"ibug: no boxes called {boxes}; choose landmarks or file")
    return _load(folder, split, mirror, boxes == "file")


def read_pts(file: Path) -> Tensor:
    """The points of a ``.pts`` file, float64 (rows, 2), counted from 0 instead of the file's 1.

    The header (``version``, ``n_points``, braces) may be missing. Raises DamagedError.
    """
    return placed(file, pts_rows(file)) - 1


def pts_rows(file: Path) -> list[list[str]]:
    """The words of each point's line in a ``.pts`` file."""
    inside = read_text(file).rpartition("{")[2].partition("}")[0]
    return [words for line in inside.splitlines() if (words := line.split())]


def counts(folder: Path) -> dict[str, tuple[int, int]]:
    """Annotation files (in the folder, in the complete set) of train, test and every folder."""
    files = {name: len(_pairs(folder / name, mirror=False)) for name in FOLDERS}
    found = {"train": SPLITS["train"], "test": SPLITS["full"]} | {name: (name,) for name in FOLDERS}
    return {
        split: (sum(files[name] for name in names), sum(FOLDERS[name] for name in names))
        for split, names in found.items()
    }


def verify(folder: Path) -> list[str]:
    """Read every annotation and every picture's header; returns warnings, one a line.

    Raises UserError where a folder holds fewer faces than the complete set, a list is missing or
    more than 1 % of the faces are damaged.
    """
    for name, (count, complete) in counts(folder).items():
        if count < complete:
            raise UserError(f"ibug: {name} holds {count} of {complete} faces")
    splits = [_load(folder, split, mirror=True, file_boxes=False) for split in (*FOLDERS, *LISTS)]
    return [line for faces in splits for line in faces.left_out]


def _load(folder: Path, split: str, mirror: bool, file_boxes: bool) -> Faces:
    if split in LISTS:
        entries = xml_entries(folder / LISTS[split])
        if not mirror:
            entries = [entry for entry in entries if not _is_mirror(Path(entry[0]))]
        faces = gather("ibug", split, IBUG_68, entries, partial(_read_entry, folder))
        return faces if file_boxes else replace(faces, boxes=landmark_boxes(faces.points))
    names = _folders(folder, split)
    pairs = [(name, *pair) for name in names for pair in _pairs(folder / name, mirror)]
    faces = gather("ibug", split, IBUG_68, pairs, _read_pair)
    return _with_file_boxes(folder, faces) if file_boxes else faces


def _folders(folder: Path, split: str) -> tuple[str, ...]:
    """The names of the folders of a split; raises UserError where one is missing."""
    if split == "test":
        names = tuple(name for name in SPLITS["full"] if (folder / name).is_dir())
        if not names:
            raise UserError(f"{folder}: none of {', '.join(SPLITS['full'])} is there")
        return names
    names = SPLITS.get(split, (split,))
    for name in names:
        if not (folder / name).is_dir():
            known = ", ".join(("test", *SPLITS, *FOLDERS, *LISTS))
            raise UserError(f"{folder / name}: no such folder for split {split}; known are {known}")
    return names


def _pairs(folder: Path, mirror: bool) -> list[tuple[Path, Path | None]]:
    """Each annotation of a folder, sorted, and its picture, None where it is missing."""
    files = sorted(folder.glob("*"))
    pictures = {file.stem: file for file in files if file.suffix.lower() in PICTURE_ENDINGS}
    return [
        (file, pictures.get(file.stem))
        for file in files
        if file.suffix.lower() == ".pts" and (mirror or not _is_mirror(file))
    ]


def _read_pair(pair: tuple[str, Path, Path | None]) -> Face:
    name, file, picture = pair
    if picture is None:
        raise DamagedError(f"{file}: no picture of that name beside it")
    points = check_points(file, read_pts(file), IBUG_68, picture_size(picture))
    return Face(picture, points, tuple(landmark_boxes(points[None])[0].tolist()), name, name)


def xml_entries(file: Path) -> list[Entry]:
    """All faces of an XML list; a picture may have several."""
    try:
        pictures = ET.parse(file).getroot().iter("image")
    except OSError as fault:
        kind = NotHereError if isinstance(fault, FileNotFoundError) else UserError
        raise kind(f"{file}: {fault.strerror}; unpack the data set again") from None
    except (ET.ParseError, LookupError, ValueError) as fault:  # also an unknown encoding
        raise UserError(f"{file}: not whole ({fault}); unpack the data set again") from None
    return [(picture.get("file", ""), box) for picture in pictures for box in picture.iter("box")]


def _read_entry(folder: Path, entry: Entry) -> Face:
    """One face of an XML list, whose points count pixels from 0.

    The left edge of pixel ``left`` lies ``left`` pixels from the picture's edge, so the box needs
    no conversion.
    """
    name, box = entry
    file = folder / name
    parts = sorted(box.iter("part"), key=lambda part: part.get("name", "").zfill(2))
    points = placed(file, [(part.get("x", ""), part.get("y", "")) for part in parts])
    if len({part.get("name", "").zfill(2) for part in parts}) < len(parts):
        raise DamagedError(f"{file}: one of its points is twice in the list")
    points = check_points(file, points, IBUG_68, picture_size(file))
    sides = [box.get(side, "") for side in ("left", "top", "width", "height")]
    left, top, width, height = numbers(file, [sides[:2], sides[2:]]).flatten().tolist()
    if not (width > 0 and height > 0):
        raise DamagedError(f"{file}: its box in the list is {width:g} x {height:g} pixels")
    parent = Path(name).parent.as_posix()
    return Face(file, points, (left, top, width, height), parent, parent)


def _with_file_boxes(folder: Path, faces: Faces) -> Faces:
    """Replace landmark boxes by those of the XML list that names the picture."""
    entries: dict[Path, list[Entry]] = defaultdict(list)
    for name in LISTS.values():
        for entry in xml_entries(folder / name):
            entries[folder / entry[0]].append(entry)
    limits = SAME_FACE * IBUG_68.eye_distance(faces.points)  # (N,)
    boxes: dict[int, tuple[float, float, float, float]] = {}
    for index, file in enumerate(faces.files):
        for entry in entries[file]:
            try:
                listed = _read_entry(folder, entry)
            except DamagedError:
                continue
            if (listed.points - faces.points[index]).norm(dim=-1).mean() < limits[index]:
                boxes[index] = listed.box
    if not boxes:
        raise NotHereError(f"{faces.name}: no face has a box in {' or '.join(LISTS.values())}")
    without = [str(f.relative_to(folder)) for i, f in enumerate(faces.files) if i not in boxes]
    line = f"{len(without)} faces have no box in dlib's lists: {', '.join(without)}"
    left_out = (*faces.left_out, line) if without else faces.left_out
    boxed = faces.take(list(boxes))
    return replace(boxed, boxes=torch.tensor(list(boxes.values())), left_out=left_out)


def _is_mirror(file: Path) -> bool:
    return file.stem.endswith("_mirror")
