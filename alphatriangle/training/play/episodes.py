"""Which episodes are out, how far they have come, and the games of them that have come home."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alphatriangle.training.play.episode_codec import decode
from alphatriangle.utils.late import LateState


class OpenEpisodes:
    """Episodes that have been given out and are not finished, and the rows that each has handed
    out: arrays over a window of episode numbers, so that a million of them cost little."""

    def __init__(self) -> None:
        self._first = 0
        self._open = np.zeros(0, np.bool_)
        self._rows = np.zeros(0, np.uint16)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, episodes: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """These are out."""
        if len(episodes) == 0:
            return
        numbers = np.asarray(episodes, np.int64)
        self._reach(int(numbers.min()), int(numbers.max()) + 1)
        places = np.unique(numbers - self._first)
        self._count += len(places) - int(np.count_nonzero(self._open[places]))
        self._open[places] = True
        self._rows[places] = 0

    def close(self, episodes: Sequence[int]) -> None:
        """These are finished."""
        if len(episodes) == 0:
            return
        places = np.unique(np.asarray(episodes, np.int64)) - self._first
        places = places[(places >= 0) & (places < len(self._open))]
        self._count -= int(np.count_nonzero(self._open[places]))
        self._open[places] = False
        self._rows[places] = 0

    def set_rows(self, flying: npt.NDArray[np.int64]) -> None:
        """[K, 2] of episodes that are out: how many rows they have handed out."""
        places = flying[:, 0] - self._first
        known = (places >= 0) & (places < len(self._open))
        places = places[known]
        self._rows[places] = np.where(self._open[places], flying[known, 1], 0)

    def numbers(self) -> npt.NDArray[np.int64]:
        """All that are out, ascending."""
        return np.flatnonzero(self._open) + self._first

    def rows(self) -> npt.NDArray[np.int64]:
        """[K, 2] of those that have handed out any."""
        which = np.flatnonzero(self._rows)
        return np.stack([which + self._first, self._rows[which].astype(np.int64)], axis=1)

    def state_dict(self) -> dict[str, Any]:
        """All of it, soon: a save waits for it, and not for ``episode_codec.encode``."""
        which = np.flatnonzero(self._open)
        begin, end = (int(which[0]), int(which[-1]) + 1) if len(which) else (0, 0)
        rows = self._rows[begin:end]
        return {
            "first": self._first + begin,
            "count": end - begin,
            "open": np.packbits(self._open[begin:end]),
            "has_rows": np.packbits(rows > 0),
            "rows": rows[rows > 0],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned, encoded or not.

        Raises:
            ValueError: it is not that.
        """
        state = decode(state)
        count, self._first = int(state["count"]), int(state["first"])
        self._open = np.unpackbits(state["open"], count=count).astype(np.bool_)
        self._rows = np.zeros(count, np.uint16)
        self._rows[np.unpackbits(state["has_rows"], count=count) > 0] = state["rows"]
        self._count = int(np.count_nonzero(self._open))

    def _reach(self, begin: int, end: int) -> None:
        """Let the window hold [begin, end), and leave behind what is closed at its beginning."""
        if self._count == 0:
            self._first, self._open, self._rows = begin, self._open[:0], self._rows[:0]
        size = len(self._open)
        if begin >= self._first and end <= self._first + size:
            return
        oldest = self._first + (int(self._open.argmax()) if self._count else 0)
        first = min(begin, oldest)
        room = max(end, self._first + size) - first
        is_open, rows = np.zeros(room + room // 2, np.bool_), np.zeros(room + room // 2, np.uint16)
        shift = self._first - first
        kept = slice(max(-shift, 0), size)
        place = slice(kept.start + shift, size + shift)
        is_open[place], rows[place] = self._open[kept], self._rows[kept]
        self._first, self._open, self._rows = first, is_open, rows


def open_episodes(state: dict[str, Any]) -> tuple[npt.NDArray[np.int64], dict[int, int]]:
    """Of a saved state of self-play: the unfinished episodes, and rows that some have handed out.

    States of older versions have a list of numbers only.

    Raises:
        ValueError: it is no such state.
    """
    if "open" not in state:
        return np.asarray(state["unfinished"], np.int64), {}
    books = state["open"]
    episodes = OpenEpisodes()
    # One that has not been saved has not got its last form.
    episodes.load_state_dict(books.formed() if isinstance(books, LateState) else books)
    rows = dict(episodes.rows().tolist())
    return np.union1d(episodes.numbers(), np.asarray(state["unfinished"], np.int64)), rows


class GamesAtHome:
    """Packed games, as they came from workers; each is kept while it is the newest of a game."""

    def __init__(self) -> None:
        self._packed: dict[int, bytes] = {}
        self._episodes: dict[int, set[int]] = {}
        self._home: dict[int, int] = {}  # of an episode
        self._next = 0

    @property
    def packed(self) -> list[bytes]:
        """All that are needed."""
        return list(self._packed.values())

    def put(self, packed: bytes, episodes: Iterable[int]) -> None:
        """The newest of these games."""
        number, self._next = self._next, self._next + 1
        ours = set(episodes)
        self.drop(ours)
        if ours:
            self._packed[number], self._episodes[number] = packed, ours
            self._home.update(dict.fromkeys(ours, number))

    def drop(self, episodes: Iterable[int]) -> None:
        """These games are finished."""
        for episode in episodes:
            number = self._home.pop(episode, None)
            if number is not None:
                self._episodes[number].discard(episode)
                if not self._episodes[number]:
                    del self._packed[number], self._episodes[number]

    def homes(self) -> list[tuple[bytes, list[int]]]:
        """Everything, as :meth:`put` takes it."""
        return [(self._packed[n], sorted(self._episodes[n])) for n in self._packed]

    def homes_of(self, episodes: Iterable[int]) -> list[tuple[bytes, list[int]]]:
        """Where these games are, as far as they are here; each place once."""
        found: dict[int, list[int]] = {}
        for episode in episodes:
            if (number := self._home.get(episode)) is not None:
                found.setdefault(number, []).append(episode)
        return [(self._packed[number], inside) for number, inside in found.items()]
