"""Every part with every recipe, from files on the disk to the page, on a few synthetic faces."""

import csv
import json
import re
from functools import partial

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
    with open(folder / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    numbers = {name: float(value) for name, value in row.items()}
    assert numbers["epoch"] == 1
    assert numbers["seconds"] == pytest.approx(metrics["seconds"], abs=0.01)
    assert numbers["test_nme"] == pytest.approx(metrics["nme"], rel=1e-4)
    assert numbers.keys() == {
        "epoch", "train_loss", "test_loss", "test_nme", "learning_rate", "seconds"
    }  # fmt: skip


def test_the_page_shows_every_figure_of_the_run_and_is_listed_on_the_start_page(run):
    part, folder, _ = run
    page = (folder / "index.html").read_text()
    shown = re.findall(r'<img[^>]*src="(figures/[^"]+)"', page)
    assert sorted(shown) == sorted(f"figures/{f.name}" for f in (folder / "figures").iterdir())
    assert f"part{part}/index.html" in (folder.parent / "index.html").read_text()
    assert not list(folder.rglob("*.tmp"))


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
    pairs = [(metrics, repeated), [each["baseline_mean_face"] for each in (metrics, repeated)]]
    for before, after in pairs:
        expected = pytest.approx([before[name] for name in UNITS], rel=1e-5)
        assert [after[name] for name in UNITS] == expected
    assert repeated["per_group"].keys() == metrics["per_group"].keys()
    for group, values in repeated["per_group"].items():
        assert values == pytest.approx(metrics["per_group"][group], rel=1e-5)

    status, table, _ = evaluate(folder / "checkpoint.pt")
    assert status == 0
    rows = {line.split("  ")[0]: line.split() for line in table.splitlines()[2:]}
    assert rows.keys() == {"all", "mean face", *metrics["per_group"]}
    assert f"{metrics['nme']:.5g}" in rows["all"]


def test_a_run_from_other_initial_weights_says_so(
    small_reports, small_root, tmp_path, small_runs, command
):
    trained = small_reports["best"] / "part3" / "checkpoint.pt"
    line = ["3", "--recipe", "from-heatmaps", "--pretrained", trained, "--epochs", 1]
    line += ["--device", "cpu", "--data", small_root, "--reports", tmp_path]
    assert command(*line)[0] == 0
    assert f"--pretrained {trained}." in (tmp_path / "part3" / "index.html").read_text()


def test_evaluate_takes_one_folder_and_other_boxes(small_reports, evaluate):
    def measured(*more):
        checkpoint = small_reports["best"] / "part3" / "checkpoint.pt"
        return json.loads(evaluate(checkpoint, "--json", *more)[1])

    assert measured("--split", "train")["n_test"] == 6
    one = measured("--split", "lfpw/testset")
    assert one["n_test"] == 2
    assert one["per_group"].keys() == {"lfpw/testset"}
    boxed = measured("--split", "lfpw/testset", "--boxes", "file")
    assert (boxed["n_test"], boxed["boxes"]) == (2, "file")
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
def test_evaluate_names_in_one_line_what_does_not_fit(small_reports, evaluate, part, more, named):
    status, out, errors = evaluate(small_reports["best"] / part / "checkpoint.pt", *more)
    assert (status, out) == (2, "")
    assert errors[-1].startswith("error: ") and named in errors[-1]
