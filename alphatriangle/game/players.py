"""Players that do not learn: what an agent is compared with.

``random``; ``greedy``, which clears the most now; ``mobility``, which looks one placement ahead;
``beam`` and ``beam128``, which plan the rest of the deal and keep the 16 or 128 best boards at each
placement. The last three judge a board by how many placements it leaves open.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.game.bits import popcount
from alphatriangle.game.geometry import CELLS, DEAL_TABLE, EMPTY, MAX_LEGAL, SHAPES, SLOTS
from alphatriangle.game.kernels import (
    any_legal,
    deal,
    legal_actions,
    legal_anchors,
    place,
    placement_reward,
    random_action,
    step,
)
from alphatriangle.utils.kernels import copy_into, inner, kernel
from alphatriangle.utils.seeding import derive_key, draw_below
from alphatriangle.utils.streams import STREAM_DEAL, STREAM_PLAYER

PLAYERS: Final = ("random", "greedy", "mobility", "beam", "beam128")
_GREEDY: Final = -1
_WIDTHS: Final = {"random": -2, "greedy": _GREEDY, "mobility": 0, "beam": 16, "beam128": 128}

_SHARE: Final = np.bincount(DEAL_TABLE, minlength=len(SHAPES)) / len(DEAL_TABLE)
"""How often each shape is dealt."""
_WORTH: Final = 0.3
"""What one more open placement of an average shape is worth, in points."""
_DEAD: Final = -1e6
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_HASH_A: Final = np.uint64(0x9E3779B97F4A7C15)
_HASH_B: Final = np.uint64(0xC2B2AE3D27D4EB4F)


@kernel
def mobility(lo: np.uint64, hi: np.uint64) -> float:
    """At how many anchors a shape fits, on average over the shapes as they are dealt."""
    total = 0.0
    for shape in range(len(_SHARE)):
        a, b = legal_anchors(lo, hi, shape)
        total += _SHARE[shape] * (popcount(a) + popcount(b))
    return total


@inner
def _greedy_action(
    board: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8], key: np.uint64, counter: int
) -> int:
    """A legal action that clears the most triangles now, ties broken at random; -1 if none."""
    actions = np.empty(MAX_LEGAL, np.int16)
    n = legal_actions(board[0], board[1], slots, actions)
    best = -1
    ties = 0
    chosen = -1
    draw_key = derive_key(np.int64(key >> _ONE), STREAM_PLAYER, counter)
    for i in range(n):
        action = np.int64(actions[i])
        _, _, cleared = place(board[0], board[1], slots[action // CELLS], action % CELLS)
        if cleared > best:
            best = cleared
            ties = 1
            chosen = action  # type: ignore[assignment]
        elif cleared == best:
            ties += 1
            if draw_below(draw_key, np.uint64(i), np.uint64(ties)) == _ZERO:
                chosen = action  # type: ignore[assignment]
    return chosen


@inner
def _mobile_action(board: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> int:
    """The legal action with the most reward and mobility after it; the first of several."""
    actions = np.empty(MAX_LEGAL, np.int16)
    left = slots.copy()
    best = -np.inf
    chosen = -1
    for i in range(legal_actions(board[0], board[1], slots, actions)):
        action = np.int64(actions[i])
        slot = action // CELLS
        lo, hi, cleared = place(board[0], board[1], slots[slot], action % CELLS)
        left[slot] = EMPTY
        value = placement_reward(slots[slot], cleared) + _WORTH * mobility(lo, hi)
        if _is_dead(lo, hi, left):
            value += _DEAD
        left[slot] = slots[slot]
        if value > best:
            best = value
            chosen = action  # type: ignore[assignment]
    return chosen


@inner
def _is_dead(lo: np.uint64, hi: np.uint64, slots: npt.NDArray[np.int8]) -> bool:
    """Whether shapes are left of which none fits."""
    left = slots[0] >= 0 or slots[1] >= 0 or slots[2] >= 0
    return left and not any_legal(lo, hi, slots)


@inner
def _is_new(
    table: npt.NDArray[np.uint64], lo: np.uint64, hi: np.uint64, left: npt.NDArray[np.int8]
) -> bool:
    """Whether a board with these shapes left is not in the hash table [2**k, 3] yet; it is then."""
    mask = np.uint64(len(table) - 1)
    shapes = _ONE
    for s in range(SLOTS):
        shapes = shapes * np.uint64(64) + np.uint64(left[s] + 1)
    place_ = ((lo * _HASH_A) ^ (hi * _HASH_B) ^ shapes) * _HASH_A
    i = (place_ >> np.uint64(32)) & mask
    while table[i, 2] != _ZERO:
        if table[i, 0] == lo and table[i, 1] == hi and table[i, 2] == shapes:
            return False
        i = (i + _ONE) & mask
    table[i, 0], table[i, 1], table[i, 2] = lo, hi, shapes
    return True


@kernel
def beam_plan(
    board: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    width: int,
    plan: npt.NDArray[np.int64],
) -> int:
    """Plan the rest of the deal into ``plan`` [SLOTS]; returns how many placements that is.

    Boards that several orders lead to are kept once. A plan that ends the game is taken only when
    there is no other.
    """
    boards = np.empty((width, 2), np.uint64)
    left = np.empty((width, SLOTS), np.int8)
    rewards = np.zeros(width)
    paths = np.empty((width, SLOTS), np.int64)
    copy_into(boards[0], board)
    copy_into(left[0], slots)
    count = 1
    most = width * MAX_LEGAL
    new_boards = np.empty((most, 2), np.uint64)
    new_left = np.empty((most, SLOTS), np.int8)
    new_rewards = np.empty(most)
    new_paths = np.empty((most, SLOTS), np.int64)
    values = np.empty(most)
    size = 64
    while size < 2 * most:
        size *= 2
    actions = np.empty(MAX_LEGAL, np.int16)
    remaining = 0
    for s in range(SLOTS):
        remaining += slots[s] >= 0
    length = 0
    for depth in range(remaining):
        table = np.zeros((size, 3), np.uint64)
        made = 0
        for b in range(count):
            for i in range(legal_actions(boards[b, 0], boards[b, 1], left[b], actions)):
                action = np.int64(actions[i])
                slot = action // CELLS
                shape = left[b, slot]
                lo, hi, cleared = place(boards[b, 0], boards[b, 1], shape, action % CELLS)
                copy_into(new_left[made], left[b])
                new_left[made, slot] = EMPTY
                if not _is_new(table, lo, hi, new_left[made]):
                    continue
                new_boards[made, 0], new_boards[made, 1] = lo, hi
                copy_into(new_paths[made], paths[b])
                new_paths[made, depth] = action
                new_rewards[made] = rewards[b] + placement_reward(shape, cleared)
                values[made] = new_rewards[made] + _WORTH * mobility(lo, hi)
                if _is_dead(lo, hi, new_left[made]):
                    values[made] += _DEAD
                made += 1
        if made == 0:
            break
        length = depth + 1
        order = np.argsort(-values[:made])
        best = order[0]
        copy_into(plan, new_paths[best])
        count = 0
        while count < min(width, made) and values[order[count]] > _DEAD / 2:
            chosen = order[count]
            copy_into(boards[count], new_boards[chosen])
            copy_into(left[count], new_left[chosen])
            rewards[count] = new_rewards[chosen]
            copy_into(paths[count], new_paths[chosen])
            count += 1
    return length


@kernel
def play_kernel(kind: int, seed: int, episode: int, max_moves: int) -> tuple[float, int]:
    """:func:`play_game` with a width for the player, as in ``_WIDTHS``; public to be compiled."""
    deal_key = derive_key(seed, STREAM_DEAL, episode)
    player_key = derive_key(seed, STREAM_PLAYER, episode)
    board = np.zeros(2, np.uint64)
    slots = np.empty(SLOTS, np.int8)
    plan = np.empty(SLOTS, np.int64)
    planned, done_of_plan = 0, 0
    deal(deal_key, 0, slots)
    deals = 1
    score = 0.0
    for move in range(max_moves):
        if kind > 0:
            if done_of_plan == planned:
                planned, done_of_plan = beam_plan(board, slots, kind, plan), 0
            action = plan[done_of_plan]
            done_of_plan += 1
        elif kind == 0:
            action = _mobile_action(board, slots)
        elif kind == _GREEDY:
            action = _greedy_action(board, slots, player_key, move)
        else:
            action = random_action(board, slots, player_key, move)
        reward, _, done, dealt = step(board, slots, action, deal_key, deals)
        deals += dealt
        score += reward
        if done:
            return score, move + 1
    return score, max_moves


def play_game(player: str, seed: int, episode: int, max_moves: int) -> tuple[float, int]:
    """Play one whole game: (score, placements).

    Raises:
        KeyError: ``player`` is not one of :data:`PLAYERS`.
    """
    score, placements = play_kernel(_WIDTHS[player], seed, episode, max_moves)
    return score, placements
