"""Looking for what a replica holds: by probing forward from the hint.

Claims, and the numbers of commits within the newest epoch, are dense and never removed: so asking
for one after another finds the last, and needs no list, which may be stale. A list is asked for
only where the hint is of no use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from alphatriangle.data.errors import CorruptReplicaError, DataError
from alphatriangle.data.replica.layout import EpochPlace, Layout, Position
from alphatriangle.data.replica.protocol import last_existing
from alphatriangle.data.replica.records import (
    LARGEST_CLAIM,
    LARGEST_RECORD,
    Epoch,
    Hint,
    RemoteCommit,
    parse,
    parse_commit,
)
from alphatriangle.data.stores.store import (
    ObjectNotFoundError,
    Store,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
    StoreUnsuitableError,
)

logger = logging.getLogger(__name__)

OUT_OF_REACH = (StoreUnavailableError, StoreDeniedError, StoreUnsuitableError)
"""Nothing is known then of what the store holds."""


class Found(NamedTuple):
    """Where a replica is."""

    epoch: int
    """The newest that is claimed; 0 without any."""
    head: Position | None
    """The commit that was put last in the newest epoch that has any."""
    missing: Position | None = None
    """A newer one that the hint names, and that is gone."""


class Passed(NamedTuple):
    """A commit of a replica that cannot be used."""

    position: Position
    reason: str


class ReplicaReader:
    """Reads what one run's replica holds. Raises :class:`StoreError` where it is out of reach."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self.store = store
        self.layout = layout

    def look(self) -> Found:
        """Find the newest claim and the newest commit."""
        hint = self._hint()
        missing = None
        if hint is not None and not self.has_commit(hint):
            hint, missing = None, hint
        start = hint.epoch if hint is not None else self._listed_epoch()
        epoch = last_existing(self._has_epoch, start)
        for older in range(epoch, 0, -1):
            if hint is not None and hint.epoch == older:
                start = hint.number
            else:
                start = self._listed_number(older)
            number = last_existing(self._commits_of(older), start)
            if number:
                head = Position(older, number)
                is_newer = missing is not None and missing > head
                return Found(epoch, head, missing if is_newer else None)
        return Found(epoch, None, missing)

    def has_claim(self, epoch: int) -> bool:
        """Whether somebody has claimed an epoch, whatever stands in the claim."""
        return self._has(self.layout.epoch(epoch), LARGEST_CLAIM)

    def has_commit(self, position: Position) -> bool:
        """Whether there is a commit, whatever stands in it."""
        return self._has(self.layout.commit(position), LARGEST_RECORD)

    def claim_of(self, epoch: int) -> Epoch | None:
        """Who has claimed an epoch; None where it does not say so, for people only."""
        key = self.layout.epoch(epoch)
        try:
            return parse(self.store.get(key, limit=LARGEST_CLAIM), key, Epoch)
        except DataError:
            return None

    def read(self, position: Position) -> RemoteCommit:
        """A commit of the replica.

        Raises:
            CorruptReplicaError: it is damaged or gone.
            UnsupportedFormatError: a newer version wrote it.
        """
        key = self.layout.commit(position)
        try:
            return parse_commit(self._content(key), key, position)
        except CorruptReplicaError:
            # Writers stop for good for what is damaged: so it is not one bad read that says it.
            return parse_commit(self._content(key), key, position)

    def newest_readable(self, found: Found) -> tuple[RemoteCommit | None, list[Passed]]:
        """The last commit that can be read, and those after it that cannot.

        Raises:
            UnsupportedFormatError: a newer version wrote one of them.
        """
        passed = [] if found.missing is None else [Passed(found.missing, "it is gone")]
        if found.head is None:
            return None, passed
        for epoch in range(found.head.epoch, 0, -1):
            last = found.head.number
            if epoch != found.head.epoch:
                last = last_existing(self._commits_of(epoch), self._listed_number(epoch))
            for number in range(last, 0, -1):
                try:
                    return self.read(Position(epoch, number)), passed
                except CorruptReplicaError as e:
                    passed.append(Passed(Position(epoch, number), str(e)))
        return None, passed

    def _content(self, key: str) -> bytes:
        try:
            return self.store.get(key, limit=LARGEST_RECORD)
        except ObjectNotFoundError as e:
            raise CorruptReplicaError(Path(key), "it is gone") from e
        except OUT_OF_REACH:
            raise
        except StoreError as e:
            raise CorruptReplicaError(Path(key), f"it cannot be read: {e}") from e

    def _hint(self) -> Position | None:
        key = self.layout.head
        try:
            return parse(self.store.get(key, limit=LARGEST_CLAIM), key, Hint).position
        except OUT_OF_REACH:
            raise
        except ObjectNotFoundError:
            return None
        except DataError as e:
            logger.warning("the hint of the replica is of no use: %s", e)
            return None

    def _has(self, key: str, limit: int) -> bool:
        try:
            self.store.get(key, limit=limit)
        except ObjectNotFoundError:
            return False
        except OUT_OF_REACH:
            raise
        except StoreError:
            pass  # It is there, and not what it should be.
        return True

    def _has_epoch(self, epoch: int) -> bool:
        # A claim that has been lost does not hide the commits that were made under it.
        return self.has_claim(epoch) or self.has_commit(Position(epoch, 1))

    def _commits_of(self, epoch: int) -> Callable[[int], bool]:
        return lambda number: self.has_commit(Position(epoch, number))

    def _listed_epoch(self) -> int:
        return max(self._listed(self.layout.epochs, EpochPlace), default=0)

    def _listed_number(self, epoch: int) -> int:
        return max(self._listed(self.layout.folder(epoch, "commits"), Position), default=0)

    def _listed(self, prefix: str, kind: type[EpochPlace | Position]) -> list[int]:
        """The last number of each key of a kind; a start for probing, which is what counts."""
        try:
            places = [self.layout.parse(item.key) for item in self.store.list(prefix)]
        except StoreDeniedError:
            return []
        return [place[-1] for place in places if isinstance(place, kind)]
