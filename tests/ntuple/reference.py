"""The value of a board in plain Python, slow and obvious: what the kernels are compared with."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import NUM_SHAPES
from alphatriangle.ntuple.layout import COUNTS, KINDS, image
from tests.reference import from_int, legal_actions


def places(board: int) -> list[int]:
    """The weights that are looked up: of every image of every kind of tuple, of every shape."""
    found, start = [], 0
    for cells, read, _ in KINDS:
        for symmetry in read:
            # Which bit a cell is does not depend on the image, but on the cell that it is one of.
            bits = [board >> image((cell,), symmetry)[0] & 1 for cell in cells]
            found.append(start + sum(bit << i for i, bit in enumerate(bits)))
        start += 2 ** len(cells)
    for shape in range(NUM_SHAPES):
        found.append(start + shape * COUNTS + len(legal_actions(from_int(board), [shape])))
    return found


def survival(weights: npt.NDArray[np.float32], board: int) -> float:
    """The chance to survive."""
    return 1 / (1 + math.exp(-sum(float(weights[i]) for i in places(board))))
