"""Boards as text with triangles."""

from __future__ import annotations

from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.text import Text

from alphatriangle.game.geometry import CELLS, COLS, ROWS, SHAPES, is_playable, is_up
from alphatriangle.viewer.frames import Frame, Thoughts

_PLACED: Final = "bold green"
_CLEARED: Final = "bold yellow"
_FILLED: Final = "cyan"
_FREE: Final = "bright_black"


def board_text(frame: Frame) -> Text:
    """Eight lines: filled, just placed, just cleared and free triangles."""
    text = Text()
    for row in range(ROWS):
        for col in range(COLS):
            text.append(*_cell(frame, row, col))
        if row + 1 < ROWS:
            text.append("\n")
    return text


def _cell(frame: Frame, row: int, col: int) -> tuple[str, str]:
    if not is_playable(row, col):
        return " ", ""
    cell = row * COLS + col
    solid, hollow = ("▲", "△") if is_up(row, col) else ("▼", "▽")
    if cell in frame.cleared:
        return hollow, _CLEARED
    if cell in frame.placed:
        return solid, _PLACED
    return (solid, _FILLED) if cell in frame.filled else (hollow, _FREE)


def shape_text(shape: int, style: str) -> Text:
    """One shape, three lines at most."""
    if shape < 0:
        return Text("·", style=_FREE)
    triangles = {(dr, dc): up for dr, dc, up in SHAPES[shape]}
    left = min(dc for _, dc in triangles)
    lines = []
    for row in range(max(dr for dr, _ in triangles) + 1):
        last = max((dc for dr, dc in triangles if dr == row), default=left - 1)
        marks = [triangles.get((row, dc)) for dc in range(left, last + 1)]
        lines.append("".join(" " if up is None else "▲" if up else "▼" for up in marks))
    return Text("\n".join(lines), style=style)


def move_name(action: int) -> str:
    """An action in words: which shape, 1 to 3, and the row and column of its anchor."""
    slot, anchor = divmod(action, CELLS)
    return f"{slot + 1} at {anchor // COLS},{anchor % COLS}"


def thoughts_lines(thoughts: Thoughts) -> list[str]:
    """What a search thought, the value first, then a line an option."""
    options = [
        f"{option.probability:4.0%}  {move_name(option.action):<9}  value {option.q_value:.1f}"
        for option in thoughts.options
    ]
    return [f"value {thoughts.value:.1f} before; it looked at", *options]


def frame_text(frame: Frame, title: str) -> RenderableType:
    """Everything about a frame; 40 columns are enough."""
    shapes = Columns(
        [
            shape_text(shape, _PLACED if slot == frame.slot else _FILLED)
            for slot, shape in enumerate(frame.slots)
        ],
        width=6,
    )
    gained = "" if frame.slot is None else f"   {frame.reward:+.3f}"
    cleared = f"   {len(frame.cleared)} cleared" if frame.cleared else ""
    facts = f"placement {_number(frame)}   score {frame.score:.2f}{gained}{cleared}"
    lines = [facts, *(thoughts_lines(frame.thoughts) if frame.thoughts else [])]
    below = Text("\n".join(lines))
    return Group(Text(title, style="bold"), Text(), board_text(frame), Text(), shapes, below)


def frame_line(frame: Frame) -> str:
    """A placement in one line, for output that is no terminal."""
    if frame.slot is None:
        return f"{_number(frame)}  empty board"
    anchor = min(frame.placed)
    line = (
        f"{_number(frame)}  slot {frame.slot}, {len(frame.placed)} triangles from row "
        f"{anchor // COLS}, column {anchor % COLS}; {len(frame.cleared)} cleared, "
        f"{frame.reward:+.3f}, score {frame.score:.3f}"
    )
    if frame.thoughts is None:
        return line
    options = ", ".join(
        f"{move_name(o.action)} {o.probability:.0%}" for o in frame.thoughts.options
    )
    return f"{line}; value {frame.thoughts.value:.1f}, looked at {options}"


def _number(frame: Frame) -> str:
    return str(frame.number) if frame.total is None else f"{frame.number}/{frame.total}"
