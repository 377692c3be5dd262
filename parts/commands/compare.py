"""``python run_part.py compare``: networks side by side on one page, by one recipe.

Every network and seed leaves a file below ``reports/compare/``, so that a stopped comparison
resumes, and a finished one only writes its page.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoints
from common.faces import Faces
from common.inference import predict_keypoints
from common.loading import Crops, load_crops
from common.metrics import errors_per_face, mean_face_prediction, smooth_l1_224, summarise
from common.recipe import Options, Recipe, need_one, reasons
from common.report.comparison_page import Comparison, Contestant, History, write_comparison
from common.report.network_summary import milliseconds, multiply_adds
from common.report.run_report import loss_of, network_crops
from common.report.runs_page import write_runs
from common.system.device import best_device
from common.system.errors import UserError
from common.training import fit
from datasets import youtube_faces
from datasets.annotations import picture_size
from datasets.location import data_folder, not_found
from datasets.splits import train_and_test
from parts.commands.options import add_data, add_device, add_reports
from parts.part3_large_dataset import lesson_recipes
from parts.part3_variants import NETWORKS, is_variant, new_network
from parts.udacity_networks import RECIPES, LightNet, LightNetBN, Quick

PRETRAINED = "ResNet18-ImageNet"  # named on the command line, as its weights must be fetched
SHOWN = 10  # faces on the page
STEP_NAMES = {
    "crops": "(a) FaceNet on crops",
    "coordinates": "(b) ResNet18, coordinates",
    "heatmaps": "(c) ResNet18, heatmaps",
}
SMALL = {"height": 96, "width": 96, "margin": 12, "epochs": 4}  # a quarter of an hour on two cores
COURSE_SIDE = 250  # to which the course scales a frame's shorter side


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``python run_part.py compare``."""
    add_data(parser)
    add_device(parser)
    add_reports(parser)
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help="as part 3's --network, or ResNet18-ImageNet (default: all five of --network); "
        "or folders of finished runs, which are set side by side",
    )  # fmt: skip
    parser.add_argument(
        "--recipe", choices=("course", "best"), default="course", help="default: course"
    )
    parser.add_argument("--dataset", metavar="NAME", help="default: youtube_faces")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each network")
    parser.add_argument(
        "--quick", action="store_const", const="quick", dest="recipe",
        help="a short recipe: twelve minutes",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, measure all, write ``reports/compare/`` and print the page;
    of folders of finished runs only write the page.

    Raises UserError for unknown names, a missing data set, or a file that was left by another
    recipe of the same name.
    """
    folders = [Path(name) for name in options.names]
    if folders and all(folder.is_dir() for folder in folders):
        print(f"the page: {write_runs(options.reports / 'runs', list(dict.fromkeys(folders)))}")
        return
    given = vars(options)
    names, seeds, _ = (given.pop(name) for name in ("names", "seeds", "command"))
    chosen = Options(**given, resume=True)
    if unknown := [name for name in names if name not in (*NETWORKS, PRETRAINED)]:
        raise UserError(
            f"{unknown[0]}: no such network; known are {', '.join(NETWORKS)}, {PRETRAINED}"
        )
    need_one("--seeds", seeds)
    recipe = chosen.choose(RECIPES | {"quick": Quick})
    best_device(chosen.device)  # refused before faces are rendered
    train_faces, test_faces = faces(chosen.dataset, chosen.data)
    train, test = load_crops(train_faces, recipe), load_crops(test_faces, recipe)
    folder = chosen.reports / "compare"
    kept = folder / f"{train.faces.dataset}-{chosen.recipe}-{recipe.epochs}"
    networks = {}
    for name in list(dict.fromkeys(names)) or list(NETWORKS):
        kind, weights = ("ResNet18", "imagenet") if name == PRETRAINED else (name, None)
        named = replace(chosen, network=kind, pretrained=weights)
        runs = {kept / f"{name}-{seed}.pt": replace(named, seed=seed) for seed in range(seeds)}
        networks[name] = contestant(runs, train, test, recipe)
    page = write_comparison(folder, comparison(networks, train, test, recipe, chosen.device))
    print(f"the page: {page}")


def steps(options: Options) -> None:
    """Train the three steps of part 3 on small crops, write ``reports/part3-steps/`` and print the
    page.

    Raises UserError where the options name another recipe, network or step.
    """
    if is_variant(options) or options.recipe != "best" or options.loss:
        raise UserError(
            "--steps: trains the lesson's three steps by their own recipes; leave out --recipe, "
            "--network, --pretrained, --loss and other data sets than ibug and synthetic"
        )
    train_faces, test_faces = train_and_test("ibug", options.dataset, options.data)
    folder, networks = options.reports / "part3-steps", {}
    for step, name in STEP_NAMES.items():
        chosen = replace(options, step=step, epochs=options.epochs or SMALL["epochs"], resume=True)
        recipe = replace(chosen.choose(lesson_recipes(chosen)), **SMALL | {"epochs": chosen.epochs})
        train, test = load_crops(train_faces, recipe), load_crops(test_faces, recipe)
        file = folder / f"{train.faces.dataset}-{recipe.epochs}" / f"{step}-{options.seed}.pt"
        networks[name] = contestant({file: chosen}, train, test, recipe)
    page = comparison(networks, train, test, recipe, options.device)
    page.mean_face.pop("loss")  # each step has a loss of its own
    words = page.setting.replace("by one recipe", "each by the recipe of its step")
    print(f"the page: {write_comparison(folder, replace(page, stairs=True, setting=words))}")


def faces(dataset: str | None, data: Path | None) -> tuple[Faces, Faces]:
    """Training and test faces; by default of YouTube Faces, else synthetic ones."""
    if dataset is None:
        dataset = "youtube_faces"
        if youtube_faces.find(data_folder(data)[0]) is None:
            where = not_found(dataset, youtube_faces.FOLDER, data)
            print(f"{where}; going on with synthetic faces", file=sys.stderr)
            dataset = "synthetic"
    return train_and_test("ibug", dataset, data)


def trained(
    train: Crops, test: Crops, recipe: Recipe, options: Options, file: Path
) -> tuple[nn.Module, History]:
    """A network that was trained to the end, read from ``file`` or trained now, and its history.

    A finished file keeps the weights alone, a third of what resuming would need.
    """
    if file.is_file():
        done = checkpoints.load(file)
        if asdict(checkpoints.recipe_of(done)) != asdict(recipe):
            raise UserError(
                f"{file}: was trained by another recipe of the same name; delete it, and it is "
                "trained again"
            )
        if len(done["training"]["history"]) == recipe.epochs:
            return checkpoints.network_of(done), done["training"]["history"]
    print(file.stem, file=sys.stderr)
    network = new_network(recipe, options, train.faces.scheme.n_points)
    history = fit(network, train, test, recipe, options, file)
    state = checkpoints.load(file)
    checkpoints.save({**state, "training": {"history": history, "seed": options.seed}}, file)
    return network, history


def contestant(
    runs: Mapping[Path, Options], train: Crops, test: Crops, recipe: Recipe
) -> Contestant:
    """A network trained with each of the options, measured on the test faces; its costs, its first
    kernels and its predictions (N, K, 2) are those of the first run.

    runs: options by the file in which the trained network is kept.
    """
    histories, errors = [], []
    for file, options in runs.items():
        network, history = trained(train, test, recipe, options, file)
        network.to(best_device(options.device))
        predicted = predict_keypoints(network, test.images, test.flip_order, recipe)
        histories.append(history)
        errors.append(errors_of(predicted, test, recipe))
        if len(errors) == 1:
            first = network.cpu(), predicted
    network, predicted = first
    image = torch.zeros(1, 1, recipe.height, recipe.width)
    layer = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    return Contestant(
        parameters=sum(weights.numel() for weights in network.parameters()),
        multiply_adds=multiply_adds(network, image),
        milliseconds=milliseconds(network, image),
        histories=histories,
        errors=errors,
        predicted=predicted,
        kernels=layer.weight.detach().float()[:, 0],
    )


def errors_of(predicted: Tensor, test: Crops, recipe: Recipe) -> dict[str, float]:
    """The metrics of N predictions (N, K, 2) in pixels of the network's crop, by their names.

    Beside those of every page: ``loss``, the recipe's own; and, of YouTube Faces,
    ``smooth_l1_frame`` and ``nme`` of known and new people.
    """
    errors = errors_per_face(predicted, test, recipe)
    measured = summarise(errors) | {"loss": loss_of(predicted, test, recipe)}
    if test.faces.dataset == "youtube_faces":
        shorter = torch.tensor([min(picture_size(file)) for file in test.faces.files])  # (N,)
        per_pixel = COURSE_SIDE / shorter / test.matrices[:, 0, 0]  # crop -> scaled frame
        in_frame = (predicted - test.points) * per_pixel[:, None, None]
        measured["smooth_l1_frame"] = smooth_l1_224(in_frame, 224).mean().item()
        for key, view in (("nme_known", youtube_faces.KNOWN), ("nme_new", youtube_faces.NEW)):
            of_view = torch.tensor([name == view for name in test.faces.views])
            measured[key] = errors["nme"][of_view].mean().item()
    return measured


def comparison(
    networks: dict[str, Contestant], train: Crops, test: Crops, recipe: Recipe, device: str | None
) -> Comparison:
    """All that the page needs, of networks with their predictions for all test faces."""
    errors = [errors_per_face(one.predicted, test, recipe)["nme"] for one in networks.values()]
    order = torch.stack(errors).mean(dim=0).argsort()  # (N,), easy first
    ten = order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).long()]
    frames = train.faces.dataset == "youtube_faces"
    threads = torch.get_num_threads()
    return Comparison(
        networks={
            name: replace(network, predicted=network.predicted[ten])
            for name, network in networks.items()
        },
        mean_face=errors_of(mean_face_prediction(train, recipe, len(test)), test, recipe),
        images=network_crops(test.images[ten], recipe)[:, 0],
        truth=test.points[ten],
        face=test.faces.files[ten[0]].stem,
        setting=(
            f"All were trained on the same {len(train):,} faces of {train.faces.name} by one "
            f"recipe, and are tested on the same {len(test):,}. Trained on {best_device(device)}; "
            "the time for a face is one face at a time on the CPU, "
            f"{threads} thread{'s' * (threads != 1)} of {os.cpu_count()} cores."
        ),
        people=youtube_faces.people_in_both(train.faces, test.faces) if frames else "",
        loss=recipe.loss,
        recipe=reasons(recipe),
        synthetic=train.faces.synthetic,
        normalised=(LightNet.__name__, LightNetBN.__name__),
    )
