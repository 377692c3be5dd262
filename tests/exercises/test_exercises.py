"""Exercises: the starters are not done, the project's code is, and every mistake has its name."""

import inspect
import re
import time
from pathlib import Path

import pytest
from PIL import Image

import run_part
from exercises import check as checking
from exercises import judge as judging
from exercises.check import FOLDER, TASKS, load
from exercises.judge import NOT_DONE, judge

FILE = Path("mine.py")
ALL = [(part, each) for part, tasks in TASKS.items() for each in tasks]
every_task = pytest.mark.parametrize(("part", "each"), ALL, ids=[each.name for _, each in ALL])
every_mistake = pytest.mark.parametrize(
    ("each", "told"),
    [(each, told) for _, each in ALL for told in each.mistakes],
    ids=[f"{each.name}-{number}" for _, each in ALL for number, _ in enumerate(each.mistakes)],
)
SOLVED = {  # the project's own code, under the names of the tasks
    "1": "from exercises.checks_part1 import *",
    "2": "from exercises.checks_part2 import *",
    "3": "from exercises.checks_part3 import *\nfrom common.losses import wing as wing_loss",
}


@pytest.fixture
def check(tmp_path, capsys):
    """Checks a file with that text: exit status, a line a task by its name, stderr, pictures."""

    def call(part, text):
        file = tmp_path / "mine.py"
        file.write_text(text)
        capsys.readouterr()
        line = ["check", part, "--file", str(file), "--save-dir", str(tmp_path / "pictures")]
        status = run_part.main(line)
        out, err = capsys.readouterr()
        told = dict(re.findall(r"^(\w+)  +(.+)$", out, re.MULTILINE))
        return status, told, err.splitlines(), sorted(tmp_path.glob("pictures/*"))

    return call


def test_there_are_enough_tasks_and_mistakes():
    assert len({each.name for _, each in ALL}) == len(ALL) >= 10
    assert all(len(each.mistakes) >= 3 for _, each in ALL)
    assert all(len(each.trials()) >= 2 for _, each in ALL)


@every_task
def test_the_starter_is_not_done_and_has_the_arguments_of_the_right_function(part, each):
    starter = getattr(load(FOLDER / f"part{part}.py"), each.name)
    assert judge(each, starter, FILE) == judging.Verdict(NOT_DONE)
    asked = list(inspect.signature(starter).parameters)
    assert asked == list(inspect.signature(each.right).parameters)[: len(asked)]
    assert starter.__doc__


@pytest.mark.parametrize("part", TASKS)
def test_the_sheet_has_a_section_for_each_task_in_the_same_order(part):
    sheet = (FOLDER / f"part{part}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \d+\. `(\w+)`$", sheet, re.MULTILINE) == [
        each.name for each in TASKS[part]
    ]
    assert f"python run_part.py check {part}" in sheet
    for path in re.findall(r"`(\w+/\w+\.py)`", sheet):
        assert (FOLDER.parent / path).is_file(), path


@every_task
def test_the_projects_own_code_is_done(part, each):
    assert judge(each, each.right, FILE) == judging.Verdict("done", done=True)


@every_mistake
def test_every_mistake_is_told_by_its_own_name(each, told):
    """So no two mistakes of a task answer alike: the first one that agrees is told."""
    verdict = judge(each, each.mistakes[told], FILE)
    assert (verdict.told, verdict.done) == (told, False)


@every_task
def test_the_answer_to_one_trial_is_no_answer_to_the_next(part, each):
    first = judging._answers(each, each.right, each.trials())[0]
    answer = first if len(first) > 1 else first[0]
    assert not judge(each, lambda *arguments: answer, FILE).done


@pytest.mark.parametrize("part", TASKS)
def test_a_file_with_the_projects_code_ends_with_status_0(check, part):
    status, told, errors, pictures = check(part, SOLVED[part])
    assert (status, errors, pictures) == (0, [], [])
    assert told == {each.name: "done" for each in TASKS[part]}


@pytest.mark.parametrize("part", TASKS)
def test_the_starter_as_it_is_ends_with_status_1(tmp_path, capsys, part):
    assert run_part.main(["check", part, "--save-dir", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"0 of {len(TASKS[part])} done"
    assert all(line.endswith(NOT_DONE) for line in lines[:-1])
    assert len(lines) == len(TASKS[part]) + 1


HANDWRITTEN = {  # mistakes as somebody types them
    "to_fractions": ("1", "half a pixel off", """
def to_fractions(points, height, width):
    return torch.stack([points[..., 0] / width, points[..., 1] / height], dim=-1)
"""),
    "nose_net": ("1", "flatten(1) keeps the first dimension", """
def nose_net(convolutions, linears, faces):
    for layer in convolutions:
        faces = torch.max_pool2d(layer(faces).relu(), 3, 2)
    return linears[1](linears[0](faces.flatten()).relu()).view(-1, 1, 2)
"""),
    "training_step": ("1", "gradients not set to zero: they add up", """
def training_step(network, optimizer, faces, truth):
    loss = (network(faces) - truth).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()
"""),
    "turning": ("2", "turned the other way", """
def turning(degrees, height, width):
    angle, x, y = math.radians(degrees), (width - 1) / 2, (height - 1) / 2
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, s, x - c * x - s * y], [-s, c, y + s * x - c * y]])
"""),
    "move_both": ("2", "the points moved, the picture did not", """
def move_both(images, points, matrices):
    ones = torch.ones_like(points[..., :1])
    return images, torch.cat([points, ones], dim=-1) @ matrices.mT
"""),
    "mirror": ("2", "mirrored, but left and right not exchanged", """
def mirror(images, points, flip_order):
    points = points.clone()
    points[..., 0] = images.shape[-1] - 1 - points[..., 0]
    return images.flip(-1), points
"""),
    "nme": ("2", "mean over faces of sums, not of means", """
def nme(predicted, truth, outer_eyes):
    left, right = outer_eyes
    eyes = (truth[:, left] - truth[:, right]).norm(dim=-1)
    return 100 * ((predicted - truth).norm(dim=-1) / eyes[:, None]).mean()
"""),
    "read_pts": ("3", "the file counts from 1, we count from 0: subtract 1", """
def read_pts(text):
    rows = [line.split() for line in text.splitlines()]
    rows = [row for row in rows if len(row) == 2 and not row[0].endswith(":")]
    return torch.tensor([[float(x), float(y)] for x, y in rows])
"""),
    "soft_argmax": ("3", "softmax over the wrong axis", """
def soft_argmax(scores):
    maps = scores.softmax(1)
    x = (torch.arange(maps.shape[3]) + 0.5) / maps.shape[3]
    y = (torch.arange(maps.shape[2]) + 0.5) / maps.shape[2]
    return torch.stack([(maps.sum(2) * x).sum(-1), (maps.sum(3) * y).sum(-1)], dim=-1)
"""),
    "wing_loss": ("3", "not a number", """
def wing_loss(predicted, truth, width, curvature):
    error = predicted - truth
    far = error - width + width * math.log(1 + width / curvature)
    return torch.where(error < width, width * torch.log(1 + error / curvature), far).mean()
"""),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDWRITTEN)
def test_mistakes_are_known_however_they_are_typed(check, name):
    part, named, code = HANDWRITTEN[name]
    status, told, _, pictures = check(part, f"import math\n\nimport torch\n{code}")
    assert status == 1
    assert named in told[name]
    others = [line for other, line in told.items() if other != name]
    assert len(others) == len(TASKS[part]) - 1
    assert all(line.startswith(f"{NOT_DONE}: ") for line in others)
    drawn = {each.name: each.picture for each in TASKS[part]}[name] is not None
    assert [path.name for path in pictures] == ([f"part{part}-{name}.png"] if drawn else [])


def test_the_picture_of_a_mistake_is_named_and_gone_once_it_is_mended(check, tmp_path, capsys):
    part, _, code = HANDWRITTEN["mirror"]
    picture = tmp_path / "pictures" / "part2-mirror.png"
    assert check(part, f"import torch\n{code}")[3] == [picture]
    with Image.open(picture) as image:
        assert image.width > 1000
        colours = {colour[:3] for _, colour in image.getcolors(1 << 24)}
    assert {(0, 214, 143), (255, 74, 61)} <= colours  # the right points and the learner's
    run_part.main(["check", part, "--file", str(tmp_path / "mine.py"), "--save-dir",
                   str(tmp_path / "pictures")])  # fmt: skip
    assert f"a picture of it: {picture}\n" in capsys.readouterr().out
    assert check(part, SOLVED[part])[3] == []


@pytest.mark.parametrize("each", [each for _, each in ALL if each.picture], ids=lambda t: t.name)
def test_any_wrong_answer_of_the_right_shape_can_be_drawn(each):
    first = judging._answers(each, each.right, each.trials())[0]
    for wrong in (float("nan"), 1e9):
        answer = tuple(values * 0 + wrong for values in first)
        figure = each.picture(0, each.trials()[0], first, answer)
        figure.draw_without_rendering()


def broken(body):
    """A file of part 1 whose to_fractions is that one line; to_pixels is the project's."""
    start = "import torch\nfrom common.crops import to_pixels\n"
    return f"{start}def to_fractions(points, height, width):\n    {body}\n"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return points / nothing", "NameError: name 'nothing' is not defined (line 4)"),
        ("return torch.ones(3) @ points", re.compile(r"RuntimeError: .* \(line 4\)")),
        ("exit(3)", "SystemExit: 3 (line 4)"),
        ("raise NotImplementedError", NOT_DONE),
        ("points += 1; return points", "what came in was changed on the way: work on a copy, "
                                       "x.clone()"),
        ("points / 2", "nothing comes back: does it end with return?"),
        ("return 'x and y'", "a str comes back where numbers are asked for"),
        ("return points[0]", "the shape is (2,), asked is (58, 2)"),
        ("return points * 0", re.compile(r"not right, in a way that .* here: 0 where 0\.\d+ is")),
    ],
)  # fmt: skip
def test_what_else_is_wrong_is_told_in_one_line_and_the_other_tasks_are_checked(check, body, told):
    status, lines, errors, _ = check("1", broken(body))
    assert (status, errors) == (1, [])
    assert lines["to_pixels"] == "done"
    if isinstance(told, str):
        assert lines["to_fractions"] == told
    else:
        assert told.match(lines["to_fractions"])


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(60)"])
def test_a_function_that_never_ends_is_left_and_its_line_told(check, monkeypatch, body):
    monkeypatch.setattr(judging, "SECONDS", 3.0)
    began = time.monotonic()
    status, lines, _, _ = check("1", broken(body))
    assert time.monotonic() - began < 40
    assert status == 1
    assert lines["to_pixels"] == "done"
    assert lines["to_fractions"] == (
        "still running after 3 seconds: is there a loop that never ends? (line 4)"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ndef to_pixels(:\n", ", line 2: invalid syntax"),
        ("x = 1\n\ny = x + z\n", ": NameError: name 'z' is not defined (line 3)"),
        ("import no_such_library\n", ": ModuleNotFoundError: No module named 'no_such_library' "
                                     "(line 1)"),
        ("x = 1\0", ": source code string cannot contain null bytes"),
        ("while True:\n    pass\n", ": still running after 1 seconds"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_run_ends_with_one_line_and_status_2(
    check, tmp_path, monkeypatch, text, told
):
    monkeypatch.setattr(checking, "SECONDS_TO_START", 1.0)
    status, lines, (error,), pictures = check("1", text)
    assert (status, lines, pictures) == (2, {}, [])
    assert error.startswith(f"error: {tmp_path / 'mine.py'}{told}")
    assert error.endswith("mend it and check again")


def test_a_file_that_is_not_there_and_a_folder_that_cannot_be_are_told(check, tmp_path, capsys):
    missing = tmp_path / "none.py"
    assert run_part.main(["check", "1", "--file", str(missing)]) == 2
    assert capsys.readouterr().err == (
        f"error: {missing}: No such file or directory; name the file with --file\n"
    )
    file = tmp_path / "a file"
    file.touch()
    assert run_part.main(["check", "1", "--save-dir", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}")


def test_checking_leaves_nothing_beside_the_learners_file(check, tmp_path):
    check("2", SOLVED["2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "pictures"]
