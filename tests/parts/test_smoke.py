"""Every part with every recipe, from files on the disk to the page, on a few synthetic faces."""

import csv
import json
import re
from functools import partial
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
RECIPES = ("course", "best")
UNITS = ("mse_ratio", "mse_px", "smooth_l1_224", "mae_px_original", "nme", "fr8", "auc8")
POINTS = {"1": 1, "2": 58, "3": 68}


@pytest.fixture(params=[(part, recipe) for part in "123" for recipe in RECIPES], ids="-".join)
def run(request, small_reports):
    """A part's number, the folder that its run wrote, and the metrics in it."""
    part, recipe = request.param
    folder = small_reports[recipe] / f"part{part}"
    return part, folder, json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def evaluate(small_root, command):
    return partial(command, "evaluate", "--data", small_root, "--device", "cpu")


def test_the_run_leaves_metrics_and_history(run):
    part, folder, metrics = run
    assert (metrics["n_train"], metrics["n_test"]) == ((6, 3) if part == "3" else (8, 4))
    assert metrics["dataset"] == ("ibug" if part == "3" else "imm")
    assert (metrics["synthetic"], metrics["left_out"], metrics["epochs"]) == (False, [], 1)
    assert not list(folder.rglob("*.tmp"))
    assert f"part{part}/index.html" in (folder.parent / "index.html").read_text()
    with open(folder / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    numbers = {name: float(value) for name, value in row.items()}
    assert numbers["epoch"] == 1
    assert numbers["seconds"] == pytest.approx(metrics["seconds"], abs=0.01)
    assert numbers["test_nme"] == pytest.approx(metrics["nme"], rel=1e-4)
    columns = "epoch train_loss test_loss test_nme learning_rate seconds"
    assert list(numbers) == columns.split()


def test_the_page_plays_the_snapshots_and_claims_no_cause_from_a_few_faces(run):
    part, folder, metrics = run
    page = (folder / "index.html").read_text()
    film = json.loads(re.search(r'id="film-numbers">(.*?)</script>', page).group(1))
    assert film["names"] == ["before training", "after epoch 1"]
    assert float(film["means"][1]) == pytest.approx(metrics["nme"], abs=0.06)  # of all test faces
    assert [len(face) for face in film["answers"][0]] == [POINTS[part]] * metrics["n_test"]
    assert metrics["why"]["effects"] == []


def test_evaluate_repeats_the_numbers_of_the_run(run, evaluate):
    _, folder, metrics = run
    repeated = json.loads(evaluate(folder / "checkpoint.pt", "--json")[1])
    numbers, again = (
        {"all": [values[name] for name in UNITS]} | values["per_group"]
        | {"mean face": [values["baseline_mean_face"][name] for name in UNITS]}
        for values in (metrics, repeated)
    )  # fmt: skip
    assert again == {name: pytest.approx(values, rel=1e-5) for name, values in numbers.items()}

    status, table, _ = evaluate(folder / "checkpoint.pt")
    assert status == 0
    rows = {line.split("  ")[0]: line.split() for line in table.splitlines()[2:]}
    assert rows.keys() == {"all", "mean face", *metrics["per_group"]}
    assert f"{metrics['nme']:.5g}" in rows["all"]


def test_the_page_names_other_initial_weights(best_reports, small_root, small_runs, command):
    trained = best_reports / "part3" / "checkpoint.pt"
    line = ["3", "--recipe", "from-heatmaps", "--pretrained", trained, "--epochs", 1]
    assert command(*line, "--device", "cpu", "--data", small_root)[0] == 0
    assert f"--pretrained {trained}." in Path("reports", "part3", "index.html").read_text()


def test_evaluate_takes_one_folder_and_other_boxes(best_reports, evaluate):
    def measured(*more):
        checkpoint = best_reports / "part3" / "checkpoint.pt"
        return json.loads(evaluate(checkpoint, "--json", "--split", *more)[1])

    assert measured("train")["n_test"] == 6
    one, boxed = (measured("lfpw/testset", "--boxes", boxes) for boxes in ("landmarks", "file"))
    assert (one["n_test"], boxed["n_test"], boxed["boxes"]) == (2, 2, "file")
    assert one["per_group"].keys() == {"lfpw/testset"}
    assert boxed["nme"] != one["nme"]
