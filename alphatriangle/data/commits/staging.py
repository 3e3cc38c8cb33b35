"""Memory that state is copied into, used again from save to save."""

from __future__ import annotations

import collections
import copy
import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.data import state_types
from alphatriangle.utils.columns import Columns
from alphatriangle.utils.flat import FlatState
from alphatriangle.utils.frozen import FrozenState
from alphatriangle.utils.late import LateState

# Memory is used again while it is at most so many times what is needed, or so many bytes.
_SPARE = 4
_SMALL = 1 << 20
_IMMUTABLE = frozenset({int, float, str, bytes, bool, type(None)}) | state_types.IMMUTABLE
# What copying a value of a type that is not known here may raise.
_CANNOT_COPY = (TypeError, ValueError, AttributeError, RuntimeError, copy.Error, pickle.PickleError)
Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]


class Staging:
    """Memory for one capture at a time, allocated once and used again while shapes stay.

    Copies are asked for between :meth:`begin` and :meth:`finish`, always in the same order; tensors
    are all copied by ``finish``, in one call.
    """

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[np.uint8]] = []
        self._next_array = 0
        self._tensors: list[torch.Tensor] = []
        self._layouts: list[Layout] = []
        self._sources: list[torch.Tensor] = []
        self._array_bytes = self._kept_bytes = 0
        # Of this capture: tensors by their place in memory, other values by their identity.
        self._places: dict[int, tuple[Layout, torch.Tensor]] = {}
        self._copies: dict[int, tuple[Any, Any]] = {}
        # Of each flat state: itself, the memory it is copied to, and its structure on that.
        self._flats: list[tuple[FlatState, list[torch.Tensor], dict[Any, Any]]] = []
        self._next_flat = 0
        self._late: list[tuple[dict[str, Any], LateState]] = []

    @property
    def late(self) -> list[tuple[dict[str, Any], LateState]]:
        """Of this capture: empty dictionaries in the copies, each with what is to fill it."""
        return self._late

    @property
    def nbytes(self) -> int:
        """Bytes of the last capture: what was copied, and what never changes and was kept."""
        return self._array_bytes + self._kept_bytes + sum(t.nbytes for t in self._tensors)

    def begin(self) -> None:
        """Forget the last capture: its memory is free again."""
        self._next_array = self._next_flat = 0
        self._sources = []
        self._array_bytes = self._kept_bytes = 0
        self._late = []
        self._places.clear()
        self._copies.clear()

    def copy(self, value: Any) -> Any:
        """``value`` with everything in it copied, of the same types.

        What cannot be copied becomes an ``Uncopied``, which cannot be saved.
        """
        try:
            return self._copy(value)
        except RecursionError:
            return _uncopied(value, "it holds itself, or is nested too deeply")

    def _copy(self, value: Any) -> Any:
        kind = type(value)
        if kind in _IMMUTABLE:
            return value
        if kind is dict:
            return {k: self._copy(v) for k, v in value.items()}
        if kind is list or kind is tuple:
            if _IMMUTABLE.issuperset(map(type, value)):
                return kind(value)
            return kind(map(self._copy, value))
        if kind is np.ndarray and not value.dtype.hasobject and value.dtype.itemsize:
            return self.concatenate([value])
        if kind is torch.Tensor and not value.requires_grad:
            return self._any_tensor(value)
        if kind is FlatState:
            return self._flat(value)
        if kind is FrozenState:
            self._kept_bytes += value.nbytes
            return dict(value)
        if kind is LateState:
            place: dict[str, Any] = {}
            self._late.append((place, LateState(self._copy(value.now), value.form)))
            return place
        if id(value) not in self._copies:
            self._copies[id(value)] = (value, self._copy_of_other(kind, value))
        return self._copies[id(value)][1]

    def _any_tensor(self, value: torch.Tensor) -> torch.Tensor:
        if value.layout != torch.strided:
            return value.detach().to("cpu", copy=True)
        # What has no memory of numbers is refused when it is pickled.
        has_none = value.is_meta or value.is_quantized or value.is_nested
        return value if has_none else self._tensor(value)

    def _copy_of_other(self, kind: type, value: Any) -> Any:
        """Of what is rare: it may take a microsecond more."""
        if kind is collections.OrderedDict:
            ordered = collections.OrderedDict((k, self._copy(v)) for k, v in value.items())
            # A network says in an attribute which version of each layer wrote it.
            ordered.__dict__.update(self._copy(value.__dict__))
            return ordered
        if kind is torch.Tensor:
            copied = self._any_tensor(value.detach())
            # Another one on the same memory: what is used again must not ask for a gradient.
            return copied.detach().requires_grad_() if value.is_leaf else copied
        if kind is collections.deque:
            return collections.deque(map(self._copy, value), value.maxlen)
        try:
            taken = state_types.apart(value)
            if taken is not None:
                return state_types.rebuilt(taken[0], *map(self._copy, taken[1]))
            return copy.deepcopy(value)
        except RecursionError:
            raise
        except _CANNOT_COPY as e:
            return _uncopied(value, str(e))

    def _tensor(self, source: torch.Tensor) -> torch.Tensor:
        layout = (source.shape, source.stride(), source.dtype)
        place = source.data_ptr()
        known = self._places.get(place)
        if known is not None and known[0] == layout and place:
            # Weights that are tied are one tensor, and stay one.
            return known[1]
        target = self._next_tensor(source, layout)
        self._places[place] = layout, target
        return target

    def _next_tensor(self, source: torch.Tensor, layout: Layout) -> torch.Tensor:
        index = len(self._sources)
        self._sources.append(source)
        if index < len(self._layouts):
            if self._layouts[index] == layout:
                return self._tensors[index]
            # Something came or went: what follows has moved.
            del self._tensors[index:], self._layouts[index:]
        # The same layout in memory, so that copying is moving bytes; pinned, so that a GPU can.
        target = torch.empty_like(
            source, device="cpu", pin_memory=source.is_cuda, requires_grad=False
        )
        self._tensors.append(target)
        self._layouts.append(layout)
        return target

    def _flat(self, source: FlatState) -> dict[Any, Any]:
        targets = [self._tensor(storage) for storage in source.storages]
        index = self._next_flat
        self._next_flat += 1
        if index < len(self._flats):
            known, memory, copied = self._flats[index]
            if known is source and all(a is b for a, b in zip(memory, targets, strict=True)):
                return copied
            del self._flats[index:]
        copied = source.on(targets)
        self._flats.append((source, targets, copied))
        return copied

    def concatenate(self, pieces: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """A copy of ``pieces``, at least one, joined along their first axis."""
        first = pieces[0]
        shape = first.shape
        if len(pieces) > 1:
            shape = (sum(len(p) for p in pieces), *shape[1:])
        size = math.prod(shape) * first.itemsize
        index = self._next_array
        self._next_array += 1
        if index == len(self._arrays):
            self._arrays.append(np.empty(0, np.uint8))
        if not size <= len(self._arrays[index]) <= max(_SPARE * size, _SMALL):
            # A little more, because the number of new rows differs from save to save; no more than
            # that for long, because the first save of a full buffer holds all of them.
            self._arrays[index] = np.empty(size + size // 8, np.uint8)
        target: npt.NDArray[Any] = self._arrays[index][:size].view(first.dtype).reshape(shape)
        self._array_bytes += size
        if len(pieces) == 1:
            np.copyto(target, first)
        else:
            np.concatenate(pieces, out=target)
        return target

    def columns(self, pieces: Sequence[Columns]) -> dict[str, npt.NDArray[Any]]:
        """A copy of ``pieces``, at least one, joined."""
        return {name: self.concatenate([p[name] for p in pieces]) for name in pieces[0]}

    def finish(self) -> None:
        """Carry out the copies of tensors."""
        del self._tensors[len(self._sources) :], self._layouts[len(self._sources) :]
        if not self._sources:
            return
        on_gpu: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            torch._foreach_copy_(self._tensors, self._sources, non_blocking=on_gpu)
        if on_gpu:
            torch.cuda.synchronize()
        # The trainer's tensors are its own again.
        self._sources = []
        self._places.clear()
        self._copies.clear()


def _uncopied(value: object, reason: str) -> state_types.Uncopied:
    kind = type(value)
    return state_types.Uncopied(f"{kind.__module__}.{kind.__qualname__}", reason)
