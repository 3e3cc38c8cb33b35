"""Speaks as the supervisor of many workers does, without Ray: the same messages, no games.

    python -m benchmarks.fake_supervisor

Each worker has 512 games; a result has the rows of half of them and a few finished episodes.
"""

from __future__ import annotations

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
_FINISHED: Final = 6
_HEALTH: Final = dict.fromkeys(
    (
        *("moves", "simulations", "positions", "batch_fill", "depth", "policy_entropy"),
        *("value_error", "tree_seconds", "network_seconds", "features_seconds", "distinct"),
    ),
    1.0,
)


def _result(worker: int, games: deque[int], rng: np.random.Generator) -> Result:
    finished = [games.popleft() for _ in range(_FINISHED)]
    moves = np.zeros(40, np.int16)
    rows = Rows(
        rng.integers(0, 2**60, (ROWS, 2)).astype(np.uint64),
        rng.integers(0, 20, (ROWS, 3)).astype(np.int8),
        np.zeros((ROWS, 144), np.float32),
        np.zeros(ROWS, np.float32),
    )
    played = PlayResult(
        rows,
        [Episode(e, 0, moves, 30.0, 640, False) for e in finished],
        _HEALTH,
        np.zeros((ROWS, 2), np.int64),
    )
    episodes = np.array(list(games)[: GAMES - _FINISHED], np.int64)
    flying = np.stack([episodes, rng.integers(0, 60, len(episodes))], axis=1)
    return Result(worker, os.getpid(), pickle.dumps(played, protocol=5), flying)


def main() -> None:
    """Answer for every worker in turn, as long as there are episodes for all."""
    output: Any = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    begin = receive(sys.stdin.buffer)
    assert isinstance(begin, Begin)
    send(output, Ready())
    games: list[deque[int]] = [deque() for _ in range(begin.workers or 1)]
    rng = np.random.default_rng(0)
    turn = 0
    while not isinstance(message := receive(sys.stdin.buffer), Ended):
        match message:
            case Play(episodes, _):
                for i, episode in enumerate(episodes):
                    games[i % len(games)].append(episode)
            case Weights() | AtHome():
                continue
        for _ in range(len(games) if turn == 0 else 1):
            worker = games[turn % len(games)]
            turn += 1
            if len(worker) > GAMES:
                send(output, _result(turn % len(games), worker, rng))


if __name__ == "__main__":
    main()
