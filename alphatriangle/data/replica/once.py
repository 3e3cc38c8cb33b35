"""What is done to a replica without training: handing over once, all that it lacks; clearing it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.errors import CheckpointNotFoundError, ReplicaNotFoundError
from alphatriangle.data.path_manager import existing_run
from alphatriangle.data.replica.finding import ReplicaReader
from alphatriangle.data.replica.layout import Layout
from alphatriangle.data.replica.protocol import KeepRules
from alphatriangle.data.replica.session import ReplicaSession
from alphatriangle.data.replica.state import ReplicaState, write_state
from alphatriangle.data.replica.sweeping import Orphans, find_orphans
from alphatriangle.data.storage.lock import RunLock
from alphatriangle.data.stores.addresses import open_store
from alphatriangle.data.stores.conditions import check_suitable


def push(
    config: PersistenceConfig, run_name: str, url: str, rules: KeepRules, *, anew: bool = False
) -> ReplicaState:
    """Have the replica at ``url`` hold what ``rules`` keep of the run; returns what it holds then.

    With ``anew`` it may have forgotten what it has acknowledged before: it was emptied.

    Raises:
        RunNotFoundError: there is no such run.
        RunLockedError: it is being trained; its own replica follows by itself.
        CheckpointNotFoundError: it has no commit yet.
        FencedError: the replica is another writer's, or has another history.
        ReplicaNotFoundError: it has forgotten what it has acknowledged.
        StoreError: the store is out of reach, or must not be used.
        OSError: something here cannot be read or written.
    """
    with _session(config, run_name, url, rules, anew=anew) as session:
        session.catch_up()
        session.remember_error(None)
        return session.state


def sweep(config: PersistenceConfig, run_name: str, url: str, rules: KeepRules) -> Orphans:
    """Remove from a replica what no commit of it names, after handing over what it lacks; returns
    what has gone.

    Raises:
        DataError: as :func:`push`.
    """
    with _session(config, run_name, url, rules) as session:
        return session.sweep()


def look_for_orphans(config: PersistenceConfig, run_name: str, url: str) -> Orphans:
    """What :func:`sweep` would remove; changes nothing, and the run may be training.

    Raises:
        RunNotFoundError: there is no such run.
        ReplicaNotFoundError: the replica holds nothing.
        StoreError: the store is out of reach.
    """
    reader = ReplicaReader(open_store(url), Layout(existing_run(config, run_name).run_name))
    found = reader.look()
    newest, _ = reader.newest_readable(found)
    if newest is None:
        raise ReplicaNotFoundError(f"{url} holds nothing of run {run_name!r}")
    return find_orphans(reader, found.epoch + 1, newest.holds, newest.dropped)


@contextlib.contextmanager
def _session(
    config: PersistenceConfig, run_name: str, url: str, rules: KeepRules, *, anew: bool = False
) -> Iterator[ReplicaSession]:
    paths = existing_run(config, run_name)
    store = open_store(url)
    lock = RunLock(paths.run)
    lock.acquire()
    try:
        run = KnownCommits(paths)
        if not run.look().commits:
            raise CheckpointNotFoundError(f"run {run_name!r} has no commit yet")
        check_suitable(store)
        if anew:
            write_state(paths.replica_state, ReplicaState(url=store.url, run_name=run_name))
        yield ReplicaSession(run, store, rules)
    finally:
        lock.release()
