"""The process that owns every call to Ray, so that training makes none.

    python -m alphatriangle.training.play.supervisor

reads messages from its standard input and writes messages to its standard output
(``messages.py``) until the input ends: with the trainer, however that ends. It starts or joins Ray,
keeps the workers busy, and replaces those that end or do not answer.

A process and not a thread, because Ray ends the process that uses it when it loses its raylet or
its head, from C++, and installs handlers for signals: that must not be the trainer's process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any, Final, NamedTuple

from alphatriangle.training.cluster import identity, ray_session
from alphatriangle.training.cluster.census import Census, NodeFacts, look, own_node
from alphatriangle.training.cluster.roster import Roster
from alphatriangle.training.play.actors import reason_of
from alphatriangle.training.play.messages import (
    Begin,
    Ended,
    NoRay,
    NotFinite,
    RayLost,
    Ready,
    WorkersFailed,
    receive,
    send,
)
from alphatriangle.training.play.pool import WorkerPool, WorkersFailedInARowError
from alphatriangle.utils.errors import NotFiniteError
from alphatriangle.utils.kernel_files import kernels_here

_TURN_SECONDS: Final = 0.1
_STATUS_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 10.0
_HEAD_SECONDS: Final = 300.0
"""So long without a word of the head while nobody is missing: nodes may have joined."""

Say = Callable[[NamedTuple], None]


class RayLostError(RuntimeError):
    """A process of our own Ray has ended, or a cluster's head does not answer us any more."""


class _OwnRay:
    """Who is in a Ray of our own: this machine, and it stays."""

    silent_seconds = 0.0
    lost = None

    def __init__(self) -> None:
        self.nodes: Mapping[str, NodeFacts] = look()

    def close(self) -> None:
        """Nothing to end."""


def _serve(begin: Begin, inbox: queue.SimpleQueue[Any], say: Say) -> None:
    """Play until the trainer has gone."""
    if begin.address is None:
        # Each worker has a CPU in its books, whether the machine has as many or not.
        session = ray_session.own_ray(begin.workers or 1)
    else:
        session = ray_session.cluster(begin.address, package=begin.package)
    with session:
        is_own = begin.address is None
        roster = Roster(identity.here(), own_node(), is_trusted=is_own, read_kernels=kernels_here)
        pool = WorkerPool(begin, say, roster)
        census = _OwnRay() if begin.address is None else Census(begin.address)
        with contextlib.closing(census):
            say(Ready())
            _turn_and_turn(pool, census, inbox, say)


def _turn_and_turn(
    pool: WorkerPool, census: Census | _OwnRay, inbox: queue.SimpleQueue[Any], say: Say
) -> None:
    spoken = time.monotonic()
    while True:
        with contextlib.suppress(queue.Empty):
            # With calls in flight the time is spent waiting for them.
            message = inbox.get(timeout=0 if pool.is_busy else _TURN_SECONDS)
            while True:
                if isinstance(message, Ended):
                    return
                pool.take(message)
                message = inbox.get_nowait()
        pool.turn(_TURN_SECONDS, census.nodes, census.silent_seconds)
        if time.monotonic() - spoken > _STATUS_SECONDS:
            spoken = time.monotonic()
            say(pool.status())
            # Whoever plays plays on meanwhile, and training with them.
            can_wait = not pool.lacks_workers and census.silent_seconds < _HEAD_SECONDS
            if census.lost is not None and not can_wait:
                raise RayLostError(census.lost)
            if dead := ray_session.dead_processes():
                raise RayLostError(f"{', '.join(dead)} ended")


def _read(stream: IO[bytes], inbox: queue.SimpleQueue[Any]) -> None:
    """Read messages to the end of the trainer, and see to it that this process follows."""
    while not isinstance(message := receive(stream), Ended):
        inbox.put(message)
    inbox.put(message)
    # A call to Ray that hangs must not keep anybody here.
    time.sleep(_LEAVE_SECONDS)
    os._exit(1)


def main() -> None:
    """Serve on the standard streams; what anybody prints goes to the log."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    begin = receive(sys.stdin.buffer)
    if isinstance(begin, Ended):
        return
    reader = threading.Thread(target=_read, args=(sys.stdin.buffer, inbox), daemon=True)
    reader.start()

    def say(message: NamedTuple) -> None:
        send(output, message)

    try:
        _serve(begin, inbox, say)
    except BrokenPipeError:
        return  # the trainer is gone
    except ray_session.NoRayError as e:
        last: NamedTuple = NoRay(str(e))
    except WorkersFailedInARowError as e:
        last = WorkersFailed(str(e))
    except NotFiniteError as e:
        last = NotFinite(str(e))
    except Exception as e:  # noqa: BLE001  (it belongs to the trainer, which begins again)
        traceback.print_exc()
        last = RayLost(reason_of(e))
    else:
        return
    with contextlib.suppress(OSError):
        say(last)


if __name__ == "__main__":
    # Under its own name, or what is pickled here would be of a module called __main__.
    from alphatriangle.training.play import supervisor

    supervisor.main()
    sys.stderr.flush()
    # The thread that waits for messages would be in the way of an orderly end.
    os._exit(0)
