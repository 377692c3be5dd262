"""What the network is computed on."""

from __future__ import annotations

import torch

from common.errors import UserError


def best_device(wanted: str | None = None) -> torch.device:
    """The device that is ``wanted``, else CUDA, else MPS, else the CPU.

    Raises UserError for a device that this machine does not have.
    """
    if wanted:
        try:
            torch.zeros(1, device=wanted).item()
            return torch.device(wanted)
        except (RuntimeError, AssertionError, ImportError):
            raise UserError(f"--device {wanted}: not on this machine; leave it out") from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
