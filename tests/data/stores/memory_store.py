"""A store in memory in which any single operation can go wrong, in any way that stores know."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from alphatriangle.data.errors import CorruptFileError
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    StoreDeniedError,
    StoredObject,
    StoreError,
    StoreUnavailableError,
)

FaultKind = Literal[
    "before", "lost", "late", "twice", "stale", "partial", "flipped", "denied", "throttled"
]
FAULTS: Final[tuple[FaultKind, ...]] = (
    "before",  # it did nothing and gave no answer in time
    "lost",  # it did it, and the answer was lost
    "late",  # it gave no answer in time, and does it later
    "twice",  # the client asked again by itself, and the second time was answered
    "stale",  # a list that lacks what came last
    "partial",  # what is read ends early
    "flipped",  # one byte is another on the way; what is put so is refused
    "denied",
    "throttled",
)


@dataclass
class Fault:
    """Operation number ``at`` (from 0) goes wrong."""

    at: int
    kind: FaultKind
    struck: bool = False


class Entry(NamedTuple):
    content: bytes
    modified_ns: int


class MemoryStore:
    """A :class:`Store`; ``objects`` may be looked at and damaged."""

    url = "memory://test"

    def __init__(self, fault: Fault | None = None) -> None:
        self.objects: dict[str, Entry] = {}
        self.fault = fault
        self.operations: list[str] = []
        self.seconds = 0.0
        """The store's clock, and a good one for its users."""
        self.is_down = False
        self.may_delete = True
        self.before_each: Callable[[str], None] = lambda what: None
        """Called before each operation: what others do meanwhile."""
        self._late: list[tuple[int, Callable[[], None]]] = []
        self._lock = threading.RLock()

    def copy(self) -> MemoryStore:
        other = MemoryStore()
        other.objects, other.seconds = dict(self.objects), self.seconds
        return other

    def keys(self, part: str = "") -> list[str]:
        return sorted(key for key in self.objects if part in key)

    def clock(self) -> float:
        return self.seconds

    # The protocol

    def get(self, key: str, *, limit: int) -> bytes:
        with self._operation(f"get {key}", lambda: None) as bend:
            content = self._read(key)
            if len(content) > limit:
                raise StoreError(f"{key} has more than {limit} bytes")
            return bend(content)

    def download(self, key: str, size: int) -> Iterator[bytes]:
        with self._operation(f"download {key}", lambda: None) as bend:
            content = bend(self._read(key))
        middle = len(content) // 2
        yield content[:middle]
        yield content[middle:]

    def create(self, key: str, content: bytes) -> None:
        def do() -> None:
            if key in self.objects:
                raise ObjectExistsError(f"{key} exists")
            self._put(key, content)

        with self._operation(f"create {key}", do):
            do()

    def put_file(self, key: str, path: Path, size: int, sha256: str) -> None:
        content = path.read_bytes()
        if (len(content), hashlib.sha256(content).hexdigest()) != (size, sha256):
            raise CorruptFileError(path, "it is not what was saved")
        with self._operation(f"put {key}", lambda: self._put(key, content)):
            self._put(key, content)

    def overwrite(self, key: str, content: bytes) -> None:
        with self._operation(f"overwrite {key}", lambda: self._put(key, content)):
            self._put(key, content)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        assert prefix.endswith("/")
        with self._operation(f"list {prefix}", lambda: None) as bend:
            found = [
                StoredObject(key, len(entry.content), entry.modified_ns)
                for key, entry in sorted(self.objects.items())
                if key.startswith(prefix)
            ]
            is_stale = bend(b"?") == b"stale"
        found.sort(key=lambda item: item.modified_ns)
        return iter(found[: len(found) // 2] if is_stale else found)

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)

        def do() -> None:
            for key in doomed:
                self.objects.pop(key, None)

        with self._operation(f"delete {' '.join(doomed)}", do):
            if not self.may_delete:
                raise StoreDeniedError("no deletes here")
            do()

    # What goes wrong

    def _operation(self, what: str, do: Callable[[], None]) -> _Operation:
        return _Operation(self, what, do)

    def _read(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFoundError(f"there is no {key}")
        return self.objects[key].content

    def _put(self, key: str, content: bytes) -> None:
        self.seconds += 0.001
        self.objects[key] = Entry(content, int(self.seconds * 1e9))

    def _begin(self, what: str, do: Callable[[], None]) -> Callable[[bytes], bytes]:
        number = len(self.operations)
        self.operations.append(what)
        for at, late in list(self._late):
            if at <= number:
                self._late.remove((at, late))
                with contextlib.suppress(StoreError):  # Nobody hears of it.
                    late()
        if self.is_down:
            raise StoreUnavailableError("the store is down")
        fault = self.fault
        if fault is None or fault.at != number:
            return lambda content: content
        fault.struck = True
        match fault.kind:
            case "before" | "throttled":
                raise StoreUnavailableError(f"{fault.kind}: {what}")
            case "denied":
                raise StoreDeniedError(f"403: {what}")
            case "lost":
                do()
                raise StoreUnavailableError(f"no answer: {what}")
            case "late":
                self._late.append((number + 3, do))
                raise StoreUnavailableError(f"no answer yet: {what}")
            case "twice":
                do()
            case "stale":
                return lambda content: b"stale" if content == b"?" else content
            case "partial":
                return lambda content: content[: len(content) // 2]
            case "flipped":
                if not what.startswith(("get", "download", "list")):
                    raise StoreUnavailableError(f"the checksum does not match: {what}")
                return flipped
        return lambda content: content


class _Operation:
    def __init__(self, store: MemoryStore, what: str, do: Callable[[], None]) -> None:
        self._store, self._what, self._do = store, what, do

    def __enter__(self) -> Callable[[bytes], bytes]:
        self._store.before_each(self._what)
        self._store._lock.acquire()
        try:
            return self._store._begin(self._what, self._do)
        except BaseException:
            self._store._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._store._lock.release()


def flipped(content: bytes) -> bytes:
    if not content:
        return content
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
