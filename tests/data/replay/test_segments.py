"""Replay rows and episodes in Arrow files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.data.errors import CorruptBufferError, UnsupportedFormatError
from alphatriangle.data.replay.recordings import read_episodes, write_episodes
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.replay.segments import RowsKind, SegmentRef, read_segment, write_segment
from alphatriangle.data.schemas import FORMAT_1
from alphatriangle.data.storage import fs
from alphatriangle.features import experiences_from_rows
from alphatriangle.utils.columns import joined
from alphatriangle.utils.types import Episode, Rows
from tests.features.test_encoder import assert_same_rows, random_rows


def write_rows(path: Path, rows: Rows, first: int) -> fs.FileDigest:
    return write_segment(path, rows.columns(), first, FORMAT_1)


def read_rows(path: Path) -> Rows:
    return Rows(**joined(read_segment(path)))


def sequence(folder: Path, refs: list[SegmentRef], first: int, end: int) -> SegmentedRows:
    return SegmentedRows(folder, refs, first, end, RowsKind(FORMAT_1, {}))


@pytest.mark.parametrize("count", [0, 1, 57])
def test_rows_come_back_bit_for_bit(tmp_path: Path, count: int) -> None:
    rows = random_rows(count)
    write_rows(tmp_path / "s.arrow", rows, first=10)
    assert_same_rows(read_rows(tmp_path / "s.arrow"), rows)


def test_any_arrow_reader_opens_a_segment(tmp_path: Path) -> None:
    rows = random_rows(8)
    write_rows(tmp_path / "s.arrow", rows, first=10)
    table = pa.ipc.open_file(str(tmp_path / "s.arrow")).read_all().to_pydict()
    for i, (_, policy, value) in enumerate(experiences_from_rows(rows)):
        assert dict(zip(table["actions"][i], table["policy"][i], strict=True)) == policy
        assert table["n_step_return"][i] == value
        assert table["board_lo"][i] == rows.boards[i, 0]


def written(folder: Path, name: str, rows: Rows, first: int) -> SegmentRef:
    digest = write_rows(folder / name, rows, first)
    return SegmentRef(name, first, first + len(rows), digest.sha256)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 60))
def test_a_sequence_over_segments_is_the_rows(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], a: int, b: int
) -> None:
    """However rows are cut into segments, and whatever part of them is asked for."""
    folder = tmp_path_factory.mktemp("segments")
    rows = random_rows(sum(sizes))
    refs, first = [], 0
    for size in sizes:
        refs.append(written(folder, f"{first}.arrow", rows[first : first + size], first))
        first += size
    low, high = sorted((min(a, first), min(b, first)))
    needed = [r for r in refs if r.end > low and r.first < high]
    part = sequence(folder, needed, low, high)
    assert len(part) == high - low
    assert_same_rows(Rows(**part.columns()), rows[low:high])
    if high > low:
        expected = list(experiences_from_rows(rows[low:high]))
        np.testing.assert_array_equal(part[-1][0]["grid"], expected[-1][0]["grid"])
        assert [e[1] for e in part[:2]] == [e[1] for e in expected[:2]]
        assert [e[2] for e in part] == [e[2] for e in expected]
    with pytest.raises(IndexError):
        part[high - low]


def test_a_hole_between_segments_is_found(tmp_path: Path) -> None:
    rows = random_rows(20)
    refs = [
        written(tmp_path, "a.arrow", rows[:5], 0),
        written(tmp_path, "b.arrow", rows[8:], 8),
    ]
    with pytest.raises(CorruptBufferError, match="row 5 is in no segment"):
        sequence(tmp_path, refs, 0, 20).columns()
    with pytest.raises(CorruptBufferError, match="row 20 is in no segment"):
        sequence(tmp_path, refs[1:], 8, 21).columns()
    wrong = [refs[0]._replace(end=6)]
    with pytest.raises(CorruptBufferError, match="5 rows, not 6"):
        sequence(tmp_path, wrong, 0, 5).columns()
    replaced = [refs[0]._replace(sha256=refs[1].sha256)]
    with pytest.raises(CorruptBufferError, match="not those that were saved"):
        sequence(tmp_path, replaced, 0, 5).columns()


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"
    with pytest.raises(CorruptBufferError, match="missing"):
        read_segment(path)
    path.write_bytes(b"not arrow")
    with pytest.raises(CorruptBufferError, match="not a readable Arrow file"):
        read_segment(path)
    write_episodes(path, [])
    with pytest.raises(CorruptBufferError, match="columns"):
        read_segment(path)
    table = pa.table({"x": [1]}).replace_schema_metadata({"format_version": "9"})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UnsupportedFormatError, match="version 9"):
        read_segment(path)


SOME_EPISODES = [
    Episode(3, 2**63 + 1, np.array([5, 359], np.int16), -1.25, 77, True),
    Episode(4, 0, np.array([], np.int16), 0.0, 0, False),
]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_episodes_come_back(tmp_path: Path, count: int) -> None:
    episodes = SOME_EPISODES[:count]
    write_episodes(tmp_path / "e.arrow", episodes)
    loaded = read_episodes(tmp_path / "e.arrow")
    assert [e._replace(moves=e.moves.tolist()) for e in loaded] == [
        e._replace(moves=e.moves.tolist()) for e in episodes
    ]


def test_an_episode_without_a_move_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.arrow"
    write_episodes(path, SOME_EPISODES)
    table = pa.ipc.open_file(str(path)).read_all()
    moves = pa.array([[5, None], []], pa.list_(pa.int16()))
    index = table.schema.names.index("moves")
    table = table.set_column(index, table.schema.field(index), moves)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(CorruptBufferError, match="a value is missing"):
        read_episodes(path)


def test_neither_writing_nor_reading_imports_pandas(tmp_path: Path) -> None:
    """pyarrow does it when asked to convert: a third of a second at the first save of a start."""
    code = f"""
import sys
from pathlib import Path
from tests.data.replay.test_segments import *
folder = Path({str(tmp_path)!r})
write_rows(folder / "s.arrow", random_rows(3), first=0)
assert len(read_rows(folder / "s.arrow")) == 3
write_episodes(folder / "e.arrow", SOME_EPISODES)
assert len(read_episodes(folder / "e.arrow")) == 2
assert "pandas" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
