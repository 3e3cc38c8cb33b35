"""The search for people and programs: one deal, or whole games over several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import EMPTY, SLOTS
from alphatriangle.game.kernels import any_legal, deal
from alphatriangle.ntuple import look_ahead as la
from alphatriangle.ntuple.bit_extract import best_way
from alphatriangle.ntuple.layout import fold
from alphatriangle.ntuple.look_ahead import Effort
from alphatriangle.utils.interrupting import in_order
from alphatriangle.utils.seeding import derive_key
from alphatriangle.utils.streams import STREAM_DEAL, STREAM_PLAYER
from alphatriangle.utils.types import Episode

_DEALS_BETWEEN: Final = 16


class Plan(NamedTuple):
    """What a search says of one deal."""

    moves: npt.NDArray[np.int16]  # [1 to 3] actions, the rest of the deal
    value: float  # chance to survive afterwards; 0 where every plan ends the game


class Planner:
    """Searches with one set of weights; of use to one thread at a time."""

    def __init__(
        self, weights: npt.NDArray[np.float32], effort: Effort, *, folded: bool = False
    ) -> None:
        """``folded`` says that the weights are already what :func:`layout.fold` makes of them."""
        self.weights = weights if folded else fold(weights)
        self.effort = effort
        self._way = best_way(folded=True)
        self._rooms = la.make_rooms(effort)

    @property
    def evaluations(self) -> int:
        """Boards judged so far."""
        return int(self._rooms.outer.counters[1] + self._rooms.inner.counters[1])

    def plan(
        self, board: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8], key: int = 0
    ) -> Plan:
        """Search the rest of a deal; the result depends on the arguments and nothing else.

        Raises:
            ValueError: no shape fits, there is nothing to plan.
        """
        if not any_legal(board[0], board[1], slots):
            raise ValueError("the game is over, there is nothing to plan")
        game = _new_game(0)
        game.board[:], game.slots[:] = board, slots
        self._play_on(game, np.uint64(0), np.uint64(key), 0)
        return Plan(game.plan[: game.numbers[la.PLANNED]].copy(), float(game.reals[la.VALUE]))

    def play(
        self,
        seed: int,
        episode: int,
        max_moves: int,
        between: Callable[[], None] = lambda: None,
    ) -> Episode:
        """Play one whole game, calling ``between`` every few deals; what it raises ends the game.

        The search's deals come from a key of its own, never from the game's.
        """
        game = _new_game(max_moves)
        deal_key = np.uint64(derive_key(seed, STREAM_DEAL, episode))
        search_key = np.uint64(derive_key(seed, STREAM_PLAYER, episode))
        deal(deal_key, 0, game.slots)
        game.numbers[la.DEALT] = 1
        while not game.numbers[la.OVER] and game.numbers[la.MOVES] + SLOTS <= max_moves:
            self._play_on(game, deal_key, search_key, _DEALS_BETWEEN)
            between()
        return Episode(
            episode=episode,
            seed=seed,
            moves=game.moves[: game.numbers[la.MOVES]].copy(),
            score=float(game.reals[la.SCORE]),
            simulations=self.evaluations,
            truncated=not game.numbers[la.OVER],
        )

    def _play_on(
        self, game: la.Played, deal_key: np.uint64, search_key: np.uint64, deals: int
    ) -> None:
        la.play_on(
            self._way,
            self.weights,
            self.effort,
            game,
            deal_key,
            search_key,
            deals,
            self._rooms,
        )


def _new_game(max_moves: int) -> la.Played:
    return la.Played(
        np.zeros(2, np.uint64),
        np.full(SLOTS, EMPTY, np.int8),
        np.zeros(SLOTS, np.int16),
        np.zeros(max_moves, np.int16),
        np.zeros(4, np.int64),
        np.zeros(2),
    )


def play_games(
    weights: npt.NDArray[np.float32],
    effort: Effort,
    *,
    seed: int,
    episodes: Iterable[int],
    max_moves: int,
    threads: int = 1,
    between: Callable[[int], None] = lambda finished: None,
) -> list[Episode]:
    """Whole games, ``threads`` at a time, in the order of ``episodes``; see :meth:`Planner.play`.

    ``between`` is called by all threads, with the number of games that are over; what it raises
    ends the games, as does Ctrl-C.
    """
    folded = fold(weights)
    played: list[Episode] = []
    given_up = threading.Event()

    def look() -> None:
        if given_up.is_set():
            raise CancelledError
        between(len(played))

    def play(episode: int) -> Episode:
        return Planner(folded, effort, folded=True).play(seed, episode, max_moves, look)

    with ThreadPoolExecutor(threads) as pool:
        games = [pool.submit(play, episode) for episode in episodes]
        try:
            for episode in in_order(games):
                played.append(episode)
        except BaseException:
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return played
