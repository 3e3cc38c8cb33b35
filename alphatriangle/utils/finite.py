"""Are all the numbers finite? A sum for each tensor, no memory, one wait for the device."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether every number in floating-point ``tensors`` of one device, none empty, is finite.

    A sum is not finite when a part is not. When it has overflowed, the extremes tell, as a NaN is
    both of them. Looking at each number would take forty times as long as the sum.
    """
    tensors = [tensor.detach() for tensor in tensors]
    sums = [tensor.sum(dtype=torch.float32) for tensor in tensors]
    if not sums or math.isfinite(float(torch.stack(sums).sum())):
        return True
    return all(math.isfinite(float(x)) for tensor in tensors for x in torch.aminmax(tensor))


def first_not_finite(value: Any, name: str = "") -> str | None:
    """Where in nested containers the first tensor or array with a NaN or an infinity is, and how
    many of its numbers are such: ``model['stem.weight'] (3 of 64 numbers)``.

    Plain numbers are not looked at: an infinity is what many say for "none yet".
    """
    match value:
        case torch.Tensor():
            return _described(_bad_of_tensor(value), value.numel(), name)
        case np.ndarray() if value.dtype.kind in "fc":
            return _described(int((~np.isfinite(value)).sum()), value.size, name)
        case dict():
            parts: Iterable[tuple[Any, Any]] = value.items()
        case list() | tuple():
            parts = enumerate(value)
        case _:
            return None
    found = (first_not_finite(part, f"{name}[{key!r}]") for key, part in parts)
    return next((place for place in found if place is not None), None)


def _bad_of_tensor(tensor: torch.Tensor) -> int:
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        # Only what is stored can be other than zero.
        tensor = tensor.coalesce() if tensor.layout == torch.sparse_coo else tensor
        tensor = tensor.values()
    if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    elif tensor.element_size() == 1:
        tensor = tensor.float()  # 8-bit floats have no arithmetic
    return 0 if all_finite([tensor]) else int((~torch.isfinite(tensor)).sum())


def _described(bad: int, size: int, name: str) -> str | None:
    return f"{name} ({bad} of {size} numbers)" if bad else None
