"""``python -m benchmarks.trials FOLDER``: our online learner beside other programs that learn.

FOLDER holds ``survival_td.py`` and ``tuple_td.py``, which learn for so many minutes of processor
time on one core and then play 200 games on given deals. Ours does the same, on one core, one after
the other in one run; then each plays with the searches that the other programs name too.

    python -m benchmarks.trials ../shared/trials --minutes 1 3
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.ntuple import Variant, measure

SEARCHES: Final = {"8": "8,1,0,1,1", "32": "32,1,0,1,1", "32,6,12,3": "32,6,72,3,1"}
"""Theirs -> ours: width, leaves, samples (theirs of each leaf, ours of all), inner width, depth."""
TEST_SEED: Final = 2
_SURVIVAL = re.compile(
    r"([\d.]+) CPU min, play ([\d,]+): ([\d.]+) \+- ([\d.]+) .* ([\d.]+) ms a deal"
)
_TUPLE = re.compile(r"width (\d+): ([\d.]+) \+- ([\d.]+)")


class Played(NamedTuple):
    """Games of one agent."""

    program: str
    minutes: float
    search: str
    mean: float
    half: float  # of the 95% interval
    ms: float | None  # of processor time a deal


def _run(program: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", str(program), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def survival(folder: Path, minutes: Sequence[float], seed: int, games: int) -> list[Played]:
    """The logistic value of survival: it plays at each mark."""
    lines = _run(
        folder / "survival_td.py",
        f"{max(minutes):g}",
        f"--seed={seed}",
        f"--games={games}",
        f"--test_seed={TEST_SEED}",
        f"--marks={','.join(f'{m:g}' for m in minutes)}",
        f"--tests={';'.join(SEARCHES)}",
    )
    found = dict.fromkeys(match.groups() for match in map(_SURVIVAL.search, lines) if match)
    return [
        Played("survival_td", float(at), search, float(mean), float(half), float(ms))
        for at, search, mean, half, ms in found
    ]


def rewards(folder: Path, minutes: Sequence[float], seed: int) -> list[Played]:
    """The linear value of rewards, which plays at its end only, 200 games."""
    found = []
    for at in minutes:
        for match in map(_TUPLE.search, _run(folder / "tuple_td.py", f"{at:g}", f"--seed={seed}")):
            if match:
                width, mean, half = match.groups()
                found.append(Played("tuple_td", at, width, float(mean), float(half), None))
    return found


def ours(minutes: Sequence[float], seed: int, games: int) -> list[Played]:
    """The product's learner, without the rest of the product."""
    with tempfile.TemporaryDirectory() as folder:
        options = Namespace(
            seconds=[60 * m for m in minutes],
            effort=list(SEARCHES.values()),
            games=games,
            test_seed=TEST_SEED,
            folder=Path(folder),
            save=False,
        )
        marks = measure(options, Variant("ours", {}), seed)["marks"]
    return [
        Played("alphatriangle", at, search, test["mean"], test["half"], test["ms"])
        for at, mark in zip(minutes, marks, strict=True)
        for search, effort in SEARCHES.items()
        for test in [mark["tests"][effort]]
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure all three and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    parser.add_argument("trials", type=Path, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--games", type=int, default=200)
    options = parser.parse_args(arguments)
    minutes = sorted(options.minutes)
    played = ours(minutes, options.seed, options.games)
    played += survival(options.trials, minutes, options.seed, options.games)
    played += rewards(options.trials, minutes, options.seed)
    table = Table(title=f"seed {options.seed}, one core each, games of seed {TEST_SEED}")
    for column in ("program", "CPU min", "search", "mean score", "ms a deal"):
        table.add_column(column)
    for one in played:
        ms = "" if one.ms is None else f"{one.ms:.2f}"
        table.add_row(
            one.program, f"{one.minutes:g}", one.search, f"{one.mean:.0f} ± {one.half:.0f}", ms
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
