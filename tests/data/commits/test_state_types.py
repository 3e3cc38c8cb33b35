"""What a component's state may hold comes back as it was, or is refused when it is saved."""

from __future__ import annotations

import argparse
import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import pathlib
import random
import subprocess
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data import CheckpointData, DataManager, Serializer
from alphatriangle.data.commits.digest import value_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.staging import Staging
from alphatriangle.data.errors import DataError, SaveFailedError, StateTypeError
from alphatriangle.data.state_types import rebuilt
from tests.data.helpers import started
from tests.durability.test_malice import checkpoint_fields

Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    size: int
    weights: torch.Tensor


class Row(list[int]):
    pass


def _versions() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict()


def _filled(state: Any) -> Any:
    for tensor in state.values():
        tensor.fill_(1)
    return state


def _records() -> Any:
    kind = np.dtype([("a", "<f4"), ("b", "u1", (2,)), ("c", [("d", "S3")])], align=True)
    records = np.zeros(2, kind)
    records["a"] = [1.5, 2]
    records["c"]["d"] = b"xyz"
    return records


def _drawn(generator: Any) -> Any:
    generator.random(5)
    return generator


def _optimizer() -> Any:
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.ones_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), betas=(0.8, 0.9))
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def _scheduler() -> Any:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=9).state_dict()


NOON = dt.datetime(2024, 2, 29, 12, 1, 2, 3, tzinfo=dt.UTC, fold=1)
ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30), "five")
KINDS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "integer": lambda: 3**200,
    "numbers": lambda: [True, -1, 1.5, float("inf"), "text", b"bytes"],
    "nested": lambda: {"a": [(1, {"b": [()]})], 3: {}, (1, None): 2},
    "complex": lambda: complex(1, -2),
    "ellipsis": lambda: ...,
    "range": lambda: range(5, 50, 3),
    "slice": lambda: slice(1, None, 2),
    "bytearray": lambda: bytearray(b"abc"),
    "set": lambda: {"a", "b", 3, None},
    "frozenset": lambda: frozenset({1, "x", (2, 3)}),
    "keys": lambda: {frozenset({1, 2}): 1, frozenset({3}): 2, dt.date(2024, 1, 1): 3, None: 4},
    "deque": lambda: collections.deque([1, [2]], maxlen=3),
    "Counter": lambda: collections.Counter({"b": 2, "a": 1}),
    "defaultdict": lambda: collections.defaultdict(list, {"a": [1]}),
    "defaultdict of nothing": lambda: collections.defaultdict(None, {"a": np.arange(3)}),
    "OrderedDict": lambda: collections.OrderedDict([("b", 1), ("a", [2])]),
    "state dict of layers": lambda: _filled(_versions()),
    "SimpleNamespace": lambda: types.SimpleNamespace(a=1, b=[np.arange(2)]),
    "Namespace": lambda: argparse.Namespace(lr=0.1, path=pathlib.Path("x")),
    "array": lambda: array.array("d", [1.0, 2.5]),
    "date": lambda: dt.date(2024, 2, 29),
    "time": lambda: dt.time(23, 59, 58, 7, tzinfo=ZONE, fold=1),
    "datetime": lambda: NOON,
    "local datetime": lambda: dt.datetime(2024, 3, 1),
    "datetime of a zone": lambda: NOON.replace(tzinfo=zoneinfo.ZoneInfo("UTC")),
    "timedelta": lambda: dt.timedelta(-3, 4, 5),
    "timezone": lambda: ZONE,
    "Decimal": lambda: decimal.Decimal("1.50"),
    "Fraction": lambda: fractions.Fraction(2, 6),
    "UUID": lambda: uuid.UUID(int=12345),
    "Path": lambda: pathlib.Path("/a/b c"),
    "PurePosixPath": lambda: pathlib.PurePosixPath("a/b"),
    "PureWindowsPath": lambda: pathlib.PureWindowsPath("c:\\a"),
    "random.Random": lambda: random.Random(5),
    "array of floats": lambda: np.arange(6, dtype=">f4").reshape(2, 3),
    "array of no axis": lambda: np.array(1.5),
    "array of no rows": lambda: np.empty((0, 3), np.int8),
    "array of complex": lambda: np.array([1j, 2]),
    "array of strings": lambda: np.array(["a", "bcd"]),
    "array of bytes": lambda: np.array([b"a", b"bcd"]),
    "array of times": lambda: np.array(["2024-01-01", "NaT"], "M8[ns]"),
    "array of spans": lambda: np.array([1, 2], "m8[25s]"),
    "array of records": _records,
    "record": lambda: _records()[0],
    "dtype": lambda: np.dtype("f4"),
    "dtype of records": lambda: _records().dtype,
    "NumPy numbers": lambda: [np.float32(1.5), np.int8(3), np.bool_(True), np.complex64(1j)],
    "NumPy string": lambda: np.str_("abc"),
    "NumPy bytes": lambda: np.bytes_(b"abc"),
    "datetime64": lambda: np.datetime64("2024-01-01T00:00", "m"),
    "timedelta64": lambda: np.timedelta64(5, "D"),
    "Generator": lambda: _drawn(np.random.default_rng(3)),
    "Generator of MT19937": lambda: _drawn(np.random.Generator(np.random.MT19937(3))),
    "Generator of Philox": lambda: _drawn(np.random.Generator(np.random.Philox(3))),
    "PCG64DXSM": lambda: np.random.PCG64DXSM(3),
    "SFC64": lambda: np.random.SFC64(3),
    "SeedSequence": lambda: np.random.SeedSequence([1, 2], spawn_key=(3,)),
    "RandomState": lambda: np.random.RandomState(3),
    "tensor": lambda: torch.arange(6.0).reshape(2, 3).T,
    "tensor of no axis": lambda: torch.tensor(3),
    "bfloat16": lambda: torch.ones(2, dtype=torch.bfloat16),
    "float8": lambda: torch.arange(3.0).to(torch.float8_e4m3fn),
    "float8 of five": lambda: torch.arange(3.0).to(torch.float8_e5m2),
    "complex32": lambda: torch.ones(2, dtype=torch.complex32),
    "conjugate": lambda: torch.tensor([1j, 2]).conj(),
    "uint16": lambda: torch.ones(2, dtype=torch.uint16),
    "channels last": lambda: torch.ones(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "sparse columns": lambda: torch.eye(4).to_sparse_csc(),
    "sparse blocks": lambda: torch.eye(4).to_sparse_bsr((2, 2)),
    "Parameter": lambda: torch.nn.Parameter(torch.ones(2), requires_grad=False),
    "variable": lambda: torch.zeros(1).requires_grad_(),
    "sparse variable": lambda: torch.eye(2).to_sparse().requires_grad_(),
    "conjugate variable": lambda: torch.tensor([3j, 2]).conj().requires_grad_(),
    "torch.Size": lambda: torch.Size([2, 3]),
    "torch.dtype": lambda: torch.bfloat16,
    "torch.device": lambda: torch.device("cuda", 1),
    "torch.layout": lambda: torch.sparse_coo,
    "torch.memory_format": lambda: torch.channels_last,
    "torch.Generator": lambda: torch.Generator().manual_seed(7),
    "optimizer": _optimizer,
    "scheduler": _scheduler,
}
USER_KINDS: dict[str, Callable[[], Any]] = {
    "Point": lambda: Point(1, torch.ones(2)),
    "Colour": lambda: Colour.RED,
    "Settings": lambda: Settings(3, torch.ones(2)),
    "Row": lambda: Row([1, 2]),
}
ALLOWED = tuple(f"{__name__}.{name}" for name in USER_KINDS)


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two values are not of the same type, or not equal."""
    if type(a) is not type(b):
        return [f"{place}: {type(a)}, not {type(b)}"]
    parts: list[tuple[Any, Any]] = []
    match a:
        case torch.Tensor():
            same = (a.shape, a.dtype, a.layout) == (b.shape, b.dtype, b.layout)
            same &= a.requires_grad == b.requires_grad
            dense = [
                t.detach().to_dense().to(torch.complex64 if t.is_complex() else torch.float64)
                for t in (a, b)
            ]
            equal = same and torch.equal(*dense)
        case np.ndarray() if a.dtype.fields is not None:
            equal = a.dtype == b.dtype and bool((a == b).all())
        case np.ndarray():
            equal = (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        case np.void():
            equal = a.dtype == b.dtype and a == b
        case np.generic():
            equal = (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
        case np.random.Generator():
            children = [g.spawn(1)[0] for g in (a, b)]
            equal = children[0].random() == children[1].random() and a.random() == b.random()
        case np.random.RandomState() | random.Random():
            equal = a.random() == b.random()
        case np.random.BitGenerator():
            equal = a.random_raw() == b.random_raw()
        case np.random.SeedSequence():
            equal = bool((a.generate_state(4) == b.generate_state(4)).all())
        case torch.Generator():
            equal = torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b))
        case dt.datetime() | dt.time():
            equal = (repr(a), a.fold, repr(a.tzinfo)) == (repr(b), b.fold, repr(b.tzinfo))
        case dict():
            equal = list(a) == list(b)
            parts = [*zip(a.values(), b.values(), strict=False)]
            parts += [(getattr(a, "__dict__", 0), getattr(b, "__dict__", 0))] if a != {} else []
            if isinstance(a, collections.defaultdict):
                equal &= a.default_factory is b.default_factory
        case list() | tuple() | collections.deque():
            equal = len(a) == len(b) and getattr(a, "maxlen", 0) == getattr(b, "maxlen", 0)
            parts = [*zip(a, b, strict=False)]
        case types.SimpleNamespace() | argparse.Namespace() | Settings():
            equal, parts = True, [(vars(a), vars(b))]
        case _:
            equal = a == b
    found = [] if equal else [f"{place}: {a!r} is not {b!r}"]
    for i, (x, y) in enumerate(parts):
        found += differences(x, y, f"{place}[{i}]")
    return found


class Part:
    """A component whose state is what it is given."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state


def saved(config: Config, **components: Any) -> None:
    training = started(config)
    training.advance()
    training.manager.save_training_state(
        training.network,
        training.trainer.optimizer,
        None,
        training.buffer,
        1,
        0,
        0,
        components={name: Part(state) for name, state in components.items()},
    )
    training.manager.close()


def report_of(folder: str) -> dict[str, Any]:
    """In a process of its own: what is not as it was, and the digests of what was read."""
    persistence = PersistenceConfig(root_data_dir=Path(folder), allowed_globals=ALLOWED)
    checkpoint = load_for_reading(persistence, "tiny").checkpoint_data
    assert checkpoint is not None
    loaded = checkpoint.components
    digests = {name: value_digest(value) for name, value in loaded.items()}
    made = KINDS | USER_KINDS
    assert list(loaded) == list(made)
    bad = [line for name, make in made.items() for line in differences(loaded[name], make(), name)]
    return {"bad": bad, "digests": digests}


def test_all_kinds_come_back_in_another_process(config: Config) -> None:
    assert len(KINDS) > 70
    made = {name: make() for name, make in (KINDS | USER_KINDS).items()}
    digests = {name: value_digest(value) for name, value in made.items()}
    assert len(set(digests.values())) > len(digests) - 3
    allowing = config.persistence.model_copy(update={"allowed_globals": ALLOWED})
    saved(config.model_copy(update={"persistence": allowing}), **made)
    code = (
        f"import json; from {__name__} import report_of; "
        f"print(json.dumps(report_of({str(config.persistence.root_data_dir)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["bad"] == []
    assert [name for name in digests if digests[name] != report["digests"][name]] == []


def test_what_is_shared_is_shared_again(config: Config) -> None:
    layer = torch.nn.Linear(3, 3)
    tied = torch.nn.Sequential(layer, layer)
    bits = np.random.PCG64(1)
    generators = [np.random.Generator(bits), np.random.Generator(bits)]
    alpha = torch.zeros(1, requires_grad=True)
    saved(config, net=tied.state_dict(), draw=generators, alphas=[alpha, alpha])
    checkpoint = load_for_reading(config.persistence, "tiny").checkpoint_data
    assert checkpoint is not None
    net, draw = checkpoint.components["net"], checkpoint.components["draw"]
    assert net["0.weight"] is net["1.weight"]
    assert net["0.weight"] is not net["0.bias"]
    assert draw[0].bit_generator is draw[1].bit_generator
    first, second = checkpoint.components["alphas"]
    assert first is second
    assert net._metadata == tied.state_dict()._metadata


def _holding_itself() -> Any:
    state: list[Any] = []
    state.append(state)
    return state


NESTED = "components.env.state[3]: a "
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "namedtuple": (USER_KINDS["Point"], f"Point ({__name__}.Point) cannot be saved"),
    "enum": (USER_KINDS["Colour"], f"add '{__name__}.Colour' to persistence.allowed_globals"),
    "dataclass": (USER_KINDS["Settings"], f"add '{__name__}.Settings' to persistence"),
    "list of its own": (USER_KINDS["Row"], "Row ("),
    "function": (lambda: saved, f"reference to saved ({__name__}.saved) cannot be saved"),
    "class": (lambda: Point, "reference to Point"),
    "lambda": (lambda: lambda: 1, "give its state as plain values"),
    "factory": (lambda: collections.defaultdict(lambda: 1), "its default_factory is none of int"),
    "module": (lambda: json, "module (builtins.module) cannot be saved"),
    "generator": (lambda: (i for i in ()), "generator (builtins.generator) cannot be saved"),
    "objects": (lambda: np.array([None]), "ndarray (numpy.ndarray) cannot be saved: its dtype is"),
    "matrix": (lambda: np.ma.masked_array([1]), "MaskedArray (numpy.ma"),
    "no memory": (lambda: torch.empty(2, device="meta"), "Tensor (torch.Tensor) cannot be saved"),
    "nested tensor": (
        lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
        "Tensor (torch.Tensor) cannot be saved",
    ),
    "system's random": (random.SystemRandom, "SystemRandom (random.SystemRandom) cannot"),
    "zone of a class": (
        lambda: dt.datetime(2024, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()),
        "Zone (",
    ),
    "too deep": (_holding_itself, "it holds itself, or is nested too deeply"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_loaded_is_refused_by_the_save(config: Config, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(SaveFailedError) as failure:
        saved(config, env={"state": [1, 2, {}, make()]})
    text = str(failure.value)
    place = "components.env: a " if case == "too deep" else "components.env.state[3]"
    assert place in text
    assert message in text
    assert isinstance(failure.value.__cause__, StateTypeError)
    training = started(config)
    assert training.manager.last_report is None
    training.commit()
    training.manager.close()


def test_a_class_of_the_script_is_not_saved_by_value(tmp_path: Path) -> None:
    """cloudpickle would write its code, which nobody runs when it is read."""
    kind = type("Local", (), {"__module__": "__main__"})
    record = CheckpointData(**checkpoint_fields(components={"x": kind()}))
    with pytest.raises(StateTypeError, match=r"components\.x: a Local \(__main__\.Local\)"):
        Serializer().save_checkpoint(record, tmp_path / "c.pkl")
    assert not list(tmp_path.iterdir())


HOSTILE: dict[str, tuple[Any, ...]] = {
    "a constructor": ("os.system", "touch x"),
    "a position beyond the table": (
        "bit generator",
        {"bit_generator": "MT19937", "state": {"key": np.zeros(624, np.uint32), "pos": 10**6}},
        np.random.SeedSequence(1),
    ),
    "a position before the buffer": (
        "bit generator",
        dict(np.random.Philox(1).state) | {"buffer_pos": -100},
        np.random.SeedSequence(1),
    ),
    "a RandomState beyond its table": (
        "RandomState",
        {"bit_generator": "MT19937", "state": {"key": np.zeros(624, np.uint32), "pos": 10**6}},
    ),
    "a pool of gigabytes": ("SeedSequence", 1, (), 1 << 33, 0),
    "a pool larger than anybody needs": ("SeedSequence", 1, (), 1 << 12, 0),
    "an array larger than its bytes": ("array", "<M8[s]", (1 << 40,), b""),
    "an array of negative size": ("array", "<M8[s]", (-1, -8), b"x" * 64),
    "an array of objects": ("array", "|O", (1,), b"x" * 8),
    "records of objects": ("dtype", ("fields", [("a", "|O8", 0)], 8, False)),
    "fields beyond the record": ("dtype", ("fields", [("a", "<f4", 100)], 8, False)),
    "another module of torch": ("torch", "hub"),
    "another name of torch": ("torch", "load"),
    "a factory": ("defaultdict", "eval", {}),
    "a zone by path": ("zone", "../../../etc/passwd"),
    "indices outside": (
        "sparse",
        "sparse_coo",
        (2,),
        torch.tensor([[7]]),
        torch.ones(1),
        False,
    ),
    "columns outside": (
        "sparse",
        "sparse_csr",
        (1, 2),
        torch.tensor([0, 1]),
        torch.tensor([9]),
        torch.ones(1),
    ),
    "a short state": ("torch generator", np.zeros(3, np.uint8)),
    "a variable of a list": ("variable", [1.0]),
    "a variable of integers": ("variable", torch.ones(2, dtype=torch.int64)),
    "a fraction of nothing": ("Fraction", 1, 0),
    "a number that is none": ("Decimal", "abc"),
    "a date that is none": ("date", 2023, 2, 30),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_parts_that_are_none_are_refused(tmp_path: Path, case: str) -> None:
    class Call:
        def __reduce__(self) -> Any:
            return rebuilt, HOSTILE[case]

    import cloudpickle

    path = tmp_path / "hostile.pkl"
    record = CheckpointData.model_construct(**checkpoint_fields(components={"x": Call()}))
    path.write_bytes(cloudpickle.dumps(record))
    with pytest.raises(DataError):
        Serializer().load_checkpoint(path)


def test_a_cut_of_generators_stands_still() -> None:
    """The trainer goes on drawing while the save is written."""
    state = {name: KINDS[name]() for name in ("Generator", "RandomState", "torch.Generator")}
    state["python"] = random.Random(1)
    staging = Staging()
    staging.begin()
    cut = staging.copy(state)
    staging.finish()
    before = value_digest(cut)
    assert before == value_digest(state)
    state["Generator"].random()
    state["RandomState"].random()
    torch.rand(1, generator=state["torch.Generator"])
    state["python"].random()
    assert value_digest(cut) == before


def test_a_variable_goes_on_being_one(config: Config) -> None:
    """What a save is copied to is used again, and takes what the training thread has learned."""
    staging, alpha = Staging(), torch.zeros(1, requires_grad=True)
    for value in (1.0, 2.0):
        with torch.no_grad():
            alpha.fill_(value)
        staging.begin()
        cut = staging.copy({"alpha": alpha, "computed": alpha * 3})
        staging.finish()
        assert (cut["alpha"].item(), cut["computed"].item()) == (value, 3 * value)
        assert cut["alpha"].requires_grad
        assert cut["alpha"].data_ptr() != alpha.data_ptr()
        assert not cut["computed"].requires_grad, "what it was computed from is not saved"


def test_managers_refuse_nothing_that_they_wrote(config: Config) -> None:
    """A puzzle's own state needs no setting."""
    training = started(config)
    training.commit()
    training.manager.close()
    state = DataManager(config.persistence, config.train).load_initial_state()
    assert state.rejected == []
