"""``python run_part.py ladder 1`` (2, 3): runs a part's ablation, defined in ``ladder_plans.py``.

Every experiment is run with several seeds. A finished run leaves a small file below
``reports/ladder1/runs``, named by its settings, seed and data set, and is never trained again; an
unfinished one leaves a checkpoint there, from which the next call resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common.augmentation import to_network_input
from common.crops import to_pixels
from common.loading import Crops
from common.recipe import Options, need_one
from common.report import image_figures
from common.report.ablation_page import Result, write_ablation
from common.report.page import Gallery, Picture
from common.system.device import best_device
from common.system.errors import NotHereError, UserError
from common.system.files import make_writable, write_atomically
from common.system.parallel import map_unordered
from parts.commands.options import add_data, add_device, add_reports
from parts.studies import experiment as single
from parts.studies.experiment import PARTS, Experiment, crops_of
from parts.studies.ladder_plans import STUDIES, Study

NOT_YET = "not trained yet"
UNKNOWN = "what older runs did not note"
SEEDS = 3
AT_ONCE = 4  # each process holds torch and a network of its own in memory
Runs = dict[Experiment, list[dict[str, Any]]]  # what ``experiment.run`` returned, seed by seed


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ladder``."""
    add_data(parser)
    add_device(parser)
    add_reports(parser)
    parser.add_argument("part", choices=("1", "2", "3"))
    parser.add_argument("--quick", action="store_true", help="the ladder alone; 3: 150 steps")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="runs of each change (default: 3; --quick: 3, 2, 1)"
    )
    parser.add_argument("--so-far", action="store_true", help="train nothing, show what is trained")
    parser.add_argument(
        "--at-once", type=int, metavar="N", help="runs side by side (default: one a core, up to 4)"
    )


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, write ``reports/ladder<part>/`` and print the page's path.

    A quick study's runs count for the whole one where they are the same.
    Raises UserError where nothing would be trained, the device does not exist or the folder
    cannot be written.
    """
    whole, folder = STUDIES[options.part], options.reports / f"ladder{options.part}"
    seeds, at_once = options.seeds, options.at_once
    if seeds is None:
        seeds = whole.quick_seeds if options.quick else SEEDS
    need_one("--seeds", seeds)
    if at_once is None:
        at_once = min(torch.get_num_threads(), AT_ONCE)
    need_one("--at-once", at_once)
    best_device(options.device)  # refused before anything is written or announced
    make_writable(folder / "runs")
    studies = whole.parts(options.quick)
    train, held_out = crops_of(whole.start, options.data)
    files = run_files(studies, seeds, train, folder / "runs")
    if options.so_far:
        missing = {one: NOT_YET for one, file in files.items() if not (one.seed or file.is_file())}
    else:
        training = Options(data=options.data, device=options.device)
        missing = train_waiting(files, training, studies[0].minutes, at_once)
    runs = read_runs(files, missing)
    if not runs[studies[0].start]:
        raise UserError("--so-far: not even the baseline is trained yet; leave it out")
    page = write_ablation(
        folder.with_name(f"{folder.name}-quick") if options.quick else folder,
        contents(options, seeds, studies, runs, missing, (train, held_out)),
        partial(unrenamed_flips, studies=studies, runs=runs, held_out=held_out),
    )
    print(f"the page: {page}")


def run_files(
    studies: list[Study], seeds: int, train: Crops, folder: Path
) -> dict[Experiment, Path]:
    """The result file of each run, in the order in which they are trained.

    The first seed of all experiments comes first, then the other seeds of those that others are
    compared with: their spread shows which single runs stand out, should it be stopped there.
    """
    every = dict.fromkeys(one for study in studies for _, one in study.experiments())
    baselines = {study.experiments()[0][1] for study in studies[1:]}
    order = [(one, seed) for seed in range(seeds) for one in every]
    order.sort(key=lambda run: run[1] > 0 and run[0] not in baselines)
    runs = [replace(one, seed=seed) for one, seed in order]
    return {one: folder / f"{one.key(train)}.json" for one in runs}


def train_waiting(
    files: Mapping[Experiment, Path], options: Options, minutes: float, at_once: int
) -> dict[Experiment, str]:
    """Train what has no file yet, ``at_once`` side by side; which experiments cannot be run here,
    and why.

    minutes: of one run on one core, for the first estimate.
    """
    for file in files.values():
        if file.is_file():  # a kill may have come between the two
            file.with_suffix(".pt").unlink(missing_ok=True)
    waiting = [one for one, file in files.items() if not file.is_file()]
    at_once = max(min(at_once, len(waiting)), 1)
    missing: dict[Experiment, str] = {}
    pieces = ((one, options, files[one]) for one in waiting if replace(one, seed=0) not in missing)
    if waiting:
        print(
            f"{len(waiting)} of {len(files)} runs to train, {at_once} at once, about "
            f"{minutes * len(waiting) / at_once:.0f} minutes",
            file=sys.stderr,
        )
    began, threads = time.monotonic(), torch.get_num_threads()
    with closing(map_unordered(finish, pieces, at_once, threads, "take --at-once 1")) as ended:
        for number, ((one, *_), why) in enumerate(ended, start=1):
            if why:
                missing[replace(one, seed=0)] = why
            left = (time.monotonic() - began) / 60 / number * (len(waiting) - number)
            number += len(files) - len(waiting)
            print(f"run {number} of {len(files)}, about {left:.0f} minutes left", file=sys.stderr)
    return missing


def finish(experiment: Experiment, options: Options, file: Path) -> str:
    """Run one experiment and write ``file``; returns why where it cannot be run here."""
    checkpoint = file.with_suffix(".pt")
    try:
        result = single.run(experiment, options, checkpoint)
    except NotHereError as fault:
        return str(fault)
    write_atomically(file, lambda to: to.write(json.dumps(result, indent=1).encode()))
    checkpoint.unlink(missing_ok=True)
    return ""


def read_runs(files: Mapping[Experiment, Path], missing: Mapping[Experiment, str]) -> Runs:
    """The results of each experiment up to its first seed without; none of those ``missing``.

    Raises UserError where a file holds something else.
    """
    runs: Runs = {}
    for one, file in files.items():
        base = replace(one, seed=0)
        results = runs.setdefault(base, [])
        if base in missing or len(results) < one.seed or not file.is_file():
            continue
        try:
            result = json.loads(file.read_text())
            if not {"errors", "seconds", "parameters"} <= result.keys():
                raise ValueError
        except (ValueError, AttributeError):
            raise UserError(
                f"{file}: damaged; delete it, and its network is trained again"
            ) from None
        results.append(result)
    return runs


def contents(
    options: argparse.Namespace,
    seeds: int,
    studies: list[Study],
    runs: Runs,
    missing: Mapping[Experiment, str],
    crops: tuple[Crops, Crops],
) -> dict[str, Any]:
    """What ``common.report.ablation_page`` shows. crops: training and held-out faces."""
    train, held_out = crops
    tables = [table(study, runs, missing) for study in studies]
    command = f"python run_part.py ladder {options.part}"
    command += (" --quick" if options.quick else "") + f" --seeds {seeds}"
    setting = (
        f"Each network was trained on {len(train):,} training faces of {train.faces.dataset} and "
        f"evaluated on {len(held_out):,} held-out training faces, unless a row says otherwise; no "
        f"test face influenced any choice. {timed_on(runs)} To save time, the recipe with all "
        f"changes has {shortened(studies[0].experiments()[-1][1])}."
    )
    if options.so_far:
        command += " --so-far"
        setting += f" {progress(runs, seeds)}"
        tables[1:] = [
            one for one in tables[1:] if sum(bool(row.errors) for row in one["results"]) > 1
        ]
    return {
        "part": options.part,
        "setting": setting,
        "command": command,
        "torch": " and ".join(noted((one for each in runs.values() for one in each), "torch")),
        "synthetic": train.faces.synthetic,
        "seeds": seeds,
        "mean_face": single.mean_face_error(train, held_out, studies[0].start.recipe),
        "groups": tables,
    }


def table(study: Study, runs: Runs, missing: Mapping[Experiment, str]) -> dict[str, Any]:
    """One table of the page."""
    rows = study.experiments()
    results = [
        Result(
            name=change.name,
            change=" ".join(f"{name}={value}" for name, value in change.values.items()),
            why=change.why,
            errors=[one["errors"][study.measure] for one in runs[experiment]],
            seconds=[one["seconds"] for one in runs[experiment]],
            devices=[one.get("device", UNKNOWN) for one in runs[experiment]],
            parameters=runs[experiment][0]["parameters"] if runs[experiment] else 0,
            missing=missing.get(experiment, ""),
        )
        for change, experiment in rows
    ]
    same_faces = study.measure == "nme" and not any(
        one.points or one.dlib_list or one.boxes != "landmarks" for _, one in rows
    )
    return {
        "title": study.title,
        "text": study.text,
        "results": results,
        "cumulative": study.cumulative,
        "comparable": same_faces,  # with the mean face
    }


def shortened(top: Experiment) -> str:
    """In what the recipe with all changes differs from the part's best."""
    best = PARTS[top.part][0].Best()
    return ", ".join(
        f"{name} {value} instead of {getattr(best, name) or 'all'}"
        for name, value in asdict(top.recipe).items()
        if value != getattr(best, name)
    )


def progress(runs: Runs, seeds: int) -> str:
    """How many experiments are trained, and how many with all seeds, in a sentence."""
    trained = [len(results) for results in runs.values() if results]
    text = f"So far {len(trained)} of {len(runs)} experiments are trained"
    if min(trained) < seeds:
        text += f", {trained.count(seeds)} of them with all {seeds} seeds"
    return f"{text}."


def timed_on(runs: Runs) -> str:
    """Where the seconds of tables, those of each first seed, were measured, in a sentence."""
    first = noted((one for each in runs.values() for one in each[:1]), "device")
    rest = noted((one for each in runs.values() for one in each[1:]), "device")
    text = f"Times are processor time for training one network on {' and '.join(first)}"
    others = [device for device in rest if device not in first]
    return f"{text}; other seeds were trained on {' and '.join(others)}." if others else f"{text}."


def noted(results: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    """The values of "torch" or "device" in the runs' files."""
    return sorted({result.get(name, UNKNOWN) for result in results})


MIRRORED = (
    "The classic mistake. Points of the left half of this face are blue rings, those of the right "
    "half orange crosses, by their numbers. In a mirrored face left and right must exchange their "
    "names (middle); on the right {} pairs did not, and each names the wrong side."
)
PREDICTED = (
    "What two networks predict for {}, a held-out face. In half of its training faces the second "
    "one was given the right eye as the left one. The best prediction for both, by squared or "
    "absolute error, is in between. Points are off by {:.1f} and {:.1f} px on average."
)


def unrenamed_flips(
    gallery: Gallery, studies: list[Study], runs: Runs, held_out: Crops
) -> list[Picture]:
    """A mirrored face with and without exchanged names, and what networks learned from each.

    studies: the two networks are the first two of the study that ``shows_flips``; no figures
    where it is not among them or not trained.
    """
    shown = [study.experiments()[:2] for study in studies if study.shows_flips]
    both = [runs[one] for rows in shown for _, one in rows]
    if not both or not all(results and "prediction" in results[0] for results in both):
        return []
    recipe, faces = studies[0].start.recipe, held_out.take([0])
    pairs, order = faces.faces.scheme.flip_pairs, faces.flip_order
    image = ((to_network_input(faces.images, recipe) + 0.5) * 255).round()[0, 0]  # (h, w)
    truth = faces.points[0]  # (K, 2)
    mirrored = torch.stack([recipe.width - 1 - truth[:, 0], truth[:, 1]], dim=1)
    predicted = [
        to_pixels(torch.tensor(results[0]["prediction"]), recipe.height, recipe.width)
        for results in both
    ]
    off = [(points - truth).norm(dim=1).mean().item() for points in predicted]
    sides = list(
        zip(*(sorted(pair, key=lambda i: truth[i, 0].item()) for pair in pairs), strict=True)
    )
    names = {
        "the face": (image, truth),
        "mirrored, names exchanged": (image.flip(-1), mirrored[order]),
        "mirrored, names kept": (image.flip(-1), mirrored),
    }
    titles = "trained with exchange", "trained without"
    learned = {title: (image, points) for title, points in zip(titles, predicted, strict=True)}
    return [
        gallery.add(
            "names",
            image_figures.names(names, *sides),
            "A face and two mirror images of it",
            MIRRORED.format(len(pairs)),
        ),
        gallery.add(
            "learned",
            image_figures.names(learned, *sides),
            "Two networks' predictions for a face",
            PREDICTED.format(faces.faces.files[0].stem, *off),
        ),
    ]
