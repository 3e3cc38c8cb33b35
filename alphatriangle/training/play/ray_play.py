"""Self-play in Ray workers, as the training loop sees it: no call to Ray, no waiting for any."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import alphatriangle
from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult
from alphatriangle.rl.games import unpack_games
from alphatriangle.training.play.episode_codec import encode
from alphatriangle.training.play.episodes import GamesAtHome, OpenEpisodes, open_episodes
from alphatriangle.training.play.messages import (
    AtHome,
    Begin,
    Ended,
    NoRay,
    NotFinite,
    Play,
    RayLost,
    Ready,
    Replaced,
    Result,
    Status,
    Weights,
    WorkersFailed,
)
from alphatriangle.training.play.source import Ledger, sorted_episodes
from alphatriangle.training.play.supervisor_link import SUPERVISOR, SupervisorLink
from alphatriangle.training.play.worker import pickle_weights
from alphatriangle.utils.errors import EvaluationNotFiniteError
from alphatriangle.utils.late import LateState

logger = logging.getLogger(__name__)

_WAIT_SECONDS: Final = 0.5
_LOST_IN_A_ROW: Final = 5
_LONGEST_PAUSE: Final = 15.0
_HEAD_SILENT_SECONDS: Final = 10.0
_MOST_GAME_BYTES: Final = 64 << 20
"""Of games that go into a commit; with more, unfinished episodes begin anew after a restart."""


class WorkersFailedError(RuntimeError):
    """Self-play workers cannot be kept alive."""


class RayPlay:
    """Plays in Ray workers that a supervisor looks after, a process of its own.

    A worker that ends is replaced, and its games go on from where they came home last; so do all
    when the supervisor ends, with Ray for instance. Which episodes are given out and unfinished,
    and how many rows of each have been handed out, is known here, so that no row comes twice.
    """

    def __init__(
        self,
        network: NeuralNetwork,
        config: Config,
        workers: int | None,
        *,
        address: str | None = None,
        reserve: int = 0,
        log: Path = Path(os.devnull),
        on_own_workers: Callable[[int], None] = lambda workers: None,
        profile: bool = False,
        supervisor: str = SUPERVISOR,
    ) -> None:
        """Begin to start workers; :meth:`wait_until_ready` waits for Ray.

        Args:
            network: the network that is trained.
            config: settings of the run. Each worker's own processor decides what "auto" means.
            workers: how many, at least 1; None, in a cluster, for all that it has a CPU for.
            address: of a Ray cluster; None starts a Ray of our own on this machine.
            reserve: CPUs that this process needs, where its machine is a node of the cluster.
            log: takes what Ray says.
            on_own_workers: told how many workers there are on the node of this process, in a
                cluster, whenever that changes.
            profile: whether one worker finds out where its time goes.
            supervisor: the module that looks after the workers.
        """
        self._supervisor = supervisor
        self._network = network
        self._update_steps = config.train.worker_update_freq_steps
        self._log = log
        self._is_cluster = address is not None
        self._patience = config.train.cluster_patience_seconds
        train = config.train
        games = train.games_per_worker
        # Half a row a lane: short calls, so that new weights and results travel soon.
        self._call_rows = max(games // 2, 16)
        # What a worker has, and some at hand for when it has finished some.
        self._worker_episodes = 2 * games + games // 2
        self._refill = max(games // 4, 1)
        package = str(Path(alphatriangle.__file__).parent) if train.package_travels else None
        self._begin = Begin(
            address,
            workers,
            max(train.min_workers, 1),
            train.max_workers,
            reserve,
            config.model_dump(mode="json"),
            self._call_rows,
            2 * games,
            train.worker_device,
            train.worker_gpu_share if train.worker_device != "cpu" else 0.0,
            package if address else None,
            profile,
        )
        self._on_own_workers = on_own_workers
        self._own_workers: int | None = None
        self._ledger = Ledger()
        self._open = OpenEpisodes()
        self._home = GamesAtHome()
        self._lost_in_a_row = 0
        self._lost_since: float | None = None
        self._lost_reason = ""
        self._retry_at = 0.0
        self._has_been_ready = False
        self._wants_save = False
        self._failure: WorkersFailedError | EvaluationNotFiniteError | None = None
        self.is_ready = False
        self.status: Status | None = None
        """The newest of the supervisor, while there is one."""
        self.workers_replaced = 0
        self.last_replaced: str | None = None
        """Which worker was replaced last, where and why."""
        self.process_ids: dict[int, int] = {}
        """Of the workers that have answered."""
        self.worker_profile: bytes | None = None
        """Where the time of the one that is asked has gone, up to its newest result."""
        self.weights_version = -1
        self._weights = b""
        self._link: SupervisorLink | None = None
        self._rows_taken = self._rows_asked = 0
        self._publish_weights()
        self._start()

    @property
    def supervisor_id(self) -> int | None:
        """The supervisor's process, while there is one."""
        return self._link.process_id if self._link else None

    @property
    def lookahead_rows(self) -> int:
        """So far ahead of training the workers pause."""
        return 2 * self._count() * self._call_rows

    @property
    def problem(self) -> str | None:
        """What is wrong with the workers, in words."""
        if self._lost_since is not None and self._failure is None:
            return f"Ray is lost and started again: {self._lost_reason}"
        return self.status.problem if self.status else None

    def facts(self) -> dict[str, Any]:
        """For programs: how the workers are; see :class:`Status`."""
        status = {} if self.status is None else self.status._asdict()
        return {**status, "replaced": self.workers_replaced, "last_replaced": self.last_replaced}

    def take_wish_to_save(self) -> bool:
        """Whether something has been lost since the last call: what there is should be saved."""
        wish, self._wants_save = self._wants_save, False
        return wish

    def _count(self) -> int:
        """Workers that there are or soon will be."""
        if self._begin.workers is not None:
            return self._begin.workers
        return max(self.status.wanted if self.status else 0, self._begin.least)

    def _start(self) -> None:
        self._link = SupervisorLink(self._begin, self._log, self._supervisor)
        self._link.send(Weights(self.weights_version, self._weights))
        self._rows_taken = self._rows_asked = 0
        self._send_home()
        if len(self._open):
            # Another supervisor had them.
            self._link.send(Play(self._open.numbers().tolist(), 0))

    def _send_home(self) -> None:
        assert self._link is not None
        rows = dict(self._open.rows().tolist())
        if rows or self._home.packed:
            self._link.send(AtHome(self._home.homes(), rows))

    def _publish_weights(self) -> None:
        self.weights_version += 1
        self._weights = pickle_weights(self._network.get_weights())
        self._steps_since_update = 0
        if self._link is not None:
            self._link.send(Weights(self.weights_version, self._weights))

    def update_weights(self) -> None:
        """Publish the weights every ``worker_update_freq_steps`` training steps."""
        self._steps_since_update += 1
        if self._steps_since_update >= self._update_steps:
            self._publish_weights()

    def wait_until_ready(self, seconds: float) -> bool:
        """Whether Ray is there, after waiting so long for that.

        Raises:
            WorkersFailedError: it cannot be started or reached.
        """
        end = time.monotonic() + seconds
        while not self.is_ready and (left := end - time.monotonic()) > 0:
            for message in self._messages(left):
                self._take_note(message)
                if self.is_ready:
                    break
            if self._failure is not None:
                raise self._failure
        return self.is_ready

    def collect(self, wanted_rows: int) -> list[PlayResult]:
        """What the workers have finished, after half a second at the latest.

        Far enough ahead of training they pause.

        Raises:
            WorkersFailedError: they die again and again without a result.
            EvaluationNotFiniteError: they cannot play with these weights.
        """
        if self._failure is not None:
            raise self._failure
        if wanted_rows < -self.lookahead_rows:
            return []
        self._ask(wanted_rows)
        results = []
        for message in self._messages(_WAIT_SECONDS if wanted_rows > 0 else 0.0):
            if isinstance(message, Result):
                results.append(self._accept(message))
            else:
                self._take_note(message)
        # What came before the end has been counted as delivered: it goes first.
        if self._failure is not None and not results:
            raise self._failure
        return results

    def _ask(self, wanted_rows: int) -> None:
        """Say how far the workers may go, when that has changed by enough to be worth a message."""
        if self._link is None:
            if time.monotonic() < self._retry_at:
                return
            self._start()
        assert self._link is not None
        rows = self._rows_taken + wanted_rows + self.lookahead_rows
        missing = self._count() * self._worker_episodes - len(self._open)
        if missing >= self._refill or rows - self._rows_asked >= self._call_rows // 4:
            fresh = self._ledger.take(max(missing, 0))
            self._open.add(fresh)
            self._rows_asked = rows
            self._link.send(Play(fresh, rows))

    def _messages(self, seconds: float) -> Iterator[NamedTuple]:
        """What is there; without a result, what comes within ``seconds`` up to the first."""
        end = time.monotonic() + seconds
        left = seconds
        while True:
            if self._link is None:
                time.sleep(max(min(left, 0.1), 0.0))
                message = None
            else:
                message = self._link.receive(left)
            if message is not None:
                yield message
            left = 0.0 if isinstance(message, Result) else min(left, end - time.monotonic())
            if message is None and left <= 0:
                return

    def _accept(self, message: Result) -> PlayResult:
        self._lost_in_a_row = 0
        self._lost_since = None
        self.process_ids[message.worker] = message.process_id
        self.worker_profile = message.profile or self.worker_profile
        result: PlayResult = pickle.loads(message.pickled)
        self._rows_taken += len(result.rows)
        finished = [e.episode for e in result.episodes]
        self._open.set_rows(message.flying)
        self._open.close(finished)
        self._home.drop(finished)
        if message.games is not None:
            self._home.put(message.games, message.games_of)
        return result

    def _take_note(self, message: NamedTuple) -> None:
        match message:
            case Ready():
                self.is_ready = self._has_been_ready = True
            case Status():
                self._take_status(message)
            case Replaced(worker, node, reason):
                self.last_replaced = f"worker {worker} on {node}: {reason}"
                logger.warning("self-play worker %d on %s is replaced: %s", worker, node, reason)
                self.workers_replaced += 1
                self.process_ids.pop(worker, None)
            case WorkersFailed(reason):
                self._failure = WorkersFailedError(
                    f"{reason}; {self._log} says more, --workers 0 plays without them"
                )
            case NotFinite(reason):
                self._failure = EvaluationNotFiniteError(reason)
            case NoRay(reason) if not self._has_been_ready:
                self._failure = WorkersFailedError(reason)
            case NoRay(reason) | RayLost(reason):
                self._lost(reason)
            case Ended() if self._failure is None and self._link is not None:
                self._lost(f"its process ended with exit code {self._link.exit_code()}")

    def _take_status(self, status: Status) -> None:
        before = self.status
        self.status = status
        if status.problem and (before is None or before.problem is None):
            logger.warning("%s", status.problem)
        is_silent = status.head_silent > _HEAD_SILENT_SECONDS
        if is_silent and not (before and before.head_silent > _HEAD_SILENT_SECONDS):
            # Ray ends whoever uses it when that goes on.
            self._wants_save = True
        if status.own_workers is not None and self._is_cluster:
            if status.own_workers != self._own_workers:
                self._on_own_workers(status.own_workers)
            self._own_workers = status.own_workers

    def _lost(self, reason: str) -> None:
        """Begin again, in a while."""
        assert self._link is not None
        self._link.exit_code()
        self._link = self.status = None
        self.is_ready = False
        self.process_ids = {}
        self._wants_save = True
        self._lost_reason = reason
        self._lost_in_a_row += 1
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        if not self._has_been_ready:
            self._failure = WorkersFailedError(
                f"Ray cannot be started: {reason}; {self._log} may say more, "
                "--workers 0 does without it"
            )
        elif self._is_given_up(now):
            self._failure = WorkersFailedError(
                f"Ray is lost again and again, last: {reason}; {self._log} says more, "
                "--workers 0 plays without it"
            )
        else:
            logger.warning("Ray is lost and started again: %s", reason)
        self._retry_at = now + min(2.0 ** (self._lost_in_a_row - 1), _LONGEST_PAUSE)

    def _is_given_up(self, now: float) -> bool:
        """A Ray of our own has no reason to be away; a cluster may come back."""
        assert self._lost_since is not None
        if self._is_cluster:
            return now - self._lost_since > self._patience
        return self._lost_in_a_row >= _LOST_IN_A_ROW

    def state_dict(self) -> dict[str, Any]:
        """Which episodes are out, how many rows of each have come, and the games at home."""
        games = self._home.packed
        fits = sum(map(len, games)) <= _MOST_GAME_BYTES
        return {
            "next_episode": self._ledger.next_episode,
            "unfinished": sorted_episodes(self._ledger.returned),
            "open": LateState(self._open.state_dict(), encode),
            "games": {"packed": games} if games and fits else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give unfinished episodes out again, before any have been collected.

        Raises:
            ValueError: the games at home are not what a commit of this version has.
        """
        assert not len(self._open)
        unfinished, rows = open_episodes(state)
        self._ledger.next_episode = int(state["next_episode"])
        self._open.add(unfinished)
        self._open.set_rows(np.array([*rows.items()], np.int64).reshape(-1, 2))
        games = state["games"] or {}
        for packed in games.get("packed", ()):
            inside = {game.episode for game in unpack_games(packed)}
            self._home.put(packed, inside.intersection(unfinished.tolist()))
        self._send_home()
        assert self._link is not None
        self._link.send(Play(unfinished.tolist(), 0))
        self._publish_weights()

    def begin(self) -> None:
        """Let the workers import, load and play their first rows while training gets ready."""
        self._ask(0)

    def close(self, *, wait: bool = True) -> None:
        """Stop the workers, and Ray if it is our own."""
        if self._link is not None:
            self._link.close(wait=wait)
            self._link = None
