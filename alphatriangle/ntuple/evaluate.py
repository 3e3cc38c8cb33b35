"""What tables say of positions, in the form of a network's answer: policy logits and values."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.game.bits import trailing_zeros
from alphatriangle.game.geometry import ACTIONS, CELLS, EMPTY, SLOTS
from alphatriangle.game.kernels import any_legal, legal_anchors, place
from alphatriangle.ntuple.bit_extract import Way, best_way
from alphatriangle.ntuple.values import VIEWS, logit, see, sigmoid
from alphatriangle.utils.kernels import kernel
from alphatriangle.utils.types import Evaluation

_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_ENDS: Final = -30.0
"""The logit of a placement that ends the game, and of one that is not legal."""


@kernel(nogil=True)
def _evaluate(
    way: Way,
    weights: npt.NDArray[np.float32],
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    logits: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
) -> None:
    views = np.empty(VIEWS, np.uint64)
    left = np.empty(SLOTS, np.int8)
    for i in range(len(boards)):
        best, shapes = _ENDS, 0
        for slot in range(SLOTS):
            shape = np.int64(slots[i, slot])
            if shape < 0:
                continue
            shapes += 1
            for s in range(SLOTS):
                left[s] = slots[i, s]
            left[slot] = EMPTY
            a, c = legal_anchors(boards[i, 0], boards[i, 1], shape)
            while (a | c) != _ZERO:
                if a != _ZERO:
                    anchor = trailing_zeros(a)
                    a &= a - _ONE
                else:
                    anchor = 64 + trailing_zeros(c)
                    c &= c - _ONE
                lo, hi, _ = place(boards[i, 0], boards[i, 1], shape, anchor)
                x = _ENDS
                more = left[0] >= 0 or left[1] >= 0 or left[2] >= 0
                if not more or any_legal(lo, hi, left):
                    see(lo, hi, views)
                    x = max(_ENDS, logit(way, weights, lo, hi, views))
                logits[i, slot * CELLS + anchor] = x
                best = max(best, x)
        if shapes == 0:
            see(boards[i, 0], boards[i, 1], views)
            best = logit(way, weights, boards[i, 0], boards[i, 1], views)
        values[i] = sigmoid(best)


def evaluate(
    weights: npt.NDArray[np.float32],
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    way: Way | None = None,
) -> Evaluation:
    """Evaluate N positions [N, 2], [N, 3]; ``way`` is how bits are packed, by default the best.

    A placement's policy logit is that of the chance to survive with the board it leaves, as if the
    other shapes were not there, but at least one of them must fit; the value [N] is the chance to
    survive: of the best placement, or of the board itself where no shape is left.
    """
    logits = np.full((len(boards), ACTIONS), _ENDS, np.float32)
    values = np.empty(len(boards), np.float32)
    _evaluate(way or best_way(), weights, boards, slots, logits, values)
    return Evaluation(logits, values)
