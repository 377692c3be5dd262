import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.folds import changed
from common.errors import UserError
from common.recipe import Recipe

ROOT = Path(__file__).parents[2]


def test_values_are_read_as_what_they_are():
    recipe = changed(Recipe(), ["batch=16", "rotation=2.5", "loss=wing", "cosine=True"])
    assert recipe == Recipe(batch=16, rotation=2.5, loss="wing", cosine=True)
    assert changed(recipe, ["cosine=False"]).cosine is False


@pytest.mark.parametrize("change", ["none=1", "batch", "batch=many", "cosine=yes", "kept_size=1"])
def test_a_change_that_cannot_be_made_is_told(change):
    with pytest.raises(UserError, match=f"^{change}: .*; "):
        changed(Recipe(), [change])


def test_a_benchmark_ends_in_one_line_where_a_person_can_mend_it():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.dropout", "nowhere.pt"],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: nowhere.pt: no such checkpoint; train one with: python run_part.py 1"
    ]
