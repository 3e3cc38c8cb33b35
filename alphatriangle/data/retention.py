"""Which commits to keep. Pure: sequence numbers and steps in, sequence numbers out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class CommitFacts(NamedTuple):
    """What retention looks at."""

    sequence: int
    step: int
    is_best: bool


def sequences_to_delete(
    commits: Iterable[CommitFacts], *, keep_last: int, keep_every_steps: int | None = None
) -> set[int]:
    """The commits that no rule keeps.

    Kept are the ``keep_last`` newest, the newest of those marked best, and every one whose step is
    a positive multiple of ``keep_every_steps``.
    """
    ordered = sorted(commits, key=lambda c: c.sequence, reverse=True)
    kept = {c.sequence for c in ordered[:keep_last]}
    kept.update([c.sequence for c in ordered if c.is_best][:1])
    if keep_every_steps is not None:
        kept.update(c.sequence for c in ordered if c.step and c.step % keep_every_steps == 0)
    return {c.sequence for c in ordered} - kept
