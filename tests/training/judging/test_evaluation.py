"""Scores with intervals on fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import Config
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.training.judging.evaluation import (
    EVALUATION_SEED,
    difference,
    evaluate_agent,
    evaluate_baseline,
    interval,
    play_evaluation,
    score_of,
)
from alphatriangle.training.players import Between, RankedMove
from alphatriangle.training.progress import RECENT_GAMES, Progress
from alphatriangle.utils.types import Episode


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40))
def test_the_interval_holds_the_mean_and_repeats(scores: list[float]) -> None:
    low, high = interval(scores)
    assert min(scores) - 1e-9 <= low <= high <= max(scores) + 1e-9
    assert interval(scores) == (low, high)


def test_the_interval_is_that_of_the_normal_approximation_for_many_games() -> None:
    scores = np.random.default_rng(1).normal(5, 2, 1000).tolist()
    low, high = interval(scores)
    half = 1.96 * np.std(scores) / np.sqrt(1000)
    assert abs(low - (np.mean(scores) - half)) < 0.02
    assert abs(high - (np.mean(scores) + half)) < 0.02


def test_a_difference_is_paired() -> None:
    """The luck of the deals, which both share, is not in the interval."""
    luck = np.random.default_rng(0).normal(50, 30, 200)
    own = np.random.default_rng(1).normal(0, 1, 200)
    gap = difference((luck + own + 2).tolist(), luck.tolist())
    assert gap.mean == pytest.approx(2, abs=0.3)
    assert 0.2 < gap.high - gap.low < 0.4
    with pytest.raises(ValueError, match="zip"):
        difference([1.0, 2.0], [1.0])


def test_every_player_meets_the_same_deals(network: NeuralNetwork, config: Config) -> None:
    """Same seeds, so the same call gives the same scores, game by game."""
    agent = evaluate_agent(network, config, 6, "agent")
    assert evaluate_agent(network, config, 6, "agent").scores == agent.scores
    random = evaluate_baseline("random", config, 50)
    assert evaluate_baseline("random", config, 20).scores == random.scores[:20]
    greedy = evaluate_baseline("greedy", config, 200)
    assert greedy.low > evaluate_baseline("random", config, 200).high
    assert "scores" not in agent.summary()
    assert score_of("x", [1.0, 3.0], [5, 7]).placements == 6


class _Steady:
    """Plays games of known scores, and remembers how many."""

    simulations, effort = 1, "none"

    def __init__(self, spread: float) -> None:
        luck = np.random.default_rng(3).normal(100, spread, 1000)
        self.scores, self.played, self.said = luck, 0, [0]

    def play(self, episodes: list[int], seed: int, between: Between) -> list[Episode]:
        assert seed == EVALUATION_SEED
        assert episodes[0] == self.played
        self.played += len(episodes)
        between(len(episodes))
        no_moves = np.zeros(3, np.int16)
        return [Episode(i, seed, no_moves, float(self.scores[i]), 1, False) for i in episodes]

    def rank(self, game: GameState) -> tuple[list[RankedMove], float]:
        raise NotImplementedError


@pytest.mark.parametrize(("spread", "played"), [(10.0, 50), (50.0, 400), (300.0, 420)])
def test_an_evaluation_ends_when_its_interval_is_narrow_enough(spread: float, played: int) -> None:
    """1.96 x 50 / sqrt(n) is 5 of 100 at n = 384."""
    player = _Steady(spread)
    found = play_evaluation(player, 420, 0.05, player.said.append)
    assert len(found) == player.played == played
    assert player.said[-1] == played
    whole = _Steady(spread)
    assert len(play_evaluation(whole, 420)) == 420
    assert [e.score for e in found] == whole.scores[:played].tolist()


def episodes(score: float, count: int) -> list[Episode]:
    return [Episode(0, 0, np.zeros(3, np.int16), score, 1, False)] * count


def test_progress_is_the_mean_of_recent_games() -> None:
    progress = Progress()
    assert progress.score is None
    progress.add(episodes(5.0, RECENT_GAMES), 10)
    progress.add(episodes(9.0, 5), 10)
    copy = Progress()
    copy.load_state_dict(progress.state_dict())
    assert copy.score == pytest.approx((5.0 * (RECENT_GAMES - 5) + 9.0 * 5) / RECENT_GAMES)
    assert copy.state_dict()["episodes_played"] == RECENT_GAMES + 5
    assert copy.total_simulations == 20
