"""Self-play in Ray workers, as the training loop sees it: no call to Ray, no waiting for any."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult
from alphatriangle.training.play.messages import (
    Begin,
    Ended,
    NoRay,
    NotFinite,
    Play,
    RayLost,
    Ready,
    Replaced,
    Result,
    Weights,
    WorkersFailed,
)
from alphatriangle.training.play.source import Ledger, sorted_episodes
from alphatriangle.training.play.supervisor_link import SupervisorLink
from alphatriangle.training.play.worker import pickle_weights
from alphatriangle.utils.errors import EvaluationNotFiniteError
from alphatriangle.utils.machine import core_count

logger = logging.getLogger(__name__)

_WAIT_SECONDS: Final = 0.5
_LOST_IN_A_ROW: Final = 5


class WorkersFailedError(RuntimeError):
    """Self-play workers cannot be kept alive."""


class RayPlay:
    """Plays in Ray workers that a supervisor looks after, a process of its own.

    A worker that ends is replaced and its episodes are played again; so is everything when the
    supervisor ends, with Ray for instance. Which episodes are given out and unfinished is known
    here.
    """

    def __init__(
        self,
        network: NeuralNetwork,
        config: Config,
        workers: int,
        *,
        address: str | None = None,
        log: Path = Path(os.devnull),
    ) -> None:
        """Begin to start ``workers`` workers; :meth:`wait_until_ready` waits for Ray.

        Args:
            network: the network that is trained.
            config: settings of the run.
            workers: how many, at least 1.
            address: of a Ray cluster; None starts a Ray of our own on this machine.
            log: takes what Ray says.
        """
        self._network = network
        self._update_steps = config.train.worker_update_freq_steps
        self._log = log
        # Workers compute on the CPU. What was chosen for this process holds for them only when it
        # does so too; otherwise their own capability decides.
        if network.device.type == "cpu":
            config = config.model_copy(update={"model": network.arithmetic()})
        games = config.train.games_per_worker
        # Half a row a lane: short calls, so that new weights and results travel soon.
        self._call_rows = max(games // 2, 16)
        # So far ahead of training the workers pause.
        self.lookahead_rows = 2 * workers * self._call_rows
        # What a worker has, and some at hand for when it has finished some.
        self._episodes_out = workers * (2 * games + games // 2)
        self._refill = max(games // 4, 1)
        self._begin = Begin(
            address,
            core_count(),
            workers,
            config.model_dump(mode="json"),
            self._call_rows,
            2 * games,
        )
        self._ledger = Ledger()
        self._unfinished: set[int] = set()  # taken from the ledger
        self._lost_in_a_row = 0
        self._retry_at = 0.0
        self._has_been_ready = False
        self._failure: WorkersFailedError | EvaluationNotFiniteError | None = None
        self.is_ready = False
        self.workers_replaced = 0
        self.process_ids: dict[int, int] = {}
        """Of the workers that have answered."""
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

    def _start(self) -> None:
        self._link = SupervisorLink(self._begin, self._log)
        self._link.send(Weights(self.weights_version, self._weights))
        self._rows_taken = self._rows_asked = 0
        if self._unfinished:
            # Another supervisor had them.
            self._link.send(Play(sorted(self._unfinished), 0))

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
        missing = self._episodes_out - len(self._unfinished)
        if missing >= self._refill or rows - self._rows_asked >= self._call_rows // 4:
            fresh = self._ledger.take(max(missing, 0))
            self._unfinished.update(fresh)
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
        self.process_ids[message.worker] = message.process_id
        result: PlayResult = pickle.loads(message.pickled)
        self._rows_taken += len(result.rows)
        self._unfinished.difference_update(e.episode for e in result.episodes)
        return result

    def _take_note(self, message: NamedTuple) -> None:
        match message:
            case Ready():
                self.is_ready = self._has_been_ready = True
            case Replaced(worker, reason):
                logger.warning("self-play worker %d died and is replaced: %s", worker, reason)
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

    def _lost(self, reason: str) -> None:
        """Begin again, in a while."""
        assert self._link is not None
        self._link.exit_code()
        self._link = None
        self.is_ready = False
        self.process_ids = {}
        self._lost_in_a_row += 1
        if not self._has_been_ready:
            self._failure = WorkersFailedError(
                f"Ray cannot be started: {reason}; {self._log} may say more, "
                "--workers 0 does without it"
            )
        elif self._lost_in_a_row >= _LOST_IN_A_ROW:
            self._failure = WorkersFailedError(
                f"Ray is lost again and again, last: {reason}; {self._log} says more, "
                "--workers 0 plays without it"
            )
        else:
            logger.warning("Ray is lost and started again: %s", reason)
        self._retry_at = time.monotonic() + 2.0 ** (self._lost_in_a_row - 1)

    def state_dict(self) -> dict[str, Any]:
        """Ledger only: episodes in flight are played again from their seeds."""
        return {
            "next_episode": self._ledger.next_episode,
            "unfinished": sorted_episodes(list(self._unfinished), self._ledger.returned),
            "games": None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give unfinished episodes out again, before any have been collected."""
        assert not self._unfinished
        self._ledger.next_episode = int(state["next_episode"])
        self._ledger.give_back([int(e) for e in state["unfinished"]])
        self._publish_weights()

    def begin(self) -> None:
        """Let the workers import, load and play their first rows while training gets ready."""
        self._ask(0)

    def close(self, *, wait: bool = True) -> None:
        """Stop the workers, and Ray if it is our own."""
        if self._link is not None:
            self._link.close(wait=wait)
            self._link = None
