"""A bucket behind a bad line: the right error, in time, after one request, nothing half done."""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from alphatriangle.data.stores.conditions import check_suitable
from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)
from tests.helpers.fault_proxy import Fault, FaultProxy, Request
from tests.helpers.seaweedfs import BUCKET, KEEPER, OWNER, READER, Identity, SeaweedFS, set_s3

PIECE = 5 << 20
SECONDS = 1.0
SOON = 0.8
"""Seconds within which what does not hang is over."""


@pytest.fixture
def proxy(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(seaweedfs.address) as proxy:
        set_s3(monkeypatch, proxy.url)
        yield proxy


@pytest.fixture
def store(proxy: FaultProxy) -> RemoteStore:
    folder = f"faults/{uuid4().hex}"
    made = RemoteStore("s3", BUCKET, folder, small_seconds=SECONDS, large_seconds=5.0, piece=PIECE)
    made.create("there", b"what is there")
    proxy.requests.clear()
    return made


def put_file(store: RemoteStore, size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    path = tmp_path / "source"
    path.write_bytes(content)
    store.put_file("file", path, size, hashlib.sha256(content).hexdigest())


CALLS: dict[str, Callable[[RemoteStore, Path], object]] = {
    "get": lambda store, _: store.get("there", limit=100),
    "download": lambda store, _: list(store.download("there", 13)),
    "create": lambda store, _: store.create("new", b"new"),
    "overwrite": lambda store, _: store.overwrite("new", b"new"),
    "put_file": lambda store, tmp_path: put_file(store, 1000, tmp_path),
    "list": lambda store, _: list(store.list("some/")),
    "delete": lambda store, _: store.delete(["new"]),
}
FAULTS: dict[str, tuple[Fault, type[StoreError]]] = {
    "dropped": (Fault(drop_before=True), StoreUnavailableError),
    "answer lost": (Fault(drop_after=True), StoreUnavailableError),
    "who are you": (Fault(answer=401), StoreDeniedError),
    "forbidden": (Fault(answer=403), StoreDeniedError),
    "too many": (Fault(answer=429), StoreUnavailableError),
    "server error": (Fault(answer=500), StoreUnavailableError),
    "slow down": (Fault(answer=503), StoreUnavailableError),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("fault", "error"), FAULTS.values(), ids=FAULTS)
def test_what_goes_wrong_is_told_at_once_and_not_tried_again(
    proxy: FaultProxy,
    store: RemoteStore,
    fault: Fault,
    error: type[StoreError],
    call: Callable[[RemoteStore, Path], object],
    tmp_path: Path,
) -> None:
    begun = time.monotonic()
    with proxy.faulty(fault), pytest.raises(StoreError) as raised:
        call(store, tmp_path)
    assert time.monotonic() - begun < SOON
    assert type(raised.value) is error
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "fault", [Fault(hang=True), Fault(hang_after=True)], ids=["before", "after"]
)
def test_a_request_without_an_answer_ends_at_its_deadline(
    proxy: FaultProxy,
    store: RemoteStore,
    fault: Fault,
    call: Callable[[RemoteStore, Path], object],
    tmp_path: Path,
) -> None:
    hasty = RemoteStore(
        "s3",
        BUCKET,
        store.url.removeprefix(f"s3://{BUCKET}/"),
        small_seconds=0.3,
        large_seconds=0.3,
        piece=PIECE,
    )
    begun = time.monotonic()
    with proxy.faulty(fault), pytest.raises(StoreUnavailableError, match="within its time"):
        call(hasty, tmp_path)
    assert 0.2 < time.monotonic() - begun < 0.3 + SOON
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("read", ["get", "download"])
@pytest.mark.parametrize(
    "fault", [Fault(cut_response=4), Fault(stall_response=4)], ids=["cut", "stalled"]
)
def test_an_answer_that_does_not_come_whole_is_none(
    proxy: FaultProxy, store: RemoteStore, fault: Fault, read: str, tmp_path: Path
) -> None:
    store = RemoteStore(
        "s3",
        BUCKET,
        store.url.removeprefix(f"s3://{BUCKET}/"),
        small_seconds=0.3,
        large_seconds=0.3,
    )
    with proxy.faulty(fault), pytest.raises(StoreUnavailableError):
        CALLS[read](store, tmp_path)
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("read", ["get", "download"])
def test_reading_is_checked_by_nobody(
    proxy: FaultProxy, store: RemoteStore, read: str, tmp_path: Path
) -> None:
    """So who reads has to digest."""
    with proxy.faulty(Fault(flip_response=0)):
        assert CALLS[read](store, tmp_path) in (b"vhat is there", [b"vhat is there"])


def test_a_create_whose_answer_was_lost_has_created(proxy: FaultProxy, store: RemoteStore) -> None:
    with proxy.faulty(Fault(drop_after=True)), pytest.raises(StoreUnavailableError):
        store.create("new", b"mine")
    assert store.get("new", limit=10) == b"mine"
    with pytest.raises(ObjectExistsError):
        store.create("new", b"mine")


def test_a_byte_that_is_flipped_on_the_way_up_is_refused(
    proxy: FaultProxy, store: RemoteStore, tmp_path: Path
) -> None:
    for call in (CALLS["create"], CALLS["overwrite"], CALLS["put_file"]):
        with proxy.faulty(Fault(flip_request=1)), pytest.raises(StoreUnavailableError, match="400"):
            call(store, tmp_path)
    for key in ("new", "file"):
        with pytest.raises(ObjectNotFoundError):
            store.get(key, limit=2000)


def of_part(number: int, fault: Fault) -> Callable[[Request], Fault | None]:
    return lambda request: fault if f"partNumber={number}&" in request.path else None


@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.parametrize(
    "fault",
    [Fault(flip_request=700), Fault(drop_before=True), Fault(drop_after=True), Fault(answer=503)],
    ids=["flipped", "dropped", "lost", "slow down"],
)
def test_a_part_that_fails_ends_the_upload_and_leaves_nothing(
    proxy: FaultProxy, store: RemoteStore, part: int, fault: Fault, tmp_path: Path
) -> None:
    proxy.choose = of_part(part, fault)
    with pytest.raises(StoreUnavailableError):
        put_file(store, 2 * PIECE + 1000, tmp_path)
    assert not any(r.method == "POST" and b"<Part>" in r.body for r in proxy.requests)
    assert [r.method for r in proxy.requests].count("DELETE") == 1  # of its parts
    with pytest.raises(ObjectNotFoundError):
        store.get("file", limit=1)


def test_parts_are_put_together_by_their_checksums(
    proxy: FaultProxy, store: RemoteStore, tmp_path: Path
) -> None:
    put_file(store, 2 * PIECE + 1000, tmp_path)
    begin, *parts, end = proxy.requests
    assert begin.headers["x-amz-checksum-algorithm"] == "SHA256"
    assert len(parts) == 3
    assert all(part.headers["x-amz-checksum-sha256"].encode() in end.body for part in parts)


def test_how_many_requests_it_takes(proxy: FaultProxy, store: RemoteStore, tmp_path: Path) -> None:
    for name in ("get", "download", "create", "overwrite", "put_file", "list", "delete"):
        proxy.requests.clear()
        CALLS[name](store, tmp_path)
        assert len(proxy.requests) == 1, name
    proxy.requests.clear()
    check_suitable(store)
    assert len(proxy.requests) == 12
    assert not any("list-type" in r.path for r in proxy.requests)


def test_a_bucket_that_is_not_there_is_no_object_that_is_not_there(proxy: FaultProxy) -> None:
    store = RemoteStore("s3", "no-such-bucket")
    with pytest.raises(StoreUnavailableError, match="no such bucket"):
        store.get("key", limit=10)


@pytest.mark.parametrize(
    "says", ["<html>Not Found</html>", "", "<Error><Code>NotHere</Code></Error>"]
)
def test_not_found_by_something_that_is_no_store_is_not_believed(
    proxy: FaultProxy, store: RemoteStore, says: str
) -> None:
    with (
        proxy.faulty(Fault(answer=404, says=says or " ")),
        pytest.raises(StoreUnavailableError, match="404"),
    ):
        store.get("there", limit=100)


@pytest.mark.parametrize(
    ("endpoint", "how"),
    [("http://127.0.0.1:1", "no connection"), ("http://nowhere.invalid", "host is not known")],
)
def test_a_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, how: str
) -> None:
    set_s3(monkeypatch, endpoint)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=how):
        RemoteStore("s3", BUCKET).get("key", limit=10)
    assert time.monotonic() - begun < 5


def test_who_may_only_read_can_only_read(
    seaweedfs: SeaweedFS, store: RemoteStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_s3(monkeypatch, seaweedfs.url, READER)
    reader = RemoteStore("s3", BUCKET, store.url.removeprefix(f"s3://{BUCKET}/"))
    assert reader.get("there", limit=100) == b"what is there"
    for name in ("create", "overwrite", "put_file"):
        with pytest.raises(StoreDeniedError, match="403"):
            CALLS[name](reader, tmp_path)
    with pytest.raises(StoreDeniedError):
        reader.delete(["there"])


def test_nothing_can_be_deleted_without_permission(
    seaweedfs: SeaweedFS, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_s3(monkeypatch, seaweedfs.url, KEEPER)
    keeper = RemoteStore("s3", BUCKET, store.url.removeprefix(f"s3://{BUCKET}/"))
    keeper.create("kept", b"kept")
    with pytest.raises(StoreDeniedError, match="AccessDenied"):
        keeper.delete(["kept"])
    assert keeper.get("kept", limit=10) == b"kept"


def test_keys_that_were_replaced_are_found_at_the_next_request(
    proxy: FaultProxy, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Identity(OWNER.key, "an-old-secret-0123456789")
    set_s3(monkeypatch, proxy.url, wrong)
    mine = RemoteStore("s3", BUCKET, store.url.removeprefix(f"s3://{BUCKET}/"))
    with pytest.raises(StoreDeniedError):
        mine.get("there", limit=100)
    set_s3(monkeypatch, proxy.url)
    assert mine.get("there", limit=100) == b"what is there"


def everything_said_by(error: BaseException) -> str:
    """All that a traceback, a log or a debugger could show of it."""
    said = "".join(traceback.format_exception(error))
    while error is not None:
        said += f"{error!r} {error.args} {vars(error)}"
        assert error.__cause__ is None
        error = error.__context__
    return said


ECHO = """<Error><Code>SignatureDoesNotMatch</Code><Message>{secrets}</Message>
<AWSAccessKeyId>{secrets}</AWSAccessKeyId><StringToSign>{secrets}</StringToSign></Error>"""


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 500])
def test_no_message_holds_a_key(
    proxy: FaultProxy,
    store: RemoteStore,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[RemoteStore, Path], object],
    status: int,
    tmp_path: Path,
) -> None:
    token = "a-session-token-0123456789"
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    mine = RemoteStore("s3", BUCKET, store.url.removeprefix(f"s3://{BUCKET}/"))
    secrets = f"{OWNER.key} {OWNER.secret} {token}"
    fault = Fault(answer=status, says=ECHO.format(secrets=secrets))
    with proxy.faulty(fault), pytest.raises(StoreError) as raised:
        call(mine, tmp_path)
    signature = proxy.requests[-1].headers["authorization"].rpartition("=")[2]
    said = everything_said_by(raised.value) + repr(mine) + mine.url
    for secret in (*secrets.split(), signature, "Signature="):
        assert secret not in said
