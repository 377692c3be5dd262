"""``python run_part.py explain PHOTO``: what a network looks at on one of your own photos."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from common.augmentation import to_network_input
from common.faces import upright_boxes
from common.keypoints import IBUG_68
from common.photos.finder import crop_faces
from common.photos.formats import read_photo
from common.photos.own_points import OwnPoints
from common.report.explanation_page import Subject, write_explanation
from common.system.errors import UserError
from common.system.files import make_writable
from parts.commands.options import add_boxes, add_finder, add_reports
from parts.toolkit import choose_network, point_finder

FEW = 4  # of your own points are shown
POINTS = (30, 36, 48, 8)  # nose tip, outer corner of an eye, corner of the mouth, chin


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``explain``."""
    add_finder(parser)
    add_reports(parser)
    parser.add_argument("photo", metavar="PHOTO", help="picture, or - for stdin")
    parser.add_argument("--point", type=int, metavar="N", help="its number (default: some)")
    add_boxes(parser)


def run(options: argparse.Namespace) -> None:
    """Write ``reports/explain/index.html`` on the most confident face of a photo, print its path.

    Raises UserError where the photo cannot be read or shows no face, where the checkpoint does not
    fit, or where the page cannot be written.
    """
    photo, point = options.photo, options.point
    page = options.reports / "explain"
    if Path(photo).resolve().is_relative_to(page.resolve()):
        raise UserError(f"{photo}: would be replaced by the page; choose another --reports")
    trained = choose_network(options.checkpoint, options.reports)
    finder = point_finder(
        trained, options.boxes, options.detector, options.data, options.device
    )  # fmt: skip
    scheme = finder.scheme if isinstance(finder, OwnPoints) else IBUG_68
    if point is not None and not 0 <= point < scheme.n_points:
        last = scheme.n_points - 1
        raise UserError(f"--point {point}: there is no such point; take one from 0 to {last}")
    make_writable(page)
    image = read_photo(photo)
    if isinstance(finder, OwnPoints):
        boxes, angles, faces = finder.place(photo, image)
    elif faces := finder.predict(image):
        boxes, angles = upright_boxes(torch.from_numpy(faces[0].keypoints)[None], IBUG_68)
    elif faces := finder.detect(image):  # a network that has learned little is confident of none
        boxes, angles = torch.tensor([faces[0].box]), torch.tensor([faces[0].angle])
    if not len(faces):
        raise UserError(f"{photo}: no face found; take another photo or another --detector")
    crops, _ = crop_faces(image, boxes[:1].numpy(), angles[:1].numpy(), finder.recipe)
    device = next(finder.network.parameters()).device
    subject = Subject(
        name="stdin" if photo == "-" else os.fsencode(Path(photo).name).decode(errors="replace"),
        network=finder.network,
        checkpoint=trained.name,
        face=to_network_input(crops.to(device), finder.recipe),
        n_faces=len(faces),
        scheme=scheme,
    )
    points = POINTS if scheme is IBUG_68 else tuple(range(min(FEW, scheme.n_points)))
    page = write_explanation(options.reports, subject, points if point is None else (point,))
    print(f"the page: {page}")
