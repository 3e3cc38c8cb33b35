"""A game in flight on its own: taken from one worker's lanes, played on in another's.

The search of its next move is left out, which is most of the bytes and less than one move of work.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import SLOTS
from alphatriangle.rl.lanes import Lanes

_NUMBERS: Final = ("episode", "deals", "moves", "score", "rows", "event_count")
_EVENTS: Final = (
    "event_board",
    "event_slots",
    "event_policy",
    "event_value",
    "event_reward",
    "event_placements",
)


class Game(NamedTuple):
    """One of G lanes' games: its position, its moves, and its E events that are no rows yet."""

    numbers: npt.NDArray[np.float64]  # [6] in the order of _NUMBERS
    board: npt.NDArray[np.uint64]  # [2]
    slots: npt.NDArray[np.int8]  # [3]
    history: npt.NDArray[np.int16]  # [moves]
    events: tuple[npt.NDArray[Any], ...]  # [E, ...] each, the oldest first, as in _EVENTS

    @property
    def episode(self) -> int:
        """Its number."""
        return int(self.numbers[0])


def rows_out(lanes: Lanes, which: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many rows of these lanes' games have been handed out.

    There is an event for each placement and for each deal but the first, and those that are not
    pending have become rows.
    """
    pushed: npt.NDArray[np.int64] = lanes.moves[which] + lanes.deals[which] - 1
    return pushed - lanes.event_count[which]


def take_game(lanes: Lanes, g: int) -> Game:
    """A copy of the game in lane ``g``."""
    capacity = lanes.event_value.shape[1]
    order = (lanes.event_first[g] + np.arange(lanes.event_count[g])) % capacity
    return Game(
        np.array([getattr(lanes, name)[g] for name in _NUMBERS], np.float64),
        lanes.board[g].copy(),
        lanes.slots[g].copy(),
        lanes.history[g, : lanes.moves[g]].copy(),
        tuple(getattr(lanes, name)[g, order] for name in _EVENTS),
    )


def put_game(lanes: Lanes, g: int, game: Game) -> None:
    """Put a game into lane ``g``, whatever was there.

    Raises:
        ValueError: it has more moves or pending events than these lanes hold.
    """
    events = len(game.events[0])
    if events > lanes.event_value.shape[1] or len(game.history) > lanes.history.shape[1]:
        raise ValueError(f"game {game.episode} was played with other settings than these")
    for name, value in zip(_NUMBERS, game.numbers, strict=True):
        getattr(lanes, name)[g] = value
    lanes.board[g] = game.board
    lanes.slots[g] = game.slots
    lanes.history[g, : len(game.history)] = game.history
    lanes.event_first[g] = 0
    for name, values in zip(_EVENTS, game.events, strict=True):
        getattr(lanes, name)[g, :events] = values


def pack_games(games: Sequence[Game]) -> bytes:
    """Games as bytes, compressed, with nothing in them but numbers."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "numbers": np.array([game.numbers for game in games]).reshape(-1, len(_NUMBERS)),
        "board": np.array([game.board for game in games], np.uint64).reshape(-1, 2),
        "slots": np.array([game.slots for game in games], np.int8).reshape(-1, SLOTS),
        "history": np.concatenate([game.history for game in games] or [np.empty(0, np.int16)]),
    }
    for i, name in enumerate(_EVENTS if games else ()):
        arrays[name] = np.concatenate([game.events[i] for game in games])
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    return zlib.compress(packed.getvalue(), level=1)


def unpack_games(packed: bytes, only: Iterable[int] | None = None) -> list[Game]:
    """What :func:`pack_games` was given; of these episodes ``only``, where that is said.

    Raises:
        ValueError: they are not what :func:`pack_games` returns.
    """
    try:
        with np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False) as arrays:
            return _games(dict(arrays), None if only is None else set(only))
    except (zlib.error, OSError, KeyError, EOFError) as e:
        raise ValueError(f"these are no packed games: {e}") from e


def _games(arrays: dict[str, npt.NDArray[Any]], only: set[int] | None) -> list[Game]:
    games = []
    move = event = 0
    for i, numbers in enumerate(arrays["numbers"]):
        moves, events = int(numbers[_NUMBERS.index("moves")]), int(numbers[-1])
        if only is None or int(numbers[0]) in only:
            games.append(
                Game(
                    numbers,
                    arrays["board"][i],
                    arrays["slots"][i],
                    arrays["history"][move : move + moves],
                    tuple(arrays[name][event : event + events] for name in _EVENTS),
                )
            )
        move, event = move + moves, event + events
    return games
