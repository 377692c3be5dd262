"""What a network looks at on one of your own photos: ``python run_part.py explain PHOTO``."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from common.augmentation import to_network_input
from common.faces import upright_boxes
from common.keypoints import IBUG_68
from common.photos.finder import crop_faces
from common.report.explanation_page import Subject, write_explanation
from common.system.errors import UserError
from common.system.files import make_writable
from parts.commands.predict import read
from parts.toolkit import face_keypoints

POINTS = (30, 36, 48, 8)  # nose tip, outer corner of an eye, corner of the mouth, chin


def explain(
    photo: str,
    checkpoint: Path | None = None,
    point: int | None = None,
    detector: str = "haar",
    reports: Path = Path("reports"),
    data: Path | None = None,
    device: str | None = None,
) -> Path:
    """Write ``reports/explain/index.html`` on the surest face of a photo; returns its path.

    Where the network takes nothing for a face, it is that of which the detector is surest.

    checkpoint: of a network for 68 points, by default the one that ships. point: the one that is
    asked about, 0 to 67, by default those of POINTS. data: the folder in which YuNet's file lies.
    Raises UserError where the photo cannot be read or shows no face, where the checkpoint does not
    fit, or where the page cannot be written.
    """
    if point is not None and not 0 <= point < IBUG_68.n_points:
        raise UserError(f"--point {point}: there is no such point; take one from 0 to 67")
    finder = face_keypoints(checkpoint, detector, data, device)
    make_writable(reports / "explain")
    image = read(photo)
    if faces := finder.predict(image):
        boxes, angles = upright_boxes(torch.from_numpy(faces[0].keypoints)[None], IBUG_68)
    elif faces := finder.detect(image):  # a network that has learned little is sure of none
        boxes, angles = torch.tensor([faces[0].box]), torch.tensor([faces[0].angle])
    else:
        raise UserError(f"{photo}: no face found; take another photo or another --detector")
    crops, _ = crop_faces(image, boxes.numpy(), angles.numpy(), finder.recipe)
    where = next(finder.network.parameters()).device
    subject = Subject(
        name="stdin" if photo == "-" else os.fsencode(Path(photo).name).decode(errors="replace"),
        network=finder.network,
        face=to_network_input(crops.to(where), finder.recipe),
        n_faces=len(faces),
    )
    return write_explanation(reports, subject, POINTS if point is None else (point,))
