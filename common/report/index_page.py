"""The start page, ``reports/index.html``: the whole way through the parts, and all runs found.

It is made from what runs left: their numbers, their checkpoints, and one test face that every
part's network is asked for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import unescape
from itertools import pairwise
from pathlib import Path
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
from common.report import figures
from common.report.page import SYNTHETIC, Gallery, Picture, duration, rounded, templates
from common.system.errors import UserError
from common.system.files import write_atomically

Run = dict[str, Any]  # a metrics.json, and "folder", the name of the folder that it lies in
NEEDED = ("title", "question", "synthetic", "nme")  # of a run, so that it can be shown


@dataclass(frozen=True)
class Portrait:
    """A test face in its whole picture, which a run leaves for the other parts' networks.

    image: uint8 (H, W). points: float32 (K, 2) of ``scheme``, in its pixels.
    """

    name: str
    image: np.ndarray
    points: Tensor
    scheme: Scheme
    synthetic: bool

    def save(self, folder: Path) -> None:
        """Write ``face.png`` and ``face.json``."""
        Image.fromarray(self.image).save(folder / "face.png", optimize=True)
        told = {"name": self.name, "scheme": self.scheme.name, "synthetic": self.synthetic}
        notes = json.dumps({**told, "points": self.points.tolist()})
        (folder / "face.json").write_text(notes, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Portrait:
        """What ``save`` wrote; raises OSError, ValueError or KeyError where it is not whole."""
        told = json.loads((folder / "face.json").read_text(encoding="utf-8"))
        with Image.open(folder / "face.png") as picture:
            image = np.asarray(picture.convert("L"))
        points, scheme = torch.tensor(told["points"]), SCHEMES[told["scheme"]]
        return cls(told["name"], image, points, scheme, told["synthetic"])


def write_index(reports: Path) -> Path:
    """Write ``reports/index.html`` and its figures from all that is found in ``reports``.

    A run is a folder with an ``index.html`` and a ``metrics.json``; ``part1``, ``part2``, … are
    the way, other folders stand beside it. What cannot be read is named and left out. Returns the
    page's path; raises UserError where it cannot be written.
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
        "steps": [_step(reports, run) for run in steps],
        "carried": [_carried(*pair) for pair in pairwise(steps)],
        "seconds": sum(run.get("seconds", 0) for run in steps),
        "face": face,
        "names": [run["title"] for run in runs],
        "rows": _rows(runs),
        "aside": aside,
        "others": others,
        "unreadable": unreadable,
    }
    page = templates().get_template("index.html").render(contents)
    write_atomically(reports / "index.html", lambda file: file.write(page.encode()))
    return reports / "index.html"


def _title(page: Path) -> str:
    found = re.search("<title>(.+?)</title>", page.read_text(encoding="utf-8", errors="replace"))
    return unescape(found[1]) if found else page.parent.name


def _step(reports: Path, run: Run) -> Run:
    """What the page says of one part, from its numbers."""
    mean, missed = run.get("baseline_mean_face", {}).get("nme"), run.get("nme")
    reached = (
        f"It misses by {rounded(missed)} % of the distance between the outer eye corners on "
        f"{rounded(run.get('n_test'))} faces that it never saw; the mean face, which never looks, "
        f"would miss by {rounded(mean)} %"
    )
    if mean and missed:
        reached += f", {rounded(mean / missed)} times as much"
    network = f"`{run.get('network', '–')}`, {rounded(run.get('parameters'))} weights"
    if "layers" in run:
        network += f" in {run['layers']}"
    if "input" in run:
        network += (
            f"; a picture of {run['input'][0]} × {run['input'][1]} pixels in, "
            f"{run['n_points']} point{'s' * (run['n_points'] != 1)} out"
        )
    epochs, many = run.get("epochs"), "" if run.get("epochs") == 1 else "s"
    cost = f"{rounded(epochs)} epoch{many} on {rounded(run.get('n_train'))} faces took "
    cost += duration(run.get("seconds"))
    if "device" in run:
        cost += f" ({run['device']}, a machine with {run['cores']} cores)"
    return {
        **run,
        "picture": _ordinary(reports, run),
        "facts": [("network", f"{network}."), ("costs", f"{cost}."), ("reaches", f"{reached}.")],
        "carries_over": run.get("carries_over", ""),
    }


def _ordinary(reports: Path, run: Run) -> Picture | None:
    """The figure of the run's own page of the test face in the middle of the ranking."""
    file = f"{run['folder']}/figures/ordinary.png"
    try:
        with Image.open(reports / file) as picture:
            width, height = picture.size
    except OSError:  # none, or not a picture any more
        return None
    alt = f"A test face of {run['title']}, true points as rings and predicted ones as crosses"
    caption = f"The test face in the middle of the ranking; NME over all {rounded(run['nme'])} %."
    return Picture(file, width, height, alt, caption)


def _carried(before: Run, after: Run) -> str:
    """How much of one part's recipe the next one takes over; "" where a run does not tell."""
    old, new = before.get("recipe_values", {}), after.get("recipe_values", {})
    if not old or not new:
        return ""
    kept = [f"`{name}`" for name in old if new.get(name) == old[name]]
    changed = [
        f"`{name}` {old[name]} → {new[name]}"
        for name in old
        if name in new and new[name] != old[name]
    ]
    counted = {
        "keeps": kept,
        "changes": changed,
        "leaves out": [f"`{name}`" for name in old if name not in new],
        "adds": [f"`{name}` {value}" for name, value in new.items() if name not in old],
    }
    listed = [
        f"{verb} {len(names)} ({', '.join(names)})" for verb, names in counted.items() if names
    ]
    first, second = (run["title"].partition(":")[0] for run in (before, after))
    return (
        f"Of the {len(old)} values that {first} sets in its recipe, {second} {', '.join(listed)}."
    )


def _one_face(reports: Path, steps: list[Run], unreadable: list[str]) -> list[Picture]:
    """One test face as every part's network sees and answers it; none where no run left one.

    The face is that of the last part that looks at whole pictures, which all networks can be
    asked for. Only a checkpoint that belongs to the run's page answers.
    """
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
    gallery = Gallery(reports, SYNTHETIC if portrait.synthetic else "")
    for run in steps:
        file = reports / run["folder"] / "checkpoint.pt"
        if file.is_file():
            try:
                trained = checkpoints.load(file)
                if trained.get("metrics", {}).get("nme") == run.get("nme"):
                    pictures.append(_answered(gallery, portrait, run, trained))
            except UserError:
                unreadable.append(f"{run['folder']}/checkpoint.pt")
    return pictures


def _answered(
    gallery: Gallery, portrait: Portrait, run: Run, trained: checkpoints.Checkpoint
) -> Picture:
    """What one network makes of the portrait, as it sees it."""
    recipe, scheme = checkpoints.recipe_of(trained), SCHEMES[trained["scheme"]]
    height, width = portrait.image.shape
    box = torch.tensor([[0.0, 0.0, width, height]])
    if recipe.box_scale:
        box = landmark_boxes(portrait.points[None])
    images, matrices = crop_faces(portrait.image, box.numpy(), np.zeros(1), recipe)
    order, kept = flip_order_within(scheme, trained["point_ids"]), list(trained["point_ids"])
    answer = predict_keypoints(checkpoints.network_of(trained), images, order, recipe)[0]  # (k, 2)
    truth = transform_points(portrait.points[None], matrices)[0]  # (K, 2)
    distance = portrait.scheme.eye_distance(truth)
    seen = to_network_input(images, recipe)[0, 0]  # (h, w)
    part, size = run["title"].partition(":")[0], f"{recipe.width} × {recipe.height} pixels"
    if scheme is portrait.scheme:
        figure = figures.face(seen, truth[kept], scheme, kept, answer)
        error = nme(answer[None], truth[kept][None], distance[None]).item()
        points = f"{len(kept)} point{'s' * (len(kept) != 1)}"
        caption = (
            f"{part} sees {size} and answers {points}: {error:.1f} % of the eye distance away from "
            "the truth."
        )
        alt = f"{portrait.name} as {part} sees it: true points as rings, answers as crosses"
    else:  # other points: the outer eye corners alone are in both schemes
        figure = figures.face(seen, answer, scheme, kept)
        corners = answer[list(scheme.outer_eyes)] - truth[list(portrait.scheme.outer_eyes)]
        error = 100 * corners.norm(dim=-1).mean() / distance
        caption = (
            f"{part} sees {size} about the face and answers {len(kept)} points, here as rings: "
            f"the outer eye corners, {error:.1f} % of the eye distance away from the true ones."
        )
        alt = f"{portrait.name} as {part} sees it, its {len(kept)} answers as rings"
    return gallery.add(f"face-{run['folder']}", figure, alt, caption)


def _rows(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """The rows of the page's table: a name and one cell per run, a dash where it has none."""
    rows = [
        ("data set", [run.get("dataset", "–") for run in runs]),
        ("faces to train on", [rounded(run.get("n_train")) for run in runs]),
        ("faces to test on", [rounded(run.get("n_test")) for run in runs]),
        ("network", [run.get("network", "–") for run in runs]),
        ("parameters", [rounded(run.get("parameters")) for run in runs]),
        ("recipe", [run.get("recipe", "–") for run in runs]),
        ("epochs", [rounded(run.get("epochs")) for run in runs]),
        ("training time", [duration(run.get("seconds")) for run in runs]),
    ]
    for key, metric in METRICS.items():
        name = f"{metric.name}, {metric.unit}" if metric.unit else metric.name
        pairs = [(run.get(key), run.get("baseline_mean_face", {}).get(key)) for run in runs]
        rows.append((name, [f"{rounded(own)} (mean face {rounded(mean)})" for own, mean in pairs]))
    return rows
