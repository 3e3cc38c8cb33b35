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

from alphatriangle.data.errors import CorruptBufferError, reading_failed
from alphatriangle.data.replay.arrow import stored_of, table_of
from alphatriangle.data.replay.arrow_files import check_version, notes_of, read_table, write_tables
from alphatriangle.data.replay.codecs import PLAIN, Codec, codec_named
from alphatriangle.data.schemas import FORMAT_1
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.pace import rest
from alphatriangle.utils.columns import Columns, cut, row_count

BATCH_ROWS: Final = 1024
"""Rows of a record batch, which is what reading and writing have in memory at a time."""


class SegmentRef(NamedTuple):
    """Names a segment inside a buffer file."""

    name: str  # file name in the segments folder
    first: int
    end: int
    sha256: str


def write_segment(
    path: Path, columns: Columns, first: int, codec_name: str = PLAIN
) -> fs.FileDigest:
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


def read_segment(path: Path, sha256: str | None = None) -> list[dict[str, npt.NDArray[Any]]]:
    """The rows of a segment, bit for bit those written, in pieces as they were written: to join
    them takes longer than to read them. With ``sha256`` its bytes must be those.

    Raises:
        CorruptBufferError: the file is missing, damaged or of another kind.
        UnknownCodecError: its rows are coded in a way that is not known here.
        UnsupportedFormatError: a newer version wrote it.
    """
    table, notes = read_table(path, sha256)
    codec = codec_named(_codec_name(path, notes))
    # A segment of no rows still has columns.
    batches = [pa.Table.from_batches([batch]) for batch in table.to_batches()] or [table]
    return [_decoded(path, codec, batch) for batch in batches]


def _decoded(path: Path, codec: Codec, table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    try:
        return codec.decode(stored_of(table))
    except ValueError as e:
        raise CorruptBufferError(path, str(e)) from e


def check_segment(path: Path, ref: SegmentRef) -> None:
    """:func:`read_segment` a record batch at a time, for whoever only wants to know.

    Raises:
        CorruptBufferError: as there, or it holds other rows than the reference says.
        UnknownCodecError: its rows are coded in a way that is not known here.
        UnsupportedFormatError: a newer version wrote it.
    """
    schema, notes = _head(path)
    codec = codec_named(_codec_name(path, notes))
    for table in _stream(path, ref, schema):
        table.validate(full=True)
        _decoded(path, codec, table)
        rest()


def stored_table(columns: Columns, codec_name: str) -> pa.Table:
    """Rows as they stand in a segment, for other tools."""
    return table_of(codec_named(codec_name).encode(columns))


def merge_segments(path: Path, folder: Path, sources: Sequence[SegmentRef]) -> fs.FileDigest:
    """Write the rows of neighbouring segments as one, a record batch at a time.

    Raises:
        CorruptBufferError: a source is missing or damaged, or their columns differ: damage must not
            get a new digest.
        FileUnavailableError: a source cannot be read now.
        OSError: nothing has been written.
    """
    schema, notes = _head(folder / sources[0].name)

    def tables() -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for ref in sources:
            for table in _stream(folder / ref.name, ref, schema):
                waiting.append(table)
                if sum(t.num_rows for t in waiting) >= BATCH_ROWS:
                    yield pa.concat_tables(waiting).combine_chunks()
                    waiting.clear()
        if waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    codec_name = _codec_name(folder / sources[0].name, notes)
    ends = _notes(codec_name, sources[0].first, sources[-1].end)
    return write_tables(path, schema, tables(), ends)


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


def _head(path: Path) -> tuple[pa.Schema, dict[str, str]]:
    """The schema of a segment without its notes, and these."""
    with _opened(path) as reader:
        return reader.schema.remove_metadata(), notes_of(reader.schema)


def _stream(path: Path, ref: SegmentRef, schema: pa.Schema) -> Iterator[pa.Table]:
    """The batches of a segment that is sound, one after the other."""
    rows = 0
    with _opened(path) as reader:
        if fs.digest_of(path).sha256 != ref.sha256:
            raise CorruptBufferError(path, "its bytes are not those that were saved")
        if not reader.schema.remove_metadata().equals(schema, check_metadata=True):
            raise CorruptBufferError(path, "its columns are not those of its neighbours")
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            rows += batch.num_rows
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
    if rows != ref.end - ref.first:
        raise CorruptBufferError(path, f"it holds {rows} rows, not {ref.end - ref.first}")
