"""Replay rows in Arrow IPC files, and sequences of experiences over them.

A segment holds the rows numbered [first, end) of a run, each once, and never changes. Columns:
``board_lo`` and ``board_hi`` (occupied cells 0-63 and 64-119, one bit each), ``slots`` (shape
indices, -1 empty), ``actions`` and ``policy`` (the legal actions and their probabilities; both
empty for an afterstate), ``n_step_return``. Any Arrow reader opens one: there is no code in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alphatriangle.data.errors import CorruptBufferError, UnsupportedFormatError, reading_failed
from alphatriangle.data.schemas import FORMAT_VERSION
from alphatriangle.data.storage import fs
from alphatriangle.features import experiences_from_rows
from alphatriangle.features.experience import padded_policies, ragged_policies
from alphatriangle.game.geometry import MAX_LEGAL, SLOTS
from alphatriangle.utils.types import Episode, Experience, Rows

BATCH_ROWS: Final = 1024
"""Rows of a record batch, which is what reading and writing have in memory at a time."""


class SegmentRef(NamedTuple):
    """Names a segment inside a buffer file."""

    name: str  # file name in the segments folder
    first: int
    end: int
    sha256: str


SCHEMA = pa.schema(
    [
        pa.field("board_lo", pa.uint64(), nullable=False),
        pa.field("board_hi", pa.uint64(), nullable=False),
        pa.field("slots", pa.list_(pa.int8(), SLOTS), nullable=False),
        pa.field("actions", pa.list_(pa.int16()), nullable=False),
        pa.field("policy", pa.list_(pa.float32()), nullable=False),
        pa.field("n_step_return", pa.float32(), nullable=False),
    ]
)
EPISODE_SCHEMA = pa.schema(
    [
        pa.field("episode", pa.int64(), nullable=False),
        pa.field("seed", pa.uint64(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("simulations", pa.int64(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("moves", pa.list_(pa.int16()), nullable=False),
    ]
)


def _arrow(values: NDArray[Any]) -> pa.Array:
    """A column of numbers, over the same memory where that has no gaps.

    ``pa.array`` would import pandas to ask whether it is given a series: a third of a second and
    40 MB.
    """
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def _numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """The numbers of a column, read-only; ``to_numpy`` would import pandas."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    values: NDArray[Any] = np.from_dlpack(column)
    return values


def rows_table(rows: Rows) -> pa.Table:
    """Rows as an Arrow table: see SCHEMA."""
    offsets, actions, probabilities = ragged_policies(rows)
    arrow_offsets = _arrow(offsets)
    columns = [
        _arrow(rows.boards[:, 0]),
        _arrow(rows.boards[:, 1]),
        pa.FixedSizeListArray.from_arrays(_arrow(rows.slots.reshape(-1)), SLOTS),
        pa.ListArray.from_arrays(arrow_offsets, _arrow(actions)),
        pa.ListArray.from_arrays(arrow_offsets, _arrow(probabilities)),
        _arrow(rows.returns),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _write_tables(
    path: Path, schema: pa.Schema, tables: Iterable[pa.Table], metadata: dict[str, str]
) -> fs.FileDigest:
    """One record batch a table, of which only one needs to be in memory at a time."""
    schema = schema.with_metadata({"format_version": str(FORMAT_VERSION), **metadata})

    def write(f: IO[bytes]) -> None:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(pa.PythonFile(f, "w"), schema, options=options) as writer:
            for table in tables:
                writer.write_table(table.replace_schema_metadata(schema.metadata))

    return fs.write_atomically(path, write)


def _read_table(path: Path, schema: pa.Schema, sha256: str | None = None) -> pa.Table:
    """The table in a file; with ``sha256`` its bytes must be those."""
    try:
        # Read rather than map: what was checked must be what is used.
        content = fs.read_bytes(path)
    except FileNotFoundError as e:
        raise CorruptBufferError(path, "the file is missing") from e
    except OSError as e:
        raise reading_failed(path, e, CorruptBufferError) from e
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptBufferError(path, "its bytes are not those that were saved")
    try:
        with pa.ipc.open_file(pa.BufferReader(content)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (OSError, pa.ArrowException, ValueError, UnicodeDecodeError) as e:
        raise CorruptBufferError(path, f"not a readable Arrow file: {e}") from e
    metadata = table.schema.metadata or {}
    _check_version(path, metadata.get(b"format_version", b"").decode("ascii", "replace"))
    if not table.schema.equals(schema):
        raise CorruptBufferError(path, "its columns are not those of this kind of file")
    table = table.replace_schema_metadata(None)
    if any(_lacks_a_value(chunk) for column in table.columns for chunk in column.chunks):
        raise CorruptBufferError(path, "a value is missing")
    return table


def _lacks_a_value(column: pa.Array) -> bool:
    """Whether a value is null, or one inside a list: the fields of the lists allow it."""
    inside = isinstance(column, pa.ListArray | pa.FixedSizeListArray) and column.values.null_count
    return bool(column.null_count or inside)


def _check_version(path: Path, version: str) -> None:
    if not version.isdigit():
        raise CorruptBufferError(path, "it has no format_version")
    if int(version) > FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"{path} has format version {version}, this package reads up to {FORMAT_VERSION}; "
            "use a newer alphatriangle"
        )


def write_segment(path: Path, rows: Rows, first: int) -> fs.FileDigest:
    """Write the rows numbered [first, first + N).

    Raises:
        OSError: nothing has been written.
    """
    pieces = (rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS))
    ends = {"first": str(first), "end": str(first + len(rows))}
    return _write_tables(path, SCHEMA, map(rows_table, pieces), ends)


def merge_segments(path: Path, folder: Path, sources: Sequence[SegmentRef]) -> fs.FileDigest:
    """Write the rows of neighbouring segments as one, a source at a time.

    Raises:
        CorruptBufferError: a source is missing or damaged: damage must not get a new digest.
        OSError: nothing has been written.
    """

    def tables() -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for ref in sources:
            for table in _stream(folder / ref.name, ref):
                waiting.append(table)
                if sum(t.num_rows for t in waiting) >= BATCH_ROWS:
                    yield pa.concat_tables(waiting).combine_chunks()
                    waiting.clear()
        if waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    ends = {"first": str(sources[0].first), "end": str(sources[-1].end)}
    return _write_tables(path, SCHEMA, tables(), ends)


def _stream(path: Path, ref: SegmentRef) -> Iterator[pa.Table]:
    """The batches of a segment that is sound, one after the other."""
    try:
        if fs.digest_of(path).sha256 != ref.sha256:
            raise CorruptBufferError(path, "its bytes are not those that were saved")
        rows = 0
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                rows += batch.num_rows
                yield pa.Table.from_batches([batch]).cast(SCHEMA)
    except FileNotFoundError as e:
        raise CorruptBufferError(path, "the file is missing") from e
    except (pa.ArrowException, ValueError) as e:
        raise CorruptBufferError(path, f"not a readable Arrow file: {e}") from e
    if rows != ref.end - ref.first:
        raise CorruptBufferError(path, f"it holds {rows} rows, not {ref.end - ref.first}")


def read_segment(path: Path, sha256: str | None = None) -> Rows:
    """The rows of a segment, bit for bit those written; with ``sha256`` its bytes must be those.

    Raises:
        CorruptBufferError: the file is missing, damaged or of another kind.
        UnsupportedFormatError: a newer version wrote it.
    """
    table = _read_table(path, SCHEMA, sha256)
    n = table.num_rows
    boards = np.empty((n, 2), np.uint64)
    boards[:, 0] = _numpy(table["board_lo"])
    boards[:, 1] = _numpy(table["board_hi"])
    slots = _numpy(table["slots"].combine_chunks().flatten()).reshape(n, SLOTS)
    policy = table["policy"].combine_chunks()
    try:
        policies = (
            padded_policies(_numpy(policy.offsets), _numpy(policy.values))
            if n
            else np.empty((0, MAX_LEGAL), np.float32)
        )
    except ValueError as e:
        raise CorruptBufferError(path, str(e)) from e
    return Rows(boards, slots.copy(), policies, _numpy(table["n_step_return"]).copy())


def write_episodes(path: Path, episodes: Sequence[Episode]) -> fs.FileDigest:
    """Write finished episodes: what replays each of them.

    Raises:
        OSError: nothing has been written.
    """
    lengths = [len(e.moves) for e in episodes]
    offsets = _arrow(np.cumsum([0, *lengths], dtype=np.int32))
    moves = np.concatenate([np.empty(0, np.int16), *(e.moves for e in episodes)])
    columns = [
        _arrow(np.array([e.episode for e in episodes], np.int64)),
        _arrow(np.array([e.seed for e in episodes], np.uint64)),
        _arrow(np.array([e.score for e in episodes], np.float64)),
        _arrow(np.array([e.simulations for e in episodes], np.int64)),
        _arrow(np.array([e.truncated for e in episodes], np.uint8)).cast(pa.bool_()),
        pa.ListArray.from_arrays(offsets, _arrow(moves)),
    ]
    table = pa.Table.from_arrays(columns, schema=EPISODE_SCHEMA)
    return _write_tables(path, EPISODE_SCHEMA, [table], {})


def merge_episodes(path: Path, sources: Sequence[tuple[Path, str]]) -> fs.FileDigest:
    """Write the episodes of several files, given with their sha256, as one.

    Raises:
        CorruptBufferError: a source is missing or damaged: damage must not get a new digest.
        OSError: nothing has been written.
    """
    tables = (_read_table(source, EPISODE_SCHEMA, sha256) for source, sha256 in sources)
    return _write_tables(path, EPISODE_SCHEMA, tables, {})


def read_episodes(path: Path) -> list[Episode]:
    """The episodes of a file.

    Raises:
        CorruptBufferError: the file is missing, damaged or of another kind.
        UnsupportedFormatError: a newer version wrote it.
    """
    return [
        Episode(
            row["episode"],
            row["seed"],
            np.array(row["moves"], np.int16),
            row["score"],
            row["simulations"],
            row["truncated"],
        )
        for row in _read_table(path, EPISODE_SCHEMA).to_pylist()
    ]


class SegmentedExperiences(Sequence[Experience]):
    """The experiences numbered [first, end), lazily, over segments that cover them."""

    def __init__(self, folder: Path, refs: Sequence[SegmentRef], first: int, end: int) -> None:
        self.folder = folder
        self.refs = tuple(refs)
        self.first = first
        self.end = end
        self._rows: Rows | None = None

    def __len__(self) -> int:
        return self.end - self.first

    @overload
    def __getitem__(self, index: int) -> Experience: ...
    @overload
    def __getitem__(self, index: slice) -> list[Experience]: ...
    def __getitem__(self, index: int | slice) -> Experience | list[Experience]:
        if isinstance(index, slice):
            chosen = np.arange(len(self))[index]
            return list(experiences_from_rows(self.rows()[chosen]))
        position = range(len(self))[index]
        return next(iter(experiences_from_rows(self.rows()[position : position + 1])))

    def __iter__(self) -> Iterator[Experience]:
        return experiences_from_rows(self.rows())

    def rows(self) -> Rows:
        """All rows in columns, read once.

        Raises:
            CorruptBufferError: a segment is missing or damaged, or they do not cover the rows.
        """
        if self._rows is None:
            self._rows = Rows.concatenate([_no_rows(), *self.pieces()])
        return self._rows

    def pieces(self) -> Iterator[Rows]:
        """The rows segment by segment, each checked and read when it is its turn.

        Raises:
            CorruptBufferError: as :meth:`rows`.
        """
        position = self.first
        for ref in self.refs:
            path = self.folder / ref.name
            if not ref.first <= position < ref.end:
                raise CorruptBufferError(path, f"row {position} is in no segment")
            rows = read_segment(path, ref.sha256)
            if len(rows) != ref.end - ref.first:
                raise CorruptBufferError(
                    path, f"it holds {len(rows)} rows, not {ref.end - ref.first}"
                )
            yield rows[position - ref.first : self.end - ref.first]
            position = min(ref.end, self.end)
        if position != self.end:
            raise CorruptBufferError(self.folder, f"row {position} is in no segment")


def _no_rows() -> Rows:
    return Rows(
        np.empty((0, 2), np.uint64),
        np.empty((0, SLOTS), np.int8),
        np.empty((0, MAX_LEGAL), np.float32),
        np.empty(0, np.float32),
    )
