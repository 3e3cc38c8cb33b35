"""What the training process and the supervisor of the workers say to each other.

Arrays travel pickled within a message: the supervisor passes them on unopened.
"""

from __future__ import annotations

import pickle
from typing import IO, Any, NamedTuple


class Begin(NamedTuple):
    """To the supervisor, first: which Ray, and what to play."""

    address: str | None
    """Of a cluster; None starts a Ray of its own on this machine."""
    cpus: int
    """What a Ray of its own may use."""
    workers: int
    config: dict[str, Any]
    call_rows: int
    """Rows that a worker plays at a time, at least."""
    worker_episodes: int
    """Episodes that a worker is given ahead."""


class Weights(NamedTuple):
    """To the supervisor: play with these from the next call on."""

    version: int
    pickled: bytes


class Play(NamedTuple):
    """To the supervisor: further episodes, and how many rows may have come since it began."""

    episodes: list[int]
    rows: int


class Ready(NamedTuple):
    """From the supervisor: Ray is there."""


class Alive(NamedTuple):
    """From the supervisor: nothing new."""


class Result(NamedTuple):
    """From the supervisor: what a worker has played."""

    worker: int
    process_id: int
    pickled: bytes


class Replaced(NamedTuple):
    """From the supervisor: a worker is gone and another one takes its place."""

    worker: int
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
