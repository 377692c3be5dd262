"""What a training leaves behind, to be compared bit for bit."""

import torch

from common import checkpoints


def state_of(path):
    """All that a checkpoint holds, but for the seconds that it took."""
    checkpoint = checkpoints.load(path)
    for timed in (*checkpoint["training"]["history"], checkpoint.get("metrics", {})):
        timed.pop("seconds", None)
    return checkpoint


def same(one, other):
    """Whether two states are equal, their tensors bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
