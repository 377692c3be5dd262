"""Two processes train the network that one trains; this file is also the program that they run."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import made_up_reports
import pytest
import small_sets
import torch
from states import same
from test_training import TRAIN, VALIDATION, stopped_in
from torch import nn

from common.recipe import Options, Recipe
from common.system import distributed
from common.system.errors import UserError
from common.training import fit

REPOSITORY = Path(__file__).resolve().parents[3]
# Nothing random but the order of the faces, since each process augments its share with random
# numbers of its own. 14 faces by 12: the last batch is two faces, one for each process.
PLAIN = Recipe(
    height=12, width=16, margin=2, epochs=3, batch=12, loss="l1", optimizer="adamw",
    learning_rate=3e-3, ema_decay=0.5, init_bias_to_mean=True,
)  # fmt: skip
CPU = Options(device="cpu")


def new_network(normalise):
    """One convolution, with batch normalisation or without, and one layer behind it."""
    normal = nn.BatchNorm2d(4) if normalise else nn.Identity()
    layers = nn.Conv2d(1, 4, 3), normal, nn.ReLU(), nn.Flatten(), nn.Linear(560, 2)
    return nn.Sequential(*layers, nn.Unflatten(1, (1, 2)))


def train(folder, normalise, options=CPU):
    """A trained network's weights and the history without its seconds."""
    torch.manual_seed(0)
    network = new_network(normalise)
    history = fit(network, TRAIN, VALIDATION, PLAIN, options, folder / f"{normalise}.pt")
    for row in history:
        del row["seconds"]
    return network.state_dict(), history


def train_stop_and_resume(folder):
    """The same as ``train``, stopped in its last epoch and resumed."""
    with stopped_in(PLAIN.epochs - 1):
        train(folder, normalise=True)
    distributed.on_main_process(lambda: None)  # both have stopped
    return train(folder, normalise=True, options=replace(CPU, resume=True))


def fail():
    raise UserError("only the first process met this")


def train_together(folder, run, options):
    """What each process does: train both networks, share what only the first one knows; then what
    part 3 does, which ends the other process."""
    rank = int(os.environ["RANK"])
    print("heard")
    results = {"trained": [train(folder, normalise) for normalise in (False, True)]}
    results["resumed"] = train_stop_and_resume(folder / "again")
    torch.manual_seed(0)
    distributed.own_random_numbers()
    results["drawn"] = torch.rand(5)
    results["known"] = distributed.on_main_process(lambda: f"from {rank}")
    try:
        distributed.on_main_process(fail)
    except UserError as fault:
        results["fault"] = str(fault)
    torch.save(results, folder / f"rank {rank}.pt")
    run(options)
    distributed.on_main_process(lambda: print("alone"))  # waits for nobody


def part_3(folder):
    """The program: the command line, whose processes have ``train_together`` to do first."""
    import run_part
    from parts.toolkit import LESSONS

    patch = pytest.MonkeyPatch()
    patch.setattr(LESSONS["3"], "run", partial(train_together, folder, LESSONS["3"].run))
    small_sets.shrink_crops(patch)
    made_up_reports.draw_nothing(patch)
    line = ["3", "--data", folder / "sets", "--reports", folder / "reports", "--epochs", 1]
    sys.exit(run_part.main([*map(str, line), "--device", "cpu"]))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder, what each of two processes saved in it, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    small_sets.write_ibug(folder / "sets")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "FACE_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *words, __file__, str(folder)],  # with any free port
        cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, [torch.load(folder / f"rank {rank}.pt") for rank in (0, 1)], done


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [False, True], ids=["plain", "batch normalisation"])
def test_both_processes_end_with_the_same_weights_and_metrics(two, normalise):
    (first, history), (second, repeated) = (saved["trained"][normalise] for saved in two[1])
    assert history == repeated
    assert len(history) == PLAIN.epochs
    own = {name for name in first if "running" in name}  # statistics of each process's shard
    assert same(first | dict.fromkeys(own), second | dict.fromkeys(own))


@pytest.mark.slow
def test_processes_augment_their_shards_with_random_numbers_of_their_own(two):
    (mine, yours) = (saved["drawn"] for saved in two[1])
    torch.manual_seed(0)
    assert torch.equal(mine, torch.rand(5))  # the first draws what a single process draws
    assert not torch.equal(mine, yours)


@pytest.mark.slow
def test_stopped_together_and_resumed_together_they_end_with_the_same_weights(two):
    saved = two[1][0]
    (weights, history), (resumed, rows) = saved["trained"][True], saved["resumed"]
    assert rows == history
    assert len(rows) == PLAIN.epochs
    assert same(weights, resumed)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(two, tmp_path):
    """But for the order of sums: the same faces, batches and learning rates."""
    weights, history = train(tmp_path, normalise=False)
    together, rows = two[1][0]["trained"][False]
    torch.testing.assert_close(dict(together), dict(weights), rtol=1e-3, atol=1e-5)
    assert history == [pytest.approx(row, rel=1e-4) for row in rows]


@pytest.mark.slow
def test_the_first_process_alone_is_heard_and_all_get_what_it_knows_or_meets(two):
    folder, saved, done = two
    assert [each["known"] for each in saved] == ["from 0", "from 0"]
    assert [each["fault"] for each in saved] == ["only the first process met this"] * 2
    page = folder / "reports" / "part3" / "index.html"
    assert done.stdout.splitlines() == ["heard", f"the page: {page}", "alone"]


@pytest.mark.parametrize("gpus", [False, True])
@pytest.mark.parametrize("nccl", [False, True])
def test_what_lies_on_the_cpu_travels_with_and_without_gpus(monkeypatch, gpus, nccl):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: nccl)
    ways = torch.distributed.distributed_c10d.BackendConfig(distributed.backend())
    on_gpus = "nccl" if gpus and nccl else "gloo"
    assert ways.get_device_backend_map().items() >= {"cpu": "gloo", "cuda": on_gpus}.items()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shards_are_equally_large_and_hold_every_face(monkeypatch, count, processes):
    chosen, shards = torch.randperm(100)[:count], []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank_and_world", lambda rank=rank: (rank, processes))
        shards.append(distributed.local_shard(chosen))
    # As few as possible each, so where the count is a multiple of theirs, none is repeated.
    assert {len(shard) for shard in shards} == {math.ceil(count / processes)}
    assert set(torch.cat(shards).tolist()) == set(chosen.tolist())


@pytest.mark.slow
def test_part_3_by_two_processes_leaves_one_page(two):
    folder, _, done = two
    page = folder / "reports" / "part3" / "index.html"
    assert page.is_file()
    metrics = json.loads((page.parent / "metrics.json").read_text())
    assert (metrics["n_train"], metrics["n_test"], metrics["epochs"]) == (6, 3, 1)
    assert done.stderr.count("cutting ibug/train:") >= 1
    assert not [file for file in folder.rglob("*") if file.name.endswith(".tmp")]


if __name__ == "__main__":
    part_3(Path(sys.argv[1]))
