"""One commit after another into an epoch of one's own.

The objects that are missing; then the commit, created under the next number: from here on it
exists; then a look whether somebody has claimed a newer epoch: only without one it counts; then the
hint. What nobody answered is asked for again with the same bytes, before anything else is put.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from alphatriangle.data.errors import DivergedError, FencedError
from alphatriangle.data.records import Commit, RunInfo
from alphatriangle.data.replica.claims import Claim, create_once
from alphatriangle.data.replica.finding import ReplicaReader
from alphatriangle.data.replica.layout import Layout, ObjectPlace, Position
from alphatriangle.data.replica.protocol import KeepRules, is_acknowledged, kept, still_dropped
from alphatriangle.data.replica.records import (
    Dropped,
    Held,
    Hint,
    RemoteCommit,
    StoredObject,
    seal_shown,
    sealed,
)
from alphatriangle.data.replica.spool import LooseFile, Parcel
from alphatriangle.data.storage.failpoints import failpoint
from alphatriangle.data.stores.store import Store, StoreError
from alphatriangle.utils.invocation import command

logger = logging.getLogger(__name__)

_REQUESTS: Final = 8
"""For one commit; where it takes more objects than usual the hint is left to the next."""


class Retention(NamedTuple):
    """What decides which commits the replica keeps."""

    rules: KeepRules | None
    """None while nothing may be dropped."""
    best_sequence: int | None
    pins: Collection[int]


class _Pending(NamedTuple):
    """A commit that has been put, as far as is known."""

    record: RemoteCommit
    content: bytes
    is_there: bool = False


class Publisher:
    """Writes to one epoch. Any error leaves it fit to go on; after a fence nothing goes."""

    def __init__(self, store: Store, layout: Layout, claim: Claim) -> None:
        self._store = store
        self._layout = layout
        self._reader = ReplicaReader(store, layout)
        self._claim = claim
        self._pending: _Pending | None = None
        self._number = 0
        self._requests = 0
        base = claim.base
        self.epoch = claim.epoch
        self.holds: list[Held] = [] if base is None else base.holds
        """What the replica keeps, as far as it is acknowledged."""
        self.dropped: list[Dropped] = [] if base is None else base.record.dropped
        """What is to be removed there."""
        self.collected: set[Position] = set()
        """Of these, what has been removed: the next commit says so."""
        self.newest: Commit | None = None
        """The newest commit that is acknowledged."""
        self.last: RemoteCommit | None = None
        """The one that was acknowledged last in this epoch."""
        self._parent = None if base is None else base.record.seal
        # Of the newest alone: another one may be damaged, and have been passed over for that.
        objects = () if base is None else base.objects
        self._known = {place.sha256: place.epoch for place in objects}

    def has(self, sha256: str) -> bool:
        """Whether an object need not be put."""
        return sha256 in self._known

    def forget(self, places: Collection[ObjectPlace]) -> None:
        """These are not there any more."""
        for place in places:
            if self._known.get(place.sha256) == place.epoch:
                del self._known[place.sha256]

    def publish_base(self) -> None:
        """Make the newest commit that was found one of the own epoch: what older epochs get from
        now on is of no account. Puts no object.

        Raises:
            FencedError: there is a newer epoch.
            StoreError: to be called again.
        """
        base = self._claim.base
        if base is None or base.newest is None or self.last is not None:
            return
        if self._pending is None:
            record = base.newest
            self._put(
                record.commit,
                record.epochs,
                record.run_info,
                record.configs,
                Retention(None, base.record.best_sequence, base.record.pins),
            )
        self.settle()

    def publish_again(self) -> None:
        """Put the last commit once more, so that there are two: see ``may_collect``.

        Raises:
            FencedError: there is a newer epoch.
            StoreError: to be called again.
        """
        self.settle()
        assert self.last is not None
        record = self.last
        retention = Retention(None, record.best_sequence, record.pins)
        self._put(record.commit, record.epochs, record.run_info, record.configs, retention)
        self.settle()

    def publish(self, parcel: Parcel, retention: Retention) -> None:
        """Put a commit; when this returns it is acknowledged.

        Raises:
            FencedError: there is a newer epoch, or another writer in this one.
            CorruptFileError: a file is not what the commit says any more; nothing was put of it.
            StoreError: to be called again, with this commit or a newer one.
            OSError: a file cannot be read.
        """
        self.settle()
        self._requests = 0
        commit = parcel.commit
        for file in commit.files:
            if not self.has(file.sha256):
                self._put_object(parcel.files[file.sha256], file.size, file.sha256)
        configs = self._put_loose(parcel.configs)
        epochs = [self._known[file.sha256] for file in commit.files]
        self._put(commit, epochs, parcel.run_info, configs, retention)
        self.settle()

    def settle(self) -> None:
        """Find out what became of the commit that was put last, and acknowledge it.

        Raises:
            FencedError: it is not acknowledged, and no other will be.
            StoreError: it is not known yet; to be called again.
        """
        if (pending := self._pending) is None:
            return
        record = pending.record
        key = self._layout.commit(record.position)
        if not pending.is_there:
            self._requests += 1
            if not create_once(self._store, key, pending.content):
                raise DivergedError(
                    f"another writer has put commit {record.position} of run "
                    f"{self._layout.run_name!r} in {self._store.url}: this process is a copy of "
                    f"it, or was rolled back. Nothing more is replicated from here; {self._way_on}"
                )
            self._pending = pending = pending._replace(is_there=True)
            failpoint("replica.commit")
        self._requests += 1
        if not is_acknowledged(is_newer_claim=self._reader.has_claim(self.epoch + 1)):
            raise self.fenced()
        failpoint("replica.checked")
        self._pending = None
        self._acknowledge(record)

    def fenced(self) -> FencedError:
        """Say who is the writer now."""
        owner = self._reader.claim_of(self.epoch + 1)
        by = "" if owner is None else f" by process {owner.pid} on {owner.host}, {owner.created_at}"
        return FencedError(
            f"the replica of run {self._layout.run_name!r} in {self._store.url} has been taken "
            f"over{by}: nothing more is replicated from here; {self._way_on}"
        )

    def has_successor(self) -> bool:
        """Whether another writer has been here: with a newer claim, or within this epoch."""
        following = Position(self.epoch, self._number + 1)
        return self._reader.has_claim(self.epoch + 1) or self._reader.has_commit(following)

    @property
    def _way_on(self) -> str:
        name = self._layout.run_name
        return (
            "the commits here are whole, and "
            f"{command('runs', 'fork', name, 'NEW')} goes on from them under another name"
        )

    def _put_object(self, path: Path, size: int, sha256: str) -> None:
        key = self._layout.object(ObjectPlace(self.epoch, sha256))
        self._requests += 1
        self._store.put_file(key, path, size, sha256)
        self._known[sha256] = self.epoch
        failpoint("replica.object")

    def _put_loose(self, file: LooseFile | None) -> StoredObject | None:
        if file is None:
            return None
        size, sha256 = file.digest.identity
        if not self.has(sha256):
            self._put_object(file.path, size, sha256)
        return StoredObject(epoch=self._known[sha256], size=size, sha256=sha256)

    def _put(
        self,
        commit: Commit,
        epochs: list[int],
        run_info: RunInfo | None,
        configs: StoredObject | None,
        retention: Retention,
    ) -> None:
        number = self._number + 1
        new = Held(
            self.epoch,
            number,
            commit.sequence,
            commit.global_step,
            commit.created_ns,
            seal_shown(commit),
        )
        choice = kept(
            self.holds,
            new,
            retention.rules,
            best_sequence=retention.best_sequence,
            pins=retention.pins,
            now_ns=time.time_ns(),
        )
        record = RemoteCommit(
            format_version=commit.format_version,
            epoch=self.epoch,
            number=number,
            nonce=self._claim.nonce,
            parent=self._parent,
            commit=commit,
            epochs=epochs,
            run_info=run_info,
            configs=configs,
            holds=choice.holds,
            best_sequence=retention.best_sequence,
            dropped=still_dropped(self.dropped, choice.dropped, self.collected, self.epoch),
            pins=sorted(retention.pins),
        )
        self._pending = _Pending(*sealed(record))

    def _acknowledge(self, record: RemoteCommit) -> None:
        self._number = record.number
        self._parent = record.seal
        self.last = record
        self.holds, self.dropped = list(record.holds), list(record.dropped)
        self.collected &= {dropped.position for dropped in self.dropped}
        if self.newest is None or record.commit.sequence >= self.newest.sequence:
            self.newest = record.commit
        if self._requests >= _REQUESTS:
            return
        hint = Hint(epoch=record.epoch, number=record.number)
        try:
            self._store.overwrite(self._layout.head, sealed(hint)[1])
        except StoreError as e:
            logger.info("the hint of the replica was not written: %s", e)
        failpoint("replica.head")
