"""A ring against a plain list: any sequence of adding, saving and loading with any capacities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.utils.columns import joined
from alphatriangle.utils.ring import Ring


def made(capacity: int) -> Ring:
    columns = {"obs": ("uint8", (2,)), "reward": "float32"}
    return Ring(capacity, columns, mutable={"priority": "float64"})


def batch(first: int, count: int) -> dict[str, np.ndarray]:
    numbers = np.arange(first, first + count)
    return {
        "obs": np.stack([numbers % 256, numbers % 7], axis=1).astype(np.uint8),
        "reward": numbers.astype(np.float32),
        "priority": numbers / 2,
    }


def state_of(ring: Ring) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]]:
    """What a commit holds of it, copied."""
    mutable = {name: np.concatenate(v) for name, v in ring.mutable_views().items()}
    pieces = [
        {name: array.copy() for name, array in piece.items()}
        for piece in ring.row_views(ring.oldest, ring.total_added)
    ]
    return {**ring.counters(), "mutable": mutable}, pieces


@given(
    st.integers(1, 7),
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 12)),
            st.tuples(st.just("load"), st.integers(1, 9)),
        ),
        max_size=12,
    ),
)
def test_it_holds_the_newest_rows_whatever_happens(
    capacity: int, actions: list[tuple[str, int]]
) -> None:
    ring, numbers, added = made(capacity), [], 0
    for what, size in actions:
        if what == "add":
            ring.add(batch(added, size))
            numbers = [*numbers, *range(added, added + size)]
            added += size
        else:
            again = made(size)
            again.load_state_dict(*state_of(ring))
            ring, capacity = again, size
        numbers = numbers[-capacity:]
        assert len(ring) == len(numbers)
        assert ring.total_added == added
        assert ring["reward"][ring.positions()].tolist() == numbers
        assert ring["priority"][ring.positions()].tolist() == [n / 2 for n in numbers]
        rows = joined(ring.row_views(ring.oldest, ring.total_added))
        assert rows["reward"].tolist() == numbers
        assert "priority" not in rows


def test_single_rows_and_other_peoples_arrays() -> None:
    ring = Ring(3, {"obs": ("uint8", (2,)), "reward": "float32"})
    assert ring.add({"obs": [1, 2], "reward": 0.5}).tolist() == [0]
    arrays = {"obs": np.zeros((3, 2), np.uint8)}
    mine = Ring.over(arrays)
    arrays["obs"][0] = 9
    mine.advance(1)
    assert mine["obs"][mine.positions()].tolist() == [[9, 9]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"obs": np.zeros((1, 2), np.uint8)}, "column 'reward' is missing"),
        (
            {"obs": np.zeros((1, 3), np.uint8), "reward": np.zeros(1)},
            r"column 'obs' is uint8 \[2\]",
        ),
        ({"obs": np.zeros((1, 2)), "reward": np.zeros(1)}, "not float64"),
        ({"obs": np.zeros((2, 2), np.uint8), "reward": np.zeros(1)}, "obs 2, reward 1"),
        ({"obs": [[1, 2]], "reward": [1.0], "x": [1]}, "there is no column 'x'"),
    ],
)
def test_rows_that_do_not_fit_are_refused_whole(rows: dict[str, Any], said: str) -> None:
    ring = Ring(3, {"obs": ("uint8", (2,)), "reward": "float32"})
    with pytest.raises(ValueError, match=said):
        ring.add(rows)
    assert len(ring) == 0


def test_other_columns_are_not_loaded() -> None:
    ring = made(4)
    ring.add(batch(0, 3))
    state, pieces = state_of(ring)
    with pytest.raises(ValueError, match="column 'obs' was uint8"):
        Ring(4, {"obs": "uint8", "reward": "float32"}, {"priority": "float64"}).load_state_dict(
            state, pieces
        )
    with pytest.raises(ValueError, match="mutable columns"):
        Ring(4, {"obs": ("uint8", (2,)), "reward": "float32"}).load_state_dict(state, pieces)
    with pytest.raises(ValueError, match="2 rows for a ring of rows"):
        made(4).load_state_dict(state, [{n: a[1:] for n, a in piece.items()} for piece in pieces])
