"""Playing and learning in one kernel: the value is learned after every deal, each board once.

TD(0) on afterstates: the chance to survive after a deal is drawn towards 1 - gamma + gamma times
that after the next one, 0 at the end, by the gradient of the cross-entropy. It is the chance to
live on for a geometric number of deals, 1 / (1 - gamma) on average. Each weight has a rate of its
own by temporal coherence (Beal and Smith, 1999; for n-tuple networks: Jaskowski, 2018).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import EMPTY, SLOTS
from alphatriangle.game.kernels import any_legal, deal, step
from alphatriangle.ntuple.beam import Beam, plan_deal
from alphatriangle.ntuple.bit_extract import Way
from alphatriangle.ntuple.layout import LAYOUT
from alphatriangle.ntuple.values import VIEWS, look_up, see, sigmoid
from alphatriangle.utils.kernels import inner, kernel
from alphatriangle.utils.seeding import derive_key, draw_below, draw_u64, draw_unit
from alphatriangle.utils.streams import STREAM_DEAL, STREAM_PLAYER

PAST: Final = 16
"""Boards of a game's end that are remembered."""
ROWS_A_DEAL: Final = SLOTS + 1
_LOOKUPS: Final = LAYOUT.lookups
_ZERO: Final = np.uint64(0)

# Draws of one game's luck: two a deal, and before the first deal these.
_DRAW_RESTART: Final = 0
_DRAW_WHERE: Final = 1
_DRAW_KEY: Final = 2
_DRAWS: Final = 3


class Settings(NamedTuple):
    """What a learner is set to."""

    seed: int
    first: int  # the first episode
    step: int  # from one episode of a copy to its next: the number of copies
    gamma: float
    rate: float
    width: int  # of the beam that it learns with
    explore: float  # share of deals at which one of the ``explored`` best plans is played
    explored: int
    restart: float  # share of games that begin shortly before the last one's end
    window: int  # how many deals before, at most
    max_moves: int  # placements after which a game is given up
    sample: int  # rows are taken from every so many deals; 0: never


# Places in ``Game.numbers``.
COPY, GAMES, STARTED, EPISODE, LENGTH, DEALT, MOVES, KNOWN, DEALS = range(9)
# COPY which copy; GAMES begun, restarted ones included; STARTED from an empty board; EPISODE of
# this game, -1 if it was restarted; LENGTH deals played in it; DEALT drawn from its key; MOVES
# made; KNOWN whether the board is an afterstate to learn from; DEALS played since the beginning.


class Game(NamedTuple):
    """The game of one copy, between two deals; all that a copy carries over but for the tables."""

    board: npt.NDArray[np.uint64]  # [2]
    slots: npt.NDArray[np.int8]  # [SLOTS], all full
    keys: npt.NDArray[np.uint64]  # [2] of its deals, of its luck
    numbers: npt.NDArray[np.int64]  # [9]
    score: npt.NDArray[np.float64]  # [1]
    past: npt.NDArray[np.uint64]  # [PAST, 2] the boards after the last deals
    history: npt.NDArray[np.int16]  # [max_moves] actions, if the game began with an empty board


# Places in ``Output.counts`` and ``Output.sums``.
EPISODES, OUT_MOVES, ROWS = range(3)
ERROR, LEARNED, ENDED = range(3)


class Output(NamedTuple):
    """What a copy leaves behind in a round. E episodes, R rows."""

    episode: npt.NDArray[np.int64]  # [E]
    score: npt.NDArray[np.float64]  # [E]
    deals: npt.NDArray[np.int64]  # [E]
    truncated: npt.NDArray[np.bool_]  # [E]
    moves_end: npt.NDArray[np.int64]  # [E] where the moves of each end in ``moves``
    moves: npt.NDArray[np.int16]
    boards: npt.NDArray[np.uint64]  # [R, 2]
    slots: npt.NDArray[np.int8]  # [R, SLOTS]
    actions: npt.NDArray[np.int16]  # [R] what was played, -1 in an afterstate
    values: npt.NDArray[np.float32]  # [R]
    counts: npt.NDArray[np.int64]  # [3] episodes, moves, rows
    sums: npt.NDArray[np.float64]  # [3] squared errors, boards learned from, games ended


def make_game(copy: int, max_moves: int) -> Game:
    """Of a copy that has not begun."""
    numbers = np.zeros(9, np.int64)
    numbers[COPY] = copy
    return Game(
        np.zeros(2, np.uint64),
        np.full(SLOTS, EMPTY, np.int8),
        np.zeros(2, np.uint64),
        numbers,
        np.zeros(1),
        np.zeros((PAST, 2), np.uint64),
        np.zeros(max_moves, np.int16),
    )


def make_output(deals: int, settings: Settings) -> Output:
    """Room for a round of so many deals."""
    episodes, moves = deals + 1, settings.max_moves + SLOTS * deals
    rows = ROWS_A_DEAL * (deals // settings.sample + 1) if settings.sample else 0
    return Output(
        np.zeros(episodes, np.int64),
        np.zeros(episodes),
        np.zeros(episodes, np.int64),
        np.zeros(episodes, np.bool_),
        np.zeros(episodes, np.int64),
        np.zeros(moves, np.int16),
        np.zeros((rows, 2), np.uint64),
        np.full((rows, SLOTS), EMPTY, np.int8),
        np.full(rows, -1, np.int16),
        np.zeros(rows, np.float32),
        np.zeros(3, np.int64),
        np.zeros(3),
    )


WEIGHT, ERRORS, ABSOLUTE = range(3)
Learned = npt.NDArray[np.float32]
"""[SIZE, 3] the tables of one copy, written to: a weight, the sum of its errors, that of their
absolute values. They lie beside each other, so that learning from a look-up misses the processor's
caches once and not three times."""


class _Scratch(NamedTuple):
    views: npt.NDArray[np.uint64]
    places: npt.NDArray[np.uint64]


@inner
def _value(way: Way, tables: Learned, lo: np.uint64, hi: np.uint64, scratch: _Scratch) -> float:
    """The chance to survive of a board without shapes; its places are in ``scratch`` then."""
    see(lo, hi, scratch.views)
    look_up(way, lo, hi, scratch.views, scratch.places)
    x = 0.0
    for i in range(_LOOKUPS):
        x += tables[scratch.places[i], WEIGHT]
    return sigmoid(x)


@inner
def _learn(
    way: Way,
    tables: Learned,
    board: npt.NDArray[np.uint64],
    target: float,
    rate: float,
    scratch: _Scratch,
    sums: npt.NDArray[np.float64],
) -> None:
    """Draw the value of a board without shapes towards ``target``."""
    error = target - _value(way, tables, board[0], board[1], scratch)
    step_size = rate / _LOOKUPS * error
    size = abs(error)
    for i in range(_LOOKUPS):
        j = scratch.places[i]
        total = tables[j, ABSOLUTE]
        coherence = abs(tables[j, ERRORS]) / total if total > 0.0 else 1.0
        tables[j, WEIGHT] += np.float32(step_size * coherence)
        tables[j, ERRORS] += np.float32(error)
        tables[j, ABSOLUTE] += np.float32(size)
    sums[ERROR] += error * error
    sums[LEARNED] += 1.0


@inner
def _begin(settings: Settings, game: Game) -> bool:
    """Begin the copy's next game: whether any of its first shapes fits."""
    numbers = game.numbers
    number = numbers[COPY] + settings.step * numbers[GAMES]
    luck = derive_key(settings.seed, STREAM_PLAYER, number)
    numbers[GAMES] += 1
    length, window = numbers[LENGTH], settings.window
    game.keys[1] = luck
    if length > window and draw_unit(luck, np.uint64(_DRAW_RESTART)) < settings.restart:
        back = 1 + np.int64(draw_below(luck, np.uint64(_DRAW_WHERE), np.uint64(window)))
        where = (length - back) % PAST
        game.board[0], game.board[1] = game.past[where, 0], game.past[where, 1]
        game.keys[0] = draw_u64(luck, np.uint64(_DRAW_KEY))
        numbers[EPISODE] = -1
        numbers[KNOWN] = 1
    else:
        numbers[EPISODE] = settings.first + numbers[COPY] + settings.step * numbers[STARTED]
        game.board[0], game.board[1] = _ZERO, _ZERO
        game.keys[0] = derive_key(settings.seed, STREAM_DEAL, numbers[EPISODE])
        numbers[STARTED] += 1
        numbers[KNOWN] = 0
    deal(game.keys[0], 0, game.slots)
    numbers[DEALT] = 1
    numbers[LENGTH] = 0
    numbers[MOVES] = 0
    game.score[0] = 0.0
    return any_legal(game.board[0], game.board[1], game.slots)


@inner
def _finish(game: Game, out: Output, truncated: bool) -> None:
    """Hand out a game that began with an empty board."""
    if game.numbers[EPISODE] < 0:
        return
    n, m = out.counts[EPISODES], out.counts[OUT_MOVES]
    for i in range(game.numbers[MOVES]):
        out.moves[m + i] = game.history[i]
    out.episode[n] = game.numbers[EPISODE]
    out.score[n] = game.score[0]
    out.deals[n] = game.numbers[LENGTH]
    out.truncated[n] = truncated
    out.moves_end[n] = m + game.numbers[MOVES]
    out.counts[EPISODES] = n + 1
    out.counts[OUT_MOVES] = out.moves_end[n]


@inner
def _row(game: Game, out: Output, action: int, value: float) -> None:
    """Take a row: the position, what is played in it (-1 in an afterstate), its value."""
    r = out.counts[ROWS]
    out.counts[ROWS] = r + 1
    out.boards[r, 0], out.boards[r, 1] = game.board[0], game.board[1]
    out.values[r] = value
    out.actions[r] = action
    for s in range(SLOTS):
        out.slots[r, s] = game.slots[s] if action >= 0 else EMPTY


@inner
def _play_deal(
    way: Way, folded: Way, policy: npt.NDArray[np.float32], settings: Settings, tables: Learned,
    game: Game, out: Output, beam: Beam, scratch: _Scratch,
) -> bool:  # fmt: skip
    """Play one deal and learn from it: whether the game goes on."""
    numbers = game.numbers
    now, planned, kept = plan_deal(
        folded, policy, game.board[0], game.board[1], game.slots,
        settings.width, max(settings.explored, 1), beam,
    )  # fmt: skip
    if numbers[KNOWN]:
        target = 0.0
        if kept > 0:
            lo, hi = beam.board[now, 0, 0], beam.board[now, 0, 1]
            after = _value(way, tables, lo, hi, scratch)
            target = 1.0 - settings.gamma + settings.gamma * after
        _learn(way, tables, game.board, target, settings.rate, scratch, out.sums)
    row, value = beam.board.shape[1] - 1, 0.0
    if kept > 0:
        row = 0
        draw = np.uint64(_DRAWS + 2 * numbers[LENGTH])
        if draw_unit(game.keys[1], draw) < settings.explore:
            row = np.int64(draw_below(game.keys[1], draw + np.uint64(1), np.uint64(kept)))
        value = sigmoid(beam.logit[now, row])
    sampled = settings.sample > 0 and numbers[DEALS] % settings.sample == 0
    done = False
    for k in range(planned):
        action = np.int64(beam.plan[now, row, k])
        if sampled:
            _row(game, out, action, value)
        if numbers[EPISODE] >= 0:
            game.history[numbers[MOVES]] = action
        numbers[MOVES] += 1
        reward, _, done, dealt = step(game.board, game.slots, action, game.keys[0], numbers[DEALT])
        numbers[DEALT] += dealt
        game.score[0] += reward
    where = numbers[LENGTH] % PAST
    game.past[where, 0], game.past[where, 1] = game.board[0], game.board[1]
    numbers[LENGTH] += 1
    numbers[DEALS] += 1
    numbers[KNOWN] = 1
    if kept > 0:
        if sampled:
            _row(game, out, np.int64(-1), value)
        if done:
            _learn(way, tables, game.board, 0.0, settings.rate, scratch, out.sums)
    return not done


@kernel(nogil=True)
def play_and_learn(
    way: Way,
    folded: Way,
    policy: npt.NDArray[np.float32],
    settings: Settings,
    tables: Learned,
    game: Game,
    deals: int,
    beam: Beam,
    out: Output,
) -> None:
    """Play exactly ``deals`` deals, game after game, learning from each.

    Deals are planned with ``policy``, folded weights of before: less than half the look-ups, and
    what is learned meanwhile moves them by little. Values that are learned, and learned from, are
    those of ``tables`` as they are.
    """
    scratch = _Scratch(np.empty(VIEWS, np.uint64), np.empty(_LOOKUPS, np.uint64))
    alive = game.numbers[GAMES] > 0
    played = 0
    while played < deals or not alive:
        if not alive:
            alive = _begin(settings, game)
            if not alive and game.numbers[KNOWN]:
                _learn(way, tables, game.board, 0.0, settings.rate, scratch, out.sums)
            continue
        alive = _play_deal(way, folded, policy, settings, tables, game, out, beam, scratch)
        played += 1
        truncated = alive and game.numbers[MOVES] + SLOTS > settings.max_moves
        if truncated or not alive:
            _finish(game, out, truncated)
            out.sums[ENDED] += 1.0
            alive = False
