"""A person's game: what is held always fits, every place can be reached, and all can be undone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatriangle.game import GameState
from alphatriangle.game.geometry import CELLS, COLS
from alphatriangle.viewer.table import Table

KEYS = st.sampled_from(["left", "right", "up", "down", "next", "place", "undo", "0", "1", "2"])


def press(table: Table, key: str) -> None:
    match key:
        case "next":
            table.take_next()
        case "place" if table.action is not None:
            table.place()
        case "undo":
            table.undo()
        case "0" | "1" | "2":
            table.take(int(key))
        case "left" | "right" | "up" | "down":
            table.move(key)


@given(st.integers(0, 1000), st.lists(KEYS, max_size=60))
@settings(max_examples=40)
def test_what_is_held_can_be_placed(seed: int, keys: list[str]) -> None:
    table = Table(GameState(seed))
    for key in keys:
        press(table, key)
        if table.game.is_over:
            assert table.action is None
        else:
            assert table.action in table.game.legal_actions()
        frame = table.frame()
        assert not frame.placed & frame.filled
        assert frame.score == table.game.score


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_a_direction_never_goes_back(seed: int) -> None:
    table = Table(GameState(seed))
    for direction, sign in (("left", -1), ("right", 1)):
        columns = []
        for _ in range(20):
            assert table.anchor is not None
            columns.append(table.anchor % COLS)
            table.move(direction)
        assert columns == sorted(columns, reverse=sign < 0)
    assert len(set(columns)) > 4, "it gets to the other side"


def test_every_place_can_be_reached_with_the_arrows() -> None:
    table = Table(GameState(seed=5))
    reached, waiting = set(), [table.anchor]
    while waiting:
        here = waiting.pop()
        assert here is not None
        if here in reached:
            continue
        reached.add(here)
        for direction in ("left", "right", "up", "down"):
            table.anchor = here
            table.move(direction)
            waiting.append(table.anchor)
    assert reached == set(table.places(table.slot))


def test_undo_goes_back_to_the_beginning() -> None:
    table = Table(GameState(seed=2))
    start = table.game.copy()
    while not table.game.is_over:
        table.place()
    placements = len(table.game.moves)
    with pytest.raises(ValueError, match="over"):
        table.place()
    for _ in range(placements):
        assert table.undo()
    assert not table.undo()
    assert table.game.occupied == start.occupied
    assert table.game.slots.tolist() == start.slots.tolist()
    assert table.game.score == 0


def test_a_shape_is_taken_only_where_there_is_one() -> None:
    table = Table(GameState(seed=2))
    assert table.take(2)
    table.place()
    assert not table.take(2), "it has been placed"
    assert not table.take(7)
    assert table.slot in (0, 1)
    table.hold(CELLS + table.places(1)[0])
    assert table.slot == 1
