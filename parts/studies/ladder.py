"""The engine of ``python run_part.py ladder 1`` (2, 3); what it climbs stands in ``ladders.py``.

Every step is trained with several seeds and asked for training faces that were held out
(``parts.studies.experiment``). A finished run leaves a small file below ``reports/ladder1/runs``,
named by its values, seed and data set, and is never trained again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from common.augmentation import to_network_input
from common.crops import to_pixels
from common.loading import Crops
from common.metrics import errors_per_face, mean_shape
from common.recipe import Options, Recipe, need_one
from common.report import image_figures
from common.report.ablation_page import Group, Ladder, Question, Rung, Step, write_ladder
from common.report.page import Gallery, Picture
from common.system.device import best_device, computes_in_bfloat16
from common.system.errors import NotHereError, UserError
from common.system.files import make_writable, write_atomically
from common.system.parallel import map_unordered
from parts.studies import experiment
from parts.studies.experiment import Trial
from parts.studies.ladder_plans import PLANS, Plan

COURSE, OURS = "the course's recipe", "all changes together"
NOT_YET = "not trained yet"
NOT_NOTED = "what older runs did not note"
SEEDS = 3
AT_ONCE = 4  # each process holds torch and a network of its own in memory
Run = tuple[Trial, int]  # and its seed


@dataclass(frozen=True)
class Asked:
    """One group of the page before it is measured: a question, and what is trained for it."""

    question: Question
    tried: tuple[tuple[Step, Trial], ...]
    climb: bool = False


def ladder(
    part: str,
    quick: bool = False,
    seeds: int | None = None,
    data: Path | None = None,
    device: str | None = None,
    reports: Path = Path("reports"),
    so_far: bool = False,
    at_once: int | None = None,
) -> Path:
    """Train what is not trained yet, write ``reports/ladder<part>/`` and return the page.

    quick: the ladder alone, as long as ten minutes on two cores allow; its runs count for the
    whole one where they are the same. seeds: runs of each step; by default ``SEEDS``, or the
    plan's for a quick one. so_far: train nothing, tell each step with the seeds that it has, mark
    those that have none, and leave out questions without two that have. at_once: runs side by
    side, each in a process of its own; by default one a core, up to ``AT_ONCE``.
    Raises UserError where nothing would be trained, the device is not there or the folder cannot
    be written.
    """
    plan, folder = PLANS[part], reports / f"ladder{part}"
    if seeds is None:
        seeds = plan.quick_seeds if quick else SEEDS
    need_one("--seeds", seeds)
    if at_once is None:
        at_once = min(torch.get_num_threads(), AT_ONCE)
    need_one("--at-once", at_once)
    best_device(device)  # refused before anything is written or announced
    make_writable(folder / "runs")
    asked = [quickly(plan)] if quick else groups(plan)
    start, top = (asked[0].tried[end][1] for end in (0, -1))
    learned, held_out = experiment.crops_of(start, data)
    options = Options(data=data, device=device, resume=True)
    shorter = plan.quick.get("epochs", plan.ours.epochs) / plan.ours.epochs if quick else 1
    every = list(dict.fromkeys(trial for group in asked for _, trial in group.tried))
    minutes = shorter * plan.minutes
    against = {group.tried[0][1] for group in asked[1:]}
    files = files_of(every, against, seeds, learned, folder / "runs")
    if so_far:
        missing = {
            trial: NOT_YET for (trial, seed), file in files.items() if not (seed or file.is_file())
        }
    else:
        missing = train_waiting(files, options, minutes, at_once)
    results = results_of(files, missing)
    if "missing" in results[start][0]:
        raise UserError("--so-far: not even the first step is trained yet; leave it out")
    climbed, *others = (group_of(one, results) for one in asked)
    if so_far:
        others = [group for group in others if sum(bool(rung.errors) for rung in group.rungs) > 1]
    told = Ladder(
        part=part,
        setting=(
            f"Each network learned from {len(learned):,} training faces of "
            f"{learned.faces.dataset} and was asked for {len(held_out):,} other "
            "training faces, unless a step says otherwise; no test face chose anything. "
            f"{whose_time(results)} So that many runs fit into the time, the ladder leads to ours "
            f"with {cut_short(top)}."
            f"{so_far * progress(results, seeds)}"
        ),
        command=(
            f"python run_part.py ladder {part}{' --quick' * quick} --seeds {seeds}"
            f"{' --so-far' * so_far}"
        ),
        torch=" and ".join(noted((one for each in results.values() for one in each), "torch")),
        synthetic=learned.faces.synthetic,
        seeds=seeds,
        mean_face=mean_face(learned, held_out, start.recipe),
        groups=[climbed, *others],
    )

    return write_ladder(
        folder.with_name(folder.name + "-quick" * quick),
        told,
        lambda gallery: classic_mistake(gallery, plan, results, data),
    )


def progress(results: Mapping[Trial, list[dict[str, Any]]], seeds: int) -> str:
    """How many of the steps are trained, and how many with all seeds, in a sentence."""
    trained = [len(told) for told in results.values() if "missing" not in told[0]]
    whole = f", {trained.count(seeds)} of them with all {seeds} seeds" * (min(trained) < seeds)
    return f" So far {len(trained)} of its {len(results)} steps are trained{whole}."


def cut_short(top: Trial) -> str:
    """What the top of the ladder has less of than the part's best recipe."""
    best = experiment.PARTS[top.part][0].Best()
    return ", ".join(
        f"{name} {value} instead of {getattr(best, name) or 'all'}"
        for name, value in asdict(top.recipe).items()
        if value != getattr(best, name)
    )


def mean_face(learned: Crops, asked: Crops, recipe: Recipe) -> float:
    """The NME in % of always answering the mean of the faces learned from."""
    always = to_pixels(mean_shape(learned, recipe), recipe.height, recipe.width)
    return errors_per_face(always.expand(len(asked), -1, -1), asked, recipe)["nme"].mean().item()


def groups(plan: Plan) -> list[Asked]:
    """The ladder, each change taken away, and the questions beside it."""
    climbed = climb(plan)
    top = climbed.tried[-1][1]
    begin = asdict(plan.start) | asdict(plan.start.recipe)
    away = [(Step(OURS, "The top of the ladder.", {}), top)]
    for step in plan.steps:
        if step.taken_away:
            undone = {name: begin[name] for name in step.changes}
            left_out = replace(step, name=f"without {step.name}", changes=undone)
            away.append((left_out, top.changed(**undone)))
    kept = ", ".join(step.name for step in plan.steps if not step.taken_away)
    without = Question(
        "Each change taken away",
        "The ladder asks what a change gives to those before it; this asks what it gives to all "
        f"others. Not undone, as they make up the time that all get: {kept}.",
        (),
    )
    beside = []
    for question in plan.questions:
        base = top.changed(**question.first)
        tried = [(step, base.changed(**step.changes)) for step in question.steps]
        first = Step(question.against, "What the others are held against.", {})
        beside.append(Asked(question, ((first, base), *tried)))
    return [climbed, Asked(without, tuple(away)), *beside]


def climb(plan: Plan) -> Asked:
    """Each step on top of those before it."""
    trial = plan.start
    tried = [(Step(COURSE, "Where the ladder begins.", {}), trial)]
    for step in plan.steps:
        trial = trial.changed(**step.changes)
        tried.append((step, trial))
    question = Question(
        "The ladder", "One change at a time; each step keeps those before it.", plan.steps
    )
    return Asked(question, tuple(tried), climb=True)


def quickly(plan: Plan) -> Asked:
    """The ladder for a first look, shortened where the plan says so."""
    climbed = climb(plan)
    short = tuple((step, trial.changed(**plan.quick)) for step, trial in climbed.tried)
    return replace(climbed, tried=short)


def files_of(
    every: list[Trial], against: set[Trial], seeds: int, learned: Crops, folder: Path
) -> dict[Run, Path]:
    """The file of each run, in the order in which they are trained.

    All trials with the first seed come first, then the other seeds of those that others are held
    ``against``: how far these lie apart tells which single runs of the others are out of the
    ordinary, should it be stopped there.
    """
    runs = [(trial, seed) for seed in range(seeds) for trial in every]
    runs.sort(key=lambda run: run[1] > 0 and run[0] not in against)
    return {run: folder / f"{key(*run, learned)}.json" for run in runs}


def train_waiting(
    files: Mapping[Run, Path], options: Options, minutes: float, at_once: int
) -> dict[Trial, str]:
    """Train what has no file yet, so many ``at_once``; returns what cannot be had here, and why.

    minutes: what a run may take one core, before one was measured.
    """
    for file in files.values():
        if file.is_file():  # a kill may have come between the two
            file.with_suffix(".pt").unlink(missing_ok=True)
    waiting = [run for run, file in files.items() if not file.is_file()]
    at_once = max(min(at_once, len(waiting)), 1)
    missing: dict[Trial, str] = {}
    pieces = (
        (trial, seed, replace(options, seed=seed), files[trial, seed])
        for trial, seed in waiting
        if trial not in missing
    )
    if waiting:
        print(
            f"{len(waiting)} of {len(files)} runs to train, {at_once} at once, about "
            f"{minutes * len(waiting) / at_once:.0f} minutes",
            file=sys.stderr,
        )
    began, threads = time.monotonic(), torch.get_num_threads()
    with closing(map_unordered(finish, pieces, at_once, threads, "take --at-once 1")) as ended:
        for number, ((trial, *_), why) in enumerate(ended, start=1):
            if why:
                missing[trial] = why
            left = (time.monotonic() - began) / 60 / number * (len(waiting) - number)
            number += len(files) - len(waiting)
            print(f"run {number} of {len(files)}, about {left:.0f} minutes left", file=sys.stderr)
    return missing


def finish(trial: Trial, seed: int, options: Options, file: Path) -> str:
    """Train and measure one network and write ``file``; returns why where it cannot be had here."""
    try:
        result = run(trial, seed, options, file)
    except NotHereError as fault:
        return str(fault)
    write_atomically(file, lambda to: to.write(json.dumps(result, indent=1).encode()))
    file.with_suffix(".pt").unlink(missing_ok=True)
    return ""


def results_of(
    files: Mapping[Run, Path], missing: Mapping[Trial, str]
) -> dict[Trial, list[dict[str, Any]]]:
    """What the runs of each trial gave, up to the first seed without; one ``missing`` tells why."""
    results = {trial: [{"missing": why}] for trial, why in missing.items()}
    for (trial, seed), file in files.items():
        told = results.setdefault(trial, [])
        if trial not in missing and len(told) == seed and file.is_file():
            told.append(_read(file))
    return results


def _read(file: Path) -> dict[str, Any]:
    """What ``run`` gave. Raises UserError where the file holds something else."""
    try:
        told = json.loads(file.read_text())
        if {"errors", "seconds", "parameters", "answer"} <= told.keys():
            return told
    except (ValueError, AttributeError):
        pass
    raise UserError(f"{file}: damaged; delete it, and its network is trained anew")


def key(trial: Trial, seed: int, learned: Crops) -> str:
    """A name for one run: the same for the same values, seed and data set."""
    faces = learned.faces.dataset, len(learned)
    told = json.dumps([trial.told(), seed, faces], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def run(trial: Trial, seed: int, options: Options, file: Path) -> dict[str, Any]:
    """Train one network and measure it, going on from a checkpoint beside ``file``.

    Raises NotHereError where boxes, lists or first weights cannot be had here.
    """
    learned, asked = experiment.crops_of(trial, options.data)
    network = experiment.network_of(trial, seed)
    clock, work = time.monotonic(), time.process_time()
    history = experiment.train(network, learned, trial.recipe, options, file.with_suffix(".pt"))
    share = (time.process_time() - work) / (time.monotonic() - clock)  # of the time, and of cores
    errors, answers = experiment.ask(network, asked, trial.recipe)
    return {
        "trial": trial.told(),
        "seed": seed,
        "faces": [len(learned), len(asked)],
        "errors": errors,
        "seconds": sum(epoch["seconds"] for epoch in history) * share,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "answer": answers[0].tolist(),  # fractions of the crop, for the first face
        "torch": str(torch.__version__),
        "device": told_of(best_device(options.device)),
    }


def told_of(device: torch.device) -> str:
    """The device in words, as far as they tell whose seconds can be compared."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device}{' without bfloat16' * (not computes_in_bfloat16(device))}"


def whose_time(results: Mapping[Trial, list[dict[str, Any]]]) -> str:
    """Where the time that tables tell was taken, that of each step's first seed, in a sentence."""
    first = noted((each[0] for each in results.values()), "device")
    every = noted((one for each in results.values() for one in each), "device")
    told = f"The time is the processor's, for training one network on {' and '.join(first)}"
    rest = [device for device in every if device not in first]
    return f"{told}; other seeds learned on {' and '.join(rest)}." if rest else f"{told}."


def noted(runs: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    """What runs were computed with, as their files tell: "torch" or "device"."""
    return sorted({one.get(name, NOT_NOTED) for one in runs if "errors" in one})


def group_of(asked: Asked, results: Mapping[Trial, list[dict[str, Any]]]) -> Group:
    """A group of the page, from what its trials gave."""
    rungs = []
    for step, trial in asked.tried:
        told = results[trial]
        missing = told[0].get("missing", "")
        rungs.append(
            Rung(
                name=step.name,
                change=" ".join(f"{name}={value}" for name, value in step.changes.items()),
                why=step.why,
                errors=[] if missing else [one["errors"][asked.question.measure] for one in told],
                seconds=[] if missing else [one["seconds"] for one in told],
                devices=[] if missing else [one.get("device", NOT_NOTED) for one in told],
                parameters=0 if missing else told[0]["parameters"],
                missing=missing,
            )
        )
    alike = asked.question.measure == "nme" and not any(
        trial.points or trial.dlib_list or trial.boxes != "landmarks" for _, trial in asked.tried
    )
    return Group(asked.question.title, asked.question.words, rungs, asked.climb, alike)


def classic_mistake(
    gallery: Gallery, plan: Plan, results: Mapping[Trial, list[dict[str, Any]]], data: Path | None
) -> list[Picture]:
    """A mirrored face whose points kept their names, and what a network learned from such; no
    figures where none did."""
    top = climb(plan).tried[-1][1]
    recipe, wrong = top.recipe, top.changed(pairs=False)
    if any("answer" not in results.get(trial, [{}])[0] for trial in (top, wrong)):
        return []
    _, asked = experiment.crops_of(top, data)
    image = ((to_network_input(asked.images[:1], recipe) + 0.5) * 255).round()[0, 0]  # (h, w)
    truth = asked.points[0] - recipe.margin  # (58, 2)
    mirrored = torch.stack([recipe.width - 1 - truth[:, 0], truth[:, 1]], dim=1)
    name, pairs = asked.faces.files[0].stem, asked.faces.scheme.flip_pairs
    left, right = zip(
        *(sorted(pair, key=lambda i: truth[i, 0].item()) for pair in pairs), strict=True
    )
    shown = {
        "the face": (image, truth),
        "mirrored, names exchanged": (image.flip(-1), mirrored[asked.flip_order]),
        "mirrored, names kept": (image.flip(-1), mirrored),
    }
    caption = (
        "The classic mistake. Points of the left half of this face are blue rings, those of the "
        "right half orange crosses, by their numbers. In a mirrored face left and right must "
        f"exchange their names (middle); on the right {len(pairs)} pairs "
        "did not, and each names the wrong side."
    )
    answers = {
        words: (
            image,
            to_pixels(torch.tensor(results[trial][0]["answer"]), recipe.height, recipe.width),
        )
        for words, trial in (("learned with exchange", top), ("learned without", wrong))
    }
    apart = [(points - truth).norm(dim=1).mean().item() for _, points in answers.values()]
    told = (
        f"What two networks answer for {name}, a face held out. Half of the faces taught the "
        "second one that the right eye is the left one. Squared or absolute, the best answer to "
        f"both is in between. Points are off by {apart[0]:.1f} and {apart[1]:.1f} px on average."
    )
    return [
        gallery.add(
            "names",
            image_figures.names(shown, left, right),
            "A face and two mirror images of it",
            caption,
        ),
        gallery.add(
            "learned",
            image_figures.names(answers, left, right),
            "Two networks' answers for a face",
            told,
        ),
    ]
