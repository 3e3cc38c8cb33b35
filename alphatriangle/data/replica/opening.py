"""A run's replica at a start: the run is brought here where it is not, its replica is claimed."""

from __future__ import annotations

from typing import Final

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import commit_names
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.errors import ReplicaNotFoundError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.replica.finding import ReplicaReader
from alphatriangle.data.replica.layout import Layout
from alphatriangle.data.replica.protocol import KeepRules
from alphatriangle.data.replica.replicator import Replicator
from alphatriangle.data.replica.restoring import Restored, restore_replica
from alphatriangle.data.replica.state import ReplicaState, read_state
from alphatriangle.data.stores.addresses import open_store, parse_address
from alphatriangle.data.stores.conditions import check_suitable

_FIRST_WORD_SECONDS: Final = 10.0
"""So long a start waits for a replica to say that it is somebody else's, or cannot be one."""


def bring_here(config: PersistenceConfig, paths: PathManager) -> Restored | None:
    """Restore a run that has no commits here and is in the configured replica; None without both.

    Raises:
        ReplicaUnavailableError: nobody can tell whether it is there: it must not begin anew.
        NoSoundCommitError: it is there, and nothing of it can be used.
        DataError: it cannot be restored.
    """
    if config.replica is None or commit_names(paths):
        return None
    try:
        return restore_replica(config, open_store(config.replica), paths.run_name)
    except ReplicaNotFoundError:
        return None


def is_in_replica(config: PersistenceConfig, run_name: str) -> bool:
    """Whether the configured replica has a run of that name.

    Raises:
        StoreError: nobody can tell.
    """
    assert config.replica is not None
    found = ReplicaReader(open_store(config.replica), Layout(run_name)).look()
    return found.head is not None or found.missing is not None


def remembered(url: str, paths: PathManager) -> ReplicaState:
    """What the run's folder remembers of its replica at ``url``.

    Raises:
        StoreAddressError: it is none.
    """
    return read_state(paths.replica_state, parse_address(url).url, paths.run_name)


def start_replicating(config: PersistenceConfig, run: KnownCommits) -> Replicator | None:
    """Replicate the run from now on, if a replica is configured.

    Raises:
        FencedError: the replica is another writer's, or has another history.
        StoreUnsuitableError: the store ignores conditions or checksums.
        StoreAddressError: the address is none.
    """
    if config.replica is None:
        return None
    store, rules = open_store(config.replica), KeepRules.of(config)
    replicator = Replicator(run, store, rules, check=check_suitable)
    try:
        replicator.wait_for_first_word(_FIRST_WORD_SECONDS)
    except BaseException:
        replicator.close(0.0)
        raise
    return replicator
