"""Hostile files: refused with our own error, no code run, nothing outside touched."""

from __future__ import annotations

import builtins
import codecs
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
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
import torch

from alphatriangle.config import Config
from alphatriangle.data import BufferData, CheckpointData, Serializer, safe_pickle
from alphatriangle.data.commits.files import list_commits, read_commit
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import DataError, UnsafePickleError
from alphatriangle.data.replay.recordings import read_episodes
from alphatriangle.data.replay.segments import read_segment, stored_table
from alphatriangle.data.serializer import tensor_from_array
from tests.data.helpers import started
from tests.durability.budget import report
from tests.features.test_encoder import random_rows

MEMORY_BOUND = 300 << 20
CANARY = "canary-was-here"


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


_DTYPE = name("numpy", "dtype") + plain(("f4", False, True)) + b"R"


def _dtype_of_state(*state: object) -> bytes:
    """What NumPy takes as it is, and its functions crash by."""
    return opcodes(_DTYPE, plain(state), b"b")


def _array_made_twice() -> bytes:
    """Its first memory is given back, whoever uses it."""
    array = name("numpy._core.multiarray", "_reconstruct")
    array += name("numpy", "ndarray") + plain((0,)) + b"C\x01b\x87R"
    state = b"(" + plain(1) + plain((1,)) + _DTYPE + plain(False) + b"C\x04abcdt"
    return opcodes(array, state, b"b", state, b"b")


CHANGED: dict[str, bytes] = {
    "a dtype of five parts": _dtype_of_state(None, None, -1, -1, 0),
    "a dtype with fields": _dtype_of_state(3, "<", None, ("a",), {"a": 1}, -1, -1, 0),
    "a dtype with a subarray": _dtype_of_state(3, "<", (1,), None, None, -1, -1, 0),
    "a dtype of another size": _dtype_of_state(3, "<", None, None, None, 1 << 20, 1, 0),
    "a dtype in no order": _dtype_of_state(3, (1,), None, None, None, -1, -1, 0),
    "an array made twice": _array_made_twice(),
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
    "huge bytearray in place": opcodes(b"\x96" + struct.pack("<Q", 1 << 33)),
    "endless bytearray in place": opcodes(b"\x96" + b"\xff" * 8),
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


@pytest.mark.parametrize("kind", ["O8", "V8"])
def test_a_dtype_of_anything_but_numbers_is_refused_before_it_is_made(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(calls("numpy", "dtype", kind, False, True))
    error = refused(lambda: Serializer().load_checkpoint(path))
    assert f"the dtype {kind!r}, which is not that of numbers" in str(error)


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


def change_commit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A commit that says other things, and is sealed where the seal was left alone."""
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
        lambda f: f.update(format_version=3),
        lambda f: f.update(format_version=1),
        lambda f: f["files"][0].update(xxh3="0" * 31),
        lambda f: f["files"][0].update(xxh3="A" * 32),
        lambda f: f["files"][0].update(xxh3=0),
        lambda f: f["files"][0].update(xxh3=None),
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
    change_commit(path, change)
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


def arrow_file(table: pa.Table, **metadata: str) -> bytes:
    """The table as a file, of format version 1 unless the metadata say otherwise."""
    table = table.replace_schema_metadata({"format_version": "1", **metadata})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _with_column(name: str, values: Any) -> bytes:
    table = _puzzle_table(4)
    index = table.schema.names.index(name)
    return arrow_file(table.set_column(index, pa.field(name, values.type, nullable=False), values))


ARROW: dict[str, Callable[[], bytes]] = {
    "other columns": lambda: arrow_file(pa.table({"x": [1]})),
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
    "no version": lambda: arrow_file(_puzzle_table(2)).replace(
        b"format_version", b"format_Version"
    ),
    "a huge length": lambda: arrow_file(_puzzle_table(2)).replace(
        struct.pack("<q", 2), struct.pack("<q", 1 << 50)
    ),
    "a negative length": lambda: arrow_file(_puzzle_table(2)).replace(
        struct.pack("<q", 2), struct.pack("<q", -1)
    ),
    "truncated": lambda: arrow_file(_puzzle_table(2))[:-20],
    "no footer": lambda: b"ARROW1\0\0",
}


@pytest.mark.parametrize("case", ARROW)
def test_arrow_files_that_lie_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "0-3.arrow"
    path.write_bytes(ARROW[case]())
    refused(lambda: read_segment(path))
    refused(lambda: read_episodes(path))


def test_what_is_refused_is_counted() -> None:
    """For the report; and the hand-made pickles are what they claim to be."""
    disassembled = io.StringIO()
    pickletools.dis(BY_HAND["posix.system"], out=disassembled)
    assert "STACK_GLOBAL" in disassembled.getvalue()
    report("hostile files", files=len(RUN_CODE) + len(BY_HAND) + len(ARROW) + 27, code_run=0)
