"""Which node gets how many workers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spot:
    """A node that workers may run on."""

    node: str
    room: int
    """Workers that it can hold, those that are there included."""
    placed: int
    """Workers that are there."""
    is_own: bool = False
    """The node of the training process, which is given workers last."""


def room_for_workers(
    cpus: float, free: float, *, ours: int, reserve: float = 0.0, held: float = 0.0
) -> int:
    """Workers of one CPU each that a node can hold.

    Args:
        cpus: what it has.
        free: what of it nobody has taken.
        ours: our workers that have taken a CPU there.
        reserve: what is to be left to the training process.
        held: what of the reserve is taken already, in its name.
    """
    others = max(cpus - free - ours - held, 0.0)
    return max(int(cpus - max(reserve, held) - others + 1e-6), 0)


def wanted_workers(spots: Iterable[Spot], fixed: int | None, least: int, most: int) -> int:
    """``fixed``, or where that is None all that there is room for, from ``least`` to ``most``."""
    room = sum(max(spot.room, spot.placed) for spot in spots)
    return min(max(room, least), most) if fixed is None else fixed


def places(spots: Iterable[Spot], wanted: int) -> list[str]:
    """The nodes of the workers that are missing, as far as there is room for them.

    One after the other goes where there is most room left; to our own node the last. Those that are
    placed stay where they are.
    """
    spots = list(spots)
    left = {spot.node: spot.room - spot.placed for spot in spots}
    own = {spot.node for spot in spots if spot.is_own}
    found = []
    for _ in range(wanted - sum(spot.placed for spot in spots)):
        best = max(
            (node for node in left if left[node] > 0),
            key=lambda node: (node not in own, left[node], node),
            default=None,
        )
        if best is None:
            break
        left[best] -= 1
        found.append(best)
    return found
