import ctypes
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from common.system import device
from common.system.device import autocast, best_device, keep_freed_heap, preload_if_fits
from common.system.errors import UserError

PAGES = 4000  # of 4096 bytes: 16 MB, which glibc would request again each time


def test_pictures_stay_in_memory_where_they_would_fill_the_device(monkeypatch):
    images, cuda = Mock(nbytes=1000), torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "mem_get_info", Mock(side_effect=[(2000, 1e9), (2001, 1e9)]))
    assert preload_if_fits(images, cuda) is preload_if_fits(images, torch.device("cpu")) is images
    assert preload_if_fits(images, cuda) is images.to.return_value
    images.to.assert_called_once_with(cuda)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"^torchrun: 2 GPUs here; take --nproc-per-node 2$"):
        best_device()


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cpu:first", "hpu"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name):
    with pytest.raises(UserError, match=rf"^--device {name}: [^\n]*; leave it out$"):
        best_device(name)
    assert best_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_bfloat16_is_used_where_it_is_wanted_and_the_processor_can(monkeypatch, wanted, able):
    monkeypatch.setattr(device, "computes_in_bfloat16", lambda _: able)
    with autocast(torch.device("cpu"), wanted):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if wanted and able else torch.float32)


def faults_of_allocating():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(PAGES * 4096, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_kept_memory_is_taken_again_without_asking_the_kernel():
    paths = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    printed = subprocess.check_output([sys.executable, __file__], env=paths, timeout=120)
    returned, kept = map(int, printed.split())
    assert returned > 4 * PAGES > 4 * kept  # none but the first time


if __name__ == "__main__":  # in a process of its own, since there is no way back
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: small pages, that can be counted
    returned = faults_of_allocating()
    keep_freed_heap()
    faults_of_allocating()
    print(returned, faults_of_allocating())
