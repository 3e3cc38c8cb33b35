"""A bucket as a store: S3 and what speaks like it, Google Cloud Storage, Azure.

``obstore`` is imported when the first request is made, and cannot be used in a process that was
forked from one that has used it: it would wait for ever for threads that are not there.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from alphatriangle.data.errors import CorruptFileError
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.pace import rest
from alphatriangle.data.stores.access import open_bucket
from alphatriangle.data.stores.keys import check_key, check_prefix
from alphatriangle.data.stores.remote_errors import is_foreign, is_refusal_of_content, translated
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    StoreAlteredError,
    StoreDeniedError,
    StoredObject,
    StoreError,
    StoreUnavailableError,
)
from alphatriangle.utils.interrupting import interruptible

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SMALL_SECONDS: Final = 20.0
"""Deadline of a request without a large body."""
LARGE_SECONDS: Final = 120.0
"""Deadline of one that carries up to :data:`PIECE` bytes: 140 kB/s are enough."""
PIECE: Final = 16 << 20
"""Bytes of one request: what is larger goes up in parts and comes down in ranges."""
_AT_ONCE: Final = 2
"""Parts of a file on their way up at a time; each is held in memory."""
_RANGE: Final = 4 << 20
"""Bytes of one request for a part of a file."""
_AHEAD: Final = 4
"""Ranges of a file on their way down at a time; each is held in memory."""
_CHUNK: Final = 1 << 20
_KEYS_A_REQUEST: Final = 1000
_CHECKSUM_HEADER: Final = "x-amz-checksum-sha256"

Result = TypeVar("Result")


class _Clients(NamedTuple):
    small: ObjectStore
    large: ObjectStore


_runtime_of: int | None = None
"""The process that has used ``obstore`` first, if this one is or comes from one that has."""


class RemoteStore:
    """Objects in a bucket.

    Bytes that were changed on the way are refused by S3, which is sent a SHA-256 with each object
    and each part of one. The others are sent none by ``obstore``: what was put there is read back.
    """

    def __init__(
        self,
        scheme: str,
        bucket: str,
        folder: str = "",
        *,
        small_seconds: float = SMALL_SECONDS,
        large_seconds: float = LARGE_SECONDS,
        piece: int = PIECE,
    ) -> None:
        self.url = f"{scheme}://{bucket}" + (f"/{folder}" if folder else "")
        self._scheme = scheme
        self._bucket = bucket
        self._above = f"{folder}/" if folder else ""
        self._small_seconds = small_seconds
        self._large_seconds = large_seconds
        self._piece = piece
        self._reads_back = scheme != "s3"
        self._clients: _Clients | None = None

    def get(self, key: str, *, limit: int) -> bytes:
        import obstore

        path = self._path(key)

        def ask() -> bytes:
            answer = obstore.get(self._opened().small, path)
            size = answer.meta["size"]
            if size > limit:
                raise StoreError(f"{key} in {self.url} is larger than {limit:,} bytes")
            return bytes(answer.bytes())

        return self._ask(f"reading {key}", ask)

    def download(self, key: str, size: int) -> Iterator[bytes]:
        import obstore

        path = self._path(key)
        doing = f"reading {key}"
        if size == 0:
            yield from filter(None, [self.get(key, limit=0)])
        length = min(self._piece, _RANGE)

        def ask(first: int) -> bytes:
            end = min(first + length, size)
            piece = self._ask(
                doing,
                lambda: bytes(obstore.get_range(self._opened().large, path, start=first, end=end)),
            )
            if len(piece) != end - first:
                raise StoreError(f"{key} in {self.url} is not of {size:,} bytes")
            return piece

        yield from _in_order(ask, range(0, size, length))

    def create(self, key: str, content: bytes) -> None:
        self._put(key, content, "create")
        if self._reads_back:
            self._check(key, len(content), hashlib.sha256(content).hexdigest())

    def overwrite(self, key: str, content: bytes) -> None:
        try:
            self._put(key, content, "overwrite")
        except ObjectExistsError as e:
            # What a store says of two writers at once.
            raise StoreUnavailableError(str(e)) from None

    def _put(self, key: str, content: bytes, mode: Any) -> None:
        import obstore

        path = self._path(key)
        self._ask(
            f"writing {key}",
            lambda: obstore.put(
                self._opened().small, path, content, mode=mode, use_multipart=False
            ),
        )

    def put_file(self, key: str, path: Path, size: int, sha256: str) -> None:
        import obstore

        target = self._path(key)
        source = _Source(path, size, sha256)
        # A whole part is held in memory, whatever comes.
        content: Any = source.pieces() if size > self._piece else b"".join(source.pieces())
        try:
            self._ask(
                f"writing {key}",
                lambda: obstore.put(
                    self._opened().large,
                    target,
                    content,
                    use_multipart=size > self._piece,
                    chunk_size=self._piece,
                    max_concurrency=_AT_ONCE,
                ),
            )
        except ObjectExistsError as e:
            raise StoreUnavailableError(str(e)) from None
        except StoreError:
            # ``obstore`` passes on what reading the file raises, among its own.
            if source.error is not None:
                raise source.error from None
            raise
        if self._reads_back:
            self._check(key, size, sha256)

    def _check(self, key: str, size: int, sha256: str) -> None:
        """
        Raises:
            StoreAlteredError: the store does not hold what it was sent.
        """
        digest = hashlib.sha256()
        try:
            for piece in self.download(key, size):
                digest.update(piece)
        except ObjectNotFoundError as e:
            raise StoreUnavailableError(f"{key} is not in {self.url} after it was put") from e
        if digest.hexdigest() != sha256:
            raise StoreAlteredError(f"{self.url} holds other bytes of {key} than were sent")

    def list(self, prefix: str) -> Iterator[StoredObject]:
        import obstore

        path = self._above + check_prefix(prefix)
        doing = f"listing {prefix}"
        pages = self._ask(
            doing,
            lambda: obstore.list(self._opened().small, prefix=path, chunk_size=_KEYS_A_REQUEST),
        )
        while (page := self._ask(doing, lambda: next(pages, None))) is not None:
            for entry in page:
                key = entry["path"].removeprefix(self._above)
                # A bucket's own pages make objects of no name in place of folders.
                if key.startswith(prefix) and not key.endswith("/"):
                    modified = entry["last_modified"].timestamp()
                    yield StoredObject(key, entry["size"], int(modified * 1e6) * 1000)

    def delete(self, keys: Iterable[str]) -> None:
        import obstore

        paths = [self._path(key) for key in keys]
        at_once = _KEYS_A_REQUEST if self._scheme == "s3" else 1
        for first in range(0, len(paths), at_once):
            some = paths[first : first + at_once]

            def ask(some: Sequence[str] = some) -> None:
                # S3 does not mind; there, it would be the bucket that is not found.
                missing = () if self._scheme == "s3" else (FileNotFoundError,)
                with contextlib.suppress(*missing):
                    obstore.delete(self._opened().small, some)

            self._ask(f"deleting {len(some):,} objects", ask)

    def takes_wrong_checksum(self, key: str) -> bool:
        """Whether a small object is stored though its checksum is that of another.

        Raises:
            StoreUnavailableError: nobody knows.
        """
        if self._reads_back:
            return False
        import obstore

        path = self._path(key)
        wrong = base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode()

        def ask() -> bool:
            client = open_bucket(
                self._scheme,
                self._bucket,
                self._small_seconds,
                headers={_CHECKSUM_HEADER: wrong},
                checksums=False,
            )
            try:
                obstore.put(client, path, b"bytes", use_multipart=False)
            except obstore.exceptions.BaseError as e:
                if not is_refusal_of_content(e):
                    raise
                return False
            return True

        self._opened()
        return self._ask(f"writing {key} with a wrong checksum", ask)

    def _path(self, key: str) -> str:
        return self._above + check_key(key)

    def _opened(self) -> _Clients:
        """The clients of this process."""
        global _runtime_of
        if _runtime_of not in (None, os.getpid()):
            raise StoreUnavailableError(
                f"{self.url} cannot be asked here: this process was forked from one that has asked "
                "a store; start it by 'spawn'"
            )
        _runtime_of = os.getpid()
        if self._clients is None:
            self._clients = _Clients(
                open_bucket(self._scheme, self._bucket, self._small_seconds),
                open_bucket(self._scheme, self._bucket, self._large_seconds),
            )
        return self._clients

    def _ask(self, doing: str, call: Callable[[], Result]) -> Result:
        """The one border to ``obstore``."""
        try:
            return interruptible(call)
        except BaseException as e:
            if isinstance(e, StoreError) or not is_foreign(e):
                raise
            failure = translated(e, doing, self.url)
        if isinstance(failure, StoreDeniedError):
            # Keys are replaced while a run lasts: the next request looks for them again.
            self._clients = None
        # Here, where the first error is not the context of this one: it may hold a key.
        raise failure


def _in_order(ask: Callable[[int], bytes], places: Sequence[int]) -> Iterator[bytes]:
    """What is asked for at each place, one after the other, some of it ahead of time."""
    if len(places) < 2:
        yield from map(ask, places)
        return
    threads = ThreadPoolExecutor(_AHEAD, thread_name_prefix="download")
    ahead: deque[Future[bytes]] = deque()
    try:
        for place in places:
            ahead.append(threads.submit(ask, place))
            if len(ahead) == _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # Whoever gives up does not wait for what hangs: a request ends at its deadline.
        threads.shutdown(wait=False, cancel_futures=True)


class _Source:
    """A file on its way up."""

    def __init__(self, path: Path, size: int, sha256: str) -> None:
        self._path = path
        self._wanted = (size, sha256)
        self.error: OSError | CorruptFileError | None = None

    def pieces(self) -> Iterator[bytes]:
        """Its bytes; it fails after them if they are not those that were saved, before they are
        put together at the other end."""
        digest, size = hashlib.sha256(), 0
        try:
            with disk.open(self._path) as f:
                while chunk := f.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    yield chunk
                    rest()
            if (size, digest.hexdigest()) != self._wanted:
                raise CorruptFileError(self._path, "is not what was saved; it was not copied")
        except (OSError, CorruptFileError) as e:
            self.error = e
            raise
