"""The decisions that keep a replica safe: pure, and the very ones that the tests explore whole.

A writer claims an epoch by creating its file; epochs are dense, never removed, and belong to one
process each. A commit is created under the next number of the writer's own epoch, and counts when
the writer has looked *afterwards* and found no newer claim. Who claims looks for the newest commit
after its claim: so it sees everything that was ever acknowledged. It may only go on where its own
folder does, that is, where that newest commit is part of the folder's history.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.retention import CommitFacts, sequences_to_delete
from alphatriangle.data.replica.layout import ObjectPlace, Position
from alphatriangle.data.replica.records import Dropped, Held

Verdict = Literal["landed", "absent", "another"]
Key = TypeVar("Key")


class History(NamedTuple):
    """What the folder of a run knows of its past."""

    seals: frozenset[str]
    """Of the commits that are there, and of the last that was handed over: see ``seal_shown``."""
    newest_sequence: int
    acknowledged: Position | None = None
    """Where the last one that was handed over lies."""
    passed_over: frozenset[Position] = frozenset()
    """Commits of the replica that its restore found to be damaged."""
    newest_seal: str | None = None
    """Of the newest commit that is there."""


class KeepRules(NamedTuple):
    """Which commits a replica keeps: those that the run keeps."""

    keep_last: int
    keep_every_steps: int | None = None
    keep_days: float | None = None

    @classmethod
    def of(cls, config: PersistenceConfig) -> KeepRules:
        """Those of a run's settings."""
        return cls(config.keep_last, config.keep_every_steps, config.keep_days)


class Kept(NamedTuple):
    """What retention says."""

    holds: list[Held]  # newest first
    dropped: list[Held]


def is_acknowledged(*, is_newer_claim: bool) -> bool:
    """Whether a commit counts, from what was found after it had been put."""
    return not is_newer_claim


def judged(mine: bytes, found: bytes | None) -> Verdict:
    """What became of a create whose answer was "exists", or none."""
    if found is None:
        return "absent"
    return "landed" if found == mine else "another"


def goes_on_from(newest: Held | None, history: History) -> bool:
    """Whether the folder's commits follow ``newest``, the newest that a replica keeps."""
    if newest is None:
        return True
    return newest.seal in history.seals and newest.sequence <= history.newest_sequence


def is_behind(holds: Iterable[Held], history: History) -> bool:
    """Whether all that the folder has is part of what the replica went on from."""
    return any(held.seal == history.newest_seal for held in holds)


def may_leave_behind(unreadable: Position, history: History) -> bool:
    """Whether nothing is lost to others with a commit that is there and cannot be read."""
    return unreadable == history.acknowledged or unreadable in history.passed_over


def last_existing(exists: Callable[[int], bool], start: int) -> int:
    """The last of numbers that begin with 1 and leave none out; ``start`` is known to be there.

    One that has rotted away is looked past: else what came after it would be built over.
    """

    def is_reached(number: int) -> bool:
        return exists(number) or exists(number + 1)

    last, step = start, 1
    while is_reached(last + step):
        last, step = last + step, 2 * step
    while step > 1:
        step //= 2
        if is_reached(last + step):
            last += step
    return last


def kept(
    holds: Iterable[Held],
    new: Held,
    rules: KeepRules | None,
    *,
    best_sequence: int | None,
    pins: Collection[int],
    now_ns: int,
) -> Kept:
    """What is kept with ``new``, which stays in any case; all, without rules."""
    by_sequence: dict[int, Held] = {}
    dropped: list[Held] = []
    for held in (*holds, new):
        if (before := by_sequence.get(held.sequence)) is not None:
            dropped.append(before)
        by_sequence[held.sequence] = held
    doomed: set[int] = set()
    if rules is not None:
        facts = [
            CommitFacts(h.sequence, h.step, h.sequence == best_sequence, h.created_ns)
            for h in by_sequence.values()
        ]
        newer_than = None if rules.keep_days is None else now_ns - int(rules.keep_days * _DAY_NS)
        doomed = sequences_to_delete(
            facts,
            keep_last=rules.keep_last,
            keep_every_steps=rules.keep_every_steps,
            pinned={*pins, new.sequence},
            keep_newer_than_ns=newer_than,
        )
    ordered = sorted(by_sequence.values(), key=lambda h: h.sequence, reverse=True)
    dropped += [h for h in ordered if h.sequence in doomed]
    return Kept([h for h in ordered if h.sequence not in doomed], dropped)


_DAY_NS = 86_400 * 10**9


def may_collect(number: int) -> bool:
    """Whether a writer whose last commit has this number in its epoch may remove anything.

    While its epoch has but one commit, what it goes on from stays: should that one rot, there
    would be nothing between it and what fenced writers have left behind.
    """
    return number >= 2


def garbage(
    due: Iterable[Key], kept: Iterable[Key], places: Mapping[Key, Collection[ObjectPlace]]
) -> set[ObjectPlace]:
    """The objects of commits that are due which no commit that is kept needs."""
    needed = {place for key in kept for place in places[key]}
    return {place for key in due for place in places[key]} - needed


def still_dropped(
    before: Sequence[Dropped], new: Iterable[Held], collected: Collection[Position], epoch: int
) -> list[Dropped]:
    """What the next commit says is to be removed."""
    waiting = [d for d in before if d.position not in collected]
    return waiting + [Dropped(h.epoch, h.number, epoch) for h in new]
