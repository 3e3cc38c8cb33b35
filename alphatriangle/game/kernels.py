"""The rules on bitboards, compiled. Boards are (lo, hi) uint64 pairs, shapes are indices or EMPTY.

These are the only places where the rules are computed; :mod:`alphatriangle.game.state` wraps them
for people, the search calls them directly.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.game.bits import popcount, select_bit, trailing_zeros
from alphatriangle.game.geometry import (
    ANCHORS,
    CELLS,
    DEAL_TABLE,
    EMPTY,
    LINES,
    PLACEMENT,
    PLAYABLE,
    SHAPE_OFFSETS,
    SHAPE_SIZE,
    SLOTS,
)
from alphatriangle.utils.kernels import kernel
from alphatriangle.utils.seeding import derive_key, draw_below
from alphatriangle.utils.streams import STREAM_DEAL, STREAM_PLAYER

REWARD_PER_TRIANGLE_PLACED: Final = 0.01
REWARD_PER_TRIANGLE_CLEARED: Final = 0.5
SURVIVAL_BONUS: Final = 0.005
ILLEGAL_ACTION_PENALTY: Final = -10.0

_PLAY_LO: Final = np.uint64(PLAYABLE[0])
_PLAY_HI: Final = np.uint64(PLAYABLE[1])
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_WORD: Final = np.uint64(64)
_NUM_LINES: Final = len(LINES)
_NUM_TEMPLATES: Final = np.uint64(len(DEAL_TABLE))


@kernel(inline="always")
def legal_anchors(lo: np.uint64, hi: np.uint64, shape: int) -> tuple[np.uint64, np.uint64]:
    """The anchors at which ``shape`` fits, as (lo, hi): shifted ANDs over the free mask."""
    free_lo = ~lo & _PLAY_LO
    free_hi = ~hi & _PLAY_HI
    out_lo = ANCHORS[shape, 0]
    out_hi = ANCHORS[shape, 1]
    for k in range(SHAPE_SIZE[shape]):
        d = SHAPE_OFFSETS[shape, k]
        if d == _ZERO:
            out_lo &= free_lo
            out_hi &= free_hi
        else:
            out_lo &= (free_lo >> d) | (free_hi << (_WORD - d))
            out_hi &= free_hi >> d
    return out_lo, out_hi


@kernel(inline="always")
def place(
    lo: np.uint64, hi: np.uint64, shape: int, anchor: int
) -> tuple[np.uint64, np.uint64, int]:
    """Fill the cells of ``shape`` at ``anchor`` and clear complete lines.

    Returns the board afterwards and how many triangles were cleared. The placement must be legal.
    A line without a new cell cannot be complete: it would have been cleared before.
    """
    lo |= PLACEMENT[shape, anchor, 0]
    hi |= PLACEMENT[shape, anchor, 1]
    clear_lo = _ZERO
    clear_hi = _ZERO
    for i in range(_NUM_LINES):
        if (LINES[i, 0] & ~lo) == _ZERO and (LINES[i, 1] & ~hi) == _ZERO:
            clear_lo |= LINES[i, 0]
            clear_hi |= LINES[i, 1]
    cleared = popcount(clear_lo) + popcount(clear_hi)
    return lo & ~clear_lo, hi & ~clear_hi, cleared


@kernel(inline="always")
def placement_reward(shape: int, cleared: int) -> float:
    """The reward of a placement without the survival bonus."""
    return REWARD_PER_TRIANGLE_PLACED * SHAPE_SIZE[shape] + REWARD_PER_TRIANGLE_CLEARED * cleared


@kernel(inline="always")
def any_legal(lo: np.uint64, hi: np.uint64, slots: npt.NDArray[np.int8]) -> bool:
    """Whether some shape in the slots fits somewhere."""
    for s in range(SLOTS):
        if slots[s] >= 0:
            a, b = legal_anchors(lo, hi, slots[s])
            if (a | b) != _ZERO:
                return True
    return False


@kernel(inline="always")
def deal(key: np.uint64, number: int, slots: npt.NDArray[np.int8]) -> None:
    """Fill all slots with deal ``number`` of the game whose deal key is ``key``."""
    for s in range(SLOTS):
        i = draw_below(key, np.uint64(number * SLOTS + s), _NUM_TEMPLATES)
        slots[s] = DEAL_TABLE[np.int64(i)]


@kernel
def legal_actions(
    lo: np.uint64, hi: np.uint64, slots: npt.NDArray[np.int8], out: npt.NDArray[np.int16]
) -> int:
    """Write the legal actions, ascending, into ``out`` [MAX_LEGAL]; return how many there are."""
    n = 0
    for s in range(SLOTS):
        if slots[s] < 0:
            continue
        a, b = legal_anchors(lo, hi, slots[s])
        while a != _ZERO:
            out[n] = s * CELLS + trailing_zeros(a)
            a &= a - _ONE
            n += 1
        while b != _ZERO:
            out[n] = s * CELLS + 64 + trailing_zeros(b)
            b &= b - _ONE
            n += 1
    return n


@kernel
def is_legal(lo: np.uint64, hi: np.uint64, slots: npt.NDArray[np.int8], action: int) -> bool:
    """Whether ``action`` (any integer) may be played."""
    if action < 0 or action >= SLOTS * CELLS or slots[action // CELLS] < 0:
        return False
    a, b = legal_anchors(lo, hi, slots[action // CELLS])
    anchor = action % CELLS
    if anchor < 64:
        return ((a >> np.uint64(anchor)) & _ONE) != _ZERO
    return ((b >> np.uint64(anchor - 64)) & _ONE) != _ZERO


@kernel
def step(
    board: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    action: int,
    key: np.uint64,
    deals: int,
) -> tuple[float, int, bool, bool]:
    """Play a legal ``action`` in place, dealing anew when the slots are empty.

    Returns (reward, triangles cleared, game over, whether a deal was made).
    """
    slot = action // CELLS
    shape = slots[slot]
    lo, hi, cleared = place(board[0], board[1], shape, action % CELLS)
    board[0] = lo
    board[1] = hi
    slots[slot] = EMPTY
    reward = placement_reward(shape, cleared)
    dealt = slots[0] < 0 and slots[1] < 0 and slots[2] < 0
    if dealt:
        deal(key, deals, slots)
    alive = any_legal(lo, hi, slots)
    if alive:
        reward += SURVIVAL_BONUS
    return reward, cleared, not alive, dealt


@kernel
def random_action(
    board: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8], key: np.uint64, counter: int
) -> int:
    """A uniformly random legal action; -1 where there is none."""
    lo0, hi0, lo1, hi1, lo2, hi2 = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    if slots[0] >= 0:
        lo0, hi0 = legal_anchors(board[0], board[1], slots[0])
    if slots[1] >= 0:
        lo1, hi1 = legal_anchors(board[0], board[1], slots[1])
    if slots[2] >= 0:
        lo2, hi2 = legal_anchors(board[0], board[1], slots[2])
    n0 = popcount(lo0) + popcount(hi0)
    n1 = popcount(lo1) + popcount(hi1)
    n = n0 + n1 + popcount(lo2) + popcount(hi2)
    if n == 0:
        return -1
    k = np.int64(draw_below(key, np.uint64(counter), np.uint64(n)))
    if k < n0:
        return select_bit(lo0, hi0, k)
    if k < n0 + n1:
        return CELLS + select_bit(lo1, hi1, k - n0)
    return 2 * CELLS + select_bit(lo2, hi2, k - n0 - n1)


@kernel
def random_placements(seed: int, count: int) -> tuple[int, float]:
    """Make ``count`` random placements, game after game: (games finished, sum of rewards).

    The benchmark of the rules, and nothing else's.
    """
    board = np.zeros(2, np.uint64)
    slots = np.full(SLOTS, EMPTY, np.int8)
    games = 0
    total = 0.0
    deal_key = derive_key(seed, STREAM_DEAL, games)
    player_key = derive_key(seed, STREAM_PLAYER, games)
    deal(deal_key, 0, slots)
    deals = 1
    for move in range(count):
        action = random_action(board, slots, player_key, move)
        reward, _, done, dealt = step(board, slots, action, deal_key, deals)
        deals += dealt
        total += reward
        if done:
            games += 1
            deal_key = derive_key(seed, STREAM_DEAL, games)
            player_key = derive_key(seed, STREAM_PLAYER, games)
            board[0] = _ZERO
            board[1] = _ZERO
            deal(deal_key, 0, slots)
            deals = 1
    return games, total
