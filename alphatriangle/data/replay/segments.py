"""Segments: replay rows in Arrow files, each written once and never changed.

A segment holds the rows numbered [first, end) of a lineage. Files of format version 1 are the
puzzle's; version 2 is rows of any columns, and names the codec where there is one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy.typing as npt
import pyarrow as pa

from alphatriangle.data.errors import CorruptBufferError, UnknownCodecError, reading_failed
from alphatriangle.data.replay.arrow import stored_of, table_of
from alphatriangle.data.replay.arrow_files import (
    check_version,
    notes_of,
    read_content,
    tables_in,
    write_tables,
)
from alphatriangle.data.replay.codecs import PLAIN, Codec, codec_named
from alphatriangle.data.schemas import FORMAT_1
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import Checksum, FileDigest, fastest
from alphatriangle.data.storage.pace import rest
from alphatriangle.utils.columns import (
    Columns,
    Schema,
    cut,
    row_count,
    schema_change,
    schema_of,
)

BATCH_ROWS: Final = 1024
"""Rows of a record batch, which is what reading and writing have in memory at a time."""


class SegmentRef(NamedTuple):
    """Names a segment inside a buffer file."""

    name: str  # file name in the segments folder
    first: int
    end: int
    sha256: str
    xxh3: str | None = None
    """Where the commit beside the buffer file says it: the buffer file does not."""

    @property
    def checksum(self) -> Checksum:
        """To read the segment by."""
        return fastest(self.sha256, self.xxh3)


class RowsKind(NamedTuple):
    """What the rows of a lineage are: all its segments hold such rows, coded so."""

    codec_name: str
    schema: Schema  # in memory; empty where the codec fixes it

    def change(self, now: RowsKind) -> str | None:
        """The first difference in words; None where there is none."""
        if self.codec_name != now.codec_name:
            return f"their codec was {self.codec_name!r} and is {now.codec_name!r}"
        return schema_change(self.schema, now.schema) if self.schema and now.schema else None


def write_segment(path: Path, columns: Columns, first: int, codec_name: str = PLAIN) -> FileDigest:
    """Write the rows numbered [first, first + N).

    Raises:
        OSError: nothing has been written.
        UnknownCodecError: there is no such codec.
    """
    codec = codec_named(codec_name)
    count = row_count(columns)
    starts = range(0, count, BATCH_ROWS)
    tables = (
        table_of(codec.encode(cut(columns, slice(start, start + BATCH_ROWS)))) for start in starts
    )
    schema = table_of(codec.encode(cut(columns, slice(0)))).schema
    return write_tables(path, schema, tables, _notes(codec_name, first, first + count))


def _notes(codec_name: str, first: int, end: int) -> dict[str, str]:
    ends = {"first": str(first), "end": str(end)}
    if codec_name == FORMAT_1:
        return {"format_version": "1", **ends}
    return {"format_version": "2", **ends} | ({"codec": codec_name} if codec_name else {})


def _codec_name(path: Path, notes: dict[str, str]) -> str:
    return FORMAT_1 if check_version(path, notes) == 1 else notes.get("codec", PLAIN)


def codec_of_file(path: Path, codec_name: str) -> Codec:
    """The codec that a file names.

    Raises:
        UnknownCodecError: nobody has registered one; the message names the file.
    """
    try:
        return codec_named(codec_name)
    except UnknownCodecError as e:
        raise UnknownCodecError(f"{path}: {e}") from e


def read_segment(
    path: Path, checksum: Checksum | None = None, kind: RowsKind | None = None
) -> list[dict[str, npt.NDArray[Any]]]:
    """The rows of a segment, bit for bit those written, in pieces as they were written: to join
    them takes longer than to read them. Its bytes must have the ``checksum``, and its rows be of
    the ``kind``, where they are given.

    Raises:
        CorruptBufferError: the file is missing, damaged or of another kind.
        UnknownCodecError: its rows are coded in a way that is not known here.
        UnsupportedFormatError: a newer version wrote it.
    """
    pieces, codec_name = [], None
    for table in tables_in(path, read_content(path, checksum)):
        if codec_name is None:
            codec_name = _codec_name(path, notes_of(table.schema))
        pieces.append(_decoded(path, codec_name, table.replace_schema_metadata(None), kind))
    return pieces


def _decoded(
    path: Path, codec_name: str, table: pa.Table, kind: RowsKind | None
) -> dict[str, npt.NDArray[Any]]:
    codec = codec_of_file(path, codec_name)
    try:
        columns = codec.decode(stored_of(table))
        change = kind and kind.change(RowsKind(codec_name, schema_of(columns)))
    except ValueError as e:
        raise CorruptBufferError(path, str(e)) from e
    if change is not None:
        raise CorruptBufferError(path, f"its rows are not those that its buffer names: {change}")
    return columns


def check_segment(path: Path, ref: SegmentRef, kind: RowsKind | None = None) -> None:
    """:func:`read_segment` a record batch at a time, for whoever only wants to know.

    Raises:
        CorruptBufferError: as there, or it holds other rows than the reference says.
        UnknownCodecError: its rows are coded in a way that is not known here.
        UnsupportedFormatError: a newer version wrote it.
    """
    head = _head(path)
    for table in _stream(path, ref, head):
        _decoded(path, head.codec_name, table, kind)
        rest()


def stored_table(columns: Columns, codec_name: str) -> pa.Table:
    """Rows as they stand in a segment, for other tools."""
    return table_of(codec_named(codec_name).encode(columns))


def merge_segments(path: Path, folder: Path, sources: Sequence[SegmentRef]) -> FileDigest:
    """Write the rows of neighbouring segments as one, a record batch at a time.

    Raises:
        CorruptBufferError: a source is missing or damaged, or their columns or codecs differ:
            damage must not get a new digest.
        FileUnavailableError: a source cannot be read now.
        OSError: nothing has been written.
    """
    head = _head(folder / sources[0].name)

    def tables() -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for ref in sources:
            for table in _stream(folder / ref.name, ref, head):
                waiting.append(table)
                if sum(t.num_rows for t in waiting) >= BATCH_ROWS:
                    yield pa.concat_tables(waiting).combine_chunks()
                    waiting.clear()
        if waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    ends = _notes(head.codec_name, sources[0].first, sources[-1].end)
    return write_tables(path, head.schema, tables(), ends)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """An Arrow file; what goes wrong while it is read means that it is damaged or out of reach."""
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            yield reader
    except FileNotFoundError as e:
        raise CorruptBufferError(path, "the file is missing") from e
    except OSError as e:
        raise reading_failed(path, e, CorruptBufferError) from e
    except (pa.ArrowException, ValueError) as e:
        raise CorruptBufferError(path, f"not a readable Arrow file: {e}") from e


class _Head(NamedTuple):
    """What stands at the beginning of a segment."""

    schema: pa.Schema  # without its notes
    codec_name: str


def _head(path: Path) -> _Head:
    with _opened(path) as reader:
        return _head_in(path, reader.schema)


def _head_in(path: Path, schema: pa.Schema) -> _Head:
    return _Head(schema.remove_metadata(), _codec_name(path, notes_of(schema)))


def _stream(path: Path, ref: SegmentRef, head: _Head) -> Iterator[pa.Table]:
    """The batches of a segment that is sound, one after the other."""
    rows = 0
    with _opened(path) as reader:
        digest = fs.digest_of(path)
        if digest.sha256 != ref.sha256 or ref.xxh3 not in (None, digest.xxh3):
            raise CorruptBufferError(path, "its bytes are not those that were saved")
        schema, codec_name = _head_in(path, reader.schema)
        if not schema.equals(head.schema, check_metadata=True):
            raise CorruptBufferError(path, "its columns are not those of its neighbours")
        if codec_name != head.codec_name:
            raise CorruptBufferError(path, "its codec is not that of its neighbours")
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            batch.validate(full=True)
            rows += batch.num_rows
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
    if rows != ref.end - ref.first:
        raise CorruptBufferError(path, f"it holds {rows} rows, not {ref.end - ref.first}")
