"""How an agent plays: a network with the search that is made for its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from alphatriangle.config import Config
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import play_episodes
from alphatriangle.search import search
from alphatriangle.utils.types import Episode


class RankedMove(NamedTuple):
    """A legal action and what the search thinks of it."""

    action: int
    probability: float  # of the improved policy
    visits: int
    q_value: float  # reward and discounted value of what follows


class Player(Protocol):
    """Plays without noise: the same games each time."""

    effort: str
    """How much it thinks, for people."""

    def play(self, episodes: list[int], seed: int, between: Callable[[], None]) -> list[Episode]:
        """Play these episodes to the end; in their order. ``between`` is called now and then, and
        what it raises ends the games.

        Raises:
            EvaluationNotFiniteError: the network says what is not finite.
        """

    def rank(self, game: GameState) -> tuple[list[RankedMove], float]:
        """All legal moves, the one to play first, then by probability; and the position's value.

        Raises:
            ValueError: the game is over.
            EvaluationNotFiniteError: the network says what is not finite.
        """


def make_player(network: NeuralNetwork, config: Config, simulations: int | None = None) -> Player:
    """The player of this kind of network; ``simulations`` as in training unless given."""
    if simulations is not None:
        settings = config.search.model_copy(update={"num_simulations": simulations})
        config = config.model_copy(update={"search": settings})
    return SearchPlayer(network, config)


class SearchPlayer:
    """A search of every move (:mod:`alphatriangle.search`)."""

    def __init__(self, network: NeuralNetwork, config: Config) -> None:
        self._network = network
        self._config = config
        self.effort = f"{config.search.num_simulations} simulations a move"

    def play(self, episodes: list[int], seed: int, between: Callable[[], None]) -> list[Episode]:
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
