import io
import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from common.system import files
from common.system.errors import UserError
from common.system.files import make_writable, write_atomically, write_together


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_what_was_written_is_in_a_folder_made_for_it(tmp_path):
    write_atomically(tmp_path / "new" / "folder" / "file", lambda file: file.write(b"whole"))
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == b"whole"
    assert names(tmp_path / "new" / "folder") == ["file"]


WRITER = """
import sys
from pathlib import Path
from common.system.files import write_atomically

def write(file):
    file.write(sys.argv[2].encode())
    file.flush()
    print("half of it is written", flush=True)
    sys.stdin.readline()
    file.write(sys.argv[2].encode())

write_atomically(Path(sys.argv[1]), write)
"""


def start_writer(path, letter):
    """A process that has written half of ``path`` and goes on when it is sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), letter],
        cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline()
    return process


def test_a_killed_writer_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with start_writer(path, "a") as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_two_processes_that_write_one_file_do_not_meet(tmp_path):
    both = [start_writer(tmp_path / "file", letter) for letter in "ab"]
    for process in both:
        process.communicate(b"go on\n", timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "file").read_bytes() in (b"aa", b"bb")
    assert names(tmp_path) == ["file"]


def test_what_killed_writers_left_long_ago_is_cleared_away(tmp_path):
    path, left, fresh = (tmp_path / name for name in ("file", ".file.1.tmp", ".file.2.tmp"))
    for file in (left, fresh):
        file.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    write_atomically(path, lambda file: file.write(b"new"))
    assert names(tmp_path) == [".file.2.tmp", "file"]


@pytest.fixture
def small_disk():
    """Files cannot grow over 1 MiB here: what a full disk looks like to who writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def writes_half(fault, file):
    file.write(b"half")
    raise fault


INTERRUPTED = Mock(spec=io.BytesIO, write=Mock(side_effect=KeyboardInterrupt))
FULL = r"^[^\n]*file: [^\n]*cannot be written[^\n]*$"
LARGE = {"weights": torch.zeros(3 << 20, dtype=torch.uint8)}


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (partial(writes_half, KeyboardInterrupt()), KeyboardInterrupt, None),
        (lambda _: torch.save({"a": 1}, INTERRUPTED), KeyboardInterrupt, None),
        (partial(writes_half, RuntimeError("not the disk's")), RuntimeError, "^not the disk's$"),
        (lambda file: file.write(bytes(3 << 20)), UserError, FULL),
        (lambda file: torch.save(LARGE, file), UserError, FULL),
    ],
    ids=["Ctrl-C", "Ctrl-C in torch", "another fault", "full disk", "full disk in torch"],
)
def test_a_writer_that_fails_leaves_what_was_there(tmp_path, small_disk, write, error, message):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_files_that_belong_together_are_written_all_or_none(tmp_path, small_disk):
    files = {tmp_path / name: lambda file: file.write(b"new") for name in "ab"}
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(UserError, match=r"c: cannot be written \(File too large\)"):
        write_together(files | {tmp_path / "c": lambda file: file.write(bytes(3 << 20))})
    assert names(tmp_path) == ["b"] and (tmp_path / "b").read_bytes() == b"old"
    write_together(files)
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == [b"new"] * 2


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127], ids=["ascii", "utf-8"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    write_atomically(tmp_path / name, lambda file: file.write(b"whole"))
    assert names(tmp_path) == [name]


SAY = """
import sys
from common.system.errors import UserError
from common.system.files import say

for line in "ab":
    try:
        say(line)
    except UserError as fault:
        print(fault, file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_behind_stdout_is_reported_once(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SAY], cwd=Path(__file__).parents[3], stdout=full,
            stderr=subprocess.PIPE, text=True, check=True, timeout=60,
        )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert line.startswith("stdout: No space left on device; ")


def test_a_folder_is_proved_writable_also_by_two_processes_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        make_writable(tmp_path / "file" / "below")

    def write_and_lose(path, write):
        write_atomically(path, write)
        path.unlink()  # what the other process does

    for way in (write_atomically, write_and_lose):
        monkeypatch.setattr(files, "write_atomically", way)
        make_writable(tmp_path / "new")
        assert names(tmp_path / "new") == []
