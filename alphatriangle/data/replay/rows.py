"""The rows of a saved replay, lazily, over the segments that hold them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from alphatriangle.data.errors import CorruptBufferError
from alphatriangle.data.replay.codecs import codec_named
from alphatriangle.data.replay.segments import RowsKind, SegmentRef, check_segment, read_segment
from alphatriangle.utils.columns import Columns, cut, joined, row_count

_READERS: Final = 2
"""Segments that are read at a time."""


class SegmentedRows(Sequence[Any]):
    """The rows numbered [first, end): one by one as the codec's items (``Experience`` tuples for
    the puzzle, dictionaries for plain columns), or in columns."""

    def __init__(
        self, folder: Path, refs: Sequence[SegmentRef], first: int, end: int, kind: RowsKind
    ) -> None:
        self.folder = folder
        self.refs = tuple(refs)
        self.first = first
        self.end = end
        self.kind = kind
        self._columns: dict[str, npt.NDArray[Any]] | None = None
        # Pieces that have been read and not been asked for yet, by the name of their segment.
        self._waiting: dict[str, list[dict[str, npt.NDArray[Any]]]] = {}

    @property
    def codec_name(self) -> str:
        """How the rows are coded."""
        return self.kind.codec_name

    def __len__(self) -> int:
        return self.end - self.first

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(self._items(cut(self.columns(), np.arange(len(self))[index])))
        position = range(len(self))[index]
        return next(self._items(cut(self.columns(), slice(position, position + 1))))

    def __iter__(self) -> Iterator[Any]:
        return self._items(self.columns())

    def _items(self, columns: Columns) -> Iterator[Any]:
        return codec_named(self.codec_name).items(columns)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All rows in columns, read once; of no rows, the columns that the codec knows.

        Raises:
            CorruptBufferError: a segment is missing or damaged, or they do not cover the rows.
        """
        if self._columns is None:
            pieces = [codec_named(self.codec_name).no_rows, *self.pieces()]
            self._columns = joined([piece for piece in pieces if piece])
        return self._columns

    def read(self) -> None:
        """Read all rows now and keep them for the next who asks for them.

        Raises:
            CorruptBufferError: as :meth:`columns`.
        """
        cuts = list(self._cuts())
        # Reading, digesting and decoding do not hold the interpreter's lock.
        with ThreadPoolExecutor(_READERS, thread_name_prefix="segments") as readers:
            pieces = readers.map(lambda cut: self._pieces(*cut), cuts)
            self._waiting = {ref.name: p for (ref, _), p in zip(cuts, pieces, strict=True)}

    def check(self, known: Collection[str]) -> None:
        """Whether all rows can be read; segments that are ``known`` to be sound need only be there
        by name.

        Raises:
            CorruptBufferError: as :meth:`columns`.
        """
        for ref, _ in self._cuts():
            if ref.name not in known:
                check_segment(self.folder / ref.name, ref, self.kind)

    def pieces(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """The rows in pieces, each segment checked and read when it is its turn, if it has not
        been.

        Raises:
            CorruptBufferError: as :meth:`columns`.
        """
        for ref, part in self._cuts():
            waiting = self._waiting.pop(ref.name, None)
            yield from self._pieces(ref, part) if waiting is None else waiting

    def _cuts(self) -> Iterator[tuple[SegmentRef, slice]]:
        """The segments, and which of their rows are meant."""
        position = self.first
        for ref in self.refs:
            if not ref.first <= position < ref.end:
                raise CorruptBufferError(self.folder / ref.name, f"row {position} is in no segment")
            yield ref, slice(position - ref.first, self.end - ref.first)
            position = min(ref.end, self.end)
        if position != self.end:
            raise CorruptBufferError(self.folder, f"row {position} is in no segment")

    def _pieces(self, ref: SegmentRef, part: slice) -> list[dict[str, npt.NDArray[Any]]]:
        path = self.folder / ref.name
        pieces = read_segment(path, ref.checksum, self.kind)
        count = sum(map(row_count, pieces))
        if count != ref.end - ref.first:
            raise CorruptBufferError(path, f"it holds {count} rows, not {ref.end - ref.first}")
        found, start = [], 0
        for piece in pieces:
            rows = row_count(piece)
            wanted = slice(max(part.start - start, 0), max(part.stop - start, 0))
            if row_count(here := cut(piece, wanted)) > 0:
                found.append(here)
            start += rows
        return found
