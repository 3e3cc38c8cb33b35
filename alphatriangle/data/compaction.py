"""Which segments to merge, so that their number stays bounded. Pure.

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


def segments_to_merge(sizes: Sequence[int]) -> range | None:
    """The neighbours to merge next, as indices up to the newest; None while there are few enough.

    ``sizes`` are the rows of the segments, oldest first, none of them 0.
    """
    window = None
    newer = 0
    for i in reversed(range(len(sizes))):
        if newer + sizes[i] > LARGEST:
            break
        if newer >= RATIO * sizes[i]:
            window = range(i, len(sizes))
        newer += sizes[i]
    return window
