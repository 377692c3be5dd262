"""What the network is computed on."""

from __future__ import annotations

import ctypes
import os
import sys

import torch
from torch import Tensor

from common.system.errors import UserError


def best_device(wanted: str | None = None) -> torch.device:
    """The device that is ``wanted``, else CUDA, else MPS, else the CPU.

    Under torchrun each process takes a GPU of its own.
    Raises UserError for a device that this machine does not have.
    """
    if "LOCAL_RANK" in os.environ and (wanted or "cuda") == "cuda" and torch.cuda.is_available():
        rank, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if rank >= count:
            raise UserError(f"torchrun: {count} GPUs here; take --nproc-per-node {count}")
        wanted = f"cuda:{rank}"
    if wanted:
        try:
            torch.zeros(1, device=wanted).item()
            return torch.device(wanted)
        except (RuntimeError, AssertionError, ImportError):
            raise UserError(f"--device {wanted}: not on this machine; leave it out") from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it would only be slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # since torch 2.5
        return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return False


def autocast(device: torch.device, wanted: bool) -> torch.autocast:
    """Compute in bfloat16 where it is wanted and the processor can."""
    return torch.autocast(
        device.type, torch.bfloat16, enabled=wanted and computes_in_bfloat16(device)
    )


def preload_if_fits(images: Tensor, device: torch.device) -> Tensor:
    """Pictures on ``device`` where they leave half of its free memory, else where they are."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    elif device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    else:
        return images
    return images.to(device) if images.nbytes < free / 2 else images


def keep_freed_heap() -> None:
    """Let a Linux process keep the memory that it frees; elsewhere nothing happens.

    Every training step frees its memory and allocates the same again. glibc gets large blocks
    from the kernel, which clears them, each time: about 30 % of a step of the Udacity
    route's networks, 7 to 11 % of part 3's. See mallopt(3): M_MMAP_MAX is -4, M_TRIM_THRESHOLD -1.
    """
    c_library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(-4, 0)
        c_library.mallopt(-1, 2**31 - 1)
