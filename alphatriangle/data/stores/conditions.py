"""What a store is asked before it is trusted: whether it keeps conditions, and checks checksums.

There are servers that take ``If-None-Match`` and store anyway, so that each of two writers is told
that it alone has written, and some that store what does not have the checksum that was sent along.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Final, Protocol, runtime_checkable

from alphatriangle.data.stores.store import (
    ObjectExistsError,
    Store,
    StoreAlteredError,
    StoreError,
    StoreUnavailableError,
    StoreUnsuitableError,
)
from alphatriangle.utils.interrupting import pool

FOLDER: Final = "alphatriangle-probe"
_AT_ONCE: Final = 8
_TRIES: Final = 2
_PATIENCE: Final = 4
_PAUSE: Final = 1.1  # seconds
_NAMES: Final = 4096
"""So many objects stay at most where nothing may be removed."""


@runtime_checkable
class TakesChecksums(Protocol):
    """A store that is sent checksums, and may ignore them."""

    def takes_wrong_checksum(self, key: str) -> bool:
        """Whether a small object is stored though its checksum is that of another."""


def check_suitable(store: Store) -> None:
    """Try, with a dozen small requests. Nothing is left behind; where nothing may be removed, small
    objects of a limited number of names.

    Raises:
        StoreUnsuitableError: it must not be used.
        StoreError: it could not be tried.
    """
    problem = None
    for _ in range(_TRIES):
        # Another machine may have tried the same name at the same moment, and removed its object.
        if (problem := _broken_condition(store)) is None:
            break
    if problem is None and isinstance(store, TakesChecksums):
        problem = _ignored_checksum(store, store)
    if problem is not None:
        raise StoreUnsuitableError(f"{store.url} cannot be used: {problem}")


def _broken_condition(store: Store) -> str | None:
    """Of eight that create an object at once exactly one does it, and nobody after them."""
    key = f"{FOLDER}/create-{secrets.randbelow(_NAMES):03x}"
    contents = [f"{secrets.token_hex(8)} {n}".encode() for n in range(_AT_ONCE)]
    with pool(_AT_ONCE, "probe") as threads:
        outcomes = list(threads.map(lambda content: _try(store, key, content), contents))
    created = [c for c, outcome in zip(contents, outcomes, strict=True) if outcome is True]
    altered = [outcome for outcome in outcomes if isinstance(outcome, StoreAlteredError)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, StoreError)]
    told = len(created) + len(altered)
    try:
        if told > 1:
            return f"of {_AT_ONCE} that created an object at once {told} were told they did"
        if altered:
            return "an object that was created has other bytes"
        if len(errors) == _AT_ONCE:
            raise errors[0]
        if not created and not errors and _patiently(store, key, contents[0]):
            # An earlier one that could not be removed then has been removed now.
            created = contents[:1]
        if _patiently(store, key, b"another"):
            return "an object was created where one was"
        if created and store.get(key, limit=1000) != created[0]:
            return "an object that was created was replaced by one that was refused"
        return None
    finally:
        if created or altered:
            _remove(store, key)


def _try(store: Store, key: str, content: bytes) -> bool | StoreError:
    """Whether it was created, or why nobody knows."""
    try:
        store.create(key, content)
    except ObjectExistsError:
        return False
    except StoreError as e:
        return e
    return True


def _patiently(store: Store, key: str, content: bytes) -> bool:
    """Whether it was created. Some stores allow an object to be written once a second."""
    for _ in range(_PATIENCE):
        outcome = _try(store, key, content)
        if not isinstance(outcome, StoreUnavailableError):
            break
        time.sleep(_PAUSE)
    if isinstance(outcome, StoreError):
        raise outcome
    return outcome


def _ignored_checksum(store: Store, sender: TakesChecksums) -> str | None:
    key = f"{FOLDER}/checksum"
    if not sender.takes_wrong_checksum(key):
        return None
    _remove(store, key)
    return "it stored bytes that did not have the SHA-256 that was sent along"


def _remove(store: Store, key: str) -> None:
    """If that is allowed, and possible: what stays is small, and its name is used again."""
    with contextlib.suppress(StoreError):
        store.delete([key])
