"""The training and test faces of a part, by the data set's name."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from common.crops import adjust_box
from common.faces import Faces
from common.keypoints import Scheme
from common.system.errors import NotHereError, UserError
from datasets import ibug, imm, youtube_faces
from datasets.location import find_folder, not_found, require_folder
from datasets.own import reading
from datasets.own.split import train_and_test as split_own
from datasets.synthetic import cached

FOLDERS = {"imm": imm.FOLDER, "ibug": ibug.FOLDER}
SETTINGS = {"imm": "portrait", "ibug": "crop"}  # the synthetic faces that take a set's place
ALSO = {"imm": ("synthetic",), "ibug": ("synthetic", "mixed", "youtube_faces")}  # for --dataset


def is_own(dataset: str | None) -> bool:
    """Whether ``--dataset`` names a file or folder of your own; names of data sets come first."""
    known = {*FOLDERS, *ALSO["ibug"]}
    return dataset is not None and dataset not in known and Path(dataset).exists()


def train_and_test(usual: str, requested: str | None, data: Path | None) -> tuple[Faces, Faces]:
    """The training and the test faces of a part; decodes nothing.

    usual: the part's own data set, "imm" (persons 1-32, 33-40) or "ibug" (300-W by folder, see
        ``ibug.SPLITS``).
    requested: what ``--dataset`` names: that set or "synthetic"; beside "ibug" also "mixed", real
        and synthetic faces for training and real ones for testing, and "youtube_faces", whose
        validation people are not trained on. None takes the usual set, or synthetic faces, with
        a line, where it is missing.
    data: the folder below which data sets lie; None means FACE_DATA, else datasets/files.
    Raises UserError where the requested data set is missing or not one for this part.
    """
    chosen = requested or usual
    if requested is None and find_folder(data, FOLDERS[usual]) is None:
        missing = not_found(usual, FOLDERS[usual], data)
        print(f"{missing}; going on with synthetic faces", file=sys.stderr)
        chosen = "synthetic"
    known = (usual, *ALSO[usual])
    if chosen not in known:
        own = ", or the path of your own labels" if usual == "ibug" else ""
        raise UserError(f"--dataset {chosen}: not for this part; it takes {', '.join(known)}{own}")
    scheme = cached.SCHEMES[SETTINGS[usual]]
    train, test = (split(chosen, name, data, "landmarks", scheme) for name in ("train", "test"))
    return (_both(train, cached.load("crop", "train")) if chosen == "mixed" else train), test


def split(
    dataset: str, name: str, data: Path | None, boxes: str, scheme: Scheme, seed: int = 0
) -> Faces:
    """The faces of one split.

    boxes: "landmarks", where IMM's box is the whole picture; or, of 300-W alone, "file": dlib's
        boxes, moved to where landmark boxes lie on average.
    scheme: decides in which setting faces are rendered; your own are read as of these points where
        they have the same names.
    seed: of the split of your own faces.
    Raises UserError for an unknown set or split, and NotHereError for boxes it has not.
    """
    if boxes == "file" and dataset not in ("ibug", "mixed"):
        raise NotHereError(f"--boxes file: {dataset} has no boxes of its own; leave it out")
    if dataset == "synthetic":
        if name not in ("train", "test"):
            raise UserError(f"--split {name}: synthetic faces have train, test")
        setting = next(key for key, points in cached.SCHEMES.items() if points is scheme)
        return cached.load(setting, name)
    if dataset in ("ibug", "mixed"):
        faces = ibug.load(data, name, boxes=boxes)
        if boxes == "file":
            fitted = adjust_box(faces.boxes, *ibug.FILE_BOX_FIT)
            faces = replace(faces, name=f"{faces.name}-file", boxes=fitted)  # a cache of its own
        return faces
    if dataset == "youtube_faces":
        return youtube_faces.load(data, name)
    if is_own(dataset):
        faces = reading.load(Path(dataset))
        train, test, _ = split_own(faces, seed)
        if faces.scheme.point_names == scheme.point_names:
            train, test, faces = (replace(each, scheme=scheme) for each in (train, test, faces))
        return _named({"all": faces, "train": train, "test": test}, name, dataset)
    if dataset != "imm":
        known = ", ".join((*FOLDERS, "youtube_faces", "synthetic"))
        raise UserError(f"--dataset {dataset}: no such data set; known are {known}")
    faces = imm.load(data)
    train, test = imm.train_and_test(faces)
    return _named({"all": faces, "train": train, "test": test}, name, dataset)


def protocols(data: Path | None) -> dict[str, str]:
    """The ways to be tested on 300-W whose pictures are there, and what each consists of."""
    folder = require_folder("ibug", ibug.FOLDER, data)
    known = ibug.SPLITS | {name: (name,) for name in ibug.SPLITS["full"]}
    there = {
        name: "one folder" if parts == (name,) else " + ".join(parts)
        for name, parts in known.items()
        if name != "train" and all((folder / part).is_dir() for part in parts)
    }
    if (folder / ibug.LISTS["dlib/test"]).is_file():
        there["dlib/test"] = "dlib's own list, a random part of all folders"
    return there


def _named(parts: dict[str, Faces], name: str, dataset: str) -> Faces:
    if name not in parts:
        raise UserError(f"--split {name}: {dataset} has {', '.join(parts)}")
    return parts[name]


def _both(real: Faces, more: Faces) -> Faces:
    return replace(
        real,
        name="mixed/train",
        dataset="mixed",
        files=real.files + more.files,
        points=torch.cat([real.points, more.points]),
        boxes=torch.cat([real.boxes, more.boxes]),
        groups=real.groups + more.groups,
        views=real.views + more.views,
    )
