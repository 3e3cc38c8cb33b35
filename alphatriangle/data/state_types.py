"""Types that a saved state may hold beside plain containers, numbers, arrays and tensors.

Each is taken apart into plain values, and put together from them by a function that is harmless
whatever it is given: a file names :func:`rebuilt` and a kind, never a constructor.
"""

from __future__ import annotations

import argparse
import array
import collections
import datetime
import decimal
import fractions
import pathlib
import pickle
import random
import types
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.data import dtypes

Parts = tuple[Any, ...]


@dataclass(frozen=True)
class Uncopied:
    """Stands where a value was that could not be copied; the save says so."""

    type_name: str
    reason: str


class _Kind(NamedTuple):
    """How values of ``types`` become plain ones, and those become them again."""

    types: tuple[type, ...]
    apart: Callable[[Any], Parts]
    together: Callable[..., Any]


def apart(value: object) -> tuple[str, Parts] | None:
    """The kind of ``value`` and its parts; None where it needs no taking apart, or has no kind.

    Raises:
        TypeError: its kind can be saved and it cannot; the message says why.
    """
    name = _NAMES.get(type(value))
    if name is None:
        if isinstance(value, np.dtype) and value.kind not in dtypes.NUMERIC:
            return "dtype", (dtypes.described(value),)
        return None
    if name == "array" and value.dtype.kind in dtypes.NUMERIC:  # type: ignore[attr-defined]
        return None
    return name, _KINDS[name].apart(value)


def rebuilt(kind: str, *parts: Any) -> Any:
    """What :func:`apart` took apart.

    Raises:
        pickle.UnpicklingError: these are not parts of that kind.
    """
    try:
        return _KINDS[kind].together(*parts)
    except (ArithmeticError, RuntimeError) as e:
        raise pickle.UnpicklingError(f"no {kind} can be made: {e}") from e


def _a(expected: type, value: Any) -> Any:
    if type(value) is not expected:
        raise TypeError(f"a {type(value).__name__}, not a {expected.__name__}")
    return value


# Containers.

_FACTORIES: Final = {f.__name__: f for f in (int, float, str, list, dict, set)}


def _defaultdict_apart(value: collections.defaultdict[Any, Any]) -> Parts:
    factory: Any = value.default_factory
    if factory is None:
        return None, dict(value)
    if factory not in _FACTORIES.values():
        raise TypeError(f"its default_factory is none of {', '.join(_FACTORIES)}")
    return factory.__name__, dict(value)


def _defaultdict(factory: str | None, items: dict[Any, Any]) -> collections.defaultdict[Any, Any]:
    made = None if factory is None else _FACTORIES[factory]
    return collections.defaultdict(made, _a(dict, items))


def _counter(items: dict[Any, Any]) -> collections.Counter[Any]:
    counter: collections.Counter[Any] = collections.Counter()
    dict.update(counter, _a(dict, items))
    return counter


def _namespace(space: Any, attributes: dict[str, Any]) -> Any:
    space.__dict__.update(_a(dict, attributes))
    return space


# Times.


def _zone_apart(value: zoneinfo.ZoneInfo) -> Parts:
    if value.key is None:
        raise TypeError("it was made of a file and has no key")
    return (value.key,)


def _clock(value: Any) -> Parts:
    return value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold


def _datetime(year: int, month: int, day: int, *clock: Any) -> datetime.datetime:
    *time, fold = clock
    return datetime.datetime(year, month, day, *time, fold=fold)


def _time(*clock: Any) -> datetime.time:
    *time, fold = clock
    return datetime.time(*time, fold=fold)


# NumPy.


def _array_apart(value: npt.NDArray[Any]) -> Parts:
    description = dtypes.described(value.dtype)
    return description, value.shape, np.ascontiguousarray(value).tobytes()


def _array(description: object, shape: tuple[int, ...], content: bytes) -> npt.NDArray[Any]:
    dtype = dtypes.made(description)
    if any(_a(int, n) < 0 for n in _a(tuple, shape)):
        raise ValueError(f"the shape {shape}")
    # numpy looks whether the bytes are enough; a copy, because they cannot be written to.
    return np.ndarray(shape, dtype, _a(bytes, content)).copy()


def _scalar_apart(value: np.generic) -> Parts:
    return _array_apart(np.asarray(value))


def _scalar(*parts: Any) -> Any:
    return _array(*parts)[()]


_BIT_GENERATORS: Final = (
    np.random.MT19937,
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.Philox,
    np.random.SFC64,
)
_POOL_LIMIT: Final = 1024


def _checked_generator_state(state: Any) -> Any:
    """numpy takes positions in its tables as they are."""
    positions = [(_a(dict, state).get("buffer_pos", 0), 4)]
    if state.get("bit_generator") == "MT19937":
        positions.append((state["state"]["pos"], 624))
    for position, length in positions:
        if not 0 <= position <= length:
            raise ValueError(f"a generator at position {position} of {length}")
    return state


GENERATORS: Final = (np.random.Generator, np.random.RandomState, *_BIT_GENERATORS)


def check_generator(generator: Any) -> None:
    """
    Raises:
        ValueError: it would read outside of its tables.
    """
    bits = getattr(generator, "bit_generator", None)
    if isinstance(generator, np.random.RandomState):
        _checked_generator_state(generator.get_state(legacy=False))
    else:
        _checked_generator_state(generator.state if bits is None else bits.state)


def _bit_generator_apart(value: Any) -> Parts:
    if type(value.seed_seq) is not np.random.SeedSequence:
        raise TypeError("its seed sequence is not a numpy.random.SeedSequence")
    return value.state, value.seed_seq


def _bit_generator(state: dict[str, Any], seed: np.random.SeedSequence) -> Any:
    kinds: dict[str, Any] = {kind.__name__: kind for kind in _BIT_GENERATORS}
    kind = kinds[_checked_generator_state(state)["bit_generator"]]
    generator = kind(_a(np.random.SeedSequence, seed))
    generator.state = state
    return generator


def _generator(bits: Any) -> np.random.Generator:
    if type(bits) not in _BIT_GENERATORS:
        raise TypeError(f"a {type(bits).__name__}, not a bit generator")
    return np.random.Generator(bits)


def _seed_sequence_apart(value: np.random.SeedSequence) -> Parts:
    return value.entropy, value.spawn_key, value.pool_size, value.n_children_spawned


def _seed_sequence(
    entropy: Any, spawn_key: tuple[int, ...], pool_size: int, children: int
) -> np.random.SeedSequence:
    if _a(int, pool_size) > _POOL_LIMIT:
        raise ValueError(f"a pool of {pool_size}")
    return np.random.SeedSequence(
        entropy, spawn_key=spawn_key, pool_size=pool_size, n_children_spawned=children
    )


def _random_state_apart(value: np.random.RandomState) -> Parts:
    state = value.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise TypeError(f"it draws from {state['bit_generator']}, not from MT19937")
    return (state,)


def _random_state(state: dict[str, Any]) -> np.random.RandomState:
    generator = np.random.RandomState(0)
    generator.set_state(_checked_generator_state(state))
    return generator


def _python_random(state: Any) -> random.Random:
    generator = random.Random()
    generator.setstate(state)
    return generator


# torch.

_CONSTANTS: Final = (torch.dtype, torch.layout, torch.memory_format)


def _torch_constant(name: str) -> Any:
    value = vars(torch)[name]
    if not isinstance(value, _CONSTANTS):
        raise TypeError(f"torch.{name} is none of torch's dtypes, layouts and memory formats")
    return value


def _generator_apart(value: torch.Generator) -> Parts:
    if value.device.type != "cpu":
        raise TypeError(f"it draws on {value.device}, and can be read where that is only")
    return (value.get_state().numpy(),)


def _torch_generator(state: npt.NDArray[np.uint8]) -> torch.Generator:
    if type(state) is not np.ndarray or not dtypes.is_sound(state.dtype):
        raise TypeError("its state is no array")
    return torch.Generator().set_state(torch.from_numpy(state.copy()))


def _parameter(data: torch.Tensor, requires_grad: bool) -> torch.nn.Parameter:
    return torch.nn.Parameter(_a(torch.Tensor, data), _a(bool, requires_grad))


def _variable(data: torch.Tensor) -> torch.Tensor:
    return _a(torch.Tensor, data).requires_grad_()  # type: ignore[no-any-return]


def sparse_parts(value: torch.Tensor) -> Parts:
    """Layout, size and plain tensors of a sparse one.

    Raises:
        TypeError: there is no such layout.
    """
    value = value.detach()
    name, size = str(value.layout).removeprefix("torch."), tuple(value.shape)
    if value.layout == torch.sparse_coo:
        return name, size, value._indices(), value._values(), value.is_coalesced()
    if value.layout in (torch.sparse_csr, torch.sparse_bsr):
        return name, size, value.crow_indices(), value.col_indices(), value.values()
    if value.layout in (torch.sparse_csc, torch.sparse_bsc):
        return name, size, value.ccol_indices(), value.row_indices(), value.values()
    raise TypeError(f"its layout is {value.layout}")


def _sparse(layout: str, size: tuple[int, ...], first: Any, second: Any, third: Any) -> Any:
    if layout == "sparse_coo":
        made = torch.sparse_coo_tensor(first, second, size, check_invariants=True)
        return made.coalesce() if third else made
    return torch.sparse_compressed_tensor(
        first, second, third, size, layout=_torch_constant(layout), check_invariants=True
    )


def _plain(value: Any) -> Parts:
    return (value,)


_IMMUTABLE_KINDS: Final[dict[str, _Kind]] = {
    "complex": _Kind((complex,), lambda v: (v.real, v.imag), complex),
    "ellipsis": _Kind((types.EllipsisType,), lambda _: (), lambda: ...),
    "range": _Kind((range,), lambda v: (v.start, v.stop, v.step), range),
    "date": _Kind((datetime.date,), lambda v: (v.year, v.month, v.day), datetime.date),
    "time": _Kind((datetime.time,), _clock, _time),
    "datetime": _Kind(
        (datetime.datetime,), lambda v: (v.year, v.month, v.day, *_clock(v)), _datetime
    ),
    "timedelta": _Kind(
        (datetime.timedelta,), lambda v: (v.days, v.seconds, v.microseconds), datetime.timedelta
    ),
    "timezone": _Kind((datetime.timezone,), lambda v: v.__getinitargs__(), datetime.timezone),
    # It looks for a key nowhere but in the folders of zones.
    "zone": _Kind((zoneinfo.ZoneInfo,), _zone_apart, zoneinfo.ZoneInfo),
    "Decimal": _Kind((decimal.Decimal,), lambda v: (str(v),), decimal.Decimal),
    "Fraction": _Kind(
        (fractions.Fraction,), lambda v: (v.numerator, v.denominator), fractions.Fraction
    ),
    "UUID": _Kind((uuid.UUID,), lambda v: (v.bytes,), lambda b: uuid.UUID(bytes=b)),
    "Path": _Kind((type(pathlib.Path()),), lambda v: (str(v),), pathlib.Path),
    "PurePosixPath": _Kind((pathlib.PurePosixPath,), lambda v: (str(v),), pathlib.PurePosixPath),
    "PureWindowsPath": _Kind(
        (pathlib.PureWindowsPath,), lambda v: (str(v),), pathlib.PureWindowsPath
    ),
    "Size": _Kind((torch.Size,), lambda v: (tuple(v),), lambda t: torch.Size(_a(tuple, t))),
    "device": _Kind((torch.device,), lambda v: (str(v),), lambda s: torch.device(_a(str, s))),
    "torch": _Kind(_CONSTANTS, lambda v: (str(v).removeprefix("torch."),), _torch_constant),
    "str_": _Kind((np.str_,), lambda v: (str(v),), lambda s: np.str_(_a(str, s))),
    "bytes_": _Kind((np.bytes_,), lambda v: (bytes(v),), lambda b: np.bytes_(_a(bytes, b))),
    "time64": _Kind((np.datetime64, np.timedelta64), _scalar_apart, _scalar),
}
_MUTABLE_KINDS: Final[dict[str, _Kind]] = {
    "slice": _Kind((slice,), lambda v: (v.start, v.stop, v.step), slice),
    "Counter": _Kind((collections.Counter,), lambda v: (dict(v),), _counter),
    "defaultdict": _Kind((collections.defaultdict,), _defaultdict_apart, _defaultdict),
    "SimpleNamespace": _Kind(
        (types.SimpleNamespace,),
        lambda v: (dict(vars(v)),),
        lambda d: _namespace(types.SimpleNamespace(), d),
    ),
    "Namespace": _Kind(
        (argparse.Namespace,),
        lambda v: (dict(vars(v)),),
        lambda d: _namespace(argparse.Namespace(), d),
    ),
    "numbers": _Kind(
        (array.array,),
        lambda v: (v.typecode, v.tolist()),
        lambda code, items: array.array(code, _a(list, items)),
    ),
    "Random": _Kind((random.Random,), lambda v: (v.getstate(),), _python_random),
    "array": _Kind((np.ndarray,), _array_apart, _array),
    "void": _Kind((np.void,), _scalar_apart, _scalar),
    "dtype": _Kind((), _plain, dtypes.made),
    "bit generator": _Kind(_BIT_GENERATORS, _bit_generator_apart, _bit_generator),
    "Generator": _Kind((np.random.Generator,), lambda v: (v.bit_generator,), _generator),
    "SeedSequence": _Kind((np.random.SeedSequence,), _seed_sequence_apart, _seed_sequence),
    "RandomState": _Kind((np.random.RandomState,), _random_state_apart, _random_state),
    "torch generator": _Kind((torch.Generator,), _generator_apart, _torch_generator),
    "Parameter": _Kind((torch.nn.Parameter,), lambda v: (v.detach(), v.requires_grad), _parameter),
    "variable": _Kind((), _plain, _variable),
    "sparse": _Kind((), sparse_parts, _sparse),
}
_KINDS: Final = _IMMUTABLE_KINDS | _MUTABLE_KINDS
_NAMES: Final = {kind: name for name, entry in _KINDS.items() for kind in entry.types}
IMMUTABLE: Final = frozenset(kind for entry in _IMMUTABLE_KINDS.values() for kind in entry.types)
"""Those that need no copy."""
HOLDERS: Final = (np.random.Generator,)
"""Those whose parts no attribute dictionary shows."""
