"""Recognises the format of your own labels and reads them into ``Faces``."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from common.crops import transform_points
from common.faces import Faces, landmark_boxes
from common.keypoints import fit_similarity
from common.metrics import known_mean
from common.system.errors import UserError
from datasets.annotations import gather, picture_size
from datasets.own import coco, dlib_xml, points_csv, pts
from datasets.own.scheme import scheme_of

FORMATS: tuple[ModuleType, ...] = (coco, dlib_xml, points_csv, pts)
# Each has TITLE; ENDING of its files; matches(file), whether it is in the format; and
# labels(files), see ``labels.Labels``.
SEVERAL = (pts, points_csv)  # of which a folder may hold many files
MANY = 20  # groups; more are not rows of a page
REMEDY = "correct or remove these labels"


def load(path: Path, pairs: str | None = None) -> Faces:
    """The faces of a file or folder of your own; decodes nothing.

    pairs: see ``scheme.scheme_of``.
    Boxes that the labels lack are those of the points, with missing ones where the mean shape has
    them. A group is what the labels call so, else the picture's folder, else the picture.
    Two lines on stderr say what was recognised; each face without a point is named in ``left_out``.
    Raises UserError where nothing can be read, or more than 1 % of the faces are damaged.
    """
    form, files = recognise(path)
    labels = form.labels(files)
    folder = path if path.is_dir() else path.parent
    scheme, about = scheme_of(labels.names, labels.lines, folder, pairs)
    faces = gather(f"own-{path.stem}", "", scheme, labels.sources, labels.read, REMEDY)
    if never := (~faces.points.isfinite()).all(dim=0).any(dim=-1).nonzero().flatten().tolist():
        raise UserError(f"{path}: no face has point {scheme.name_of(never[0])}; leave it out")
    shown = f"{path}: {form.TITLE}, {len(faces)} faces, {scheme.n_points} points"
    if missing := int((~faces.points.isfinite()).any(dim=-1).sum()):
        shown += f", {100 * missing / faces.points[..., 0].numel():.2g} % of them missing"
    print(f"{shown}\n{about}", file=sys.stderr)
    groups = _groups(faces)
    views = groups if 1 < len({*groups}) <= MANY else ("all",) * len(faces)
    boxes = torch.where(faces.boxes.isnan(), boxes_of_points(faces), faces.boxes)
    return replace(faces, dataset=str(path), groups=groups, views=views, boxes=boxes)


def recognise(path: Path) -> tuple[ModuleType, list[Path]]:
    """The format of a file or of those in a folder, and the files.

    Raises UserError where it is none, or there are two.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found: dict[ModuleType, list[Path]] = defaultdict(list)
    for file in files:
        for form in FORMATS:
            ours = file.suffix.lower() == form.ENDING and file.is_file() and file.name[0] != "."
            if ours and form.matches(file):
                found[form].append(file)
    if not found:
        known = ", ".join(form.TITLE for form in FORMATS)
        raise UserError(f"{path}: none of {known}; docs/your_own_points.md describes them")
    if len(found) > 1:
        both = " and ".join(f"{form.TITLE} ({of[0]})" for form, of in found.items())
        raise UserError(f"{path}: two formats at once, {both}; name one file, or move the other")
    ((form, files),) = found.items()
    if len(files) > 1 and form not in SEVERAL:
        raise UserError(f"{path}: {len(files)} files of {form.TITLE}; name one, such as {files[0]}")
    return form, files


def _groups(faces: Faces) -> tuple[str, ...]:
    """What the labels call a group, else the folders of the pictures where there are several, else
    the pictures."""
    if all(faces.groups):
        return faces.groups
    folders = tuple(file.parent.name for file in faces.files)
    return folders if len({*folders}) > 1 else tuple(map(str, faces.files))


def boxes_of_points(faces: Faces) -> Tensor:
    """Boxes (N, 4) about the points; of a single point, or of points in one place, the picture."""
    boxes = landmark_boxes(completed(faces.points))
    for face in (boxes[:, 2:].amax(dim=1) < 1).nonzero().flatten().tolist():
        boxes[face] = torch.tensor([0, 0, *picture_size(faces.files[face])])
    return boxes


def completed(points: Tensor) -> Tensor:
    """Points (N, K, 2) with the missing ones, NaN, where the mean shape has them, after the
    similarity transform that moves it onto the others; after a shift where these are two or
    one."""
    boxes = landmark_boxes(points)  # (N, 4)
    sides = boxes[:, 2:].amax(dim=1).clamp(min=1)  # (N,)
    middles = boxes[:, :2] + boxes[:, 2:] / 2  # (N, 2)
    shape = known_mean((points - middles[:, None]) / sides[:, None, None], 0)  # (K, 2)
    points = points.clone()
    for face in points.isnan().any(dim=(1, 2)).nonzero().flatten().tolist():
        known = points[face].isfinite().all(dim=-1)
        if known.sum() > 2:
            matrix = fit_similarity(shape[known], points[face, known])
            moved = transform_points(shape[None], matrix[None])[0]
        else:
            moved = shape * sides.median()
            moved += (points[face, known] - moved[known]).mean(dim=0)
        points[face, ~known] = moved[~known]
    return points
