"""``run_part.py ladder`` with shrunken studies, and the studies as they are."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, fields, replace
from html import unescape
from pathlib import Path

import pytest
import torch

import run_part
from common import training
from common.recipe import Recipe
from common.system.errors import NotHereError, UserError
from parts.studies import experiment, ladder
from parts.studies.experiment import Experiment
from parts.studies.ladder_plans import PART1, PART2, PART3, STUDIES, Change, Study

REPOSITORY = Path(__file__).resolve().parents[3]
TOGETHER = (  # values of which one without the others means nothing
    {"optimizer", "weight_decay"},
    {"colour", "saturation", "hue"},
    {"scale", "box_shift", "box_scale_spread"},
    {"height", "width"},
    {"height", "width", "margin"},
    {"faces", "epochs"},  # as many steps
    {"flip", "flip_tta"},
)
TWO = Change("flip", "Mirrored.", {"flip": 0.5}), Change("falling", "Small.", {"cosine": True})


def small(part, *questions, epochs=1, **values):
    """A part's study of two changes and some questions, an epoch each."""
    start = STUDIES[part].start.changed(epochs=epochs, batch=4)
    return replace(STUDIES[part], start=start, changes=TWO, questions=questions, **values)


@pytest.fixture
def climb(monkeypatch, tmp_path, small_root, capsys):
    """Calls the command line with a small study: status, page's folder, lines of stderr."""

    def climb(study, *more):
        part = study.start.part
        monkeypatch.setitem(ladder.STUDIES, part, study)
        capsys.readouterr()
        where = ["--data", str(small_root), "--reports", str(tmp_path), "--device", "cpu"]
        here = ["--at-once", "1"]  # the study is patched in this process alone
        status = run_part.main(["ladder", part, *where, *here, *map(str, more)])
        return status, tmp_path / f"ladder{part}", capsys.readouterr().err.splitlines()

    return climb


@pytest.fixture
def trained(monkeypatch):
    """The recipe of every epoch that is trained; a KeyboardInterrupt ends it at ``stop_at``."""

    class Trained(list):
        stop_at = None

    seen, once = Trained(), training.train_epoch

    def counted(network, crops, optimizer, schedule, ema):
        if len(seen) == seen.stop_at:
            seen.stop_at = None
            raise KeyboardInterrupt
        seen.append(schedule.whole)
        return once(network, crops, optimizer, schedule, ema)

    monkeypatch.setattr(training, "train_epoch", counted)
    return seen


def groups_of(folder):
    return json.loads((folder / "ladder.json").read_text())["groups"]


def errors_of(folder):
    return [[row["errors"] for row in group["results"]] for group in groups_of(folder)]


@pytest.mark.slow
def test_each_experiment_is_trained_once_and_read_afterwards(climb, trained, tmp_path):
    study = small("1", quick_seeds=2)
    status, _, _ = climb(study, "--quick")
    quick = json.loads((tmp_path / "ladder1-quick" / "ladder.json").read_text())
    assert (status, quick["seeds"], len(quick["groups"]), len(trained)) == (0, 2, 1, 2 * 3)

    status, folder, _ = climb(study, "--seeds", 2)
    # Two changes on the course's recipe; without flip is new, without a falling rate is the first.
    assert (status, len(trained)) == (0, 2 * 4)
    assert len({(recipe.flip, recipe.cosine) for recipe in trained}) == 4
    first = groups_of(folder)
    assert [len(row) for group in errors_of(folder) for row in group] == [2] * 6
    added, left_out = first[0]["results"][1], first[1]["results"][2]
    assert added | {"name": "", "change": "", "why": ""} == left_out | {
        "name": "", "change": "", "why": ""
    }  # fmt: skip
    assert first[1]["results"][1]["change"] == "flip=0.0"
    runs = list((folder / "runs").iterdir())
    assert len(runs) == 8 and {file.suffix for file in runs} == {".json"}

    trained.clear()
    assert climb(study, "--seeds", 2)[0] == 0
    assert (trained, groups_of(folder)) == ([], first)
    for damaged in ('{"errors": ', "{}", "[]"):
        runs[0].write_text(damaged)
        status, _, errors = climb(study, "--seeds", 2)
        assert (status, errors[-1]) == (
            2, f"error: {runs[0]}: damaged; delete it, and its network is trained again"
        )  # fmt: skip


@pytest.mark.slow
def test_a_stopped_ladder_resumes_in_the_middle_of_a_run(climb, trained, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    study = small("1", epochs=3)
    trained.stop_at = 4  # the second epoch of the second run
    status, folder, _ = climb(study, "--seeds", 1)
    assert status == 130
    assert not (folder / "index.html").exists()
    assert sorted(file.suffix for file in (folder / "runs").iterdir()) == [".json", ".pt"]
    assert climb(study, "--seeds", 1)[0] == 0
    assert len(trained) == 3 * 4  # none twice

    resumed = errors_of(folder)
    for file in (folder / "runs").iterdir():
        file.unlink()
    assert climb(study, "--seeds", 1)[0] == 0
    assert errors_of(folder) == resumed


@pytest.mark.slow
def test_so_far_shows_what_is_trained_and_baselines_get_their_seeds_first(climb, trained):
    status, folder, errors = climb(small("1"), "--so-far")
    assert (status, trained) == (2, [])
    assert errors[-1] == "error: --so-far: not even the baseline is trained yet; leave it out"

    trained.stop_at = 2  # of the first seed's four runs
    assert climb(small("1"), "--seeds", 3)[0] == 130
    assert climb(small("1"), "--seeds", 3, "--so-far")[0] == 0
    contents = json.loads((folder / "ladder.json").read_text())
    assert contents["command"] == "python run_part.py ladder 1 --seeds 3 --so-far"
    assert [len(errors) for (group,) in [errors_of(folder)] for errors in group] == [1, 1, 0]
    assert [row["missing"] for row in groups_of(folder)[0]["results"]] == [
        "", "", "not trained yet"
    ]  # fmt: skip
    assert "So far 2 of 4 experiments" in contents["setting"]

    trained.stop_at = 6  # all four, and two seeds more of all changes together
    assert climb(small("1"), "--seeds", 3)[0] == 130
    assert [(r.flip, r.cosine) for r in trained[2:]] == [(0.5, True), (0.0, True)] + [
        (0.5, True)
    ] * 2
    assert climb(small("1"), "--seeds", 3, "--so-far")[0] == 0
    assert [[len(errors) for errors in group] for group in errors_of(folder)] == [
        [1, 1, 3], [3, 1, 1]
    ]  # fmt: skip
    setting = json.loads((folder / "ladder.json").read_text())["setting"]
    assert "4 of 4 experiments are trained, 1 of them with all 3 seeds" in setting
    assert len(trained) == 6


def test_quick_is_shortened_as_the_study_says(climb, trained, tmp_path):
    study = small("1", epochs=6, quick={"epochs": 2, "max_steps": 3}, quick_seeds=1)
    assert climb(study, "--quick")[0] == 0
    assert [(recipe.epochs, recipe.max_steps) for recipe in trained] == [(2, 3)] * 6
    setting = json.loads((tmp_path / "ladder1-quick" / "ladder.json").read_text())["setting"]
    assert "epochs 2 instead of 300" in setting
    assert "max_steps 3 instead of all" in setting


@pytest.mark.slow
def test_questions_have_measures_baselines_and_figures_of_their_own(climb, trained):
    rate = Change("small rate", "Sure.", {"learning_rate": 1e-5})
    loss = Study("Rate", "How far?", (rate,), Change("L1", "", {"loss": "l1"}))
    status, folder, _ = climb(small("2", *PART2.questions[:2], loss), "--seeds", 1)
    assert status == 0
    assert {"names.png", "learned.png"} <= {f.name for f in (folder / "figures").iterdir()}
    assert "27 pairs did not" in (folder / "index.html").read_text()
    flips, points, rates = groups_of(folder)[2:]
    assert len({row["parameters"] for row in points["results"]}) == 3  # 58, 11, 1 points
    assert points["results"][0]["errors"] != flips["results"][0]["errors"]  # the nose alone
    assert [(row["name"], row["change"]) for row in rates["results"]] == [
        ("L1", "loss=l1"), ("small rate", "learning_rate=1e-05")
    ]  # fmt: skip
    assert [(r.loss, r.learning_rate) for r in trained[-2:]] == [("l1", 1e-4), ("l1", 1e-5)]


@pytest.mark.slow
def test_what_cannot_be_run_here_is_said_in_its_row(climb, monkeypatch):
    def offline(resnet):
        raise NotHereError("--pretrained: offline; leave it out")

    monkeypatch.setattr(experiment.part3_variants, "load_imagenet", offline)
    pretrained = next(q for q in PART3.questions if q.title == "Initial weights")
    study = small("3", pretrained)
    start = study.start.changed(height=32, width=32, margin=4, batch=5)
    status, folder, _ = climb(replace(study, start=start, changes=TWO[:1]), "--seeds", 2)
    row = groups_of(folder)[2]["results"][1]
    expected = "ImageNet's weights cannot be downloaded here"
    assert (status, row["errors"], row["missing"]) == (0, [], expected)
    assert expected in unescape((folder / "index.html").read_text())


def test_faults_before_the_training_end_in_one_line(climb, trained, tmp_path, monkeypatch):
    for option in ("--seeds", "--at-once"):
        status, folder, errors = climb(small("1"), option, 0)
        assert (status, errors) == (
            2, [f"error: {option} 0: nothing would be done; take 1 or more"]
        )  # fmt: skip
    status, _, errors = climb(small("1"), "--device", "nonsense")
    assert (status, errors) == (2, ["error: --device nonsense: not on this machine; leave it out"])
    assert not folder.exists()
    (tmp_path / "ladder1").write_text("a file in its place")
    status, _, errors = climb(small("1"), "--seeds", 1)
    assert (status, trained, len(errors)) == (2, [], 1)
    assert errors[0].startswith("error: ") and "cannot be written" in errors[0]


def test_another_fault_ends_the_ladder_in_one_line(climb, monkeypatch):
    def full(one):
        raise UserError("cache: no space left; make room")

    monkeypatch.setattr(experiment, "network_of", full)
    status, folder, errors = climb(small("1"), "--seeds", 1)
    assert (status, errors[-1]) == (2, "error: cache: no space left; make room")
    assert not (folder / "ladder.json").exists()


def test_torch_and_devices_are_those_of_the_runs():
    one, two, three = (Experiment("1", Recipe(epochs=n)) for n in (1, 2, 3))
    new, old = {"torch": "2.9", "device": "H100"}, {"torch": "2.8"}
    here = old | {"device": "cpu"}
    assert ladder.noted([new, here], "torch") == ["2.8", "2.9"]
    text = ladder.timed_on({one: [here, new], two: [], three: [here]})
    assert text.endswith("on cpu; other seeds were trained on H100.")
    assert ladder.timed_on({one: [here, here]}).endswith("one network on cpu.")
    assert ladder.timed_on({one: [old]}).endswith("on what older runs did not note.")


@pytest.mark.slow
def test_two_at_once_give_what_one_after_the_other_gives(climb, trained):
    status, folder, lines = climb(small("1"), "--seeds", 1, "--at-once", 2)
    assert (status, trained) == (0, [])  # not in this process
    assert any(line.startswith("4 of 4 runs to train, 2 at once, about ") for line in lines)
    assert [line.partition(",")[0] for line in lines if line.startswith("run ")] == [
        f"run {n} of 4" for n in range(1, 5)
    ]
    two = errors_of(folder)
    for file in (folder / "runs").iterdir():
        assert file.suffix == ".json"
        file.unlink()
    assert climb(small("1"), "--seeds", 1)[0] == 0
    for mine, other in zip(two, errors_of(folder), strict=True):
        for errors, expected in zip(mine, other, strict=True):
            assert errors == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_stop_or_a_kill_ends_all_that_are_trained_at_once(tmp_path, small_root, number):
    line = ["ladder", "1", "--at-once", "2", "--device", "cpu"]
    line += ["--data", str(small_root), "--reports", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "run_part.py", *line],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        for words in process.stderr:
            if words.startswith("run 1 of "):
                break
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.kill()
        errors = process.communicate(timeout=60)[1].splitlines()
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert errors[-1] == "stopped; parts go on with --resume, others by the same command"
            assert all(line.startswith("run ") for line in errors[:-1])
        for _ in range(600):  # a minute
            os.killpg(process.pid, 0)  # fails once the whole session is gone
            time.sleep(0.1)
        raise AssertionError("processes are left")
    except ProcessLookupError:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
class TestStudies:
    def test_every_change_sets_one_thing_that_exists(self, study):
        known = {field.name for field in fields(Recipe)} | experiment.OWN
        beside = [change for question in study.questions for change in question.changes]
        for change in (*study.changes, *beside):
            assert set(change.values) <= known
            assert len(change.values) == 1 or set(change.values) in TOGETHER, change.name
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

    @pytest.mark.slow
    def test_all_its_networks_fit_their_input(self, study):
        every = {one for each in study.parts(False) for _, one in each.experiments()}
        points = {"1": range(1), "2": range(58), "3": range(68)}
        if study.start.part == "3":  # one of each kind: ResNets take their time to be made
            kinds = {(e.recipe.head, e.recipe.height): e for e in every if not e.pretrained}
            every = set(kinds.values())
            assert len(every) == 4
        for one in every:
            network = experiment.network_of(one).eval()
            faces = torch.zeros(2, 1, one.recipe.height, one.recipe.width)
            k = len(one.points or points[one.part])
            assert network(faces).shape == (2, k, 2)


def test_the_mean_face_is_compared_only_with_networks_evaluated_on_the_same():
    result = {"errors": dict.fromkeys(("nme", "nme_nose"), 1.0), "seconds": 1.0, "parameters": 1}
    other = set()
    for study in (each for part in STUDIES.values() for each in part.parts(False)):
        runs = {one: [result] for _, one in study.experiments()}
        if not ladder.table(study, runs, {})["comparable"]:
            other.add(study.title)
    assert other == {"Number of points", "Crop box", "dlib's leaky split"}


def test_baselines_get_their_other_seeds_before_the_rest(small_root):
    train, _ = experiment.crops_of(PART1.start, small_root)
    runs = list(ladder.run_files(PART3.parts(False), 2, train, REPOSITORY))
    top = PART3.experiments()[-1][1]
    others = top.changed(head="coordinates"), top.changed(dlib_list="unseen")
    half = len(runs) // 2
    assert [run.seed for run in runs] == [0] * half + [1] * half
    assert set(runs[half : half + 3]) == {replace(one, seed=1) for one in (top, *others)}


def test_a_runs_name_depends_on_values_seed_and_faces(small_root):
    start = PART1.start
    train, _ = experiment.crops_of(start, small_root)
    names = {
        start.key(train),
        replace(start, seed=1).key(train),
        start.changed(flip=0.5).key(train),
        start.changed(pairs=False).key(train),
        start.key(train.take([0])),
    }
    assert len(names) == 5
    assert replace(start).key(train) in names
    batched = Experiment("1", Recipe(batch=16), seed=3)
    assert batched.settings() == {"part": "1", "batch": 16}
    assert batched.changed(batch=1).settings() == {"part": "1"}  # defaults are left out
