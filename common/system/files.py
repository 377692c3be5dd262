"""Writing files so that a kill or a full disk never leaves half of one."""

from __future__ import annotations

import glob
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from common.system.errors import UserError

ABANDONED = 600.0  # seconds
NAME = 40  # characters of a file's name in that of its temporary file, of 255 bytes at most
Write = Callable[[BinaryIO], object]


def cache_folder() -> Path:
    """Where crops and synthetic faces are kept: the environment variable FACE_CACHE, else a folder
    in the user's cache."""
    return Path(os.environ.get("FACE_CACHE") or "~/.cache/facial-keypoints").expanduser()


def make_writable(folder: Path) -> None:
    """Make ``folder`` and prove that it can be written, before hours of work are put into it.

    Raises UserError where it cannot.
    """
    write_atomically(folder / "can-be-written", lambda file: None)
    (folder / "can-be-written").unlink(missing_ok=True)  # unless another process was quicker


def write_atomically(path: Path, write: Write, remedy: str = "choose another folder") -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``.

    Whatever stood at ``path`` stays whole until the new file is complete and on the disk.
    remedy: what else to do where it cannot be written.
    Raises UserError where the folder cannot be written or the disk is full.
    """
    write_together({path: write}, remedy)


def write_together(files: Mapping[Path, Write], remedy: str = "choose another folder") -> None:
    """As ``write_atomically``, of several files: none is renamed before all are complete."""
    temporaries: dict[Path, Path] = {}
    path = None
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporaries[path] = temporary_name(path, "")
            with open(temporaries[path], "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except (OSError, RuntimeError) as fault:
        # torch.save hides in a RuntimeError what stopped it: a full disk, Ctrl-C
        reason = fault if isinstance(fault, OSError) else fault.__context__ or fault
        if not isinstance(reason, OSError):
            raise reason from None
        raise UserError(
            f"{path}: cannot be written ({reason.strerror or reason}); free some space or {remedy}"
        ) from None
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):  # gone already, or the folder was never one
                temporary.unlink()


def put_bytes(content: bytes) -> Write:
    """What writes ``content`` into a file, for ``write_together``."""
    return lambda file: file.write(content)


def say(line: str) -> None:
    """Print a line at once. Where nobody reads lines any more, the work goes on without them.

    Raises UserError, once, where stdout cannot take them, as on a full disk.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError:
        drop_stdout()
    except OSError as fault:
        drop_stdout()
        raise UserError(f"stdout: {fault.strerror}; its lines are lost, files are not") from None


def drop_stdout() -> None:
    """Let whatever is printed from now on vanish, and what could not be written before."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def temporary_name(path: Path, ending: str) -> Path:
    """A hidden name beside ``path`` that no other writer of it takes; ends as ``ending`` says.

    What killed writers of ``path`` have left is removed.
    """
    begins = f".{path.name[:NAME]}."
    clear_abandoned(path.parent.glob(f"{glob.escape(begins)}*.tmp{ending}"))
    return path.with_name(f"{begins}{os.getpid()}-{time.time_ns()}.tmp{ending}")


def clear_abandoned(left: Iterable[Path]) -> None:
    """Remove files and folders of killed writers: those that have not changed for ``ABANDONED``."""
    for path in left:
        with suppress(OSError):  # another writer was quicker
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
