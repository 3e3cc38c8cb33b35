"""Which commits to keep. Pure: facts of commits in, sequence numbers out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple


class CommitFacts(NamedTuple):
    """What retention looks at."""

    sequence: int
    step: int
    is_best: bool
    created_ns: int = 0  # since 1970


def sequences_to_delete(
    commits: Iterable[CommitFacts],
    *,
    keep_last: int,
    keep_every_steps: int | None = None,
    pinned: Collection[int] = (),
    keep_newer_than_ns: int | None = None,
) -> set[int]:
    """The commits that no rule keeps.

    Kept are the ``keep_last`` newest, the best (of several the newest), every one whose step is a
    positive multiple of ``keep_every_steps``, those pinned (by sequence number), and those made
    after ``keep_newer_than_ns``.
    """
    ordered = sorted(commits, key=lambda c: c.sequence, reverse=True)
    kept = {c.sequence for c in ordered[:keep_last]}
    kept.update([c.sequence for c in ordered if c.is_best][:1])
    kept.update(pinned)
    if keep_every_steps is not None:
        kept.update(c.sequence for c in ordered if c.step and c.step % keep_every_steps == 0)
    if keep_newer_than_ns is not None:
        kept.update(c.sequence for c in ordered if c.created_ns >= keep_newer_than_ns)
    return {c.sequence for c in ordered} - kept
