"""Replay recorded games and compare every field: ``python -m alphatriangle.game.conformance FILE``.

The file holds one game a line as JSON, optionally gzipped. Each of its ``steps`` has ``occupied``
and ``occupied_after`` (30 hex digits, bit ``row * 15 + col`` set where filled), ``shapes`` (per
slot a list of [dr, dc, up], or null), ``legal``, ``action``, ``reward``, ``cleared``, ``score`` and
``done``.
Exits 0 when every step agrees, 1 on any mismatch, 2 when the file cannot be used.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from alphatriangle.game.geometry import EMPTY, Shape
from alphatriangle.game.kernels import SURVIVAL_BONUS
from alphatriangle.game.state import SHAPE_INDEX, GameState

TOLERANCE = 1e-9


class Report(NamedTuple):
    """What a replay found."""

    games: int
    steps: int
    mismatches: list[str]


def read_games(path: Path) -> Iterator[dict[str, Any]]:
    """The games of a file, one JSON object a line.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is not a recorded game.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                game = json.loads(line)
            except json.JSONDecodeError as e:
                raise ValueError(f"line {number} is not JSON: {e}") from e
            if not isinstance(game, dict) or not isinstance(game.get("steps"), list):
                raise ValueError(f"line {number} has no 'steps'")
            yield game


def _slots(shapes: list[list[list[int]] | None]) -> list[int]:
    return [EMPTY if shape is None else SHAPE_INDEX[_shape(shape)] for shape in shapes]


def _shape(triangles: list[list[int]]) -> Shape:
    return tuple((int(dr), int(dc), int(up)) for dr, dc, up in triangles)


def check_game(game: dict[str, Any]) -> list[str]:
    """Replay one game; one line for each field of each step that differs."""
    problems: list[str] = []
    score = 0.0
    previous: GameState | None = None
    for number, recorded in enumerate(game["steps"]):

        def check(field: str, ours: object, theirs: object, number: int = number) -> None:
            same = (
                abs(ours - theirs) <= TOLERANCE
                if isinstance(ours, float) and isinstance(theirs, int | float)
                else ours == theirs
            )
            if not same:
                problems.append(f"step {number}: {field} is {ours}, recorded {theirs}")

        slots = _slots(recorded["shapes"])
        state = GameState.from_position(int(recorded["occupied"], 16), slots)
        if previous is not None:
            check("occupied", f"{previous.occupied:030x}", recorded["occupied"])
            left = [int(s) for s in previous.slots]
            if not all(s == EMPTY for s in left):
                check("shapes", left, slots)
        check("legal", state.legal_actions().tolist(), recorded["legal"])
        # Play from the record's own position; what a refill dealt is the next step's shapes.
        following = game["steps"][number + 1] if number + 1 < len(game["steps"]) else None
        reward = state.step(recorded["action"])
        refilled = sum(s != EMPTY for s in slots) == 1
        if refilled:
            # Our own deal is not the recorded one: survival follows from the recorded deal.
            alive = not recorded["done"]
            if following is not None:
                dealt = _slots(following["shapes"])
                alive = not GameState.from_position(state.occupied, dealt).is_over
            reward += SURVIVAL_BONUS * (alive - (not state.is_over))
            state.is_over = not alive
            state.slots[:] = EMPTY
        score += reward
        check("reward", reward, recorded["reward"])
        check("cleared", state.cleared, recorded["cleared"])
        check("score", score, recorded["score"])
        check("done", state.is_over, recorded["done"])
        check("occupied_after", f"{state.occupied:030x}", recorded["occupied_after"])
        previous = state
    return problems


def check_file(path: Path) -> Report:
    """Replay every game of a file."""
    games = steps = 0
    mismatches: list[str] = []
    for game in read_games(path):
        mismatches += [f"game {games}, {problem}" for problem in check_game(game)]
        games += 1
        steps += len(game["steps"])
    return Report(games, steps, mismatches)


def main(arguments: list[str]) -> int:
    """The command; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m alphatriangle.game.conformance FILE", file=sys.stderr)
        return 2
    try:
        report = check_file(Path(arguments[0]))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as e:
        print(f"cannot replay {arguments[0]}: {type(e).__name__}: {e}", file=sys.stderr)
        return 2
    for line in report.mismatches:
        print(line)
    print(f"{report.games} games, {report.steps} steps, {len(report.mismatches)} mismatches")
    return 1 if report.mismatches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
