import ctypes
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.system.device import best_device, keep_freed_heap, preload_if_fits
from common.system.errors import UserError

PAGES = 4000  # of 4096 bytes: 16 MB, which glibc would fetch anew each time


def test_pictures_stay_in_memory_where_they_would_fill_the_device(monkeypatch):
    images = torch.zeros(10, 1, 10, 10, dtype=torch.uint8)  # 1000 bytes
    sent = []

    class Pictures(torch.Tensor):
        def to(self, device):
            sent.append(device)
            return "sent"

    images, cuda = images.as_subclass(Pictures), torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2000, 10**9))
    assert preload_if_fits(images, cuda) is images
    assert sent == []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2001, 10**9))
    assert preload_if_fits(images, cuda) == "sent"
    assert sent == [cuda]
    assert preload_if_fits(images, torch.device("cpu")) is images


def test_more_processes_than_gpus_are_told(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"^torchrun: 2 GPUs here; take --nproc-per-node 2$"):
        best_device()


def faults_of_taking_memory_anew():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(PAGES * 4096, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_kept_memory_is_taken_again_without_asking_the_kernel():
    told = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    returned, kept = map(int, told.stdout.split())
    assert returned > 4 * PAGES
    assert kept < PAGES  # none but the first time


if __name__ == "__main__":  # in a process of its own, since there is no way back
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: small pages, that can be counted
    returned = faults_of_taking_memory_anew()
    keep_freed_heap()
    faults_of_taking_memory_anew()
    print(returned, faults_of_taking_memory_anew())
