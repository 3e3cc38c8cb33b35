"""Which commits still have to go. Pure: it follows from what is here and what is held there."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from alphatriangle.data.commits.retention import CommitFacts
from alphatriangle.data.replica.protocol import KeepRules


def to_send(
    local: Iterable[CommitFacts],
    held: Collection[int],
    rules: KeepRules,
    *,
    pins: Collection[int] = (),
    skipped: Collection[int] = (),
) -> list[int]:
    """Sequence numbers, the most urgent first: the newest, the best, the pinned, those that their
    steps keep.

    Others are not sent any more once there is a newer one: what they are good for, that is better
    for. ``held`` are those that the replica has, ``skipped`` those that cannot be sent.
    """
    ordered = sorted(local, key=lambda c: c.sequence, reverse=True)
    every = rules.keep_every_steps
    urgent = [c.sequence for c in ordered[:1]]
    urgent += [c.sequence for c in ordered if c.is_best][:1]
    urgent += [c.sequence for c in ordered if c.sequence in pins]
    urgent += [c.sequence for c in ordered if every and c.step and c.step % every == 0]
    return [s for s in dict.fromkeys(urgent) if s not in held and s not in skipped]
