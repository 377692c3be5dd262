"""The start page, ``reports/index.html``: all parts in order, and all other runs found.

It is made from what runs left: their numbers, their checkpoints, and one test face that every
part's network predicts.
"""

from __future__ import annotations

import json
import re
from ast import literal_eval
from dataclasses import dataclass
from html import unescape
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common import checkpoints
from common.augmentation import to_network_input
from common.crops import transform_points
from common.faces import landmark_boxes
from common.inference import predict_keypoints
from common.keypoints import SCHEMES, Scheme, flip_order_within
from common.metrics import METRICS, nme
from common.photos.finder import crop_faces
from common.report import image_figures
from common.report.moving_page import moving
from common.report.page import Gallery, Picture, templates
from common.system.errors import UserError
from common.system.files import write_atomically

Run = dict[str, Any]  # a metrics.json, and "folder", the name of the folder that it lies in
NEEDED = ("title", "question", "synthetic", "nme")  # of a run, so that it can be shown


@dataclass(frozen=True)
class Portrait:
    """A test face in its whole picture, which a run leaves for the other parts' networks."""

    name: str
    image: np.ndarray  # uint8 (H, W)
    points: Tensor  # float32 (K, 2) of ``scheme``, in the image's pixels
    scheme: Scheme
    synthetic: bool  # whether the face is rendered

    def save(self, folder: Path) -> None:
        """Write ``face.png`` and ``face.json``."""
        Image.fromarray(self.image).save(folder / "face.png", optimize=True)
        notes = {"name": self.name, "scheme": self.scheme.name, "synthetic": self.synthetic}
        notes["points"] = self.points.tolist()
        (folder / "face.json").write_text(json.dumps(notes), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Portrait:
        """Read what ``save`` wrote; raises OSError, ValueError or KeyError if it is incomplete."""
        notes = json.loads((folder / "face.json").read_text(encoding="utf-8"))
        with Image.open(folder / "face.png") as picture:
            image = np.asarray(picture.convert("L"))
        points, scheme = torch.tensor(notes["points"]), SCHEMES[notes["scheme"]]
        return cls(notes["name"], image, points, scheme, notes["synthetic"])


def write_index(reports: Path) -> Path:
    """Write ``reports/index.html``, its figures, ``glossary.html`` and ``moving.html`` from the
    folders that have a page; ``part1``, ``part2``, … are the course. What cannot be read is named
    and left out.

    Returns the page's path; raises UserError where it cannot be written.
    """
    runs, others, unreadable = [], [], []
    for page in filter(Path.is_file, sorted(reports.glob("*/index.html"))):
        folder, file = page.parent.name, page.with_name("metrics.json")
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            runs.append({**run, **{key: run[key] for key in NEEDED}, "folder": folder})
        except FileNotFoundError:  # a page of another kind, such as a comparison
            others.append((folder, _title(page)))
        except (OSError, ValueError, TypeError, KeyError):
            unreadable.append(f"{folder}/metrics.json")
    steps = [run for run in runs if re.fullmatch(r"part\d+", run["folder"])]
    aside = [run for run in runs if run not in steps]
    face = _one_face(reports, steps, unreadable)
    sections = [(run["folder"], run["title"]) for run in steps]
    sections += [("face", "One face, every network")] if face else []
    sections += [("numbers", "In numbers")] if runs else []
    sections += [("more", "More pages")] if aside or others else []
    contents = {
        "sections": sections,
        "steps": [{**run, "picture": _ordinary(reports, run)} for run in steps],
        "carried": [_carried(*pair) for pair in pairwise(steps)],
        "seconds": sum(run.get("seconds", 0) for run in steps),
        "face": face,
        "runs": runs,
        "metrics": METRICS,
        "aside": aside,
        "others": others,
        "unreadable": unreadable,
    }
    pages = {"glossary.html": {}, "moving.html": moving(), "index.html": contents}
    for name, shown in pages.items():
        page = templates().get_template(name).render(shown).encode()
        write_atomically(reports / name, lambda file, page=page: file.write(page))
    return reports / "index.html"


def _title(page: Path) -> str:
    found = re.search("<title>(.+?)</title>", page.read_text(encoding="utf-8", errors="replace"))
    return unescape(found[1]) if found else page.parent.name


def _ordinary(reports: Path, run: Run) -> Picture | None:
    """The figure of the run's own page of the test face in the middle of the ranking."""
    file = f"{run['folder']}/figures/ordinary.png"
    try:
        with Image.open(reports / file) as picture:
            return {"file": file, "width": picture.width, "height": picture.height}
    except OSError:  # missing, or no longer a picture
        return None


def _carried(before: Run, after: Run) -> list[dict[str, Any]]:
    """How much of one part's recipe the next one takes over, step by step where the next one's
    recipe has several above the first one's; nothing if a run does not say it."""
    recipes = [_recipe(before), _recipe(after)]
    if not all(recipes):
        return []
    stairs = after.get("stairs", [])
    below = [step for step, values in enumerate(stairs) if values.keys() == recipes[0].keys()]
    if below:
        recipes[1:1] = stairs[below[0] + 1 : -1]
    first, last = (run["title"].partition(":")[0] for run in (before, after))
    steps = [f"{last}, step ({letter})" for letter in ascii_lowercase]
    names = [first, *(steps if len(recipes) > 2 else [last])]
    return [
        {"first": one, "second": two, "count": len(old), "listed": _changes(old, new)}
        for (one, old), (two, new) in pairwise(zip(names, recipes, strict=False))
    ]


def _changes(old: dict[str, str], new: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """What one recipe keeps, changes, leaves out and adds: pairs of a name and a value."""
    both = [name for name in old if name in new]
    return {
        "keeps": [(name, "") for name in both if new[name] == old[name]],
        "changes": [(n, f"{old[n]} → {new[n]}") for n in both if new[n] != old[n]],
        "leaves out": [(name, "") for name in old if name not in new],
        "adds": [pair for pair in new.items() if pair[0] not in old],
    }


def _recipe(run: Run) -> dict[str, str]:
    """The values of a run's recipe, those of an older version under their names since."""
    values = {}
    for name, value in run.get("recipe_values", {}).items():
        if name in checkpoints.RENAMED_RECIPE_FIELDS:
            name, convert = checkpoints.RENAMED_RECIPE_FIELDS[name]
            value = str(convert(literal_eval(value)))
        values[name] = value
    return values


def _one_face(reports: Path, steps: list[Run], unreadable: list[str]) -> list[Picture]:
    """One test face with every part's prediction; empty if no run left one. It is that of the last
    part that looks at whole pictures. A checkpoint must belong to its run's page."""
    portrait = None
    for run in steps:
        try:
            portrait = Portrait.load(reports / run["folder"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError):
            unreadable.append(f"{run['folder']}/face.json")
    if portrait is None:
        return []
    pictures = []
    gallery = Gallery(reports, portrait.synthetic)
    for run in steps:
        file = reports / run["folder"] / "checkpoint.pt"
        if file.is_file():
            try:
                trained = checkpoints.load(file)
                known = trained["network"] in checkpoints.NETWORKS
                if known and trained.get("metrics", {}).get("nme") == run.get("nme"):
                    pictures.append(_predicted(gallery, portrait, run, trained))
            except UserError:
                unreadable.append(f"{run['folder']}/checkpoint.pt")
    return pictures


def _predicted(
    gallery: Gallery, portrait: Portrait, run: Run, trained: checkpoints.Checkpoint
) -> Picture:
    """What one network predicts for the portrait, on the crop that it sees."""
    recipe, scheme = checkpoints.recipe_of(trained), checkpoints.scheme_of(trained)
    height, width = portrait.image.shape
    whole = torch.tensor([[0.0, 0.0, width, height]])
    box = landmark_boxes(portrait.points[None]) if recipe.box_scale else whole
    images, matrices = crop_faces(portrait.image, box.numpy(), np.zeros(1), recipe)
    order, ids = flip_order_within(scheme, trained["point_ids"]), list(trained["point_ids"])
    points = predict_keypoints(checkpoints.network_of(trained), images, order, recipe)[0]  # (k, 2)
    truth = transform_points(portrait.points[None], matrices)[0]  # (K, 2)
    distance = portrait.scheme.eye_distance(truth)
    seen = to_network_input(images, recipe)[0, 0]  # (h, w)
    same = scheme is portrait.scheme
    if same:
        figure = image_figures.face(seen, truth[ids], scheme, ids, points)
        error = nme(points[None], truth[ids][None], distance[None])
    else:  # only the outer eye corners are in both schemes
        figure = image_figures.face(seen, points, scheme, ids)
        corners = points[list(scheme.outer_eyes)] - truth[list(portrait.scheme.outer_eyes)]
        error = 100 * corners.norm(dim=-1).mean() / distance
    return gallery.add(
        f"face-{run['folder']}",
        figure,
        name=portrait.name,
        part=run["title"].partition(":")[0],
        size=(recipe.width, recipe.height),
        n_points=len(ids),
        error=error.item(),
        same_points=same,
    )
