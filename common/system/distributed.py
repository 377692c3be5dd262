"""Several processes that train one network: ``torchrun --nproc-per-node 2 run_part.py 3``.

Each process trains on its share of every batch, and ``DistributedDataParallel`` averages the
gradients, so all take the same step. Without torchrun every function here is a no-op.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started, if it did; only the first one prints."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    # No time limit: one process cuts a large data set while the others wait, and torchrun ends
    # all of them where one fails.
    distributed.init_process_group(backend(), timeout=timedelta(days=7))
    try:
        with contextlib.ExitStack() as quiet:
            if not is_main_process():
                nowhere = quiet.enter_context(open(os.devnull, "w"))
                quiet.enter_context(contextlib.redirect_stdout(nowhere))
                quiet.enter_context(contextlib.redirect_stderr(nowhere))
            yield
    finally:
        _shut_down()


def backend() -> str:
    """How tensors travel: those on the CPU by gloo, those on GPUs by NCCL.

    Without a name torch takes NCCL alone where it finds a GPU, and CPU tensors cannot travel.
    """
    gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def finish_workers() -> None:
    """Leave the process group; only the first process returns, the others exit with status 0."""
    main = is_main_process()
    _shut_down()
    if not main:
        sys.exit(0)


def is_main_process() -> bool:
    """Whether this process is the one that writes files."""
    return rank_and_world()[0] == 0


def on_main_process(compute: Callable[[], T]) -> T:
    """What ``compute`` returns in the first process; the others wait and get the same.

    What it raises is raised in every process.
    """
    if not distributed.is_initialized():
        return compute()
    result, fault = None, None
    if is_main_process():
        try:
            result = compute()
        except Exception as raised:
            fault = raised
    outcome = [result, fault]
    distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def data_parallel(network: nn.Module) -> nn.Module:
    """``network`` as the training loop calls it: its gradients are the mean over all processes.

    On GPUs batch normalisation takes its statistics from the whole batch; on CPUs, where torch
    has no ``SyncBatchNorm``, from the share of each process, and the first one's are kept.
    """
    if not distributed.is_initialized():
        return network
    if next(network.parameters()).is_cuda:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network)


def local_shard(chosen: Tensor) -> Tensor:
    """This process's share of a batch's indices (B,).

    A batch that cannot be shared evenly repeats its first faces, as torch's
    ``DistributedSampler`` does, because the mean over processes counts all of them alike.
    """
    rank, world = rank_and_world()
    padded = chosen.repeat(world)[: -(-len(chosen) // world) * world]
    return padded[rank::world]


def own_random_numbers() -> None:
    """Let each process draw other random numbers from here on; the first draws as if alone."""
    rank, _ = rank_and_world()
    if rank:
        torch.manual_seed(torch.initial_seed() + rank)


def mean_over_processes(number: Tensor) -> float:
    """The mean over all processes of one number."""
    _, world = rank_and_world()
    if world > 1:
        distributed.all_reduce(number)
    return number.item() / world


def rank_and_world() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _shut_down() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
