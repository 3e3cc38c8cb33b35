"""A store that cannot be trusted with state is refused by name, before anything is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from alphatriangle.data.stores import conditions
from alphatriangle.data.stores.conditions import FOLDER, check_suitable
from alphatriangle.data.stores.folder import FolderStore
from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    StoreDeniedError,
    StoreUnavailableError,
    StoreUnsuitableError,
)
from tests.helpers.dict_server import DictServer
from tests.helpers.seaweedfs import BUCKET, KEEPER, READER, SeaweedFS, set_s3


def probes(store: RemoteStore | FolderStore) -> list[str]:
    return [o.key for o in store.list(f"{FOLDER}/")]


def open_dict(
    server: DictServer, scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> RemoteStore:
    """A client of one of the clouds that is sent to the server over a dict."""
    set_s3(monkeypatch, server.url)
    account = tmp_path / "account.json"
    names = ("client_email", "private_key", "private_key_id")
    settings = {"gcs_base_url": server.url, "disable_oauth": True, **dict.fromkeys(names, "")}
    account.write_text(json.dumps(settings))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
    monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.url)
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    return RemoteStore(scheme, BUCKET, "folder", piece=1000)


def test_a_folder_is_suitable(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    check_suitable(store)
    assert not probes(store)


def test_seaweedfs_is_suitable(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    set_s3(monkeypatch, seaweedfs.url)
    store = RemoteStore("s3", BUCKET, f"conditions/{uuid4().hex}")
    check_suitable(store)
    assert not probes(store)


def test_without_permission_to_delete_little_is_left(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_s3(monkeypatch, seaweedfs.url, KEEPER)
    monkeypatch.setattr(conditions, "_NAMES", 2)
    store = RemoteStore("s3", BUCKET, f"conditions/{uuid4().hex}")
    for _ in range(4):
        check_suitable(store)
    assert set(probes(store)) <= {f"{FOLDER}/create-000", f"{FOLDER}/create-001"}


def test_who_may_not_write_is_told_so(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_s3(monkeypatch, seaweedfs.url, READER)
    with pytest.raises(StoreDeniedError, match="AccessDenied"):
        check_suitable(RemoteStore("s3", BUCKET, "conditions"))


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_server_that_is_careful_is_suitable(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with DictServer() as server:
        check_suitable(open_dict(server, scheme, monkeypatch, tmp_path))


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_server_that_ignores_conditions_is_refused(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with DictServer(keeps_conditions=False) as server:
        store = open_dict(server, scheme, monkeypatch, tmp_path)
        with pytest.raises(StoreUnsuitableError, match=r"told they did|where one was") as raised:
            check_suitable(store)
        assert f"{scheme}://{BUCKET}/folder" in str(raised.value)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_server_that_keeps_conditions_only_of_one_after_the_other_is_refused(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with DictServer(races=True) as server:
        store = open_dict(server, scheme, monkeypatch, tmp_path)
        with pytest.raises(StoreUnsuitableError, match="told they did"):
            check_suitable(store)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_server_that_keeps_other_bytes_is_refused(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with DictServer(flips=True) as server:
        store = open_dict(server, scheme, monkeypatch, tmp_path)
        with pytest.raises(StoreUnsuitableError, match=r"other bytes|was replaced"):
            check_suitable(store)


def test_a_server_that_ignores_checksums_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with DictServer(checks_checksums=False) as server:
        store = open_dict(server, "s3", monkeypatch, tmp_path)
        with pytest.raises(StoreUnsuitableError, match="did not have the SHA-256"):
            check_suitable(store)
        assert not server.objects


@pytest.mark.parametrize("scheme", ["gs", "az"])
@pytest.mark.parametrize("size", [10, 2500], ids=["small", "in pieces"])
def test_where_no_checksum_is_sent_what_was_put_is_read_back(
    scheme: str, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = bytes(range(250)) * (size // 250) or b"0123456789"
    path = tmp_path / "source"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    writes: list[Callable[[RemoteStore], None]] = [lambda store: store.create("new", content)]
    if size <= 1000:
        # The server over a dict knows no uploads in parts.
        writes.append(lambda store: store.put_file("file", path, len(content), sha256))
    for write in writes:
        with DictServer() as server:
            write(open_dict(server, scheme, monkeypatch, tmp_path))
        with DictServer(flips=True) as server:
            store = open_dict(server, scheme, monkeypatch, tmp_path)
            with pytest.raises(StoreUnavailableError, match="other bytes"):
                write(store)


class Forgetful(FolderStore):
    """Of objects that are created one after the other the last one stays."""

    def create(self, key: str, content: bytes) -> None:
        try:
            super().create(key, content)
        except ObjectExistsError:
            self.overwrite(key, content)
            raise


class Slow(FolderStore):
    """Some stores allow an object to be written once a second, and say so to all others."""

    refusals = 9

    def _link(self, temporary: Path, path: Path, key: str) -> None:
        if path.exists() and self.refusals:
            self.refusals -= 1
            raise StoreUnavailableError("the store answers 429")
        super()._link(temporary, path, key)


def test_an_object_that_was_replaced_all_the_same_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(StoreUnsuitableError, match="replaced by one that was refused"):
        check_suitable(Forgetful(tmp_path))


def test_a_store_that_asks_for_time_is_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "_PAUSE", 0.01)
    check_suitable(Slow(tmp_path))


def test_an_object_that_was_left_before_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "_NAMES", 1)
    store = FolderStore(tmp_path)
    store.create(f"{FOLDER}/create-000", b"of an earlier start")
    check_suitable(store)
    assert store.get(f"{FOLDER}/create-000", limit=100) == b"of an earlier start"


def test_a_folder_that_is_not_there_is_not_unsuitable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="mounted"):
        check_suitable(FolderStore(tmp_path / "nothing"))
