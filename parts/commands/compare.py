"""Networks side by side: the same faces, the same recipe, the same measures, one page.

``python run_part.py compare`` trains the Udacity route's networks and ResNet18, one after the
other, or reads what it has trained before: every network and seed leaves a file below
``reports/compare/``, so that a comparison that was stopped goes on where it was, and a finished
one only writes its page.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoints
from common.augmentation import to_network_input
from common.crops import to_fractions, to_pixels
from common.faces import Faces
from common.inference import predict_keypoints
from common.loading import Crops, load_crops
from common.losses import LOSSES
from common.metrics import METRICS, errors_per_face, mean_shape, smooth_l1_224, summarise
from common.recipe import Options, Recipe, need_one, reasons
from common.report.comparison_page import Comparison, Contestant, History, write_comparison
from common.report.network_summary import milliseconds, multiply_adds
from common.system.device import best_device
from common.system.errors import UserError
from common.training import fit
from datasets import youtube_faces
from datasets.annotations import picture_size
from datasets.location import data_folder, not_found
from datasets.splits import train_and_test
from parts.commands.options import add_data, add_device, add_reports
from parts.part3_variants import NETWORKS, new_network
from parts.udacity_networks import RECIPES, LightNet, LightNetBN, Quick

PRETRAINED = "ResNet18-ImageNet"  # named on the command line, as its weights must be fetched
SHOWN = 10  # faces on the page
COURSE_SIDE = 250  # to which the course scales a frame's shorter side


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``compare``."""
    add_data(parser)
    add_device(parser)
    add_reports(parser)
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help="as part 3's --network, or ResNet18-ImageNet (default: all five of --network)",
    )  # fmt: skip
    parser.add_argument(
        "--recipe", choices=("course", "best"), default="course", help="default: course"
    )
    parser.add_argument("--dataset", metavar="NAME", help="default: youtube_faces")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each network")
    parser.add_argument("--quick", action="store_true", help="a short recipe: twelve minutes")


def run(options: argparse.Namespace) -> None:
    """Write the page and print its path."""
    given = {name: value for name, value in vars(options).items() if name != "command"}
    print(f"the page: {compare(**given)}")


def compare(
    names: Sequence[str] = (),
    recipe: str = "course",
    dataset: str | None = None,
    epochs: int | None = None,
    seeds: int = 1,
    quick: bool = False,
    data: Path | None = None,
    device: str | None = None,
    reports: Path = Path("reports"),
) -> Path:
    """Train what is not trained yet, measure all, write ``reports/compare/`` and return the page.

    names: of ``NETWORKS`` or ``PRETRAINED``; all of ``NETWORKS`` by default. recipe: one of
    ``RECIPES``; quick: ``Quick`` instead, for a first look. seeds: so many runs of each network.
    Raises UserError for unknown names, where the data set asked for is missing, or where a file
    was left by another recipe of the same name.
    """
    if unknown := [name for name in names if name not in (*NETWORKS, PRETRAINED)]:
        raise UserError(
            f"{unknown[0]}: no such network; known are {', '.join(NETWORKS)}, {PRETRAINED}"
        )
    need_one("--seeds", seeds)
    name = "quick" if quick else recipe
    options = Options(name, epochs=epochs, data=data, device=device, resume=True)
    chosen = options.choose(RECIPES | {"quick": Quick})
    train_faces, test_faces = faces(dataset, data)
    train, test = load_crops(train_faces, chosen), load_crops(test_faces, chosen)

    settings = f"{train.faces.dataset}-{name}-{chosen.epochs}"
    folder = reports / "compare" / settings
    names = list(dict.fromkeys(names)) or list(NETWORKS)
    networks: dict[str, Contestant] = {}
    answers: dict[str, Tensor] = {}
    runs = [(name, seed) for name in names for seed in range(seeds)]
    for name, seed in runs:
        network, history = trained(
            name, train, test, chosen, replace(options, seed=seed), folder / f"{name}-{seed}.pt"
        )
        network.to(best_device(device))
        predicted = predict_keypoints(network, test.images, test.flip_order, chosen)
        measured = errors_of(predicted, test, chosen)
        if seed == 0:
            answers[name] = predicted
            networks[name] = contestant(network, chosen)
        networks[name] = replace(
            networks[name],
            histories=[*networks[name].histories, history],
            errors=[*networks[name].errors, measured],
        )

    told = comparison(networks, answers, train, test, chosen, device)
    return write_comparison(reports / "compare", told)


def faces(dataset: str | None, data: Path | None) -> tuple[Faces, Faces]:
    """The faces to learn from and to be tested on; YouTube Faces by default, else drawn ones."""
    if dataset is None:
        dataset = "youtube_faces"
        if youtube_faces.find(data_folder(data)[0]) is None:
            where = not_found(dataset, youtube_faces.FOLDER, data)
            print(f"{where}; going on with drawn faces", file=sys.stderr)
            dataset = "synthetic"
    return train_and_test("ibug", dataset, data)


def trained(
    name: str, train: Crops, test: Crops, recipe: Recipe, options: Options, file: Path
) -> tuple[nn.Module, History]:
    """A network that was trained to the end, read from ``file`` or trained now, and its history.

    A finished file keeps the weights alone, a third of what going on would need.
    """
    if file.is_file():
        done = checkpoints.load(file)
        if asdict(checkpoints.recipe_of(done)) != asdict(recipe):
            raise UserError(
                f"{file}: was trained by another recipe of the same name; delete it, and it is "
                "trained anew"
            )
        if len(done["training"]["history"]) == recipe.epochs:
            return checkpoints.network_of(done), done["training"]["history"]
    print(f"{name}, seed {options.seed}", file=sys.stderr)
    kind = "ResNet18" if name == PRETRAINED else name
    options = replace(options, network=kind, pretrained="imagenet" if name == PRETRAINED else None)
    network = new_network(recipe, options, train.faces.scheme.n_points)
    history = fit(network, train, test, recipe, options, file)
    state = checkpoints.load(file)
    checkpoints.save({**state, "training": {"history": history, "seed": options.seed}}, file)
    return network, history


def contestant(network: nn.Module, recipe: Recipe) -> Contestant:
    """What a network costs and its first filters; nothing measured on faces yet."""
    network = network.cpu()
    image = torch.zeros(1, 1, recipe.height, recipe.width)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    return Contestant(
        parameters=sum(weights.numel() for weights in network.parameters()),
        multiply_adds=multiply_adds(network, image),
        milliseconds=milliseconds(network, image),
        histories=[],
        errors=[],
        predicted=torch.empty(0),
        kernels=first.weight.detach().float()[:, 0],
    )


def errors_of(predicted: Tensor, test: Crops, recipe: Recipe) -> dict[str, float]:
    """The metrics of N answers (N, K, 2) in pixels of the network's crop, by their names.

    Beside those of every page: ``loss``, the recipe's own; and, of YouTube Faces,
    ``smooth_l1_frame`` and ``nme`` of people known and new.
    """
    errors = errors_per_face(predicted, test, recipe)
    size = recipe.height, recipe.width
    truth = test.points
    loss = LOSSES[recipe.loss](to_fractions(predicted, *size), to_fractions(truth, *size))
    told = summarise(errors) | {"loss": loss.item()}
    if test.faces.dataset == "youtube_faces":
        shorter = torch.tensor([min(picture_size(file)) for file in test.faces.files])  # (N,)
        per_pixel = COURSE_SIDE / shorter / test.matrices[:, 0, 0]  # crop -> scaled frame
        in_frame = (predicted - truth) * per_pixel[:, None, None]
        told["smooth_l1_frame"] = smooth_l1_224(in_frame, 224).mean().item()
        for key, view in (("nme_known", youtube_faces.KNOWN), ("nme_new", youtube_faces.NEW)):
            of_view = torch.tensor([name == view for name in test.faces.views])
            told[key] = errors["nme"][of_view].mean().item()
    return told


def comparison(
    networks: dict[str, Contestant],
    answers: dict[str, Tensor],
    train: Crops,
    test: Crops,
    recipe: Recipe,
    device: str | None,
) -> Comparison:
    """All that the page needs. answers: (N, K, 2) of each network's first seed, all test faces."""
    errors = torch.stack([errors_per_face(a, test, recipe)["nme"] for a in answers.values()])
    order = errors.mean(dim=0).argsort()  # (N,), easy first
    ten = order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).long()]
    pixels = ((to_network_input(test.images[ten], recipe) + 0.5) * 255).round().to(torch.uint8)
    always = to_pixels(mean_shape(train, recipe), recipe.height, recipe.width)
    frames = train.faces.dataset == "youtube_faces"
    threads = torch.get_num_threads()
    told = f"{threads} thread{'s' * (threads != 1)} of {os.cpu_count()} cores"
    return Comparison(
        networks={
            name: replace(network, predicted=answers[name][ten])
            for name, network in networks.items()
        },
        mean_face=errors_of(always.expand(len(test), -1, -1), test, recipe),
        images=pixels[:, 0],
        truth=test.points[ten],
        face=test.faces.files[ten[0]].stem,
        setting=(
            f"All learned from the same {len(train):,} faces of {train.faces.name} by one recipe, "
            f"and are tested on the same {len(test):,}. Trained on {best_device(device)}; the time "
            f"for a face is one face at a time on the CPU, {told}."
        ),
        people=youtube_faces.people_in_both(train.faces, test.faces) if frames else "",
        meanings=meanings(recipe, frames),
        recipe=reasons(recipe),
        synthetic=train.faces.synthetic,
        normalised=(LightNet.__name__, LightNetBN.__name__),
    )


def meanings(recipe: Recipe, frames: bool) -> list[tuple[str, str, str]]:
    """The rows of errors: key, name and what it means. frames: with those of YouTube Faces."""
    rows = [
        (
            "smooth_l1_224",
            "SmoothL1, course",
            "The course's loss in its own unit, SmoothL1 of (x − 100) / 50, on the network's crop "
            "scaled to 224 pixels. The face fills more of this crop than of the course's, so the "
            "same answer costs more.",
        ),
        (
            "loss",
            f"loss, {recipe.loss}",
            "The recipe's own loss, on coordinates as fractions of the crop.",
        ),
    ]
    if frames:
        rows.insert(
            1,
            (
                "smooth_l1_frame",
                "SmoothL1, course's frame",
                "The same on the frame as the course scales it, 250 pixels on the shorter side: "
                "what to hold against the course's reports. Ours are told where the face is.",
            ),
        )
    rows += [(k, f"{METRICS[k].name}, %", METRICS[k].meaning) for k in ("nme", "fr8", "auc8")]
    if frames:
        rows += [
            (
                "nme_known",
                "NME, people known, %",
                "On the test frames whose person, and even whose video, was learned from.",
            ),
            (
                "nme_new",
                "NME, people new, %",
                "On those whose person was kept out of training: what a new face gets.",
            ),
        ]
    return rows
