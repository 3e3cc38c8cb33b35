"""A sum tree over an array of priorities, compiled.

A parent is always recomputed as left + right, never adjusted by a difference, so the inner nodes
follow from the leaves alone: a tree rebuilt from saved leaves is equal bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True)
def _set(tree: npt.NDArray[np.float64], offset: int, index: int, value: float) -> None:
    node = offset + index
    tree[node] = value
    node >>= 1
    while node >= 1:
        tree[node] = tree[2 * node] + tree[2 * node + 1]
        node >>= 1


@njit(cache=True)
def _set_many(
    tree: npt.NDArray[np.float64],
    offset: int,
    indices: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
) -> None:
    for i in range(len(indices)):
        _set(tree, offset, indices[i], values[i])


@njit(cache=True)
def _rebuild(tree: npt.NDArray[np.float64], offset: int) -> None:
    for node in range(offset - 1, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]


@njit(cache=True)
def _find(
    tree: npt.NDArray[np.float64],
    offset: int,
    size: int,
    masses: npt.NDArray[np.float64],
    out: npt.NDArray[np.int64],
) -> None:
    for i in range(len(masses)):
        mass = masses[i]
        node = 1
        while node < offset:
            left = tree[2 * node]
            if mass < left or tree[2 * node + 1] <= 0.0:
                node = 2 * node
            else:
                mass -= left
                node = 2 * node + 1
        out[i] = min(node - offset, size - 1)


class SumTree:
    """Priorities of ``capacity`` leaves with prefix-sum search in O(log capacity)."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._offset = 1 << max(capacity - 1, 0).bit_length()
        self._tree = np.zeros(2 * self._offset, np.float64)

    @property
    def total(self) -> float:
        """The sum of all leaves."""
        return float(self._tree[1])

    @property
    def leaves(self) -> npt.NDArray[np.float64]:
        """[capacity] float64: a view of the leaves; write through :meth:`set`."""
        return self._tree[self._offset : self._offset + self.capacity]

    def set(self, indices: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> None:
        """Set leaves, one after the other: with a repeated index the last value stays."""
        _set_many(self._tree, self._offset, indices, values)

    def set_all(self, values: npt.NDArray[np.float64]) -> None:
        """Set the first ``len(values)`` leaves and zero the others."""
        self.leaves[: len(values)] = values
        self.leaves[len(values) :] = 0.0
        _rebuild(self._tree, self._offset)

    def find(self, masses: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
        """For each mass in [0, total) the leaf i with sum(leaves[:i]) <= mass < sum(leaves[:i+1]).

        Rounding never leads to a leaf of zero priority, nor to one at ``size`` or beyond.
        """
        out = np.empty(len(masses), np.int64)
        _find(self._tree, self._offset, size, masses, out)
        return out
