"""Capture: one consistent cut of the training state, copied into memory that is used again.

This is all that a save costs the training thread: no allocation once the first save has been made,
no file, no pickling; in effect a memcpy of what has to be saved.
"""

from __future__ import annotations

import collections
import copy
import functools
import logging
import math
import pickle
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.data import state_types
from alphatriangle.data.replay.source import CapturedReplay
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.utils.columns import Columns
from alphatriangle.utils.flat import FlatState
from alphatriangle.utils.types import Episode

logger = logging.getLogger(__name__)

# Memory is used again while it is at most so many times what is needed, or so many bytes.
_SPARE = 4
_SMALL = 1 << 20
_ACTOR_SECONDS = 10.0
_IMMUTABLE = frozenset({int, float, str, bytes, bool, type(None)}) | state_types.IMMUTABLE
# What copying a value of a type that is not known here may raise.
_CANNOT_COPY = (TypeError, ValueError, AttributeError, RuntimeError, copy.Error, pickle.PickleError)
Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]


class Stateful(Protocol):
    """Anything that has state: a network, an optimizer, a part of the training loop."""

    def state_dict(self) -> dict[str, Any]:
        """Its state, in plain containers, arrays and tensors; they may alias what is in use."""


@dataclass
class Capture:
    """One consistent cut of the training state; nothing in it is shared with the trainer."""

    global_step: int
    fields: dict[str, Any]
    """Of the ``CheckpointData``, all but the step and what :meth:`checkpoint` finds out."""
    replay: CapturedReplay | None
    episodes: list[Episode]
    metrics: dict[str, float] = field(default_factory=dict)
    stats_state: Callable[[], dict[str, Any]] = dict
    """Waits for the statistics of this moment, and so for the curves up to it to be durable."""
    nbytes: int = 0
    """Bytes that were copied."""
    best_sequence: int | None = None
    """The best commit before this one."""
    allow_not_finite: bool = False
    """Whether weights and optimizer state may hold what is not finite."""
    held: frozenset[int] = frozenset()
    """Steps whose commits retention must leave alone."""
    time: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def checkpoint(self) -> CheckpointData:
        """The record, built and validated behind the training thread.

        Raises:
            pydantic.ValidationError: something that was given to be saved has a wrong type.
        """
        created = datetime.fromtimestamp(self.time, UTC)
        return CheckpointData(
            global_step=self.global_step,
            created_at=created.isoformat(timespec="seconds"),
            stats_state=self.stats_state(),
            versions=library_versions(),
            **self.fields,
        )


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
        self._array_bytes = 0
        # Of this capture: tensors by their place in memory, other values by their identity.
        self._places: dict[int, tuple[Layout, torch.Tensor]] = {}
        self._copies: dict[int, tuple[Any, Any]] = {}
        # Of each flat state: itself, the memory it is copied to, and its structure on that.
        self._flats: list[tuple[FlatState, list[torch.Tensor], dict[Any, Any]]] = []
        self._next_flat = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the last capture."""
        return self._array_bytes + sum(t.nbytes for t in self._tensors)

    def begin(self) -> None:
        """Forget the last capture: its memory is free again."""
        self._next_array = self._next_flat = 0
        self._sources = []
        self._array_bytes = 0
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
        if kind is torch.Tensor:
            return self._any_tensor(value)
        if kind is FlatState:
            return self._flat(value)
        if id(value) not in self._copies:
            self._copies[id(value)] = (value, self._copy_of_other(kind, value))
        return self._copies[id(value)][1]

    def _any_tensor(self, value: torch.Tensor) -> torch.Tensor:
        if value.layout != torch.strided:
            return value.detach().to("cpu", copy=True)
        # What has no memory of numbers is refused when it is pickled.
        return value if value.is_meta or value.is_quantized else self._tensor(value)

    def _copy_of_other(self, kind: type, value: Any) -> Any:
        """Of what is rare: it may take a microsecond more."""
        if kind is collections.OrderedDict:
            ordered = collections.OrderedDict((k, self._copy(v)) for k, v in value.items())
            # A network says in an attribute which version of each layer wrote it.
            ordered.__dict__.update(self._copy(value.__dict__))
            return ordered
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


def stats_state(collector: Any) -> Callable[[], dict[str, Any]]:
    """A wait for the state that a statistics collector has now.

    The collector is in this process, a Ray actor, or None. An actor is asked now and answers after
    everything that it was told before; one that is dead or silent for 10 s has no state.
    """
    if collector is None:
        return dict
    method = collector.get_state
    if hasattr(method, "remote"):
        return _wait_for(method.remote())
    state = copy.deepcopy(method())
    return lambda: state


def _wait_for(reference: Any) -> Callable[[], dict[str, Any]]:
    import ray
    from ray.exceptions import RayError

    def wait() -> dict[str, Any]:
        try:
            state: dict[str, Any] = ray.get(reference, timeout=_ACTOR_SECONDS)
        except RayError as e:
            # Curves may suffer, what was learned must not: the state is saved without theirs.
            logger.error("the statistics collector gave no state: %s", str(e).splitlines()[0])
            return {}
        return state

    return wait


@functools.cache
def library_versions() -> dict[str, str]:
    """What wrote a file: this package, Python, and the libraries that shape its bytes."""
    names = ("alphatriangle", "torch", "numpy", "pydantic", "cloudpickle", "pyarrow")
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions
