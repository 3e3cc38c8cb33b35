"""How things are timed: best of several, after a warm-up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
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


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least a share ``q`` of ``values`` does not exceed."""
    return sorted(values)[min(math.ceil(q * len(values)), len(values)) - 1]
