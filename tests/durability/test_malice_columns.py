"""Hostile files of rows of any columns (format version 2): refused by the name of the file.

Digests and seals are right, as anybody can compute them; what the files say is not.
"""

from __future__ import annotations

import copyreg
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from alphatriangle.config import Config
from alphatriangle.data import BufferData, Serializer
from alphatriangle.data.commits.files import StoredCommit, list_commits, read_commit
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.errors import CorruptBufferError
from alphatriangle.data.replay.arrow_files import tables_in
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.replay.segments import SegmentRef, merge_segments
from alphatriangle.data.storage import fs
from tests.data.helpers import GenericTraining, assert_same_replay, started
from tests.durability.budget import report
from tests.durability.test_malice import arrow_file, change_commit, refused

ROWS = 30


class Forged:
    """A run of :class:`GenericTraining` with one commit; buffer, segment and commit say what they
    are told to."""

    def __init__(self, config: Config) -> None:
        training = started(config, GenericTraining)
        training.commit(rows=ROWS)
        training.manager.close()
        self.config, self.run = config, training.manager.paths.run
        self.commit = list_commits(training.manager.paths).commits[0].path
        named = {f["kind"]: f["path"] for f in json.loads(self.commit.read_bytes())["files"]}
        self.buffer, self.segment = self.run / named["buffer"], self.run / named["segment"]
        self.record = Serializer().load_buffer(self.buffer)
        (table,) = tables_in(self.segment, self.segment.read_bytes())
        self.table = table.replace_schema_metadata(None)

    def write_segment(self, content: bytes) -> None:
        """Another segment; the buffer names its digest."""
        self.segment.write_bytes(content)
        rows = self.record.buffer_list
        rows.refs = tuple(ref._replace(sha256=fs.digest(content).sha256) for ref in rows.refs)
        self.write_buffer({})

    def write_buffer(self, fields: dict[str, Any]) -> None:
        """The buffer with other fields, pickled as they are."""
        state = {**self.record.__getstate__(), "__dict__": {**self.record.__dict__, **fields}}

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj: Any) -> Any:
                if not isinstance(obj, SegmentedRows):
                    return None
                refs = [tuple(ref)[:4] for ref in obj.refs]
                return ("alphatriangle.segments", refs, obj.first, obj.end)

            def reducer_override(self, obj: Any) -> Any:
                if isinstance(obj, BufferData):
                    return copyreg.__newobj__, (BufferData,), state  # type: ignore[attr-defined]
                return NotImplemented

        with self.buffer.open("wb") as f:
            Pickler(f, 5).dump(self.record)
        self.seal()

    def write_commit(self, **fields: Any) -> None:
        """What the commit says of the segment."""

        def change(commit: dict[str, Any]) -> None:
            next(f for f in commit["files"] if f["kind"] == "segment").update(fields)

        change_commit(self.commit, change)

    def seal(self) -> None:
        """Let the commit name what is there."""

        def change(commit: dict[str, Any]) -> None:
            for file in commit["files"]:
                content = (self.run / file["path"]).read_bytes()
                size, sha256, xxh3 = fs.digest(content)
                file.update(size=size, sha256=sha256, xxh3=xxh3)

        change_commit(self.commit, change)

    def refused(self, named: Path, said: str) -> None:
        """A start refuses it and so does a look, by the name of the file."""
        stored = StoredCommit(self.commit, read_commit(self.commit), sha256="")

        def checked(*seen: Any) -> None:
            read_sound(self.run, stored.path, stored.commit, Serializer(), seen=(*seen,))

        for load in (
            lambda: load_for_reading(self.config.persistence, "tiny"),
            checked,
        ):
            error = str(refused(load))
            assert str(named) in error
            assert said in error


def columns_of(**more: Any) -> dict[Any, Any]:
    """The columns that the buffer should say, but for those."""
    return {
        "observations": ("uint8", (6, 5)),
        "actions": ("int64", ()),
        "rewards": ("float32", ()),
        "done": ("bool", ()),
    } | more


def changing(**more: Any) -> dict[str, Any]:
    """The same of columns that change."""
    return {
        "priorities": np.ones(ROWS, np.float32),
        "values": np.ones((ROWS, 2), np.float16),
    } | more


class _Lies(NamedTuple):
    """Fields of a buffer of format version 2, and what is said of them."""

    fields: dict[str, Any]
    said: str
    by_segment: bool = False
    """Whether it takes the segment to see it."""


BUFFERS: dict[str, _Lies] = {
    "a huge shape": _Lies(
        {"columns": columns_of(rewards=("float32", (1 << 40,)))}, "'rewards' has rows of a shape"
    ),
    "a huge product": _Lies(
        {"columns": columns_of(rewards=("float32", (1 << 20,) * 60))}, "rows of a shape"
    ),
    "numbers without end": _Lies(
        {"columns": columns_of(rewards=("float32", (1 << 400_000,) * 40))}, "rows of a shape"
    ),
    "dimensions without end": _Lies(
        {"columns": columns_of(rewards=("float32", (1 << 30,) * 200_000))}, "rows of a shape"
    ),
    "a negative shape": _Lies(
        {"columns": columns_of(rewards=("float32", (-1,)))}, "'rewards' has rows of a shape"
    ),
    "rows of nothing": _Lies(
        {"columns": columns_of(rewards=("float32", (0,)))}, "'rewards' has rows of a shape"
    ),
    "a shape of floats": _Lies(
        {"columns": columns_of(observations=("uint8", (6.0, 5.0)))}, "columns.observations"
    ),
    "a shape of truths": _Lies(
        {"columns": columns_of(rewards=("float32", (True,)))}, "columns.rewards"
    ),
    "objects": _Lies({"columns": columns_of(rewards=("object", ()))}, "dtype 'object'"),
    "records": _Lies({"columns": columns_of(rewards=("void64", ()))}, "dtype 'void64'"),
    "another byte order": _Lies({"columns": columns_of(rewards=(">f4", ()))}, "dtype '>f4'"),
    "an alias of a dtype": _Lies({"columns": columns_of(rewards=("single", ()))}, "'single'"),
    "a dtype that is a dtype": _Lies(
        {"columns": columns_of(rewards=(np.dtype("f4"), ()))}, "columns.rewards"
    ),
    "names that are numbers": _Lies({"columns": columns_of() | {1: ("bool", ())}}, "columns.1"),
    "names that are bytes": _Lies(
        {"columns": columns_of() | {b"done": ("bool", ())}}, "columns.b'done'"
    ),
    "no name": _Lies({"columns": columns_of() | {"": ("bool", ())}}, "a column has no name"),
    "no columns": _Lies({"columns": {}}, "there is no column"),
    "columns that are a list": _Lies({"columns": [("rewards", "float32", ())]}, "columns"),
    "a column more than the segment": _Lies(
        {"columns": columns_of(more=("bool", ()))}, "'more' is gone", True
    ),
    "a column less than the segment": _Lies(
        {"columns": {"rewards": ("float32", ())}}, "is new", True
    ),
    "another dtype than the segment's": _Lies(
        {"columns": columns_of(actions=("uint64", ()))}, "'actions' was uint64 and is int64", True
    ),
    "another shape than the segment's": _Lies(
        {"columns": columns_of(observations=("uint8", (5, 6)))}, "was uint8 [5x6]", True
    ),
    "a mutable column too short": _Lies(
        {"mutable": changing(priorities=np.ones(ROWS - 1, np.float32))}, "'priorities' has not"
    ),
    "a mutable column too long": _Lies(
        {"mutable": changing(priorities=np.ones(ROWS + 1, np.float32))}, "'priorities' has not"
    ),
    "a mutable number": _Lies({"mutable": changing(priorities=1.0)}, "'priorities' has not"),
    "a mutable array of no rows": _Lies(
        {"mutable": changing(priorities=np.array(1.0))}, "'priorities' has not"
    ),
    "a mutable list": _Lies({"mutable": changing(values=[0.0] * ROWS)}, "'values' has not"),
    "a mutable column of rows of nothing": _Lies(
        {"mutable": changing(values=np.ones((ROWS, 0), np.float16))}, "'values' has the shape"
    ),
    "mutable strings": _Lies(
        {"mutable": changing(values=np.array(["x"] * ROWS))}, "is not that of numbers"
    ),
    "mutable records": _Lies(
        {"mutable": changing(values=np.zeros(ROWS, np.dtype([("a", "f4")])))}, ""
    ),
    "mutable objects": _Lies({"mutable": changing(values=np.array([None] * ROWS, object))}, ""),
    "mutable numbers of another byte order": _Lies(
        {"mutable": changing(values=np.zeros(ROWS, ">f4"))}, "'values' has the dtype >f4"
    ),
    "mutable names that are numbers": _Lies(
        {"mutable": changing() | {1: np.ones(ROWS)}},
        "mutable.1",  # type: ignore[dict-item]
    ),
    "mutable columns that are a list": _Lies({"mutable": [np.ones(ROWS)]}, "mutable"),
    "an unknown codec": _Lies({"codec": "evil"}, "coded by 'evil'"),
    "a codec to import": _Lies({"codec": "os:system"}, "coded by 'os:system'"),
    "a codec that is bytes": _Lies({"codec": b""}, "codec"),
    "the puzzle's codec": _Lies({"codec": "alphatriangle"}, "it says 2"),
    "version 1 with columns": _Lies({"format_version": 1}, "of format version 2"),
    "version 1 of these rows": _Lies(
        {
            "format_version": 1,
            "codec": "alphatriangle",
            "columns": {},
            "mutable": {},
            "counters": {},
        },
        "their codec was 'alphatriangle' and is ''",
        True,
    ),
    "a version without end": _Lies({"format_version": 1 << 400_000}, ""),
    "a version that is a truth": _Lies({"format_version": True}, ""),
    "more rows than there are": _Lies(
        {"total_added": ROWS + 7, "oldest": 0}, "the counters say otherwise"
    ),
    "rows of later numbers": _Lies(
        {"total_added": 10 * ROWS, "oldest": 9 * ROWS}, "but the counters say [270, 300]"
    ),
    "rows of later numbers, by the end alone": _Lies(
        {"total_added": 10 * ROWS, "oldest": None}, "but the counters say [270, 300]"
    ),
    "rows of numbers below 0": _Lies({"total_added": -1, "oldest": None}, "no numbers of rows"),
    "rows without end": _Lies({"total_added": 1 << 400_000, "oldest": None}, "no numbers of rows"),
    "counters that are a list": _Lies({"counters": [1]}, "counters"),
    "a list of rows": _Lies({"buffer_list": [], "total_added": 0, "mutable": {}}, "it says 2"),
}


@pytest.mark.parametrize("case", BUFFERS)
def test_buffers_of_columns_that_lie_are_refused_by_name(config: Config, case: str) -> None:
    forged = Forged(config)
    forged.write_buffer(BUFFERS[case].fields)
    named = forged.segment if BUFFERS[case].by_segment else forged.buffer
    forged.refused(named, BUFFERS[case].said)


@pytest.mark.parametrize("first", [1, 1 << 63, 1 << 70])
def test_rows_of_other_numbers_are_refused(config: Config, first: int) -> None:
    """What the buffer says of its rows agrees with itself, and not with the commit or with what
    numbers of rows can be."""
    forged = Forged(config)
    rows, end = forged.record.buffer_list, first + ROWS
    rows.first, rows.end = first, end
    rows.refs = tuple(ref._replace(first=first, end=end) for ref in rows.refs)
    forged.write_buffer({"oldest": first, "total_added": end})
    in_range = first < 1 << 62
    forged.refused(forged.commit if in_range else forged.buffer, "rows")


@pytest.mark.parametrize("where", ["segment", "rows"])
def test_numbers_of_rows_without_end_are_refused(config: Config, where: str) -> None:
    forged = Forged(config)
    rows = forged.record.buffer_list
    if where == "segment":
        rows.refs = tuple(ref._replace(end=1 << 400_000) for ref in rows.refs)
    else:
        rows.end = 1 << 400_000
    forged.write_buffer({})
    forged.refused(forged.buffer, "")


@pytest.mark.parametrize(
    "fields", [{"first": 1}, {"end": 1}, {"first": None}, {"end": 1 << 70}], ids=str
)
def test_a_commit_says_of_segments_what_their_buffer_says(
    config: Config, fields: dict[str, Any]
) -> None:
    """The next save builds on what the commit says."""
    forged = Forged(config)
    forged.write_commit(**fields)
    forged.refused(forged.commit, "says other rows than its buffer")


def test_a_commit_names_the_segments_of_its_buffer_and_no_others(config: Config) -> None:
    """The next save builds on the last of them."""
    forged = Forged(config)
    other = forged.segment.with_name("30-59.arrow")
    other.write_bytes(forged.segment.read_bytes())

    def add(commit: dict[str, Any]) -> None:
        known = next(f for f in commit["files"] if f["kind"] == "segment")
        path = str(Path(known["path"]).with_name(other.name))
        commit["files"].append({**known, "path": path, "first": ROWS, "end": 2 * ROWS})

    change_commit(forged.commit, add)
    forged.refused(forged.commit, "other segments than its buffer")


def _of_columns(forged: Forged, **changed: pa.Array) -> bytes:
    """A segment of version 2 with other columns, and notes of them."""
    table = forged.table
    for column, values in changed.items():
        index = table.schema.names.index(column)
        field = table.schema.field(index).with_type(values.type)
        table = table.set_column(index, field, values)
    return arrow_file(table, format_version="2")


def _lists(size: int, values: int) -> pa.Array:
    """[ROWS] fixed-size lists, of as many values as there may be."""
    kind = pa.list_(pa.uint8(), size)
    numbers = pa.array(np.zeros(values, np.uint8))
    return pa.FixedSizeListArray.from_buffers(kind, ROWS, [None], children=[numbers])


SEGMENTS: dict[str, Callable[[Forged], bytes]] = {
    "fewer rows": lambda f: arrow_file(f.table.slice(1), format_version="2"),
    "the columns of a mutable one too": lambda f: arrow_file(
        f.table.append_column("priorities", pa.array(np.ones(ROWS, np.float32))),
        format_version="2",
    ),
    "a column twice": lambda f: arrow_file(
        f.table.append_column("done", f.table["done"]), format_version="2"
    ),
    "other numbers": lambda f: _of_columns(f, rewards=f.table["rewards"].cast(pa.float64())),
    "strings": lambda f: _of_columns(f, rewards=pa.array(["x"] * ROWS)),
    "records": lambda f: _of_columns(f, rewards=pa.array([{"a": 1}] * ROWS)),
    "times": lambda f: _of_columns(f, actions=f.table["actions"].cast(pa.timestamp("us"))),
    "a dictionary": lambda f: _of_columns(f, actions=f.table["actions"].dictionary_encode()),
    "nothing but nulls": lambda f: _of_columns(f, rewards=pa.nulls(ROWS)),
    "a missing value": lambda f: _of_columns(
        f, rewards=pa.array([None] + [1.0] * (ROWS - 1), pa.float32())
    ),
    "lists": lambda f: _of_columns(f, actions=pa.array([[1]] * ROWS, pa.list_(pa.int64()))),
    "rows shorter than their shape": lambda f: _of_columns(f, observations=_lists(29, 29 * ROWS)),
    "lists of fewer values than they need": lambda f: _of_columns(
        f, observations=_lists(30, 30 * ROWS)
    ).replace(struct.pack("<qq", 30 * ROWS, 0), struct.pack("<qq", 1, 0)),
    "another shape": lambda f: arrow_file(f.table, format_version="2").replace(b"6,5", b"5,6"),
    "a shape that is none": lambda f: arrow_file(f.table, format_version="2").replace(
        b"6,5", b"6,x"
    ),
    "a huge shape": lambda f: arrow_file(_shaped(f.table, b"9" * 4000), format_version="2"),
    "a shape without end": lambda f: arrow_file(
        _shaped(f.table, b",".join([b"2147483647"] * 100_000)), format_version="2"
    ),
    "an unknown codec": lambda f: arrow_file(f.table, format_version="2", codec="evil"),
    "the puzzle's codec": lambda f: arrow_file(f.table, format_version="2", codec="alphatriangle"),
    "version 1": lambda f: arrow_file(f.table, format_version="1"),
    "a version of the future": lambda f: arrow_file(f.table, format_version="3"),
    "a version without end": lambda f: arrow_file(f.table, format_version="9" * 5000),
    "a version that is none": lambda f: arrow_file(f.table, format_version="²"),
}


SAID = {
    "a shape without end": "a row of 100000 dimensions",
    "an unknown codec": "coded by 'evil'",
    "the puzzle's codec": "columns are not those of this game's rows",
    "another shape": "was uint8 [6x5] and is uint8 [5x6]",
}
"""Of some of them."""


def _shaped(table: pa.Table, shape: bytes) -> pa.Table:
    field = table.schema.field("observations").with_metadata({b"shape": shape})
    return table.set_column(0, field, table["observations"])


@pytest.mark.parametrize("case", SEGMENTS)
def test_segments_of_columns_that_lie_are_refused_by_name(config: Config, case: str) -> None:
    forged = Forged(config)
    forged.write_segment(SEGMENTS[case](forged))
    forged.refused(forged.segment, SAID.get(case, ""))


def test_what_is_not_valid_is_not_merged(config: Config, tmp_path: Path) -> None:
    """Rows are put together without being decoded."""
    forged = Forged(config)
    forged.write_segment(SEGMENTS["lists of fewer values than they need"](forged))
    digest = fs.digest_of(forged.segment)
    ref = SegmentRef(forged.segment.name, 0, ROWS, digest.sha256, digest.xxh3)
    with pytest.raises(CorruptBufferError):
        merge_segments(tmp_path / "merged.arrow", forged.segment.parent, [ref])


def test_what_is_not_forged_is_loaded(config: Config) -> None:
    """The forger changes nothing but what it is told to."""
    forged = Forged(config)
    forged.write_segment(arrow_file(forged.table, format_version="2"))
    state = load_for_reading(config.persistence, "tiny")
    training = GenericTraining(config)
    training.advance(ROWS)
    assert_same_replay(state, training.buffer)


@pytest.mark.parametrize(
    "values",
    [np.ones((ROWS, 1), np.float16), np.ones((ROWS, 2)), np.ones((ROWS, 2), np.int8)],
    ids=["broadcast", "float64", "int8"],
)
def test_mutable_columns_of_another_kind_than_the_rings_are_not_taken(
    config: Config, values: npt.NDArray[Any]
) -> None:
    """The file agrees with itself; the ring stays what it was."""
    forged = Forged(config)
    forged.write_buffer({"mutable": changing(values=values)})
    training = GenericTraining(config)
    state = load_for_reading(config.persistence, "tiny")
    with pytest.raises(ValueError, match="other mutable columns: column 'values'"):
        training.restore(state)
    assert len(training.buffer) == 0
    assert not training.buffer["observations"].any()


def test_what_is_refused_is_counted() -> None:
    """For the report."""
    report("hostile files, generic", files=len(BUFFERS) + len(SEGMENTS) + 13)
