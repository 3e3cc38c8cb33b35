"""Players that do not learn, playing beside training, so that it has somebody to pass.

    python -m alphatriangle.training.judging.baselines GAMES MAX_MOVES

plays the evaluation's games with each of them, on one thread at the lowest priority, and writes one
line of JSON a player. They are no part of training: what has not come when it is wanted at the end
is played then.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Final

from alphatriangle.config import Config, build
from alphatriangle.training.judging.evaluation import (
    BASELINES,
    PlayerScore,
    evaluate_baseline,
)
from alphatriangle.training.players import Between
from alphatriangle.utils.processes import start_beside

_LOWEST_PRIORITY: Final = 19


class Baselines:
    """Their scores as they come, and all of them in the end."""

    def __init__(self, config: Config) -> None:
        """They play as many games as ``stats.evaluation_games``; with 0 there is nobody."""
        self._config = config
        self._games = config.stats.evaluation_games
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._scores: dict[str, PlayerScore] = {}

    def begin(self) -> None:
        """Let them play, in a process of their own."""
        if self._games:
            limit = self._config.env.max_moves_per_episode
            games = str(self._games)
            self._process = start_beside(__name__, games, str(limit), stdout=subprocess.PIPE)
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)

    def known(self) -> list[PlayerScore]:
        """Of those whose games are over."""
        if self._process is not None:
            assert self._process.stdout is not None
            with contextlib.suppress(BlockingIOError):
                while piece := os.read(self._process.stdout.fileno(), 65_536):
                    self._unread += piece
            *lines, self._unread = self._unread.split(b"\n")
            for line in lines:
                score = PlayerScore(**json.loads(line))
                self._scores[score.player] = score
            if len(self._scores) == len(BASELINES):
                self.close()
        return list(self._scores.values())

    def finish(self, between: Between) -> list[PlayerScore]:
        """All of them: who is not done plays here, calling ``between``; what it raises goes on."""
        self.known()
        self.close()
        for player in BASELINES if self._games else ():
            if player not in self._scores:
                self._scores[player] = evaluate_baseline(player, self._config, self._games, between)
        return list(self._scores.values())

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            assert self._process.stdout is not None
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


def _play(games: int, max_moves: int) -> None:
    os.nice(_LOWEST_PRIORITY)
    config = build({"env": {"max_moves_per_episode": max_moves}})
    for player in BASELINES:
        score = evaluate_baseline(player, config, games, threads=1)
        print(json.dumps(score._asdict()), flush=True)


if __name__ == "__main__":
    _play(*map(int, sys.argv[1:]))
