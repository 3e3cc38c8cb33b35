"""How an agent plays: a network with the search that is made for its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from alphatriangle.config import Config, ConfigError
from alphatriangle.config.search_config import MOST_SIMULATIONS
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork, NTupleNetwork
from alphatriangle.nn.ntuple import points
from alphatriangle.ntuple.look_ahead import effort_of
from alphatriangle.ntuple.planner import Planner, play_games
from alphatriangle.rl import play_episodes
from alphatriangle.search import search
from alphatriangle.search.search import evaluate
from alphatriangle.utils.errors import EvaluationNotFiniteError
from alphatriangle.utils.machine import core_count
from alphatriangle.utils.types import Episode, FloatArray

Between = Callable[[int], None]
"""Called between moves with the number of games that are over."""


class RankedMove(NamedTuple):
    """A legal action and what the search thinks of it."""

    action: int
    probability: float  # of the improved policy
    visits: int
    q_value: float  # reward and discounted value of what follows


class Player(Protocol):
    """Plays without noise: the same games each time."""

    simulations: int
    """How much it thinks."""
    effort: str
    """The same for people: so many simulations, and of what."""

    def play(self, episodes: list[int], seed: int, between: Between) -> list[Episode]:
        """Play these episodes to the end; in their order. ``between`` is called now and then, by
        any thread, and what it raises ends the games.

        Raises:
            EvaluationNotFiniteError: the network says what is not finite.
        """

    def rank(self, game: GameState) -> tuple[list[RankedMove], float]:
        """All legal moves, the one to play first, then by probability; and the position's value.

        Raises:
            ValueError: the game is over.
            EvaluationNotFiniteError: the network says what is not finite.
        """


def make_player(
    network: NeuralNetwork,
    config: Config,
    simulations: int | None = None,
    threads: int | None = None,
) -> Player:
    """The player of this kind of network; ``simulations`` as configured unless given.

    ``threads`` play games side by side, where the kind can; by default one for each core.

    Raises:
        ConfigError: this kind cannot do so many simulations.
    """
    if isinstance(network, NTupleNetwork):
        return PlanningPlayer(network, config, simulations, threads)
    return SearchPlayer(network, config, simulations)


def gate_simulations(config: Config) -> int | None:
    """Of the games that choose the best checkpoint, for :func:`make_player`: none means a plan
    without looking ahead, and of a convolutional network, which has no such thing, what it plays
    with elsewhere."""
    wanted = config.stats.gate_simulations
    return wanted if config.model.kind == "ntuple" else wanted or None


class SearchPlayer:
    """A search of every move (:mod:`alphatriangle.search`)."""

    def __init__(self, network: NeuralNetwork, config: Config, simulations: int | None) -> None:
        if simulations is not None:
            if not 1 <= simulations <= MOST_SIMULATIONS:
                raise ConfigError(
                    f"{simulations} simulations: the search of a convolutional network takes 1 to "
                    f"{MOST_SIMULATIONS} a move"
                )
            settings = config.search.model_copy(update={"num_simulations": simulations})
            config = config.model_copy(update={"search": settings})
        self._network = network
        self._config = config
        self.simulations = config.search.num_simulations
        self.effort = f"{self.simulations} simulations a move"

    def play(self, episodes: list[int], seed: int, between: Between) -> list[Episode]:
        """See :meth:`Player.play`."""
        config = self._config
        return play_episodes(
            self._network,
            config.search,
            config.env,
            episodes=episodes,
            seed=seed,
            gamma=config.train.gamma,
            between=between,
        )

    def rank(self, game: GameState) -> tuple[list[RankedMove], float]:
        """See :meth:`Player.rank`."""
        config = self._config
        found = search([game], self._network, config.search, config.train.gamma)[0]
        moves = [
            RankedMove(int(action), float(probability), int(visits), float(q_value))
            for action, probability, visits, q_value in zip(
                found.actions, found.policy, found.visits, found.q_values, strict=True
            )
        ]
        moves.sort(key=lambda m: (m.action == found.action, m.probability), reverse=True)
        return moves, float(found.value)


class PlanningPlayer:
    """A plan for the whole deal, judged over the chance of the next one
    (:mod:`alphatriangle.ntuple.planner`); games are played on all cores."""

    def __init__(
        self,
        network: NTupleNetwork,
        config: Config,
        simulations: int | None,
        threads: int | None,
    ) -> None:
        settings = config.ntuple
        self._network = network
        self._config = config
        self.simulations = settings.play_simulations if simulations is None else simulations
        self._threads = threads or core_count()
        chosen = effort_of(self.simulations)
        self._effort = chosen._replace(
            width=settings.play_width,
            leaves=settings.play_leaves or chosen.leaves,
            inner=settings.play_inner_width,
        )
        self.effort = f"{self.simulations} simulations a deal"
        self._planned: tuple[npt.NDArray[np.float32], Planner] | None = None

    def play(self, episodes: list[int], seed: int, between: Between) -> list[Episode]:
        """See :meth:`Player.play`."""
        self._check_finite()
        return play_games(
            self._network.played,
            self._effort,
            seed=seed,
            episodes=episodes,
            max_moves=self._config.env.max_moves_per_episode,
            threads=self._threads,
            between=between,
        )

    def rank(self, game: GameState) -> tuple[list[RankedMove], float]:
        """The plan's first move comes first; the others by the policy of the tables alone.

        Values are scores to come, by chances to survive.
        """
        self._check_finite()
        board, slots = game.board, game.slots
        plan = self._planner().plan(board, slots, len(game.moves))
        logits = evaluate(self._network, board[None], slots[None]).logits[0]
        actions = game.legal_actions()
        chances = 1.0 / (1.0 + np.exp(-logits[actions].astype(np.float64)))
        likely = np.exp(logits[actions].astype(np.float64) - logits[actions].max())
        chosen = actions == plan.moves[0]
        chances[chosen] = plan.value
        values = self._points(chances, game)
        moves = [
            RankedMove(int(a), float(p), self._effort.samples if first else 0, float(v))
            for a, p, v, first in zip(actions, likely / likely.sum(), values, chosen, strict=True)
        ]
        moves.sort(key=lambda m: (m.action == plan.moves[0], m.probability), reverse=True)
        return moves, moves[0].q_value

    def _planner(self) -> Planner:
        """To folded weights there is a planner as long as the network plays with no others: their
        arrays never change."""
        if self._planned is None or self._planned[0] is not self._network.played:
            self._planned = self._network.played, Planner(self._network.played, self._effort)
        return self._planned[1]

    def _points(self, chances: npt.NDArray[np.float64], game: GameState) -> FloatArray:
        slots = np.repeat(game.slots[None], len(chances), axis=0)
        return points(chances.astype(np.float32), slots, self._config.ntuple.gamma)

    def _check_finite(self) -> None:
        if not np.isfinite(self._network.played).all():
            raise EvaluationNotFiniteError("the network's weights are not finite")
