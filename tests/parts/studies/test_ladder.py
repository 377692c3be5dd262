"""``run_part.py ladder`` with shrunken plans, and the plans as they are."""

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
from common.recipe import Options, Recipe
from common.report.ablation_page import Question, Step
from common.system.errors import NotHereError, UserError
from parts.studies import experiment, ladder, ladder_plans
from parts.studies.experiment import Trial

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
FEW = {"epochs": 1, "batch": 4}


def small(part, **kept):
    """A part's ladder of two steps and one question, an epoch each."""
    plan = ladder_plans.PLANS[part]
    start = plan.start.changed(**FEW)
    ours = replace(start.recipe, flip=0.5, cosine=True)
    told = ladder_plans.steps(ours, ("flip", "flip", "Mirrored."), ("falling", "cosine", "Polish."))
    return replace(plan, start=start, ours=ours, steps=told, questions=(), **kept)


@pytest.fixture
def climb(monkeypatch, tmp_path, small_root, capsys):
    """Calls the command line with a small plan; status, page's folder, lines of stderr."""

    def climb(plan, *more):
        part = plan.start.part
        monkeypatch.setitem(ladder.PLANS, part, plan)
        capsys.readouterr()
        where = ["--data", str(small_root), "--reports", str(tmp_path), "--device", "cpu"]
        here = ["--at-once", "1"]  # the plan is patched in this process alone
        status = run_part.main(["ladder", part, *where, *here, *map(str, more)])
        return status, tmp_path / f"ladder{part}", capsys.readouterr().err.splitlines()

    return climb


@pytest.fixture
def trained(monkeypatch):
    """Lists the recipe of every epoch that is trained."""
    seen, once = [], training.train_epoch

    def counted(network, images, points, order, recipe, *rest):
        seen.append(recipe)
        return once(network, images, points, order, recipe, *rest)

    monkeypatch.setattr(training, "train_epoch", counted)
    return seen


def test_a_ladder_is_trained_once_and_read_afterwards(climb, trained):
    status, folder, _ = climb(small("1"), "--seeds", 2)
    assert status == 0
    # Two steps above the course's recipe; without flip is new, without a falling rate is step 1.
    assert len(trained) == 2 * 4
    assert len({(recipe.flip, recipe.cosine) for recipe in trained}) == 4
    first = json.loads((folder / "ladder.json").read_text())
    assert [group["title"] for group in first["groups"]] == [
        "The ladder",
        "Each change taken away",
    ]
    assert all(len(r["errors"]) == 2 for group in first["groups"] for r in group["rungs"])
    assert first["groups"][0]["rungs"][1] == {
        **first["groups"][1]["rungs"][2],
        **{key: first["groups"][0]["rungs"][1][key] for key in ("name", "change", "why")},
    }
    assert first["groups"][1]["rungs"][1]["change"] == "flip=0.0"
    runs = list((folder / "runs").iterdir())
    assert len(runs) == 8 and {file.suffix for file in runs} == {".json"}

    trained.clear()
    assert climb(small("1"), "--seeds", 2)[0] == 0
    assert trained == []
    assert json.loads((folder / "ladder.json").read_text()) == first
    assert climb(small("1"), "--seeds", 3)[0] == 0
    assert len(trained) == 4


def test_a_ladder_that_was_stopped_goes_on_in_the_middle_of_a_run(climb, trained, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    plan = small("1")
    plan = replace(plan, start=plan.start.changed(epochs=3))
    counted = training.train_epoch

    def stopped(*rest):
        if len(trained) == 4:  # the second epoch of the second run
            raise KeyboardInterrupt
        return counted(*rest)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_epoch", stopped)
        status, folder, _ = climb(plan, "--seeds", 1)
    assert status == 130
    assert not (folder / "index.html").exists()
    left = sorted(file.suffix for file in (folder / "runs").iterdir())
    assert left == [".json", ".pt"]
    assert climb(plan, "--seeds", 1)[0] == 0
    assert len(trained) == 3 * 4  # none twice

    undisturbed = json.loads((folder / "ladder.json").read_text())["groups"][0]["rungs"]
    for file in (folder / "runs").iterdir():
        file.unlink()
    assert climb(plan, "--seeds", 1)[0] == 0
    again = json.loads((folder / "ladder.json").read_text())["groups"][0]["rungs"]
    assert [rung["errors"] for rung in again] == [rung["errors"] for rung in undisturbed]


def test_what_is_trained_so_far_is_shown_without_training(climb, trained, monkeypatch):
    counted = training.train_epoch

    def stopped(*rest):
        if len(trained) == 2:  # of the first seed's four runs
            raise KeyboardInterrupt
        return counted(*rest)

    status, folder, errors = climb(small("1"), "--so-far")
    assert (status, trained) == (2, [])
    assert errors[-1] == ("error: --so-far: not even the first step is trained yet; leave it out")
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_epoch", stopped)
        assert climb(small("1"), "--seeds", 1)[0] == 130
    assert climb(small("1"), "--seeds", 1, "--so-far")[0] == 0
    assert len(trained) == 2
    told = json.loads((folder / "ladder.json").read_text())
    assert told["command"] == "python run_part.py ladder 1 --seeds 1 --so-far"
    rungs = told["groups"][0]["rungs"]
    assert [len(rung["errors"]) for rung in rungs] == [1, 1, 0]
    assert [rung["missing"] for rung in rungs] == ["", "", "not trained yet"]
    assert "So far 2 of its 4 steps are trained." in told["setting"]
    assert [group["title"] for group in told["groups"]] == ["The ladder"]
    assert "and with 1 of 2 changes by" in unescape((folder / "index.html").read_text())


def test_what_others_are_held_against_gets_its_seeds_first(climb, trained, monkeypatch):
    counted = training.train_epoch

    def stopped(*rest):
        if len(trained) == 6:  # four trials, and two seeds more of the top
            raise KeyboardInterrupt
        return counted(*rest)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_epoch", stopped)
        assert climb(small("1"), "--seeds", 3)[0] == 130
    assert [(r.flip, r.cosine) for r in trained] == [
        (0.0, False),
        (0.5, False),
        (0.5, True),
        (0.0, True),
        (0.5, True),
        (0.5, True),
    ]
    status, folder, _ = climb(small("1"), "--seeds", 3, "--so-far")
    assert (status, len(trained)) == (0, 6)
    told = json.loads((folder / "ladder.json").read_text())
    assert told["setting"].endswith(
        " So far 4 of its 4 steps are trained, 1 of them with all 3 seeds."
    )
    assert [[len(rung["errors"]) for rung in group["rungs"]] for group in told["groups"]] == [
        [1, 1, 3],
        [3, 1, 1],
    ]
    assert climb(small("1"), "--seeds", 3)[0] == 0
    assert len(trained) == 3 * 4
    assert all(
        len(rung["errors"]) == 3
        for group in json.loads((folder / "ladder.json").read_text())["groups"]
        for rung in group["rungs"]
    )


def test_a_run_tells_the_device_whose_seconds_it_took(small_root, tmp_path, monkeypatch):
    trial, options = small("1").start, Options(data=small_root, device="cpu")
    for can, device in ((True, "cpu"), (False, "cpu without bfloat16")):
        monkeypatch.setattr(ladder, "computes_in_bfloat16", lambda device, can=can: can)
        told = ladder.run(trial, 0, options, tmp_path / f"{can}.json")
        assert told["device"] == device
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert ladder.told_of(torch.device("cuda")) == "NVIDIA H100 80GB HBM3"


def test_quick_is_the_ladder_alone_and_its_runs_count(climb, trained, tmp_path):
    plan = small("1", quick_seeds=2)
    assert climb(plan, "--quick")[0] == 0
    told = json.loads((tmp_path / "ladder1-quick" / "ladder.json").read_text())
    assert (told["seeds"], len(told["groups"]), len(trained)) == (2, 1, 2 * 3)
    assert climb(plan, "--seeds", 2)[0] == 0
    assert len(trained) == 2 * 4


def test_quick_is_cut_as_short_as_the_plan_says(climb, trained, tmp_path):
    plan = small("1", quick={"epochs": 2, "max_steps": 3}, quick_seeds=1)
    assert climb(replace(plan, start=plan.start.changed(epochs=6)), "--quick")[0] == 0
    assert [(recipe.epochs, recipe.max_steps) for recipe in trained] == [(2, 3)] * 6
    setting = json.loads((tmp_path / "ladder1-quick" / "ladder.json").read_text())["setting"]
    assert "epochs 2 instead of 300" in setting
    assert "steps 3 instead of all" in setting


def test_the_classic_mistake_is_shown_by_networks_that_made_it(climb):
    plan = small("2")
    mistake = ladder_plans.PART2.questions[0]
    plan = replace(plan, questions=(mistake, ladder_plans.PART2.questions[1]))
    status, folder, _ = climb(plan, "--seeds", 1)
    assert status == 0
    page = (folder / "index.html").read_text()
    assert "27 pairs did not, and each names the wrong side" in page
    assert {"names.png", "learned.png"} <= {f.name for f in (folder / "figures").iterdir()}
    rungs = json.loads((folder / "ladder.json").read_text())["groups"][3]["rungs"]
    assert len({rung["parameters"] for rung in rungs}) == 3
    assert all(rung["errors"][0] > 0 for rung in rungs)


def test_what_cannot_be_had_is_told_in_its_row(climb, trained, monkeypatch):
    def offline(resnet):
        raise NotHereError("--pretrained: offline; leave it out")

    monkeypatch.setattr(experiment.part3_variants, "load_imagenet", offline)
    plan = small("3")
    start = plan.start.changed(height=32, width=32, margin=4, batch=5)
    pretrained = next(q for q in ladder_plans.PART3.questions if q.title == "First weights")
    status, folder, _ = climb(replace(plan, start=start, questions=(pretrained,)), "--seeds", 2)
    assert status == 0
    rung = json.loads((folder / "ladder.json").read_text())["groups"][2]["rungs"][1]
    assert (rung["errors"], rung["missing"]) == ([], "ImageNet's weights cannot be fetched here")
    assert rung["missing"] in unescape((folder / "index.html").read_text())


def test_a_damaged_run_is_named_with_the_remedy(climb, trained):
    _, folder, _ = climb(small("1"), "--seeds", 1)
    file = next((folder / "runs").glob("*.json"))
    for damaged in ('{"errors": ', "{}", "[]"):
        file.write_text(damaged)
        status, _, errors = climb(small("1"), "--seeds", 1)
        assert status == 2
        told = f"error: {file}: damaged; delete it, and its network is trained anew"
        assert errors[-1] == told


def test_another_fault_ends_the_ladder_in_one_line(climb, monkeypatch):
    def full(trial, seed):
        raise UserError("cache: no space left; make room")

    monkeypatch.setattr(experiment, "network_of", full)
    status, folder, errors = climb(small("1"), "--seeds", 1)
    assert (status, errors[-1]) == (2, "error: cache: no space left; make room")
    assert not (folder / "ladder.json").exists()


def test_a_device_that_is_not_there_is_told_before_the_first_run(climb):
    status, folder, errors = climb(small("1"), "--seeds", 1, "--device", "nonsense")
    assert (status, errors) == (2, ["error: --device nonsense: not on this machine; leave it out"])
    assert not folder.exists()


def test_torch_and_device_are_those_of_the_runs():
    first, second, third = (trial for _, trial in ladder.climb(ladder_plans.PART1).tried[:3])
    new, old = {"errors": {}, "torch": "2.9", "device": "H100"}, {"errors": {}, "torch": "2.8"}
    here = old | {"device": "cpu"}
    assert ladder.noted([new, here, {"missing": "offline"}], "torch") == ["2.8", "2.9"]
    results = {first: [here, new], second: [{"missing": "offline"}], third: [here]}
    assert ladder.whose_time(results) == (
        "The time is the processor's, for training one network on cpu; other seeds learned on H100."
    )
    assert ladder.whose_time({first: [here, here]}).endswith("one network on cpu.")
    assert ladder.whose_time({first: [old]}).endswith("on what older runs did not note.")


@pytest.mark.parametrize("option", ["--seeds", "--at-once"])
def test_seeds_and_runs_at_once_must_be_some(climb, option):
    status, _, errors = climb(small("1"), option, 0)
    assert (status, errors) == (2, [f"error: {option} 0: nothing would be done; take 1 or more"])


def test_two_at_once_give_what_one_after_the_other_gives(climb, trained, tmp_path):
    def told(*more):
        status, folder, errors = climb(small("1"), "--seeds", 2, *more)
        assert status == 0
        groups = json.loads((folder / "ladder.json").read_text())["groups"]
        for file in (folder / "runs").iterdir():
            assert file.suffix == ".json"
            file.unlink()
        lines = [line for line in errors if " of 8" in line and "it/s" not in line]
        return [rung["errors"] for group in groups for rung in group["rungs"]], lines

    two, lines = told("--at-once", 2)
    assert trained == []  # not in this process
    assert lines[0].startswith("8 of 8 runs to train, 2 at once, about ")
    assert [line.partition(",")[0] for line in lines[1:]] == [f"run {n} of 8" for n in range(1, 9)]
    one, _ = told()
    assert len(trained) == 8
    for mine, other in zip(two, one, strict=True):
        assert mine == pytest.approx(other, rel=1e-3)


@pytest.fixture
def two_at_once(tmp_path, small_root):
    """The command line, in a session of its own, after the first of its runs has ended."""
    line = ["ladder", "1", "--at-once", "2", "--device", "cpu"]
    line += ["--data", str(small_root), "--reports", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "run_part.py", *line],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for told in process.stderr:
        if told.startswith("run 1 of "):
            break
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def is_empty(session):
    """Whether all its processes end within a minute."""
    for _ in range(600):
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_stop_ends_all_that_learn_at_once_in_one_line(two_at_once, number):
    if number == signal.SIGINT:
        os.killpg(two_at_once.pid, number)  # as a terminal does
    else:
        two_at_once.send_signal(number)
    errors = two_at_once.communicate(timeout=60)[1].splitlines()
    assert two_at_once.returncode == 130
    assert errors[-1] == "stopped; parts go on with --resume, others by the same command"
    assert all(line.startswith("run ") for line in errors[:-1])
    assert is_empty(two_at_once.pid)


def test_a_kill_ends_all_that_learn_at_once(two_at_once):
    two_at_once.kill()
    two_at_once.communicate(timeout=60)
    assert is_empty(two_at_once.pid)


def test_a_folder_that_cannot_be_written_is_told_before_training(climb, trained, tmp_path):
    (tmp_path / "ladder1").write_text("a file in its place")
    status, _, errors = climb(small("1"), "--seeds", 1)
    assert (status, trained, len(errors)) == (2, [], 1)
    assert errors[0].startswith("error: ") and "cannot be written" in errors[0]


@pytest.mark.parametrize("plan", ladder_plans.PLANS.values(), ids=list(ladder_plans.PLANS))
class TestPlans:
    def all_steps(self, plan):
        return [*plan.steps, *(step for question in plan.questions for step in question.steps)]

    def test_every_step_changes_one_thing_that_exists(self, plan):
        known = {field.name for field in fields(Recipe)} | experiment.OWN
        for step in self.all_steps(plan):
            assert set(step.changes) <= known
            assert len(step.changes) == 1 or set(step.changes) in TOGETHER, step.name
            assert step.name and step.why.rstrip("?.") != step.why

    def test_no_line_of_the_recipe_changes_twice(self, plan):
        lines = [line for step in plan.steps for line in step.changes]
        assert len(lines) == len(set(lines))
        every = ladder.climb(plan).tried
        assert len({trial for _, trial in every}) == len(every)  # so every step changes something

    def test_it_leads_from_the_courses_recipe_to_ours(self, plan):
        part, _ = experiment.PARTS[plan.start.part]
        free = {"epochs", "height", "width", "margin"}  # the ladder's own
        top = asdict(ladder.climb(plan).tried[-1][1].recipe)
        ours, course = asdict(part.Best()), asdict(part.Course())
        assert {k: v for k, v in top.items() if k not in free} == {
            k: v for k, v in ours.items() if k not in free
        }
        start = asdict(plan.start.recipe)
        assert {k: v for k, v in start.items() if k not in free} == {
            k: v for k, v in course.items() if k not in free
        }

    def test_all_its_networks_fit_their_input(self, plan):
        every = {trial for group in ladder.groups(plan) for _, trial in group.tried}
        points = {"1": range(1), "2": range(58), "3": range(68)}
        if plan.start.part == "3":  # one of each kind: ResNets take their time to be made
            kinds = {(t.recipe.head, t.recipe.height): t for t in every if not t.pretrained}
            every = set(kinds.values())
            assert len(every) == 4
        for trial in every:
            network = experiment.network_of(trial, 0).eval()
            size = trial.recipe.height, trial.recipe.width
            k = len(trial.points or points[trial.part])
            assert network(torch.zeros(2, 1, *size)).shape == (2, k, 2)


def test_the_mean_face_judges_only_groups_asked_for_the_same():
    result = {"errors": dict.fromkeys(("nme", "nme_nose"), 1.0), "seconds": 1.0, "parameters": 1}
    other = set()
    for plan in ladder_plans.PLANS.values():
        for asked in ladder.groups(plan):
            results = {trial: [result] for _, trial in asked.tried}
            if not ladder.group_of(asked, results).alike:
                other.add(asked.question.title)
    assert other == {"Number of points", "Crop box", "dlib's leaky split"}


def test_a_name_of_a_run_tells_values_seed_and_faces_apart(small_root):
    learned, _ = experiment.crops_of(ladder_plans.PART1.start, small_root)
    trial = ladder_plans.PART1.start
    names = {
        ladder.key(trial, 0, learned),
        ladder.key(trial, 1, learned),
        ladder.key(trial.changed(flip=0.5), 0, learned),
        ladder.key(trial.changed(pairs=False), 0, learned),
        ladder.key(trial, 0, learned.take([0])),
    }
    assert len(names) == 5
    assert ladder.key(replace(trial), 0, learned) in names
    assert "torch" not in json.dumps(trial.told())


def test_a_value_that_is_not_used_leaves_the_name_as_it_is():
    trial = Trial("1", Recipe(batch=16))
    assert trial.told() == {"part": "1", "batch": 16}
    assert trial.changed(batch=1).told() == {"part": "1"}


def test_questions_are_held_against_what_they_share(climb, trained):
    question = Question(
        "Rate",
        "How far?",
        (Step("small", "Sure.", {"learning_rate": 1e-4}),),
        first={"loss": "l1"},
        against="L1",
    )
    status, folder, _ = climb(replace(small("1"), questions=(question,)), "--seeds", 1)
    assert status == 0
    last = trained[-2:]
    assert [(r.loss, r.learning_rate) for r in last] == [("l1", 1e-3), ("l1", 1e-4)]
    rungs = json.loads((folder / "ladder.json").read_text())["groups"][2]["rungs"]
    assert [rung["name"] for rung in rungs] == ["L1", "small"]
