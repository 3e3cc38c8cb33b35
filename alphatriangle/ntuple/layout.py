"""Which tuples of cells are looked up, and where their weights lie.

For every playable cell the patches of cells within each of :data:`RADII` edge steps, and every
line: up to the board's 12 symmetries these are a few *kinds*, each with one table of 2**cells
weights, which all its images share (sharing over symmetries: as n-tuple networks for 2048 do,
Szubert and Jaskowski, 2014). Besides, for each shape, the number of its placements is looked up.

Small patches learn from few games, large ones tell more boards apart. A small patch lies in the
large one around the same cell, so that once learning is done its weights can be added to the large
one's: :func:`fold`. Folded weights say the same (but for rounding) with the large look-ups alone.

A board is kept as 12 *views*, 64-bit words that show the region in which one tuple of each kind
lies, as each symmetry sees it: a look-up is one extraction of bits from one view.
"""

from __future__ import annotations

from functools import cache
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
RADII: Final = (3, 2, 1)
"""Of the patches, the largest first."""
MOST_TOUCHED: Final = 6
"""Lines that one placement can complete, at most."""

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


class Layout(NamedTuple):
    """The tables behind all look-ups.

    K kinds in four groups: large ones (the patches of the largest radius, and the lines) that are
    read in all 12 views, the other large ones, small ones that are read in all, the other small.
    """

    views: Words  # [CELLS, 12] the bits that a filled cell sets in each view
    placed: Words  # [NUM_SHAPES, CELLS, 12] those of a placement
    cleared: Words  # [LINES, 12] those of a line
    touched: npt.NDArray[np.int8]  # [NUM_SHAPES, CELLS, 6] lines a placement may fill, then -1
    mask: Words  # [K] the bits of the view that a kind reads
    moves: Words  # [K, 6] how they are packed
    offset: Words  # [K] the first weight of a kind
    first: Indices  # [K + 1] where the views of a kind begin in ``read``
    read: Indices  # the views in which the kind's images are read, kind after kind
    inside: Indices  # [K] the large kind that a small kind lies in, -1 for a large one
    groups: tuple[int, int, int, int]  # where each group of kinds ends
    counts: int  # the first weight of the numbers of placements
    lookups: int  # of one evaluation
    size: int  # weights in all


Cells = tuple[int, ...]


class Kind(NamedTuple):
    """Tuples that are each other's images, and share their weights."""

    cells: Cells  # one of them
    read: tuple[int, ...]  # the views that show the others where this one is
    inside: int = -1  # of a small kind: the large one in which it lies


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


def _is_full(kind: Kind) -> bool:
    return len(kind.read) == SYMMETRIES


def _large_kinds(tuples: set[Cells]) -> list[Kind]:
    """One tuple of each kind, chosen such that together they lie in a small region."""
    tuples = tuples.copy()
    chosen: list[Cells] = []
    region: set[int] = set()
    while tuples:
        largest = min(tuples, key=lambda cells: (-len(cells), cells))
        images = {image(largest, s) for s in range(SYMMETRIES)}
        tuples -= images
        chosen.append(min(images, key=lambda cells: (len(region.union(cells)), cells)))
        region.update(chosen[-1])
    kinds = [Kind(cells, _distinct_views(cells)) for cells in chosen]
    return sorted(kinds, key=_is_full, reverse=True)


def _distinct_views(cells: Cells) -> tuple[int, ...]:
    """The first symmetry that leads to each image."""
    return tuple(sorted({image(cells, s): s for s in reversed(range(SYMMETRIES))}.values()))


def _small_kinds(large: list[Kind], radius: int, small_radius: int) -> list[Kind]:
    """The patches of ``small_radius`` around the same cells, read in the same views."""
    found: dict[Cells, Kind] = {}
    number = {kind.cells: i for i, kind in enumerate(large)}
    for cell in range(CELLS):
        if not PLAYABLE_MASK >> cell & 1:
            continue
        for symmetry in range(SYMMETRIES):
            inside = number.get(image(patch(cell, radius), symmetry))
            cells = image(patch(cell, small_radius), symmetry)
            known = any(image(cells, s) in found for s in range(SYMMETRIES))
            if inside is not None and not known and cells not in number:
                found[cells] = Kind(cells, large[inside].read, inside)
    return sorted(found.values(), key=_is_full, reverse=True)


def make_kinds(radii: tuple[int, ...], others: set[Cells] = LINES_OF) -> list[Kind]:
    """The kinds of patches and of ``others``, in the order of :class:`Layout`."""
    large = _large_kinds(patches(radii[0]) | others)
    small = [kind for radius in radii[1:] for kind in _small_kinds(large, radii[0], radius)]
    return large + sorted(small, key=_is_full, reverse=True)


def _views_of(words: Words, views: Words) -> Words:
    """[..., 12]: what boards [..., 2] look like in the views."""
    filled = [words[..., c // 64] >> np.uint64(c % 64) & np.uint64(1) for c in range(CELLS)]
    seen: Words = np.bitwise_or.reduce(np.stack(filled, -1)[..., None] * views, -2)
    return seen


def make_layout(kinds: list[Kind]) -> Layout:
    """The tables for these kinds.

    Raises:
        ValueError: the tuples do not fit into one word of 64 cells.
    """
    region = sorted(set().union(*(kind.cells for kind in kinds)))
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
    masks = [sum(1 << region.index(c) for c in kind.cells) for kind in kinds]
    sizes = np.cumsum([0] + [2 ** len(kind.cells) for kind in kinds])
    first = np.cumsum([0] + [len(kind.read) for kind in kinds])
    large = sum(kind.inside < 0 for kind in kinds)
    full = sum(map(_is_full, kinds[:large]))
    small_full = large + sum(map(_is_full, kinds[large:]))
    return Layout(
        views=views,
        placed=_views_of(PLACEMENT, views),
        cleared=_views_of(LINES, views),
        touched=touched,
        mask=np.array(masks, np.uint64),
        moves=np.array([moves_of(mask) for mask in masks]),
        offset=sizes[:-1].astype(np.uint64),
        first=first.astype(np.int64),
        read=np.array([view for kind in kinds for view in kind.read], np.int64),
        inside=np.array([kind.inside for kind in kinds], np.int64),
        groups=(full, large, small_full, len(kinds)),
        counts=int(sizes[-1]),
        lookups=int(first[-1]) + NUM_SHAPES,
        size=int(sizes[-1]) + NUM_SHAPES * COUNTS,
    )


KINDS: Final = make_kinds(RADII)
LAYOUT: Final = make_layout(KINDS)
SIZE: Final = LAYOUT.size


@cache
def _places_inside(kind: int) -> npt.NDArray[np.int32]:
    """For each weight of the large kind that a small one lies in, the small one's."""
    bits = [1 << b for b in range(64) if int(LAYOUT.mask[LAYOUT.inside[kind]]) >> b & 1]
    own = [i for i, bit in enumerate(bits) if bit & int(LAYOUT.mask[kind])]
    index = np.arange(2 ** len(bits), dtype=np.int32)
    places = np.zeros_like(index)
    for packed, i in enumerate(own):
        places |= (index >> i & 1) << packed
    return places


def fold(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weights that say the same without the small kinds: new, for kernels whose way is folded."""
    folded = weights.copy()
    for kind in range(LAYOUT.groups[1], LAYOUT.groups[3]):
        places = _places_inside(kind)
        small, large = int(LAYOUT.offset[kind]), int(LAYOUT.offset[LAYOUT.inside[kind]])
        folded[large : large + len(places)] += weights[small:][places]
        folded[small : small + 2 ** int(LAYOUT.mask[kind]).bit_count()] = 0.0
    return folded
