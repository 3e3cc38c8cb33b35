"""Where two training states differ: for finding out why a loop is not exactly repeatable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.data.commits.digest import digested_parts
from alphatriangle.data.schemas import LoadedTrainingState


class Difference(NamedTuple):
    """One place and what stands there."""

    where: str
    what: str


def compare_states(one: LoadedTrainingState, other: LoadedTrainingState) -> list[Difference]:
    """Every difference that the state digest sees, at most one for each array; none: equal."""
    left, right = (
        digested_parts(state.checkpoint_data, state.buffer_data)
        for state in (one, other)
        if state.checkpoint_data is not None
    )
    return list(_differences("", left, right))


def _differences(where: str, one: Any, other: Any) -> Iterator[Difference]:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        yield from _arrays(where, _numpy(one), _numpy(other), one.dtype, other.dtype)
    elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        yield from _arrays(where, one, other, one.dtype, other.dtype)
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        yield from _mappings(where, one, other)
    elif _is_sequence(one) and _is_sequence(other):
        if len(one) != len(other):
            yield Difference(where, f"{len(one)} entries and {len(other)}")
        for i, (left, right) in enumerate(zip(one, other, strict=False)):
            yield from _differences(f"{where}[{i}]", left, right)
    elif type(one) is not type(other):
        yield Difference(where, f"a {type(one).__name__} and a {type(other).__name__}")
    elif not (one == other or (one != one and other != other)):
        yield Difference(where, f"{one!r} and {other!r}")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _mappings(where: str, one: Mapping[Any, Any], other: Mapping[Any, Any]) -> Iterator[Difference]:
    for key in [*one, *(k for k in other if k not in one)]:
        place = f"{where}.{key}" if where else str(key)
        if key not in other:
            yield Difference(place, "is only in the first")
        elif key not in one:
            yield Difference(place, "is only in the second")
        else:
            yield from _differences(place, one[key], other[key])


def _numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    plain = tensor.detach().cpu()
    return (plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain).numpy()


def _arrays(
    where: str, one: npt.NDArray[Any], other: npt.NDArray[Any], *dtypes: Any
) -> Iterator[Difference]:
    if dtypes[0] != dtypes[1] or one.shape != other.shape:
        sides = zip(dtypes, (one.shape, other.shape), strict=True)
        yield Difference(where, " and ".join(f"{dtype} {list(shape)}" for dtype, shape in sides))
        return
    # Bit by bit, as the digest sees them: NaN is equal to NaN, 0 is not -0.
    same = np.ascontiguousarray(one).reshape(-1).view(np.uint8) == np.ascontiguousarray(
        other
    ).reshape(-1).view(np.uint8)
    if same.all():
        return
    different = np.flatnonzero(~same.reshape(one.size, -1).all(axis=1))
    first = np.unravel_index(different[0], one.shape)
    values = f"{one[first]} and {other[first]}"
    place = f"at {[int(i) for i in first]} " if one.shape else ""
    yield Difference(where, f"{len(different)} of {one.size} differ, first {place}{values}")
