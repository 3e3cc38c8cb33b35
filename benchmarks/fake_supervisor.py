"""Speaks as the supervisor of many workers does, without Ray: the same messages, no games.

    python -m benchmarks.fake_supervisor

Each worker has 512 games in lockstep, at a pace of its own; a result has half a row of each and
the few episodes that have finished meanwhile. The first results of each have many of them, so that
soon games are of all ages.
"""

from __future__ import annotations

import heapq
import os
import pickle
import sys
from collections import deque
from typing import Any, Final

import numpy as np

from alphatriangle.rl import PlayResult
from alphatriangle.training.play.messages import (
    AtHome,
    Begin,
    Ended,
    Play,
    Ready,
    Result,
    Weights,
    receive,
    send,
)
from alphatriangle.utils.types import Episode, Rows

GAMES: Final = 512
ROWS: Final = 256
WARM_UP: Final = 10
"""Results of each worker that are ten moves long."""
_MOVES: Final = 20, 5
"""Of a game of a network that knows nothing: mean and standard deviation."""
_N_STEP: Final = 5
_HEALTH: Final = dict.fromkeys(
    (
        *("moves", "simulations", "positions", "batch_fill", "depth", "policy_entropy"),
        *("value_error", "tree_seconds", "network_seconds", "features_seconds", "distinct"),
    ),
    1.0,
)


class _Worker:
    """Lanes of games, each begun when another was over."""

    def __init__(self, number: int, rng: np.random.Generator) -> None:
        self._number = number
        self._rng = rng
        self._pace = rng.uniform(0.7, 1.3)
        self._now = 0.0
        self._results = 0
        self._lanes: list[tuple[float, float, int]] = []  # moves at which one ends and began
        self.waiting: deque[int] = deque()

    @property
    def room(self) -> int:
        """Episodes that it may be given, with as many at a time as the pool gives."""
        room = 2 * GAMES - len(self.waiting) - len(self._lanes)
        return room if room >= GAMES // 4 else 0

    @property
    def can_play(self) -> bool:
        """Whether no lane will run dry."""
        return len(self.waiting) >= GAMES // 2

    def result(self) -> Result:
        """What comes next."""
        while len(self._lanes) < GAMES:
            heapq.heappush(self._lanes, self._begun(self._now))
        is_warm = self._results >= WARM_UP
        self._now += (ROWS / GAMES * 3 / 4 if is_warm else 10.0) * self._pace
        self._results += 1
        finished = []
        while self._lanes[0][0] <= self._now and self.waiting:
            end, _, episode = self._lanes[0]
            finished.append(episode)
            heapq.heapreplace(self._lanes, self._begun(end))
        return self._said(finished)

    def _begun(self, now: float) -> tuple[float, float, int]:
        moves = max(int(self._rng.normal(*_MOVES)), 5)
        return now + moves, now, self.waiting.popleft()

    def _said(self, finished: list[int]) -> Result:
        moves = np.zeros(40, np.int16)
        rows = Rows(
            self._rng.integers(0, 2**60, (ROWS, 2)).astype(np.uint64),
            self._rng.integers(0, 20, (ROWS, 3)).astype(np.int8),
            np.zeros((ROWS, 144), np.float32),
            np.zeros(ROWS, np.float32),
        )
        played = PlayResult(
            rows,
            [Episode(e, 0, moves, 30.0, 640, False) for e in finished],
            _HEALTH,
            np.zeros((ROWS, 2), np.int64),
        )
        flying = [(e, self._rows(e, self._now - begun)) for _, begun, e in self._lanes]
        pickled = pickle.dumps(played, protocol=5)
        return Result(self._number, os.getpid(), pickled, np.array(flying, np.int64))

    def _rows(self, episode: int, age: float) -> int:
        """An event for each move and each deal of three; the last few are no rows yet. A search
        that ends where games are over needs no network, so that some are faster than others."""
        moves = int(age * (0.9 + 0.2 * (episode * 0.618 % 1)))
        return max(moves + moves // 3 - _N_STEP, 0)


def main() -> None:
    """Answer for every worker in turn, as long as there are episodes for all."""
    output: Any = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    begin = receive(sys.stdin.buffer)
    assert isinstance(begin, Begin)
    send(output, Ready())
    rng = np.random.default_rng(0)
    workers = [_Worker(i, rng) for i in range(begin.workers or 1)]
    fresh: deque[int] = deque()
    turn = 0
    while not isinstance(message := receive(sys.stdin.buffer), Ended):
        match message:
            case Play(episodes, _):
                fresh.extend(episodes)
            case Weights() | AtHome():
                continue
        for _ in range(len(workers) if turn == 0 else 1):
            worker = workers[turn % len(workers)]
            turn += 1
            worker.waiting.extend(fresh.popleft() for _ in range(min(worker.room, len(fresh))))
            if worker.can_play:
                send(output, worker.result())


if __name__ == "__main__":
    main()
