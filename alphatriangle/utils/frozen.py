"""State that is not copied to be saved, because it never changes."""

from __future__ import annotations

from typing import Any

import torch


class FrozenState(dict[str, Any]):
    """A flat dictionary of CPU tensors, numbers and strings that stay what they are.

    Whoever makes one promises never to change its tensors again: what follows is written to other
    memory, and another object takes the place of this one. So a save keeps a reference, and blocks
    for no longer than that takes, whatever the size.
    """

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        return sum(value.nbytes for value in self.values() if isinstance(value, torch.Tensor))
