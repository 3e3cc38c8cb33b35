"""A sum tree over an array of priorities, compiled.

A parent is always recomputed as left + right, never adjusted by a difference, so the inner nodes
follow from the leaves alone: a tree rebuilt from saved leaves is equal bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alphatriangle.utils.kernels import inner, kernel


@inner
def _value(nodes: npt.NDArray[np.float64], leaves: npt.NDArray[np.float32], node: int) -> float:
    """Nodes are numbered as in a heap: 1 is the root, those from ``len(nodes)`` on are leaves."""
    inner = len(nodes)
    return nodes[node] if node < inner else np.float64(leaves[node - inner])


@kernel
def _set(
    nodes: npt.NDArray[np.float64],
    leaves: npt.NDArray[np.float32],
    indices: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> None:
    for i in range(len(indices)):
        leaves[indices[i]] = values[i]
        node = (len(nodes) + indices[i]) >> 1
        while node >= 1:
            nodes[node] = _value(nodes, leaves, 2 * node) + _value(nodes, leaves, 2 * node + 1)
            node >>= 1


@kernel
def _rebuild(nodes: npt.NDArray[np.float64], leaves: npt.NDArray[np.float32]) -> None:
    for node in range(len(nodes) - 1, 0, -1):
        nodes[node] = _value(nodes, leaves, 2 * node) + _value(nodes, leaves, 2 * node + 1)


@kernel
def _find(
    nodes: npt.NDArray[np.float64],
    leaves: npt.NDArray[np.float32],
    size: int,
    masses: npt.NDArray[np.float64],
    out: npt.NDArray[np.int64],
) -> None:
    for i in range(len(masses)):
        mass = masses[i]
        node = 1
        while node < len(nodes):
            left = _value(nodes, leaves, 2 * node)
            if mass < left or _value(nodes, leaves, 2 * node + 1) <= 0.0:
                node = 2 * node
            else:
                mass -= left
                node = 2 * node + 1
        out[i] = min(node - len(nodes), size - 1)


class SumTree:
    """Priorities of ``capacity`` leaves with prefix-sum search in O(log capacity).

    Leaves are float32, because they are saved with every commit and 24 bits are more than enough;
    sums are float64.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        inner = max(1 << max(capacity - 1, 0).bit_length(), 2)
        self._nodes = np.zeros(inner, np.float64)
        self._leaves = np.zeros(inner, np.float32)

    @property
    def total(self) -> float:
        """The sum of all leaves."""
        return float(self._nodes[1])

    @property
    def leaves(self) -> npt.NDArray[np.float32]:
        """[capacity] float32: a view of the leaves; write through :meth:`set`."""
        return self._leaves[: self.capacity]

    def set(self, indices: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Set leaves, one after the other: with a repeated index the last value stays."""
        _set(self._nodes, self._leaves, indices, values)

    def set_all(self, values: npt.NDArray[np.float32]) -> None:
        """Set the first ``len(values)`` leaves and zero the others."""
        self._leaves[: len(values)] = values
        self._leaves[len(values) :] = 0.0
        _rebuild(self._nodes, self._leaves)

    def find(self, masses: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
        """For each mass in [0, total) the leaf i with sum(leaves[:i]) <= mass < sum(leaves[:i+1]).

        Rounding never leads to a leaf of zero priority, nor to one at ``size`` or beyond.
        """
        out = np.empty(len(masses), np.int64)
        _find(self._nodes, self._leaves, size, masses, out)
        return out
