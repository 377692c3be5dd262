"""Download an archive over an unreliable connection, and unpack it safely."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from common.system.errors import UserError

TIMEOUT_SECONDS = 30
FRUITLESS_ATTEMPTS = 3  # in a row without a new byte, after which an address is given up
PAUSE_SECONDS = 2  # between attempts
_FINAL_CODES = (401, 403, 404, 410, 451)
_NETWORK_FAULTS = (URLError, ConnectionError, TimeoutError, HTTPException, SSLError)
_ARCHIVE_FAULTS = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError
)  # fmt: skip


@dataclass(frozen=True)
class RemoteFile:
    """A file at one or more public addresses."""

    name: str  # of the file on disk
    url: str  # the address to try first
    sha256: str | None = None  # of a single file, the same at every address
    mirrors: tuple[str, ...] = ()  # tried in turn; archives may differ in their format


def install(
    remote: RemoteFile, target: Path, marker: str, verify: Callable[[Path], list[str]]
) -> list[str]:
    """Download an archive, unpack it beside ``target``, verify it, and rename it to ``target``.

    Addresses are tried in turn until one gives content that passes. ``target`` appears in one step
    or not at all. A broken transfer is continued by the next call, and an archive stays on disk if
    the disk was too full to unpack it.

    marker: name of a file by which the data set's folder is found among the unpacked ones.
    verify: raises UserError for a set that cannot be used; its warnings are returned.
    Raises UserError where ``target`` exists, no address gives the set or the disk fails.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError("this Python cannot unpack safely; take 3.10.12, 3.11.4, 3.12 or newer")
    archive = target.with_name(remote.name)
    unpacked = target.with_name(f"{target.name}.unpacking")

    def take(url: str) -> list[str]:
        if not archive.is_file():  # else an earlier call left a whole one that it could not unpack
            fetch(url, archive)
        shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
        try:
            unpack(archive, unpacked)
            found = sorted(unpacked.rglob(marker))
            if not found:
                raise UserError("the archive does not hold this data set")
            warnings = verify(found[0].parent)
            found[0].parent.rename(target)
        except UserError:
            archive.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
        archive.unlink(missing_ok=True)
        return warnings

    return _from_first_address(remote, target, take)


def install_file(remote: RemoteFile, target: Path) -> None:
    """Download a single file to ``target``; every address must give the same SHA-256.

    Raises UserError as ``install`` does.
    """
    _from_first_address(remote, target, lambda url: fetch(url, target, remote.sha256) or [])


def _from_first_address(
    remote: RemoteFile, target: Path, take: Callable[[str], list[str]]
) -> list[str]:
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
    raise UserError(f"{remote.name} could not be downloaded: {'; '.join(faults)}; try again later")


def fetch(url: str, file: Path, sha256: str | None = None) -> None:
    """Download ``url`` to ``file`` with a progress bar.

    Bytes are collected in ``file.part``. After a break this call or a later one continues there,
    if the server confirms that its file has not changed.
    Raises UserError with what failed at this address, and OSError where the disk fails.
    """
    part = _Part(file.with_name(f"{file.name}.part"), url)
    fruitless, longest = 0, part.size
    while not part.complete:
        try:
            _continue(part, file.name)
            fault = f"broke off after {part.size} of {part.length} bytes"
        except HTTPError as error:
            fault = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # nothing follows: the part is of another file
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
    if sha256 is not None and hashlib.sha256(part.path.read_bytes()).hexdigest() != sha256:
        part.forget()
        raise UserError("not the expected file, its SHA-256 differs")
    part.path.replace(file)
    part.forget()


class _Part:
    """The bytes received so far, and in ``.part.json`` beside them the file that they belong to."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.note = path.with_name(f"{path.name}.json")
        self.ended = False  # the server closed a transfer whose length it had not announced
        try:
            self.length, self.validator = json.loads(self.note.read_text())[url]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self.forget()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        return self.ended if self.length is None else self.size == self.length

    def begin(self, response: HTTPResponse) -> None:
        """Note the file that the response gives from its first byte."""
        self.forget()
        length, etag = response.headers.get("Content-Length"), response.headers.get("ETag", "")
        # If-Range takes a strong ETag, else the date of the last change.
        self.validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
        if length:
            self.length = int(length)
            self.note.write_text(json.dumps({self.url: (self.length, self.validator)}))

    def forget(self) -> None:
        self.length = self.validator = None
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _continue(part: _Part, name: str) -> None:
    """Request the missing rest of a part."""
    headers = {"User-Agent": "facial-keypoints-course", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    with urlopen(Request(part.url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
        expected = f"bytes {part.size}-{(part.length or 0) - 1}/{part.length}"
        if response.status != 206:
            part.begin(response)
        elif response.headers.get("Content-Range") != expected:
            part.forget()
            raise ConnectionError("the server sent another range than requested")
        bar = tqdm.wrapattr(response, "read", part.length, desc=name, initial=part.size)
        with open(part.path, "ab") as file, bar as body:
            shutil.copyfileobj(body, file)
        part.ended = part.length is None


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz or .zip file, recognised by its content, into a new folder.

    Raises UserError for a damaged archive, and for a member that is no plain new file or folder
    below ``folder``: an absolute path, "..", a link, a device. The caller removes the folder.
    """
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as contents:
                for entry in contents.infolist():
                    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the packer noted none
                    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
                    _check_member(entry.filename, plain, folder)
                    contents.extract(entry, folder)
        else:
            with tarfile.open(archive, "r:gz") as contents:
                for member in contents:
                    _check_member(member.name, member.isreg() or member.isdir(), folder)
                    contents.extract(member, folder, filter="data")
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as fault:
        raise UserError(f"refused, it holds {fault.filename!r} twice") from None
    except _ARCHIVE_FAULTS as fault:
        raise UserError(f"not a whole archive ({fault})") from None


def _check_member(name: str, plain: bool, folder: Path) -> None:
    path = PurePosixPath(name)
    if not plain:
        raise UserError(f"refused, its member {name!r} is a link or a device")
    if path.is_absolute() or ".." in path.parts or any(mark in name for mark in "\\:\0"):
        raise UserError(f"refused, its member {name!r} would leave the folder")
    if (folder / path).is_file():
        raise UserError(f"refused, it holds {name!r} twice")
