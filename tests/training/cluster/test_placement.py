"""Who gets workers: one CPU each, training keeps its own, nobody is asked to hold more."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.training.cluster.placement import (
    Spot,
    places,
    room_for_workers,
    wanted_workers,
)

SPOTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=6).map(
    lambda pairs: [
        Spot(f"node {i}", room, placed, is_own=i == 0) for i, (room, placed) in enumerate(pairs)
    ]
)


@given(SPOTS, st.integers(0, 30))
def test_workers_go_where_there_is_room(spots: list[Spot], wanted: int) -> None:
    new = Counter(places(spots, wanted))
    for spot in spots:
        assert new[spot.node] <= max(spot.room - spot.placed, 0)
    placed = sum(spot.placed for spot in spots)
    room = sum(max(spot.room - spot.placed, 0) for spot in spots)
    assert new.total() == max(min(wanted - placed, room), 0)
    others = [spot for spot in spots if not spot.is_own]
    if spots and new[spots[0].node]:
        assert all(spot.placed + new[spot.node] >= spot.room for spot in others), "ours is the last"


def test_they_are_spread() -> None:
    spots = [Spot("a", 4, 0), Spot("b", 4, 2), Spot("c", 4, 0)]
    assert Counter(places(spots, 6)) == {"a": 2, "c": 2}


@given(SPOTS, st.integers(1, 9), st.integers(0, 20))
def test_auto_takes_what_there_is_within_bounds(spots: list[Spot], least: int, more: int) -> None:
    wanted = wanted_workers(spots, None, least, least + more)
    assert least <= wanted <= least + more
    room = sum(max(spot.room, spot.placed) for spot in spots)
    if least <= room <= least + more:
        assert wanted == room
    assert wanted_workers(spots, 7, least, least + more) == 7


@pytest.mark.parametrize(
    ("cpus", "free", "ours", "reserve", "held", "room"),
    [
        (4, 4, 0, 0, 0, 4),
        (4, 1, 3, 0, 0, 4),  # those that are there are ours
        (4, 1, 1, 0, 0, 2),  # two belong to others
        (4, 4, 0, 1, 0, 3),  # training needs one
        (4, 3, 0, 1, 1, 3),  # and has taken it
        (4, 0, 3, 1, 1, 3),
        (2, 2, 0, 4, 0, 0),  # it needs more than there is
        (0, 0, 0, 0, 0, 0),
        (2.5, 2.5, 0, 0, 0, 2),
    ],
)
def test_room_is_what_nobody_else_needs(
    cpus: float, free: float, ours: int, reserve: float, held: float, room: int
) -> None:
    assert room_for_workers(cpus, free, ours=ours, reserve=reserve, held=held) == room
