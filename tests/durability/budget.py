"""How much to try: a short form with every test run, the long form with ``make soak``."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

SOAK = os.environ.get("ALPHATRIANGLE_SOAK") == "1"
_REPORT = os.environ.get("ALPHATRIANGLE_SOAK_REPORT")


def budget(short: int, soak: int, share: float = 1.0) -> int:
    """The number of tries; in the short form only that share of them, and at least one."""
    return soak if SOAK else max(round(share * short), 1)


def places(distance: int, share: float = 1.0) -> Iterator[int]:
    """Numbers from 0 upwards without end: all of them in the long form, else one in ``distance``,
    and of these that share. At no regular distance: the operations of a save have a rhythm."""
    mean = 1 if SOAK else round(distance / share)
    rng, at = random.Random(distance), 0
    while True:
        yield at
        at += rng.randint(1, 2 * mean - 1)


def places_below(count: int, distance: int, share: float = 1.0) -> Iterator[int]:
    """Those of them that are smaller than ``count``."""
    return itertools.takewhile(lambda at: at < count, places(distance, share))


def report(name: str, **figures: int) -> None:
    """Note what was tried, for the figures at the end of a soak."""
    if _REPORT is not None:
        with Path(_REPORT).open("a") as f:
            f.write(json.dumps({"name": name, **figures}) + "\n")
