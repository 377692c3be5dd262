"""A local server that misbehaves, and the archives that it serves."""

import io
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from datasets.download import RemoteFile

PATH = "/a.bin"
CONTENT = bytes(i * i % 251 for i in range(300_000))


class Server(ThreadingHTTPServer):
    """Serves ``files`` (path -> bytes) and notes every request as (path, its Range header)."""

    ranges = announce = True
    announce_more = 0  # added to Content-Length: a lie
    etag = '"one"'

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files, self.status = files, {}
        self.requests, self.validators = [], []  # validators: their If-Range headers
        self.cuts = []  # bytes after which the next responses break off


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, requested = self.server, self.headers.get("Range")
        server.requests.append((self.path, requested))
        server.validators.append(self.headers.get("If-Range"))
        content, start = server.files.get(self.path), 0
        if content is None or self.path in server.status:
            self.send_error(server.status.get(self.path, 404))
            return
        whole = len(content) + server.announce_more
        same = self.headers.get("If-Range") in (None, server.etag)
        if requested and server.ranges and same:
            start = int(requested.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        if server.announce:
            self.send_header("Content-Length", str(whole - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        end = start + server.cuts.pop(0) if server.cuts else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@contextmanager
def serving(files):
    with Server(files) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def serve(server, *contents):
    """The archive ``contents[0]`` with the others as its mirrors."""
    server.files |= {f"/{i}": content for i, content in enumerate(contents)}
    url, *mirrors = (f"{server.url}/{i}" for i in range(len(contents)))
    return RemoteFile("set.tar.gz", url, mirrors=tuple(mirrors))


def tar_gz(members):
    """members: (name, bytes), or (name, kind, target) of a link or a device."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content, *target in members:
            header = tarfile.TarInfo(name)
            if target:
                header.type, content, header.linkname = content, b"", *target
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
