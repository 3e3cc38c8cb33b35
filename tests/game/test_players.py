"""Players that do not learn: each does what it says, and they are as strong as is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatriangle.game import GameState, players
from alphatriangle.game.geometry import CELLS, DEAL_TABLE
from alphatriangle.game.kernels import legal_anchors, place, placement_reward
from alphatriangle.game.players import PLAYERS, beam_plan, mobility, play_game


def boards() -> st.SearchStrategy[GameState]:
    """Games some random placements old, not over."""

    def played(seed: int, moves: int) -> GameState:
        game = GameState(seed)
        rng = np.random.default_rng(seed)
        for _ in range(moves):
            before = game.copy()
            game.step(int(rng.choice(game.legal_actions())))
            if game.is_over:
                return before
        return game

    return st.builds(played, st.integers(0, 10_000), st.integers(0, 15))


def open_places(lo: int, hi: int) -> float:
    """Mobility, slowly: over the shapes as they are dealt."""
    counts = []
    for shape in DEAL_TABLE:
        a, b = legal_anchors(np.uint64(lo), np.uint64(hi), int(shape))
        counts.append(int(a).bit_count() + int(b).bit_count())
    return float(np.mean(counts))


@given(boards())
@settings(max_examples=30, deadline=None)
def test_mobility_is_the_mean_number_of_open_places(game: GameState) -> None:
    lo, hi = game.board
    assert mobility(lo, hi) == pytest.approx(open_places(int(lo), int(hi)))


def worth(game: GameState, actions: list[int]) -> float:
    """What the planners maximize, by the public engine; dead ends are out."""
    board, slots = game.board.copy(), game.slots.copy()
    lo, hi, total = board[0], board[1], 0.0
    for action in actions:
        shape = slots[action // CELLS]
        lo, hi, cleared = _placed(lo, hi, shape, action)
        slots[action // CELLS] = -1
        total += placement_reward(shape, cleared)
    return float(total + players._WORTH * mobility(lo, hi))


@given(boards())
@settings(max_examples=15, deadline=None)
def test_a_beam_of_any_width_plans_legal_placements(game: GameState) -> None:
    for width in (1, 16, 500):
        plan = np.empty(3, np.int64)
        length = beam_plan(game.board, game.slots, width, plan)
        trial = game.copy()
        for i, action in enumerate(plan[:length]):
            assert not trial.is_over
            assert action in trial.legal_actions()
            trial.step(int(action))
            if i + 1 < length:
                assert not trial.is_over, "a plan does not go on behind the end"
        assert length == (game.slots >= 0).sum() or trial.is_over


@given(boards())
@settings(max_examples=10, deadline=None)
def test_the_widest_beam_finds_the_best_of_two_placements(game: GameState) -> None:
    """Against brute force, with one of the shapes taken away to make it small."""
    slots = game.slots.copy()
    if (slots >= 0).sum() < 2:
        return
    if (slots >= 0).all():
        slots[2] = -1
    best = -np.inf
    for first in _legal(game.board, slots):
        lo, hi, cleared = _placed(*game.board, slots[first // CELLS], first)
        reward = placement_reward(slots[first // CELLS], cleared)
        left = slots.copy()
        left[first // CELLS] = -1
        for second in _legal(np.array([lo, hi]), left):
            shape = left[second // CELLS]
            lo2, hi2, cleared2 = _placed(lo, hi, shape, second)
            value = reward + placement_reward(shape, cleared2)
            best = max(best, value + players._WORTH * mobility(lo2, hi2))
    plan = np.empty(3, np.int64)
    length = beam_plan(game.board, slots, 2000, plan)
    if np.isfinite(best):
        assert length == 2
        copy = game.copy()
        copy.slots[:] = slots
        assert worth(copy, list(plan[:2])) == pytest.approx(best)


def _placed(lo: np.uint64, hi: np.uint64, shape: int, action: int) -> tuple[Any, Any, int]:
    low, high, cleared = place(lo, hi, shape, action % CELLS)
    return np.uint64(low), np.uint64(high), cleared


def _legal(board: np.ndarray, slots: np.ndarray) -> list[int]:
    found = []
    for s in range(3):
        if slots[s] >= 0:
            a, b = legal_anchors(board[0], board[1], slots[s])
            bits = int(a) | int(b) << 64
            found += [s * CELLS + i for i in range(CELLS) if bits >> i & 1]
    return found


def test_they_are_as_strong_as_is_known() -> None:
    """Means of the known engine's players, with room for luck: each clearly above the one before.

    Random 2.2, greedy 5.3; one placement ahead about 40, beams about 60 and 67.
    """
    means = {}
    for player, games in zip(PLAYERS, (2000, 2000, 400, 200, 60), strict=True):
        means[player] = np.mean([play_game(player, 11, g, 10_000)[0] for g in range(games)])
    assert abs(means["random"] - 2.2) < 0.6
    assert abs(means["greedy"] - 5.3) < 0.6
    assert 32 < means["mobility"] < 45
    assert 50 < means["beam"] < 68
    assert means["beam128"] > means["beam"] - 5


def test_a_game_repeats_and_ends_at_the_limit() -> None:
    for player in PLAYERS:
        assert play_game(player, 3, 5, 10_000) == play_game(player, 3, 5, 10_000)
        assert play_game(player, 3, 5, 4)[1] == 4
    with pytest.raises(KeyError):
        play_game("nobody", 0, 0, 10)
