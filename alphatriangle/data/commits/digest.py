"""``state_digest``: one number for a training state, equal exactly when the state is.

It covers weights, optimizer, schedule and all further components, counters, the generators of
torch and NumPy, replay rows and priorities. It leaves out what may differ between two equal
trainings: names (the buffer's lineage is one), times, versions, display statistics, how rows are
cut into segments, and Python's own ``random``, which libraries draw from for temporary names.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

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
        case torch.Tensor():
            plain = value.detach().cpu().contiguous()
            plain = plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain
            sha256.update(f"tensor {value.dtype}".encode())
            _feed(sha256, plain.numpy())
        case np.ndarray():
            sha256.update(f"array {value.dtype.str} {value.shape}\n".encode())
            sha256.update(np.ascontiguousarray(value).data)
        case _RowsOfFormat1():
            sha256.update(b"rows\n")
            for column in value:
                _feed(sha256, column)
        case dict():
            sha256.update(f"dict {len(value)}\n".encode())
            for key in sorted(value, key=lambda k: (type(k).__name__, k)):
                _feed(sha256, key)
                _feed(sha256, value[key])
        case list() | tuple():
            sha256.update(f"list {len(value)}\n".encode())
            for item in value:
                _feed(sha256, item)
        case bool() | int() | float() | str() | None:
            text = repr(value).encode()
            sha256.update(f"{type(value).__name__} {len(text)}\n".encode() + text)
        case np.generic():
            _feed(sha256, value.item())
        case _:
            raise TypeError(f"a {type(value).__name__} has no canonical bytes")
