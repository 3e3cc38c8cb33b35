"""How things are timed: best of several, after a warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Result(NamedTuple):
    """One line of the table."""

    what: str
    value: str
    compared: str


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of ``repeats`` runs, the first call not counted."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)
