"""Several processes that train one network: ``torchrun --nproc-per-node 2 run_part.py 3``.

Every process holds the whole network and takes every batch's share of its own; gradients are
summed, so that all take the same step, the one that a single process takes with the whole batch.
Every process draws the whole batch's random numbers, so the augmented faces are those of one
process too. Batch normalisation alone is another: each process normalises by its own share.

One process, without torchrun, is its own first and only one: nothing here then does anything.
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

T = TypeVar("T")


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started, if it did; only the first one is heard.

    Tensors on the CPU travel by gloo, those on GPUs by NCCL.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    # As long as it takes: cutting a large data set is one process's work, and torchrun ends the
    # others where one fails.
    distributed.init_process_group(_ways(), timeout=timedelta(days=7))
    try:
        with contextlib.ExitStack() as quiet:
            if not is_main_process():
                nowhere = quiet.enter_context(open(os.devnull, "w"))
                quiet.enter_context(contextlib.redirect_stdout(nowhere))
                quiet.enter_context(contextlib.redirect_stderr(nowhere))
            yield
    finally:
        _part()


def _ways() -> str:
    """How tensors travel. Asked for nothing, torch would take NCCL alone where there is a GPU, and
    what lies on the CPU could not travel."""
    gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def finish_workers() -> None:
    """Where the shared work ends: the other processes end here, with exit status 0."""
    first = is_main_process()
    _part()
    if not first:
        sys.exit(0)


def is_main_process() -> bool:
    """Whether this process is the one that writes files."""
    return _place()[0] == 0


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
    told = [result, fault]
    distributed.broadcast_object_list(told)
    if told[1] is not None:
        raise told[1]
    return told[0]


def local_shard(count: int) -> tuple[slice, float]:
    """Which of a batch's ``count`` faces are this process's, and their share of the batch.

    A process that would get none, because there are more processes than faces, gets one that
    counts nothing, so that every process takes part in every step.
    """
    rank, processes = _place()
    return slice(rank % count, count, processes), len(range(rank, count, processes)) / count


def sum_gradients(network: nn.Module) -> None:
    """Add up the gradients of all processes, in every process."""
    if distributed.is_initialized():
        _sum([weight.grad for weight in network.parameters() if weight.grad is not None])


def average_buffers(network: nn.Module) -> None:
    """Take the mean over all processes of what batch normalisation keeps."""
    if distributed.is_initialized():
        buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        for buffer in buffers:
            buffer.div_(distributed.get_world_size())
        _sum(buffers)


def summed(number: Tensor) -> float:
    """The sum over all processes of one number."""
    if distributed.is_initialized():
        distributed.all_reduce(number)
    return number.item()


def _place() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _sum(tensors: list[Tensor]) -> None:
    """Replace tensors by their sums over all processes, sent as one long vector."""
    if not tensors:
        return
    process_group = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(process_group)
    for tensor, total in zip(
        tensors, process_group.split([t.numel() for t in tensors]), strict=True
    ):
        tensor.copy_(total.view_as(tensor))


def _part() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
