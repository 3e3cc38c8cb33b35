"""No interleaving of writers loses what was acknowledged; without any one of its decisions, some
does."""

from __future__ import annotations

from typing import Any

import pytest

from alphatriangle.data.replica import protocol
from alphatriangle.data.replica.layout import ObjectPlace
from tests.durability.budget import SOAK, report
from tests.durability.replica_model import Decisions, World, Writer, explore


def writers(*commits: int) -> tuple[Writer, ...]:
    """Writers that may make so many commits each."""
    return tuple(Writer(left=n) for n in commits)


SHORT = {
    "three writers": World(writers=writers(1, 1, 1)),
    "two, two commits each": World(writers=writers(2, 2)),
    "lost answers and a crash": World(writers=writers(2, 1), losses=1, crashes=1),
    "rot": World(writers=writers(2, 2), rots=1),
    "rot and a crash": World(writers=writers(2, 1), rots=1, crashes=1),
    "copied memory": World(writers=writers(3, 2), clones=1, losses=1),
}
LONG = {
    "three, two commits each": World(writers=writers(2, 2, 2)),
    "three, lost answers": World(writers=writers(2, 1, 1), losses=1),
    "two, all that can happen": World(writers=writers(2, 2), losses=1, crashes=1, rots=1),
    "two, three commits each": World(writers=writers(3, 3), losses=1, crashes=1),
    # Without rot: a commit that is gone would free its number for the copy.
    "copied memory and crashes": World(writers=writers(3, 2), clones=1, losses=1, crashes=1),
}


@pytest.mark.parametrize("name", SHORT | LONG if SOAK else SHORT)
def test_nothing_acknowledged_is_lost(name: str) -> None:
    found = explore((SHORT | LONG)[name], Decisions())
    assert found.lost is None, "\n".join(found.lost)
    report(f"replica model: {name}", states=found.states, lost=0)


def everything_is_garbage(due: Any, kept: Any, places: Any) -> set[ObjectPlace]:
    return protocol.garbage(due, [], places)


def believed(mine: bytes, found: bytes | None) -> str:
    return "absent" if found is None else "landed"


MUTANTS = {
    "no look after the put": (
        "two, two commits each",
        Decisions(is_acknowledged=lambda *, is_newer_claim: True),
    ),
    "what exists is ours": ("copied memory", Decisions(judged=believed)),
    "any folder goes on": (
        "two, two commits each",
        Decisions(goes_on_from=lambda newest, history: True),
    ),
    "the base from before the claim": (
        "two, two commits each",
        Decisions(looks_again_after_claim=False),
    ),
    "a store that ignores conditions": ("copied memory", Decisions(creates_exclusively=False)),
    "the commit before its objects": (
        "two, two commits each",
        Decisions(puts_objects_first=False),
    ),
    "garbage that is needed": (
        "two, two commits each",
        Decisions(garbage=everything_is_garbage),
    ),
    "the base is removed at once": (
        "rot and a crash",
        Decisions(may_collect=lambda number: True),
    ),
    "numbers that are used again": ("copied memory", Decisions(keeps_own_numbers=False)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_decision_is_needed(name: str) -> None:
    world, decisions = MUTANTS[name]
    assert explore(SHORT[world], decisions).lost is not None
