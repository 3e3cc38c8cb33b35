"""Handing a run over without training: once, all that its replica lacks."""

from __future__ import annotations

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.errors import CheckpointNotFoundError
from alphatriangle.data.path_manager import existing_run
from alphatriangle.data.replica.protocol import KeepRules
from alphatriangle.data.replica.session import ReplicaSession
from alphatriangle.data.replica.state import ReplicaState, write_state
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
        session = ReplicaSession(run, store, rules)
        session.catch_up()
        session.remember_error(None)
        return session.state
    finally:
        lock.release()
