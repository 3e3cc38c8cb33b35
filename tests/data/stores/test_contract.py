"""What a store promises, over every kind of store there is here."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from alphatriangle.data.errors import CorruptFileError
from alphatriangle.data.stores.addresses import open_store
from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    Store,
    StoreError,
)
from tests.helpers.seaweedfs import BUCKET, SeaweedFS, set_s3

PIECE = 5 << 20  # the smallest part that S3 takes


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        root = tmp_path / "second disk"
        root.mkdir()
        return open_store(root.as_uri())
    server: SeaweedFS = request.getfixturevalue("seaweedfs")
    set_s3(monkeypatch, server.url)
    return RemoteStore("s3", BUCKET, f"contract/{uuid4().hex}", piece=PIECE)


def put_bytes(store: Store, key: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(content)
    store.put_file(key, path, len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("content", [b"", b"\0\xff", bytes(70_000)], ids=len)
def test_what_was_created_is_got(store: Store, content: bytes) -> None:
    store.create("run/commit.json", content)
    assert store.get("run/commit.json", limit=len(content)) == content
    assert store.get("run/commit.json", limit=1 << 20) == content


def test_a_larger_object_than_was_allowed_for_is_not_read(store: Store) -> None:
    store.create("run/large", bytes(1001))
    with pytest.raises(StoreError, match="larger than 1,000 bytes") as raised:
        store.get("run/large", limit=1000)
    assert not isinstance(raised.value, ObjectNotFoundError)


def test_what_is_not_there_is_said_to_be_not_there(store: Store) -> None:
    store.create("run/epoch/object", b"1")
    for key in ("run/epoch/other", "other", "run/epoch", "run/epoch/object/below"):
        with pytest.raises(ObjectNotFoundError):
            store.get(key, limit=10)
        with pytest.raises(ObjectNotFoundError):
            list(store.download(key, 10))


def test_an_object_is_created_once(store: Store) -> None:
    store.create("epochs/1", b"first")
    with pytest.raises(ObjectExistsError):
        store.create("epochs/1", b"second")
    with pytest.raises(ObjectExistsError):
        store.create("epochs/1", b"first")
    assert store.get("epochs/1", limit=100) == b"first"


def test_of_several_that_create_at_once_one_does_it(store: Store) -> None:
    def create(key: str, number: int) -> int | None:
        try:
            store.create(key, f"writer {number}".encode())
        except ObjectExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        for turn in range(3):
            key = f"epochs/{turn}"
            outcomes = list(pool.map(lambda n, key=key: create(key, n), range(8)))
            [winner] = [number for number in outcomes if number is not None]
            assert store.get(key, limit=100) == f"writer {winner}".encode()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 77])
def test_a_file_comes_back_piece_by_piece(store: Store, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    put_bytes(store, "objects/a", content, tmp_path)
    pieces = list(store.download("objects/a", size))
    assert b"".join(pieces) == content
    assert all(0 < len(piece) <= PIECE for piece in pieces)


@pytest.mark.parametrize("asked", [11, PIECE + 1, 2 * PIECE])
def test_an_object_that_is_shorter_is_an_error(store: Store, asked: int, tmp_path: Path) -> None:
    put_bytes(store, "objects/a", bytes(10), tmp_path)
    with pytest.raises(StoreError) as raised:
        list(store.download("objects/a", asked))
    assert not isinstance(raised.value, ObjectNotFoundError)


@pytest.mark.parametrize("size", [1000, PIECE + 1000])
def test_the_same_file_may_be_put_again(store: Store, size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    for _ in range(2):
        put_bytes(store, "objects/a", content, tmp_path)
    assert b"".join(store.download("objects/a", size)) == content


@pytest.mark.parametrize("size", [1000, PIECE + 1000])
def test_a_file_with_other_bytes_than_were_saved_is_not_put(
    store: Store, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "rotten"
    content = bytearray(os.urandom(size))
    sha256 = hashlib.sha256(content).hexdigest()
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="not what was saved"):
        store.put_file("objects/a", path, size, sha256)
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptFileError, match="not what was saved"):
        store.put_file("objects/a", path, size, hashlib.sha256(content[:-1]).hexdigest())
    with pytest.raises(ObjectNotFoundError):
        store.get("objects/a", limit=10)


@pytest.mark.parametrize("size", [1000, PIECE + 1000])
def test_a_file_that_cannot_be_read_is_no_fault_of_the_store(
    store: Store, size: int, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file("objects/a", tmp_path / "nothing", size, "0" * 64)
    with pytest.raises(IsADirectoryError):
        store.put_file("objects/a", tmp_path, size, "0" * 64)


def test_overwriting_takes_the_place_of_what_was_there(store: Store) -> None:
    for content in (b"first", b"", b"third"):
        store.overwrite("run/HEAD.json", content)
        assert store.get("run/HEAD.json", limit=10) == content
    with pytest.raises(ObjectExistsError):
        store.create("run/HEAD.json", b"fourth")


def test_a_listing_has_the_keys_below_a_prefix(store: Store) -> None:
    before = time.time() - 2
    keys = ["a/1", "a/b/2", "a/b/c/33", "ab/4", "b/a/5", "a.json"]
    for key in keys:
        store.create(key, key.encode())
    found = {o.key: o for o in store.list("a/")}
    assert sorted(found) == ["a/1", "a/b/2", "a/b/c/33"]
    assert {o.size for o in found.values()} == {3, 5, 8}
    assert all(before < o.modified_ns / 1e9 < time.time() + 2 for o in found.values())
    assert [o.key for o in store.list("a/b/c/")] == ["a/b/c/33"]
    assert not list(store.list("nothing/"))
    assert not list(store.list("a/1/"))


def test_what_is_deleted_is_gone_and_what_was_not_there_does_not_matter(store: Store) -> None:
    for key in ("a/1", "a/2", "b/3"):
        store.create(key, b"")
    store.delete(["a/1", "a/nothing", "nothing/at/all", "b/3", "a/1"])
    assert [o.key for o in store.list("a/")] == ["a/2"]
    store.delete([])
    store.delete(["a/2", "a/2/below"])
    assert not list(store.list("a/"))
    store.create("a/1", b"again")
    assert store.get("a/1", limit=10) == b"again"


def test_more_objects_than_one_answer_holds(store: Store) -> None:
    keys = [f"objects/{n:04}" for n in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.overwrite(key, b""), keys))
    assert sorted(o.key for o in store.list("objects/")) == keys
    store.delete(keys[1:])
    assert [o.key for o in store.list("objects/")] == keys[:1]


@pytest.mark.parametrize("name", ["two words", "a+b&c=d", "100%20", "grün", "#1", "(x)~!'@$;,^"])
def test_names_of_runs_are_fit_for_keys(store: Store, name: str, tmp_path: Path) -> None:
    store.create(f"{name}/epochs/1", b"1")
    put_bytes(store, f"{name}/objects/2", b"22", tmp_path)
    assert store.get(f"{name}/epochs/1", limit=1) == b"1"
    assert sorted(o.key for o in store.list(f"{name}/")) == [
        f"{name}/epochs/1",
        f"{name}/objects/2",
    ]
    store.delete([f"{name}/epochs/1", f"{name}/objects/2"])
    assert not list(store.list(f"{name}/"))


CALLS: dict[str, Callable[[Store, str], object]] = {
    "get": lambda store, key: store.get(key, limit=1),
    "download": lambda store, key: list(store.download(key, 1)),
    "create": lambda store, key: store.create(key, b""),
    "put_file": lambda store, key: store.put_file(key, Path(__file__), 1, "0" * 64),
    "overwrite": lambda store, key: store.overwrite(key, b""),
    "list": lambda store, key: list(store.list(f"{key}/")),
    "delete": lambda store, key: store.delete([key]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "a/../../b", "..", "./a", "a\0", "a\\b", "x" * 901]
)
def test_what_cannot_be_a_key_is_refused(
    store: Store, key: str, call: Callable[[Store, str], object]
) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        call(store, key)


def test_a_prefix_ends_with_a_slash(store: Store) -> None:
    with pytest.raises(ValueError, match="does not end with a slash"):
        list(store.list("a"))
