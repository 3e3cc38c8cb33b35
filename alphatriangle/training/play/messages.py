"""What the training process and the supervisor of the workers say to each other.

Arrays travel pickled within a message: the supervisor passes them on unopened.
"""

from __future__ import annotations

import pickle
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Begin(NamedTuple):
    """To the supervisor, first: which Ray, and what to play."""

    address: str | None
    """Of a cluster; None starts a Ray of its own on this machine."""
    workers: int | None
    """How many; None means all that the cluster has a CPU for."""
    least: int
    most: int
    """Bounds of that."""
    reserve: int
    """CPUs of this process's node that training needs for itself, in a cluster."""
    config: dict[str, Any]
    call_rows: int
    """Rows that a worker plays at a time, at least."""
    worker_episodes: int
    """Episodes that a worker is given ahead."""
    device: str = "cpu"
    """Where workers compute."""
    gpu_share: float = 0.0
    """Of a GPU, for each."""
    package: str | None = None
    """Folder of the package that travels to the nodes; None where they have it."""
    profile: bool = False
    """Whether one worker finds out where its time goes."""


class Weights(NamedTuple):
    """To the supervisor: play with these from the next call on."""

    version: int
    pickled: bytes


class Play(NamedTuple):
    """To the supervisor: further episodes, and how many rows may have come since it began."""

    episodes: list[int]
    rows: int


class AtHome(NamedTuple):
    """To the supervisor, before these episodes are given: how far they have come."""

    games: list[tuple[bytes, list[int]]]
    """Of some of them, packed, and which."""
    rows: dict[int, int]
    """Of each that has any, the rows that have been handed out."""


class Ready(NamedTuple):
    """From the supervisor: Ray is there."""


class Status(NamedTuple):
    """From the supervisor, every second: how the workers are."""

    wanted: int
    running: int
    pending: int
    """Started, and not at work yet."""
    nodes: list[dict[str, Any]]
    """Of each: name, state, reason, cpus, running and pending."""
    own_workers: int | None
    """On the node of the training process; None for a client from outside the cluster."""
    weights_age: float | None
    """Seconds since the oldest weights that anybody plays with were the newest."""
    rows_per_second: float
    waits_for: str
    """training (it is far enough ahead), rows (it plays), or workers (nobody plays)."""
    problem: str | None
    head_silent: float
    """Seconds since the cluster's head has answered; 0 for a Ray of our own."""


class Result(NamedTuple):
    """From the supervisor: what a worker has played."""

    worker: int
    process_id: int
    pickled: bytes
    flying: npt.NDArray[np.int64]
    """[K, 2] episodes that have begun, and rows of each that have been handed out."""
    games: bytes | None = None
    """All of them packed, now and then."""
    games_of: tuple[int, ...] = ()
    """The episodes in them."""
    profile: bytes | None = None
    """Where the worker's time has gone so far; of the one that is asked."""


class Replaced(NamedTuple):
    """From the supervisor: a worker is gone and, where there is a place, another one comes."""

    worker: int
    node: str
    reason: str


class NoRay(NamedTuple):
    """From the supervisor, last: Ray cannot be started or reached."""

    reason: str


class WorkersFailed(NamedTuple):
    """From the supervisor, last: workers end again and again."""

    reason: str


class NotFinite(NamedTuple):
    """From the supervisor, last: the network's answers cannot be played with, by any worker."""

    reason: str


class RayLost(NamedTuple):
    """From the supervisor, last: Ray does not do what it is asked any more."""

    reason: str


class Ended(NamedTuple):
    """In the place of a message: the supervisor's process has ended."""


def send(stream: IO[bytes], message: NamedTuple) -> None:
    """Write a message.

    Raises:
        OSError: the other side is gone.
    """
    pickle.dump(message, stream, protocol=5)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; ``Ended()`` when the other side is gone, also in the middle of one."""
    try:
        return pickle.load(stream)
    except (EOFError, OSError, ValueError, pickle.UnpicklingError):
        return Ended()
