"""Fetching from a local server that misbehaves, and unpacking archives that do."""

import io
import os
import stat
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.system.errors import UserError
from datasets import download
from datasets.download import RemoteFile, fetch, install, unpack

PATH = "/a.bin"
CONTENT = bytes(i * i % 251 for i in range(300_000))


class Server:
    """Serves ``files`` (path -> bytes) and notes every request as (path, its Range header)."""

    def __init__(self, files):
        self.files = files
        self.requests = []
        self.validators = []  # their If-Range headers
        self.cuts = []  # bytes after which the next answers break off
        self.ranges = True
        self.announce_more = 0  # added to Content-Length: a lie
        self.announce = True
        self.etag = '"one"'
        self.status = {}

    def answer(self, handler):
        requested = handler.headers.get("Range")
        self.requests.append((handler.path, requested))
        self.validators.append(handler.headers.get("If-Range"))
        content = self.files.get(handler.path)
        if content is None or handler.path in self.status:
            handler.send_error(self.status.get(handler.path, 404))
            return
        whole = len(content) + self.announce_more
        start = 0
        same = handler.headers.get("If-Range") in (None, self.etag)
        if requested and self.ranges and same:
            start = int(requested.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            handler.send_response(200)
        if self.announce:
            handler.send_header("Content-Length", str(whole - start))
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        end = min(len(content), start + self.cuts.pop(0)) if self.cuts else len(content)
        handler.wfile.write(content[start:end])


@contextmanager
def serving(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        http.shutdown()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 5)


@pytest.fixture
def server():
    with serving(Server({PATH: CONTENT})) as running:
        yield running


def get(server, folder, **settings):
    fetch(f"{server.url}/a.bin", folder / "a.bin", **settings)
    return (folder / "a.bin").read_bytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def broken_off(server, tmp_path):
    """A server and a folder that has received 200,000 of 300,000 bytes from it."""
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError, match="broke off after 200000 of 300000 bytes"):
        get(server, tmp_path)
    assert "a.bin" not in names(tmp_path)
    server.requests.clear()
    return server


def test_a_file_arrives_whole_and_nothing_else_remains(server, tmp_path, capsys, monkeypatch):
    bar = partial(download.tqdm.wrapattr, disable=False)
    monkeypatch.setattr(download.tqdm, "wrapattr", bar)
    assert get(server, tmp_path) == CONTENT
    assert names(tmp_path) == ["a.bin"]
    assert "a.bin: 100%" in capsys.readouterr().err


def test_a_broken_transfer_continues_where_it_broke(server, tmp_path):
    server.cuts = [100_000, 70_000]
    assert get(server, tmp_path) == CONTENT
    assert server.requests == [(PATH, start) for start in (None, "bytes=100000-", "bytes=170000-")]


def test_a_later_call_continues_where_an_earlier_one_gave_up(broken_off, tmp_path):
    assert get(broken_off, tmp_path) == CONTENT
    assert broken_off.requests == [(PATH, "bytes=200000-")]


def test_a_part_of_another_address_is_not_continued(broken_off, tmp_path):
    broken_off.files["/b.bin"] = b"other" * 60_000
    fetch(f"{broken_off.url}/b.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"other" * 60_000
    assert broken_off.requests == [("/b.bin", None)]


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(broken_off, tmp_path):
    broken_off.files[PATH], broken_off.etag = CONTENT[::-1], '"two"'
    assert get(broken_off, tmp_path) == CONTENT[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"one"'], ids=["none", "weak"])
def test_without_a_strong_etag_the_length_must_be_the_same(server, tmp_path, etag):
    server.etag = etag  # a weak one may mean other bytes of the same meaning
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError):
        get(server, tmp_path)
    assert set(server.validators) == {None}
    server.files[PATH] = CONTENT[::-1] + b"longer"
    assert get(server, tmp_path) == CONTENT[::-1] + b"longer"


def test_from_a_server_without_ranges_the_whole_file_is_fetched_again(server, tmp_path):
    server.ranges = False
    server.cuts = [200_000]
    assert get(server, tmp_path) == CONTENT


def test_a_server_that_announces_no_length_is_read_to_the_end(server, tmp_path):
    server.announce = False
    assert get(server, tmp_path) == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_length_that_never_comes_ends_in_one_line(server, tmp_path, ranges):
    server.announce_more, server.ranges = 500, ranges
    with pytest.raises(UserError) as error:
        get(server, tmp_path)
    assert "\n" not in str(error.value)
    assert "a.bin" not in names(tmp_path)
    assert len(server.requests) <= 10


def test_a_file_with_another_checksum_is_refused_and_removed(server, tmp_path):
    with pytest.raises(UserError, match="its SHA-256 differs"):
        get(server, tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, download.FRUITLESS_ATTEMPTS)])
def test_a_busy_address_is_tried_again_and_a_dead_one_is_not(server, tmp_path, status, requests):
    server.status[PATH] = status
    with pytest.raises(UserError, match=f"HTTP {status}"):
        get(server, tmp_path)
    assert len(server.requests) == requests


def tar_gz(members):
    """members: (name, bytes), or (name, kind, target) of a link or a device."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content, *target in members:
            header = tarfile.TarInfo(name)
            if target:
                header.type, header.linkname = content, *target
                tar.addfile(header)
            else:
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def zipped(members):
    """members: (name or ZipInfo, bytes)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def zip_link(name):
    header = zipfile.ZipInfo(name)
    header.create_system = 3
    header.external_attr = (stat.S_IFLNK | 0o777) << 16
    return header


GOOD = [("set/one.txt", b"1"), ("set/deep er/two.txt", b"2" * 1000)]
REFUSED = {  # the fault that is reported, and what a harmful archive holds beside a good set
    "up": ("would leave", tar_gz([*GOOD, ("set/../../evil.txt", b"x")])),
    "up within the folder": ("would leave", tar_gz([*GOOD, ("set/../evil.txt", b"x")])),
    "absolute": ("would leave", tar_gz([*GOOD, ("/nowhere/evil.txt", b"x")])),
    "backslash": ("would leave", tar_gz([*GOOD, ("..\\evil.txt", b"x")])),
    "symlink": ("is a link", tar_gz([*GOOD, ("set/evil.txt", tarfile.SYMTYPE, "/etc/passwd")])),
    "inner link": ("is a link", tar_gz([*GOOD, ("set/evil.txt", tarfile.SYMTYPE, "one.txt")])),
    "link then file": (
        "is a link", tar_gz([("evil", tarfile.SYMTYPE, "../.."), ("evil/evil.txt", b"x"), *GOOD])
    ),
    "hard link": ("is a link", tar_gz([*GOOD, ("set/evil.txt", tarfile.LNKTYPE, "../../evil")])),
    "device": ("a device", tar_gz([*GOOD, ("set/evil.txt", tarfile.CHRTYPE, "")])),
    "pipe": ("a device", tar_gz([*GOOD, ("set/evil.txt", tarfile.FIFOTYPE, "")])),
    "twice": ("twice", tar_gz([*GOOD, ("set/one.txt", b"evil.txt")])),
    "file and folder": ("twice", tar_gz([*GOOD, ("set/one.txt/evil.txt", b"x")])),
    "folder and file": ("twice", tar_gz([("evil.txt/one.txt", b"1"), ("evil.txt", b"x")])),
    "zip up": ("would leave", zipped([*GOOD, ("../../evil.txt", b"x")])),
    "zip absolute": ("would leave", zipped([*GOOD, ("/nowhere/evil.txt", b"x")])),
    "zip backslash": ("would leave", zipped([*GOOD, ("..\\..\\evil.txt", b"x")])),
    "zip drive": ("would leave", zipped([*GOOD, ("C:evil.txt", b"x")])),
    "zip symlink": ("is a link", zipped([*GOOD, (zip_link("set/evil.txt"), "/etc/passwd")])),
    "zip link then file": (
        "is a link", zipped([(zip_link("evil"), "../.."), ("evil/evil.txt", b"x"), *GOOD])
    ),
    "zip twice": ("twice", zipped([*GOOD, ("set/./one.txt", b"evil.txt")])),
}  # fmt: skip
DAMAGED = {
    "page": b"<html>not found</html>",
    "nothing": b"",
    "half": tar_gz([("set/one.txt", os.urandom(100_000))])[:50_000],
    "half a zip": zipped(GOOD)[:100],
    "other content": tar_gz([("readme.txt", b"another data set")]),
    "not verified": tar_gz([("set/one.txt", b"incomplete")]),
}
WRONG = {"gone": None} | {kind: content for kind, (_, content) in REFUSED.items()} | DAMAGED


@pytest.mark.parametrize("kind", REFUSED)
def test_a_member_that_could_leave_the_folder_refuses_the_archive(tmp_path, kind):
    fault, content = REFUSED[kind]
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(UserError, match=f"refused, .*(evil|one).*{fault}"):
        unpack(tmp_path / "archive", tmp_path / "new")
    assert names(tmp_path) == ["archive", "new"]
    assert not Path("/nowhere").exists()
    assert all(path.is_dir() or path.read_bytes() != b"x" for path in tmp_path.rglob("*"))
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.fixture
def archive_server():
    with serving(Server({})) as running:
        yield running


def verify_set(folder):
    if (folder / "one.txt").read_bytes() == b"incomplete":
        raise UserError("1 of 2 files missing")
    return ["a warning"]


def install_from(server, folder, *contents):
    """Serve ``contents`` at an address and its mirrors; install into ``folder/the_set``."""
    server.files |= {f"/{i}": content for i, content in enumerate(contents) if content is not None}
    urls = [f"{server.url}/{i}" for i in range(len(contents))]
    remote = RemoteFile("set.tar.gz", urls[0], mirrors=tuple(urls[1:]))
    return install(remote, folder / "the_set", "one.txt", verify_set)


def test_a_python_without_the_safe_filter_is_refused_before_anything_is_fetched(
    archive_server, tmp_path, monkeypatch
):
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(UserError, match=r"take 3\.10\.12"):
        install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert archive_server.requests == []


@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_a_set_appears_in_its_place_and_nothing_else_remains(archive_server, tmp_path, pack):
    assert install_from(archive_server, tmp_path / "new/data", pack(GOOD)) == ["a warning"]
    assert names(tmp_path / "new/data") == ["the_set"]
    assert names(tmp_path / "new/data/the_set") == ["deep er", "one.txt"]
    assert (tmp_path / "new/data/the_set/one.txt").read_bytes() == b"1"
    assert (tmp_path / "new/data/the_set/deep er/two.txt").read_bytes() == b"2" * 1000


@pytest.mark.parametrize("kind", WRONG)
def test_a_mirror_helps_where_the_first_address_fails(archive_server, tmp_path, kind):
    install_from(archive_server, tmp_path, WRONG[kind], zipped(GOOD))
    assert names(tmp_path) == ["the_set"]


@pytest.mark.parametrize("kind", WRONG)
def test_no_good_address_ends_in_one_line_and_leaves_nothing(archive_server, tmp_path, kind):
    with pytest.raises(UserError) as error:
        install_from(archive_server, tmp_path, WRONG[kind], WRONG[kind])
    line = str(error.value)
    assert "\n" not in line and f"{archive_server.url}/0" in line and "try again later" in line
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("step", "fault", "error"),
    [
        ((tarfile.TarFile, "extract"), KeyboardInterrupt(), KeyboardInterrupt),
        ((tarfile.TarFile, "extract"), OSError(28, "No space left"), UserError),
        ((Path, "rename"), KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["Ctrl-C", "full disk", "Ctrl-C after verification"],
)
def test_an_archive_that_was_not_unpacked_remains_and_is_not_fetched_again(
    archive_server, tmp_path, monkeypatch, step, fault, error
):
    def fail(*_, **__):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(*step, fail)
        with pytest.raises(error, match="the_set: No space left; free" if fault.args else None):
            install_from(archive_server, tmp_path, tar_gz(GOOD), zipped(GOOD))
    assert names(tmp_path) == ["set.tar.gz"]
    requests = len(archive_server.requests)
    install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert len(archive_server.requests) == requests
    assert names(tmp_path) == ["the_set"]


def test_what_a_killed_run_left_does_not_get_into_the_set(archive_server, tmp_path):
    (tmp_path / "the_set.unpacking/set").mkdir(parents=True)
    (tmp_path / "the_set.unpacking/set/old.txt").touch()
    install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert names(tmp_path / "the_set") == ["deep er", "one.txt"]


def test_an_existing_set_is_not_touched(archive_server, tmp_path):
    (tmp_path / "the_set").mkdir()
    with pytest.raises(UserError, match="the_set: is there already and is not overwritten"):
        install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert archive_server.requests == []
    assert names(tmp_path / "the_set") == []


def test_a_folder_that_cannot_be_made_is_named(archive_server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*: .*another folder with --data"):
        install_from(archive_server, tmp_path / "file", tar_gz(GOOD))
