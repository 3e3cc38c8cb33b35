"""A beam over the three placements of a deal, judged by the value of the boards alone."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.game.bits import popcount, trailing_zeros
from alphatriangle.game.geometry import CELLS, EMPTY, LINES, MAX_LEGAL, PLACEMENT, SLOTS
from alphatriangle.game.kernels import any_legal, legal_anchors, placement_reward
from alphatriangle.ntuple.bit_extract import Way
from alphatriangle.ntuple.layout import LAYOUT, MOST_TOUCHED
from alphatriangle.ntuple.values import VIEWS, logit, see
from alphatriangle.utils.kernels import inner

_PLACED: Final = LAYOUT.placed
_CLEARED: Final = LAYOUT.cleared
_TOUCHED: Final = LAYOUT.touched
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_HASH_A: Final = np.uint64(0x9E3779B97F4A7C15)
_HASH_B: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_STAMP_BITS: Final = np.uint64(40)
_STAMP: Final = np.uint64(2**40 - 1)
NOTHING: Final = -np.inf


class Beam(NamedTuple):
    """Room for one beam, W boards wide at most; the same kernels may use it again and again.

    The two generations take turns. Row W of each is the best plan that ends the game.
    """

    board: npt.NDArray[np.uint64]  # [2, W + 1, 2]
    views: npt.NDArray[np.uint64]  # [2, W + 1, 12]
    left: npt.NDArray[np.int8]  # [2, W + 1, SLOTS] the shapes not yet placed
    plan: npt.NDArray[np.int16]  # [2, W + 1, SLOTS] actions
    logit: npt.NDArray[np.float64]  # [2, W + 1] best first
    reward: npt.NDArray[np.float64]  # [2, W + 1] of the placements so far
    seen: npt.NDArray[np.uint64]  # [2**k, 3] hash table of boards with shapes left
    counters: npt.NDArray[np.int64]  # [2] generations made, boards judged


def make_beam(width: int) -> Beam:
    """Room for beams of up to ``width`` boards."""
    rows = width + 1
    entries = 1 << (2 * width * MAX_LEGAL - 1).bit_length()
    return Beam(
        np.zeros((2, rows, 2), np.uint64),
        np.zeros((2, rows, VIEWS), np.uint64),
        np.full((2, rows, SLOTS), EMPTY, np.int8),
        np.zeros((2, rows, SLOTS), np.int16),
        np.zeros((2, rows)),
        np.zeros((2, rows)),
        np.zeros((entries, 3), np.uint64),
        np.zeros(2, np.int64),
    )


@inner
def _is_new(
    seen: npt.NDArray[np.uint64], lo: np.uint64, hi: np.uint64, shapes_and_stamp: np.uint64
) -> bool:
    """Whether a board is not in the hash table under this stamp yet; it is then.

    Entries of other stamps are as good as free, so that nothing has to be cleared.
    """
    last = np.uint64(len(seen) - 1)
    h = ((lo * _HASH_A) ^ (hi * _HASH_B) ^ shapes_and_stamp) * _HASH_A
    i = (h >> np.uint64(32)) & last
    while (seen[i, 2] ^ shapes_and_stamp) & _STAMP == _ZERO:
        if seen[i, 0] == lo and seen[i, 1] == hi and seen[i, 2] == shapes_and_stamp:
            return False
        i = (i + _ONE) & last
    seen[i, 0], seen[i, 1], seen[i, 2] = lo, hi, shapes_and_stamp
    return True


@inner
def _keep(
    beam: Beam, now: int, b: int, p: int, slot: int, anchor: int, depth: int, reward: float
) -> None:
    """Make row ``p`` of the other generation a child of row ``b``, but for board and views."""
    new = 1 - now
    for s in range(SLOTS):
        beam.plan[new, p, s] = beam.plan[now, b, s]
        beam.left[new, p, s] = beam.left[now, b, s]
    beam.plan[new, p, depth] = slot * CELLS + anchor
    beam.left[new, p, slot] = EMPTY
    beam.reward[new, p] = reward


@inner
def _make_room(beam: Beam, new: int, last: int, x: float) -> int:
    """Move the rows that are worse than ``x`` down, onto ``last`` too; the row that became free."""
    p = last
    while p > 0 and beam.logit[new, p - 1] < x:
        for k in range(2):
            beam.board[new, p, k] = beam.board[new, p - 1, k]
        for v in range(VIEWS):
            beam.views[new, p, v] = beam.views[new, p - 1, v]
        for s in range(SLOTS):
            beam.left[new, p, s] = beam.left[new, p - 1, s]
            beam.plan[new, p, s] = beam.plan[new, p - 1, s]
        beam.logit[new, p] = beam.logit[new, p - 1]
        beam.reward[new, p] = beam.reward[new, p - 1]
        p -= 1
    return p


@inner
def _extend(
    way: Way,
    weights: npt.NDArray[np.float32],
    beam: Beam,
    now: int,
    count: int,
    width: int,
    depth: int,
    more: bool,
) -> int:
    """Place one more shape on each of ``count`` boards and keep the ``width`` best: how many.

    ``more`` says whether shapes are left afterwards.
    """
    new, last = 1 - now, beam.board.shape[1] - 1
    views = np.empty(VIEWS, np.uint64)
    left = np.empty(SLOTS, np.int8)
    beam.counters[0] += 1
    stamp = np.uint64(beam.counters[0]) & _STAMP
    beam.reward[new, last] = NOTHING
    n = 0
    for b in range(count):
        for slot in range(SLOTS):
            shape = np.int64(beam.left[now, b, slot])
            if shape < 0:
                continue
            if slot > 0 and beam.left[now, b, 0] == shape:
                continue
            if slot > 1 and beam.left[now, b, 1] == shape:
                continue
            for s in range(SLOTS):
                left[s] = beam.left[now, b, s]
            left[slot] = EMPTY
            shapes = np.uint64((left[0] + 1) * 1024 + (left[1] + 1) * 32 + left[2] + 1)
            key = (shapes << _STAMP_BITS) | stamp
            before_lo, before_hi = beam.board[now, b, 0], beam.board[now, b, 1]
            a, c = legal_anchors(before_lo, before_hi, shape)
            while (a | c) != _ZERO:
                if a != _ZERO:
                    anchor = trailing_zeros(a)
                    a &= a - _ONE
                else:
                    anchor = 64 + trailing_zeros(c)
                    c &= c - _ONE
                lo = before_lo | PLACEMENT[shape, anchor, 0]
                hi = before_hi | PLACEMENT[shape, anchor, 1]
                for v in range(VIEWS):
                    views[v] = beam.views[now, b, v] | _PLACED[shape, anchor, v]
                clear_lo, clear_hi = _ZERO, _ZERO
                for i in range(MOST_TOUCHED):
                    line = np.int64(_TOUCHED[shape, anchor, i])
                    if line < 0:
                        break
                    if (LINES[line, 0] & ~lo) == _ZERO and (LINES[line, 1] & ~hi) == _ZERO:
                        clear_lo |= LINES[line, 0]
                        clear_hi |= LINES[line, 1]
                        for v in range(VIEWS):
                            views[v] &= ~_CLEARED[line, v]
                lo &= ~clear_lo
                hi &= ~clear_hi
                if depth > 0 and not _is_new(beam.seen, lo, hi, key):
                    continue
                beam.counters[1] += 1
                x = logit(way, weights, lo, hi, views)
                if n == width and x <= beam.logit[new, n - 1]:
                    continue
                cleared = popcount(clear_lo) + popcount(clear_hi)
                reward = beam.reward[now, b] + placement_reward(shape, cleared)
                if more and not any_legal(lo, hi, left):
                    if reward > beam.reward[new, last]:
                        _keep(beam, now, b, last, slot, anchor, depth, reward)
                    continue
                p = _make_room(beam, new, min(n, width - 1), x)
                n = min(n + 1, width)
                _keep(beam, now, b, p, slot, anchor, depth, reward)
                beam.board[new, p, 0], beam.board[new, p, 1] = lo, hi
                for v in range(VIEWS):
                    beam.views[new, p, v] = views[v]
                beam.logit[new, p] = x
    return n


@inner
def plan_deal(
    way: Way,
    weights: npt.NDArray[np.float32],
    lo: np.uint64,
    hi: np.uint64,
    slots: npt.NDArray[np.int8],
    width: int,
    leaves: int,
    beam: Beam,
) -> tuple[int, int, int]:
    """Plan the rest of a deal of which some shape fits.

    Returns (the beam's generation that holds the result, placements, leaves). The ``leaves`` best
    ends of the deal are its first rows, best first; where every plan ends the game there is none,
    and the last row is the plan with the most reward.
    """
    # Not literals, for which numba would compile what is called once more.
    now, count, planned = np.int64(0), np.int64(1), 0
    beam.board[0, 0, 0], beam.board[0, 0, 1] = lo, hi
    see(lo, hi, beam.views[0, 0])
    beam.reward[0, 0] = 0.0
    remaining = 0
    for s in range(SLOTS):
        beam.left[0, 0, s] = slots[s]
        remaining += slots[s] >= 0
    for depth in range(remaining):
        more = depth < remaining - 1
        cap = width if more else leaves
        count = _extend(way, weights, beam, now, count, cap, depth, more)
        now = 1 - now
        planned = depth + 1
        if count == 0:
            break
    return int(now), planned, int(count)
