"""Which network the commands take."""

import os
import time

import pytest
import torch
from small_network import checkpoint_of

from parts import toolkit

MEAN = {"mean_shape": torch.full((68, 2), 0.5)}
DAY = 24 * 3600


def finished(nme, dataset="ibug", **groups):
    """What a finished run's checkpoint records."""
    per_group = {name.replace("_", "/"): {"nme": value} for name, value in groups.items()}
    metrics = {"nme": nme, "dataset": dataset, "per_group": per_group}
    return {"metrics": metrics, "dataset": dataset, **MEAN}


RUNS = {  # folder: its age in days, what its checkpoint holds
    "part3": (0, finished(4.424, lfpw_testset=4.424)),
    "part3-mixed": (1, finished(2.9, lfpw_testset=2.9)),
    "part3-synthetic": (3, finished(5.0, "synthetic", ibug=5.0)),
    "part3-udacity": (-1, MEAN),  # newer, and still training
    "part1": (-2, finished(1.0, "imm")),
}
LINES = {  # the runs that are there, and how the line goes on
    "part3 part3-udacity part1": "reports/part3/checkpoint.pt, NME 4.42 % on lfpw/testset, trained "
    "today; --checkpoint shipped takes a better one, 3.00 % there",
    "part3-mixed": "reports/part3-mixed/checkpoint.pt, NME 2.90 % on lfpw/testset, trained "
    "yesterday",
    "part3-synthetic part3-udacity": "reports/part3-synthetic/checkpoint.pt, NME 5.00 % on "
    "synthetic/test, trained on {day}; trained on synthetic faces; --checkpoint shipped takes one "
    "of real faces",
    "part1 part3-udacity": "shipped, NME 3.00 % on lfpw/testset",
}


@pytest.mark.parametrize("runs", LINES)
def test_the_newest_finished_run_of_part_3_else_the_shipped_network_is_taken(
    tmp_path, monkeypatch, capsys, runs
):
    monkeypatch.chdir(tmp_path)
    for folder in runs.split():
        days, values = RUNS[folder]
        path = tmp_path / "reports" / folder / "checkpoint.pt"
        path.parent.mkdir(parents=True)
        checkpoint_of(path, **values)
        os.utime(path, (time.time() - days * DAY,) * 2)
    trained = toolkit.choose_network(None)
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() - 3 * DAY))
    assert capsys.readouterr().err == f"network: {LINES[runs].format(day=day)}\n"
    assert trained.name == LINES[runs].partition(",")[0]
