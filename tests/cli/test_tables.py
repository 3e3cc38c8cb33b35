"""Tables for people: what there is no room for is left out, and names of runs never are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from alphatriangle.cli.tables import runs_table
from alphatriangle.data.runs.summary import RunSummary

NAMES = ["laptop-2026-11-26-a", "laptop-2026-11-26-b"]


@pytest.mark.parametrize("is_replicated", [False, True])
@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_names_of_runs_are_whole_at_any_width(width: int, is_replicated: bool) -> None:
    runs = [
        RunSummary(n, "unfinished", 12_000, 20_000, 1234, 101.5, 110.25, 10**9, None, 1, 3, None)
        for n in NAMES
    ]
    copies = dict.fromkeys(NAMES, "step 12000, stuck" if is_replicated else None)
    console = Console(width=width, file=io.StringIO())
    console.print(runs_table(runs, copies, width))
    assert isinstance(console.file, io.StringIO)
    head, *lines = console.file.getvalue().splitlines()
    assert max(map(len, [head, *lines])) <= width
    assert [line.split()[0] for line in lines if line.split()[0] in NAMES] == NAMES
    assert "…" not in "".join(lines)
    assert ("games" in head) == (width >= (90 if is_replicated else 80))
    assert ("state" in head) == (width >= 30)
