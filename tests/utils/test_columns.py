"""Named columns: their schema, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from alphatriangle.utils.columns import cut, joined, row_count, schema_change, schema_of


def test_the_arrays_are_the_schema() -> None:
    schema = schema_of({"frame": np.zeros((5, 8, 4), np.uint8), "done": np.zeros(5, np.bool_)})
    assert {name: str(column) for name, column in schema.items()} == {
        "frame": "uint8 [8x4]",
        "done": "bool",
    }


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "there is no column"),
        ({"": np.zeros(2)}, "no name of a column"),
        ({"a": np.array(["x"])}, "column 'a' has the dtype <U1"),
        ({"a": np.array([None])}, "column 'a' has the dtype object"),
        ({"a": np.zeros(2, ">f4")}, "column 'a' has the dtype >f4"),
        ({"a": np.zeros(2, "f4,i2")}, "column 'a' has the dtype"),
        ({"a": np.zeros((2, 0))}, r"column 'a' has the shape \(2, 0\)"),
        ({"a": np.float32(1)}, "column 'a' has the shape"),
    ],
)
def test_what_is_no_column_is_named(columns: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        schema_of(columns)


def test_the_first_difference_of_two_schemas_is_said() -> None:
    now = schema_of({"a": np.zeros(1), "b": np.zeros((1, 2), np.int8)})
    assert schema_change(now, now) is None
    assert schema_change(now, schema_of({"a": np.zeros(1)})) == "column 'b' is gone"
    wider = schema_of({"a": np.zeros(1), "b": np.zeros((1, 3), np.int8)})
    assert schema_change(now, wider) == "column 'b' was int8 [2] and is int8 [3]"
    more = schema_of({"a": np.zeros(1), "b": np.zeros((1, 2), np.int8), "c": np.zeros(1)})
    assert schema_change(now, more) == "column 'c' is new"


def test_rows_are_counted_cut_and_joined() -> None:
    columns = {"a": np.arange(5), "b": np.arange(10).reshape(5, 2)}
    assert row_count(columns) == 5
    both = joined([cut(columns, slice(0, 2)), cut(columns, slice(2, 5))])
    assert all(np.array_equal(both[name], columns[name]) for name in columns)
    with pytest.raises(ValueError, match="a 5, b 4"):
        row_count({"a": np.arange(5), "b": np.arange(4)})
    with pytest.raises(ValueError, match="there is no column"):
        row_count({})
