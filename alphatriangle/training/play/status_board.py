"""What there is to say of the workers: where they are, how fast, and what is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from alphatriangle.training.cluster.roster import Node, Roster
from alphatriangle.training.play.actors import Worker
from alphatriangle.training.play.messages import Status

PATIENCE_SECONDS: Final = 8.0
"""Before something that is missing is called a problem."""
_SPEED_SECONDS: Final = 15.0


class StatusBoard:
    """Of one pool."""

    def __init__(
        self, workers: Mapping[int, Worker], roster: Roster, reserve: int | None, began: float
    ) -> None:
        """Nothing has been played yet.

        Args:
            workers: of the pool, as it keeps them.
            roster: the nodes they are on.
            reserve: CPUs of its node that training needs; None in a Ray of our own.
            began: seconds, of the clock that :meth:`status` is told.
        """
        self._workers = workers
        self._roster = roster
        self._reserve = reserve
        self._speed: deque[tuple[float, int]] = deque([(began, 0)])

    def status(
        self, now: float, *, wanted: int, well_at: float, rows_played: int, head_silent: float
    ) -> Status:
        """The facts of the moment: see :class:`Status`.

        Args:
            now: seconds.
            wanted: how many workers there should be.
            well_at: when there were so many last.
            rows_played: since it began.
            head_silent: seconds since the cluster's head has answered.
        """
        workers = self._workers.values()
        running = sum(w.is_running for w in workers)
        nodes = []
        for node in self._roster.nodes.values():
            there = [w for w in workers if w.node == node.id]
            nodes.append(
                {
                    "name": node.facts.name,
                    "state": "leaving" if node.facts.is_draining else node.state,
                    "reason": node.reason or None,
                    "cpus": node.facts.cpus,
                    "running": sum(w.is_running for w in there),
                    "pending": sum(not w.is_running for w in there),
                    "arithmetic": next((w.arithmetic for w in there if w.is_running), None),
                }
            )
        own = self._roster.own_node
        ages = [now - w.weights_at for w in workers if w.weights_at is not None]
        is_playing = any(w.call is not None and w.kind == "play" for w in workers)
        return Status(
            wanted=wanted,
            running=running,
            pending=len(workers) - running,
            nodes=nodes,
            own_workers=None if own is None else sum(w.node == own for w in workers),
            weights_age=max(ages, default=None),
            rows_per_second=self._rows_per_second(now, rows_played),
            waits_for="rows" if is_playing else "training" if running else "workers",
            problem=self._problem(now - well_at, wanted, running, head_silent),
            head_silent=head_silent,
        )

    def _rows_per_second(self, now: float, rows_played: int) -> float:
        self._speed.append((now, rows_played))
        while now - self._speed[0][0] > _SPEED_SECONDS and len(self._speed) > 2:
            self._speed.popleft()
        (began, before), (ended, after) = self._speed[0], self._speed[-1]
        return (after - before) / (ended - began) if ended > began else 0.0

    def _problem(self, unwell: float, wanted: int, running: int, head_silent: float) -> str | None:
        """What the person should know; None when all is well or will be in a moment."""
        if head_silent > PATIENCE_SECONDS:
            return f"the cluster's head has not answered for {head_silent:.0f} s"
        nodes = [n for n in self._roster.nodes.values() if n.reason]
        parts = [named(n) for n in nodes]
        if unwell > PATIENCE_SECONDS and running < wanted:
            pending = len(self._workers) - running
            missing = wanted - running - pending
            if missing > 0:
                parts.insert(0, f"{missing} of {wanted} workers find no free CPU")
                parts += [self._use_of(n) for n in self._roster.nodes.values() if not n.reason]
            elif unwell > 3 * PATIENCE_SECONDS:
                parts.insert(0, f"{pending} of {wanted} workers have not started yet")
        return "; ".join(parts) or None

    def _use_of(self, node: Node) -> str:
        """Who has the CPUs of a node."""
        ours = sum(w.node == node.id for w in self._workers.values())
        text = f"{node.facts.name}: {ours} of {node.facts.cpus:.0f} CPUs have workers"
        if node.id == self._roster.own_node and self._reserve is not None:
            return f"{text}, {self._reserve} belong to training"
        return text


def named(node: Node) -> str:
    """A node, how it is and why."""
    return f"{node.facts.name} is {node.state}: {node.reason}"
