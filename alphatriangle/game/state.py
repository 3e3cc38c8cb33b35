"""One game, for people, tests and tools. Many games at once: :mod:`alphatriangle.search`."""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.game import kernels
from alphatriangle.game.geometry import CELLS, COLS, EMPTY, MAX_LEGAL, ROWS, SHAPES, SLOTS, words
from alphatriangle.utils.seeding import derive_key
from alphatriangle.utils.streams import STREAM_DEAL

SHAPE_INDEX: Final = {shape: index for index, shape in enumerate(SHAPES)}


class IllegalActionError(ValueError):
    """An action was played in a game that is already over."""


class GameState:
    """A game in progress: board, slots, score.

    The deals depend on (seed, episode) alone, so the same seed and moves give the same game.
    """

    def __init__(self, seed: int, episode: int = 0) -> None:
        self._key = np.uint64(derive_key(seed, STREAM_DEAL, episode))
        self.board = np.zeros(2, np.uint64)
        self.slots = np.full(SLOTS, EMPTY, np.int8)
        kernels.deal(self._key, 0, self.slots)
        self.deals = 1
        self.moves: list[int] = []
        self.score = 0.0
        self.cleared = 0
        self.is_over = False

    @classmethod
    def from_position(
        cls, occupied: int, slots: npt.ArrayLike, seed: int = 0, episode: int = 0
    ) -> GameState:
        """A game set up at a position; ``occupied`` has bit ``row * 15 + col`` set where filled."""
        game = cls(seed, episode)
        game.board[:] = words(occupied)
        game.slots[:] = slots
        game.is_over = not kernels.any_legal(game.board[0], game.board[1], game.slots)
        return game

    def copy(self) -> GameState:
        """An independent copy."""
        return copy.deepcopy(self)

    @property
    def occupied(self) -> int:
        """The board as a 120-bit integer."""
        return int(self.board[0]) | int(self.board[1]) << 64

    @property
    def grid(self) -> npt.NDArray[np.bool_]:
        """[ROWS, COLS] bool: True where filled."""
        return np.array([self.occupied >> i & 1 for i in range(CELLS)], bool).reshape(ROWS, COLS)

    def legal_actions(self) -> npt.NDArray[np.int16]:
        """The actions that may be played, ascending; empty when the game is over."""
        out = np.empty(MAX_LEGAL, np.int16)
        if self.is_over:
            return out[:0]
        return out[: kernels.legal_actions(self.board[0], self.board[1], self.slots, out)]

    def step(self, action: int) -> float:
        """Play ``action`` and return its reward; an illegal one ends the game with the penalty.

        Raises:
            IllegalActionError: the game is already over.
        """
        if self.is_over:
            raise IllegalActionError(f"action {action}: the game is over, its score is final")
        self.moves.append(int(action))
        if not kernels.is_legal(self.board[0], self.board[1], self.slots, int(action)):
            self.is_over = True
            self.cleared = 0
            reward = kernels.ILLEGAL_ACTION_PENALTY
        else:
            reward, self.cleared, self.is_over, dealt = kernels.step(
                self.board, self.slots, int(action), self._key, self.deals
            )
            self.deals += int(dealt)
        self.score += reward
        return float(reward)
