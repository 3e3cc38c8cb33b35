"""The rules in plain Python, slow and obvious: what the kernels are compared with."""

from __future__ import annotations

from alphatriangle.game.geometry import COLS, PLAYABLE_COLUMNS, ROWS, SHAPES

Cell = tuple[int, int]


def playable(cell: Cell) -> bool:
    row, col = cell
    return 0 <= row < ROWS and PLAYABLE_COLUMNS[row][0] <= col < PLAYABLE_COLUMNS[row][1]


def up(cell: Cell) -> bool:
    return sum(cell) % 2 == 1


ALL = [(r, c) for r in range(ROWS) for c in range(COLS) if playable((r, c))]

NEXT = {
    "row": lambda r, c: (r, c + 1),
    "down-right": lambda r, c: (r + 1, c) if up((r, c)) else (r, c + 1),
    "up-right": lambda r, c: (r, c + 1) if up((r, c)) else (r - 1, c),
}


def lines() -> list[frozenset[Cell]]:
    found = []
    for step in NEXT.values():
        before = {step(*cell) for cell in ALL}
        for start in ALL:
            if start not in before:
                run, cell = [], start
                while playable(cell):
                    run.append(cell)
                    cell = step(*cell)
                if len(run) >= 2:
                    found.append(frozenset(run))
    return found


LINES = lines()


def cells_of(shape: int, anchor: int) -> list[Cell] | None:
    row, col = divmod(anchor, COLS)
    cells = [(row + dr, col + dc) for dr, dc, _ in SHAPES[shape]]
    fits = all(
        playable(cell) and up(cell) == bool(is_up)
        for cell, (_, _, is_up) in zip(cells, SHAPES[shape], strict=True)
    )
    return cells if fits else None


def legal_actions(occupied: set[Cell], slots: list[int]) -> list[int]:
    return [
        slot * ROWS * COLS + anchor
        for slot, shape in enumerate(slots)
        if shape >= 0
        for anchor in range(ROWS * COLS)
        if (cells := cells_of(shape, anchor)) and not occupied & set(cells)
    ]


def place(occupied: set[Cell], shape: int, anchor: int) -> tuple[set[Cell], set[Cell]]:
    """(board afterwards, cells cleared)."""
    new = cells_of(shape, anchor)
    assert new is not None
    filled = occupied | set(new)
    complete = [line for line in LINES if line & set(new) and line <= filled]
    cleared = set().union(*complete)
    return filled - cleared, cleared


def to_int(occupied: set[Cell]) -> int:
    return sum(1 << (r * COLS + c) for r, c in occupied)


def from_int(bits: int) -> set[Cell]:
    return {(i // COLS, i % COLS) for i in range(ROWS * COLS) if bits >> i & 1}
