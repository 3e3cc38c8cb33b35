"""The board's symmetries, for seeing one position as many.

The board is a regular hexagon: its six rotations and their mirror images map cells to cells and
lines to lines. The order of the slots means nothing. So a position has 12 x 6 views, and a move in
one is a move in each.

The views agree exactly on the deal in hand. Beyond it they agree almost: the templates are not
closed under the symmetries (each leaves one or two of the 23 shapes without an image, and images
can have other weights), so that the same board turned is worth a little more or less. A view that
would need a shape that does not exist is not taken; the position is then only reordered.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.game.bits import trailing_zeros
from alphatriangle.game.geometry import (
    CELLS,
    COLS,
    EMPTY,
    MAX_LEGAL,
    NUM_SHAPES,
    ROWS,
    SHAPES,
    SLOTS,
    fits,
    is_playable,
)
from alphatriangle.game.kernels import legal_actions
from alphatriangle.utils.kernels import inner, kernel
from alphatriangle.utils.seeding import draw_below
from alphatriangle.utils.types import FloatArray

SYMMETRIES: Final = 12
_SLOT_ORDERS: Final = np.array(list(permutations(range(SLOTS))), np.int8)
_HIGHEST: Final = ROWS - 1
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_SIX: Final = np.uint64(6)
_LOW: Final = np.uint64(63)


class Symmetries(NamedTuple):
    """Images under each of the 12 symmetries; number 0 changes nothing."""

    cell: npt.NDArray[np.int16]  # [12, 120], -1 for a dead cell
    shape: npt.NDArray[np.int8]  # [12, 23], -1 where there is no such shape
    anchor: npt.NDArray[np.int16]  # [12, 23, 120], -1 where the shape does not fit or has no image


def _strips(row: int, col: int) -> tuple[int, int, int]:
    """The numbers, 0 to 7, of the three lines through a cell.

    They add up to 11 for a cell that points down and to 10 for one that points up. So each order of
    the three is a cell again, and so is 7 minus each.
    """
    return row, (col - row) // 2 + 2, 9 - (col + row + 1) // 2


@cache
def symmetries() -> Symmetries:
    """The tables, made once."""
    strips = {
        _strips(row, col): row * COLS + col
        for row in range(ROWS)
        for col in range(COLS)
        if is_playable(row, col)
    }
    placements = {
        frozenset(fits(SHAPES[shape], anchor) or ()): (shape, anchor)
        for shape in range(NUM_SHAPES)
        for anchor in range(CELLS)
    }
    del placements[frozenset()]
    tables = Symmetries(
        np.full((SYMMETRIES, CELLS), -1, np.int16),
        np.full((SYMMETRIES, NUM_SHAPES), -1, np.int8),
        np.full((SYMMETRIES, NUM_SHAPES, CELLS), -1, np.int16),
    )
    for number in range(SYMMETRIES):
        order = _SLOT_ORDERS[number // 2]
        for strip, cell in strips.items():
            x, y, z = (_HIGHEST - strip[i] if number % 2 else strip[i] for i in order)
            tables.cell[number, cell] = strips[x, y, z]
        for cells, (shape, anchor) in placements.items():
            found = placements.get(frozenset(tables.cell[number, list(cells)].tolist()))
            if found is not None:
                tables.shape[number, shape], tables.anchor[number, shape, anchor] = found
    return tables


@inner
def _turned(
    board: npt.NDArray[np.uint64], cell: npt.NDArray[np.int16], out: npt.NDArray[np.uint64]
) -> None:
    out[0] = 0
    out[1] = 0
    for word in range(2):
        rest = board[word]
        while rest != _ZERO:
            image = np.uint64(cell[64 * word + trailing_zeros(rest)])
            rest &= rest - _ONE
            out[image >> _SIX] |= _ONE << (image & _LOW)


@kernel
def _draw_views(
    key: np.uint64,
    tables: Symmetries,
    orders: npt.NDArray[np.int8],
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    policies: FloatArray,
    out_boards: npt.NDArray[np.uint64],
    out_slots: npt.NDArray[np.int8],
    legal: npt.NDArray[np.bool_],
    dense: FloatArray,
) -> None:
    actions = np.empty(MAX_LEGAL, np.int16)
    first = np.empty(SLOTS, np.int64)
    for i in range(len(boards)):
        t = np.int64(draw_below(key, np.uint64(2 * i), np.uint64(SYMMETRIES)))
        for s in range(SLOTS):
            if slots[i, s] != EMPTY and tables.shape[t, slots[i, s]] < 0:
                t = np.int64(0)
        order = orders[np.int64(draw_below(key, np.uint64(2 * i + 1), np.uint64(len(orders))))]
        _turned(boards[i], tables.cell[t], out_boards[i])
        for s in range(SLOTS):
            shape = slots[i, s]
            out_slots[i, order[s]] = shape if shape == EMPTY else tables.shape[t, shape]
        for s in range(SLOTS):
            # Of two equal shapes the first slot's moves are the ones that are played.
            for slot in range(SLOTS):
                if out_slots[i, slot] == out_slots[i, order[s]]:
                    first[s] = slot
                    break
        legal[i, :] = False
        dense[i, :] = 0.0
        anchors = tables.anchor[t]
        for j in range(legal_actions(boards[i, 0], boards[i, 1], slots[i], actions)):
            slot = actions[j] // CELLS
            anchor = np.int64(anchors[slots[i, slot], actions[j] - slot * CELLS])
            legal[i, order[slot] * CELLS + anchor] = True
            dense[i, first[slot] * CELLS + anchor] += policies[i, j]


def draw_views(
    key: np.uint64,
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    policies: FloatArray,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int8], npt.NDArray[np.bool_], FloatArray]:
    """A view of each of N positions, drawn uniformly; it depends on ``key`` and nothing else.

    Returns boards [N, 2], slots [N, 3], and over all actions which are legal [N, A] and the
    policies [N, A].
    """
    n = len(boards)
    out_boards, out_slots = np.empty_like(boards), np.empty_like(slots)
    legal, dense = np.empty((n, SLOTS * CELLS), np.bool_), np.empty((n, SLOTS * CELLS), np.float32)
    views = (out_boards, out_slots, legal, dense)
    _draw_views(key, symmetries(), _SLOT_ORDERS, boards, slots, policies, *views)
    return views
