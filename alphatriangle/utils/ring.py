"""A ring of rows in preallocated columns, and the numbers that rows have for ever."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from alphatriangle.utils.columns import Column, Columns, row_count, schema_change, schema_of

Kind = Any
"""Of a column: a dtype for numbers, or (dtype, shape of a row)."""

_WRITERS: Final = 2
"""Threads that fill a ring: memory that is touched for the first time keeps one busy."""


class Ring:
    """The newest ``capacity`` rows, column by column.

    Rows are numbered in the order they are added, from 0 for ever; number ``i`` lives at position
    ``i % capacity`` until row ``i + capacity`` takes its place. A row does not change once it is
    added, but for its ``mutable`` columns (priorities, values computed anew): rows are saved once,
    mutable columns with every save.

    Sampling is the caller's: ``ring["obs"][ring.positions()]`` are all observations, oldest first.
    """

    codec_name = ""

    def __init__(
        self, capacity: int, columns: Mapping[str, Kind], mutable: Mapping[str, Kind] | None = None
    ) -> None:
        """Columns of zeros; kinds are ``"float32"`` or ``("uint8", (84, 84))``."""
        kinds = {**columns, **(mutable or {})}
        self._take({n: _zeros(capacity, kind) for n, kind in kinds.items()}, mutable or ())

    @classmethod
    def over(cls, arrays: Columns, mutable: Collection[str] = ()) -> Self:
        """Over arrays [capacity, ...] that somebody else writes, and says so with :meth:`advance`.

        Raises:
            ValueError: they are no columns of one length.
        """
        ring = cls.__new__(cls)
        ring._take(dict(arrays), mutable)
        return ring

    def _take(self, arrays: dict[str, npt.NDArray[Any]], mutable: Collection[str]) -> None:
        unknown = set(mutable) - set(arrays)
        if unknown:
            raise ValueError(f"mutable columns that are none: {', '.join(sorted(unknown))}")
        self._schema = schema_of(arrays)
        self._arrays = arrays
        self._mutable = [name for name in arrays if name in mutable]
        self.capacity = row_count(arrays)
        if self.capacity < 1:
            raise ValueError("a ring needs room for at least one row")
        self.total_added = 0
        self.oldest = 0
        self.lineage = uuid.uuid4().hex

    def __len__(self) -> int:
        return self.total_added - self.oldest

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        """[capacity, ...]: the column itself, in the order of positions."""
        return self._arrays[column]

    def positions(self) -> npt.NDArray[np.int64]:
        """[N] where the rows are, oldest first."""
        return np.arange(self.oldest, self.total_added) % self.capacity

    def places(self, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers in [0, N) as positions, each number another one.

        In a ring that is full, or has never been, number and position are the same.
        """
        if len(self) == self.capacity:
            return chosen
        return (self.oldest + chosen) % self.capacity

    def add(self, rows: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        """Add one row, or rows [K, ...]; returns where they are: [K] positions.

        Raises:
            ValueError: columns are missing, or have other shapes or dtypes that lose something.
        """
        given = {name: self._array(name, value) for name, value in rows.items()}
        single = all(
            given[name].shape == kind.shape for name, kind in self._schema.items() if name in given
        )
        if single:
            given = {name: value[None] for name, value in given.items()}
        self._check(given)
        count = row_count(given)
        kept = {name: value[-self.capacity :] for name, value in given.items()}
        self.advance(count)
        first = self.total_added - min(count, self.capacity)
        self._write(first, kept)
        return np.arange(first, self.total_added) % self.capacity

    def _array(self, name: str, value: Any) -> npt.NDArray[Any]:
        """Numbers of Python take the dtype of their column, where they fit."""
        if isinstance(value, np.ndarray | np.generic) or name not in self._schema:
            return np.asarray(value)
        return np.asarray(value, self._schema[name].dtype)

    def _check(self, rows: Columns) -> None:
        for name, kind in self._schema.items():
            if name not in rows:
                raise ValueError(f"column {name!r} is missing")
            value = rows[name]
            fits = np.can_cast(value.dtype, kind.dtype, "same_kind")
            if value.shape[1:] != kind.shape or not fits:
                raise ValueError(
                    f"column {name!r} is {kind}, not {value.dtype} {list(value.shape[1:])}"
                )
        for name in rows:
            if name not in self._schema:
                raise ValueError(f"there is no column {name!r}")

    def advance(self, count: int) -> None:
        """So many rows have been added behind the newest, in place."""
        self.total_added += count
        self.oldest = max(self.oldest, self.total_added - self.capacity)

    def _write(self, first: int, rows: Columns) -> None:
        start = 0
        for place in self.stretches(first, first + row_count(rows)):
            end = start + place.stop - place.start
            for name, array in rows.items():
                self._arrays[name][place] = array[start:end]
            start = end

    def stretches(self, first: int, end: int) -> list[slice]:
        """Where the rows [first, end) lie: one stretch of the ring, or two around its seam."""
        start, length = first % self.capacity, end - first
        before_seam = min(length, self.capacity - start)
        parts = [slice(start, start + before_seam), slice(0, length - before_seam)]
        return [part for part in parts if part.stop > part.start] or parts[:1]

    def counters(self) -> dict[str, Any]:
        """Which rows there are."""
        return {
            "capacity": self.capacity,
            "total_added": self.total_added,
            "oldest": self.oldest,
            "cursor": self.total_added % self.capacity,
            "lineage": self.lineage,
        }

    def row_views(self, first: int, end: int) -> list[dict[str, npt.NDArray[Any]]]:
        """The rows numbered [first, end) in order, in pieces that alias the ring.

        Raises:
            IndexError: some of them are not in the ring (any more).
        """
        if not self.oldest <= first <= end <= self.total_added:
            raise IndexError(
                f"rows [{first}, {end}) asked for, the ring holds "
                f"[{self.oldest}, {self.total_added})"
            )
        fixed = {n: array for n, array in self._arrays.items() if n not in self._mutable}
        return [
            {name: array[place] for name, array in fixed.items()}
            for place in self.stretches(first, end)
        ]

    def mutable_views(self) -> dict[str, list[npt.NDArray[Any]]]:
        """Columns that change, oldest row first, in pieces that alias the ring."""
        places = self.stretches(self.oldest, self.total_added)
        return {name: [self._arrays[name][p] for p in places] for name in self._mutable}

    def load_state_dict(self, state: Mapping[str, Any], pieces: Iterable[Columns]) -> None:
        """Become the ring that :meth:`counters` and its rows [oldest, total_added) came from.

        With another capacity the newest rows that fit are kept, and there is room for more.

        Raises:
            ValueError: the columns are others, or the number of rows is not what the state says.
        """
        total, oldest = int(state["total_added"]), int(state["oldest"])
        saved = state["mutable"]
        self._check_mutable(saved, total - oldest)
        first = max(oldest, total - self.capacity)
        fixed = {n: kind for n, kind in self._schema.items() if n not in self._mutable}
        number = oldest
        written = []
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="ring") as writers:
            for piece in pieces:
                change = schema_change(schema_of(piece), fixed)
                if change is not None:
                    raise ValueError(f"the replay was saved with other columns: {change}")
                skipped = min(max(first - number, 0), row_count(piece))
                if number + row_count(piece) <= total:
                    newest = {n: a[skipped:] for n, a in piece.items()}
                    written.append(writers.submit(self._write, number + skipped, newest))
                number += row_count(piece)
        for write in written:
            write.result()
        if number != total:
            raise ValueError(f"{number - oldest} rows for a ring of rows [{oldest}, {total})")
        self.total_added, self.oldest = total, first
        self.lineage = state["lineage"] or uuid.uuid4().hex
        for name, values in saved.items():
            self._write(first, {name: values[first - oldest :]})

    def _check_mutable(self, saved: Columns, count: int) -> None:
        if set(saved) != set(self._mutable):
            raise ValueError(
                f"the replay was saved with the mutable columns {sorted(saved)}, "
                f"this ring has {sorted(self._mutable)}"
            )
        kinds = {name: self._schema[name] for name in self._mutable}
        change = schema_change({n: Column.of(values) for n, values in saved.items()}, kinds)
        if change is not None:
            raise ValueError(f"the replay was saved with other mutable columns: {change}")
        for name, values in saved.items():
            if len(values) != count:
                raise ValueError(f"{len(values)} values of column {name!r} for {count} rows")


def _zeros(capacity: int, kind: Kind) -> npt.NDArray[Any]:
    dtype, shape = kind if isinstance(kind, tuple) else (kind, ())
    return np.zeros((capacity, *shape), dtype)
