"""``python -m benchmarks.without PART,... COMMAND``: the real command, less a part of the design.

For ablations of what has no switch because nobody who trains would turn it off. The parts are taken
out of this process only, so that self-play has to be in it (``--workers 0``, no gate).

    python -m benchmarks.without batch_norm train --preset convolutional-quick --workers 0
    python -m benchmarks.without lines,counts eval RUN --against none
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

import alphatriangle.nn.int8
import alphatriangle.nn.network
import alphatriangle.rl.buffer
from alphatriangle.cli.app import main as command
from alphatriangle.features import encoder
from alphatriangle.game.geometry import NUM_SHAPES, SLOTS
from alphatriangle.utils.types import FloatArray

Boards = npt.NDArray[np.uint64]
Slots = npt.NDArray[np.int8]

INPUTS: Final[dict[str, tuple[slice, slice]]] = {
    "orientation": (slice(2, 3), slice(0)),
    "anchors": (slice(3, 6), slice(0)),
    "lines": (slice(6, 9), slice(0)),
    "counts": (slice(0), slice(SLOTS * NUM_SHAPES, SLOTS * NUM_SHAPES + NUM_SHAPES)),
}
"""Planes of the grid and entries of the vector, as ``alphatriangle.features.encoder`` has them."""


class Affine(torch.nn.BatchNorm2d):
    """Scale and shift of a batch norm without its normalisation; statistics stay 0 and 1."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def without_batch_norm() -> None:
    """Networks made from now on normalise nothing."""
    torch.nn.BatchNorm2d = Affine  # type: ignore[misc]


def without_inputs(parts: Sequence[str]) -> None:
    """The network sees zeros in the place of these inputs, in self-play and in training."""
    hidden = [INPUTS[part] for part in parts]

    def hide(grid: FloatArray, other: FloatArray) -> None:
        for planes, entries in hidden:
            grid[:, planes] = 0.0
            other[:, entries] = 0.0

    def encode_into(boards: Boards, slots: Slots, grid: FloatArray, other: FloatArray) -> None:
        encoder.encode_into(boards, slots, grid, other)
        hide(grid, other)

    def encode(boards: Boards, slots: Slots) -> tuple[FloatArray, FloatArray]:
        grid, other = encoder.encode(boards, slots)
        hide(grid, other)
        return grid, other

    alphatriangle.nn.network.encode_into = encode_into  # type: ignore[assignment]
    alphatriangle.nn.int8.encode = encode
    alphatriangle.rl.buffer.encode = encode


def main(arguments: Sequence[str]) -> None:
    """Take the parts out and run the command."""
    known: dict[str, Callable[[], None]] = {"batch_norm": without_batch_norm}
    parts = arguments[0].split(",") if arguments else []
    unknown = [part for part in parts if part not in known and part not in INPUTS]
    if not parts or unknown:
        problem = f"no part {unknown[0]!r}" if unknown else "which part?"
        sys.exit(f"{problem}; there are: {', '.join([*known, *INPUTS])}")
    for part in parts:
        if part in known:
            known[part]()
    without_inputs([part for part in parts if part in INPUTS])
    sys.argv = ["alphatriangle", *arguments[1:]]
    command()


if __name__ == "__main__":
    main(sys.argv[1:])
