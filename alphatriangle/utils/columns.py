"""Rows as named columns: name -> array [N, ...].

The names, dtypes and shapes of the arrays are the schema; there is none to be filled in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Columns = Mapping[str, npt.NDArray[Any]]
"""Name -> [N, ...], N the same for all."""

_PLAIN: Final = "biufc"
_MOST_AXES: Final = 63
_MOST_ELEMENTS: Final = 2**31 - 1
"""Of a row: what NumPy and Arrow have room for."""


class Ragged(NamedTuple):
    """A column of lists: row i is ``values[offsets[i] : offsets[i + 1]]``."""

    offsets: npt.NDArray[np.int32]  # [N + 1], ascending
    values: npt.NDArray[Any]  # [M]


class Column(NamedTuple):
    """What the rows of one column are."""

    dtype: str
    shape: tuple[int, ...]  # of one row, () for a number

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return f"{self.dtype} [{sizes}]" if sizes else self.dtype

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> Column:
        """Of an array [N, ...]."""
        return cls(_name(array.dtype), array.shape[1:])


Schema = Mapping[str, Column]


def schema_of(columns: Columns) -> dict[str, Column]:
    """The schema that the arrays are.

    Raises:
        ValueError: there is no column, a dtype is not that of plain numbers in the machine's byte
            order, a row has no elements, or a name is empty; the message names the column.
    """
    if not columns:
        raise ValueError("there is no column")
    found = {}
    for name, array in columns.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{name!r} is no name of a column")
        if problem := _dtype_problem(array.dtype):
            raise ValueError(f"column {name!r} has the dtype {array.dtype}{problem}")
        if array.ndim < 1 or 0 in array.shape[1:]:
            raise ValueError(f"column {name!r} has the shape {array.shape}, not [N, ...]")
        found[name] = Column.of(array)
    return found


@functools.cache
def _dtype_problem(dtype: np.dtype[Any]) -> str:
    """Why no column can have it; empty where one can. Known once: NumPy makes names anew."""
    if dtype.kind not in _PLAIN or dtype.fields or not dtype.isnative:
        return ", not plain numbers"
    return "" if dtype.name in _PLAIN_NAMES else ": no file format has it"


@functools.cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name


_PLAIN_NAMES: Final = frozenset(
    np.dtype(code).name for code in ("?", *"bhilq", *"BHILQ", *"efd", *"FD")
)


def check_schema(schema: Schema) -> None:
    """Whether :func:`schema_of` could have said this; nothing as large as it says is made.

    Raises:
        ValueError: it could not; the message names the column.
    """
    if not schema:
        raise ValueError("there is no column")
    for name, (dtype, shape) in schema.items():
        if not name:
            raise ValueError("a column has no name")
        if dtype not in _PLAIN_NAMES:
            raise ValueError(f"column {name!r} has the dtype {dtype!r}, not plain numbers")
        sizes = (1, *shape)
        # One by one first: the product of numbers without end takes time without end.
        possible = len(shape) <= _MOST_AXES and 1 <= min(sizes) <= max(sizes) <= _MOST_ELEMENTS
        if not possible or math.prod(sizes) > _MOST_ELEMENTS:
            raise ValueError(f"column {name!r} has rows of a shape that no array has")


def schema_change(before: Schema, now: Schema) -> str | None:
    """The first difference between two schemas in words; None where there is none."""
    for name in before:
        if name not in now:
            return f"column {name!r} is gone"
        if before[name] != now[name]:
            return f"column {name!r} was {before[name]} and is {now[name]}"
    added = [name for name in now if name not in before]
    return f"column {added[0]!r} is new" if added else None


def row_count(columns: Columns) -> int:
    """N.

    Raises:
        ValueError: there is no column, or their lengths differ.
    """
    lengths = {name: len(array) for name, array in columns.items()}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"columns of one length are needed: {counts or 'there is no column'}")
    return next(iter(lengths.values()))


def cut(columns: Columns, index: slice | npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Some of the rows; views for a slice."""
    return {name: array[index] for name, array in columns.items()}


def joined(parts: Sequence[Columns]) -> dict[str, npt.NDArray[Any]]:
    """The rows of ``parts`` in order; no columns without parts."""
    names = list(parts[0]) if parts else []
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
