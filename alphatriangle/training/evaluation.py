"""How good an agent is: whole games on fixed seeds, means with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from alphatriangle.config import Config
from alphatriangle.game.kernels import play_baseline
from alphatriangle.rl import play_episodes
from alphatriangle.search.search import Evaluator

EVALUATION_SEED: Final = 7_700_000_007
"""Seed of all evaluation games, whatever the run's seed: every player meets the same deals."""
BASELINES: Final = ("random", "greedy")
_RESAMPLES: Final = 4000


class PlayerScore(NamedTuple):
    """Scores of one player over the same games as every other player."""

    player: str
    games: int
    mean: float
    low: float  # 95% interval of the mean
    high: float
    placements: float  # mean a game
    scores: list[float]

    def summary(self) -> dict[str, Any]:
        """All but the single scores."""
        return {k: v for k, v in self._asdict().items() if k != "scores"}


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean (Efron 1979); the same scores, the same."""
    values = np.asarray(scores, np.float64)
    picks = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def score_of(player: str, scores: Sequence[float], placements: Sequence[float]) -> PlayerScore:
    """Summarize the games of one player."""
    low, high = interval(scores)
    mean = float(np.mean(scores))
    return PlayerScore(
        player, len(scores), mean, low, high, float(np.mean(placements)), [float(s) for s in scores]
    )


def evaluate_agent(
    network: Evaluator, config: Config, games: int, player: str, simulations: int | None = None
) -> PlayerScore:
    """Play ``games`` games with the search, without noise."""
    search = config.search
    if simulations is not None:
        search = search.model_copy(update={"num_simulations": simulations})
    episodes = play_episodes(
        network,
        search,
        config.env,
        episodes=list(range(games)),
        seed=EVALUATION_SEED,
        gamma=config.train.gamma,
    )
    return score_of(player, [e.score for e in episodes], [len(e.moves) for e in episodes])


def evaluate_baseline(player: str, config: Config, games: int) -> PlayerScore:
    """Play ``games`` games with a baseline of :data:`BASELINES`."""
    limit = config.env.max_moves_per_episode
    results = [
        play_baseline(player == "greedy", EVALUATION_SEED, game, limit) for game in range(games)
    ]
    return score_of(player, [r[0] for r in results], [r[1] for r in results])
