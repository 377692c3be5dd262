"""Fetching from a local server that misbehaves, and unpacking archives that do."""

import os
import stat
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from bad_server import CONTENT, PATH, serve, tar_gz, zipped

from common.system.errors import UserError
from datasets import download
from datasets.download import fetch, install


def get(server, folder, **settings):
    fetch(f"{server.url}/a.bin", folder / "a.bin", **settings)
    return (folder / "a.bin").read_bytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def break_off(server, folder):
    """Receive 200,000 of 300,000 bytes."""
    server.cuts = [200_000, 0, 0, 0]
    with pytest.raises(UserError, match="broke off after 200000 of 300000 bytes"):
        get(server, folder)
    assert "a.bin" not in names(folder)
    server.requests.clear()


@pytest.fixture
def broken_off(server, tmp_path):
    break_off(server, tmp_path)
    return server


def test_a_file_arrives_whole_and_nothing_else_remains(server, tmp_path, capsys, monkeypatch):
    bar = partial(download.tqdm.wrapattr, disable=False)
    monkeypatch.setattr(download.tqdm, "wrapattr", bar)
    assert (get(server, tmp_path), names(tmp_path)) == (CONTENT, ["a.bin"])
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
    break_off(server, tmp_path)
    assert set(server.validators) == {None}
    server.files[PATH] = CONTENT[::-1] + b"longer"
    assert get(server, tmp_path) == CONTENT[::-1] + b"longer"


@pytest.mark.parametrize(("missing", "cuts"), [("ranges", [200_000]), ("announce", [])])
def test_without_ranges_or_a_length_the_whole_file_is_read(server, tmp_path, missing, cuts):
    setattr(server, missing, False)
    server.cuts = cuts
    assert get(server, tmp_path) == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_length_that_never_comes_ends_in_one_line(server, tmp_path, ranges):
    server.announce_more, server.ranges = 500, ranges
    with pytest.raises(UserError, match=r"^(HTTP 416|broke off after 300000 of 300500) .*$"):
        get(server, tmp_path)
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


ZIP_LINK = zipfile.ZipInfo("evil")
ZIP_LINK.create_system = 3
ZIP_LINK.external_attr = (stat.S_IFLNK | 0o777) << 16
GOOD = [("set/one.txt", b"1"), ("set/deep er/two.txt", b"2" * 1000)]
LEAVING = [f"{folder}evil.txt" for folder in ("set/../../", "set/../", "/nowhere/", "..\\", "C:")]
TWICE = ["set/./one.txt", "set/one.txt/evil.txt", "set/deep er"]
REFUSED = dict.fromkeys(LEAVING, "would leave") | dict.fromkeys(TWICE, "twice")  # by name
LINKS = {  # kinds and targets of links and devices
    "outwards": (tarfile.SYMTYPE, "../.."),
    "absolute": (tarfile.SYMTYPE, "/etc"),
    "inner": (tarfile.SYMTYPE, "one.txt"),
    "hard": (tarfile.LNKTYPE, "../../evil.txt"),
    "device": (tarfile.CHRTYPE, ""),
    "pipe": (tarfile.FIFOTYPE, ""),
}
WRONG = {  # the fault that is reported, and the archive, None where there is none
    **{f"tar {name}": (fault, tar_gz([*GOOD, (name, b"x")])) for name, fault in REFUSED.items()},
    **{f"zip {name}": (fault, zipped([*GOOD, (name, b"x")])) for name, fault in REFUSED.items()},
    **{
        f"{kind} link": ("link or a device", tar_gz([*GOOD, ("evil", *link), ("evil/x", b"x")]))
        for kind, link in LINKS.items()
    },
    "zip link": ("link or a device", zipped([*GOOD, (ZIP_LINK, "../.."), ("evil/x", b"x")])),
    "gone": ("HTTP 404", None),
    "page": ("not a whole archive", b"<html>not found</html>"),
    "nothing": ("not a whole archive", b""),
    "half": ("not a whole archive", tar_gz([("set/one.txt", os.urandom(100_000))])[:50_000]),
    "half a zip": ("not a whole archive", zipped(GOOD)[:100]),
    "other content": ("does not hold this data set", tar_gz([("readme.txt", b"another set")])),
    "not verified": ("1 of 2 files missing", tar_gz([("set/one.txt", b"incomplete")])),
}


def verify_set(folder):
    if (folder / "one.txt").read_bytes() == b"incomplete":
        raise UserError("1 of 2 files missing")
    return ["a warning"]


def install_from(server, folder, *contents):
    return install(serve(server, *contents), folder / "the_set", "one.txt", verify_set)


def test_a_python_without_the_safe_filter_fetches_nothing(server, tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(UserError, match=r"take 3\.10\.12"):
        install_from(server, tmp_path, tar_gz(GOOD))
    assert server.requests == []


@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_a_set_appears_in_its_place_and_nothing_else_remains(server, tmp_path, pack):
    data = tmp_path / "new/data"
    (data / "the_set.unpacking/set").mkdir(parents=True)  # of a run that was killed
    (data / "the_set.unpacking/set/old.txt").touch()
    assert install_from(server, data, pack(GOOD)) == ["a warning"]
    assert names(data) == ["the_set"]
    files = {file for file in (data / "the_set").rglob("*") if file.is_file()}
    assert {(f"set/{f.relative_to(data / 'the_set')}", f.read_bytes()) for f in files} == {*GOOD}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_archive_leaves_one_line_and_a_mirror_helps(server, tmp_path, kind):
    fault, content = WRONG[kind]
    data, start = tmp_path / "data", "set.tar.gz could not be downloaded: "
    with pytest.raises(UserError, match=f"^{start}{server.url}/0: .*{fault}.*; try again later$"):
        install_from(server, data, content, content)
    assert (names(tmp_path), names(data)) == (["data"], [])
    assert not Path("/nowhere").exists()
    install_from(server, data, content, zipped(GOOD))
    assert names(data) == ["the_set"]


@pytest.mark.parametrize(
    ("step", "fault", "error"),
    [
        ((tarfile.TarFile, "extract"), KeyboardInterrupt(), KeyboardInterrupt),
        ((tarfile.TarFile, "extract"), OSError(28, "No space left"), UserError),
        ((Path, "rename"), KeyboardInterrupt(), KeyboardInterrupt),  # after verification
    ],
)
def test_what_was_not_unpacked_is_not_fetched_again(server, tmp_path, step, fault, error):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*step, Mock(side_effect=fault))
        with pytest.raises(error, match="the_set: No space left; free" if fault.args else None):
            install_from(server, tmp_path, tar_gz(GOOD), zipped(GOOD))
    assert names(tmp_path) == ["set.tar.gz"]
    server.requests.clear()
    install_from(server, tmp_path, tar_gz(GOOD))
    assert (server.requests, names(tmp_path)) == ([], ["the_set"])


def test_an_existing_set_is_not_touched(server, tmp_path):
    (tmp_path / "the_set").mkdir()
    with pytest.raises(UserError, match="the_set: is there already and is not overwritten"):
        install_from(server, tmp_path, tar_gz(GOOD))
    assert server.requests == []
    assert names(tmp_path / "the_set") == []


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*: .*another folder with --data"):
        install_from(server, tmp_path / "file", tar_gz(GOOD))
