import io
import multiprocessing
import os
import resource
import signal
import time

import pytest
import torch

from common.system import files
from common.system.errors import UserError
from common.system.files import make_writable, write_atomically


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_what_was_written_stands_in_a_folder_made_for_it(tmp_path):
    write_atomically(tmp_path / "new" / "folder" / "file", lambda file: file.write(b"whole"))
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == b"whole"
    assert names(tmp_path / "new" / "folder") == ["file"]


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_ctrl_c_while_torch_writes_is_ctrl_c(tmp_path):
    class Interrupted(io.BytesIO):
        def write(self, content):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", lambda file: torch.save({"a": 1}, Interrupted()))
    assert names(tmp_path) == []


def _write_slowly(path, started):
    def write(file):
        file.write(b"half")
        file.flush()
        started.set()
        time.sleep(60)

    write_atomically(path, write)


def test_a_killed_writer_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    processes = multiprocessing.get_context("forkserver")
    started = processes.Event()
    process = processes.Process(target=_write_slowly, args=(path, started), daemon=True)
    process.start()
    assert started.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def _write_together(path, together, letter):
    def write(file):
        file.write(letter)
        file.flush()
        together.wait(60)  # now both have begun
        file.write(letter)

    write_atomically(path, write)


def test_two_processes_that_write_one_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    processes = multiprocessing.get_context("forkserver")
    together = processes.Barrier(2)
    both = [
        processes.Process(target=_write_together, args=(path, together, letter), daemon=True)
        for letter in (b"a", b"b")
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert path.read_bytes() in (b"aa", b"bb")
    assert names(tmp_path) == ["file"]


def test_what_killed_writers_left_long_ago_is_cleared_away(tmp_path):
    path, left, fresh = (tmp_path / name for name in ("file", ".file.1.tmp", ".file.2.tmp"))
    for file in (left, fresh):
        file.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    write_atomically(path, lambda file: file.write(b"new"))
    assert names(tmp_path) == [".file.2.tmp", "file"]


@pytest.fixture
def disk_of_a_megabyte():
    """Files cannot grow over 1 MiB here: what a full disk looks like to who writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def by_hand(file):
    file.write(bytes(3 << 20))


def by_torch(file):
    torch.save({"weights": torch.zeros(3 << 20, dtype=torch.uint8)}, file)


@pytest.mark.parametrize("write", [by_hand, by_torch])
def test_a_full_disk_is_told_in_one_line_and_leaves_what_was_there(
    tmp_path, disk_of_a_megabyte, write
):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(UserError, match="cannot be written") as told:
        write_atomically(path, write)
    assert str(told.value).startswith(f"{path}: ")
    assert "\n" not in str(told.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_fault_that_is_not_the_disks_is_not_called_one(tmp_path):
    def fail(file):
        raise RuntimeError("of another kind")

    with pytest.raises(RuntimeError, match="of another kind"):
        write_atomically(tmp_path / "file", fail)


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        make_writable(tmp_path / "file" / "below")
    make_writable(tmp_path / "new")
    assert names(tmp_path / "new") == []


def test_another_process_may_prove_the_same_folder_at_once(tmp_path, monkeypatch):
    def write_and_lose(path, write):
        write_atomically(path, write)
        path.unlink()  # what the other process does

    monkeypatch.setattr(files, "write_atomically", write_and_lose)
    make_writable(tmp_path)
    assert names(tmp_path) == []
