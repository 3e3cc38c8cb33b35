"""Facts as tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.table import Table

if TYPE_CHECKING:
    from alphatriangle.data.runs.summary import RunSummary
    from alphatriangle.training.judging.evaluation import PlayerScore

_FIRST_LEFT_OUT: Final = ("best", "games", "size", "score", "replica", "saved", "step", "state")
_LEAST_REPLICA: Final = 9


def scores_table(
    scores: Sequence[PlayerScore], title: str, subject: PlayerScore | None = None
) -> Table:
    """Players and their means with 95% intervals; with a ``subject``, how far it is ahead."""
    from alphatriangle.training.judging.evaluation import difference

    table = Table(title=title, title_justify="left")
    table.add_column("player")
    table.add_column("score", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("moves", justify="right")
    if subject is not None:
        table.add_column("agent ahead by", justify="right")
    cut: list[str] = []
    for s in scores:
        ahead = []
        if subject is not None and s is not subject:
            gap = difference(subject.scores, s.scores)
            ahead = [f"{gap.mean:+.1f} ({gap.low:+.1f} – {gap.high:+.1f})"]
        if s.cut:
            cut.append(f"{s.cut} games of {s.player} were cut at env.max_moves_per_episode")
        table.add_row(
            s.player, f"{s.mean:.1f}", f"{s.low:.1f} – {s.high:.1f}", f"{s.placements:.0f}", *ahead
        )
    if cut:
        table.caption = "; ".join(cut)
    return table


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.1f} MB"


def runs_table(
    runs: Sequence[RunSummary], copies: Mapping[str, str | None], width: int = 80
) -> Table:
    """One line a run; fits 80 columns, but for what ``copies`` tell of replicas: run -> where.

    Where there are fewer than it needs columns are left out: names of runs are never cut short.
    """
    columns: dict[str, list[str]] = {"run": [run.name for run in runs]}
    columns["state"] = [run.state for run in runs]
    targets = ["" if run.target_steps is None else f"/{run.target_steps}" for run in runs]
    columns["step"] = [f"{run.step}{target}" for run, target in zip(runs, targets, strict=True)]
    columns["games"] = [str(run.episodes) for run in runs]
    columns["score"] = [_number(run.score) for run in runs]
    columns["best"] = [_number(run.best_score) for run in runs]
    columns["size"] = [megabytes(run.size_bytes) for run in runs]
    columns["saved"] = [
        ago(time.time() - run.last_commit_ns / 1e9) if run.last_commit_ns else "never"
        for run in runs
    ]
    if any(copies.values()):
        columns["replica"] = [copies[run.name] or "-" for run in runs]
    widths = {name: max(map(cell_len, [name, *cells])) for name, cells in columns.items()}
    # What a replica holds may be wrapped.
    widths["replica"] = min(widths.get("replica", 0), _LEAST_REPLICA)
    for name in _FIRST_LEFT_OUT:
        if sum(widths[name] + 1 for name in columns) - 1 <= width:
            break
        columns.pop(name, None)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns:
        if name == "run":
            table.add_column(name, no_wrap=True, min_width=widths[name])
        elif name == "replica":
            table.add_column(name)
        else:
            table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def ago(age_seconds: float) -> str:
    """How long ago, in one unit."""
    seconds = max(int(age_seconds), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
