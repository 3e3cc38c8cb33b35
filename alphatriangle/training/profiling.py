"""Where a thread's time goes, function by function: for ``train --profile``."""

from __future__ import annotations

import contextlib
import cProfile
import logging
import marshal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_SHOWN: Final = 12


@contextlib.contextmanager
def profiled(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Profile this thread; afterwards :func:`keep` what was found. What ends the thread ends it all
    the same.
    """
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        keep(path, packed(profile), say)


def packed(profile: cProfile.Profile) -> bytes:
    """What has been found so far, as ``python -m pstats`` and its viewers read it from a file; the
    profile is off until it is enabled again."""
    profile.create_stats()
    return marshal.dumps(profile.stats)


def keep(path: Path, content: bytes, say: Callable[[str], None]) -> None:
    """Write what :func:`packed` gave, and say what took most of the time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as e:
        # A disk that is full must not hide what ended training.
        logger.warning("the profile could not be written: %s", e)
    for line in top(content):
        say(line)
    say(f"all of it: {path}")


def top(content: bytes, count: int = _SHOWN) -> list[str]:
    """The functions with most time of their own: seconds, share, calls, name; a line each."""
    functions: dict[tuple[str, int, str], tuple[int, int, float, float, object]]
    functions = marshal.loads(content)
    total = sum(f[2] for f in functions.values()) or 1.0
    busiest = sorted(functions.items(), key=lambda f: f[1][2], reverse=True)[:count]
    return [
        f"{own:9.2f} s {own / total:4.0%} {calls:>9,} calls  {_name(*where)}"
        for where, (_, calls, own, _, _) in busiest
    ]


def _name(file: str, line: int, function: str) -> str:
    if not line:
        return function
    parts = Path(file).parts[-2:]
    return f"{'/'.join(parts)}:{line} {function}"
