"""Our actor on every node: says what the node is, takes kernels, and answers while it is there.

It needs no library but Ray, so that it starts soon; it takes no CPU.
"""

from __future__ import annotations

from alphatriangle.training.cluster import identity
from alphatriangle.utils.kernel_files import KernelFiles, kernels_here, missing_kernels, put_kernels


class NodeAgent:
    """Use as ``ray.remote(NodeAgent)``."""

    def hello(self) -> identity.Identity:
        """What workers on this node are."""
        return identity.here()

    def kernels(self) -> int:
        """How many compiled kernels of these sources are at hand."""
        return len(kernels_here())

    def missing(self, names: list[str]) -> list[str]:
        """Which of these kernels are not at hand."""
        return missing_kernels(names)

    def take(self, kernels: KernelFiles) -> int:
        """Keep compiled kernels of a node of the same processor; how many were what they claim."""
        return put_kernels(kernels)

    def beat(self) -> None:
        """Be there."""
