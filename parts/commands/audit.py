"""``python run_part.py data PATH --audit``: the labels that a network disagrees with most.

The faces are dealt into folds by their groups. A network that is trained on the others predicts
each fold, so nobody's label is compared with what was learned from it. Each starts from the weights
that ship and trains briefly, on small crops: enough to find labels that are wrong.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from common.faces import Faces
from common.inference import predict_keypoints
from common.loading import Crops, load_crops
from common.metrics import known_mean
from common.recipe import Options
from common.report import image_figures
from common.report.index_page import write_index
from common.report.page import Gallery, render, write_page
from common.report.run_report import network_crops
from common.system.errors import UserError
from common.system.files import make_writable
from common.training import fit
from datasets.own import reading
from parts import own_points, part3_variants
from parts.part3_large_dataset import Best

FOLDS = 4
SHOWN = 24  # faces on the page
WORST = 10  # a face's score is the mean of the worst of this many points
RECIPE = replace(Best(), height=96, width=96, margin=12)
SHORTER = 4  # times fewer epochs than a training of one's own


def run(options: argparse.Namespace) -> None:
    """Write ``reports/audit-PATH/index.html`` and print the faces, the worst first.

    Raises UserError where the labels cannot be read or are too few.
    """
    path = Path(options.name)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; --audit takes labels of your own")
    folder = options.reports / f"audit-{path.resolve().stem}"
    make_writable(folder)
    training = Options(
        device=options.device, reports=options.reports, pretrained=str(own_points.WEIGHTS)
    )
    crops, predicted = held_out_predictions(reading.load(path), training, folder)
    ratios = times_usual(predicted, crops)  # (N, K)
    scores = worst_points(ratios)
    order = scores.argsort(descending=True)[:SHOWN].tolist()
    page = write_audit(folder, crops, predicted, ratios, scores, order)
    write_index(options.reports)
    for place, face in enumerate(order, 1):
        named = ", ".join(_worst_names(crops, ratios[face]))
        print(f"{place}. {crops.faces.files[face]}: {scores[face]:.1f} times as usual, {named}")
    print(f"the page: {page}")


def held_out_predictions(faces: Faces, options: Options, folder: Path) -> tuple[Crops, Tensor]:
    """The crops of faces and, for each, the points that a network predicts which was trained on the
    other folds: float32 (N, K, 2), pixels of the network's crop."""
    recipe = own_points.fitted(RECIPE, faces, options)
    recipe = replace(recipe, epochs=max(recipe.epochs // SHORTER, 1))
    crops = load_crops(faces, recipe)
    few = len({*crops.faces.groups}) < FOLDS  # then pictures are dealt
    fold = folds(tuple(map(str, crops.faces.files)) if few else crops.faces.groups)
    predicted = torch.full_like(crops.points, torch.nan)
    for number in range(FOLDS):
        held_out = (fold == number).nonzero().flatten()
        train, test = crops.take((fold != number).nonzero().flatten()), crops.take(held_out)
        network = part3_variants.new_network(recipe, options, faces.scheme.n_points)
        checkpoint = folder / f"fold-{number}.pt"
        fit(network, train, test, recipe, options, checkpoint)
        checkpoint.unlink()
        predicted[held_out] = predict_keypoints(network, test.images, test.flip_order, recipe)
    return crops, predicted


def folds(groups: tuple[str, ...]) -> Tensor:
    """A fold (N,) for each face; a group is in one. Raises UserError where there are too few."""
    names = sorted({*groups})
    if len(names) < FOLDS:
        raise UserError(f"--audit: {len(names)} pictures; it takes {FOLDS} or more")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    of = {names[place]: number % FOLDS for number, place in enumerate(order)}
    return torch.tensor([of[group] for group in groups])


def times_usual(predicted: Tensor, crops: Crops) -> Tensor:
    """How far labels lie from predictions (N, K, 2), over the median distance of the same point:
    (N, K), NaN where a point is missing."""
    off = (predicted - crops.points).norm(dim=-1) / crops.norm_distance[:, None]
    return off / off.nanmedian(dim=0).values.clamp(min=1e-6)


def worst_points(ratios: Tensor) -> Tensor:
    """The mean of the worst tenth of each face's points, at least of one: (N, K) -> (N,). A few
    points that are wrong count, many that are slightly off do not."""
    count = max(ratios.shape[1] // WORST, 1)
    ranked = ratios.nan_to_num(-torch.inf).topk(count, dim=1).values  # (N, count)
    return known_mean(ranked.masked_fill(ranked.isinf(), torch.nan), 1)


def _worst_names(crops: Crops, ratios: Tensor) -> list[str]:
    count = min(max(len(ratios) // WORST, 1), 5)
    points = ratios.nan_to_num(-1).topk(count).indices.tolist()
    return [f"point {crops.faces.scheme.name_of(point)}" for point in points]


def write_audit(
    folder: Path, crops: Crops, predicted: Tensor, ratios: Tensor, scores: Tensor, order: list[int]
) -> Path:
    """Write the page of the faces ``order``; returns its path."""

    def fill(work: Path) -> None:
        gallery, scheme = Gallery(work), crops.faces.scheme
        pictures = []
        for place, face in enumerate(order, 1):
            image = network_crops(crops.images[face, None], RECIPE)[0, 0]
            points = crops.points[face], scheme, range(scheme.n_points), predicted[face]
            figure = image_figures.face(image, *points)
            facts = {
                "file": crops.faces.files[face].name,
                "points": ", ".join(_worst_names(crops, ratios[face])),
                "score": scores[face].item(),
            }
            pictures.append(gallery.add(f"label-{place}", figure, facts=facts))
        contents = {"dataset": crops.faces.dataset, "n": len(crops), "pictures": pictures}
        render(work, "audit.html", contents | {"folds": FOLDS})

    return write_page(folder, fill)
