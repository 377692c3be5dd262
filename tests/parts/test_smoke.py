"""Every part with every recipe, from files on the disk to the page, on a few drawn faces."""

import csv
import json
import re

import pytest

import run_part

RECIPES = ("course", "best")
UNITS = ("mse_ratio", "mse_px", "smooth_l1_224", "mae_px_original", "nme", "fr8", "auc8")


@pytest.fixture(params=[(part, recipe) for part in "123" for recipe in RECIPES], ids="-".join)
def run(request, small_reports):
    """A part's number and the folder that its run wrote."""
    part, recipe = request.param
    return part, small_reports[recipe] / f"part{part}"


@pytest.fixture
def evaluate(small_root, capsys):
    """Calls ``run_part.py evaluate``; the exit status, stdout and the lines of stderr."""

    def call(checkpoint, *more):
        capsys.readouterr()
        line = ["evaluate", str(checkpoint), "--data", str(small_root), "--device", "cpu"]
        status = run_part.main([*line, *more])
        out, err = capsys.readouterr()
        return status, out, err.strip().splitlines()

    return call


def test_the_run_leaves_metrics_and_history(run):
    part, folder = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["n_train"], metrics["n_test"]) == ((6, 3) if part == "3" else (8, 4))
    assert metrics["dataset"] == ("ibug" if part == "3" else "imm")
    assert metrics["epochs"] == 1
    assert metrics["seconds"] > 0
    assert metrics["synthetic"] is False
    assert metrics["left_out"] == []
    with open(folder / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["epoch"] == "1"
    for name in ("train_loss", "validation_loss", "validation_nme", "seconds", "learning_rate"):
        assert float(row[name]) >= 0
    assert float(row["validation_nme"]) == pytest.approx(metrics["nme"], rel=1e-4)


def test_the_run_leaves_a_page_whose_pictures_are_there(run):
    part, folder = run
    page = (folder / "index.html").read_text()
    assert f"Part {part}" in page
    sources = re.findall(r'<img[^>]*src="([^"]+)"', page)
    assert len(sources) >= 5
    assert all(source.startswith("data:") or (folder / source).is_file() for source in sources)
    assert list((folder / "figures").glob("*.png"))
    assert f"part{part}/index.html" in (folder.parent / "index.html").read_text()
    assert not list(folder.rglob("*.tmp"))


def test_the_page_plays_what_was_kept_and_claims_no_cause_from_a_few_faces(run):
    part, folder = run
    page = (folder / "index.html").read_text()
    film = json.loads(re.search(r'id="film-numbers">(.*?)</script>', page).group(1))
    assert film["names"] == ["before training", "after epoch 1"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert float(film["means"][1]) == pytest.approx(metrics["nme"], abs=0.06)  # all are watched
    points = {"1": 1, "2": 58, "3": 68}[part]
    assert [len(face) for face in film["answers"][0]] == [points] * metrics["n_test"]
    assert metrics["why"]["effects"] == []
    assert f"Nothing is claimed from the errors of the {metrics['n_test']} test faces" in page


def test_evaluate_repeats_the_numbers_of_the_run(run, evaluate):
    _, folder = run
    status, out, _ = evaluate(folder / "checkpoint.pt", "--json")
    assert status == 0
    told, metrics = json.loads(out), json.loads((folder / "metrics.json").read_text())
    assert {name: told[name] for name in UNITS} == pytest.approx(
        {name: metrics[name] for name in UNITS}, rel=1e-5
    )
    always = {name: metrics["baseline_mean_face"][name] for name in UNITS}
    assert told["baseline_mean_face"] == pytest.approx(always, rel=1e-5)
    assert told["per_group"].keys() == metrics["per_group"].keys()
    for group, values in told["per_group"].items():
        assert values == pytest.approx(metrics["per_group"][group], rel=1e-5)

    status, table, _ = evaluate(folder / "checkpoint.pt")
    assert status == 0
    rows = {line.split("  ")[0]: line.split() for line in table.splitlines()[2:]}
    assert rows.keys() == {"all", "mean face", *metrics["per_group"]}
    assert f"{metrics['nme']:.5g}" in rows["all"]


def test_a_run_that_begins_with_another_ones_weights_says_so(small_reports, small_root, tmp_path):
    taught = small_reports["best"] / "part3" / "checkpoint.pt"
    line = ["3", "--head", "coordinates", "--loss", "l1", "--pretrained", str(taught)]
    line += ["--epochs", "1", "--device", "cpu"]
    where = ["--data", str(small_root), "--reports", str(tmp_path)]
    assert run_part.main([*line, *where]) == 0
    page = (tmp_path / "part3" / "index.html").read_text()
    assert f"The first weights were not random: --pretrained {taught}." in page


def test_evaluate_takes_one_folder_and_other_boxes(small_reports, evaluate):
    def measured(*more):
        status, out, _ = evaluate(
            small_reports["best"] / "part3" / "checkpoint.pt", "--json", *more
        )
        assert status == 0
        return json.loads(out)

    assert measured("--split", "train")["n_test"] == 6
    one = measured("--split", "lfpw/testset")
    assert one["n_test"] == 2
    assert one["per_group"].keys() == {"lfpw/testset"}
    boxed = measured("--split", "lfpw/testset", "--boxes", "file")
    assert boxed["n_test"] == 2
    assert boxed["boxes"] == "file"
    assert boxed["nme"] != one["nme"]


@pytest.mark.parametrize(
    ("part", "more", "named"),
    [
        ("part3", ["--split", "nowhere"], "nowhere"),
        ("part3", ["--dataset", "imm"], "ibug68"),
        ("part3", ["--dataset", "nothing"], "nothing"),
        ("part3", ["--device", "nonsense"], "nonsense"),
        ("part1", ["--split", "nowhere"], "nowhere"),
        ("part9", [], "part9"),
    ],
)
def test_evaluate_tells_in_one_line_what_does_not_fit(small_reports, evaluate, part, more, named):
    status, out, errors = evaluate(small_reports["best"] / part / "checkpoint.pt", *more)
    assert status == 2
    assert out == ""
    (line,) = [line for line in errors if line.startswith("error: ")]
    assert named in line
    assert not any("Traceback" in line for line in errors)
