"""``run_part.py ladder`` with shrunken studies, and the studies as they are."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, fields, replace
from unittest.mock import Mock

import made_up_reports
import pytest
import torch

import run_part
from common import training
from common.recipe import Options, Recipe
from common.system.errors import NotHereError, UserError
from parts.studies import experiment, ladder
from parts.studies.experiment import Experiment
from parts.studies.ladder_plans import PART1, PART2, PART2_VALUES, PART3, STUDIES, Change, Study

TOGETHER = (  # values of which one without the others means nothing
    *("colour saturation hue", "colour saturation hue brightness contrast"),
    "rotation shift scale flip",
    *("optimizer weight_decay", "scale box_shift box_scale_spread"),
    *("height width", "height width margin", "faces epochs", "flip flip_tta", PART2_VALUES),
)
TWO = Change("flip", "Mirrored.", {"flip": 0.5}), Change("falling", "Small.", {"cosine": True})


def small(part, *questions, changes=TWO, values=None, **more):
    """A part's study of two changes and some questions, an epoch each."""
    start = STUDIES[part].start.changed(**({"epochs": 1, "batch": 4} | (values or {})))
    return replace(STUDIES[part], start=start, changes=changes, questions=questions, **more)


def line(study, root, reports, *more):
    """The command line of a study."""
    where = ["--data", root, "--reports", reports, "--device", "cpu"]
    return ["ladder", study.start.part, *map(str, [*where, *more])]


@pytest.fixture
def climb(monkeypatch, tmp_path, small_root, command):
    """Calls the command line with a small study: status, page's folder, lines of stderr."""

    def climb(study, *more):
        part = study.start.part
        monkeypatch.setitem(ladder.STUDIES, part, study)
        status, _, errors = command(*line(study, small_root, tmp_path, "--at-once", 1, *more))
        return status, tmp_path / f"ladder{part}", errors

    return climb


def page_of(folder):
    return json.loads((folder / "ladder.json").read_text())


def errors_of(folder):
    return [[row["errors"] for row in table["results"]] for table in page_of(folder)["tables"]]


@pytest.mark.slow
def test_each_experiment_is_trained_once_and_read_afterwards(climb, trained, tmp_path, small_runs):
    study = small("1", quick_seeds=2)
    assert climb(study, "--quick")[0] == 0
    quick = page_of(tmp_path / "ladder1-quick")
    assert (quick["seeds"], len(quick["tables"]), len(trained)) == (2, 1, 2 * 3)

    status, folder, _ = climb(study, "--seeds", 2)
    # Two changes on the course's recipe; without flip is new, without a falling rate is the first.
    assert (status, len(trained)) == (0, 2 * 4)
    assert len({(recipe.flip, recipe.cosine) for _, recipe in trained}) == 4
    first = page_of(folder)["tables"]
    assert [len(row["errors"]) for table in first for row in table["results"]] == [2] * 6
    unnamed = {"name": "", "change": "", "why": ""}
    assert first[0]["results"][1] | unnamed == first[1]["results"][2] | unnamed
    assert first[1]["results"][1]["change"] == "flip=0.0"
    runs = list((folder / "runs").iterdir())
    assert len(runs) == 8 and {file.suffix for file in runs} == {".json"}

    trained.clear()
    assert climb(study, "--seeds", 2)[0] == 0
    assert (trained, page_of(folder)["tables"]) == ([], first)


@pytest.mark.parametrize("text", ['{"errors": ', "{}", "[]"])
def test_a_damaged_run_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises(UserError) as fault:
        ladder.read_runs({PART1.start: file})
    assert str(fault.value) == f"{file}: damaged; delete it, and its network is trained again"


@pytest.mark.slow
def test_a_stopped_ladder_resumes_in_the_middle_of_a_run(climb, trained, monkeypatch, small_runs):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    study = small("1", values={"epochs": 3})
    trained.stop_at = 4  # the second epoch of the second run
    status, folder, _ = climb(study, "--seeds", 1)
    assert status == 130 and not (folder / "index.html").exists()
    assert sorted(file.suffix for file in (folder / "runs").iterdir()) == [".json", ".pt"]
    status, _, lines = climb(study, "--seeds", 1)
    assert (status, len(trained)) == (0, 3 * 4)  # none twice
    begun = [line.partition(",")[0] for line in lines if line.startswith("run ")]
    assert begun == [f"run {n} of 4" for n in (2, 3, 4)]

    resumed = errors_of(folder)
    shutil.rmtree(folder / "runs")
    assert climb(study, "--seeds", 1)[0] == 0
    assert errors_of(folder) == resumed


@pytest.mark.slow
def test_so_far_shows_what_is_trained(climb, trained, small_runs):
    status, folder, errors = climb(small("1"), "--so-far")
    assert (status, trained) == (2, [])
    assert errors[-1] == "error: --so-far: not even the baseline is trained yet; leave it out"

    trained.stop_at = 2  # of the first seed's four runs
    assert climb(small("1"), "--seeds", 3)[0] == 130
    assert climb(small("1"), "--seeds", 3, "--so-far")[0] == 0
    page = page_of(folder)
    assert page["command"] == "python run_part.py ladder 1 --seeds 3 --so-far"
    (table,) = page["tables"]
    shown = [(len(row["errors"]), row["missing"]) for row in table["results"]]
    assert shown == [(1, ""), (1, ""), (0, "not trained yet")]
    assert "So far 2 of 4 experiments" in page["setting"]
    assert len(trained) == 2


def test_quick_is_shortened_as_the_study_says(climb, trained, tmp_path, small_runs):
    quick = {"epochs": 2, "max_steps": 1}
    study = small("1", changes=TWO[:1], values={"epochs": 6}, quick=quick, quick_seeds=1)
    assert climb(study, "--quick")[0] == 0
    assert [(recipe.epochs, recipe.max_steps) for _, recipe in trained] == [(2, 1)] * 4
    setting = page_of(tmp_path / "ladder1-quick")["setting"]
    assert "epochs 2 instead of 160" in setting and "max_steps 1 instead of all" in setting


@pytest.mark.slow
def test_questions_have_measures_baselines_and_figures_of_their_own(climb, trained, monkeypatch):
    made_up_reports.draw_coarsely(monkeypatch)
    rate = Change("small rate", "Sure.", {"learning_rate": 1e-5})
    loss = Study("Rate", "How far?", (rate,), Change("L1", "", {"loss": "l1"}))
    values, questions = {"height": 90, "width": 120}, (*PART2.questions[1:3], loss)
    study = small("2", *questions, changes=TWO[:1], values=values)
    status, folder, _ = climb(study, "--seeds", 1)
    assert status == 0
    assert {"names.png", "learned.png"} <= {f.name for f in (folder / "figures").iterdir()}
    assert "27 pairs did not" in (folder / "index.html").read_text()
    flips, points, rates = page_of(folder)["tables"][2:]
    assert len({row["parameters"] for row in points["results"]}) == 3  # 58, 11, 1 points
    assert points["results"][0]["errors"] != flips["results"][0]["errors"]  # the nose alone
    changes = {row["name"]: row["change"] for row in rates["results"]}
    assert changes == {"L1": "loss=l1", "small rate": "learning_rate=1e-05"}
    assert [(r.loss, r.learning_rate) for _, r in trained[-2:]] == [("l1", 1e-4), ("l1", 1e-5)]


def test_what_cannot_be_run_is_tried_once_and_its_row_says_why(monkeypatch, tmp_path, small_root):
    download = Mock(side_effect=[NotHereError("offline; go on"), UserError("cache: full; go on")])
    monkeypatch.setattr(experiment.part3_variants, "load_imagenet", download)
    question = next(q for q in PART3.questions if q.title == "Initial weights")
    question = replace(question, start=PART3.start.changed(height=32, width=32, margin=4))
    (_, baseline), (_, pretrained) = question.experiments()
    files = {replace(pretrained, seed=seed): tmp_path / f"{seed}.json" for seed in range(2)}
    here = Options(data=small_root, device="cpu")
    missing = ladder.train_waiting(files, here, 1.0, 1)
    assert missing == {pretrained: "ImageNet's weights cannot be downloaded here"}
    assert download.call_count == 1 and not any(file.exists() for file in files.values())
    runs = ladder.read_runs({baseline: tmp_path / "none", **files})
    rows = ladder.table(question, runs, missing).results
    assert [row.missing for row in rows] == ["not trained yet", missing[pretrained]]
    with pytest.raises(UserError, match=r"^cache: full"):  # another fault ends it
        ladder.train_waiting(files, here, 1.0, 1)


def test_a_folder_that_cannot_be_written_ends_before_the_training(climb, trained, tmp_path):
    (tmp_path / "ladder1").write_text("a file in its place")
    status, _, (error,) = climb(small("1"), "--seeds", 1)
    assert (status, trained) == (2, [])
    assert error.startswith("error: ") and "cannot be written" in error


def test_the_setting_names_devices_and_counts_what_is_trained():
    one, two, three = (Experiment("1", Recipe(epochs=n)) for n in (1, 2, 3))
    here, new, old = {"torch": "2.8", "device": "cpu"}, {"torch": "2.9", "device": "H100"}, {}

    def text(*runs, so_far=False):
        runs = dict(zip((one, two, three), runs, strict=False))
        facts = {"train": 2794, "held_out": 311, "dataset": "ibug", "seeds": 2, "folds": False}
        return ladder.setting(PART1.top.changed(epochs=60), runs, so_far=so_far, **facts)

    assert ladder.noted([[new, here]], "torch") == ["2.8", "2.9"]
    assert "on cpu; other seeds were trained on H100." in text([here, new], [], [here])
    assert "on cpu. " in text([here, here]) and "on what older runs did not note. " in text([old])
    assert text([here]).endswith("has epochs 60 instead of 160.")
    uneven = text([here, new], [], [here], so_far=True)
    assert uneven.endswith("2 of 3 experiments are trained, 1 of them with all 2 seeds.")
    assert text([here] * 2, [here] * 2, so_far=True).endswith("2 of 2 experiments are trained.")


def in_a_session(study, root, reports):
    """The command line as a terminal runs it, with stderr in a file."""
    os.setsid()
    sys.stderr = (reports / "stderr").open("w", buffering=1)
    ladder.STUDIES["1"] = study
    sys.exit(run_part.main(line(study, root, reports, "--at-once", 2, "--seeds", 9)))


def wait_for_end(session):
    with suppress(ProcessLookupError):
        while True:  # or until pytest's time limit
            os.killpg(session, 0)
            time.sleep(0.1)


@pytest.mark.slow
def test_two_at_once_end_together_and_gave_what_one_gives(tmp_path, small_root):
    study, said = small("1", values={"epochs": 4}), tmp_path / "stderr"
    said.touch()
    processes, given = multiprocessing.get_context("forkserver"), (study, small_root, tmp_path)
    process = processes.Process(target=in_a_session, args=given)
    process.start()
    try:
        while "run 1 of 36, about " not in said.read_text():
            time.sleep(0.1)
        assert "36 of 36 runs to train, 2 at once, about " in said.read_text()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.join()
        wait_for_end(process.pid)
        _, *lines, last = said.read_text().partition("run 1 of")[2].splitlines()
        assert process.exitcode == 130
        assert last == "stopped; parts go on with --resume, others by the same command"
        assert all(line.startswith("run ") for line in lines)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    train, _ = experiment.crops_of(study.start, small_root)
    files = ladder.run_files(study.parts(False), 9, train, tmp_path / "ladder1" / "runs")
    one, *rest = (one for one, file in files.items() if file.is_file())
    alone = experiment.run(one, Options(data=small_root, device="cpu"), tmp_path / "alone.pt")
    together = json.loads(files[one].read_text())
    assert together["errors"] == pytest.approx(alone["errors"], rel=1e-3)
    assert len(rest) < 35


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
class TestStudies:
    def test_every_change_sets_one_thing_that_exists(self, study):
        known = {field.name for field in fields(Recipe)} | experiment.OWN
        beside = [change for question in study.questions for change in question.changes]
        for change in (*study.changes, *beside):
            assert set(change.values) <= known
            assert len(change.values) == 1 or " ".join(change.values) in TOGETHER
            assert change.name and change.why.rstrip("?.") != change.why
        lines = [line for change in study.changes for line in change.values]
        assert len(lines) == len(set(lines))
        assert not set(lines) & set(study.quick)

    def test_it_leads_from_the_courses_recipe_to_ours_and_every_change_counts(self, study):
        part, _ = experiment.PARTS[study.start.part]
        rows = [one for _, one in study.experiments()]
        assert len(set(rows)) == len(rows)
        for one, recipe in ((rows[0], part.Course()), (rows[-1], part.Best())):
            differing = asdict(one.recipe).items() - asdict(recipe).items()
            assert {name for name, _ in differing} <= {"epochs", "height", "width", "margin"}

    def test_all_its_networks_fit_their_input(self, study):
        every = [one for each in study.parts(False) for _, one in each.experiments()]
        kinds = {(e.recipe.head, e.recipe.height, e.kernels, e.points): e for e in every}
        for one in kinds.values():
            k = len(one.points or range({"1": 1, "2": 58, "3": 68}[one.part]))
            with torch.device("meta"):  # shapes alone
                network = experiment.network_of(replace(one, pretrained=False)).eval()
                faces = torch.zeros(2, 1, one.recipe.height, one.recipe.width)
                assert network(faces).shape == (2, k, 2)


def test_the_mean_face_is_compared_only_with_networks_evaluated_on_the_same():
    result = {"errors": dict.fromkeys(("nme", "nme_nose"), 1.0), "seconds": 1.0, "parameters": 1}
    other = set()
    for study in (each for part in STUDIES.values() for each in part.parts(False)):
        runs = {one: [result] for _, one in study.experiments()}
        if not ladder.table(study, runs, {}).comparable:
            other.add(study.title)
    assert other == {"Number of points", "Crop box", "dlib's leaky split"}


def test_baselines_get_their_other_seeds_before_the_rest(small_root, tmp_path):
    train, _ = experiment.crops_of(PART1.start, small_root)
    runs = list(ladder.run_files(PART3.parts(False), 2, train, tmp_path))
    others = PART3.top.changed(head="coordinates"), PART3.top.changed(dlib_list="unseen")
    half = len(runs) // 2
    assert [run.seed for run in runs] == [0] * half + [1] * half
    assert set(runs[half : half + 3]) == {replace(one, seed=1) for one in (PART3.top, *others)}


def test_a_runs_name_depends_on_values_seed_and_faces(small_root):
    start = PART1.start
    train, _ = experiment.crops_of(start, small_root)
    others = replace(start, seed=1), start.changed(flip=0.5), start.changed(pairs=False)
    names = {one.key(train) for one in (start, replace(start), *others)}
    assert len(names | {start.key(train.take([0]))}) == 5
    batched = Experiment("1", Recipe(batch=16), seed=3)
    assert batched.settings() == {"part": "1", "batch": 16}
    assert batched.changed(batch=1).settings() == {"part": "1"}  # defaults are left out
