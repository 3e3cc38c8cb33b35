"""A run's replica while it is written to: everything but the thread.

What has to be done follows from the commits here and from what the replica holds, so nothing is
forgotten over a restart.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from alphatriangle.data.commits.files import StoredCommit, best_commit
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.pruning import read_pins
from alphatriangle.data.commits.retention import CommitFacts
from alphatriangle.data.errors import CorruptFileError, CorruptPinsError
from alphatriangle.data.replica.claims import Base, Begun, claim
from alphatriangle.data.replica.finding import ReplicaReader
from alphatriangle.data.replica.garbage import GarbageCollector
from alphatriangle.data.replica.layout import Layout, ObjectPlace, Position
from alphatriangle.data.replica.outbox import to_send
from alphatriangle.data.replica.protocol import History, KeepRules, may_collect
from alphatriangle.data.replica.publisher import Publisher, Retention
from alphatriangle.data.replica.records import seal_shown
from alphatriangle.data.replica.spool import Spool
from alphatriangle.data.replica.state import (
    ReplicaState,
    acknowledged_now,
    read_state,
    write_state,
)
from alphatriangle.data.replica.sweeping import Orphans
from alphatriangle.data.replica.verifying import (
    Damage,
    Verified,
    missing_objects,
    verify_replica,
)
from alphatriangle.data.stores.store import Store, StoreError

logger = logging.getLogger(__name__)


class _Outbox(NamedTuple):
    """What has to go, the most urgent first."""

    waiting: list[StoredCommit]
    retention: Retention


class ReplicaSession:
    """Hands a run's commits over, one at a time. For one thread.

    Every method may raise :class:`StoreError` and OSError and be called again, and raises
    :class:`FencedError` once somebody else writes to the replica.
    """

    def __init__(
        self,
        run: KnownCommits,
        store: Store,
        rules: KeepRules,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._run = run
        self._on_change = on_change
        self._store = store
        self._rules = rules
        self._clock = clock
        self._paths = run.paths
        self._layout = Layout(run.paths.run_name)
        self._spool = Spool(run.paths)
        self._reader = ReplicaReader(store, self._layout)
        self._skipped: dict[int, str] = {}
        self._again: set[int] = set()
        self._begun = Begun()
        self._publisher: Publisher | None = None
        self._garbage: GarbageCollector | None = None
        self.state: ReplicaState = read_state(
            run.paths.replica_state, store.url, run.paths.run_name
        )
        self.waiting_bytes = 0
        """Of commits that have to go, as far as they are not there yet."""

    @property
    def epoch(self) -> int | None:
        """The epoch that is written to, once it is claimed."""
        return None if self._publisher is None else self._publisher.epoch

    @property
    def damaged(self) -> dict[int, str]:
        """Commits that cannot be sent, by their sequence number, and why."""
        return dict(self._skipped)

    def begin(self) -> None:
        """Claim the replica, if that is not done yet.

        Raises:
            DivergedError: the folder does not go on from what is there.
            FencedError: others claim it at the same time.
            StoreError: it is out of reach.
        """
        if self._publisher is None:
            owned = claim(self._store, self._layout, self._history(), self._begun)
            self._publisher = Publisher(self._store, self._layout, owned)
            self._check_base(self._publisher, owned.base)
        self._publisher.publish_base()
        if self._garbage is None:
            self._garbage = GarbageCollector(
                self._store, self._layout, self._publisher, self._clock
            )
            self._acknowledged(self._publisher)
            # Only now: until the claim it may have been the proof that the folder goes on.
            self._spool.clear()

    def verify(self, *, read_share: float = 1.0) -> Verified:
        """Check all that the replica keeps; what is damaged is put again by the next
        :meth:`catch_up`, where the run still has it.

        Raises:
            FencedError: somebody else writes to the replica.
            StoreError: it is out of reach.
        """
        self.begin()
        assert self._publisher is not None
        positions = [held.position for held in self._publisher.holds]
        verified = verify_replica(self._reader, positions, read_share=read_share)
        self._mend(self._publisher, verified.damaged)
        return verified

    def _check_base(self, publisher: Publisher, base: Base | None) -> None:
        """What the newest commit needs must be there, for those to come build on it: by one list,
        at a start alone."""
        if base is None:
            return
        try:
            missing = missing_objects(self._reader, base.objects)
        except StoreError as e:
            logger.info("the replica was not looked through: %s", e)
            return
        self._mend(publisher, missing)

    def _mend(self, publisher: Publisher, damaged: list[Damage]) -> None:
        """Let what is damaged be put again, and the commits that name it."""
        if not damaged:
            return
        for damage in damaged:
            logger.warning("the replica is damaged: %s", damage.reason)
        places = {d.place for d in damaged if isinstance(d.place, ObjectPlace)}
        shas = {place.sha256 for place in places}
        lost = {d.place for d in damaged if isinstance(d.place, Position)}
        publisher.forget(places)
        self._again |= {h.sequence for h in publisher.holds if h.position in lost}
        for stored in self._run.look().commits:
            if any(file.sha256 in shas for file in stored.commit.files):
                self._again.add(stored.commit.sequence)

    def catch_up(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Hand over all that waits, until ``stop`` says so; then remove what is due.

        Raises:
            FencedError: somebody else writes to the replica.
            StoreError: it is out of reach, or says no.
            OSError: something here cannot be read or written.
            FileUnavailableError: likewise.
        """
        self.begin()
        publisher, collector = self._publisher, self._garbage
        assert publisher is not None
        assert collector is not None
        publisher.settle()
        self._acknowledged(publisher)
        while (outbox := self._outbox(publisher)).waiting and not stop():
            self._hand_over(publisher, outbox)
        if not stop():
            collector.collect()

    def sweep(self) -> Orphans:
        """Remove what no commit names, left by writers that ended or were fenced.

        Raises:
            FencedError: somebody else writes to the replica.
            StoreError: it is out of reach, or nothing may be removed there.
        """
        self.catch_up()
        publisher = self._publisher
        assert publisher is not None
        if publisher.last is not None and not may_collect(publisher.last.number):
            publisher.publish_again()
            self._acknowledged(publisher)
        return self.collector().sweep()

    def collector(self) -> GarbageCollector:
        """What removes garbage, for those who want more of it.

        Raises:
            FencedError: somebody else writes to the replica.
            StoreError: it is out of reach.
        """
        self.begin()
        assert self._garbage is not None
        return self._garbage

    def _hand_over(self, publisher: Publisher, outbox: _Outbox) -> None:
        stored = outbox.waiting[0]
        wanted = [file for file in stored.commit.files if not publisher.has(file.sha256)]
        try:
            parcel = self._spool.fill(stored, wanted)
            publisher.publish(parcel, outbox.retention)
        except FileNotFoundError:
            if stored.path.exists():
                self._skip(stored, "a file of it is missing")
            # Else retention was faster: there is a newer one.
        except CorruptFileError as e:
            self._skip(stored, str(e))
        else:
            self._again.discard(stored.commit.sequence)
            self._acknowledged(publisher)
        self._spool.clear()

    def _skip(self, stored: StoredCommit, reason: str) -> None:
        logger.warning("commit %s cannot be replicated: %s", stored.path, reason)
        self._skipped[stored.commit.sequence] = reason

    def _acknowledged(self, publisher: Publisher) -> None:
        """Remember what the replica has for sure."""
        last, newest = publisher.last, publisher.newest
        if last is None or newest is None:
            acknowledged = self.state.acknowledged
        else:
            if self._garbage is not None:
                self._garbage.note(last)
            acknowledged = acknowledged_now(last.position, newest)
            before = self.state.acknowledged
            if before is not None and before.position == acknowledged.position:
                return
        state = self.state.model_copy(
            update={"epoch": publisher.epoch, "acknowledged": acknowledged}
        )
        if state != self.state:
            write_state(self._paths.replica_state, state)
            self.state = state
            self._on_change()

    def remember_error(self, error: str | None) -> None:
        """For those who ask later; where it cannot be written, it is not."""
        if error == self.state.error:
            return
        since = self.state.error_since or datetime.now(UTC).isoformat(timespec="seconds")
        update = {"error": error, "error_since": since if error else None}
        self.state = self.state.model_copy(update=update)
        with contextlib.suppress(OSError):
            write_state(self._paths.replica_state, self.state)

    def _history(self) -> History:
        known = self._run.look().commits
        seals = {seal_shown(stored.commit) for stored in known}
        if (left := self._spool.left()) is not None:
            seals.add(seal_shown(left))
        acknowledged = self.state.acknowledged
        if acknowledged is not None:
            seals.add(acknowledged.seal)
        return History(
            frozenset(seals),
            known[0].commit.sequence if known else 0,
            None if acknowledged is None else acknowledged.position,
            self.state.positions_passed_over(),
            seal_shown(known[0].commit) if known else None,
        )

    def _outbox(self, publisher: Publisher) -> _Outbox:
        known = self._run.look().commits
        best = best_commit(known)
        rules: KeepRules | None = self._rules
        try:
            pins = read_pins(self._paths)
        except CorruptPinsError as e:
            logger.warning("the replica keeps everything: %s", e)
            pins, rules = set(), None
        facts = [
            CommitFacts(s.commit.sequence, s.commit.global_step, s is best, s.commit.created_ns)
            for s in known
        ]
        held = {h.sequence for h in publisher.holds} - self._again
        order = to_send(facts, held, self._rules, pins=pins, skipped=self._skipped)
        by_sequence = {stored.commit.sequence: stored for stored in known}
        waiting = [by_sequence[sequence] for sequence in order]
        missing = {
            file.sha256: file.size
            for stored in waiting
            for file in stored.commit.files
            if not publisher.has(file.sha256)
        }
        self.waiting_bytes = sum(missing.values())
        best_sequence = known[0].commit.best_sequence if known else None
        if best is not None:
            best_sequence = best.commit.sequence
        return _Outbox(waiting, Retention(rules, best_sequence, pins))
