"""Hostile files: refused with our own error, no code run, nothing outside touched."""

from __future__ import annotations

import builtins
import codecs
import copyreg
import functools
import hashlib
import io
import json
import operator
import os
import pickle
import pickletools
import struct
import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from alphatriangle.config import Config
from alphatriangle.data import BufferData, CheckpointData, Serializer, safe_pickle
from alphatriangle.data.commits.files import StoredCommit, list_commits, read_commit
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.errors import DataError, UnsafePickleError
from alphatriangle.data.replay.arrow_files import read_table
from alphatriangle.data.replay.recordings import read_episodes
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.replay.segments import read_segment, stored_table
from alphatriangle.data.serializer import tensor_from_array
from tests.data.helpers import GenericTraining, assert_same_replay, started
from tests.durability.budget import report
from tests.features.test_encoder import random_rows

MEMORY_BOUND = 300 << 20
CANARY = "canary-was-here"
ROWS = 30
"""Of a replay that is forged."""


class Reduces:
    """Pickles as the call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _touch() -> None:
    Path(CANARY).touch()


def opcodes(*parts: bytes) -> bytes:
    """A pickle made by hand."""
    return b"\x80\x05" + b"".join(parts) + b"."


def name(module: str, attribute: str) -> bytes:
    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    return text(module) + text(attribute) + b"\x93"


def calls(module: str, attribute: str, *arguments: Any) -> bytes:
    """A pickle that calls a global with plain arguments."""
    plain = pickle.dumps(arguments, protocol=2)[2:-1]
    return opcodes(name(module, attribute), plain, b"R")


def _nested(depth: int) -> bytes:
    return opcodes(b"]" * depth, b"a" * (depth - 1))


RUN_CODE: dict[str, Any] = {
    "os.system": Reduces(os.system, f"touch {CANARY}"),
    "subprocess": Reduces(subprocess.check_output, ["touch", CANARY]),
    "eval": Reduces(builtins.eval, f"open({CANARY!r}, 'w')"),
    "exec": Reduces(builtins.exec, f"open({CANARY!r}, 'w')"),
    "open": Reduces(builtins.open, CANARY, "w"),
    "getattr chain": Reduces(getattr, Reduces(__import__, "os"), "system"),
    "map": Reduces(list, Reduces(map, os.system, [f"touch {CANARY}"])),
    "partial": Reduces(functools.partial, os.system, f"touch {CANARY}"),
    "attrgetter": Reduces(operator.attrgetter("system"), os),
    "code object": Reduces(types.FunctionType, _touch.__code__, {}),
    "numpy loader": Reduces(np.load, CANARY, None, True),
    "torch loader": Reduces(torch.load, CANARY),
    "torch hub": Reduces(torch.hub.load, ".", "model"),
    "numpy runstring": Reduces(np.testing.rundocs, CANARY),
    "nested pickle": Reduces(pickle.loads, pickle.dumps(Reduces(os.system, f"touch {CANARY}"))),
    "lambda": lambda: os.system(f"touch {CANARY}"),
    "closure": {"model": (lambda path: lambda: Path(path).touch())(CANARY)},
    "instance of a local class": type("Local", (), {"__setstate__": lambda self, s: _touch()})(),
}
_REBUILT = name("alphatriangle.data.state_types", "rebuilt")


def plain(value: object) -> bytes:
    """The opcodes that push a plain value."""
    content = pickle.dumps(value, protocol=2)
    return content[2:-1]


def rebuilt(*arguments: bytes) -> bytes:
    """The opcodes that push what ``rebuilt`` makes of arguments pushed so."""
    return _REBUILT + b"(" + b"".join(arguments) + b"tR"


_LONG_RANGE = rebuilt(plain("range"), plain(0), plain(1 << 33), plain(1))


def _outside_its_table() -> bytes:
    """A generator that is made well and then told that it stands far behind its numbers."""
    state: dict[str, Any] = np.random.RandomState(1).get_state(legacy=False)  # type: ignore[assignment]
    key = state["state"]["key"]
    array = pickle.dumps(key, protocol=5)
    made = array[array.index(b"\x8c") : -1] if array[2:3] == b"\x95" else array[2:-1]

    def pushed(position: int) -> bytes:
        inner = b"}(" + plain("key") + made + plain("pos") + plain(position) + b"u"
        outer = {k: v for k, v in state.items() if k != "state"}
        return (
            b"}("
            + plain("state")
            + inner
            + b"u"
            + b"".join(b"(" + plain(k) + plain(v) + b"u" for k, v in outer.items())
        )

    return opcodes(rebuilt(plain("RandomState"), pushed(0)), pushed(10**6), b"b")


CHANGED: dict[str, bytes] = {
    "a deque of a range": opcodes(name("collections", "deque"), _LONG_RANGE, b"\x85R"),
    "a size of a range": opcodes(rebuilt(plain("Size"), _LONG_RANGE)),
    "an array of a range": opcodes(rebuilt(plain("numbers"), plain("d"), _LONG_RANGE)),
    "a function's defaults": opcodes(
        name("alphatriangle.data.serializer", "tensor_from_array"),
        plain((None, {"__defaults__": ("evil",)})) + b"b",
    ),
    "a generator outside its table": _outside_its_table(),
}
BY_HAND: dict[str, bytes] = {
    **CHANGED,
    "posix.system": calls("posix", "system", f"touch {CANARY}"),
    "dotted name": opcodes(name("numpy", "os.system"), b"\x8c\x01x\x85R"),
    "dunder of an allowed class": calls("collections", "OrderedDict.__init__.__globals__"),
    "module attribute": calls("alphatriangle.data.serializer", "cloudpickle.load", 1),
    "our own function": calls("alphatriangle.data.storage.fs", "remove", CANARY),
    "extension code": opcodes(b"\x82\x01"),
    "persistent ID": opcodes(b"\x8c\x04evilQ"),
    "text persistent ID": b"Pevil\n.",
    "huge bytearray": calls("builtins", "bytearray", 1 << 40),
    "large bytearray": calls("builtins", "bytearray", 1 << 33),
    "huge array": calls("numpy._core.multiarray", "_reconstruct", 1, (1 << 40,), b"b"),
    "huge string": opcodes(b"\x8d" + struct.pack("<Q", 1 << 40)),
    "huge bytes": opcodes(b"\x8e" + struct.pack("<Q", 1 << 40)),
    "huge frame": b"\x80\x05\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "huge memo": opcodes(b"Nr" + struct.pack("<I", 0x7FFFFFFF)),
    "large memo": opcodes(b"Nr" + struct.pack("<I", 200_000_000)),
    "huge integer": opcodes(b"\x8b" + struct.pack("<i", 0x7FFFFFFF)),
    "deep recursion": _nested(1_000_000),
    "deep tuples": opcodes(b")" + b"\x85" * 1_000_000),
    "dtype of objects": calls("numpy", "dtype", "O8", False, True),
    "dtype of records": calls("numpy", "dtype", "V8", False, True),
    "codec": calls("_codecs", "encode", "x", "rot13"),
    "repeated doubling": opcodes(b"]" + b"q\x00" + b"(h\x00h\x00e" * 10_000),
    "stack underflow": opcodes(b"0"),
    "mark underflow": opcodes(b"e"),
    "empty": b"",
    "only a stop": b".",
    "protocol of the future": b"\x80\xff.",
    "unhashable key": opcodes(b"}]Ns"),
}


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder / CANARY


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) << 10
    return 0


def refused(load: Callable[[], object]) -> DataError:
    """The error of ours that ``load`` ends with, in bounded memory."""
    linux = Path("/proc/self/clear_refs")
    if linux.exists():
        linux.write_text("5")
    before = _memory("VmRSS")
    with pytest.raises(DataError) as failure:
        load()
    assert _memory("VmHWM") - before < MEMORY_BOUND
    return failure.value


@pytest.mark.parametrize("case", RUN_CODE)
def test_pickles_that_run_code_are_refused(tmp_path: Path, canary: Path, case: str) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(cloudpickle.dumps(RUN_CODE[case]))
    for load in (Serializer().load_checkpoint, Serializer().load_buffer):
        error = refused(lambda load=load: load(path))  # type: ignore[misc]
        assert isinstance(error, UnsafePickleError)
        assert str(path) in str(error)
    assert not canary.exists()


def checkpoint_fields(**more: Any) -> dict[str, Any]:
    return {
        "run_name": "r",
        "global_step": 1,
        "episodes_played": 0,
        "total_simulations_run": 0,
        "created_at": "",
        "model_state_dict": {},
        "optimizer_state_dict": {},
        **more,
    }


@pytest.mark.parametrize("place", ["components", "model_state_dict", "rng_state", "config"])
@pytest.mark.parametrize("case", ["os.system", "lambda", "torch loader"])
def test_they_are_refused_deep_inside_a_checkpoint(
    tmp_path: Path, canary: Path, case: str, place: str
) -> None:
    fields = checkpoint_fields(**{place: {"x": RUN_CODE[case]}})
    path = tmp_path / "hostile.pkl"
    path.write_bytes(cloudpickle.dumps(CheckpointData.model_construct(**fields)))
    assert isinstance(refused(lambda: Serializer().load_checkpoint(path)), UnsafePickleError)
    assert not canary.exists()


@pytest.mark.parametrize("case", CHANGED)
def test_what_the_allow_list_gives_out_is_not_changed_and_takes_no_more_than_the_file_holds(
    case: str,
) -> None:
    with pytest.raises((pickle.UnpicklingError, TypeError, ValueError)):
        safe_pickle.load(CHANGED[case], Path("hostile.pkl"), frozenset(), lambda pid: None)
    assert tensor_from_array.__defaults__ == (False,)


@pytest.mark.parametrize("case", BY_HAND)
def test_pickles_made_by_hand_are_refused(tmp_path: Path, canary: Path, case: str) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(BY_HAND[case])
    for load in (Serializer().load_checkpoint, Serializer().load_buffer):
        refused(lambda load=load: load(path))  # type: ignore[misc]
    assert not canary.exists()


@pytest.mark.parametrize(
    "segment",
    ["../../outside.arrow", "/outside.arrow", "a/../../outside.arrow", "..", "", "a\\b", "a\0b"],
)
def test_segments_outside_the_run_are_not_opened(tmp_path: Path, segment: str) -> None:
    buffers = tmp_path / "run" / "buffers"
    (buffers / "segments").mkdir(parents=True)
    outside = tmp_path / "run" / "outside.arrow"
    outside.write_bytes(b"secret")
    pid = ("alphatriangle.segments", [(segment, 0, 1, "0" * 64)], 0, 1)

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return pid if obj == "rows" else None

    content = io.BytesIO()
    Pickler(content, 5).dump(BufferData.model_construct(buffer_list="rows"))
    path = buffers / "buffer.pkl"
    path.write_bytes(content.getvalue())
    assert "names a segment" in str(refused(lambda: Serializer().load_buffer(path)))


def test_links_out_of_the_run_are_not_followed(config: Config, tmp_path: Path) -> None:
    training = started(config)
    training.commit()
    training.commit()
    paths = training.manager.paths
    training.manager.close()
    newest = list_commits(paths).commits[0].commit
    for file in [*newest.of_kind("buffer"), *newest.of_kind("checkpoint")]:
        path = paths.run / file.path
        outside = tmp_path / path.name
        path.rename(outside)
        path.symlink_to(outside)
        state = load_for_reading(config.persistence, "tiny")
        assert "is a link" in state.rejected[0].reason
        path.unlink()
        outside.rename(path)


@pytest.mark.parametrize(
    "value",
    [
        Reduces(codecs.encode, "x", "rot13"),
        np.dtype("O"),
        np.dtype([("a", "f4")]),
        Reduces(np.empty(0).__reduce__()[0], np.ndarray, (3,), b"O"),
    ],
    ids=["codec", "dtype of objects", "dtype of records", "array of objects"],
)
def test_a_checkpoint_cannot_hold_what_numbers_do_not_need(tmp_path: Path, value: object) -> None:
    fields = checkpoint_fields(components={"x": value})
    path = tmp_path / "hostile.pkl"
    path.write_bytes(cloudpickle.dumps(CheckpointData.model_construct(**fields)))
    refused(lambda: Serializer().load_checkpoint(path))


def test_an_array_with_a_forged_dtype_is_refused(tmp_path: Path) -> None:
    array = np.zeros(2, np.dtype([("a", "f4"), ("b", "f4")]))
    fields = checkpoint_fields(components={"x": array})
    path = tmp_path / "hostile.pkl"
    path.write_bytes(cloudpickle.dumps(CheckpointData.model_construct(**fields)))
    refused(lambda: Serializer().load_checkpoint(path))
    assert np.dtype("f8") == np.float64


def test_what_a_file_sets_on_a_dtype_it_sets_on_nothing_else(tmp_path: Path) -> None:
    swapped = opcodes(
        name("numpy", "dtype"),
        pickle.dumps(("f8", False, False), protocol=2)[2:-1],
        b"R",
        pickle.dumps((3, ">", None, None, None, -1, -1, 0), protocol=2)[2:-1],
        b"b",
    )
    path = tmp_path / "hostile.pkl"
    path.write_bytes(swapped)
    refused(lambda: Serializer().load_checkpoint(path))
    assert np.dtype("f8").isnative


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    fields = json.loads(path.read_bytes())
    seal = fields["seal"]
    change(fields)
    if fields.get("seal") == seal:
        # Anybody can compute a seal: it finds rot, not malice.
        text = {name: value for name, value in fields.items() if name != "seal"}
        canonical = json.dumps(text, sort_keys=True, separators=(",", ":"))
        fields["seal"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f["files"][0].update(path="/etc/passwd"),
        lambda f: f["files"][0].update(path="../../../etc/passwd"),
        lambda f: f["files"][0].update(path="a/../../b"),
        lambda f: f["files"][0].update(size=1 << 70),
        lambda f: f["files"][0].update(size=-1),
        lambda f: f["files"][0].update(sha256="x"),
        lambda f: f["files"][0].update(first="0"),
        lambda f: f.update(files={}),
        lambda f: f.update(files=[None]),
        lambda f: f.update(sequence=1 << 70),
        lambda f: f.update(global_step="1"),
        lambda f: f.update(global_step=True),
        lambda f: f.update(metrics={"score": "1e9"}),
        lambda f: f.update(more=1),
        lambda f: f.update(format_version=2),
        lambda f: f.update(format_version="1"),
        lambda f: f.pop("seal"),
        lambda f: f.update(seal=None),
    ],
)
def test_commits_that_say_other_things_are_refused(
    config: Config, change: Callable[[dict[str, Any]], None]
) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    path = list_commits(training.manager.paths).commits[0].path
    _change(path, change)
    refused(lambda: read_commit(path))
    refused(lambda: load_for_reading(config.persistence, "tiny"))


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": 1, "a": 2}',
        b"9" * 100_000,
        b'"\\ud800"',
        b"null",
        b"\xff\xfe",
        b'{"sequence": NaN}',
        b"",
    ],
    ids=lambda text: text[:8].decode("latin1"),
)
def test_commits_that_are_no_commits_are_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "step_1.json"
    path.write_bytes(text)
    refused(lambda: read_commit(path))


def _puzzle_table(count: int) -> pa.Table:
    return stored_table(random_rows(count).columns(), "alphatriangle")


def _arrow(table: pa.Table, **metadata: str) -> bytes:
    table = table.replace_schema_metadata({"format_version": "1", **metadata})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _with_column(name: str, values: Any) -> bytes:
    table = _puzzle_table(4)
    index = table.schema.names.index(name)
    return _arrow(table.set_column(index, pa.field(name, values.type, nullable=False), values))


ARROW: dict[str, Callable[[], bytes]] = {
    "other columns": lambda: _arrow(pa.table({"x": [1]})),
    "other types": lambda: _with_column("n_step_return", pa.array([1.0] * 4, pa.float64())),
    "a policy longer than there are actions": lambda: _with_column(
        "policy", pa.array([[0.1] * 400] * 4, pa.list_(pa.float32()))
    ),
    "a policy too long by one": lambda: _with_column(
        "policy", pa.array([[0.1] * 145] * 4, pa.list_(pa.float32()))
    ),
    "a missing value": lambda: _with_column("board_lo", pa.array([1, None, 2, 3], pa.uint64())),
    "a missing slot": lambda: _with_column(
        "slots", pa.array([[1, None, 2]] * 4, pa.list_(pa.int8(), 3))
    ),
    "a missing action": lambda: _with_column(
        "actions", pa.array([[None]] * 4, pa.list_(pa.int16()))
    ),
    "a missing probability": lambda: _with_column(
        "policy", pa.array([[None]] * 4, pa.list_(pa.float32()))
    ),
    "no version": lambda: _arrow(_puzzle_table(2)).replace(b"format_version", b"format_Version"),
    "a huge length": lambda: _arrow(_puzzle_table(2)).replace(
        struct.pack("<q", 2), struct.pack("<q", 1 << 50)
    ),
    "a negative length": lambda: _arrow(_puzzle_table(2)).replace(
        struct.pack("<q", 2), struct.pack("<q", -1)
    ),
    "truncated": lambda: _arrow(_puzzle_table(2))[:-20],
    "no footer": lambda: b"ARROW1\0\0",
}


@pytest.mark.parametrize("case", ARROW)
def test_arrow_files_that_lie_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "0-3.arrow"
    path.write_bytes(ARROW[case]())
    refused(lambda: read_segment(path))
    refused(lambda: read_episodes(path))


class Forged:
    """A run of anybody's columns with one commit, whose buffer, segment and commit say what they
    are told to; seals and digests are right."""

    def __init__(self, config: Config) -> None:
        training = started(config, GenericTraining)
        training.commit(rows=ROWS)
        training.manager.close()
        self.config, self.run = config, training.manager.paths.run
        self.commit = list_commits(training.manager.paths).commits[0].path
        named = {f["kind"]: f["path"] for f in json.loads(self.commit.read_bytes())["files"]}
        self.buffer, self.segment = self.run / named["buffer"], self.run / named["segment"]
        self.record = Serializer().load_buffer(self.buffer)
        self.table = read_table(self.segment)[0]

    def write_segment(self, content: bytes) -> None:
        """Another segment; the buffer names its digest."""
        self.segment.write_bytes(content)
        rows = self.record.buffer_list
        rows.refs = tuple(
            ref._replace(sha256=hashlib.sha256(content).hexdigest()) for ref in rows.refs
        )
        self.write_buffer({})

    def write_buffer(self, fields: dict[str, Any]) -> None:
        """The buffer with other fields, pickled as they are."""
        state = {**self.record.__getstate__(), "__dict__": {**self.record.__dict__, **fields}}

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj: Any) -> Any:
                if not isinstance(obj, SegmentedRows):
                    return None
                refs = [tuple(ref) for ref in obj.refs]
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

        _change(self.commit, change)

    def seal(self) -> None:
        """Let the commit name what is there."""

        def change(commit: dict[str, Any]) -> None:
            for file in commit["files"]:
                content = (self.run / file["path"]).read_bytes()
                file.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())

        _change(self.commit, change)

    def refused(self, named: Path, said: str) -> None:
        """A start refuses it and so does a look, by the name of the file."""
        stored = StoredCommit(self.commit, read_commit(self.commit))

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


def test_a_segment_without_end_is_refused(config: Config) -> None:
    forged = Forged(config)
    rows = forged.record.buffer_list
    rows.refs = tuple(ref._replace(end=1 << 400_000) for ref in rows.refs)
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


def _of_columns(forged: Forged, **changed: pa.Array) -> bytes:
    """A segment of version 2 with other columns, and notes of them."""
    table = forged.table
    for column, values in changed.items():
        index = table.schema.names.index(column)
        field = table.schema.field(index).with_type(values.type)
        table = table.set_column(index, field, values)
    return _arrow(table, format_version="2")


def _lists(size: int, values: int) -> pa.Array:
    """[ROWS] fixed-size lists, of as many values as there may be."""
    kind = pa.list_(pa.uint8(), size)
    numbers = pa.array(np.zeros(values, np.uint8))
    return pa.FixedSizeListArray.from_buffers(kind, ROWS, [None], children=[numbers])


SEGMENTS: dict[str, Callable[[Forged], bytes]] = {
    "fewer rows": lambda f: _arrow(f.table.slice(1), format_version="2"),
    "the columns of a mutable one too": lambda f: _arrow(
        f.table.append_column("priorities", pa.array(np.ones(ROWS, np.float32))),
        format_version="2",
    ),
    "a column twice": lambda f: _arrow(
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
    "another shape": lambda f: _arrow(f.table, format_version="2").replace(b"6,5", b"5,6"),
    "a shape that is none": lambda f: _arrow(f.table, format_version="2").replace(b"6,5", b"6,x"),
    "a huge shape": lambda f: _arrow(_shaped(f.table, b"9" * 4000), format_version="2"),
    "a shape without end": lambda f: _arrow(
        _shaped(f.table, b",".join([b"2147483647"] * 100_000)), format_version="2"
    ),
    "an unknown codec": lambda f: _arrow(f.table, format_version="2", codec="evil"),
    "the puzzle's codec": lambda f: _arrow(f.table, format_version="2", codec="alphatriangle"),
    "version 1": lambda f: _arrow(f.table, format_version="1"),
    "a version of the future": lambda f: _arrow(f.table, format_version="3"),
    "a version without end": lambda f: _arrow(f.table, format_version="9" * 5000),
    "a version that is none": lambda f: _arrow(f.table, format_version="²"),
}


def _shaped(table: pa.Table, shape: bytes) -> pa.Table:
    field = table.schema.field("observations").with_metadata({b"shape": shape})
    return table.set_column(0, field, table["observations"])


@pytest.mark.parametrize("case", SEGMENTS)
def test_segments_of_columns_that_lie_are_refused_by_name(config: Config, case: str) -> None:
    forged = Forged(config)
    forged.write_segment(SEGMENTS[case](forged))
    forged.refused(forged.segment, "")


def test_what_is_not_forged_is_loaded(config: Config) -> None:
    """The forger changes nothing but what it is told to."""
    forged = Forged(config)
    forged.write_segment(_arrow(forged.table, format_version="2"))
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
    """For the report; and the hand-made pickles are what they claim to be."""
    disassembled = io.StringIO()
    pickletools.dis(BY_HAND["posix.system"], out=disassembled)
    assert "STACK_GLOBAL" in disassembled.getvalue()
    count = sum(map(len, (RUN_CODE, BY_HAND, ARROW, BUFFERS, SEGMENTS))) + 35
    report("hostile files", files=count, code_run=0)
