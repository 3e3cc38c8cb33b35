"""Ray's actors, one by one: started on a node of our choice, and what is known of each."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any, Final, Literal

import numpy as np

# A call may take so long, or so many times as long as the longest of that worker's before: the
# first of a process may compile.
_CALL_SECONDS: Final = 600.0
_CALL_TIMES: Final = 20.0
_START_SECONDS: Final = 180.0
_GAMES_SECONDS: Final = 30.0
_LONGEST_BACK_OFF: Final = 30.0
_LONGEST_REASON: Final = 300


class Seat:
    """Holds CPUs of a node while training lasts."""

    def taken(self) -> None:
        """It has them."""


def start_actor(kind: type, node: str, *arguments: Any, **options: Any) -> Any:
    """On this node or nowhere."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(kind).options(scheduling_strategy=there, **options).remote(*arguments)


class Worker:
    """What is known of one self-play actor, from its start to its end."""

    def __init__(self, index: int, node: str, handle: Any, now: float) -> None:
        self.index = index
        self.node = node
        self.handle = handle
        self.call: Any = handle.hello.remote()
        self.kind: Literal["hello", "play", "games"] = "hello"
        self.call_since = now
        self.longest_call = 0.0
        self.episodes: set[int] = set()  # given and not finished
        self.known_rows: dict[int, int] = {}  # of episodes given, when they were
        self.flying: Any = np.empty((0, 2), np.int64)
        self.process_id: int | None = None
        self.arithmetic = ""
        self.home_at = self.heard_at = now
        self.weights_at: float | None = None  # when what it plays with was the newest

    @property
    def is_running(self) -> bool:
        """Whether it has said so."""
        return self.process_id is not None

    def begin_call(self, kind: Literal["hello", "play", "games"], call: Any, now: float) -> None:
        """A call to it is in flight."""
        self.kind, self.call, self.call_since = kind, call, now

    def limit(self) -> float:
        """Seconds that its call may take."""
        if self.kind == "play":
            return max(_CALL_SECONDS, _CALL_TIMES * self.longest_call)
        return _START_SECONDS if self.kind == "hello" else _GAMES_SECONDS

    def rows(self) -> dict[int, int]:
        """Rows that its unfinished episodes have handed out."""
        rows = self.known_rows | dict(self.flying.tolist())
        return {e: n for e, n in rows.items() if e in self.episodes}


class Reaper:
    """Kills actors on a thread of its own: a head that does not answer must keep nobody waiting."""

    def __init__(self) -> None:
        self._handles: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="reaper", daemon=True).start()

    def kill(self, handle: Any) -> None:
        """Soon."""
        self._handles.put(handle)

    def _work(self) -> None:
        import ray

        while True:
            # Whoever is dead or away needs no killing.
            with contextlib.suppress(Exception):
                ray.kill(self._handles.get())


def back_off(failures: int) -> float:
    """Seconds to wait before trying again after so many failures before the last: none at first."""
    return 0.0 if failures <= 0 else min(2.0 ** (failures - 1), _LONGEST_BACK_OFF)


def reason_of(error: BaseException) -> str:
    """One line that says what happened."""
    from ray.exceptions import RayTaskError

    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # An error of the constructor comes as the text of a traceback, whose last line says what.
    said = f"{lines[0]} {lines[-1]}" if "Traceback" in str(error) else lines[0]
    return said[:_LONGEST_REASON]
