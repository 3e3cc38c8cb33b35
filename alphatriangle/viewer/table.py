"""A game in a person's hands: which shape is held, and over which place."""

from __future__ import annotations

from typing import Final

from alphatriangle.game import GameState
from alphatriangle.game.geometry import CELLS, COLS, ROWS, SLOTS
from alphatriangle.viewer.frames import Frame, shape_cells

_DIRECTIONS: Final = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
}
"""(x, y), y pointing down."""
_CENTRE: Final = ROWS // 2 * COLS + COLS // 2


class Table:
    """The held shape is always over a place where it fits, as long as there is one."""

    def __init__(self, game: GameState) -> None:
        self.game = game
        self.slot = 0
        self.anchor: int | None = None
        self.cleared: frozenset[int] = frozenset()
        """What the last placement cleared."""
        self._before: list[GameState] = []
        self._take_any()

    def places(self, slot: int) -> list[int]:
        """The anchors at which the shape in ``slot`` fits."""
        actions = (int(action) for action in self.game.legal_actions())
        return [action % CELLS for action in actions if action // CELLS == slot]

    @property
    def action(self) -> int | None:
        """What placing now would play; None when the game is over."""
        return None if self.anchor is None else self.slot * CELLS + self.anchor

    def take(self, slot: int) -> bool:
        """Hold the shape in ``slot``, near where the last one was; False where it fits nowhere."""
        places = self.places(slot) if 0 <= slot < SLOTS else []
        if not places:
            return False
        here = self.anchor if self.anchor is not None else _CENTRE
        self.slot = slot
        self.anchor = min(places, key=lambda place: _distance(here, place))
        return True

    def hold(self, action: int) -> None:
        """Hold what ``action`` would place, over its place; it must be legal."""
        self.slot, self.anchor = divmod(action, CELLS)

    def take_next(self) -> None:
        """The next shape that fits anywhere."""
        for step in range(1, SLOTS + 1):
            if self.take((self.slot + step) % SLOTS):
                return

    def move(self, direction: str) -> None:
        """To the nearest place left, right, up or down; nothing where there is none."""
        if self.anchor is None:
            return
        x, y = _DIRECTIONS[direction]
        here = _position(self.anchor)
        best = None
        for place in self.places(self.slot):
            dx, dy = (there - now for there, now in zip(_position(place), here, strict=True))
            ahead, aside = dx * x + dy * y, abs(dx * y) + abs(dy * x)
            if ahead > 0.0:
                # Straight ahead is nearer than aside, or nobody could steer.
                best = min(best or (float("inf"), place), (ahead + 2.0 * aside, place))
        if best is not None:
            self.anchor = best[1]

    def place(self) -> float:
        """Play what is held; returns the reward.

        Raises:
            ValueError: the game is over.
        """
        if self.action is None:
            raise ValueError("the game is over: there is nothing to place")
        self._before.append(self.game.copy())
        filled = self._filled() | self._held()
        reward = self.game.step(self.action)
        self.cleared = filled - self._filled()
        self._take_any()
        return reward

    def undo(self) -> bool:
        """Take the last placement back; False at the beginning."""
        if not self._before:
            return False
        self.game = self._before.pop()
        self.cleared = frozenset()
        self._take_any()
        return True

    def frame(self) -> Frame:
        """What there is to see; what is held stands where a placement would."""
        return Frame(
            number=len(self.game.moves),
            total=len(self.game.moves),
            filled=self._filled(),
            placed=self._held(),
            cleared=self.cleared - self._held(),
            slots=tuple(int(s) for s in self.game.slots),
            slot=None if self.anchor is None else self.slot,
            reward=0.0,
            score=self.game.score,
        )

    def _filled(self) -> frozenset[int]:
        return frozenset(i for i in range(CELLS) if self.game.occupied >> i & 1)

    def _held(self) -> frozenset[int]:
        if self.anchor is None:
            return frozenset()
        return shape_cells(int(self.game.slots[self.slot]), self.anchor)

    def _take_any(self) -> None:
        if self.game.is_over:
            self.anchor = None
        elif not self.take(self.slot):
            self.take_next()


def _position(anchor: int) -> tuple[float, float]:
    row, col = divmod(anchor, COLS)
    return col / 2.0, float(row)


def _distance(one: int, other: int) -> float:
    return sum(abs(a - b) for a, b in zip(_position(one), _position(other), strict=True))
