"""Learning in rounds: the n-tuple kind.

A step is a round of many deals, played and learned from at once; it leaves new tables. A sample of
it becomes rows and recorded games, for people and for other learners.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from alphatriangle.config import Config
from alphatriangle.data.commits.capture import Stateful
from alphatriangle.data.errors import StateMismatchError
from alphatriangle.data.records import RunInfo
from alphatriangle.data.schemas import CheckpointData, LoadedTrainingState
from alphatriangle.nn import NTupleNetwork, WeightsMismatchError
from alphatriangle.nn.ntuple import frozen, points
from alphatriangle.ntuple.learner import OnlineLearner, RoundResult
from alphatriangle.ntuple.online import STARTED
from alphatriangle.rl import ExperienceBuffer, PlayResult
from alphatriangle.training.compiling import WaitForKernels, compile_saves
from alphatriangle.training.display.display import Display
from alphatriangle.training.learning.batches import restore_buffer
from alphatriangle.training.learning.learner import Step
from alphatriangle.training.learning.settings import same_settings, saved_games
from alphatriangle.utils.errors import TrainingDivergedError
from alphatriangle.utils.finite import first_not_finite
from alphatriangle.utils.frozen import FrozenState
from alphatriangle.utils.machine import core_count
from alphatriangle.utils.signals import StopRequest, StopRequested
from alphatriangle.utils.types import Episode, Rows

_RATES = ("errors", "absolute")


class RoundLearner:
    """A step is a round of an online learner, in this process, with the GIL free."""

    exact = True

    def __init__(self, config: Config, info: RunInfo | None, changed: Container[str]) -> None:
        """``changed`` are settings that are not those the run had; of the others, what was decided
        at its start is kept (``info``)."""
        self.network = NTupleNetwork(config.model)
        self.buffer = ExperienceBuffer(config.train)
        self._config = config
        self._copies = copy_count(config, info, changed)
        self._first_episode = 0
        self._learner = self._make_learner()
        self._is_stepping = False
        self._stop = StopRequest()

    def _make_learner(self) -> OnlineLearner:
        settings, config = self._config.ntuple, self._config
        return OnlineLearner(
            self.network.tables,
            seed=config.train.seed,
            gamma=settings.gamma,
            width=settings.learning_width,
            explore=settings.explore,
            rate=settings.learning_rate,
            restart=settings.restart,
            copies=self._copies,
            first_episode=self._first_episode,
            max_moves=config.env.max_moves_per_episode,
            sample=settings.sample_every,
        )

    def load(self, state: LoadedTrainingState) -> int:
        """See :meth:`Learner.load`."""
        checkpoint, source = state.checkpoint_data, state.source or "the saved state"
        try:
            if checkpoint is not None:
                self.network.set_weights(checkpoint.model_state_dict)
                self._load_rates(checkpoint.optimizer_state_dict)
            if state.buffer_data is not None:
                restore_buffer(state.buffer_data, self.buffer)
        except WeightsMismatchError as e:
            raise StateMismatchError(f"{source}: {e}") from e
        except (KeyError, ValueError) as e:
            raise StateMismatchError(f"{source} does not fit this configuration: {e}") from e
        return checkpoint.global_step if checkpoint is not None else 0

    def _load_rates(self, state: Mapping[str, Any]) -> None:
        tables = self.network.tables
        rates = {name: state[name].numpy().copy() for name in _RATES}
        tables.load_state_dict(tables.state_dict() | rates)

    def get_ready(self, display: Display, stop: StopRequest, wait: WaitForKernels) -> None:
        """Compile what plays and learns, on tables that are thrown away."""
        self._stop = stop
        with display.phase("compiling kernels"):
            warm = NTupleNetwork(self._config.model)
            OnlineLearner(warm.tables, seed=0, copies=2, sample=1).round(1)
            stop.check()
            warm.evaluate(np.zeros((1, 2), np.uint64), np.zeros((1, 3), np.int8))
            wait(stop.check)
            compile_saves()

    def go_on(self, state: LoadedTrainingState) -> None:
        """With another number of copies, or for shorter games, games in flight are given up and
        others begin. Under another seed the episodes are other games: it begins with its first.

        Raises:
            StateMismatchError: the games in flight do not fit the configuration.
        """
        saved = saved_games(state, self._config, "learner")
        if saved is None:
            return
        assert state.checkpoint_data is not None
        try:
            self._first_episode = int(saved["first_episode"])
            self._learner = self._make_learner()
            if self._goes_on(saved, state.checkpoint_data):
                self._learner.load_state_dict(saved["games"])
            else:
                self._first_episode = int(saved["next_episode"])
                self._learner = self._make_learner()
                self._learner.rounds = int(saved["games"]["rounds"])
        except (KeyError, ValueError) as e:
            raise StateMismatchError(f"the games in flight cannot go on: {e}") from e

    def _goes_on(self, saved: Mapping[str, Any], checkpoint: CheckpointData) -> bool:
        same = same_settings(checkpoint, self._config, "env.max_moves_per_episode")
        return same and int(saved["copies"]) == self._copies

    def begin(self) -> None:
        """It plays when it is asked."""

    def what_begins(self) -> list[str]:
        """Nothing: there is no schedule."""
        return []

    def recorded(self) -> dict[str, Any]:
        """The number of copies, on which sums depend."""
        return {"copies": self._copies}

    def rows_wanted(self, step: int) -> int:
        """None: a step plays what it learns from."""
        return 0

    def collect(self, step: int) -> list[PlayResult]:
        """Likewise."""
        return []

    def step(self, step: int) -> Step:
        """One round. When somebody asks to stop it is as if it had not begun.

        Raises:
            StopRequested: somebody has.
            TrainingDivergedError: boards have values that are not finite: some weight is not.
        """
        settings = self._config.ntuple
        self._is_stepping = True
        try:
            deals = max(settings.deals_per_step // self._copies, 1)
            result = self._learner.round(deals, self._stop.check)
        except StopRequested:
            self._is_stepping = False
            raise
        self.network.refresh()
        if not math.isfinite(result.value_error):
            place = self.first_not_finite() or "the value error"
            raise TrainingDivergedError(f"training step {step + 1}: {place} is not finite")
        self._is_stepping = False
        metrics = {
            "train/learner_seconds": result.seconds,
            "train/value_error": result.value_error,
        }
        return Step(metrics, result.seconds, [self._played(result)])

    def _played(self, result: RoundResult) -> PlayResult:
        rows, gamma = result.rows, self._config.ntuple.gamma
        # What a search is for the other kind, a board that is judged is here.
        health = {"simulations": float(result.evaluations), "deals": float(result.deals)}
        return PlayResult(
            Rows(rows.boards, rows.slots, rows.policies, points(rows.returns, rows.slots, gamma)),
            result.episodes,
            health,
            origins=np.zeros((0, 2), np.int64),  # nobody hands its games to anybody
            recorded=chosen(result.episodes, self._config.ntuple.recorded_games),
        )

    @property
    def workers(self) -> None:
        """Nobody plays elsewhere."""

    @property
    def worker_profile(self) -> None:
        """See :attr:`Learner.worker_profile`: they are threads, in code that no profile sees."""

    @property
    def problem(self) -> None:
        """See :attr:`Learner.problem`: there is nobody who could have any."""

    def take_wish_to_save(self) -> bool:
        """Nothing here can be lost before a save is due."""
        return False

    @property
    def is_torn(self) -> bool:
        """See :meth:`Learner.is_torn`."""
        return self._is_stepping

    @property
    def optimizer(self) -> Stateful:
        """What the rate of each weight is made of."""
        return _Rates(self.network)

    @property
    def components(self) -> Mapping[str, Stateful]:
        """The games in flight."""
        return {"learner": self}

    def state_dict(self) -> dict[str, Any]:
        """The games in flight, and how episodes are numbered."""
        games = self._learner.state_dict()
        started = games["games"]["numbers"][:, STARTED]
        return {
            "copies": self._copies,
            "first_episode": self._first_episode,
            "next_episode": self._first_episode + self._copies * int(started.max()),
            "games": games,
        }

    def first_not_finite(self) -> str | None:
        """See :meth:`Learner.first_not_finite`."""
        return first_not_finite(self.network.state_dict(), "network") or first_not_finite(
            self.optimizer.state_dict(), "optimizer"
        )

    def close(self, *, wait: bool = True) -> None:
        """Nothing to stop."""


class _Rates:
    """The tables that an optimizer would have."""

    def __init__(self, network: NTupleNetwork) -> None:
        self._network = network

    def state_dict(self) -> FrozenState:
        """See :class:`alphatriangle.ntuple.tables.Tables`."""
        return frozen(self._network.tables, *_RATES)


def copy_count(config: Config, info: RunInfo | None, changed: Container[str] = ()) -> int:
    """Copies of the tables that learn at once: as many as workers are asked for, as before, or one
    for each of two cores.

    A run keeps the number it began with, because it decides the order of sums, until something
    else is asked for: ``changed`` are settings that are not those of before.
    """
    if config.train.num_workers > 0:
        return config.train.num_workers
    if info is not None and info.copies and "train.num_workers" not in changed:
        return info.copies
    return min(core_count(), 2)


def chosen(episodes: list[Episode], count: int) -> list[Episode]:
    """At most ``count`` of the episodes: the one with the highest score, and others evenly."""
    if len(episodes) <= count:
        return episodes
    if count == 0:
        return []
    best = max(range(len(episodes)), key=lambda i: episodes[i].score)
    places = {best} | {len(episodes) * k // count for k in range(count)}
    places -= set(sorted(places - {best})[count - 1 :])
    return [episodes[i] for i in sorted(places)]
