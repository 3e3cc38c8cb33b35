"""Removing from a replica what is kept no more. Only the epoch's owner does, and it looks first.

What is garbage is known without a list: each commit names those that were dropped. Objects lie in
the epoch of the writer that put them and nobody else puts there, so that no writer's garbage is
another one's news; commits of the own epoch stay, however old: their numbers are what stops a copy
of this very process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from alphatriangle.data.errors import CorruptReplicaError
from alphatriangle.data.replica.finding import ReplicaReader
from alphatriangle.data.replica.layout import EpochPlace, Layout, ObjectPlace, Position
from alphatriangle.data.replica.protocol import garbage, may_collect
from alphatriangle.data.replica.publisher import Publisher
from alphatriangle.data.replica.records import Dropped, RemoteCommit
from alphatriangle.data.replica.sweeping import GRACE_SECONDS, Orphans, find_orphans
from alphatriangle.data.storage.failpoints import failpoint
from alphatriangle.data.stores.store import Store, StoreDeniedError, StoreError

logger = logging.getLogger(__name__)

_BATCH: Final = 16
"""Commits that are removed together: a round of it takes a handful of requests."""
_READS: Final = 32
"""Commits that a round reads at most of those that it does not know yet; the next goes on."""


class _Places(NamedTuple):
    """The objects of a commit."""

    all: frozenset[ObjectPlace]
    files: frozenset[ObjectPlace]
    """Those that may ever be removed: ``configs.json`` may become what it was."""


class GarbageCollector:
    """Of one epoch, for its owner's thread."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        publisher: Publisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._layout = layout
        self._publisher = publisher
        self._reader = ReplicaReader(store, layout)
        self._clock = clock
        self._since: dict[Position, float] = {}
        self._records: dict[Position, _Places] = {}
        self._not_before = 0.0
        """No round until then, since a commit that is kept cannot be read."""
        self.is_denied = False
        """Whether nothing may be removed there: then somebody else has to."""
        self._date_inherited()

    def note(self, record: RemoteCommit) -> None:
        """A commit of this epoch that has been acknowledged: it need not be read again."""
        self._remember(record.position, record)
        now = self._clock()
        for dropped in record.dropped:
            self._since.setdefault(dropped.position, now)

    def collect(self, *, least: int = _BATCH) -> int:
        """Remove what commits named that were dropped long enough ago, if there are so many.

        Returns how many objects.

        Raises:
            FencedError: another writer has been here; nothing was removed.
            StoreError: to be called again.
        """
        publisher, now = self._publisher, self._clock()
        if publisher.last is None or not may_collect(publisher.last.number):
            return 0
        waiting = [d for d in publisher.dropped if d.position not in publisher.collected]
        due = [d for d in waiting if now - self._since.setdefault(d.position, now) >= GRACE_SECONDS]
        if len(due) < least or not due or now < self._not_before:
            return 0
        if self.is_denied:
            publisher.collected.update(d.position for d in due)
            return 0
        due = due[:_READS]
        unknown = [h.position for h in publisher.holds if h.position not in self._records]
        try:
            for position in unknown[:_READS]:
                self._places(position)
        except CorruptReplicaError as e:
            logger.warning("nothing is removed from the replica: %s", e)
            self._not_before = now + GRACE_SECONDS
            return 0
        if len(unknown) > _READS:
            return 0
        needed = {h.position: self._places(h.position).all for h in publisher.holds}
        removable = {d.position: self._removable(d.position) for d in due}
        doomed = garbage(removable, needed, {**removable, **needed})
        if publisher.has_successor():
            raise publisher.fenced()
        try:
            self._remove(due, doomed)
        except StoreDeniedError as e:
            logger.warning("what the replica keeps no more stays there: %s", e)
            self.is_denied = True
            return 0
        publisher.collected.update(d.position for d in due)
        for dropped in due:
            self._records.pop(dropped.position, None)
            self._since.pop(dropped.position, None)
        return len(doomed)

    def sweep(self) -> Orphans:
        """Remove what no commit names, left by writers that ended or were fenced: with a list.

        For repair, and by somebody who is asked for it. Returns what has gone.

        Raises:
            FencedError: another writer has been here; nothing was removed.
            StoreError: it is out of reach, or nothing may be removed.
        """
        publisher = self._publisher
        if publisher.last is None or not may_collect(publisher.last.number):
            return Orphans([], [])
        found = find_orphans(self._reader, publisher.epoch, publisher.holds, publisher.dropped)
        if not found.objects:
            return found
        if publisher.has_successor():
            raise publisher.fenced()
        places = (self._layout.parse(item.key) for item in found.objects)
        publisher.forget({place for place in places if isinstance(place, ObjectPlace)})
        self._store.delete([item.key for item in found.objects])
        return found

    def _remove(self, due: list[Dropped], doomed: set[ObjectPlace]) -> None:
        older = [d.position for d in due if d.epoch < self._publisher.epoch]
        if older:
            self._store.delete([self._layout.commit(position) for position in older])
        failpoint("replica.gc")
        # Whatever becomes of the request: they are not counted on any more.
        self._publisher.forget(doomed)
        if doomed:
            self._store.delete(sorted(self._layout.object(place) for place in doomed))

    def _places(self, position: Position) -> _Places:
        """
        Raises:
            CorruptReplicaError: the commit cannot be read.
        """
        if position not in self._records:
            self._remember(position, self._reader.read(position))
        return self._records[position]

    def _removable(self, position: Position) -> frozenset[ObjectPlace]:
        """Of a commit that is kept no more; nothing, if it cannot be read."""
        try:
            return self._places(position).files
        except CorruptReplicaError:
            return frozenset()

    def _remember(self, position: Position, record: RemoteCommit) -> None:
        self._records[position] = _Places(frozenset(record.sizes()), frozenset(record.file_sizes()))

    def _date_inherited(self) -> None:
        """What earlier epochs dropped is as old as the claim that ended them, by the store's time.

        Else processes that never live for an hour would never remove anything.
        """
        inherited = self._publisher.dropped
        if not inherited:
            return
        try:
            listed = list(self._store.list(self._layout.epochs))
        except StoreError:
            return
        claimed = {
            place.epoch: item.modified_ns
            for item in listed
            if isinstance(place := self._layout.parse(item.key), EpochPlace)
        }
        now, here = self._clock(), claimed.get(self._publisher.epoch)
        for dropped in inherited:
            ended = claimed.get(dropped.dropped_in + 1)
            if (
                here is not None
                and ended is not None
                and dropped.dropped_in < self._publisher.epoch
            ):
                self._since[dropped.position] = now - max(here - ended, 0) / 1e9
