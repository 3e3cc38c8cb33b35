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
from collections import deque
from collections.abc import Callable
from typing import IO, Any, Final, NamedTuple

from alphatriangle.training.cluster import ray_session
from alphatriangle.training.play.messages import (
    Alive,
    Begin,
    Ended,
    NoRay,
    NotFinite,
    Play,
    RayLost,
    Ready,
    Replaced,
    Result,
    Weights,
    WorkersFailed,
    receive,
    send,
)
from alphatriangle.training.play.worker import SelfPlayWorker
from alphatriangle.utils.errors import NotFiniteError

_TURN_SECONDS: Final = 0.1
_ALIVE_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 10.0
# A call may take so long, or so many times as long as the longest of that worker's before: the
# first of a process imports libraries and may compile.
_CALL_SECONDS: Final = 600.0
_CALL_TIMES: Final = 20.0
_DEATHS_PER_WORKER: Final = 3
_ERRORS_IN_A_ROW: Final = 3
_LONGEST_BACK_OFF: Final = 30.0

Say = Callable[[NamedTuple], None]


class WorkersFailedInARowError(RuntimeError):
    """No worker has answered for too many deaths."""


class RayLostError(RuntimeError):
    """A process of our own Ray has ended."""


class _Worker:
    """What is known of one worker, over all actors that take its place."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.handle: Any = None
        self.call: Any = None  # the play() in flight
        self.call_since = 0.0
        self.longest_call = 0.0
        self.episodes: set[int] = set()  # given and not finished
        self.process_id: int | None = None
        self.not_before = 0.0  # back-off


class WorkerPool:
    """Keeps the workers busy; everything in it happens in turns of the caller."""

    def __init__(self, begin: Begin, say: Say) -> None:
        self._begin = begin
        self._say = say
        self._stock: deque[int] = deque()
        self._rows_wanted = 0
        self._rows_played = 0
        self._version = -1
        self._weights: Any = None
        self._deaths_in_a_row = 0
        self._errors_in_a_row = 0
        self._workers = [_Worker(i) for i in range(begin.workers)]
        for worker in self._workers:
            self._start(worker)

    @property
    def is_busy(self) -> bool:
        """Whether a call is in flight."""
        return any(worker.call is not None for worker in self._workers)

    def take(self, message: NamedTuple) -> None:
        """Carry out a message."""
        import ray

        match message:
            case Weights(version, pickled):
                self._version, self._weights = version, ray.put(pickled)
            case Play(episodes, rows):
                self._stock.extend(episodes)
                self._rows_wanted = rows

    def turn(self, seconds: float) -> None:
        """Launch what is wanted, and pass on what comes within ``seconds``.

        Raises:
            WorkersFailedInARowError: workers end again and again without a result.
            NotFiniteError: the network's answers are not finite; no other worker's would be.
        """
        import ray
        from ray.exceptions import RayError

        now = time.monotonic()
        self._launch(now)
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        if not calls:
            return
        ready, _ = ray.wait(list(calls), num_returns=1, timeout=seconds)
        ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0) if ready else ([], [])
        for call in ready:
            worker = calls[call]
            try:
                played = ray.get(call)
            except RayError as e:
                # A dead worker is a dead worker, whatever Ray calls it.
                self._failed(worker, e)
                continue
            self._deaths_in_a_row = self._errors_in_a_row = 0
            worker.call = None
            worker.longest_call = max(worker.longest_call, time.monotonic() - worker.call_since)
            worker.process_id = played.process_id
            worker.episodes.difference_update(played.episodes)
            self._rows_played += played.rows
            self._say(Result(worker.index, played.process_id, played.pickled))
        for worker in self._workers:
            limit = max(_CALL_SECONDS, _CALL_TIMES * worker.longest_call)
            if worker.call is not None and time.monotonic() - worker.call_since > limit:
                self._failed(worker, TimeoutError(f"no answer for {limit:.0f} s"))
        # Whoever has answered plays on while the caller does other things, or waits for messages.
        self._launch(time.monotonic())

    def _launch(self, now: float) -> None:
        in_flight = sum(worker.call is not None for worker in self._workers)
        for worker in self._workers:
            planned = self._rows_played + in_flight * self._begin.call_rows
            if self._weights is None or planned >= self._rows_wanted:
                return
            if worker.call is not None or now < worker.not_before:
                continue
            if worker.handle is None:
                self._start(worker)
            fresh = []
            while self._stock and len(worker.episodes) < self._begin.worker_episodes:
                fresh.append(self._stock.popleft())
                worker.episodes.add(fresh[-1])
            worker.call_since = now
            worker.call = worker.handle.play.remote(
                fresh, self._version, self._weights, self._begin.call_rows
            )
            in_flight += 1

    def _start(self, worker: _Worker) -> None:
        import ray

        cores = ray.cluster_resources().get("CPU", 0)
        # Asking for more cores than there are would wait for ever; then ask for none.
        options = {
            "num_cpus": 1 if cores > self._begin.workers else 0,
            "scheduling_strategy": "SPREAD",
        }
        actor = ray.remote(SelfPlayWorker).options(**options)
        worker.handle = actor.remote(self._begin.config, "cpu")

    def _failed(self, worker: _Worker, error: Exception) -> None:
        """Take the episodes back and make room for another actor."""
        import ray
        from ray.exceptions import RayTaskError

        reason = _reason(error)
        # The whole of it, for the log.
        sys.stderr.write(f"self-play worker {worker.index}: {error}\n")
        sys.stderr.flush()
        self._deaths_in_a_row += 1
        if isinstance(error, RayTaskError):
            if isinstance(error.cause, NotFiniteError):
                raise error.cause
            self._errors_in_a_row += 1
            if self._errors_in_a_row >= _ERRORS_IN_A_ROW:
                raise WorkersFailedInARowError(f"self-play fails again and again: {reason}")
        if self._deaths_in_a_row > _DEATHS_PER_WORKER * len(self._workers):
            raise WorkersFailedInARowError(f"self-play workers die again and again, last: {reason}")
        ray.kill(worker.handle)
        if self._begin.address is None and worker.process_id is not None:
            # One that hangs does not hear that it is to end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process_id, 9)
        worker.handle = worker.call = worker.process_id = None
        self._stock.extendleft(sorted(worker.episodes, reverse=True))
        worker.episodes = set()
        worker.not_before = time.monotonic() + back_off(self._deaths_in_a_row - 1)
        self._say(Replaced(worker.index, reason))


def back_off(failures: int) -> float:
    """Seconds to wait before trying again after so many failures before the last: none at first."""
    return 0.0 if failures <= 0 else min(2.0 ** (failures - 1), _LONGEST_BACK_OFF)


def _reason(error: BaseException) -> str:
    """One line that says what happened."""
    from ray.exceptions import RayTaskError

    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # An error of the constructor comes as the text of a traceback, whose last line says what.
    return f"{lines[0]} {lines[-1]}" if "Traceback" in str(error) else lines[0]


def _serve(begin: Begin, inbox: queue.SimpleQueue[Any], say: Say) -> None:
    """Play until the trainer has gone."""
    address = begin.address
    session = ray_session.cluster(address) if address else ray_session.own_ray(begin.cpus)
    with session:
        pool = WorkerPool(begin, say)
        say(Ready())
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
            pool.turn(_TURN_SECONDS)
            if time.monotonic() - spoken > _ALIVE_SECONDS:
                spoken = time.monotonic()
                say(Alive())
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
        last = RayLost(_reason(e))
    else:
        return
    with contextlib.suppress(OSError):
        say(last)


if __name__ == "__main__":
    # Under its own name, or what is pickled here would be of a module called __main__.
    from alphatriangle.training.play import supervisor

    supervisor.main()
