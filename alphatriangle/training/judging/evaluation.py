"""How good an agent is: whole games on fixed seeds, means with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from alphatriangle.config import Config
from alphatriangle.game.players import PLAYERS as SIMPLE_PLAYERS
from alphatriangle.game.players import play_game
from alphatriangle.nn import NeuralNetwork
from alphatriangle.ntuple.hand_made import hand_made_weights
from alphatriangle.ntuple.look_ahead import effort_of
from alphatriangle.ntuple.planner import play_games
from alphatriangle.training.players import Between, Player, make_player
from alphatriangle.utils.machine import core_count
from alphatriangle.utils.types import Episode

EVALUATION_SEED: Final = 7_700_000_007
"""Seed of all evaluation games, whatever the run's seed: every player meets the same deals."""
PLANNER: Final = "planner"
"""The search that n-tuple networks play with, by a value made by hand."""
_PLANNED: Final = 64
"""Its simulations a deal."""
PLAYERS: Final = (*SIMPLE_PLAYERS, PLANNER)
"""All that do not learn."""
BASELINES: Final = ("random", "greedy", "mobility", "beam", PLANNER)
"""Whom an agent is compared with unless somebody asks for others."""
_RESAMPLES: Final = 4000
_AT_ONCE: Final = 50


def _nothing(finished: int) -> None:
    pass


class PlayerScore(NamedTuple):
    """Scores of one player over the same games as every other player."""

    player: str
    games: int
    mean: float
    low: float  # 95% interval of the mean
    high: float
    placements: float  # mean a game
    scores: list[float]
    cut: int = 0  # games that env.max_moves_per_episode has ended

    def summary(self) -> dict[str, Any]:
        """All but the single scores."""
        return {k: v for k, v in self._asdict().items() if k != "scores"}


class Difference(NamedTuple):
    """By how much one player scores more than another in the same games."""

    mean: float
    low: float  # 95% interval of the mean
    high: float


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Of the scores of two players in the same games, in the same order.

    The games are paired, which takes the luck of the deals out of the interval.

    Raises:
        ValueError: not the same number of games.
    """
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    return Difference(float(np.mean(gaps)), *interval(gaps))


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean (Efron 1979); the same scores, the same."""
    values = np.asarray(scores, np.float64)
    picks = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def score_of(
    player: str, scores: Sequence[float], placements: Sequence[float], cut: int = 0
) -> PlayerScore:
    """Summarize the games of one player."""
    low, high = interval(scores)
    mean = float(np.mean(scores))
    plain = [float(score) for score in scores]
    return PlayerScore(player, len(scores), mean, low, high, float(np.mean(placements)), plain, cut)


def evaluate_agent(
    network: NeuralNetwork,
    config: Config,
    games: int,
    player: str,
    simulations: int | None = None,
    *,
    precision: float = 0.0,
    between: Between = _nothing,
) -> PlayerScore:
    """Play up to ``games`` games with the search, without noise; see :func:`play_evaluation`."""
    agent = make_player(network, config, simulations)
    return score_of_games(player, play_evaluation(agent, games, precision, between))


def play_evaluation(
    player: Player, games: int, precision: float = 0.0, between: Between = _nothing
) -> list[Episode]:
    """Play the first ``games`` evaluation games, calling ``between`` now and then.

    Fewer, once the 95% interval of the mean score reaches no further from it than ``precision``
    times the mean; it is looked at after every 50 games.
    """
    if precision <= 0.0:
        return player.play(list(range(games)), EVALUATION_SEED, between)
    played: list[Episode] = []
    for first in range(0, games, _AT_ONCE):

        def of_all(finished: int, before: int = first) -> None:
            between(before + finished)

        numbers = list(range(first, min(first + _AT_ONCE, games)))
        played += player.play(numbers, EVALUATION_SEED, of_all)
        scores = [episode.score for episode in played]
        mean = float(np.mean(scores))
        if max(abs(end - mean) for end in interval(scores)) <= precision * mean:
            break
    return played


def score_of_games(player: str, episodes: Sequence[Episode]) -> PlayerScore:
    """Summarize recorded games."""
    cut = sum(e.truncated for e in episodes)
    return score_of(player, [e.score for e in episodes], [len(e.moves) for e in episodes], cut)


def evaluate_baseline(
    player: str,
    config: Config,
    games: int,
    between: Between = _nothing,
    threads: int | None = None,
) -> PlayerScore:
    """Play ``games`` games with one of :data:`PLAYERS`, calling ``between`` now and then.

    ``threads`` play side by side, if the player can; by default one for each core.
    """
    limit = config.env.max_moves_per_episode
    if player == PLANNER:
        played = play_games(
            hand_made_weights(),
            effort_of(_PLANNED),
            seed=EVALUATION_SEED,
            episodes=range(games),
            max_moves=limit,
            threads=threads or core_count(),
            between=between,
        )
        return score_of_games(player, played)
    results = []
    for number in range(games):
        between(number)
        results.append(play_game(player, EVALUATION_SEED, number, limit))
    return score_of(player, [r[0] for r in results], [r[1] for r in results])
