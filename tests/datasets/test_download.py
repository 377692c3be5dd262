"""Fetching from a local server that misbehaves, and unpacking archives that do."""

import io
import os
import stat
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from common.system.errors import UserError
from datasets import download
from datasets.download import RemoteFile, fetch, install, unpack

CONTENT = bytes(i * i % 251 for i in range(300_000))


class Server:
    """Serves ``files`` (path -> bytes) and notes every request as (path, its Range header)."""

    def __init__(self, files):
        self.files = files
        self.requests = []
        self.vouchers = []  # their If-Range headers
        self.cuts = []  # bytes after which the next answers break off
        self.ranges = True
        self.announce_more = 0  # added to Content-Length: a lie
        self.announce = True
        self.etag = '"one"'
        self.status = {}

    def answer(self, handler):
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        self.vouchers.append(handler.headers.get("If-Range"))
        content = self.files.get(handler.path)
        if content is None or handler.path in self.status:
            handler.send_error(self.status.get(handler.path, 404))
            return
        whole = len(content) + self.announce_more
        start = 0
        same = handler.headers.get("If-Range") in (None, self.etag)
        if asked and self.ranges and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
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
    with serving(Server({"/a.bin": CONTENT})) as running:
        yield running


def get(server, folder, **settings):
    fetch(f"{server.url}/a.bin", folder / "a.bin", **settings)
    return (folder / "a.bin").read_bytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_nothing_else_stays(server, tmp_path, capsys):
    assert get(server, tmp_path) == CONTENT
    assert names(tmp_path) == ["a.bin"]
    assert "a.bin: 100%" in capsys.readouterr().err


def test_a_broken_transfer_goes_on_where_it_broke(server, tmp_path):
    server.cuts = [100_000, 70_000]
    assert get(server, tmp_path) == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=170000-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError, match="broke off after 200000 of 300000 bytes"):
        get(server, tmp_path)
    assert "a.bin" not in names(tmp_path)
    server.requests.clear()
    assert get(server, tmp_path) == CONTENT
    assert server.requests == [("/a.bin", "bytes=200000-")]


def test_a_part_of_another_address_is_not_continued(server, tmp_path):
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError):
        get(server, tmp_path)
    server.files["/b.bin"] = b"other" * 60_000
    fetch(f"{server.url}/b.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"other" * 60_000
    assert server.requests[-1] == ("/b.bin", None)


def test_a_file_that_changed_in_between_is_fetched_anew(server, tmp_path):
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError):
        get(server, tmp_path)
    server.files["/a.bin"], server.etag = CONTENT[::-1], '"two"'
    assert get(server, tmp_path) == CONTENT[::-1]


def test_without_a_mark_of_the_version_the_length_must_be_the_same(server, tmp_path):
    server.etag = None
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError):
        get(server, tmp_path)
    server.files["/a.bin"] = CONTENT[::-1] + b"longer"
    assert get(server, tmp_path) == CONTENT[::-1] + b"longer"


def test_a_weak_mark_vouches_for_nothing(server, tmp_path):
    server.etag = 'W/"one"'  # may stand for other bytes of the same meaning
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError):
        get(server, tmp_path)
    assert set(server.vouchers) == {None}


def test_a_server_without_ranges_is_asked_for_the_whole_again(server, tmp_path):
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


def test_an_address_that_is_gone_is_not_asked_twice(server, tmp_path):
    server.status["/a.bin"] = 404
    with pytest.raises(UserError, match="HTTP 404"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def test_a_server_that_is_busy_is_asked_again(server, tmp_path):
    server.status["/a.bin"] = 503
    with pytest.raises(UserError, match="HTTP 503"):
        get(server, tmp_path)
    assert len(server.requests) == download.FRUITLESS_ATTEMPTS


def tar_gz(members):
    """``members``: (name, bytes) or a TarInfo of a link or a device."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, content = member
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def special(name, kind, target=""):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def zip_link(name):
    header = zipfile.ZipInfo(name)
    header.create_system = 3
    header.external_attr = (stat.S_IFLNK | 0o777) << 16
    return header


GOOD = [("set/one.txt", b"1"), ("set/deep er/two.txt", b"2" * 1000)]


def find_set(unpacked):
    return next((file.parent for file in unpacked.rglob("one.txt")), None)


def no_warnings(folder):
    assert (folder / "one.txt").is_file()
    return []


@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_archives_are_told_apart_by_content(tmp_path, pack):
    (tmp_path / "archive.bin").write_bytes(pack(GOOD))
    unpack(tmp_path / "archive.bin", tmp_path / "new")
    assert (tmp_path / "new/set/deep er/two.txt").read_bytes() == b"2" * 1000
    assert (tmp_path / "new/set/one.txt").read_bytes() == b"1"


EVIL = {
    "absolute": tar_gz([*GOOD, ("/nowhere/evil.txt", b"x")]),
    "up": tar_gz([*GOOD, ("set/../../evil.txt", b"x")]),
    "backslash": zipped([*GOOD, ("..\\..\\evil.txt", b"x")]),
    "drive": zipped([*GOOD, ("C:evil.txt", b"x")]),
    "zip up": zipped([*GOOD, ("../evil.txt", b"x")]),
    "zip absolute": zipped([*GOOD, ("/nowhere/evil.txt", b"x")]),
    "symlink": tar_gz([*GOOD, special("set/evil.txt", tarfile.SYMTYPE, "/etc/passwd")]),
    "link then file": tar_gz([special("set", tarfile.SYMTYPE, ".."), ("set/evil.txt", b"x")]),
    "hard link": tar_gz([*GOOD, special("set/evil.txt", tarfile.LNKTYPE, "../../evil")]),
    "device": tar_gz([*GOOD, special("set/evil.txt", tarfile.CHRTYPE)]),
    "pipe": tar_gz([*GOOD, special("set/evil.txt", tarfile.FIFOTYPE)]),
    "zip symlink": zipped([*GOOD, (zip_link("set/evil.txt"), "/etc/passwd")]),
    "twice": tar_gz([*GOOD, ("set/one.txt", b"evil.txt")]),
}
DAMAGED = {
    "page": b"<html>not found</html>",
    "nothing": b"",
    "half": tar_gz([("set/one.txt", os.urandom(100_000))])[:50_000],
    "half a zip": zipped(GOOD)[:100],
    "other content": tar_gz([("readme.txt", b"another data set")]),
}
WRONG = {"gone": None} | EVIL | DAMAGED


@pytest.mark.parametrize("kind", EVIL)
def test_a_member_that_could_leave_the_folder_refuses_the_archive(tmp_path, kind):
    (tmp_path / "archive").write_bytes(EVIL[kind])
    with pytest.raises(UserError, match=r"refused.*(evil|set|one)"):
        unpack(tmp_path / "archive", tmp_path / "new")
    written = [path for path in tmp_path.rglob("*") if "evil" in path.name or path.is_symlink()]
    assert written == []


@pytest.fixture
def archive_server():
    with serving(Server({})) as running:
        yield running


def install_from(server, folder, *answers, **settings):
    """Serve ``answers`` at an address and its mirrors; install into ``folder/the_set``."""
    server.files |= {f"/{i}": answer for i, answer in enumerate(answers) if answer is not None}
    urls = [f"{server.url}/{i}" for i in range(len(answers))]
    remote = RemoteFile("set.tar.gz", urls[0], mirrors=tuple(urls[1:]))
    settings = {"find_in": find_set, "verify": no_warnings} | settings
    return install(remote, folder / "the_set", **settings)


def test_a_set_appears_in_its_place_and_nothing_else_stays(archive_server, tmp_path):
    verified = []
    warnings = install_from(
        archive_server, tmp_path / "new/data", tar_gz(GOOD),
        verify=lambda folder: verified.append(folder.name) or ["a warning"],
    )  # fmt: skip
    assert warnings == ["a warning"]
    assert names(tmp_path / "new/data") == ["the_set"]
    assert names(tmp_path / "new/data/the_set") == ["deep er", "one.txt"]


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


def test_a_set_that_does_not_verify_is_not_installed(archive_server, tmp_path):
    def refuse(folder):
        raise UserError("5 of 480 files missing")

    with pytest.raises(UserError, match="5 of 480 files missing"):
        install_from(archive_server, tmp_path, tar_gz(GOOD), verify=refuse)
    assert names(tmp_path) == []


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupted_check_leaves_no_set(archive_server, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        install_from(archive_server, tmp_path, tar_gz(GOOD), verify=interrupt)
    assert names(tmp_path) == ["set.tar.gz"]


def test_an_interrupted_unpacking_leaves_the_archive_which_is_not_fetched_again(
    archive_server, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert names(tmp_path) == ["set.tar.gz"]
    asked = len(archive_server.requests)
    install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert len(archive_server.requests) == asked
    assert names(tmp_path) == ["the_set"]


def test_what_a_killed_run_left_does_not_get_into_the_set(archive_server, tmp_path):
    (tmp_path / "the_set.unpacking/set").mkdir(parents=True)
    (tmp_path / "the_set.unpacking/set/old.txt").touch()
    install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert names(tmp_path / "the_set") == ["deep er", "one.txt"]


def test_a_set_that_is_there_is_not_touched(archive_server, tmp_path):
    (tmp_path / "the_set").mkdir()
    with pytest.raises(UserError, match="the_set: is there already and is not overwritten"):
        install_from(archive_server, tmp_path, tar_gz(GOOD))
    assert archive_server.requests == []
    assert names(tmp_path / "the_set") == []


def test_a_full_disk_ends_in_one_line_and_leaves_what_was_fetched(
    archive_server, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"the_set: No space left on device; free some space"):
        install_from(archive_server, tmp_path, tar_gz(GOOD), zipped(GOOD))
    assert names(tmp_path) == ["set.tar.gz"]


def test_a_folder_that_cannot_be_made_is_named(archive_server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*: .*another folder with --data"):
        install_from(archive_server, tmp_path / "file", tar_gz(GOOD))
