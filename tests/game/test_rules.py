"""The kernels against the plain reference, and the laws of the game."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatriangle.game import GameState, IllegalActionError, geometry, kernels
from alphatriangle.utils.seeding import derive_key
from tests import reference

slots_strategy = st.lists(st.integers(-1, geometry.NUM_SHAPES - 1), min_size=3, max_size=3)
boards = st.builds(
    lambda bits: bits & geometry.PLAYABLE_MASK, st.integers(0, 2**geometry.CELLS - 1)
)
# Nearly full boards have complete lines and few moves: the interesting end.
full_boards = st.builds(
    lambda holes: geometry.PLAYABLE_MASK & ~geometry.mask_of(holes),
    st.lists(st.integers(0, geometry.CELLS - 1), min_size=1, max_size=24, unique=True),
)
sparse_boards = st.builds(lambda a, b: a & b, boards, boards)
any_board = st.one_of(boards, full_boards, sparse_boards)


def test_geometry_is_the_one_of_the_rules() -> None:
    assert geometry.PLAYABLE_MASK.bit_count() == 96
    assert len(geometry.TEMPLATES) == 31
    assert geometry.NUM_SHAPES == 23
    assert len(geometry.LINES) == 24
    assert {frozenset(divmod(c, 15) for c in line) for line in geometry.LINE_CELLS} == set(
        reference.LINES
    )


@given(any_board, slots_strategy)
def test_legal_actions_are_those_of_the_reference(bits: int, slots: list[int]) -> None:
    state = GameState.from_position(bits, slots)
    expected = reference.legal_actions(reference.from_int(bits), slots)
    assert state.legal_actions().tolist() == expected
    assert state.is_over == (not expected)
    for action in range(-1, geometry.ACTIONS + 1):
        legal = kernels.is_legal(state.board[0], state.board[1], state.slots, action)
        assert legal == (action in expected)


@given(any_board, st.integers(0, geometry.NUM_SHAPES - 1), st.data())
def test_a_placement_does_what_the_reference_does(
    bits: int, shape: int, data: st.DataObject
) -> None:
    occupied = reference.from_int(bits)
    # Boards of a game never hold a complete line: it would have been cleared.
    occupied -= set().union(*(line for line in reference.LINES if line <= occupied))
    actions = reference.legal_actions(occupied, [shape, -1, -1])
    if not actions:
        return
    anchor = data.draw(st.sampled_from(actions))
    after, cleared = reference.place(occupied, shape, anchor)
    state = GameState.from_position(reference.to_int(occupied), [shape, 0, 0])
    reward = state.step(anchor)
    assert state.occupied == reference.to_int(after)
    assert state.cleared == len(cleared)
    size = len(geometry.SHAPES[shape])
    assert reward == pytest.approx(0.01 * size + 0.5 * len(cleared) + 0.005 * (not state.is_over))


@settings(max_examples=30)
@given(st.integers(0, 2**62), st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_laws_of_a_game(seed: int, episode: int, chance: object) -> None:
    """Score is the sum of rewards; cleared cells were full lines; the same seed, the same game."""
    game, twin = GameState(seed, episode), GameState(seed, episode)
    rewards = []
    while not game.is_over and len(rewards) < 60:
        before = reference.from_int(game.occupied)
        action = int(chance.choice(game.legal_actions().tolist()))  # type: ignore[attr-defined]
        shape = int(game.slots[action // geometry.CELLS])
        rewards.append(game.step(action))
        filled = before | set(reference.cells_of(shape, action % geometry.CELLS) or [])
        gone = filled - reference.from_int(game.occupied)
        full = [line for line in reference.LINES if line <= filled]
        assert gone == set().union(*full)
        assert twin.step(action) == rewards[-1]
        assert twin.occupied == game.occupied
        assert twin.slots.tolist() == game.slots.tolist()
        assert game.is_over == (
            not reference.legal_actions(reference.from_int(game.occupied), game.slots.tolist())
        )
    assert game.score == pytest.approx(sum(rewards))


def test_an_illegal_action_ends_the_game_with_the_penalty() -> None:
    game = GameState(3)
    legal = set(game.legal_actions().tolist())
    illegal = next(a for a in range(geometry.ACTIONS) if a not in legal)
    assert game.step(illegal) == -10.0
    assert game.is_over
    assert game.score == -10.0
    with pytest.raises(IllegalActionError, match="over"):
        game.step(illegal)


def test_new_shapes_come_when_all_slots_are_empty() -> None:
    game = GameState(5)
    for number in (1, 2):
        game.step(int(game.legal_actions()[0]))
        assert (game.slots < 0).sum() == number
    game.step(int(game.legal_actions()[0]))
    assert (game.slots >= 0).all()


def test_deals_draw_the_templates_uniformly() -> None:
    """Duplicated templates are weights: chi-squared over many deals, 99.99% quantile for 22."""
    counts = np.zeros(geometry.NUM_SHAPES)
    slots = np.empty(3, np.int8)
    key = np.uint64(derive_key(1, 1, 1))
    deals = 20_000
    for number in range(deals):
        kernels.deal(key, number, slots)
        np.add.at(counts, slots, 1)
    weights = np.bincount(geometry.DEAL_TABLE, minlength=geometry.NUM_SHAPES) / 31
    expected = weights * deals * 3
    assert ((counts - expected) ** 2 / expected).sum() < 55.0


def test_baseline_games_are_real_games() -> None:
    """A kernel game replays move by move through the public engine."""
    board, slots = np.zeros(2, np.uint64), np.empty(3, np.int8)
    game = GameState(21, 4)
    slots[:] = game.slots
    key = np.uint64(derive_key(21, 1, 4))
    deals, total = 1, 0.0
    for move in range(1000):
        action = kernels.random_action(board, slots, np.uint64(9), move)
        reward, _, done, dealt = kernels.step(board, slots, action, key, deals)
        deals += dealt
        total += reward
        assert game.step(action) == reward
        if done:
            break
    assert game.is_over
    assert game.score == pytest.approx(total)
