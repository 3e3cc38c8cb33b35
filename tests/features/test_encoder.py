"""What the network sees, and that rows lose nothing of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from alphatriangle.features import (
    OTHER_FEATURES,
    PLANES,
    decode,
    encode,
    experiences_from_rows,
    rows_from_experiences,
)
from alphatriangle.features.experience import padded_policies, ragged_policies
from alphatriangle.game import GameState, geometry
from alphatriangle.utils.types import Rows
from tests import reference
from tests.game.test_rules import any_board, slots_strategy


def encode_one(bits: int, slots: list[int]) -> tuple[np.ndarray, np.ndarray]:
    grid, other = encode(np.array([geometry.words(bits)], np.uint64), np.array([slots], np.int8))
    return grid[0], other[0]


@given(any_board, slots_strategy)
def test_planes_and_vector_are_what_they_are_said_to_be(bits: int, slots: list[int]) -> None:
    grid, other = encode_one(bits, slots)
    occupied = reference.from_int(bits)
    assert grid.shape == (PLANES, 8, 15)
    assert other.shape == (OTHER_FEATURES,)
    for r in range(8):
        for c in range(15):
            cell = (r, c)
            assert grid[0, r, c] == (cell in occupied)
            assert grid[1, r, c] == reference.playable(cell)
            assert grid[2, r, c] == reference.up(cell)
            for s, shape in enumerate(slots):
                cells = reference.cells_of(shape, r * 15 + c) if shape >= 0 else None
                assert grid[3 + s, r, c] == bool(cells and not occupied & set(cells))
    filled = {cell: [] for cell in reference.ALL}
    for line in reference.LINES:
        for cell in line:
            filled[cell].append(len(line & occupied) / len(line))
    for (r, c), shares in filled.items():
        assert sorted(x for x in grid[6:, r, c] if x) == pytest.approx(
            sorted(x for x in shares if x)
        )
    for s, shape in enumerate(slots):
        one_hot = other[s * 23 : (s + 1) * 23]
        assert one_hot.sum() == (shape >= 0)
        assert shape < 0 or one_hot[shape] == 1
    for shape in range(23):
        count = len(reference.legal_actions(occupied, [shape]))
        assert other[69 + shape] == pytest.approx(math.log1p(count) / math.log1p(48))


@given(any_board, slots_strategy)
def test_decoding_gives_the_position_back(bits: int, slots: list[int]) -> None:
    grid, other = encode_one(bits, slots)
    board, back = decode({"grid": grid, "other_features": other})
    assert (int(board[0]) | int(board[1]) << 64) == bits
    assert back.tolist() == slots


def random_rows(count: int, seed: int = 0) -> Rows:
    """Rows of real positions, every fourth an afterstate."""
    chance = np.random.default_rng(seed)
    rows = Rows(
        np.zeros((count, 2), np.uint64),
        np.full((count, 3), -1, np.int8),
        np.zeros((count, geometry.MAX_LEGAL), np.float32),
        chance.normal(10, 5, count).astype(np.float32),
    )
    game = GameState(seed)
    for i in range(count):
        if game.is_over:
            game = GameState(seed, i)
        legal = game.legal_actions()
        rows.boards[i] = game.board
        if i % 4 != 3:
            rows.slots[i] = game.slots
            weights = chance.random(len(legal)).astype(np.float32)
            rows.policies[i, : len(legal)] = weights / weights.sum()
        game.step(int(chance.choice(legal)))
    return rows


def assert_same_rows(a: Rows, b: Rows) -> None:
    for name in ("boards", "slots", "policies", "returns"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_experiences_become_rows_and_come_back_bit_for_bit() -> None:
    rows = random_rows(50)
    experiences = list(experiences_from_rows(rows))
    assert experiences[3][1] == {}
    assert sum(experiences[0][1].values()) == pytest.approx(1.0, abs=1e-5)
    assert_same_rows(rows_from_experiences(experiences), rows)


def test_ragged_policies_are_those_of_the_legal_actions() -> None:
    rows = random_rows(40)
    offsets, actions, probabilities = ragged_policies(rows)
    np.testing.assert_array_equal(padded_policies(offsets, probabilities), rows.policies)
    for i, (_, policy, _) in enumerate(experiences_from_rows(rows)):
        part = slice(offsets[i], offsets[i + 1])
        assert (
            dict(zip(actions[part].tolist(), probabilities[part].tolist(), strict=True)) == policy
        )


def test_features_of_no_position_are_refused() -> None:
    grid, other = encode_one(0, [0, 1, 2])
    with pytest.raises(ValueError, match="other_features"):
        decode({"grid": np.zeros((1, 8, 15), np.float32), "other_features": other})
    grid[6, 3, 3] = 0.5
    with pytest.raises(ValueError, match="not what any position"):
        decode({"grid": grid, "other_features": other})


def test_a_policy_over_illegal_actions_is_refused() -> None:
    (state, policy, value) = next(iter(experiences_from_rows(random_rows(1))))
    illegal = next(a for a in range(360) if a not in policy)
    with pytest.raises(ValueError, match=f"action {illegal}"):
        rows_from_experiences([(state, {illegal: 1.0}, value)])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    (state, policy, value) = next(iter(experiences_from_rows(random_rows(1))))
    action = next(iter(policy))
    for bad in ((state, policy, number), (state, {action: number}, value)):
        with pytest.raises(ValueError, match="experience 1: its policy or its return is not"):
            rows_from_experiences([(state, policy, value), bad])
