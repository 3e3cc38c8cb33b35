"""``alphatriangle play``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from alphatriangle.cli.common import (
    Checkpoint,
    DataDir,
    Debug,
    complete_run,
    console_for,
    persistence,
    reported_errors,
)
from alphatriangle.data.errors import DataError

if TYPE_CHECKING:
    from alphatriangle.training.agent import Agent
    from alphatriangle.viewer.table import Table

_KEYS: Final = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left",
    "\xe0H": "up", "\xe0P": "down", "\xe0M": "right", "\xe0K": "left",
    "k": "up", "j": "down", "l": "right", "h": "left",
    "1": "take 1", "2": "take 2", "3": "take 3", "\t": "next",
    " ": "place", "\r": "place", "\n": "place",
    "?": "hint", "u": "undo", "q": "quit", "\x1b": "quit", "\x03": "quit", "\x04": "quit",
}  # fmt: skip
_HELP: Final = (
    "arrows move, 1 2 3 or Tab take another shape, Space places, "
    "? asks the agent, u takes back, q ends"
)


def play(
    run: Annotated[
        str | None,
        typer.Argument(
            help="The run whose agent gives hints.",
            show_default="the latest",
            autocompletion=complete_run,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed deals the same shapes.")] = 0,
    checkpoint: Checkpoint = "latest",
    simulations: Annotated[
        int, typer.Option(min=0, max=10_000_000, help="Simulations of a hint.")
    ] = 64,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Play the game yourself, with hints from an agent.

    Arrow keys (or h j k l) move the shape you hold from place to place where it fits, 1 2 3 or Tab
    take another one, Space or Enter places it, ? shows what the agent would do, u takes a placement
    back, q ends. Where the input is no terminal, commands come one a line: place SLOT ROW COLUMN,
    hint, undo, quit.

    Examples:

      alphatriangle play
      alphatriangle play first --seed 7

      echo "hint" | alphatriangle play first

    Exit codes: 0 done; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.game import GameState
        from alphatriangle.viewer.table import Table

        table = Table(GameState(seed))
        advisor = _Advisor(lambda: _load(data_dir, run, checkpoint), simulations)
        console = console_for()
        if console.is_terminal and sys.stdin.isatty():
            _by_keys(table, advisor, console)
        else:
            _by_lines(table, advisor, console)
        game = table.game
        end = "the game is over" if game.is_over else "ended"
        console.print(
            f"{end}: {len(game.moves)} placements, score {game.score:.2f}", highlight=False
        )


def _load(data_dir: Path | None, run: str | None, checkpoint: str) -> Agent:
    from alphatriangle.training.agent import load_agent

    return load_agent(persistence(data_dir), run, checkpoint)


class _Advisor:
    """Asks the agent, which is loaded when it is asked first."""

    def __init__(self, load: Callable[[], Agent], simulations: int) -> None:
        self._load = load
        self._simulations = simulations
        self._agent: Agent | None = None

    def hint(self, table: Table) -> str:
        """Hold what the agent would place, and say what it thinks."""
        if table.game.is_over:
            return "the game is over"
        from alphatriangle.viewer.terminal import move_name

        if self._agent is None:
            self._agent = self._load()
        moves, value = self._agent.rank(table.game, self._simulations)
        table.hold(moves[0].action)
        best = ", ".join(f"{move_name(m.action)} {m.probability:.0%}" for m in moves[:3])
        name = f"{self._agent.run} (step {self._agent.step})"
        return f"{name} plays {best}; it values this {value:.1f}"


def _obey(table: Table, advisor: _Advisor, command: str) -> str:
    """Carry out one command of a key; returns what there is to say."""
    match command.split():
        case ["up" | "down" | "left" | "right" as direction]:
            table.move(direction)
        case ["take", number]:
            if not table.take(int(number) - 1):
                return f"shape {number} fits nowhere"
        case ["next"]:
            table.take_next()
        case ["place"]:
            if table.action is None:
                return "the game is over"
            reward = table.place()
            return f"{reward:+.3f}" + (f", {len(table.cleared)} cleared" if table.cleared else "")
        case ["hint"]:
            return advisor.hint(table)
        case ["undo"]:
            return "taken back" if table.undo() else "there is nothing to take back"
    return ""


def _screen(table: Table, said: str) -> RenderableType:
    from alphatriangle.viewer.terminal import frame_text

    title = "game over" if table.game.is_over else "AlphaTriangle"
    return Group(frame_text(table.frame(), title), Text(said), Text(_HELP, style="dim"))


def _by_keys(table: Table, advisor: _Advisor, console: Console) -> None:
    said = ""
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(_screen(table, said), refresh=True)
            command = _KEYS.get(click.getchar(), "")
            if command == "quit":
                return
            if command == "hint":
                live.update(_screen(table, "the agent thinks ..."), refresh=True)
            try:
                said = _obey(table, advisor, command)
            except DataError as e:
                # No agent to ask is no reason to end the game.
                said = str(e)


def _by_lines(table: Table, advisor: _Advisor, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for line in sys.stdin:
        match line.split():
            case []:
                continue
            case ["quit" | "q"]:
                return
            case ["hint" | "?" | "undo" | "u" as command]:
                say(_obey(table, advisor, _KEYS.get(command, command)))
            case ["place", *numbers] if len(numbers) == 3 and all(n.isdigit() for n in numbers):
                slot, row, col = map(int, numbers)
                say(_place_at(table, slot, row, col))
            case _:
                say(f"{line.strip()!r}: say place SLOT ROW COLUMN, hint, undo or quit")
        if table.game.is_over:
            return


def _place_at(table: Table, slot: int, row: int, col: int) -> str:
    from alphatriangle.game.geometry import CELLS, COLS

    action = (slot - 1) * CELLS + row * COLS + col
    if not (1 <= slot <= 3 and col < COLS and action in table.game.legal_actions()):
        places = ", ".join(f"{p // COLS},{p % COLS}" for p in table.places(slot - 1)[:8])
        where = f"; it fits at {places} ..." if places else ""
        return f"shape {slot} does not fit at {row},{col}{where}"
    table.hold(action)
    reward = table.place()
    shapes = " ".join("-" if s < 0 else str(int(s)) for s in table.game.slots)
    return f"{reward:+.3f}, score {table.game.score:.3f}, shapes {shapes}"
