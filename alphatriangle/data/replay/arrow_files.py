"""Arrow IPC files, written atomically and read whole and checked.

With zstd; rows of any columns that it makes hardly smaller, such as noise and most floats, without:
they are used where they have been read, in no memory but that of the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import pyarrow as pa

from alphatriangle.data.errors import CorruptBufferError, UnsupportedFormatError, reading_failed
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import Checksum, FileDigest

FORMAT_VERSION: Final = 2
"""Of the newest Arrow files: 1 is the puzzle's rows and recordings, 2 rows of any columns."""

_ZSTD: Final = pa.ipc.IpcWriteOptions(compression="zstd")
_PLAIN: Final = pa.ipc.IpcWriteOptions()
_SAMPLE_ROWS: Final = 64
_WORTH_ZSTD: Final = 0.9

_LONGEST_VERSION: Final = 9
"""In digits: Python makes no number of text without end."""


def write_tables(
    path: Path, schema: pa.Schema, tables: Iterable[pa.Table], notes: Mapping[str, str]
) -> FileDigest:
    """One record batch a table, of which only one needs to be in memory at a time.

    Raises:
        OSError: nothing has been written.
    """
    schema = schema.with_metadata(notes)
    # Files of format version 1 are what they always were, to the byte.
    is_fixed = check_version(path, notes) == 1

    def write(f: IO[bytes]) -> None:
        coming = iter(tables)
        first = list(itertools.islice(coming, 1))
        options = _ZSTD if is_fixed or any(map(_shrinks, first)) else _PLAIN
        with pa.ipc.new_file(pa.PythonFile(f, "w"), schema, options=options) as writer:
            for table in itertools.chain(first, coming):
                writer.write_table(table.replace_schema_metadata(schema.metadata))

    return fs.write_atomically(path, write)


def _shrinks(table: pa.Table) -> bool:
    """Whether zstd is worth it, by the first rows."""
    sample = table.slice(0, _SAMPLE_ROWS)
    sizes = []
    for options in (_PLAIN, _ZSTD):
        sink = pa.MockOutputStream()
        with pa.ipc.new_stream(sink, sample.schema, options=options) as writer:
            writer.write_table(sample)
        sizes.append(sink.size())
    return bool(sizes[1] < _WORTH_ZSTD * sizes[0])


def read_content(path: Path, checksum: Checksum | None = None) -> bytes | memoryview:
    """All bytes of a file, which have the ``checksum`` where one is given.

    Raises:
        CorruptBufferError: the file is missing or damaged.
        FileUnavailableError: it cannot be read now.
    """
    try:
        # Read rather than map: what was checked must be what is used.
        if checksum is None:
            return fs.read_bytes(path)
        content, value = fs.read_digested(path, checksum.algorithm)
    except FileNotFoundError as e:
        raise CorruptBufferError(path, "the file is missing") from e
    except OSError as e:
        raise reading_failed(path, e, CorruptBufferError) from e
    if value != checksum.value:
        raise CorruptBufferError(path, "its bytes are not those that were saved")
    return content


def tables_in(path: Path, content: bytes | memoryview) -> Iterator[pa.Table]:
    """The record batches in the content of a file, each a table with the notes in its schema; of
    no rows one without rows, which still has columns.

    Raises:
        CorruptBufferError: it is no readable Arrow file.
    """
    try:
        with pa.ipc.open_file(pa.BufferReader(content)) as reader:
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                batch.validate(full=True)
                yield pa.Table.from_batches([batch])
            if reader.num_record_batches == 0:
                yield pa.Table.from_batches([], reader.schema)
    except (OSError, pa.ArrowException, ValueError, UnicodeDecodeError) as e:
        raise CorruptBufferError(path, f"not a readable Arrow file: {e}") from e


def notes_of(schema: pa.Schema) -> dict[str, str]:
    """What stands in the schema beside the columns."""
    return {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in (schema.metadata or {}).items()
    }


def check_version(path: Path, notes: Mapping[str, str]) -> int:
    """The format version of a file.

    Raises:
        CorruptBufferError: it says none.
        UnsupportedFormatError: a newer version wrote it.
    """
    version = notes.get("format_version", "")
    if not (version.isascii() and version.isdigit() and len(version) <= _LONGEST_VERSION):
        raise CorruptBufferError(path, "it has no format_version")
    if int(version) > FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"{path} has format version {version}, this package reads up to {FORMAT_VERSION}; "
            "use a newer alphatriangle"
        )
    return int(version)
