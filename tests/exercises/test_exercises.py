"""Exercises: the starters are not done, correct code is, and every mistake is recognised."""

import hashlib
import json
import math
import re
import time
from dataclasses import replace
from functools import partial
from inspect import signature
from itertools import permutations
from pathlib import Path
from textwrap import indent

import pytest
import torch
from PIL import Image
from torch.nn import functional
from wrong_answers import WRONG

from common.augmentation import warp
from common.system.errors import UserError
from exercises import check as checking
from exercises import part1, part2, part3
from exercises.check import FOLDER, check, imported_solutions, load, watch
from exercises.faces import seed_trials, side_by_side
from exercises.judge import FEEDBACK, NOT_DONE, Verdict, judge, outcomes, same
from exercises.tasks import TASKS

FILE = Path("mine.py")
SHEETS = {part: (FOLDER / f"part{part}.md").read_text(encoding="utf-8") for part in "123"}
SECTIONS = {part: re.findall(r"^## \d+\. `(\w+)`$", sheet, re.M) for part, sheet in SHEETS.items()}
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def results(task, function):
    """What a function returns in every trial, or why it fails."""
    trials = [task.trial(number) for number in range(task.trials)]
    return outcomes(task, function, trials, FILE)


def differ(one, other):
    return not all(map(same, one, other))


@pytest.fixture
def write(tmp_path):
    """Writes a learner's file with that text; its path."""

    def write(text):
        file = tmp_path / "mine.py"
        file.write_text(text)
        return file

    return write


def test_every_task_has_its_section_and_every_mistake_its_sentence():
    assert [len(names) for names in SECTIONS.values()] == [7, 6, 8]
    assert [name for names in SECTIONS.values() for name in names] == list(TASKS)
    mistakes = {name: list(task.mistakes) for name, task in TASKS.items()}
    assert mistakes == {name: list(FEEDBACK[name]) for name in FEEDBACK.sections()}
    assert sum(map(len, mistakes.values())) == 171


@pytest.mark.parametrize(("part", "sheet"), SHEETS.items())
def test_a_sheet_names_its_command_and_code_that_exists(part, sheet):
    assert f"python run_part.py check {part}" in sheet
    for path, names in re.findall(r"`(\w[\w/]*\.py)`, ((?:`\w+`(?: and |, )?)*)", sheet):
        code = (FOLDER.parent / path).read_text(encoding="utf-8")
        assert all(re.search(rf"\b{name}\b", code) for name in re.findall(r"\w+", names)), path


@pytest.mark.parametrize(("part", "name"), [(p, name) for p in SECTIONS for name in SECTIONS[p]])
def test_the_starter_takes_the_arguments_and_is_not_done(part, name):
    starter = getattr(load(FOLDER / f"part{part}.py"), name)
    assert judge(TASKS[name], starter, FILE) == Verdict(NOT_DONE)


@every_task
def test_correct_code_is_done_and_the_two_trials_differ(task):
    assert judge(task, task.right, FILE) == Verdict("done", done=True)
    first = results(task, task.right)[0]
    constant = first if len(first) > 1 else first[0]
    assert not judge(replace(task, view=None), lambda *given: constant, FILE).done


def prove_mistakes_differ(task):
    made = [partial(mistake, task.right) for mistake in task.mistakes.values()]
    found = [results(task, function) for function in (task.right, *made)]
    assert all(differ(one, other) for one, other in permutations(found, 2))
    return made


@every_task
def test_every_mistake_has_results_of_its_own_and_is_called_by_its_name(task):
    last = prove_mistakes_differ(task)[-1]  # compared with all others before it
    assert (
        judge(replace(task, view=None), last, FILE).message
        == FEEDBACK[task.name][list(task.mistakes)[-1]]
    )


@pytest.mark.slow
def test_students_have_trials_of_their_own_in_which_every_mistake_differs():
    everybody = results(TASKS["turning"], TASKS["turning"].right)
    try:
        seeds = [seed_trials(name) for name in ("Ada", "Grace")]
        assert len(set(seeds)) == 2 and 0 not in seeds
        for task in TASKS.values():
            assert judge(task, task.right, FILE).done
            prove_mistakes_differ(task)
        read_asf = results(TASKS["read_asf"], TASKS["read_asf"].right)
    finally:
        assert seed_trials(None) == 0
    assert differ(read_asf, results(TASKS["read_asf"], TASKS["read_asf"].right))
    assert not differ(everybody, results(TASKS["turning"], TASKS["turning"].right))


def test_most_wrong_answers_are_named_and_the_others_described():
    plain = {name: replace(task, view=None) for name, task in TASKS.items()}
    unnamed = []
    for name, body, expected in WRONG:
        starter = next(getattr(part, name) for part in (part1, part2, part3) if hasattr(part, name))
        code = f"def {name}({', '.join(signature(starter).parameters)}):\n{indent(body, '    ')}"
        scope = {"torch": torch, "math": math, "F": functional, "warp": warp}
        exec(compile(code, str(FILE), "exec"), scope)
        message = judge(plain[name], scope[name], FILE).message
        assert re.search(expected, message), (name, message)
        unnamed += [name] * ("no mistake that is known" in message)
    assert len(WRONG) == 60 and unnamed == ["to_fractions", "mirror", "flip_tta", "square_crop"]


HANDWRITTEN = {  # mistakes as somebody types them
    "training_step": ("gradients not set to zero: they add up", """
def training_step(network, optimizer, faces, truth):
    loss = (network(faces) - truth).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()
"""),
    "mirror": ("mirrored, but left and right not exchanged", """
def mirror(images, points, flip_order):
    points = points.clone()
    points[..., 0] = images.shape[-1] - 1 - points[..., 0]
    return images.flip(-1), points
"""),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDWRITTEN)
def test_a_mistake_is_recognised_however_it_is_typed(write, name):
    message, code = HANDWRITTEN[name]
    file = write(f"import torch\n{code}")
    verdict = judge(TASKS[name], getattr(load(file), name), file)
    assert message in verdict.message and not verdict.done
    assert (verdict.picture is not None) == (TASKS[name].view is not None)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.view])
@pytest.mark.parametrize("wrong", [math.nan, 1e9])
def test_any_wrong_result_of_the_right_shape_can_be_drawn(name, wrong):
    task = TASKS[name]
    right = results(task, task.right)[0]
    views = [task.view(0, one) for one in (right, tuple(values * 0 + wrong for values in right))]
    expected, yours = side_by_side(*views).axes
    count = len(views[0][1])
    assert [len(line.get_xdata()) for line in expected.lines] == [count]
    crosses = torch.tensor(yours.lines[-1].get_xydata())  # (K, 2), drawn at the edge at most
    assert len(crosses) == count and crosses.isfinite().all()
    assert crosses.abs().max() < 1.25 * max(views[0][0].shape) + 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return points / nothing", r"NameError: name 'nothing' is not defined \(line 5\)"),
        ("return torch.ones(3) @ points", r"RuntimeError: .* \(line 5\)"),
        ("exit(3)", r"SystemExit: 3 \(line 5\)"),
        ("raise NotImplementedError", NOT_DONE),
        ("points += 1; return points", r"an argument was changed: work on a copy, x\.clone\(\)"),
        ("points / 2", r"nothing is returned: does the function end with return\?"),
        ("return 'x and y'", "a str is returned instead of numbers"),
        ("return points[0]", r"the shape is \(2,\), expected is \(58, 2\)"),
        (
            "return points * 0",
            r"wrong, but no mistake .*: all zeros; point \d+, .: 0 instead of 0\.\d+ .*",
        ),
        (
            "return points / torch.tensor([width, 3]) + torch.tensor([0.5 / width, 0.1])",
            r"wrong, .*: wrong only in y; point \d+, y: .* \(input: points\[\d+, 1\] = .*\)",
        ),
        (
            "return (points + 0.5).mT / torch.tensor([[width], [height]])",
            r"the shape is \(2, 58\), expected is \(58, 2\): transposed",
        ),
        (
            "return ((points + 0.5) / torch.tensor([width, height])).mean(0)",
            r"the shape is .* expected is \(58, 2\): the mean over its points was taken as well",
        ),
        (
            "return 3 + (points + 0.5) / torch.tensor([width, height])",
            r"wrong, .*: 3 too large everywhere; .*",
        ),
        (
            "return 9 * (points + 0.5) / torch.tensor([width, height])",
            r"wrong, .*: 9 times what is expected; .*",
        ),
    ],
)
def test_other_faults_are_described_in_one_line(write, body, message):
    file = write(f"import torch\n\n\ndef to_fractions(points, height, width):\n    {body}\n")
    verdict = judge(TASKS["to_fractions"], load(file).to_fractions, file)
    assert re.fullmatch(message, verdict.message) and not verdict.done


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef to_pixels(:\n", ", line 2: invalid syntax"),
        ("x = 1\n\ny = x + z\n", ": NameError: name 'z' is not defined (line 3)"),
        ("import nolib\n", ": ModuleNotFoundError: No module named 'nolib' (line 1)"),
        ("x = 1\0", ": source code string cannot contain null bytes"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused_with_one_line(write, text, message):
    file = write(text)
    with pytest.raises(UserError) as refused:
        load(file)
    assert str(refused.value) == f"{file}{message}; correct it and check again"


@pytest.mark.slow
def test_the_command_draws_the_mistake_and_removes_old_pictures(write, tmp_path, command):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "part2-turning.png").touch()
    mistake, code = HANDWRITTEN["mirror"]
    file = write(f"import torch\nfrom exercises.checks_part2 import *\n{code}")
    status, out, errors = command("check", "2", "--file", file, "--save-dir", pictures)
    (picture,) = pictures.iterdir()
    assert (status, errors, picture.name) == (1, [], "part2-mirror.png")
    lines = dict(re.findall(r"^(\w+)  +(.+)$", out, re.MULTILINE))
    assert lines.pop("mirror").startswith(mistake)
    assert lines == dict.fromkeys(
        ["turning", "move_both", "nme", "flip_tta", "overfitting"], "done"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "pictures"}
    with Image.open(picture) as image:
        colours = {colour[:3] for _, colour in image.getcolors(1 << 24)}
    assert {(0, 214, 143), (255, 74, 61)} <= colours  # the right points and the learner's


@pytest.fixture
def outcome(monkeypatch):
    """Without a process: the first task's outcome is ``done``, all others are done."""

    def set_outcome(done):
        def verdicts(names, *_):
            return [("a message", done, None)] + [("done", True, None)] * (len(names) - 1)

        monkeypatch.setattr(checking, "_verdicts", verdicts)

    return set_outcome


def test_when_all_tasks_are_done_the_next_step_is_named(outcome, write, command):
    outcome(True)
    file = write("from common.augmentation import warp\n")
    status, out, _ = command("check", "2", "--file", file)
    assert status == 0 and "note:" not in out
    assert f"6 of 6 done\nnext: python run_part.py 2 --mine {file} trains" in out


def test_the_outcome_of_all_parts_is_recorded_for_a_teacher(outcome, write, tmp_path, command):
    outcome(False)
    for part in "123":
        write(f"x = {part}\n").rename(tmp_path / f"part{part}.py")
    line = f"check all --file {tmp_path} --json class/ada.json --student Ada"
    assert command(*line.split())[0] == 1
    record = json.loads((tmp_path / "class" / "ada.json").read_text())
    assert (record["student"], record["done"], record["tasks"]) == ("Ada", 18, 21)
    assert 0 < record["seed"] < 10_000
    part = record["parts"]["3"]
    assert part["sha256"] == hashlib.sha256(b"x = 3\n").hexdigest()
    assert part["tasks"]["read_pts"] == {"done": False, "message": "a message"}
    assert list(part["tasks"]) == SECTIONS["3"] and part["imports"] == []
    status, _, errors = command("check", "all", "--file", tmp_path / "part1.py")
    assert status == 2 and "part1.py: is no folder; name one that holds part1.py" in errors[0]


@pytest.mark.parametrize(
    "code", ["from exercises.tasks import TASKS", "def f():\n    import parts.part1_nose_tip as p"]
)
def test_a_solution_that_imports_ours_is_said_to(outcome, write, command, code):
    outcome(True)
    file = write(code)
    module = re.search(r"(?:exercises|parts)\.\w+", code)[0]
    assert imported_solutions(file) == [module]
    assert (
        f"note: {file} imports {module}, where the solutions are"
        in command("check", "1", "--file", file)[1]
    )


def test_watching_checks_again_after_a_change_and_ends_by_ctrl_c(monkeypatch, write, capsys):
    file, checks = write(""), []

    def once():
        checks.append(file.read_text())
        if len(checks) == 1:
            raise UserError("cannot be run")
        return 0

    def sleep(seconds):
        if len(checks) == 2:
            raise KeyboardInterrupt
        file.write_text("changed")

    monkeypatch.setattr(time, "sleep", sleep)
    assert watch(once, [file]) == 0 and checks == ["", "changed"]
    assert "error: cannot be run" in capsys.readouterr().out


@pytest.mark.slow
def test_what_never_ends_or_crashes_is_left_and_the_next_checked(write, tmp_path, capfd):
    text = """
import os
from exercises.checks_part1 import *
def to_pixels(*given):
    while True:
        try: float("a")
        except: pass
def nose_net(*given):
    os._exit(0)
"""
    assert check("1", write(text), tmp_path / "pictures", seconds=3) == 1
    out = dict(re.findall(r"^(\w+)  +(.+)$", capfd.readouterr().out, re.MULTILINE))
    endless = "still running after 3 seconds: is there a loop that never ends? (line "
    assert out["to_pixels"] in [f"{endless}{line})" for line in (5, 6, 7)]
    assert out["nose_net"] == "Python itself ended: a crash, or too little memory"
    assert [out[name] for name in ("read_asf", "to_fractions", "mean_face_error")] == ["done"] * 3


@pytest.mark.slow
def test_a_file_that_never_ends_ends_the_command_with_one_line(write, tmp_path):
    reason = r"still running after 1 seconds: .* \(line 2\); correct"
    with pytest.raises(UserError, match=reason):
        check("1", write("import time\ntime.sleep(600)\n"), tmp_path, seconds_to_start=1)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("--file none.py", "none.py: No such file or directory; name the file with --file"),
        ("--save-dir mine.py", "mine.py.*cannot be written"),
    ],
)
def test_what_cannot_be_read_or_written_ends_with_one_line(write, command, more, fault):
    write("\n")
    status, out, (line,) = command("check", "1", *more.split())
    assert (status, out) == (2, "") and re.match(f"error: {fault}", line)
