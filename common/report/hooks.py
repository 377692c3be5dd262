"""Looking on while a network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Note = Callable[[nn.Module, object, Tensor], None]
"""Gets a module, its inputs and its output."""


@contextmanager
def forward_hooks(notes: dict[nn.Module, Note]) -> Iterator[None]:
    """Within it, each module tells its note of every output."""
    hooks = [module.register_forward_hook(note) for module, note in notes.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
