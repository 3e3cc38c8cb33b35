"""A folder on a disk that fills up, fails, is taken away, or lacks what a store needs."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alphatriangle.data.errors import CorruptFileError
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.stores.folder import FolderStore
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
    StoreUnsuitableError,
)
from tests.durability.faulty_disk import Fault, failing

CONTENT = bytes(range(256)) * 10
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


WRITES: dict[str, Callable[[FolderStore, Path], None]] = {
    "create": lambda store, _: store.create("run/new", CONTENT),
    "overwrite": lambda store, _: store.overwrite("run/new", CONTENT),
    "put_file": lambda store, path: store.put_file("run/new", path, len(CONTENT), SHA256),
}
over_all_writes = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


def what_is_raised(
    write: Callable[[FolderStore, Path], None], store: FolderStore, source: Path
) -> Exception | None:
    try:
        write(store, source)
    except (StoreError, OSError) as e:
        return e
    return None


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@over_all_writes
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errno.ENOSPC, StoreUnavailableError),
        (errno.EDQUOT, StoreUnavailableError),
        (errno.EIO, StoreUnavailableError),
        (errno.ESTALE, StoreUnavailableError),
        (errno.EROFS, StoreDeniedError),
        (errno.EACCES, StoreDeniedError),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_at_whatever_operation_a_disk_fails_an_object_is_whole_or_not_there(
    root: Path,
    source: Path,
    write: Callable[[FolderStore, Path], None],
    error: int,
    kind: type[StoreError],
    lasting: bool,
) -> None:
    FolderStore(root).create("run/other", b"other")
    at = 0
    while True:
        store = FolderStore(root)
        fault = Fault(at, error, lasting=lasting)
        with failing(fault):
            said = what_is_raised(write, store, source)
        if isinstance(said, StoreError):
            assert type(said) is kind
            assert os.strerror(error) in str(said)
        elif said is not None:
            # Of the file that was to be put.
            assert write is WRITES["put_file"]
        there = store.get("run/new", limit=len(CONTENT)) if (root / "run/new").exists() else None
        assert there in (None, CONTENT)
        left = list((root / ".tmp").iterdir()) if (root / ".tmp").is_dir() else []
        if left and not lasting:
            assert at == fault.count - 1  # it was removing it that failed
        for path in left:
            path.unlink()
        assert store.get("run/other", limit=10) == b"other"
        store.delete(["run/new"])
        if not fault.struck:
            break
        at += 1
    assert at > 5


@over_all_writes
@pytest.mark.parametrize("kind", ["short", "lying"])
def test_a_disk_that_writes_something_else_is_found_out(
    root: Path, source: Path, write: Callable[[FolderStore, Path], None], kind: str
) -> None:
    store = FolderStore(root)
    for at in range(30):
        fault = Fault(at, errno.EIO, short=kind == "short", lying=kind == "lying")
        if write is WRITES["overwrite"]:
            break  # a hint, which its reader checks
        with failing(fault):
            said = what_is_raised(write, store, source)
        assert said is None or "other bytes" in str(said)
        if (root / "run/new").exists():
            assert store.get("run/new", limit=10_000) == CONTENT
        store.delete(["run/new"])


def test_of_a_disk_that_fails_nothing_is_not_found(root: Path) -> None:
    store = FolderStore(root)
    store.create("run/there", b"there")
    with failing(Fault(0, errno.EIO)), pytest.raises(StoreUnavailableError):
        store.get("run/there", limit=10)
    with failing(Fault(0, errno.EACCES)), pytest.raises(StoreDeniedError):
        list(store.download("run/there", 5))


CALLS: dict[str, Callable[[FolderStore, Path], object]] = {
    **WRITES,
    "get": lambda store, _: store.get("run/new", limit=1),
    "download": lambda store, _: list(store.download("run/new", 1)),
    "list": lambda store, _: list(store.list("run/")),
    "delete": lambda store, _: store.delete(["run/new"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_folder_that_is_not_there_is_not_made(
    root: Path, source: Path, call: Callable[[FolderStore, Path], object]
) -> None:
    """It may be where a disk is mounted: what is written would be on another."""
    root.rmdir()
    with pytest.raises(StoreUnavailableError, match="is its disk mounted"):
        call(FolderStore(root), source)
    assert not root.exists()
    root.write_text("no folder")
    with pytest.raises(StoreUnavailableError, match="no folder"):
        call(FolderStore(root), source)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_disk_that_is_unmounted_is_missed(
    root: Path,
    source: Path,
    call: Callable[[FolderStore, Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The empty folder below the mount is no store in which there is nothing."""
    store = FolderStore(root)
    store.create("run/before", b"")
    monkeypatch.setattr(store, "_device", root.stat().st_dev + 1)
    with pytest.raises(StoreUnavailableError, match="another disk than before"):
        call(store, source)


def test_without_hard_links_a_folder_cannot_be_used(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(disk, "hard_link", refuse)
    with pytest.raises(StoreUnsuitableError, match="no hard links"):
        FolderStore(root).create("run/new", b"1")
    assert not files(root)


def test_a_link_whose_answer_was_lost_is_ones_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS asks again, and is told that the name is taken."""

    def link(existing: Path, new: Path) -> None:
        os.link(existing, new)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    store = FolderStore(root)
    monkeypatch.setattr(disk, "hard_link", link)
    store.create("run/new", b"mine")
    monkeypatch.undo()
    assert store.get("run/new", limit=10) == b"mine"
    with pytest.raises(ObjectExistsError):
        store.create("run/new", b"another's")


def test_what_crashes_leave_is_no_object_and_is_removed_a_day_later(root: Path) -> None:
    store = FolderStore(root)
    store.create("run/1", b"1")
    torn, recent = root / ".tmp" / "torn.0", root / ".tmp" / "recent.0"
    torn.write_bytes(b"half")
    recent.write_bytes(b"half")
    os.utime(torn, (time.time() - 90_000,) * 2)
    assert [o.key for o in store.list("run/")] == ["run/1"]
    FolderStore(root).create("run/2", b"2")
    assert (torn.exists(), recent.exists()) == (False, True)


def test_a_rotten_file_leaves_what_was_put_before(root: Path, source: Path) -> None:
    store = FolderStore(root)
    WRITES["put_file"](store, source)
    source.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(CorruptFileError):
        WRITES["put_file"](store, source)
    assert store.get("run/new", limit=10_000) == CONTENT


def test_a_damaged_object_is_mended_by_putting_it_again(root: Path, source: Path) -> None:
    store = FolderStore(root)
    WRITES["put_file"](store, source)
    (root / "run/new").write_bytes(CONTENT[:-1] + b"!")
    WRITES["put_file"](store, source)
    assert store.get("run/new", limit=10_000) == CONTENT


def test_what_lies_outside_cannot_be_reached(root: Path) -> None:
    (root.parent / "secret").write_bytes(b"secret")
    store = FolderStore(root)
    for key in ("../secret", "run/../../secret", str(root.parent / "secret")):
        with pytest.raises(ValueError, match="cannot be a key"):
            store.get(key, limit=10)
    with pytest.raises(ObjectNotFoundError):
        store.get("secret", limit=10)
