"""Capture: one consistent cut of the training state, copied into memory that is used again.

This is all that a save costs the training thread: no allocation once the first save has been made,
no file, no pickling; in effect a memcpy of what has to be saved.
"""

from __future__ import annotations

import copy
import functools
import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Protocol

import numpy as np

from alphatriangle.data.commits.staging import Staging
from alphatriangle.data.errors import ColumnsError, StateMismatchError
from alphatriangle.data.replay.segments import RowsKind
from alphatriangle.data.replay.source import CapturedReplay, ReplaySource
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.utils.columns import schema_of
from alphatriangle.utils.late import LateState
from alphatriangle.utils.types import Episode

logger = logging.getLogger(__name__)

_ACTOR_SECONDS = 10.0


class Stateful(Protocol):
    """Anything that has state: a network, an optimizer, a part of the training loop."""

    def state_dict(self) -> dict[str, Any]:
        """Its state, in plain containers, arrays and tensors; they may alias what is in use."""


@dataclass
class Capture:
    """One consistent cut of the training state; nothing in it is shared with the trainer, but for
    what never changes."""

    global_step: int
    fields: dict[str, Any]
    """Of the ``CheckpointData``, all but the step and what :meth:`checkpoint` finds out."""
    replay: CapturedReplay | None
    episodes: list[Episode]
    metrics: dict[str, float] = field(default_factory=dict)
    stats_state: Callable[[], dict[str, Any]] = dict
    """Waits for the statistics of this moment, and for the curves up to it to be durable."""
    nbytes: int = 0
    """Bytes of all that was captured."""
    best_sequence: int | None = None
    """The best commit before this one."""
    allow_not_finite: bool = False
    """Whether weights and optimizer state may hold what is not finite."""
    held: frozenset[int] = frozenset()
    """Steps whose commits retention must leave alone."""
    late: list[tuple[dict[str, Any], LateState]] = field(default_factory=list)
    """Empty dictionaries in ``fields``, and what fills each."""
    time: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def form(self) -> None:
        """Bring into its last form what the training thread had no time for."""
        for place, state in self.late:
            place.update(state.formed())

    def checkpoint(self) -> CheckpointData:
        """The record, built and validated behind the training thread.

        Raises:
            pydantic.ValidationError: something that was given to be saved has a wrong type.
        """
        self.form()
        created = datetime.fromtimestamp(self.time, UTC)
        return CheckpointData(
            global_step=self.global_step,
            created_at=created.isoformat(timespec="seconds"),
            stats_state=self.stats_state(),
            versions=library_versions(),
            **self.fields,
        )


def capture_replay(
    staging: Staging,
    buffer: ReplaySource,
    counters: Mapping[str, Any],
    written: int,
    before: RowsKind | None,
    name: str,
) -> CapturedReplay:
    """Copy what has to be saved of a replay that messages call ``name``.

    ``counters``: its own, now; ``written``: the first row that is in no segment yet; ``before``:
    what its rows are so far, None while nothing is known of them.

    Raises:
        ColumnsError: its columns cannot be saved, or are not those of the rows before them.
        StateMismatchError: it lacks rows that were saved of it.
    """
    first = max(buffer.oldest, written)
    if first > buffer.total_added:
        raise StateMismatchError(
            f"{name} has {buffer.total_added} rows, and {first} have been saved: load what was "
            "saved into it first"
        )
    pieces = buffer.row_views(first, buffer.total_added)
    mutable = buffer.mutable_views()
    try:
        kind = RowsKind(buffer.codec_name, schema_of(pieces[0]))
        if mutable:
            schema_of({name: views[0] for name, views in mutable.items()})
    except ValueError as e:
        raise ColumnsError(f"{name} cannot be saved: {e}") from e
    if before and (change := before.change(kind)):
        raise ColumnsError(
            f"{name} has rows already, and {change}; begin another run with the new columns"
        )
    return CapturedReplay(
        kind=kind,
        counters=dict(counters),
        mutable={name: staging.concatenate(views) for name, views in mutable.items()},
        new_rows=staging.columns(pieces),
        first_new_row=first,
    )


def stats_state(collector: Any) -> Callable[[], dict[str, Any]]:
    """A wait for the state that a statistics collector has now, and for its curves to be durable.

    The collector is in this process, where ``sync`` is called on the thread that waits; a Ray
    actor, which is asked now and answers after everything that it was told before, and has no state
    when it is dead or silent for 10 s; or None.
    """
    if collector is None:
        return dict
    method = collector.get_state
    if hasattr(method, "remote"):
        return _wait_for(method.remote())
    state: dict[str, Any] = copy.deepcopy(method())
    sync = getattr(collector, "sync", None)

    def durable() -> dict[str, Any]:
        # A commit never says more of the curves than is durable.
        if sync is not None:
            sync()
        return state

    return durable


def _wait_for(reference: Any) -> Callable[[], dict[str, Any]]:
    import ray
    from ray.exceptions import RayError

    def wait() -> dict[str, Any]:
        try:
            state: dict[str, Any] = ray.get(reference, timeout=_ACTOR_SECONDS)
        except RayError as e:
            # Curves may suffer, what was learned must not: the state is saved without theirs.
            logger.error("the statistics collector gave no state: %s", str(e).splitlines()[0])
            return {}
        return state

    return wait


@functools.cache
def library_versions() -> dict[str, str]:
    """What wrote a file: this package, Python, and the libraries that shape its bytes."""
    names = ("alphatriangle", "torch", "numpy", "pydantic", "cloudpickle", "pyarrow")
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions
