"""Becoming the one writer of a replica."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from alphatriangle.data.errors import (
    CorruptReplicaError,
    DivergedError,
    FencedError,
    ReplicaNotFoundError,
)
from alphatriangle.data.replica.finding import Found, ReplicaReader
from alphatriangle.data.replica.layout import Layout, ObjectPlace
from alphatriangle.data.replica.protocol import (
    History,
    Verdict,
    goes_on_from,
    is_behind,
    judged,
    may_leave_behind,
)
from alphatriangle.data.replica.records import (
    LARGEST_RECORD,
    Epoch,
    Held,
    RemoteCommit,
    sealed,
)
from alphatriangle.data.stores.addresses import run_url
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    Store,
    StoreUnavailableError,
)
from alphatriangle.utils.invocation import command

_ATTEMPTS: Final = 4
"""How often a claim is tried that others are faster with, or a create that nobody answers."""


class Base(NamedTuple):
    """What a writer's first commit goes on from."""

    record: RemoteCommit
    """The last that was put."""
    newest: RemoteCommit | None
    """The newest of the run that it holds: itself, but after an outage; None where it is gone."""
    holds: list[Held]
    objects: dict[ObjectPlace, int]
    """What it takes to have the newest, and the size of each."""


class Claim(NamedTuple):
    """An epoch of one's own."""

    epoch: int
    nonce: str
    base: Base | None
    """None where the replica holds no commit yet."""


@dataclass
class Begun:
    """A claim that was made, while what it goes on from is not known yet: it is not made again."""

    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    epoch: int = 0


def claim(store: Store, layout: Layout, history: History, begun: Begun) -> Claim:
    """Take the replica over, if the folder's commits go on from its newest. ``begun`` is for the
    next call, after an error: each claim more would be one more to look behind.

    Raises:
        DivergedError: they do not; nobody has been fenced, unless a commit came in meanwhile.
        FencedError: others claim it as fast.
        ReplicaNotFoundError: it has acknowledged commits of this folder and knows nothing of them.
        StoreError: it is out of reach now, and may be claimed.
        UnsupportedFormatError: a newer version wrote to it.
    """
    reader = ReplicaReader(store, layout)
    nonce = begun.nonce
    for _ in range(_ATTEMPTS):
        found = reader.look()
        if history.acknowledged is not None and found.epoch < history.acknowledged.epoch:
            raise _forgotten(reader)
        # Before the claim: who may not go on must not stop the one who may.
        base = find_base(reader, found, history)
        if begun.epoch and begun.epoch == found.epoch:
            return Claim(begun.epoch, nonce, base)
        mine = Epoch(
            run_name=layout.run_name,
            epoch=found.epoch + 1,
            nonce=nonce,
            host=socket.gethostname(),
            pid=os.getpid(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if create_once(store, layout.epoch(mine.epoch), sealed(mine)[1]):
            begun.epoch = mine.epoch
            # After the claim: nothing older is acknowledged from now on, so that this is all.
            base = find_base(reader, reader.look(), history)
            return Claim(mine.epoch, nonce, base)
    raise FencedError(
        f"other processes are claiming the replica of run {layout.run_name!r} in {store.url} at "
        "this moment; stop them, or this one"
    )


def find_base(reader: ReplicaReader, found: Found, history: History) -> Base | None:
    """The newest commit of a replica, which the folder must go on from; None without any.

    Raises:
        DivergedError: it does not.
    """
    record, unreadable = reader.newest_readable(found)
    for passed in unreadable:
        if not may_leave_behind(passed.position, history):
            raise _diverged(reader, f"its newest commit cannot be read: {passed.reason}")
    if record is None:
        return None
    holds = [held for held in record.holds if held.position not in history.passed_over]
    newest = max(holds, key=lambda held: held.sequence, default=None)
    if not goes_on_from(newest, history):
        assert newest is not None
        owner = reader.claim_of(record.epoch)
        by = f", written by process {owner.pid} on {owner.host}" if owner is not None else ""
        if is_behind(holds, history):
            raise _behind(reader, f"step {newest.step}{by}")
        raise _diverged(reader, f"its newest commit is of step {newest.step}{by}")
    if newest is None:
        return None
    try:
        is_last = newest.position == record.position
        there = record if is_last else reader.read(newest.position)
    except CorruptReplicaError:
        # The folder has gone on from it, so that nothing is lost; it is not listed any more.
        return Base(record, None, [held for held in holds if held != newest], {})
    return Base(record, there, holds, there.sizes())


def create_once(store: Store, key: str, content: bytes) -> bool:
    """Put an object where none is; whether what is there now was put by us.

    Raises:
        StoreError: nobody knows; to be asked again with the same content.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            store.create(key, content)
        except (ObjectExistsError, StoreUnavailableError) as e:
            verdict = _what_became_of(store, key, content)
            if verdict != "absent":
                return verdict == "landed"
            if left == 0:
                raise StoreUnavailableError(f"{key} cannot be created: {e}") from e
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


def _what_became_of(store: Store, key: str, content: bytes) -> Verdict:
    found = _read_back(store, key)
    verdict = judged(content, found)
    # Whoever is said to be another one stops for good: so it is not one bad read that says it.
    if verdict == "another" and _read_back(store, key) != found:
        raise StoreUnavailableError(f"{key} reads otherwise each time")
    return verdict


def _read_back(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key, limit=LARGEST_RECORD)
    except ObjectNotFoundError:
        return None


def _forgotten(reader: ReplicaReader) -> ReplicaNotFoundError:
    name, url = reader.layout.run_name, reader.store.url
    return ReplicaNotFoundError(
        f"{url} has acknowledged commits of run {name!r} and does not hold them any more: is this "
        "the right disk or bucket, and is it mounted? Nothing is replicated until it is back; if "
        f"it was emptied on purpose, {command('runs', 'push', name, url, '--anew')} begins again"
    )


def _diverged(reader: ReplicaReader, what: str) -> DivergedError:
    name, url = reader.layout.run_name, reader.store.url
    return DivergedError(
        f"run {name!r} has another history here than its replica in {url}: {what}, and this "
        "folder does not go on from it. Nothing more is replicated, and nothing was changed there; "
        f"{command('runs', 'fork', name, 'NEW')} goes on from what is here, "
        f"{command('runs', 'restore', run_url(url, name), '--run-name', 'NEW')} from what is there"
    )


def _behind(reader: ReplicaReader, what: str) -> DivergedError:
    name, url = reader.layout.run_name, reader.store.url
    there = run_url(url, name)
    return DivergedError(
        f"the replica of run {name!r} in {url} is ahead of this folder, which it goes on from: "
        f"{what}. Nothing is replicated from here, and nothing was changed there. Move the run's "
        f"folder away, and {command('train', '--resume', there)} goes on from what is there; "
        f"{command('runs', 'fork', name, 'NEW')} goes on from what is here"
    )
