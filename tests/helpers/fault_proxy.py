"""An HTTP proxy on the way to a real server: what networks and servers do at their worst."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Request(NamedTuple):
    """What a client has asked."""

    method: str
    path: str  # as sent, with its query
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; in the order of the fields."""

    delay: float = 0.0  # seconds before anything happens
    hang: bool = False  # no answer until the proxy is closed; the server does not see it
    drop_before: bool = False  # the connection ends; the server does not see the request
    answer: int | None = None  # this status, and nothing of it reaches the server
    says: str = ""  # what is in that answer, in place of the usual
    flip_request: int | None = None  # position of the byte of the body that the server gets wrong
    drop_after: bool = False  # the server has done it; the answer is lost
    hang_after: bool = False  # the server has done it; there is no answer until the proxy is closed
    flip_response: int | None = None  # position of the byte of the body that the client gets wrong
    cut_response: int | None = None  # so many bytes of the body come, and the connection ends
    stall_response: int | None = None  # so many bytes of the body come, and no more


ANSWERS = {
    401: ("AccessDenied", "Who are you?"),
    403: ("AccessDenied", "Access Denied."),
    429: ("TooManyRequests", "Reduce your request rate."),
    500: ("InternalError", "We encountered an internal error."),
    503: ("SlowDown", "Please reduce your request rate."),
}

Chooser = Callable[[Request], Fault | None]


@dataclass
class FaultProxy:
    """Passes every request on, but for what :attr:`choose` says of it. To be used with ``with``."""

    upstream: str  # host:port
    choose: Chooser | None = None
    requests: list[Request] = field(default_factory=list)
    """All that came, also those that were not passed on."""
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> FaultProxy:
        self._server = _Server(("127.0.0.1", 0), _Handler, bind_and_activate=True)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()  # waits for the threads
        self._thread.join()

    @property
    def address(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """To be given to a client."""
        return f"http://{self.address}"

    @contextlib.contextmanager
    def faulty(self, fault: Fault, *, method: str | None = None, times: int = 1) -> Iterator[None]:
        """The next ``times`` requests (of ``method``) go wrong."""
        left = times
        lock = threading.Lock()

        def choose(request: Request) -> Fault | None:
            nonlocal left
            with lock:
                if left == 0 or method not in (None, request.method):
                    return None
                left -= 1
                return fault

        self.choose = choose
        try:
            yield
        finally:
            self.choose = None

    def count(self, method: str) -> int:
        """How many requests of a method came."""
        return sum(r.method == method for r in self.requests)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64
    proxy: FaultProxy

    def __init__(self, *args: object, **more: object) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args, **more)  # type: ignore[arg-type]

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that give up are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_anything(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        proxy.requests.append(request)
        fault = (proxy.choose(request) if proxy.choose else None) or Fault()
        if fault.delay:
            proxy.closing.wait(fault.delay)
        if fault.hang:
            proxy.closing.wait()
        if fault.hang or fault.drop_before:
            self.close_connection = True
            return
        if fault.answer is not None:
            code, message = ANSWERS.get(fault.answer, ("Other", "Something."))
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            content = (fault.says or text).encode()
            self._respond(fault.answer, {"Content-Type": "application/xml"}, content, Fault())
            return
        if fault.flip_request is not None:
            body = _flipped(body, fault.flip_request)
        status, answer_headers, answer = self._ask_upstream(request, body)
        if fault.hang_after:
            proxy.closing.wait()
        if fault.hang_after or fault.drop_after:
            self.close_connection = True
            return
        self._respond(status, answer_headers, answer, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_anything  # noqa: N815

    def _ask_upstream(self, request: Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=30)
        try:
            # The host that the client has signed, not the one that is asked.
            connection.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            headers = {n: v for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP}
            if request.method == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length") or "0"
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def _respond(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        if fault.flip_response is not None:
            body = _flipped(body, fault.flip_response)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for kept in (fault.cut_response, fault.stall_response):
            if kept is not None:
                self.wfile.write(body[:kept])
                self.close_connection = True
        if fault.stall_response is not None:
            self.server.proxy.closing.wait()
        elif fault.cut_response is None:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


_HOP_BY_HOP = ("transfer-encoding", "connection", "content-length", "keep-alive")


def _flipped(body: bytes, position: int) -> bytes:
    content = bytearray(body)
    content[position] ^= 1
    return bytes(content)
