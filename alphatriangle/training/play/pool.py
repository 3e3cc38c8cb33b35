"""The workers: where they run, what they are given, and who takes the place of those that end.

Everything here happens in turns of the caller; the only wait is for the next answer.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from alphatriangle.training.cluster.census import NodeFacts
from alphatriangle.training.cluster.placement import (
    Spot,
    places,
    room_for_workers,
    wanted_workers,
)
from alphatriangle.training.cluster.roster import Node, Roster
from alphatriangle.training.play.actors import (
    Reaper,
    Seat,
    Worker,
    back_off,
    reason_of,
    start_actor,
)
from alphatriangle.training.play.forgotten import GREETING_SECONDS
from alphatriangle.training.play.messages import (
    AtHome,
    Begin,
    Play,
    Replaced,
    Result,
    Status,
    Weights,
)
from alphatriangle.training.play.status_board import PATIENCE_SECONDS, StatusBoard, named
from alphatriangle.training.play.stock import Stock
from alphatriangle.training.play.worker import Orders, SelfPlayWorker
from alphatriangle.utils.errors import NotFiniteError

_HOME_SECONDS: Final = 60.0
_PORTIONS: Final = 8
"""A worker is given so large a part of what it may have, at least."""
_GET_SECONDS: Final = 30.0
"""For what is said to be there."""
_DEATHS_PER_WORKER: Final = 3
_ERRORS_IN_A_ROW: Final = 3
_REFUSED_SECONDS: Final = 20.0
_WEIGHTS_BYTES_PER_SECOND: Final = 200e6
"""What a cluster's copies of the weights may take of this machine's network."""

Say = Callable[[NamedTuple], None]


class WorkersFailedInARowError(RuntimeError):
    """No worker has answered for too many deaths, or there is no node for any."""


class WorkerPool:
    """Keeps as many workers as are wanted and have a place, and keeps them busy."""

    def __init__(self, begin: Begin, say: Say, roster: Roster) -> None:
        self._begin = begin
        self._say = say
        self._roster = roster
        self._is_own = begin.address is None
        self._stock = Stock()
        self._rows_wanted = 0
        self._rows_played = 0
        self._newest: Weights | None = None
        self._newest_at = 0.0
        self._version = -1
        self._weights: Any = None
        self._weights_at = self._weights_put_at = 0.0
        self._deaths_in_a_row = 0
        self._errors_in_a_row = 0
        self.workers: dict[int, Worker] = {}
        """Those that there are, by the number that they are called."""
        self._not_before = 0.0  # back-off
        self._wanted = begin.workers or 0
        self._seat: Any = None
        self._seat_call: Any = None
        self._began = self._well_at = time.monotonic()
        reserve = None if self._is_own else begin.reserve
        self._board = StatusBoard(self.workers, roster, reserve, self._began)
        self._head_silent = 0.0
        self._workers_when_heard = 0
        self._reaper = Reaper()

    @property
    def is_busy(self) -> bool:
        """Whether a call is in flight."""
        return any(worker.call is not None for worker in self.workers.values())

    @property
    def lacks_workers(self) -> bool:
        """Whether there are fewer than when the head answered last: then others cannot come."""
        return len(self.workers) < self._workers_when_heard

    def take(self, message: NamedTuple) -> None:
        """Carry out a message of training's."""
        match message:
            case Weights():
                self._newest, self._newest_at = message, time.monotonic()
            case AtHome(games, rows):
                self._stock.know(games, rows)
            case Play(episodes, rows):
                self._stock.put(episodes)
                self._rows_wanted = rows
                # Training has compiled what it needs.
                self._roster.give_kernels()

    def turn(
        self, seconds: float, facts: Mapping[str, NodeFacts], head_silent: float = 0.0
    ) -> None:
        """Launch what is wanted, and pass on what comes within ``seconds``.

        Args:
            seconds: the longest wait for an answer.
            facts: the nodes as the head of the cluster knows them.
            head_silent: seconds since it has answered.

        Raises:
            WorkersFailedInARowError: workers end again and again without a result, or no node is
                fit for any.
            NotFiniteError: the network's answers are not finite; no other worker's would be.
        """
        import ray

        now = time.monotonic()
        self._head_silent = head_silent
        if head_silent < PATIENCE_SECONDS:
            self._workers_when_heard = len(self.workers)
        for node in self._roster.take(facts, now):
            self._fail_all(node, "its node is gone")
        for node in self._roster.turn(now, head_answers=head_silent < PATIENCE_SECONDS):
            self._fail_all(node, f"its node is silent: {node.reason}")
        self._place(now)
        self._launch(now)
        calls: dict[Any, Worker | Node | None] = dict(self._roster.calls())
        calls |= {w.call: w for w in self.workers.values() if w.call is not None}
        if self._seat_call is not None:
            calls[self._seat_call] = None
        if not calls:
            time.sleep(min(seconds, 0.05))
            return
        ready, _ = ray.wait(list(calls), num_returns=1, timeout=seconds)
        more, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0) if ready else ([], [])
        # A client of a cluster is told of none when it does not wait.
        for call in more or ready:
            who = calls[call]
            if isinstance(who, Worker):
                self._answered(who)
            elif who is not None:
                self._roster.answered(call, time.monotonic())
            else:
                self._seat_call = None
        for worker in [*self.workers.values()]:
            if worker.call is not None and time.monotonic() - worker.call_since > worker.limit():
                limit = f"no answer for {worker.limit():.0f} s"
                self._failed(worker, TimeoutError(limit))
        # Whoever has answered plays on while the caller does other things, or waits for messages.
        self._launch(time.monotonic())

    def _answered(self, worker: Worker) -> None:
        import ray
        from ray.exceptions import RayError

        if self.workers.get(worker.index) is not worker:
            return
        try:
            answer = ray.get(worker.call, timeout=_GET_SECONDS)
        except RayError as e:
            # A dead worker is a dead worker, whatever Ray calls it.
            self._failed(worker, e)
            return
        worker.heard_at = time.monotonic()
        took = worker.heard_at - worker.call_since
        kind, worker.call = worker.kind, None
        if kind == "hello":
            worker.process_id, worker.arithmetic = answer
            return
        if kind == "games":
            self._stock.came_home(answer[0], worker.episodes.intersection(answer[1]))
            self._leave(worker)
            return
        self._deaths_in_a_row = self._errors_in_a_row = 0
        self._roster.gave_result(worker.node)
        worker.longest_call = max(worker.longest_call, took)
        worker.episodes.difference_update(answer.episodes)
        worker.flying = answer.flying
        self._stock.finished(answer.episodes)
        if answer.games is not None:
            self._stock.came_home(answer.games, answer.games_of)
        self._rows_played += answer.rows
        self._say(
            Result(
                worker.index,
                answer.process_id,
                answer.pickled,
                answer.flying,
                answer.games,
                tuple(answer.games_of),
                answer.profile,
            )
        )

    # Where they run

    def _spots(self) -> list[Spot]:
        spots = []
        for node in self._roster.nodes.values():
            there = [w for w in self.workers.values() if w.node == node.id]
            if node.facts.is_draining:
                continue
            is_own = node.id == self._roster.own_node
            room = len(there)
            if node.state == "ready":
                reserve = self._begin.reserve if is_own and not self._is_own else 0
                room = room_for_workers(
                    node.facts.cpus,
                    node.facts.free_cpus,
                    ours=sum(w.is_running for w in there),
                    reserve=reserve,
                    held=reserve if self._seat is not None and self._seat_call is None else 0,
                )
                if self._begin.gpu_share > 0:
                    room = min(room, int(node.facts.gpus / self._begin.gpu_share + 1e-6))
            spots.append(Spot(node.id, room, len(there), is_own))
        return spots

    def _place(self, now: float) -> None:
        self._take_seat()
        spots = self._spots()
        begin = self._begin
        self._wanted = wanted_workers(spots, begin.workers, begin.least, begin.most)
        if now >= self._not_before and self._head_silent < PATIENCE_SECONDS:
            for node in places(spots, self._wanted):
                self._start(node, now)
        running = sum(w.is_running for w in self.workers.values())
        if running == self._wanted:
            self._well_at = now
        self._check_nodes(now)

    def _take_seat(self) -> None:
        """What training needs of its node's CPUs is taken in Ray's books too."""
        own = self._roster.nodes.get(self._roster.own_node or "")
        if self._is_own or self._seat is not None or own is None or own.state != "ready":
            return
        if self._begin.reserve > 0:
            self._seat = start_actor(Seat, own.id, num_cpus=self._begin.reserve)
            self._seat_call = self._seat.taken.remote()

    def _start(self, node: str, now: float) -> None:
        index = next(i for i in range(len(self.workers) + 1) if i not in self.workers)
        begin = self._begin
        # One is enough to see where the time goes.
        arguments = begin.config, begin.device, begin.profile and index == 0
        options = {"num_cpus": 1, "num_gpus": begin.gpu_share}
        handle = start_actor(SelfPlayWorker, node, *arguments, **options)
        self.workers[index] = Worker(index, node, handle, now)

    def _check_nodes(self, now: float) -> None:
        """Nobody can play when every node is refused."""
        nodes = self._roster.nodes.values()
        refused = [n for n in nodes if n.state == "refused" and n.reason]
        if nodes and len(refused) == len(nodes) and now - self._began > _REFUSED_SECONDS:
            raise WorkersFailedInARowError(
                f"no node is fit for self-play: {'; '.join(named(n) for n in refused)}"
            )

    # What they are given

    def _launch(self, now: float) -> None:
        for worker in self._idle(now):
            node = self._roster.nodes.get(worker.node)
            if node is not None and node.facts.is_draining:
                worker.begin_call("games", worker.handle.games.remote(), now)
            elif now - worker.heard_at > GREETING_SECONDS:
                worker.begin_call("hello", worker.handle.hello.remote(), now)
        in_flight = sum(w.call is not None and w.kind == "play" for w in self.workers.values())
        for worker in self._idle(now):
            planned = self._rows_played + in_flight * self._begin.call_rows
            if not self._put_weights(now) or planned >= self._rows_wanted:
                return
            if not self._roster.is_ready_to_play(worker.node):
                continue
            call = worker.handle.play.remote(self._orders(worker, now), self._weights)
            worker.begin_call("play", call, now)
            worker.weights_at = self._weights_at
            in_flight += 1

    def _idle(self, now: float) -> Iterator[Worker]:
        return (w for w in [*self.workers.values()] if w.call is None and w.is_running)

    def _orders(self, worker: Worker, now: float) -> Orders:
        room = self._begin.worker_episodes - len(worker.episodes)
        # Many at a time: games of one worker that have numbers in a row are little to save.
        is_worth_it = room >= max(self._begin.worker_episodes // _PORTIONS, 1)
        given = self._stock.take(room if is_worth_it else 0)
        worker.episodes.update(given.all_episodes)
        worker.known_rows |= given.rows
        is_due = now - worker.home_at > _HOME_SECONDS
        worker.home_at = now if is_due else worker.home_at
        return Orders(
            given.episodes,
            given.rows,
            given.homes,
            self._version,
            self._begin.call_rows,
            is_due,
        )

    def _put_weights(self, now: float) -> bool:
        """Let the newest weights be at hand; not more often than the network can carry them."""
        import ray

        if self._newest is not None and self._newest.version != self._version:
            others = sum(n.id != self._roster.own_node for n in self._roster.nodes.values())
            pause = others * len(self._newest.pickled) / _WEIGHTS_BYTES_PER_SECOND
            if self._weights is None or now - self._weights_put_at >= pause:
                self._weights = ray.put(self._newest.pickled)
                self._version, self._weights_at = self._newest.version, self._newest_at
                self._weights_put_at = now
        return self._weights is not None

    # Those that end

    def _fail_all(self, node: Node, reason: str) -> None:
        for worker in [w for w in self.workers.values() if w.node == node.id]:
            self._forget(worker)
            self._say(Replaced(worker.index, node.facts.name, reason))

    def _failed(self, worker: Worker, error: Exception) -> None:
        """Take the episodes back and make room for another actor."""
        from ray.exceptions import RayTaskError

        reason, name = reason_of(error), self._name(worker.node)
        # The whole of it, for the log.
        sys.stderr.write(f"self-play worker {worker.index} on {name}: {error}\n")
        sys.stderr.flush()
        now = time.monotonic()
        self._deaths_in_a_row += 1
        nodes = {w.node for w in self.workers.values()}
        if isinstance(error, RayTaskError):
            if isinstance(error.cause, NotFiniteError):
                raise error.cause
            self._errors_in_a_row += 1
            if self._errors_in_a_row >= _ERRORS_IN_A_ROW * len(nodes):
                raise WorkersFailedInARowError(f"self-play fails again and again: {reason}")
        if self._deaths_in_a_row > _DEATHS_PER_WORKER * max(len(self.workers), len(nodes)):
            raise WorkersFailedInARowError(f"self-play workers die again and again, last: {reason}")
        self._forget(worker)
        self._roster.died(worker.node, now)
        self._not_before = now + back_off(self._deaths_in_a_row - 1)
        self._say(Replaced(worker.index, name, reason))

    def _forget(self, worker: Worker) -> None:
        self._leave(worker)
        if self._is_own and worker.process_id is not None:
            # One that hangs does not hear that it is to end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process_id, 9)

    def _leave(self, worker: Worker) -> None:
        """It ends; others play its episodes on."""
        self._reaper.kill(worker.handle)
        del self.workers[worker.index]
        self._stock.put(sorted(worker.episodes), worker.rows())

    def status(self) -> Status:
        """The facts of the moment."""
        return self._board.status(
            time.monotonic(),
            wanted=self._wanted,
            well_at=self._well_at,
            rows_played=self._rows_played,
            head_silent=self._head_silent,
        )

    def _name(self, node: str) -> str:
        return self._roster.nodes[node].facts.name if node in self._roster.nodes else "a lost node"
