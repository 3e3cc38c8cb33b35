"""Positions to network input, many at once, and back.

Planes of ``grid`` [9, 8, 15]: 0 occupied; 1 playable; 2 points up; 3-5 legal anchors of the shape
in each slot; 6-8 share of filled cells of the line through the cell along the row, down-right,
up-right. ``other_features`` [92]: for each slot a one-hot of its shape (zeros when empty), then for
each of the 23 shapes log(1 + placements) / log(1 + 48), 48 being the most any shape can have.

The encoding can be inverted (plane 0 and the one-hots hold the position), which is how an
``Experience`` becomes a compact row and comes back bit for bit.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.game.bits import popcount, trailing_zeros
from alphatriangle.game.geometry import (
    CELLS,
    COLS,
    EMPTY,
    LINE_CELLS,
    LINE_DIRECTION,
    LINE_SIZE,
    LINES,
    MAX_LEGAL,
    NUM_SHAPES,
    PLAYABLE_MASK,
    ROWS,
    SLOTS,
)
from alphatriangle.game.kernels import legal_actions, legal_anchors
from alphatriangle.utils.kernels import copy_into, inner, kernel
from alphatriangle.utils.types import FloatArray, StateType

PLANES: Final = 9
OTHER_FEATURES: Final = SLOTS * NUM_SHAPES + NUM_SHAPES

_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_COUNT_LOG: Final = np.array(
    [math.log1p(n) / math.log1p(MAX_LEGAL // SLOTS) for n in range(MAX_LEGAL // SLOTS + 1)],
    dtype=np.float32,
)
_NUM_LINES: Final = len(LINE_CELLS)
_LINE_MEMBERS: Final = np.array(
    [cells + [-1] * (COLS - len(cells)) for cells in LINE_CELLS], dtype=np.int64
)


def _constant_planes() -> FloatArray:
    planes = np.zeros((2, CELLS), np.float32)
    planes[0] = [PLAYABLE_MASK >> i & 1 for i in range(CELLS)]
    planes[1] = [(i // COLS + i % COLS) % 2 for i in range(CELLS)]
    return planes


_CONSTANT: Final = _constant_planes()


@inner
def _set_bits(lo: np.uint64, hi: np.uint64, plane: FloatArray) -> None:
    while lo != _ZERO:
        plane[trailing_zeros(lo)] = 1.0
        lo &= lo - _ONE
    while hi != _ZERO:
        plane[64 + trailing_zeros(hi)] = 1.0
        hi &= hi - _ONE


@kernel
def encode_into(
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    grid: FloatArray,
    other: FloatArray,
) -> None:
    """Encode N positions into ``grid`` [N, PLANES, CELLS] and ``other`` [N, OTHER_FEATURES]."""
    for i in range(len(boards)):
        lo = boards[i, 0]
        hi = boards[i, 1]
        planes = grid[i]
        planes[:] = 0.0
        _set_bits(lo, hi, planes[0])
        copy_into(planes[1], _CONSTANT[0])
        copy_into(planes[2], _CONSTANT[1])
        vector = other[i]
        vector[:] = 0.0
        for shape in range(NUM_SHAPES):
            a, b = legal_anchors(lo, hi, shape)
            vector[SLOTS * NUM_SHAPES + shape] = _COUNT_LOG[popcount(a) + popcount(b)]
            for s in range(SLOTS):
                if slots[i, s] == shape:
                    vector[s * NUM_SHAPES + shape] = 1.0
                    _set_bits(a, b, planes[3 + s])
        for line in range(_NUM_LINES):
            filled = popcount(LINES[line, 0] & lo) + popcount(LINES[line, 1] & hi)
            if filled > 0:
                share = np.float32(filled) / np.float32(LINE_SIZE[line])
                for k in range(LINE_SIZE[line]):
                    planes[6 + LINE_DIRECTION[line], _LINE_MEMBERS[line, k]] = share


@kernel
def legal_and_policy_into(
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    policies: FloatArray,
    legal: npt.NDArray[np.bool_],
    dense: FloatArray,
) -> None:
    """Spread ``policies`` [N, L] (in order of the legal actions) over all actions.

    Writes ``legal`` [N, A] (True = may be played) and ``dense`` [N, A].
    """
    actions = np.empty(MAX_LEGAL, np.int16)
    for i in range(len(boards)):
        legal[i, :] = False
        dense[i, :] = 0.0
        for j in range(legal_actions(boards[i, 0], boards[i, 1], slots[i], actions)):
            legal[i, actions[j]] = True
            dense[i, actions[j]] = policies[i, j]


def encode(
    boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]
) -> tuple[FloatArray, FloatArray]:
    """Encode N positions: ([N, PLANES, ROWS, COLS], [N, OTHER_FEATURES]) float32."""
    grid = np.empty((len(boards), PLANES, CELLS), np.float32)
    other = np.empty((len(boards), OTHER_FEATURES), np.float32)
    encode_into(boards, slots, grid, other)
    return grid.reshape(-1, PLANES, ROWS, COLS), other


def decode(state: StateType) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int8]]:
    """The position ([2] uint64 board, [3] int8 slots) that encodes to exactly ``state``.

    Raises:
        ValueError: ``state`` has other shapes, or is not what any position encodes to.
    """
    grid = np.asarray(state["grid"])
    other = np.asarray(state["other_features"])
    if grid.shape != (PLANES, ROWS, COLS) or other.shape != (OTHER_FEATURES,):
        raise ValueError(
            f"grid {grid.shape}, other_features {other.shape}: this network sees "
            f"grid {(PLANES, ROWS, COLS)}, other_features {(OTHER_FEATURES,)}"
        )
    occupied = (grid[0].reshape(CELLS) != 0).astype(np.uint64)
    board = np.zeros(2, np.uint64)
    for cell in np.flatnonzero(occupied):
        board[cell // 64] |= _ONE << np.uint64(cell % 64)
    one_hots = other[: SLOTS * NUM_SHAPES].reshape(SLOTS, NUM_SHAPES)
    slots = np.where(one_hots.any(axis=1), one_hots.argmax(axis=1), EMPTY).astype(np.int8)
    back_grid, back_other = encode(board[None], slots[None])
    if not (np.array_equal(back_grid[0], grid) and np.array_equal(back_other[0], other)):
        raise ValueError("these features are not what any position encodes to")
    return board, slots
