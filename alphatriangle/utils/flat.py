"""Many tensors as views of a few flat ones, so that copying all of them is a few memcpys.

A network has dozens of small tensors and its optimizer twice as many again; visiting each costs
more than moving its bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch

_ALIGNMENT = 64
"""Bytes; what vector instructions and the libraries around them like best."""


class FlatState(dict[Any, Any]):
    """A state dict whose tensors are all views of ``storages``.

    Whoever makes one promises that its structure stays: tensors are changed in place, never
    replaced, and no entry comes or goes. When that is over, another object takes its place.
    """

    def __init__(self, entries: dict[Any, Any], storages: Sequence[torch.Tensor]) -> None:
        super().__init__(entries)
        self.storages = tuple(storages)

    def on(self, storages: Sequence[torch.Tensor]) -> dict[Any, Any]:
        """The same structure, plain, as views of other storages of the same sizes."""
        index = {s.untyped_storage().data_ptr(): i for i, s in enumerate(self.storages)}

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            target = storages[index[tensor.untyped_storage().data_ptr()]]
            return target.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

        return {key: _mapped(value, moved) for key, value in self.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the plain dictionary that any program, and ``torch.load``, can read."""
        return OrderedDict, (), None, None, iter(self.items())


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    return {k: _mapped(v, change) for k, v in value.items()} if isinstance(value, dict) else value


def flat_zeros(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Zeros [N] with room for ``tensors``, which have one type and device, at least one."""
    size = sum(_room(t) for t in tensors)
    return torch.zeros(size, dtype=tensors[0].dtype, device=tensors[0].device)


def views(flat: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The part of ``flat`` that belongs to each of ``tensors``, in its shape and layout."""
    found, offset = [], 0
    for tensor in tensors:
        found.append(flat.as_strided(tensor.shape, tensor.stride(), offset))
        offset += _room(tensor)
    return found


def _room(tensor: torch.Tensor) -> int:
    """Elements a tensor takes up, with what fills it up to the next boundary."""
    unit = _ALIGNMENT // tensor.element_size()
    return -(-tensor.numel() // unit) * unit


@torch.no_grad()
def flatten(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Move ``tensors`` into one flat tensor [N], which they are views of from then on."""
    flat = flat_zeros(tensors)
    for tensor, view in zip(tensors, views(flat, tensors), strict=True):
        view.copy_(tensor)
        tensor.data = view
    return flat
