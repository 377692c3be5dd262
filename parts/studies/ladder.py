"""``python run_part.py ladder 1`` (2, 3): runs a part's ablation, defined in ``ladder_plans.py``.

Every experiment is run with several seeds. A finished run leaves a small file below
``reports/ladder1/runs``, named by its settings, seed and data set, and is never trained again; an
unfinished one leaves a checkpoint there, from which the next call resumes.
"""

from __future__ import annotations

import argparse
import json
import statistics
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
from common.report.ablation_page import Ablation, Result, Table, write_ablation
from common.report.page import Gallery, Picture, plain_text
from common.system.device import best_device
from common.system.errors import NotHereError, UserError
from common.system.files import make_writable, write_atomically
from common.system.parallel import map_unordered
from datasets.splits import is_own
from parts.commands.options import add_data, add_device, add_reports
from parts.studies import experiment as single
from parts.studies.experiment import FOLDS, PARTS, Experiment, crops_of
from parts.studies.ladder_plans import STUDIES, Study

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
    parser.add_argument("--dataset", metavar="PATH", help="labels of your own, for part 3")
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
    if options.dataset:
        if options.part != "3" or not is_own(options.dataset):
            raise UserError(f"--dataset {options.dataset}: no labels of yours, or not for part 3")
        start = whole.start.changed(dataset=options.dataset)
        whole = replace(whole, start=start, questions=())  # those are about 300-W
        folder = folder.with_name(f"{folder.name}-{Path(options.dataset).resolve().stem}")
    if options.seeds is None:
        options.seeds = whole.quick_seeds if options.quick else SEEDS
    need_one("--seeds", options.seeds)
    if options.at_once is None:
        options.at_once = min(torch.get_num_threads(), AT_ONCE)
    need_one("--at-once", options.at_once)
    best_device(options.device)  # refused before anything is written or announced
    make_writable(folder / "runs")
    studies = whole.parts(options.quick)
    crops = crops_of(whole.start, options.data)
    files = run_files(studies, options.seeds, crops[0], folder / "runs")
    missing = {}
    if not options.so_far:
        training = Options(data=options.data, device=options.device)
        missing = train_waiting(files, training, studies[0].minutes, options.at_once)
    runs = read_runs(files)
    if not runs[studies[0].start]:
        raise UserError("--so-far: not even the baseline is trained yet; leave it out")
    page = write_ablation(
        folder.with_name(f"{folder.name}-quick") if options.quick else folder,
        ablation(options, studies, runs, missing, crops),
        partial(unrenamed_flips, top=studies[0].top, runs=runs, held_out=crops[1]),
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
    missing: dict[Experiment, str] = {}
    waiting = [one for one, file in files.items() if not file.is_file()]
    if not waiting:
        return missing
    count, at_once = len(files), min(at_once, len(waiting))
    begin = f"{len(waiting)} of {count} runs to train, {at_once} at once"
    print(f"{begin}, about {minutes * len(waiting) / at_once:.0f} minutes", file=sys.stderr)
    pieces = ((one, options, files[one]) for one in waiting if replace(one, seed=0) not in missing)
    began, threads = time.monotonic(), torch.get_num_threads()
    with closing(map_unordered(finish, pieces, at_once, threads, "take --at-once 1")) as ended:
        for number, ((one, *_), why) in enumerate(ended, start=1):
            if why:
                missing[replace(one, seed=0)] = why
            left = (time.monotonic() - began) / 60 / number * (len(waiting) - number)
            number += count - len(waiting)
            print(f"run {number} of {count}, about {left:.0f} minutes left", file=sys.stderr)
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


def read_runs(files: Mapping[Experiment, Path]) -> Runs:
    """The results of each experiment up to its first seed without.

    Raises UserError where a file holds something else.
    """
    runs: Runs = {}
    for one, file in files.items():
        results = runs.setdefault(replace(one, seed=0), [])
        if len(results) < one.seed or not file.is_file():
            continue
        try:
            results.append(json.loads(file.read_text()))
            if not {"errors", "seconds", "parameters"} <= results[-1].keys():
                raise ValueError
        except (ValueError, AttributeError):
            raise UserError(
                f"{file}: damaged; delete it, and its network is trained again"
            ) from None
    return runs


def ablation(
    options: argparse.Namespace,
    studies: list[Study],
    runs: Runs,
    missing: Mapping[Experiment, str],
    crops: tuple[Crops, Crops],
) -> Ablation:
    """What the page shows. crops: training and held-out faces."""
    train, held_out = crops
    tables = [table(study, runs, missing) for study in studies]
    command = f"python run_part.py ladder {options.part}"
    command += (" --quick" if options.quick else "") + f" --seeds {options.seeds}"
    command += f" --dataset {options.dataset}" if options.dataset else ""
    if options.so_far:
        command += " --so-far"
        tables[1:] = [one for one in tables[1:] if len(one.measured) > 1]
    facts = {"train": len(train), "held_out": len(held_out), "dataset": train.faces.dataset}
    facts |= {"so_far": options.so_far, "seeds": options.seeds, "folds": studies[0].start.folds}
    return Ablation(
        part=options.part,
        setting=setting(studies[0].top, runs, **facts),
        command=command,
        torch=" and ".join(noted(runs.values(), "torch")),
        synthetic=train.faces.synthetic,
        seeds=options.seeds,
        mean_face=mean_face(studies[0].start, options.data),
        tables=tables,
    )


def mean_face(start: Experiment, data: Path | None) -> float:
    """The NME in % of always predicting the mean training face, a mean over the folds."""
    folds = [
        crops_of(replace(start, seed=fold), data) for fold in range(FOLDS if start.folds else 1)
    ]
    return statistics.mean(single.mean_face_error(*fold, start.recipe) for fold in folds)


def setting(top: Experiment, runs: Runs, **facts: object) -> str:
    """Sentences on faces, devices, what was shortened, and with ``so_far`` on what is trained."""
    best = PARTS[top.part][0].Best()
    values = ((name, value, getattr(best, name)) for name, value in asdict(top.recipe).items())
    first = noted([results[:1] for results in runs.values()], "device")
    return plain_text(
        "ladder_setting.txt",
        shortened=[(name, value, usual) for name, value, usual in values if value != usual],
        first=first,  # of each experiment's seeds, whose seconds the tables show
        others=[device for device in noted(runs.values(), "device") if device not in first],
        counts=[len(results) for results in runs.values()],
        **facts,
    )


def noted(runs: Iterable[list[dict[str, Any]]], name: str) -> list[str]:
    """The values of "torch" or "device" in the runs' files."""
    return sorted({result.get(name, UNKNOWN) for results in runs for result in results})


def table(study: Study, runs: Runs, missing: Mapping[Experiment, str]) -> Table:
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
            missing="" if runs[experiment] else missing.get(experiment, "not trained yet"),
        )
        for change, experiment in rows
    ]
    comparable = study.measure == "nme" and not any(
        one.points or one.dlib_list or one.boxes != "landmarks" for _, one in rows
    )
    return Table(study.title, study.text, results, study.cumulative, comparable)


def unrenamed_flips(
    gallery: Gallery, top: Experiment, runs: Runs, held_out: Crops
) -> dict[str, Picture]:
    """A mirrored face with and without exchanged names, and what networks learned from each.

    No figures where ``top``, the experiment with all changes, is not trained both ways.
    """
    both = [runs.get(one) for one in (top, top.changed(pairs=False))]
    if not all(results and "prediction" in results[0] for results in both):
        return {}
    recipe, faces = top.recipe, held_out.take([0])
    pairs, truth = faces.faces.scheme.flip_pairs, faces.points[0]  # (K, 2)
    image = ((to_network_input(faces.images, recipe) + 0.5) * 255).round()[0, 0]  # (h, w)
    mirrored = torch.stack([recipe.width - 1 - truth[:, 0], truth[:, 1]], dim=1)
    names = {
        "the face": (image, truth),
        "mirrored, names exchanged": (image.flip(-1), mirrored[faces.flip_order]),
        "mirrored, names kept": (image.flip(-1), mirrored),
    }
    learned, off = {}, []
    for title, results in zip(("trained with exchange", "trained without"), both, strict=True):
        fractions = torch.tensor(results[0]["prediction"])
        points = to_pixels(fractions, recipe.height, recipe.width)
        learned[title] = image, points
        off.append((points - truth).norm(dim=1).mean().item())
    ordered = (sorted(pair, key=lambda i: truth[i, 0].item()) for pair in pairs)
    left, right = zip(*ordered, strict=True)
    face = faces.faces.files[0].stem
    return {
        "names": gallery.add("names", image_figures.names(names, left, right), pairs=len(pairs)),
        "learned": gallery.add(
            "learned", image_figures.names(learned, left, right), face=face, off=off
        ),
    }
