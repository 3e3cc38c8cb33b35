"""Trying a replica out: a restore to another place, which is compared and removed again."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import DataError
from alphatriangle.data.records import RejectedCommit
from alphatriangle.data.replica.restoring import restore_replica
from alphatriangle.data.stores.addresses import open_store


class Drill(NamedTuple):
    """How a restore went."""

    step: int
    seconds: float
    bytes_downloaded: int
    state_digest: str
    digest_here: str | None
    """Of the same step of the run here; None where that is not kept, or cannot be read."""
    rejected: list[RejectedCommit]
    """Newer commits that were passed over."""

    @property
    def is_same(self) -> bool | None:
        """Whether both are the same state; None where there is nothing to compare with."""
        return None if self.digest_here is None else self.digest_here == self.state_digest


def drill(config: PersistenceConfig, run_name: str, url: str, folder: Path | None = None) -> Drill:
    """Restore the newest sound commit of a replica as another machine would, below ``folder`` (by
    default where temporary files go), read all of it, and remove it again.

    Raises:
        DataError: it cannot be restored; see :func:`restore_replica`.
        OSError: there is no place for it.
    """
    with tempfile.TemporaryDirectory(prefix="alphatriangle-drill-", dir=folder) as place:
        elsewhere = config.model_copy(update={"root_data_dir": Path(place), "replica": None})
        begin = time.perf_counter()
        restored = restore_replica(elsewhere, open_store(url), run_name)
        state = load_for_reading(elsewhere, run_name)
        seconds = time.perf_counter() - begin
        assert state.checkpoint_data is not None
        digest = state_digest(state.checkpoint_data, state.buffer_data)
    step = restored.commit.global_step
    here = None
    try:
        known = load_for_reading(config, run_name, step)
    except DataError:
        pass
    else:
        assert known.checkpoint_data is not None
        here = state_digest(known.checkpoint_data, known.buffer_data)
    return Drill(step, seconds, restored.bytes_downloaded, digest, here, restored.rejected)
