"""Boards as text with triangles."""

from __future__ import annotations

from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.text import Text

from alphatriangle.game.geometry import COLS, ROWS, SHAPES, is_playable, is_up
from alphatriangle.viewer.frames import Frame

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
    facts = f"placement {frame.number}/{frame.total}   score {frame.score:.2f}{gained}{cleared}"
    return Group(Text(title, style="bold"), Text(), board_text(frame), Text(), shapes, Text(facts))


def frame_line(frame: Frame) -> str:
    """A placement in one line, for output that is no terminal."""
    if frame.slot is None:
        return f"0/{frame.total}  empty board"
    anchor = min(frame.placed)
    return (
        f"{frame.number}/{frame.total}  slot {frame.slot}, {len(frame.placed)} triangles from row "
        f"{anchor // COLS}, column {anchor % COLS}; {len(frame.cleared)} cleared, "
        f"{frame.reward:+.3f}, score {frame.score:.3f}"
    )
