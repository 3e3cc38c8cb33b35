"""Finished games in Arrow files: the seed and the moves of each, which replay it exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from alphatriangle.data.errors import CorruptBufferError
from alphatriangle.data.replay.arrow import stored_of, table_of
from alphatriangle.data.replay.arrow_files import (
    check_version,
    notes_of,
    read_content,
    tables_in,
    write_tables,
)
from alphatriangle.data.storage.digests import Checksum, FileDigest
from alphatriangle.utils.columns import Ragged
from alphatriangle.utils.types import Episode

_NOTES: Final = {"format_version": "1"}


def _table(episodes: Sequence[Episode]) -> pa.Table:
    lengths = [len(e.moves) for e in episodes]
    return table_of(
        {
            "episode": np.array([e.episode for e in episodes], np.int64),
            "seed": np.array([e.seed for e in episodes], np.uint64),
            "score": np.array([e.score for e in episodes], np.float64),
            "simulations": np.array([e.simulations for e in episodes], np.int64),
            "truncated": np.array([e.truncated for e in episodes], np.bool_),
            "moves": Ragged(
                np.cumsum([0, *lengths], dtype=np.int32),
                np.concatenate([np.empty(0, np.int16), *(e.moves for e in episodes)]),
            ),
        }
    )


_SCHEMA: Final = _table([]).schema


def _read(path: Path, checksum: Checksum | None = None) -> pa.Table:
    table = pa.concat_tables(tables_in(path, read_content(path, checksum)))
    check_version(path, notes_of(table.schema))
    table = table.replace_schema_metadata(None)
    if not table.schema.equals(_SCHEMA):
        raise CorruptBufferError(path, "its columns are not those of recorded games")
    try:
        stored_of(table)
    except ValueError as e:
        raise CorruptBufferError(path, str(e)) from e
    return table


def write_episodes(path: Path, episodes: Sequence[Episode]) -> FileDigest:
    """Write finished episodes: what replays each of them.

    Raises:
        OSError: nothing has been written.
    """
    return write_tables(path, _SCHEMA, [_table(episodes)], _NOTES)


def merge_episodes(path: Path, sources: Sequence[tuple[Path, Checksum]]) -> FileDigest:
    """Write the episodes of several files, given with their checksums, as one.

    Raises:
        CorruptBufferError: a source is missing or damaged: damage must not get a new digest.
        OSError: nothing has been written.
    """
    tables = (_read(source, checksum) for source, checksum in sources)
    return write_tables(path, _SCHEMA, tables, _NOTES)


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
        for row in _read(path).to_pylist()
    ]
