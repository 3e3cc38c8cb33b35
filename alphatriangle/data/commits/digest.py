"""``state_digest``: one number for a training state, equal exactly when the state is.

It covers weights, optimizer, schedule and all further components, counters, the generators of
torch and NumPy, replay rows and priorities. It leaves out what may differ between two equal
trainings: names (the buffer's lineage is one), times, versions, display statistics, how rows are
cut into segments, and Python's own ``random``, which libraries draw from for temporary names.
"""

from __future__ import annotations

import collections
import hashlib
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from alphatriangle.data import dtypes, state_types
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.schemas import FORMAT_1, BufferData, CheckpointData


class _RowsOfFormat1(tuple[Any, ...]):
    """Columns whose names are not digested, as when there were no others."""


def state_digest(checkpoint: CheckpointData, buffer: BufferData | None) -> str:
    """sha256 (hex) over the training state."""
    parts = digested_parts(checkpoint, buffer)
    if buffer is not None and isinstance(parts["rows"], dict) and buffer.codec == FORMAT_1:
        parts["rows"] = _RowsOfFormat1(parts["rows"].values())
    return value_digest(parts)


def digested_parts(checkpoint: CheckpointData, buffer: BufferData | None) -> dict[str, Any]:
    """All that the digest covers, by name."""
    rng = {name: state for name, state in checkpoint.rng_state.items() if name != "python"}
    parts: dict[str, Any] = {
        "global_step": checkpoint.global_step,
        "episodes_played": checkpoint.episodes_played,
        "total_simulations_run": checkpoint.total_simulations_run,
        "model": checkpoint.model_state_dict,
        "optimizer": checkpoint.optimizer_state_dict,
        "components": checkpoint.components,
        "rng": rng,
    }
    if buffer is not None:
        state = buffer.buffer_state()
        parts["buffer"] = {name: value for name, value in state.items() if name != "lineage"}
        items = buffer.buffer_list
        parts["rows"] = items.columns() if isinstance(items, SegmentedRows) else items
    return parts


def value_digest(value: Any) -> str:
    """sha256 (hex) over nested containers of arrays, tensors, numbers and strings.

    Raises:
        TypeError: a value has no canonical bytes.
    """
    sha256 = hashlib.sha256()
    _feed(sha256, value)
    return sha256.hexdigest()


def _feed(sha256: Any, value: Any) -> None:
    """Feed a tag, a length where there is one, and the content: no two values share their bytes."""
    match value:
        case torch.Tensor() if value.layout == torch.strided:
            plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
            sha256.update(f"tensor {value.dtype}".encode())
            _feed(sha256, _bits(plain))
        case np.ndarray() if value.dtype.fields is not None:
            # Field by field: what lies between them is nobody's.
            sha256.update(f"fields {len(value.dtype.fields)}\n".encode())
            for name in value.dtype.names:
                _feed(sha256, name)
                _feed(sha256, value[name])
        case np.ndarray():
            sha256.update(f"array {value.dtype.str} {value.shape}\n".encode())
            whole = np.ascontiguousarray(value)
            sha256.update(whole.data if whole.dtype.kind in dtypes.NUMERIC else whole.tobytes())
        case _RowsOfFormat1():
            sha256.update(b"rows\n")
            for column in value:
                _feed(sha256, column)
        case collections.Counter() | collections.defaultdict():
            _feed_parts(sha256, value)
        case dict():
            sha256.update(f"dict {len(value)}\n".encode())
            for key in _in_order(value):
                _feed(sha256, key)
                _feed(sha256, value[key])
        case list() | tuple():
            sha256.update(f"list {len(value)}\n".encode())
            for item in value:
                _feed(sha256, item)
        case set() | frozenset():
            sha256.update(f"set {len(value)}\n".encode())
            for digest in sorted(value_digest(item) for item in value):
                sha256.update(digest.encode())
        case collections.deque():
            sha256.update(f"deque {value.maxlen} {len(value)}\n".encode())
            for item in value:
                _feed(sha256, item)
        case bytes() | bytearray():
            sha256.update(f"bytes {len(value)}\n".encode() + value)
        case bool() | int() | float() | str() | None:
            text = repr(value).encode()
            sha256.update(f"{type(value).__name__} {len(text)}\n".encode() + text)
        case np.generic() if value.dtype.kind in dtypes.NUMERIC:
            _feed(sha256, value.item())
        case np.void():
            sha256.update(b"record\n")
            _feed(sha256, np.asarray(value))
        case np.dtype():
            sha256.update(f"dtype {dtypes.described(value)!r}\n".encode())
        case type() | types.FunctionType() | types.BuiltinFunctionType():
            sha256.update(f"name {value.__module__} {value.__qualname__}\n".encode())
        case _:
            _feed_parts(sha256, value)


def _bits(plain: torch.Tensor) -> np.ndarray[Any, Any]:
    if plain.dtype == torch.bfloat16:
        plain = plain.view(torch.int16)
    elif plain.dtype == torch.complex32:
        plain = torch.view_as_real(plain)
    elif plain.dtype.is_floating_point and plain.element_size() == 1:
        plain = plain.view(torch.uint8)
    array: np.ndarray[Any, Any] = plain.numpy()
    return array


def _in_order(items: dict[Any, Any]) -> list[Any]:
    """The keys, in an order that is the same in every process."""
    try:
        if not any(isinstance(key, frozenset) for key in items):
            return sorted(items, key=lambda k: (type(k).__name__, k))
    except TypeError:
        pass  # keys without an order
    return sorted(items, key=value_digest)


def _feed_parts(sha256: Any, value: Any) -> None:
    """Feed what pickle would take ``value`` apart into."""
    kind: Any = type(value)
    sha256.update(f"object {kind.__module__} {kind.__qualname__}\n".encode())
    if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
        _feed(sha256, state_types.sparse_parts(value))
    elif (taken := state_types.apart(value)) is not None:
        _feed(sha256, taken[1])
    elif kind.__reduce_ex__ is object.__reduce_ex__ and kind.__module__ == "builtins":
        raise TypeError(f"a {kind.__name__} has no canonical bytes")
    else:
        _, parts, *more = value.__reduce_ex__(2)
        _feed(sha256, parts)
        for part in more:
            _feed(sha256, list(part) if isinstance(part, Iterator) else part)
