"""How the replica of a run is, for people who ask from outside: nothing is changed by it."""

from __future__ import annotations

from typing import NamedTuple

from alphatriangle.data.commits.files import StoredCommit, list_commits
from alphatriangle.data.errors import ReplicaNotFoundError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.replica.finding import Passed, ReplicaReader
from alphatriangle.data.replica.layout import Layout
from alphatriangle.data.replica.records import Epoch, RemoteCommit
from alphatriangle.data.replica.state import ReplicaState, read_state
from alphatriangle.data.replica.verifying import Damage, Verified, verify_replica
from alphatriangle.data.stores.addresses import open_store


class ReplicaFacts(NamedTuple):
    """What is here and what is there."""

    url: str
    here: ReplicaState
    """What the run's folder remembers."""
    newest_here: StoredCommit | None
    epoch: int
    """The newest that is claimed; 0 without any."""
    owner: Epoch | None
    """Who claimed it; None where nobody did, or where it cannot be read."""
    newest_there: RemoteCommit | None
    unreadable: list[Passed]
    """Newer commits there that cannot be read."""
    waiting_bytes: int
    """Of the newest commit here that the newest there does not have."""

    @property
    def is_ahead(self) -> bool:
        """Whether it has a newer state than this folder: another machine has trained the run."""
        if self.newest_there is None:
            return False
        here = 0 if self.newest_here is None else self.newest_here.commit.sequence
        return self.newest_there.newest.sequence > here

    @property
    def seconds_behind(self) -> float:
        """How much older the newest state there is than the newest here."""
        if self.newest_here is None:
            return 0.0
        if self.newest_there is None:
            return float("inf")
        gap = self.newest_here.commit.created_ns - self.newest_there.newest.created_ns
        return max(gap / 1e9, 0.0)


def verify_elsewhere(paths: PathManager, url: str, read_share: float) -> Verified:
    """Check what a replica keeps: that all of it is there, and the bytes of a share of it.

    Raises:
        ReplicaNotFoundError: it keeps nothing.
        StoreError: it is out of reach.
        UnsupportedFormatError: a newer version wrote to it.
    """
    reader = ReplicaReader(open_store(url), Layout(paths.run_name))
    newest, unreadable = reader.newest_readable(reader.look())
    damaged = [Damage(reader.layout.commit(p.position), p.position, p.reason) for p in unreadable]
    if newest is None:
        if not damaged:
            raise ReplicaNotFoundError(f"{url} holds nothing of run {paths.run_name!r}")
        return Verified(0, 0, 0, damaged)
    positions = [held.position for held in newest.holds]
    found = verify_replica(reader, positions, read_share=read_share)
    return found._replace(damaged=[*damaged, *found.damaged])


def look_at_replica(paths: PathManager, url: str) -> ReplicaFacts:
    """Ask the store; the run may be in training.

    Raises:
        StoreError: it is out of reach.
        UnsupportedFormatError: a newer version wrote to it.
    """
    store = open_store(url)
    reader = ReplicaReader(store, Layout(paths.run_name))
    found = reader.look()
    newest, unreadable = reader.newest_readable(found)
    known = list_commits(paths).commits
    here = known[0] if known else None
    there = set() if newest is None else {file.sha256 for file in newest.commit.files}
    files = [] if here is None else here.commit.files
    return ReplicaFacts(
        url=store.url,
        here=read_state(paths.replica_state, store.url, paths.run_name),
        newest_here=here,
        epoch=found.epoch,
        owner=reader.claim_of(found.epoch) if found.epoch else None,
        newest_there=newest,
        unreadable=unreadable,
        waiting_bytes=sum(file.size for file in files if file.sha256 not in there),
    )
