"""Columns of any plain dtype and shape through Arrow and back, and as other tools see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphatriangle.data.replay.arrow import stored_of, table_of
from alphatriangle.utils.columns import Ragged

DTYPES = ["bool", "int8", "uint16", "int32", "uint64", "float16", "float32", "float64", "complex64"]


@st.composite
def columns(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Some columns of one length, down to none at all."""
    count = draw(st.integers(0, 5))
    shapes = draw(st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=4))
    return {
        f"column {i}": draw(hnp.arrays(draw(st.sampled_from(DTYPES)), (count, *shape)))
        for i, shape in enumerate(shapes)
    }


@given(columns())
def test_columns_come_back_bit_for_bit(given_columns: dict[str, np.ndarray]) -> None:
    found = stored_of(table_of(given_columns))
    assert list(found) == list(given_columns)
    for name, array in given_columns.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(st.lists(st.lists(st.integers(-9, 9), max_size=4), max_size=6))
def test_lists_come_back(lists: list[list[int]]) -> None:
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    values = np.array([value for row in lists for value in row], np.int16)
    found = stored_of(table_of({"lists": Ragged(offsets, values)}))["lists"]
    assert isinstance(found, Ragged)
    pairs = zip(found.offsets[:-1], found.offsets[1:], strict=True)
    assert [found.values[a:b].tolist() for a, b in pairs] == lists


def test_other_tools_read_them(tmp_path: Path) -> None:
    frames = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    stored = table_of({"frame": frames, "reward": np.array([0.5, 2.0], np.float32)})
    assert stored.schema.field("frame").metadata == {b"shape": b"3,4"}
    path = tmp_path / "rows.arrow"
    with pa.ipc.new_file(str(path), stored.schema) as writer:
        writer.write_table(stored)
    polars = pl.read_ipc(path)
    assert np.array_equal(polars["frame"].to_numpy().reshape(-1, 3, 4), frames)
    assert stored.to_pandas()["frame"][1].tolist() == frames[1].ravel().tolist()
    assert duckdb.sql("select sum(reward) from stored").fetchall() == [(2.5,)]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"a": pa.array(["text"])}), "column 'a': a column of string"),
        (pa.table({"a": pa.array([1, None])}), "column 'a': a value is missing"),
        (pa.table({"a": pa.array([[1, None]], pa.list_(pa.int8(), 2))}), "a value is missing"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "two columns have one name"),
    ],
)
def test_what_was_not_written_so_is_refused(table: pa.Table, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        stored_of(table)


@pytest.mark.parametrize(
    ("notes", "size"),
    [({"shape": "2,2"}, 6), ({"shape": "-2,-3"}, 6), ({"shape": "x"}, 6), ({"dtype": "object"}, 6)],
)
def test_notes_that_do_not_fit_are_refused(notes: dict[str, Any], size: int) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(size, np.float32)), size)
    field = pa.field("a", values.type, nullable=False, metadata=notes)
    with pytest.raises(ValueError, match="column 'a'"):
        stored_of(pa.Table.from_arrays([values], schema=pa.schema([field])))
