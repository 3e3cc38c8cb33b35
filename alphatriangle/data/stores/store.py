"""What a place elsewhere must be able to do, and what can go wrong there.

A store keeps immutable objects under keys such as ``first/e000001/objects/<sha256>``. It may be
slow, full, or out of reach; it may have done what it does not answer any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from alphatriangle.data.errors import DataError


class StoreError(DataError):
    """A store did not do what it was asked to."""


class ObjectNotFoundError(StoreError):
    """The store holds nothing under that key."""


class ObjectExistsError(StoreError):
    """The store holds something under that key: perhaps what was put there by this very request."""


class StoreUnavailableError(StoreError):
    """The store did not answer in time, or with an error of its own. Nobody knows what it did."""


class StoreAlteredError(StoreUnavailableError):
    """The store said that it has done it, and holds other bytes than it was sent."""


class StoreDeniedError(StoreError):
    """The store does not accept the credentials, or they do not allow this."""


class StoreUnsuitableError(StoreError):
    """The store cannot be trusted with state: it ignores conditions or checksums."""


class StoreAddressError(StoreError):
    """A URL cannot be that of a store."""


class StoredObject(NamedTuple):
    """What a listing says of an object."""

    key: str
    size: int  # bytes
    modified_ns: int  # since 1970, by the store's clock


class Store(Protocol):
    """Objects under keys. Any thread may call; every method raises :class:`StoreError`.

    Each call ends within a deadline of its own, and is tried once: who calls decides on trying
    again, since only the caller knows what is safe. What can be a key says
    :mod:`alphatriangle.data.stores.keys`; anything else is a ``ValueError``.
    """

    url: str
    """Where it is, without any credentials: fit to be shown."""

    def get(self, key: str, *, limit: int) -> bytes:
        """A small object, of at most ``limit`` bytes; not checked by anybody.

        Raises:
            ObjectNotFoundError: there is none.
            StoreError: it is larger, or cannot be had.
        """

    def download(self, key: str, size: int) -> Iterator[bytes]:
        """An object of ``size`` bytes, piece by piece; not checked by anybody.

        Raises:
            ObjectNotFoundError: there is none.
        """

    def create(self, key: str, content: bytes) -> None:
        """Put a small object where none is, in one step: of several who try at once, one does it.

        Raises:
            ObjectExistsError: something is there.
        """

    def put_file(self, key: str, path: Path, size: int, sha256: str) -> None:
        """Put the content of a file under a key that stands for this content.

        The store refuses bytes that do not have this sha256. An object that is there already had
        the same bytes, and is replaced by them: it may have rotted.

        Raises:
            OSError: the file cannot be read.
            CorruptFileError: it has not this size and sha256 itself; nothing was put.
        """

    def overwrite(self, key: str, content: bytes) -> None:
        """Put a small object, whatever was there."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose key begins with ``prefix``, which ends with a slash; perhaps stale."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there do not matter.

        Raises:
            StoreDeniedError: nothing may be removed here.
        """
