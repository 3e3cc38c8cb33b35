"""How much to try: a short form with every test run, the long form with ``make soak``."""

from __future__ import annotations

import json
import os
from pathlib import Path

SOAK = os.environ.get("ALPHATRIANGLE_SOAK") == "1"
_REPORT = os.environ.get("ALPHATRIANGLE_SOAK_REPORT")


def budget(short: int, soak: int) -> int:
    """The number of tries."""
    return soak if SOAK else short


def report(name: str, **figures: int) -> None:
    """Note what was tried, for the figures at the end of a soak."""
    if _REPORT is not None:
        with Path(_REPORT).open("a") as f:
            f.write(json.dumps({"name": name, **figures}) + "\n")
