"""The board and the shapes as tables: cells, lines, templates, masks.

A cell's index is ``row * COLS + col`` (0..119); a board is 120 bits in two 64-bit words,
``[lo, hi]`` with cell ``i`` at bit ``i`` of ``lo`` for i < 64 and bit ``i - 64`` of ``hi`` above.
An anchor plus a shape's flat offset gives a cell; since COLS is odd, a flat offset keeps track of
orientation by itself, so only the borders need a mask (``ANCHORS``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

ROWS: Final = 8
COLS: Final = 15
CELLS: Final = ROWS * COLS
SLOTS: Final = 3
ACTIONS: Final = SLOTS * CELLS

Triangle = tuple[int, int, int]
"""(dr, dc, up): an offset from the anchor and the orientation, 1 up, 0 down."""
Shape = tuple[Triangle, ...]

PLAYABLE_COLUMNS: Final = ((3, 12), (2, 13), (1, 14), (0, 15), (0, 15), (1, 14), (2, 13), (3, 12))

# The 31 templates a deal draws from, uniformly; duplicates are weights.
_TEMPLATES: Final = (
    "0,0U; 0,0U; 0,0U 1,0D; 0,0U 1,0D; 0,0D; 0,0U 0,1D; 0,0U 0,1D; 0,0D 0,1U; 0,0D 0,1U;"
    "0,0U 0,1D 0,2U; 0,0D 0,1U 0,2D; 0,0U 0,1D 0,2U 1,0D; 0,0U 0,1D 0,2U 1,2D;"
    "0,0D 0,1U 1,0U 1,1D; 0,0U 0,2U 1,0D 1,1U 1,2D; 0,0U 1,-2D 1,-1U 1,0D; 0,0U 0,1D 1,0D 1,1U;"
    "0,0U 0,1D 1,0D 1,1U 1,2D; 0,0U 0,1D 0,2U 1,0D 1,1U; 0,0U 0,1D 0,2U 1,0D 1,2D;"
    "0,0U 0,1D 0,2U 1,1U 1,2D; 0,0U 0,2U 1,0D 1,1U 1,2D; 0,0U 0,1D 1,0D 1,1U 1,2D;"
    "0,0D 0,1U 1,1D; 0,0U 1,-1U 1,0D; 0,0U 1,0D 1,1U; 0,0U 1,-1U 1,0D 1,1U; 0,0U 1,-1U 1,0D;"
    "0,0D 0,1U 0,2D 1,1D; 0,0D 0,1U 1,1D; 0,0U 0,1D 1,0D"
)


def is_up(row: int, col: int) -> bool:
    """Cell (row, col) points up when row + col is odd."""
    return (row + col) % 2 == 1


def is_playable(row: int, col: int) -> bool:
    """Whether (row, col) is on the board and not dead."""
    return 0 <= row < ROWS and PLAYABLE_COLUMNS[row][0] <= col < PLAYABLE_COLUMNS[row][1]


def _parse(text: str) -> Shape:
    triangles = []
    for word in text.split():
        dr, dc = word[:-1].split(",")
        triangles.append((int(dr), int(dc), int(word[-1] == "U")))
    return tuple(triangles)


def _line_from(row: int, col: int, direction: str) -> list[int]:
    """The playable run that starts at (row, col) and goes ``direction``."""
    cells = []
    while is_playable(row, col):
        cells.append(row * COLS + col)
        if direction == "row" or (direction == "down") != is_up(row, col):
            col += 1
        else:
            row += 1 if direction == "down" else -1
    return cells


def _lines() -> list[tuple[str, list[int]]]:
    """All maximal runs of two cells or more, with their direction."""
    found: list[tuple[str, list[int]]] = []
    for direction in ("row", "down", "up"):
        runs = [_line_from(r, c, direction) for r in range(ROWS) for c in range(COLS)]
        runs = [run for run in runs if len(run) >= 2]
        inner = {cell for run in runs for cell in run[1:]}
        found += [(direction, run) for run in runs if run[0] not in inner]
    return found


def mask_of(cells: list[int]) -> int:
    """The integer with the bits of ``cells`` set."""
    return sum(1 << cell for cell in cells)


def words(mask: int) -> tuple[int, int]:
    """Split a 120-bit integer into (lo, hi)."""
    return mask & (2**64 - 1), mask >> 64


def _word_table(masks: list[int]) -> npt.NDArray[np.uint64]:
    return np.array([words(mask) for mask in masks], dtype=np.uint64)


TEMPLATES: Final[tuple[Shape, ...]] = tuple(_parse(text) for text in _TEMPLATES.split(";"))
SHAPES: Final[tuple[Shape, ...]] = tuple(dict.fromkeys(TEMPLATES))
"""The 23 distinct shapes; everywhere else a shape is its index in here, -1 an empty slot."""
NUM_SHAPES: Final = len(SHAPES)
EMPTY: Final = -1

DEAL_TABLE: Final = np.array([SHAPES.index(t) for t in TEMPLATES], dtype=np.int8)
"""[31] int8: the distinct shape of each template, so that a uniform draw has the right weights."""

MAX_TRIANGLES: Final = max(len(shape) for shape in SHAPES)
SHAPE_SIZE: Final = np.array([len(shape) for shape in SHAPES], dtype=np.int64)
SHAPE_OFFSETS: Final = np.array(
    [[dr * COLS + dc for dr, dc, _ in s] + [0] * (MAX_TRIANGLES - len(s)) for s in SHAPES],
    dtype=np.uint64,
)
"""[NUM_SHAPES, MAX_TRIANGLES] uint64: flat offsets from the anchor, all >= 0."""

PLAYABLE_MASK: Final = mask_of(
    [r * COLS + c for r in range(ROWS) for c in range(COLS) if is_playable(r, c)]
)
PLAYABLE: Final = _word_table([PLAYABLE_MASK])[0]
LINE_CELLS: Final = [cells for _, cells in _lines()]
LINE_DIRECTION: Final = np.array(
    [("row", "down", "up").index(direction) for direction, _ in _lines()], dtype=np.int64
)
LINES: Final = _word_table([mask_of(cells) for cells in LINE_CELLS])
"""[24, 2] uint64: the cells of each line."""
LINE_SIZE: Final = np.array([len(cells) for cells in LINE_CELLS], dtype=np.int64)


def fits(shape: Shape, anchor: int) -> list[int] | None:
    """The cells of ``shape`` at ``anchor`` on the empty board, or None where it does not fit."""
    cells = []
    for dr, dc, up in shape:
        row, col = anchor // COLS + dr, anchor % COLS + dc
        if not is_playable(row, col) or is_up(row, col) != bool(up):
            return None
        cells.append(row * COLS + col)
    return cells


_PLACEMENTS: Final = [[fits(shape, anchor) or [] for anchor in range(CELLS)] for shape in SHAPES]
PLACEMENT: Final = np.array(
    [[words(mask_of(cells)) for cells in per_anchor] for per_anchor in _PLACEMENTS],
    dtype=np.uint64,
)
"""[NUM_SHAPES, CELLS, 2] uint64: the cells a placement fills, 0 where the shape does not fit."""
ANCHORS: Final = _word_table(
    [mask_of([a for a in range(CELLS) if per_anchor[a]]) for per_anchor in _PLACEMENTS]
)
"""[NUM_SHAPES, 2] uint64: the anchors at which each shape fits the empty board."""

MAX_LEGAL: Final = SLOTS * max(sum(map(bool, per_anchor)) for per_anchor in _PLACEMENTS)
"""An upper bound on the number of legal actions of any position."""
