"""A view of a position is the same game seen from elsewhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.features.symmetry import SYMMETRIES, draw_views, symmetries
from alphatriangle.game import GameState, geometry
from alphatriangle.game.geometry import CELLS, MAX_LEGAL
from tests import reference
from tests.game.test_rules import any_board, slots_strategy


def image_of(bits: int, number: int) -> int:
    cells = symmetries().cell[number]
    return sum(1 << int(cells[i]) for i in range(CELLS) if bits >> i & 1)


def as_int(board: np.ndarray) -> int:
    return int(board[0]) | int(board[1]) << 64


def test_there_are_twelve_and_each_maps_the_board_and_its_lines_onto_themselves() -> None:
    tables = symmetries()
    playable = {r * 15 + c for r, c in reference.ALL}
    lines = {frozenset(r * 15 + c for r, c in line) for line in reference.LINES}
    assert len({row.tobytes() for row in tables.cell}) == SYMMETRIES == 12
    assert all(tables.cell[0, cell] == cell for cell in playable)
    for cells in tables.cell:
        assert {cell for cell in range(CELLS) if cells[cell] >= 0} == playable
        assert {int(cells[cell]) for cell in playable} == playable
        assert {frozenset(int(cells[i]) for i in line) for line in lines} == lines


def test_a_placement_covers_the_images_of_its_cells() -> None:
    tables = symmetries()
    for number in range(SYMMETRIES):
        missing = 0
        for shape in range(geometry.NUM_SHAPES):
            image = tables.shape[number, shape]
            missing += image < 0
            for anchor in range(CELLS):
                cells = reference.cells_of(shape, anchor)
                turned = tables.anchor[number, shape, anchor]
                assert (turned >= 0) == (cells is not None and image >= 0)
                if turned >= 0:
                    covered = reference.cells_of(int(image), int(turned))
                    assert {tables.cell[number, r * 15 + c] for r, c in cells} == {
                        r * 15 + c for r, c in covered
                    }
        # Few enough that nearly every position has nearly every view.
        assert missing <= 2


@given(any_board, slots_strategy, st.integers(0, 2**64 - 1))
def test_moves_in_a_view_are_the_moves_of_the_position(
    bits: int, slots: list[int], key: int
) -> None:
    game = GameState.from_position(bits, slots)
    actions = [int(a) for a in game.legal_actions()]
    policies = np.zeros((1, MAX_LEGAL), np.float32)
    mine = {}
    for j, action in enumerate(actions):
        # The search leaves the moves of a slot whose shape is in an earlier one alone.
        if slots.index(slots[action // CELLS]) == action // CELLS:
            mine[j + 1] = action
            policies[0, j] = j + 1
    board, shapes, legal, policy = draw_views(
        np.uint64(key), game.board[None], np.array([slots], np.int8), policies
    )
    view = GameState.from_position(as_int(board[0]), shapes[0])
    assert np.flatnonzero(legal[0]).tolist() == view.legal_actions().tolist()
    assert policy.sum() == policies.sum()
    possible = [n for n in range(SYMMETRIES) if image_of(bits, n) == view.occupied]
    for number, action in mine.items():
        (image,) = np.flatnonzero(policy[0] == number)
        here, there = game.copy(), view.copy()
        here.step(action)
        there.step(int(image))
        assert here.cleared == there.cleared
        possible = [
            n for n in possible if image_of(_placed(game, action), n) == _placed(view, image)
        ]
    assert possible


def _placed(game: GameState, action: int) -> int:
    """The board and the placement on it, before lines are cleared."""
    shape = int(game.slots[action // CELLS])
    cells = reference.cells_of(shape, int(action) % CELLS)
    return game.occupied | sum(1 << (r * 15 + c) for r, c in cells)


def test_every_view_comes_up_and_the_key_decides() -> None:
    board = np.array([geometry.words(1 << 4 | 1 << 33)], np.uint64).repeat(2000, axis=0)
    slots = np.array([[-1, -1, 5]], np.int8).repeat(2000, axis=0)
    policies = np.zeros((2000, MAX_LEGAL), np.float32)
    boards, shapes, _, _ = draw_views(np.uint64(9), board, slots, policies)
    assert len({as_int(b) for b in boards}) == SYMMETRIES
    assert {s.argmax() for s in shapes} == {0, 1, 2}
    again, _, _, _ = draw_views(np.uint64(9), board, slots, policies)
    other, _, _, _ = draw_views(np.uint64(10), board, slots, policies)
    assert (boards == again).all()
    assert (boards != other).any()
