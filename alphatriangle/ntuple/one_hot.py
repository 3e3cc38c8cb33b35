"""Policies that name one action, in NumPy: a kernel would cost more to compile than it saves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import (
    ANCHORS,
    CELLS,
    MAX_LEGAL,
    MAX_TRIANGLES,
    PLAYABLE,
    SHAPE_OFFSETS,
    SLOTS,
)

Words = npt.NDArray[np.uint64]


def _anchors(boards: Words, shapes: npt.NDArray[np.int8]) -> Words:
    """[N, 2] the anchors at which a shape fits each board; none for an empty slot."""
    free = ~boards & PLAYABLE
    lo, hi = free[:, 0], free[:, 1]
    anchors = np.where(shapes[:, None] >= 0, ANCHORS[shapes], np.uint64(0))
    for k in range(MAX_TRIANGLES):
        d = SHAPE_OFFSETS[shapes, k]
        carried = np.where(d > 0, hi << (np.uint64(64) - d), np.uint64(0))
        anchors[:, 0] &= (lo >> d) | carried
        anchors[:, 1] &= hi >> d
    return anchors


def one_hot_policies(
    boards: Words, slots: npt.NDArray[np.int8], actions: npt.NDArray[np.int16]
) -> npt.NDArray[np.float32]:
    """[N, L]: 1 for the place of each legal action among all legal ones, zeros for action -1."""
    slot, anchor = np.divmod(np.maximum(actions, 0).astype(np.int64), CELLS)
    low = np.minimum(anchor, 63).astype(np.uint64)
    high = np.maximum(anchor - 64, 0).astype(np.uint64)
    one = np.uint64(1)
    # The anchors below the action's: all of the lower word if it lies in the upper one.
    below_lo = np.where(anchor < 64, (one << low) - one, ~np.uint64(0))
    below_hi = np.where(anchor < 64, np.uint64(0), (one << high) - one)
    place = np.zeros(len(boards), np.int64)
    for s in range(SLOTS):
        anchors = _anchors(boards, slots[:, s])
        before, here = s < slot, s == slot
        for word, below in ((anchors[:, 0], below_lo), (anchors[:, 1], below_hi)):
            place += np.where(before, np.bitwise_count(word), 0)
            place += np.where(here, np.bitwise_count(word & below), 0)
    policies = np.zeros((len(boards), MAX_LEGAL), np.float32)
    played = np.flatnonzero(actions >= 0)
    policies[played, place[played]] = 1.0
    return policies
