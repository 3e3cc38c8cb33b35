"""A server over a dict, as careless as it is asked to be.

It speaks as much of the protocols of S3, Google and Azure as creating and reading takes, and of the
first two as deleting does.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class DictServer:
    """To be used with ``with``."""

    keeps_conditions: bool = True
    checks_checksums: bool = True
    races: bool = False
    """Look whether an object is there, and only then, without holding anybody off, keep it."""
    flips: bool = False
    """Keep another byte than the one that came."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """By path."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> DictServer:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep connections open
    request_queue_size = 64
    owner: DictServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_PUT(self) -> None:
        owner, path = self.server.owner, self.path.partition("?")[0]
        body = self._body()
        checksum = self.headers.get("x-amz-checksum-sha256")
        actual = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if owner.checks_checksums and checksum not in (None, actual):
            return self._answer(400, _error("BadDigest"))
        is_create = (
            self.headers.get("If-None-Match") == "*"
            or self.headers.get("x-goog-if-generation-match") == "0"
        )
        if owner.races:
            if is_create and path in owner.objects:
                return self._answer(412, _error("PreconditionFailed"))
            time.sleep(0.05)
            is_create = False
        with owner.lock:
            if is_create and owner.keeps_conditions and path in owner.objects:
                return self._answer(412, _error("PreconditionFailed"))
            owner.objects[path] = bytes([body[0] ^ 1]) + body[1:] if owner.flips else body
        return self._answer(201 if "x-ms-version" in self.headers else 200)

    def do_GET(self) -> None:
        body = self.server.owner.objects.get(self.path.partition("?")[0])
        if body is None:
            azure = "x-ms-version" in self.headers
            return self._answer(404, _error("BlobNotFound" if azure else "NoSuchKey"))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            return self._answer(200, body)
        first, last = int(asked[1]), min(int(asked[2]), len(body) - 1)
        if first > last:
            return self._answer(416, _error("InvalidRange"))
        return self._answer(206, body[first : last + 1], f"bytes {first}-{last}/{len(body)}")

    def do_DELETE(self) -> None:
        found = self.server.owner.objects.pop(self.path.partition("?")[0], None)
        self._answer(404 if found is None else 204, b"" if found else _error("NoSuchKey"))

    def do_POST(self) -> None:
        """S3's deletion of many."""
        bucket = self.path.partition("?")[0]
        keys = re.findall(r"<Key>(.*?)</Key>", self._body().decode())
        for key in keys:
            self.server.owner.objects.pop(f"{bucket}/{key}", None)
        done = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{done}</DeleteResult>".encode())

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: bytes = b"", content_range: str | None = None) -> None:
        self.send_response_only(status)
        self.send_header("ETag", '"1"')
        self.send_header("x-goog-generation", "1")
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
