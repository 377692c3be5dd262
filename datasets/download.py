"""Fetching an archive over a bad line, and unpacking it without trusting it."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from ssl import SSLError
from typing import IO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from common.system.errors import UserError

TIMEOUT_SECONDS = 30
FRUITLESS_ATTEMPTS = 3  # so many in a row that bring no new byte give an address up
PAUSE_SECONDS = 2  # between attempts
_CHUNK = 1 << 16
_FINAL_CODES = (401, 403, 404, 410, 451)
_NETWORK_FAULTS = (URLError, ConnectionError, TimeoutError, HTTPException, SSLError)

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class RemoteFile:
    """A file that lies at one or more public addresses.

    name: what it is called on disk. sha256: of the file at ``url``, where it is known.
    mirrors: further addresses, tried in turn; they may pack the same content in another format.
    """

    name: str
    url: str
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()


def install(
    remote: RemoteFile,
    target: Path,
    find_in: Callable[[Path], Path | None],
    verify: Callable[[Path], list[str]],
) -> list[str]:
    """Fetch an archive, unpack it beside ``target``, verify it, and rename it to ``target``.

    Addresses are tried in turn until one gives content that passes. ``find_in`` tells which of
    the unpacked folders is the data set; ``verify`` raises UserError for a set that cannot be
    used, and returns warnings, which are passed on. ``target`` appears in one step or not at all;
    a transfer that broke off goes on at the next call, and an archive for which the disk was too
    full stays for it.
    Raises UserError where ``target`` exists, nothing fetched passes or the disk fails.
    """

    def take(url: str) -> list[str]:
        archive = target.with_name(remote.name)
        if not archive.is_file():  # else a whole one is left by a call that could not unpack it
            fetch(url, archive, remote.sha256 if url == remote.url else None)
        return _unpack_into_place(archive, target, find_in, verify)

    return _from_first_that_gives_it(remote, target, take)


def install_file(remote: RemoteFile, target: Path) -> None:
    """Fetch a single file to ``target``, with the same SHA-256 from whichever address.

    Raises UserError as ``install`` does.
    """
    _from_first_that_gives_it(remote, target, lambda url: fetch(url, target, remote.sha256))


def _from_first_that_gives_it(
    remote: RemoteFile, target: Path, take: Callable[[str], Taken]
) -> Taken:
    if target.exists():
        raise UserError(f"{target}: is there already and is not overwritten; move it away first")
    faults = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in (remote.url, *remote.mirrors):
            try:
                return take(url)
            except UserError as fault:
                faults.append(f"{url}: {fault}")
    except OSError as fault:
        raise UserError(
            f"{fault.filename or target}: {fault.strerror or fault}; free some space or name "
            "another folder with --data"
        ) from None
    raise UserError(f"{remote.name} could not be had: {'; '.join(faults)}; try again later")


def _unpack_into_place(
    archive: Path,
    target: Path,
    find_in: Callable[[Path], Path | None],
    verify: Callable[[Path], list[str]],
) -> list[str]:
    unpacked = target.with_name(f"{target.name}.unpacking")
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
    try:
        unpack(archive, unpacked)
        found = find_in(unpacked)
        if found is None:
            raise UserError("the archive holds another thing than this data set")
        warnings = verify(found)
        found.rename(target)
    except UserError:
        archive.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink(missing_ok=True)
    return warnings


def fetch(url: str, file: Path, sha256: str | None = None) -> None:
    """Download ``url`` to ``file`` with a progress bar.

    Bytes gather in ``file.part`` and go on from there after a break, in this call or a later one,
    as long as the server vouches that it still has the same file. Raises UserError with what
    failed at this address, and OSError where the disk fails.
    """
    part = _Part(file.with_name(f"{file.name}.part"), url)
    fruitless, longest = 0, part.size
    while not part.complete:
        try:
            _continue(part, file.name)
            fault = f"broke off after {part.size} of {part.length} bytes"
        except HTTPError as error:
            fault = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # nothing from there on: the part is not of this file
                part.forget()
            elif error.code in _FINAL_CODES:
                raise UserError(fault) from None
        except _NETWORK_FAULTS as error:
            fault = str(getattr(error, "reason", error)) or type(error).__name__
        if part.complete:
            break
        fruitless = 0 if part.size > longest else fruitless + 1
        longest = max(longest, part.size)
        if fruitless == FRUITLESS_ATTEMPTS:
            raise UserError(fault)
        time.sleep(PAUSE_SECONDS)
    if sha256 is not None and part.sha256() != sha256:
        part.forget()
        raise UserError("another file than expected, its SHA-256 differs")
    part.path.replace(file)
    part.forget()


class _Part:
    """What has arrived of a file, and beside it in ``.part.json`` what it is a part of."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.note = path.with_name(f"{path.name}.json")
        self.url = url
        self.length: int | None = None
        self.validator: str | None = None
        self.ended = False  # the server closed a transfer whose length it had not announced
        try:
            noted = json.loads(self.note.read_text())
            if noted["url"] == url:
                self.length, self.validator = noted["length"], noted["validator"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        if self.length is None:
            self.forget()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        return self.ended if self.length is None else self.size == self.length

    def begin(self, length: int | None, validator: str | None) -> None:
        self.forget()
        self.length, self.validator = length, validator
        note = {"url": self.url, "length": length, "validator": validator}
        self.note.write_text(json.dumps(note))

    def forget(self) -> None:
        self.length = self.validator = None
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
        return digest.hexdigest()


def _continue(part: _Part, name: str) -> None:
    """One request for what is still missing of a part."""
    headers = {"User-Agent": "facial-keypoints-course", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    with urlopen(Request(part.url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
        if not _goes_on(response, part):
            length = response.headers.get("Content-Length")
            part.begin(int(length) if length else None, _validator(response))
        with (
            open(part.path, "ab") as file,
            tqdm(
                desc=name,
                total=part.length,
                initial=part.size,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
            ) as bar,
        ):
            while block := response.read(_CHUNK):
                file.write(block)
                bar.update(len(block))
        part.ended = part.length is None


def _goes_on(response: HTTPResponse, part: _Part) -> bool:
    """Whether the answer starts where the part ends, in a file of the same length."""
    expected = f"bytes {part.size}-{(part.length or 0) - 1}/{part.length}"
    if response.status == 206 and response.headers.get("Content-Range") != expected:
        part.forget()
        raise ConnectionError("the server sent another range than asked for")
    return response.status == 206


def _validator(response: HTTPResponse) -> str | None:
    """What If-Range may carry: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz or .zip file, told apart by content, into a new folder.

    Every member is written as a plain new file; an absolute path, ``..``, a link or a device
    refuses the whole archive. Raises UserError then, and where the archive is damaged; leaves the
    folder to the caller to remove.
    """
    folder.mkdir()
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    try:
        for name, content in members(archive):
            file = folder / _safe(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "xb") as copy:
                shutil.copyfileobj(content, copy)
    except FileExistsError:
        raise UserError(f"refused, it holds {name!r} twice") from None
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        BadGzipFile,
        RuntimeError,
    ) as fault:
        raise UserError(f"not a whole archive ({fault})") from None


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(mark in name for mark in "\\:\0"):
        raise UserError(f"refused, its member {name!r} would leave the folder")
    return path


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.isreg():
                yield member.name, tar.extractfile(member)
            elif not member.isdir():
                raise UserError(f"refused, its member {member.name!r} is a link or a device")


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as contents:
        for member in contents.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the packer noted none
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"refused, its member {member.filename!r} is a link or a device")
            if not member.is_dir():
                with contents.open(member) as content:
                    yield member.filename, content
