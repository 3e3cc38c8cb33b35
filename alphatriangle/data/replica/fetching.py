"""Objects of a replica on their way here: each byte digested once, while it comes.

A file appears under its name only when it is durable and is what its commit says. So a file that
is there from a restore that was cut off is taken as it is, once it has been digested.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final, TypeVar

from alphatriangle.data.commits.files import difference
from alphatriangle.data.errors import CorruptReplicaError, ReplicaUnavailableError
from alphatriangle.data.records import CommittedFile
from alphatriangle.data.replica.finding import OUT_OF_REACH
from alphatriangle.data.replica.layout import Layout, ObjectPlace
from alphatriangle.data.replica.records import StoredObject
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import FileDigest
from alphatriangle.data.stores.store import Store, StoreError, StoreUnavailableError
from alphatriangle.utils.interrupting import pool

_AT_A_TIME: Final = 8
_ATTEMPTS: Final = 3
"""How often a read is tried that fails, or that brings other bytes than it should."""
_LARGEST_SMALL: Final = 64 << 20
Result = TypeVar("Result")


class Fetcher:
    """Asks one run's replica for what it holds; a connection that fails is tried again."""

    def __init__(
        self, store: Store, layout: Layout, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = store
        self._layout = layout
        self._pause = pause
        self._is_left = False
        """Whether nobody waits any more for what is being downloaded."""
        self.bytes_downloaded = 0

    def files(self, files: Sequence[CommittedFile], place: Callable[[CommittedFile], None]) -> None:
        """Let ``place`` have each of the files, several at a time, the largest first."""
        order = sorted(files, key=lambda file: file.size, reverse=True)
        try:
            with pool(_AT_A_TIME, "restore") as threads:
                jobs = [threads.submit(place, file) for file in order]
                try:
                    for job in jobs:
                        job.result()
                except BaseException:
                    self._is_left = True
                    raise
        finally:
            self._is_left = False

    def file(self, place: ObjectPlace, file: CommittedFile, path: Path) -> None:
        """Have a file; it is not downloaded where it is there already.

        Raises:
            CorruptReplicaError: what is there is something else, or gone.
            ReplicaUnavailableError: the store is out of reach.
            OSError: the disk says no.
        """
        with contextlib.suppress(OSError):
            if not path.is_symlink() and difference(file, fs.digest_of(path)) is None:
                return
        key = self._layout.object(place)

        def check(digest: FileDigest) -> None:
            if (differs := difference(file, digest)) is not None:
                raise CorruptReplicaError(
                    Path(key), f"its bytes are not those of {file.path} ({differs} differs)"
                )

        def write(f: IO[bytes]) -> None:
            left = file.size
            for piece in self._store.download(key, file.size):
                left -= len(piece)
                if left < 0:
                    raise CorruptReplicaError(Path(key), f"it has more than {file.size} bytes")
                f.write(piece)

        def attempt() -> None:
            try:
                fs.write_atomically(path, write, check=check, size=file.size)
            except OUT_OF_REACH:
                raise
            except StoreError as e:
                raise CorruptReplicaError(Path(key), f"it cannot be had: {e}") from e

        self.asked(attempt)
        self.bytes_downloaded += file.size

    def small(self, stored: StoredObject, check: Callable[[bytes, Path], object]) -> bytes:
        """An object that fits into memory; ``check`` raises what is wrong with its content.

        Raises:
            CorruptFileError: it is not what was put, or ``check`` says so.
            ReplicaUnavailableError: the store is out of reach.
        """
        key = self._layout.object(stored.place)

        def attempt() -> bytes:
            try:
                if stored.size > _LARGEST_SMALL:
                    raise CorruptReplicaError(Path(key), f"it says it has {stored.size} bytes")
                content = self._store.get(key, limit=stored.size)
            except OUT_OF_REACH:
                raise
            except StoreError as e:
                raise CorruptReplicaError(Path(key), str(e)) from e
            if fs.digest(content).identity != (stored.size, stored.sha256):
                raise CorruptReplicaError(Path(key), "its bytes are not those that were put")
            check(content, Path(key))
            return content

        return self.asked(attempt)

    def asked(self, ask: Callable[[], Result]) -> Result:
        """Ask again where nobody answers, or where what was read may have been damaged on the way.

        Raises:
            ReplicaUnavailableError: the store is out of reach.
            DataError: what is there is no good.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return ask()
            except OUT_OF_REACH as e:
                is_last = attempt == _ATTEMPTS or self._is_left
                if is_last or not isinstance(e, StoreUnavailableError):
                    raise ReplicaUnavailableError(
                        f"the replica of run {self._layout.run_name!r} in {self._store.url} cannot "
                        f"be read now: {e}; nothing older was taken in its place, try again"
                    ) from e
                self._pause(2.0 ** (attempt - 1))
            except CorruptReplicaError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")
