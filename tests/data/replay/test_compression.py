"""Rows are compressed where that makes them smaller, and come back bit for bit either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from alphatriangle.data.replay.segments import (
    BATCH_ROWS,
    SegmentRef,
    merge_segments,
    read_segment,
    stored_table,
    write_segment,
)
from alphatriangle.utils.columns import joined
from alphatriangle.utils.types import Rows

COUNT = 2 * BATCH_ROWS + 7


def noise(count: int = COUNT) -> dict[str, npt.NDArray[np.generic]]:
    chance = np.random.default_rng(1)
    return {
        "frame": chance.integers(0, 256, (count, 8, 8), np.uint8),
        "reward": chance.standard_normal(count, np.float32),
        "phase": np.exp(1j * chance.random(count)),
        "done": chance.random(count) < 0.5,
    }


def pictures(count: int = COUNT) -> dict[str, npt.NDArray[np.generic]]:
    """Of which zstd makes something."""
    return {**noise(count), "frame": np.arange(count * 64, dtype=np.int64).reshape(count, 8, 8)}


def is_compressed(path: Path) -> bool:
    """By its size: what the columns take in memory is the least it has without."""
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    return path.stat().st_size < table.nbytes


@pytest.mark.parametrize("count", [0, 1, 3, COUNT])
@pytest.mark.parametrize("columns", [noise, pictures])
def test_rows_come_back(
    tmp_path: Path, columns: Callable[[int], dict[str, npt.NDArray[np.generic]]], count: int
) -> None:
    rows = columns(count)
    write_segment(tmp_path / "s.arrow", rows, first=0)
    found = joined(read_segment(tmp_path / "s.arrow"))
    for name, column in rows.items():
        assert (found[name].dtype, found[name].shape) == (column.dtype, column.shape)
        assert found[name].tobytes() == column.tobytes()
    if count == COUNT:
        assert is_compressed(tmp_path / "s.arrow") == (columns is pictures)


def test_a_merge_decides_for_itself(tmp_path: Path) -> None:
    for columns in (noise, pictures):
        refs = []
        for i in range(3):
            digest = write_segment(tmp_path / f"{i}.arrow", columns(), first=i * COUNT)
            refs.append(SegmentRef(f"{i}.arrow", i * COUNT, (i + 1) * COUNT, digest.sha256))
        merge_segments(tmp_path / "merged.arrow", tmp_path, refs)
        assert is_compressed(tmp_path / "merged.arrow") == (columns is pictures)
        found = joined(read_segment(tmp_path / "merged.arrow"))
        for name, column in columns().items():
            assert found[name].tobytes() == 3 * column.tobytes()


def test_what_is_not_compressed_takes_no_memory_but_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"
    write_segment(path, noise(), first=0)
    before = pa.total_allocated_bytes()
    pieces = read_segment(path)
    taken = pa.total_allocated_bytes() - before
    # Truths are stored as bits and have to be taken apart.
    assert taken <= 2 * COUNT
    assert len(pieces) == 3


@pytest.mark.parametrize("count", [0, 100])
def test_files_of_the_puzzle_are_what_they_always_were(tmp_path: Path, count: int) -> None:
    """With zstd, noise or not."""
    chance = np.random.default_rng(1)
    rows = Rows(
        chance.integers(0, 2**60, (count, 2), np.uint64),
        chance.integers(0, 7, (count, 3), np.int8),
        np.zeros((count, 144), np.float32),
        chance.random(count, np.float32),
    )
    write_segment(tmp_path / "s.arrow", rows.columns(), 0, "alphatriangle")
    notes = {"format_version": "1", "first": "0", "end": str(count)}
    table = stored_table(rows.columns(), "alphatriangle").replace_schema_metadata(notes)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        if count:
            writer.write_table(table)
    assert (tmp_path / "s.arrow").read_bytes() == sink.getvalue().to_pybytes()
