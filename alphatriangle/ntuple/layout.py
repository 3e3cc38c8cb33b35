"""Which tuples of cells are looked up, and where their weights lie.

For every playable cell the patch of cells within ``radius`` edge steps, and every line: up to the
board's 12 symmetries these are a few *kinds*, each with one table of 2**cells weights, which all
its images share (sharing over symmetries: as n-tuple networks for 2048 do, Szubert and Jaskowski
2014). Besides, for each shape, the number of its placements on the board is looked up.

A board is kept as 12 *views*, 64-bit words that show the region in which one tuple of each kind
lies, as each symmetry sees it: a look-up is one extraction of bits from one view.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.features.symmetry import SYMMETRIES, symmetries
from alphatriangle.game.geometry import (
    CELLS,
    COLS,
    LINE_CELLS,
    LINES,
    NUM_SHAPES,
    PLACEMENT,
    PLAYABLE_MASK,
    is_playable,
    is_up,
)
from alphatriangle.ntuple.bit_extract import moves_of

COUNTS: Final = 64
"""Weights of one shape's number of placements; no shape fits at more anchors."""
RADIUS: Final = 3
MOST_TOUCHED: Final = 6
"""Lines that one placement can complete, at most."""

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


class Layout(NamedTuple):
    """The tables behind all look-ups. K kinds, the ``full`` first of which have 12 images."""

    views: Words  # [CELLS, 12] the bits that a filled cell sets in each view
    placed: Words  # [NUM_SHAPES, CELLS, 12] those of a placement
    cleared: Words  # [LINES, 12] those of a line
    touched: npt.NDArray[np.int8]  # [NUM_SHAPES, CELLS, 6] lines a placement may fill, then -1
    mask: Words  # [K] the bits of the view that a kind reads
    moves: Words  # [K, 6] how they are packed
    offset: Words  # [K] the first weight of a kind
    first: Indices  # [K + 1] where the views of a kind begin in ``read``
    read: Indices  # the views in which the kind's images are read, kind after kind
    full: int
    counts: int  # the first weight of the numbers of placements
    lookups: int  # of one evaluation
    size: int  # weights in all


Cells = tuple[int, ...]
LINES_OF: Final[set[Cells]] = {tuple(sorted(line)) for line in LINE_CELLS}


def _neighbours(cell: int) -> list[int]:
    """The playable cells that share an edge with ``cell``."""
    row, col = divmod(cell, COLS)
    beside = [(row, col - 1), (row, col + 1), (row + 1 if is_up(row, col) else row - 1, col)]
    return [r * COLS + c for r, c in beside if is_playable(r, c)]


def patch(cell: int, radius: int) -> Cells:
    """The cells within ``radius`` edge steps of ``cell``, ascending."""
    cells = {cell}
    for _ in range(radius):
        cells |= {other for inside in cells for other in _neighbours(inside)}
    return tuple(sorted(cells))


def image(cells: Cells, symmetry: int) -> Cells:
    """The cells that ``cells`` become, ascending."""
    return tuple(sorted(symmetries().cell[symmetry, list(cells)].tolist()))


def patches(radius: int) -> set[Cells]:
    """The patch of every playable cell."""
    return {patch(c, radius) for c in range(CELLS) if PLAYABLE_MASK >> c & 1}


def kinds(tuples: set[Cells]) -> list[Cells]:
    """One tuple of each kind, those with 12 images first.

    They are chosen such that together they lie in a small region.
    """
    tuples = tuples.copy()
    chosen: list[Cells] = []
    region: set[int] = set()
    while tuples:
        largest = min(tuples, key=lambda cells: (-len(cells), cells))
        images = {image(largest, s) for s in range(SYMMETRIES)}
        tuples -= images
        chosen.append(min(images, key=lambda cells: (len(region.union(cells)), cells)))
        region.update(chosen[-1])
    return sorted(chosen, key=lambda cells: len(_distinct_views(cells)) < SYMMETRIES)


def _distinct_views(cells: Cells) -> list[int]:
    """The first symmetry that leads to each image."""
    return sorted({image(cells, s): s for s in reversed(range(SYMMETRIES))}.values())


def _views_of(words: Words, views: Words) -> Words:
    """[..., 12]: what boards [..., 2] look like in the views."""
    filled = [words[..., c // 64] >> np.uint64(c % 64) & np.uint64(1) for c in range(CELLS)]
    seen: Words = np.bitwise_or.reduce(np.stack(filled, -1)[..., None] * views, -2)
    return seen


def make_layout(tuples: set[Cells], *, turned: bool = False) -> Layout:
    """The tables for these tuples and their images.

    A tuple that a symmetry maps to itself has fewer than 12 images. Each is looked up once, or,
    with ``turned``, once for every symmetry that leads to it, its cells in another order.

    Raises:
        ValueError: the tuples do not fit into one word of 64 cells.
    """
    chosen = kinds(tuples)
    region = sorted(set().union(*chosen))
    if len(region) > 64:
        raise ValueError(f"the tuples lie in {len(region)} cells, more than 64")
    cell_image = symmetries().cell
    views = np.zeros((CELLS, SYMMETRIES), np.uint64)
    for symmetry in range(SYMMETRIES):
        for bit, cell in enumerate(region):
            views[cell_image[symmetry, cell], symmetry] |= np.uint64(1 << bit)
    touched = np.full((NUM_SHAPES, CELLS, MOST_TOUCHED), -1, np.int8)
    for shape, anchor in np.ndindex(NUM_SHAPES, CELLS):
        lines = np.flatnonzero((LINES & PLACEMENT[shape, anchor]).any(1))
        touched[shape, anchor, : len(lines)] = lines
    masks = [sum(1 << region.index(c) for c in cells) for cells in chosen]
    read = [list(range(SYMMETRIES)) if turned else _distinct_views(cells) for cells in chosen]
    sizes = np.cumsum([0] + [2 ** len(cells) for cells in chosen])
    first = np.cumsum([0] + [len(v) for v in read])
    return Layout(
        views=views,
        placed=_views_of(PLACEMENT, views),
        cleared=_views_of(LINES, views),
        touched=touched,
        mask=np.array(masks, np.uint64),
        moves=np.array([moves_of(mask) for mask in masks]),
        offset=sizes[:-1].astype(np.uint64),
        first=first.astype(np.int64),
        read=np.array([v for views_of_kind in read for v in views_of_kind], np.int64),
        full=sum(len(v) == SYMMETRIES for v in read),
        counts=int(sizes[-1]),
        lookups=int(first[-1]) + NUM_SHAPES,
        size=int(sizes[-1]) + NUM_SHAPES * COUNTS,
    )


LAYOUT: Final = make_layout(patches(RADIUS) | LINES_OF)
SIZE: Final = LAYOUT.size
