"""The value of a board without shapes: the chance to survive, the logistic function of a sum.

Summed up are the weights of all look-ups (:mod:`alphatriangle.ntuple.layout`), in an order that is
the same for both ways of packing bits, so that both give the same bits.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba.extending import overload

from alphatriangle.features.symmetry import SYMMETRIES
from alphatriangle.game.bits import popcount, trailing_zeros
from alphatriangle.game.geometry import NUM_SHAPES
from alphatriangle.game.kernels import legal_anchors
from alphatriangle.ntuple.bit_extract import ROUNDS, ByPext, Way, pext
from alphatriangle.ntuple.layout import COUNTS, LAYOUT
from alphatriangle.ntuple.placements import sum_of_counts
from alphatriangle.utils.kernels import inner

VIEWS: Final = SYMMETRIES
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_F0: Final = np.float32(0.0)
# In kernels these are constants: the loops over them are unrolled and the masks become part of the
# instructions, as fast as code written out.
_SEEN: Final = LAYOUT.views
_MASK: Final = LAYOUT.mask
_MOVES: Final = LAYOUT.moves
_OFFSET: Final = LAYOUT.offset
_FIRST: Final = LAYOUT.first
_READ: Final = LAYOUT.read
_FULL, _LARGE, _SMALL_FULL, _KINDS = LAYOUT.groups
_COUNTS_AT: Final = LAYOUT.counts


def _packed(way: Any, kind: int, word: np.uint64) -> np.uint64:
    """The bits of ``word`` that the kind reads, packed: its index. For kernels."""
    raise NotImplementedError


@overload(_packed)
def _packed_for(way: Any, kind: Any, word: Any) -> Any:
    def by_pext(way: Any, kind: Any, word: Any) -> Any:
        return pext(word, _MASK[kind])

    def by_moves(way: Any, kind: Any, word: Any) -> Any:
        rest = word & _MASK[kind]
        for i in range(ROUNDS):
            moving = rest & _MOVES[kind, i]
            rest = (rest ^ moving) | (moving >> (_ONE << np.uint64(i)))
        return rest

    return by_pext if way.instance_class is ByPext else by_moves


@inner
def sigmoid(x: float) -> float:
    """The logistic function."""
    return 1.0 / (1.0 + math.exp(-x))


@inner
def see(lo: np.uint64, hi: np.uint64, views: npt.NDArray[np.uint64]) -> None:
    """Write the 12 views of a board."""
    for v in range(VIEWS):
        views[v] = _ZERO
    for k in range(2):
        word = hi if k else lo
        while word != _ZERO:
            cell = 64 * k + trailing_zeros(word)
            for v in range(VIEWS):
                views[v] |= _SEEN[cell, v]
            word &= word - _ONE


@inner
def logit(
    way: Way,
    weights: npt.NDArray[np.float32],
    lo: np.uint64,
    hi: np.uint64,
    views: npt.NDArray[np.uint64],
) -> float:
    """The logit of the chance to survive of a board whose views are given."""
    t0, t1, t2, t3 = _F0, _F0, _F0, _F0
    for kind in range(_FULL):
        at = _OFFSET[kind]
        for v in range(0, VIEWS, 4):
            t0 += weights[at + _packed(way, kind, views[v])]
            t1 += weights[at + _packed(way, kind, views[v + 1])]
            t2 += weights[at + _packed(way, kind, views[v + 2])]
            t3 += weights[at + _packed(way, kind, views[v + 3])]
    for kind in range(_FULL, _LARGE):
        at = _OFFSET[kind]
        for i in range(_FIRST[kind], _FIRST[kind + 1]):
            t0 += weights[at + _packed(way, kind, views[_READ[i]])]
    if not way.folded:
        for kind in range(_LARGE, _SMALL_FULL):
            at = _OFFSET[kind]
            for v in range(0, VIEWS, 4):
                t0 += weights[at + _packed(way, kind, views[v])]
                t1 += weights[at + _packed(way, kind, views[v + 1])]
                t2 += weights[at + _packed(way, kind, views[v + 2])]
                t3 += weights[at + _packed(way, kind, views[v + 3])]
        for kind in range(_SMALL_FULL, _KINDS):
            at = _OFFSET[kind]
            for i in range(_FIRST[kind], _FIRST[kind + 1]):
                t1 += weights[at + _packed(way, kind, views[_READ[i]])]
    return np.float64(((t0 + t1) + (t2 + t3)) + sum_of_counts(weights[_COUNTS_AT:], lo, hi))


@inner
def look_up(
    way: Way,
    lo: np.uint64,
    hi: np.uint64,
    views: npt.NDArray[np.uint64],
    out: npt.NDArray[np.uint64],
) -> None:
    """Write the places of all weights of a board into ``out`` [LOOKUPS]."""
    n = 0
    for kind in range(_KINDS):
        for i in range(_FIRST[kind], _FIRST[kind + 1]):
            out[n] = _OFFSET[kind] + _packed(way, kind, views[_READ[i]])
            n += 1
    for shape in range(NUM_SHAPES):
        a, b = legal_anchors(lo, hi, shape)
        out[n] = np.uint64(_COUNTS_AT + shape * COUNTS + popcount(a) + popcount(b))
        n += 1
