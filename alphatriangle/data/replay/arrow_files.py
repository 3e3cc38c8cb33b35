"""Arrow IPC files with zstd, written atomically and read whole and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Final

import pyarrow as pa

from alphatriangle.data.errors import CorruptBufferError, UnsupportedFormatError, reading_failed
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import Checksum, FileDigest

FORMAT_VERSION: Final = 2
"""Of the newest Arrow files: 1 is the puzzle's rows and recordings, 2 rows of any columns."""

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

    def write(f: IO[bytes]) -> None:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(pa.PythonFile(f, "w"), schema, options=options) as writer:
            for table in tables:
                writer.write_table(table.replace_schema_metadata(schema.metadata))

    return fs.write_atomically(path, write)


def read_table(path: Path, checksum: Checksum | None = None) -> tuple[pa.Table, dict[str, str]]:
    """The table in a file and the notes in its schema; its bytes must have the ``checksum``.

    Raises:
        CorruptBufferError: the file is missing, damaged, or no Arrow file of ours.
        FileUnavailableError: it cannot be read now.
        UnsupportedFormatError: a newer version wrote it.
    """
    try:
        # Read rather than map: what was checked must be what is used.
        content: bytes | memoryview
        if checksum is None:
            content = fs.read_bytes(path)
        else:
            content, digest = fs.read_digested(path, checksum.algorithm)
    except FileNotFoundError as e:
        raise CorruptBufferError(path, "the file is missing") from e
    except OSError as e:
        raise reading_failed(path, e, CorruptBufferError) from e
    table, problem = None, None
    try:
        with pa.ipc.open_file(pa.BufferReader(content)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (OSError, pa.ArrowException, ValueError, UnicodeDecodeError) as e:
        problem = e
    if checksum is not None and digest() != checksum.value:
        raise CorruptBufferError(path, "its bytes are not those that were saved") from problem
    if table is None or problem is not None:
        raise CorruptBufferError(path, f"not a readable Arrow file: {problem}") from problem
    notes = notes_of(table.schema)
    check_version(path, notes)
    return table.replace_schema_metadata(None), notes


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
