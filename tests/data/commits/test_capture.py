"""Capture copies everything, shares nothing, and uses its memory again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphatriangle.data.commits.capture import Capture, stats_state
from alphatriangle.data.commits.digest import value_digest
from alphatriangle.data.commits.staging import Staging
from alphatriangle.utils.frozen import FrozenState
from alphatriangle.utils.late import LateState
from alphatriangle.utils.types import Rows
from tests.features.test_encoder import assert_same_rows, random_rows

arrays = hnp.arrays(
    st.sampled_from([np.float32, np.int8, np.uint64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
tensors = arrays.filter(lambda a: a.dtype != np.uint64).map(lambda a: torch.from_numpy(a.copy()))
values = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | arrays | tensors,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def capture(staging: Staging, value: Any) -> Any:
    staging.begin()
    copy = staging.copy(value)
    staging.finish()
    return copy


def scribble(value: Any) -> None:
    """Change everything that can be changed in place."""
    match value:
        case torch.Tensor():
            value.fill_(1)
        case np.ndarray():
            value[...] = 1
        case dict():
            for item in value.values():
                scribble(item)
            value["more"] = 0
        case list():
            for item in value:
                scribble(item)
            value.append(0)


@given(st.lists(values, min_size=1, max_size=4))
def test_one_after_the_other_captures_are_equal_and_share_nothing(states: list[Any]) -> None:
    """Whatever was captured before in the same memory."""
    staging = Staging()
    for state in states:
        before = value_digest(state)
        copy = capture(staging, state)
        assert value_digest(copy) == before
        scribble(state)
        assert value_digest(copy) == before


def test_memory_is_used_again_while_shapes_stay() -> None:
    staging = Staging()
    state = {"t": torch.randn(300, 5), "a": np.arange(5000.0)}
    first = capture(staging, state)
    places = first["t"].data_ptr(), first["a"].ctypes.data
    state["t"] += 1
    again = capture(staging, state)
    assert (again["t"].data_ptr(), again["a"].ctypes.data) == places
    assert torch.equal(again["t"], state["t"])
    assert staging.nbytes == state["t"].nbytes + state["a"].nbytes


def test_rows_of_a_ring_are_joined_and_a_large_first_capture_is_not_kept_for_ever() -> None:
    rows = random_rows(2000)
    staging = Staging()

    def captured(*pieces: Rows) -> Rows:
        return Rows(**staging.columns([piece.columns() for piece in pieces]))

    staging.begin()
    assert_same_rows(captured(rows[1500:], rows[:1500])[500:], rows[:1500])
    many = sum(len(a) for a in staging._arrays)
    staging.begin()
    assert_same_rows(captured(rows[:10], rows[5:5]), rows[:10])
    assert sum(len(a) for a in staging._arrays) < many
    assert staging.nbytes < many / 50


def test_what_never_changes_is_kept_and_not_copied() -> None:
    staging = Staging()
    tables = FrozenState({"weights": torch.randn(300, 5), "deals": 7})
    captured = capture(staging, {"tables": tables, "more": torch.ones(3)})
    assert type(captured["tables"]) is dict
    assert captured["tables"]["weights"].data_ptr() == tables["weights"].data_ptr()
    assert staging.nbytes == tables.nbytes + 12 == 300 * 5 * 4 + 12
    assert value_digest(captured["tables"]) == value_digest(dict(tables))
    capture(staging, {"more": torch.ones(3)})
    assert staging.nbytes == 12


def test_what_takes_time_is_done_behind_the_training_thread() -> None:
    """Of a copy of what was known, and with the same memory for every save."""
    known = np.arange(5)
    staging = Staging()
    for more in (0, 7):
        known[0] = more
        captured = capture(staging, {"late": LateState({"a": known}, doubled), "now": known})
        known[:] += 1
        cut = Capture(1, {"components": captured}, None, [], late=staging.late)
        assert captured["late"] == {}
        cut.form()
        assert captured["late"]["twice"].tolist() == [2 * n for n in captured["now"].tolist()]


def doubled(state: dict[str, Any]) -> dict[str, Any]:
    return {"twice": state["a"] * 2}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_keep_their_layout(dtype: torch.dtype) -> None:
    weight = torch.randn(4, 3, 5, 5).to(dtype=dtype, memory_format=torch.channels_last)
    copy = capture(Staging(), {"w": weight, "view": weight[1:, :, ::2]})
    assert copy["w"].stride() == weight.stride()
    assert torch.equal(copy["w"], weight)
    assert torch.equal(copy["view"], weight[1:, :, ::2])


def test_the_state_of_statistics_is_that_of_the_moment() -> None:
    class Collector:
        events = [1]  # noqa: RUF012

        def get_state(self) -> dict[str, Any]:
            return {"events": self.events}

    collector = Collector()
    wait = stats_state(collector)
    collector.events.append(2)
    assert wait() == {"events": [1]}
    assert stats_state(None)() == {}
