"""``python -m benchmarks.ntuple``: how strong n-tuple networks become, over seeds and settings.

Each variant learns with each seed for the same seconds of processor time, on one core, without the
rest of the product; its average then plays. Results are kept in a folder: what has been measured is
not measured again.

    python -m benchmarks.ntuple --seconds 60 180 --variant base --variant g99:gamma=0.99
    python -m benchmarks.ntuple --seconds 60 --effort 32,12,64,3,1 --games 200 --test-seed 5

A variant sets what ``OnlineLearner`` takes, ``deals`` of a round, ``tuples``
(``p3+lines``: patches of radius 3 and lines), any field of
``online.Settings``, or ``forget``, the share that the sums behind the rates keep after a round.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DEALS = 10_000
FIRST_TEST = 10**9


class Variant(NamedTuple):
    """A name and what is set differently."""

    name: str
    settings: dict[str, Any]


def _variant(text: str) -> Variant:
    name, _, settings = text.partition(":")
    pairs = [s.split("=") for s in settings.split(",") if s]
    return Variant(name, {key: _value(value) for key, value in pairs})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _kinds(family: str) -> Any:
    from alphatriangle.ntuple import layout

    parts = family.split("+")
    radii = tuple(sorted((int(part[1:]) for part in parts if part[0] == "p"), reverse=True))
    others: set[tuple[int, ...]] = layout.LINES_OF if "lines" in parts else set()
    if "strips" in parts:
        others = others | _strips()
    return layout.make_kinds(radii, others)


def _strips(length: int = 9) -> set[tuple[int, ...]]:
    """Two rows beside each other over ``length`` columns, from the left and in the middle."""
    from alphatriangle.game.geometry import COLS, PLAYABLE_COLUMNS

    found = set()
    for row in range(4):
        start, end = PLAYABLE_COLUMNS[row + 1]
        for first in {start, (start + end - length) // 2}:
            columns = range(max(first, 0), first + length)
            found.add(
                tuple(
                    r * COLS + c
                    for r in (row, row + 1)
                    for c in columns
                    if PLAYABLE_COLUMNS[r][0] <= c < PLAYABLE_COLUMNS[r][1]
                )
            )
    return found


def play(weights: Any, effort: str, games: int, seed: int) -> dict[str, float]:
    """Whole games with these weights: the mean score, half its 95% interval, ms a deal."""
    from alphatriangle.ntuple.planner import Effort, play_games

    begin = time.process_time()
    episodes = play_games(
        weights,
        Effort(*map(int, effort.split(","))),
        seed=seed,
        episodes=range(FIRST_TEST, FIRST_TEST + games),
        max_moves=1_000_000,
    )
    spent = time.process_time() - begin
    scores = np.array([e.score for e in episodes])
    deals = sum(len(e.moves) for e in episodes) / 3
    half = 1.96 * float(scores.std()) / len(scores) ** 0.5
    return {"mean": float(scores.mean()), "half": half, "ms": 1000 * spent / deals}


def measure(options: argparse.Namespace, variant: Variant, seed: int) -> dict[str, Any]:
    """Learn with one seed and play at each mark."""
    kept: Path = options.folder / f"{variant.name}-{seed}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    settings = dict(variant.settings)
    from alphatriangle.ntuple import layout

    if family := settings.pop("tuples", ""):
        # Before any kernel's module takes its constants from it; kernels of their own.
        kinds = _kinds(str(family))
        setattr(layout, "KINDS", kinds)  # noqa: B010
        setattr(layout, "LAYOUT", layout.make_layout(kinds))  # noqa: B010
        setattr(layout, "SIZE", layout.LAYOUT.size)  # noqa: B010
        os.environ["NUMBA_CACHE_DIR"] = str(options.folder.absolute() / f"kernels-{family}")
    from alphatriangle.ntuple.learner import OnlineLearner
    from alphatriangle.ntuple.tables import Tables

    deals = int(settings.pop("deals", DEALS))
    forget = float(settings.pop("forget", 1.0))
    tables = Tables.zeros()
    ours = {k: v for k, v in settings.items() if k in OnlineLearner.__init__.__annotations__}
    learner = OnlineLearner(tables, seed=seed, **ours)  # type: ignore[arg-type]
    learner._settings = learner._settings._replace(  # type: ignore[arg-type]
        **{k: v for k, v in settings.items() if k not in ours}
    )
    learner.round(1)
    spent, learned, marks = 0.0, 0, []
    curve: list[tuple[float, list[float]]] = []
    for mark in options.seconds:
        while spent < mark:
            begin = time.process_time()
            played = learner.round(deals)
            learned += played.deals
            if forget < 1.0:
                _forget(tables, forget)
            spent += time.process_time() - begin
            curve.append((spent, [e.score for e in played.episodes]))
        newest = np.concatenate([scores for at, scores in curve if at > 0.75 * mark])
        tests = {
            e: play(tables.average, e, options.games, options.test_seed) for e in options.effort
        }
        training = float(newest.mean())
        marks.append({"seconds": mark, "deals": learned, "training": training, "tests": tests})
        sys.stderr.write(f"{variant.name}, seed {seed}: {json.dumps(marks[-1])}\n")
        if options.save:
            np.save(options.folder / f"{variant.name}-{seed}-{mark:g}.npy", tables.average)
    result = {"variant": variant.name, "settings": variant.settings, "seed": seed, "marks": marks}
    kept.write_text(json.dumps(result))
    return result


def _forget(tables: Any, share: float) -> None:
    """Let the rates of temporal coherence forget what was long ago."""
    share = np.float32(share)
    tables.errors, tables.absolute = tables.errors * share, tables.absolute * share


def table(results: Sequence[dict[str, Any]]) -> str:
    """In Markdown: a line for each variant and mark, its seeds side by side."""
    efforts = list(results[0]["marks"][0]["tests"])
    lines = [
        f"| variant | CPU s | deals/s | while learning | {' | '.join(efforts)} |",
        "| --- " * (4 + len(efforts)) + "|",
    ]
    for name in dict.fromkeys(r["variant"] for r in results):
        own = [r for r in results if r["variant"] == name]
        for i, mark in enumerate(own[0]["marks"]):
            speed = np.mean([r["marks"][i]["deals"] / mark["seconds"] for r in own])
            training = ", ".join(f"{r['marks'][i]['training']:.1f}" for r in own)
            cells = [name, f"{mark['seconds']:g}", f"{speed:,.0f}", training]
            for effort in efforts:
                tests = [r["marks"][i]["tests"][effort] for r in own]
                seeds = ", ".join(f"{t['mean']:.0f} ± {t['half']:.0f}" for t in tests)
                ms = np.mean([t["ms"] for t in tests])
                cells.append(f"**{np.mean([t['mean'] for t in tests]):.0f}**: {seeds}; {ms:.2f} ms")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ntuple", description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--effort", nargs="+", default=["8,1,0,1,1", "32,12,64,3,1"])
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--test-seed", type=int, default=5)
    parser.add_argument("--variant", type=_variant, action="append", default=[])
    parser.add_argument("--folder", type=Path, default=Path("learning"))
    parser.add_argument("--save", action="store_true", help="keep the averages too")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    results = []
    for variant in options.variant or [Variant("base", {})]:
        for seed in options.seeds:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                results.append(pool.submit(measure, options, variant, seed).result())
        own = [r for r in results if r["variant"] == variant.name]
        sys.stderr.write("\n".join(table(own).splitlines()[2:]) + "\n")
    sys.stdout.write(table(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
