"""Small videos that are damaged."""

import re


def break_off(path, frames):
    """Cut an AVI file within a frame, after the first ``frames``."""
    content = path.read_bytes()
    starts = [match.start() for match in re.finditer(b"00dc", content)]  # the first in the header
    path.write_bytes(content[: starts[1 + frames] + 20])
