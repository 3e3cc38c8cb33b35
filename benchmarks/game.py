"""Random placements a second: inside one kernel, and move by move from Python."""

from __future__ import annotations

from alphatriangle.game import GameState
from alphatriangle.game.kernels import random_placements
from benchmarks.timing import Result, seconds

PLACEMENTS = 2_000_000


def _from_python() -> int:
    moves = 0
    for episode in range(100):
        game = GameState(1, episode)
        while not game.is_over:
            legal = game.legal_actions()
            game.step(int(legal[moves % len(legal)]))
            moves += 1
    return moves


def run() -> list[Result]:
    """Measure."""
    kernel = PLACEMENTS / seconds(lambda: random_placements(1, PLACEMENTS))
    python = _from_python() / seconds(_from_python)
    return [
        Result("placements/s in one kernel", f"{kernel:,.0f}", f"{kernel / python:,.0f} x Python"),
        Result("placements/s from Python (GameState)", f"{python:,.0f}", "1 x"),
    ]
