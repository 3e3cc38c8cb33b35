"""Columns as Arrow tables and back, bit for bit.

A column [N] is an Arrow column of its type, a column [N, ...] one of fixed-size lists. What Arrow
has no place for stands in the field's metadata: the ``shape`` of a row of more than one dimension,
the ``dtype`` of complex numbers, which are pairs of floats. A :class:`Ragged` column is one of
lists. Any Arrow reader opens them: there is no code in it.

pyarrow's own conversions (``pa.array``, ``to_numpy``) would import pandas to ask whether it is
given a series: a third of a second and 40 MB at the first save.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphatriangle.utils.columns import Ragged

Stored = Mapping[str, npt.NDArray[Any] | Ragged]
"""What is written: dense and ragged columns, name -> [N, ...]."""

_MOST_AXES: Final = 64
_PAIRS: Final[dict[str, np.dtype[Any]]] = {
    "complex64": np.dtype(np.float32),
    "complex128": np.dtype(np.float64),
}


def table_of(stored: Stored) -> pa.Table:
    """The columns as a table without nulls, in their order."""
    fields, arrays = [], []
    for name, column in stored.items():
        if isinstance(column, Ragged):
            array = pa.ListArray.from_arrays(_flat(column.offsets), _flat(column.values))
            notes = None
        else:
            array, notes = _dense(column)
        fields.append(pa.field(name, array.type, nullable=False, metadata=notes))
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _dense(column: npt.NDArray[Any]) -> tuple[pa.Array, dict[str, str] | None]:
    notes = {}
    shape = column.shape[1:]
    if column.dtype.name in _PAIRS:
        notes["dtype"] = column.dtype.name
        column = np.ascontiguousarray(column).reshape(-1).view(_PAIRS[column.dtype.name])
        shape = (*shape, 2)
    if len(shape) > 1:
        notes["shape"] = ",".join(map(str, shape))
    values = _flat(column.reshape(-1))
    if shape:
        values = pa.FixedSizeListArray.from_arrays(values, math.prod(shape))
    return values, notes or None


def _flat(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers [M], over the same memory where that has no gaps."""
    if values.dtype == np.bool_:
        return _flat(values.view(np.uint8)).cast(pa.bool_())
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def stored_of(table: pa.Table) -> dict[str, npt.NDArray[Any] | Ragged]:
    """The columns of a table, read-only.

    Raises:
        ValueError: a column is none that :func:`table_of` writes; the message names it.
    """
    stored: dict[str, npt.NDArray[Any] | Ragged] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if any(_lacks_a_value(chunk) for chunk in column.chunks):
            raise ValueError(f"column {field.name!r}: a value is missing")
        try:
            # Of one chunk too it would be a copy.
            whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            stored[field.name] = _column(field, whole)
        except (ValueError, TypeError) as e:
            raise ValueError(f"column {field.name!r}: {e}") from e
    if len(stored) != table.num_columns:
        raise ValueError("two columns have one name")
    return stored


def _lacks_a_value(array: pa.Array) -> bool:
    """Whether a value is null, or one inside a list: the fields of the lists allow it."""
    inside = isinstance(array, pa.ListArray | pa.FixedSizeListArray) and array.values.null_count
    return bool(array.null_count or inside)


def _column(field: pa.Field, array: pa.Array) -> npt.NDArray[Any] | Ragged:
    notes = field.metadata or {}
    if isinstance(array, pa.ListArray):
        # Of no rows there may be no offset at all.
        offsets = _numbers(array.offsets) if len(array) else np.zeros(1, np.int32)
        return Ragged(offsets, _numbers(array.values))
    rows = len(array)
    shape: tuple[int, ...] = ()
    if isinstance(array, pa.FixedSizeListArray):
        shape = _shape(notes.get(b"shape"), array.type.list_size)
        array = array.flatten()
    values = _numbers(array)
    if b"dtype" in notes:
        dtype = notes[b"dtype"].decode("ascii", "replace")
        if _PAIRS.get(dtype) != values.dtype or not shape or shape[-1] != 2:
            raise ValueError(f"pairs of {values.dtype} in {shape} as {dtype}")
        pairs: npt.NDArray[Any] = values.view(dtype)
        return pairs.reshape(rows, *shape[:-1])
    return values.reshape(rows, *shape)


def _shape(text: bytes | None, size: int) -> tuple[int, ...]:
    """Of a row with so many elements."""
    if text is None:
        return (size,)
    parts = text.split(b",")
    # More than any array has: their product may take very long.
    if len(parts) > _MOST_AXES:
        raise ValueError(f"a row of {len(parts)} dimensions")
    shape = tuple(int(part) for part in parts)
    if min(shape) < 1 or math.prod(shape) != size:
        raise ValueError(f"{size} elements have no shape {shape}")
    return shape


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    """[M], read-only."""
    if pa.types.is_boolean(array.type):
        return _numbers(array.cast(pa.uint8())).view(np.bool_)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise TypeError(f"a column of {array.type}")
    values: npt.NDArray[Any] = np.from_dlpack(array)
    return values
