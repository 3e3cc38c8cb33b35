"""The search: a beam over the deal's placements, its best ends judged over next deals.

Random next deals, the same for all ends (common random numbers), are each played by a narrow beam,
and an end is worth the mean chance to survive after them (as roll-outs: Tesauro and Galperin,
1996). Ends that cannot win are dropped early by sequential halving (Karnin et al., 2013): in each
phase all that are left get the same number of new deals, then the worse half goes.

The shapes of the deals are dealt out like cards: templates come from shuffled decks of all 31, so
that after ten deals each has come about equally often (stratified sampling). Single shapes make
three quarters of the variance of what follows a board and almost half of that of the difference
between two boards. What it costs: a deal holds one template twice only where a deck ends, where the
game deals such in one of ten. All is drawn from a key of the search's; the game's deals are never
seen.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import DEAL_TABLE, SLOTS
from alphatriangle.game.kernels import any_legal, deal, step
from alphatriangle.ntuple.beam import Beam, make_beam, plan_deal
from alphatriangle.ntuple.bit_extract import Way
from alphatriangle.ntuple.values import sigmoid
from alphatriangle.utils.kernels import inner, kernel
from alphatriangle.utils.seeding import draw_below, draw_u64

_ONE: Final = np.uint64(1)


class Effort(NamedTuple):
    """How much a search does."""

    width: int = 32  # of the beam over the deal
    leaves: int = 12  # ends of the deal that are judged again; 1: none
    samples: int = 120  # next deals played, over all ends together
    inner: int = 2  # width of the beam that plays them
    depth: int = 1  # deals in a row that are played for each


def effort_of(samples: int) -> Effort:
    """What was measured to choose best for so many next deals: more ends the more there are, two
    deals in a row where more single ones would tell nothing new. About 20 us a sample, plus 0.2 ms.
    """
    steps = ((1, 1), (16, 4), (32, 6), (64, 8), (100, 10), (200, 12))
    leaves = next((leaves for below, leaves in steps if samples < below), 16)
    return Effort(32, leaves, samples, inner=2, depth=1 if samples < 300 else 2)


_TEMPLATES: Final = len(DEAL_TABLE)
_PRIOR: Final = 2.0
"""So many deals is worth what the table says of an end itself."""


class Rooms(NamedTuple):
    """Where one search works; not to be shared by threads."""

    outer: Beam
    inner: Beam
    total: npt.NDArray[np.float64]  # [leaves] sums of values
    order: npt.NDArray[np.int64]  # [leaves] ends still in play, then those that were dropped
    shapes: npt.NDArray[np.int8]  # [samples, rounded up to blocks of 31, x SLOTS] the next deals


def make_rooms(effort: Effort) -> Rooms:
    """Room for searches of this effort."""
    leaves = max(effort.leaves, 1)
    return Rooms(
        make_beam(max(effort.width, leaves)),
        make_beam(max(effort.inner, 1)),
        np.zeros(leaves),
        np.zeros(leaves, np.int64),
        np.zeros(-(-max(effort.samples, leaves) // _TEMPLATES) * _TEMPLATES * SLOTS, np.int8),
    )


@inner
def _draw_deals(key: np.uint64, block: int, shapes: npt.NDArray[np.int8]) -> None:
    """Deal out three decks, one after the other: the shapes of the 31 deals of a block."""
    for deck in range(SLOTS * block, SLOTS * (block + 1)):
        first = deck * _TEMPLATES
        for i in range(_TEMPLATES):
            j = np.int64(draw_below(key, np.uint64(first + i), np.uint64(i + 1)))
            shapes[first + i] = shapes[first + j]
            shapes[first + j] = DEAL_TABLE[i]


@inner
def _played_on(
    way: Way, weights: npt.NDArray[np.float32], lo: np.uint64, hi: np.uint64, key: np.uint64,
    sample: int, effort: Effort, beam: Beam, shapes: npt.NDArray[np.int8],
    more: npt.NDArray[np.int8],
) -> float:  # fmt: skip
    """The chance to survive after deal ``sample`` and those that follow it, 0 after an end."""
    value = 0.0
    for number in range(effort.depth):
        slots = shapes[SLOTS * sample : SLOTS * (sample + 1)]
        if number > 0:
            deal(key, sample * effort.depth + number, more)
            slots = more
        if not any_legal(lo, hi, slots):
            return 0.0
        now, _, kept = plan_deal(way, weights, lo, hi, slots, effort.inner, np.int64(1), beam)
        if kept == 0:
            return 0.0
        lo, hi = beam.board[now, 0, 0], beam.board[now, 0, 1]
        value = sigmoid(beam.logit[now, 0])
    return value


@inner
def _drop_worse_half(rooms: Rooms, left: int) -> int:
    """Sort the ends in play by their totals, the first of equals first: how many stay."""
    for i in range(1, left):
        row = rooms.order[i]
        k = i
        while k > 0 and rooms.total[rooms.order[k - 1]] < rooms.total[row]:
            rooms.order[k] = rooms.order[k - 1]
            k -= 1
        rooms.order[k] = row
    return (left + 1) // 2


@inner
def search_deal(
    way: Way, weights: npt.NDArray[np.float32], board: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8], effort: Effort, key: np.uint64, rooms: Rooms,
) -> tuple[int, int, int, float]:  # fmt: skip
    """Search one deal of which some shape fits.

    Returns (generation of the outer beam, row of the chosen plan, its placements, the chance to
    survive).
    """
    outer = rooms.outer
    now, planned, kept = plan_deal(
        way, weights, board[0], board[1], slots, effort.width, max(effort.leaves, 1), outer
    )
    if kept == 0:
        return now, outer.board.shape[1] - 1, planned, 0.0
    if kept == 1 or effort.samples <= 0:
        return now, 0, planned, sigmoid(outer.logit[now, 0])
    for i in range(kept):
        rooms.total[i] = _PRIOR * sigmoid(outer.logit[now, i])
        rooms.order[i] = i
    later = np.empty(SLOTS, np.int8)
    key_later = draw_u64(key, ~np.uint64(0))
    phases, left = 0, kept
    while left > 1:
        phases += 1
        left = (left + 1) // 2
    left, drawn, blocks = kept, 0, 0
    while left > 1:
        more = max(1, effort.samples // (phases * left))
        while drawn + more > blocks * _TEMPLATES:
            _draw_deals(key, blocks, rooms.shapes)
            blocks += 1
        for i in range(left):
            row = rooms.order[i]
            lo, hi = outer.board[now, row, 0], outer.board[now, row, 1]
            for k in range(drawn, drawn + more):
                rooms.total[row] += _played_on(
                    way, weights, lo, hi, key_later, k, effort, rooms.inner, rooms.shapes, later
                )
        drawn += more
        left = _drop_worse_half(rooms, left)
    best = rooms.order[0]
    return now, best, planned, rooms.total[best] / (_PRIOR + drawn)


class Played(NamedTuple):
    """A game that is played on."""

    board: npt.NDArray[np.uint64]  # [2]
    slots: npt.NDArray[np.int8]  # [SLOTS]
    plan: npt.NDArray[np.int16]  # [SLOTS] of the last search
    moves: npt.NDArray[np.int16]  # room for all moves
    numbers: npt.NDArray[np.int64]  # [4]: deals made, moves made, placements planned, over
    reals: npt.NDArray[np.float64]  # [2]: score, chance to survive by the last search


DEALT, MOVES, PLANNED, OVER = range(4)
SCORE, VALUE = range(2)


@kernel(nogil=True)
def play_on(
    way: Way,
    weights: npt.NDArray[np.float32],
    effort: Effort,
    game: Played,
    deal_key: np.uint64,
    search_key: np.uint64,
    deals: int,
    rooms: Rooms,
) -> None:
    """Search and play up to ``deals`` deals of a game that is not over; with 0, search only.

    The search of a deal depends on ``search_key`` and the number of the deal.
    """
    for _ in range(max(deals, 1)):
        number = game.numbers[DEALT]
        key = draw_u64(search_key, np.uint64(number))
        now, row, planned, value = search_deal(
            way, weights, game.board, game.slots, effort, key, rooms
        )
        game.numbers[PLANNED] = planned
        game.reals[VALUE] = value
        for k in range(planned):
            game.plan[k] = rooms.outer.plan[now, row, k]
        if deals == 0:
            return
        for k in range(planned):
            action = np.int64(game.plan[k])
            game.moves[game.numbers[MOVES]] = action
            game.numbers[MOVES] += 1
            reward, _, done, dealt = step(
                game.board, game.slots, action, deal_key, game.numbers[DEALT]
            )
            game.numbers[DEALT] += dealt
            game.reals[SCORE] += reward
            if done:
                game.numbers[OVER] = 1
                return
        if game.numbers[MOVES] + SLOTS > len(game.moves):
            return
