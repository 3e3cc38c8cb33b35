"""Plans: a wide beam finds what trying everything finds; a search keeps to budget and key."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from alphatriangle.game.geometry import LINES, PLAYABLE, SLOTS
from alphatriangle.game.state import GameState
from alphatriangle.ntuple import look_ahead as la
from alphatriangle.ntuple.bit_extract import best_way
from alphatriangle.ntuple.evaluate import evaluate
from alphatriangle.ntuple.layout import SIZE
from alphatriangle.ntuple.look_ahead import Effort, effort_of
from alphatriangle.ntuple.planner import Planner, play_games
from alphatriangle.utils.seeding import draw_u64

NARROW = Effort(4, 4, 8, 1)


@pytest.fixture(scope="module")
def weights() -> npt.NDArray[np.float32]:
    """They like empty cells, and otherwise nothing in particular."""
    noise = np.random.default_rng(1).normal(0, 0.02, SIZE).astype(np.float32)
    noise[-24 * 64 :] += np.tile(np.arange(64, dtype=np.float32) / 50, 24)
    return noise


def crowded(seed: int) -> GameState:
    """A position with few legal placements."""
    rng = np.random.default_rng(seed)
    while True:
        board = (
            rng.integers(0, 2**64, 2, np.uint64) | rng.integers(0, 2**64, 2, np.uint64)
        ) & PLAYABLE
        occupied = int(board[0]) | int(board[1]) << 64
        if ((LINES & ~board) == 0).all(1).any():
            continue  # No game comes to a board with a complete line.
        state = GameState.from_position(occupied, rng.integers(0, 23, SLOTS).tolist())
        if not state.is_over and len(state.legal_actions()) < 25:
            return state


def best_by_trying(weights: npt.NDArray[np.float32], state: GameState) -> float:
    """The best value of a board after all three placements; 0 where there is none."""
    best = 0.0
    for action in state.legal_actions():
        after = state.copy()
        before = after.deals
        after.step(int(action))
        if after.deals > before:
            empty = np.full((1, SLOTS), -1, np.int8)
            best = max(best, float(evaluate(weights, after.board[None], empty).values[0]))
        elif not after.is_over:
            best = max(best, best_by_trying(weights, after))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_best_plan(weights: npt.NDArray[np.float32], seed: int) -> None:
    state = crowded(seed)
    plan = Planner(weights, Effort(2000, 1, 0)).plan(state.board, state.slots)
    assert plan.value == pytest.approx(best_by_trying(weights, state), abs=1e-6)
    for move in plan.moves:
        assert move in state.legal_actions()
        state.step(int(move))
    assert state.is_over or len(plan.moves) == SLOTS


def test_a_rest_of_a_deal_is_planned_too(weights: npt.NDArray[np.float32]) -> None:
    state = GameState(1)
    state.step(int(state.legal_actions()[5]))
    plan = Planner(weights, NARROW).plan(state.board, state.slots, 3)
    assert len(plan.moves) == 2
    state.is_over = False
    full = np.full(2, 2**64 - 1, np.uint64) & PLAYABLE
    with pytest.raises(ValueError, match="game is over"):
        Planner(weights, NARROW).plan(full, state.slots)


def test_a_search_depends_on_its_arguments_alone(weights: npt.NDArray[np.float32]) -> None:
    planner = Planner(weights, Effort(8, 8, 24, 2))
    states = [GameState(seed) for seed in range(6)]
    first = [planner.plan(s.board, s.slots, 7) for s in states]
    again = [planner.plan(s.board, s.slots, 7) for s in reversed(states)][::-1]
    for a, b in zip(first, again, strict=True):
        assert a.value == b.value
        assert (a.moves == b.moves).all()
    others = [planner.plan(s.board, s.slots, 8) for s in states]
    assert [p.value for p in first] != [p.value for p in others]


def test_the_search_draws_the_same_few_deals_for_all_ends(
    weights: npt.NDArray[np.float32],
) -> None:
    counts = []
    for samples in (0, 24, 240):
        planner = Planner(weights, Effort(8, 8, samples, 1))
        planner.plan(GameState(1).board, GameState(1).slots)
        counts.append(planner.evaluations)
    assert counts[0] < counts[1] < counts[2]
    assert 7 < (counts[2] - counts[0]) / (counts[1] - counts[0]) < 13


def test_more_samples_never_mean_less_of_anything() -> None:
    efforts = [effort_of(samples) for samples in range(1000)]
    assert efforts[0].leaves == 1
    for less, more in itertools.pairwise(efforts):
        assert all(a <= b for a, b in zip(less, more, strict=True))
    assert all(effort.leaves <= effort.width for effort in efforts)


def test_what_the_search_does_cannot_depend_on_the_deals_to_come(
    weights: npt.NDArray[np.float32],
) -> None:
    """The same position, number of the deal and key of the search; the game's key is another."""
    plans = []
    for deal_key in (1, 2):
        planner = Planner(weights, NARROW)
        state = GameState(4)
        room = la.Played(
            state.board.copy(), state.slots.copy(), np.zeros(SLOTS, np.int16),
            np.zeros(9, np.int16), np.zeros(4, np.int64), np.zeros(2),
        )  # fmt: skip
        room.numbers[la.DEALT] = 1
        key = np.uint64(deal_key)
        arguments = (best_way(), weights, NARROW, room, key, np.uint64(9), 1, la.make_rooms(NARROW))
        la.play_on(*arguments)
        plans.append(room.plan.tolist())
        told = planner.plan(state.board, state.slots, 0)
        assert len(told.moves) == SLOTS
    assert plans[0] == plans[1]
    assert draw_u64(np.uint64(1), np.uint64(0)) != draw_u64(np.uint64(2), np.uint64(0))


def test_games_are_the_same_whatever_the_number_of_threads(
    weights: npt.NDArray[np.float32],
) -> None:
    calls = []
    played = [
        play_games(
            weights, NARROW, seed=3, episodes=range(100, 106), max_moves=60, threads=threads,
            between=calls.append,
        )
        for threads in (1, 3)
    ]  # fmt: skip
    assert calls
    for one, other in zip(*played, strict=True):
        assert (one.episode, one.score) == (other.episode, other.score)
        assert one.moves.tobytes() == other.moves.tobytes()
        state = GameState(3, one.episode)
        for move in one.moves:
            state.step(int(move))
        assert state.score == one.score
        assert one.truncated == (not state.is_over)
        assert len(one.moves) <= 60
