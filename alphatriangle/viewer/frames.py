"""A game, placement by placement, as facts to draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from alphatriangle.game import GameState
from alphatriangle.game.geometry import CELLS, COLS, SHAPES
from alphatriangle.utils.types import Episode


class ReplayError(ValueError):
    """A recording does not follow the rules of this version of the game."""


class Option(NamedTuple):
    """A placement that a search has looked at."""

    action: int
    probability: float  # of the search's policy
    q_value: float  # reward and discounted value of what follows


class Thoughts(NamedTuple):
    """What a search thought before a placement."""

    value: float  # of the position
    options: tuple[Option, ...]  # the one that was played first, then the likeliest


class Frame(NamedTuple):
    """The game after a placement; the first one is the empty board."""

    number: int  # placements so far
    total: int | None  # of the whole game, where that is known
    filled: frozenset[int]  # cells, row * 15 + col, after lines were cleared
    placed: frozenset[int]  # cells the placement filled
    cleared: frozenset[int]  # cells it emptied
    slots: tuple[int, ...]  # shape in each slot before the placement, -1 for none
    slot: int | None  # the slot it came from
    reward: float
    score: float
    thoughts: Thoughts | None = None


def shape_cells(shape: int, anchor: int) -> frozenset[int]:
    """The cells that a shape fills at an anchor."""
    return frozenset(anchor + dr * COLS + dc for dr, dc, _ in SHAPES[shape])


def frames(episode: Episode) -> Iterator[Frame]:
    """Replay a game.

    Raises:
        ReplayError: a move is illegal, or the score is not the recorded one.
    """
    game = GameState(episode.seed, episode.episode)
    total = len(episode.moves)
    yield first_frame(game, total)
    for number, action in enumerate(map(int, episode.moves), start=1):
        if game.is_over or action not in game.legal_actions():
            raise ReplayError(
                f"placement {number} of game {episode.episode} is not legal: it was recorded by "
                "another version of the rules, or by another program"
            )
        yield frame_of(game, action, total)
    if abs(game.score - episode.score) > 1e-3 * max(abs(episode.score), 1.0):
        raise ReplayError(
            f"game {episode.episode} was recorded with a score of {episode.score:.3f} and replays "
            f"with {game.score:.3f}: it was recorded by another version of the rules"
        )


def first_frame(game: GameState, total: int | None = None) -> Frame:
    """A game that has not begun."""
    return Frame(0, total, frozenset(), frozenset(), frozenset(), _slots(game), None, 0.0, 0.0)


def frame_of(game: GameState, action: int, total: int | None = None) -> Frame:
    """Play ``action``, which must be legal, and show what it did."""
    slots, before = _slots(game), _cells(game.occupied)
    placed = shape_cells(slots[action // CELLS], action % CELLS)
    reward = game.step(action)
    after = _cells(game.occupied)
    cleared = (before | placed) - after
    slot = action // CELLS
    return Frame(len(game.moves), total, after, placed, cleared, slots, slot, reward, game.score)


def _slots(game: GameState) -> tuple[int, ...]:
    return tuple(int(s) for s in game.slots)


def _cells(occupied: int) -> frozenset[int]:
    return frozenset(i for i in range(CELLS) if occupied >> i & 1)
