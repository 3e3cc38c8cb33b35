"""Which segments (and files of recorded games) to merge, so that there are few of them. Pure.

Every commit adds a segment of its new rows. Left alone, a full buffer would be spread over as
many files as it has commits. The rule is that of log-structured stores: a segment is merged with
all newer ones as soon as those hold ``RATIO`` times its rows. What is left falls off geometrically
from old to new, so there are only O(log rows) segments, and a row is written again only O(log rows)
times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

RATIO: Final = 4
"""Rows in newer segments over rows in a segment at which they are merged."""
LARGEST: Final = 131_072
"""Rows of a merged segment at most: big enough to read fast, small enough to drop when the ring has
passed it. What is older than so many rows is left alone."""
LARGEST_RECORDING: Final = 64 << 20
"""The same for files of recorded games, in bytes."""


def segments_to_merge(sizes: Sequence[int], largest: int = LARGEST) -> range | None:
    """The neighbours to merge next, as indices up to the newest; None while there are few enough.

    ``sizes`` are the rows of the segments, oldest first, none of them 0; ``largest`` is that of a
    merged one at most.
    """
    window = None
    newer = 0
    for i in reversed(range(len(sizes))):
        if newer + sizes[i] > largest:
            break
        if newer >= RATIO * sizes[i]:
            window = range(i, len(sizes))
        newer += sizes[i]
    return window
