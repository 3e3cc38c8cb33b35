"""What there is for workers to play: episodes from their beginnings, and games that go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from alphatriangle.training.play.episodes import GamesAtHome


class Portion(NamedTuple):
    """For one worker."""

    episodes: list[int]
    """From their beginnings."""
    homes: list[tuple[bytes, list[int]]]
    """Packed games, and the episodes in them."""
    rows: dict[int, int]
    """Of all of these, those that have handed out rows before."""

    @property
    def all_episodes(self) -> list[int]:
        """Of both kinds."""
        return [*self.episodes, *(e for _, episodes in self.homes for e in episodes)]


class Stock:
    """Episodes that nobody plays at the moment; of those that somebody does, where they were when
    they came home last."""

    def __init__(self) -> None:
        self._fresh: deque[int] = deque()
        self._homeless: deque[tuple[bytes, list[int]]] = deque()
        self._rows: dict[int, int] = {}
        self._home = GamesAtHome()

    def know(self, homes: Iterable[tuple[bytes, list[int]]], rows: Mapping[int, int]) -> None:
        """How far episodes have come that are going to be put here."""
        self._rows.update(rows)
        for packed, episodes in homes:
            self._home.put(packed, episodes)

    def came_home(self, packed: bytes, episodes: Iterable[int]) -> None:
        """Games that are being played, as they are now."""
        self._home.put(packed, episodes)

    def finished(self, episodes: Iterable[int]) -> None:
        """These need no home any more."""
        self._home.drop(episodes)

    def put(self, episodes: list[int], rows: Mapping[int, int] | None = None) -> None:
        """Somebody is to play these: the games at home first. ``rows`` have been handed out."""
        self._rows |= {e: n for e, n in (rows or {}).items() if n > 0}
        homes = self._home.homes_of(episodes)
        self._homeless.extend(homes)
        at_home = {e for _, inside in homes for e in inside}
        rest = [e for e in episodes if e not in at_home]
        if rest and self._fresh and rest[0] < self._fresh[0]:
            self._fresh.extendleft(reversed(rest))
        else:
            self._fresh.extend(rest)

    def take(self, most: int) -> Portion:
        """Up to so many episodes; games that came home together go together, also when they are
        more."""
        homes: list[tuple[bytes, list[int]]] = []
        fresh: list[int] = []
        while self._homeless and most > 0:
            homes.append(self._homeless.popleft())
            most -= len(homes[-1][1])
        while self._fresh and len(fresh) < most:
            fresh.append(self._fresh.popleft())
        portion = Portion(fresh, homes, {})
        known = {e: self._rows.pop(e) for e in portion.all_episodes if e in self._rows}
        return portion._replace(rows=known)
