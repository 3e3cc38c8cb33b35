"""Facts as tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from alphatriangle.data.runs.summary import RunSummary
    from alphatriangle.training.judging.evaluation import PlayerScore


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


def runs_table(runs: Sequence[RunSummary], copies: Mapping[str, str | None]) -> Table:
    """One line a run; fits 80 columns, but for what ``copies`` tell of replicas: run -> where."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("run", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("step", "games", "score", "best", "size", "saved"):
        table.add_column(name, justify="right", no_wrap=True)
    is_replicated = any(copies.values())
    if is_replicated:
        table.add_column("replica")
    for run in runs:
        target = "" if run.target_steps is None else f"/{run.target_steps}"
        table.add_row(
            run.name,
            run.state,
            f"{run.step}{target}",
            str(run.episodes),
            _number(run.score),
            _number(run.best_score),
            megabytes(run.size_bytes),
            ago(time.time() - run.last_commit_ns / 1e9) if run.last_commit_ns else "never",
            *([copies[run.name] or "-"] if is_replicated else []),
        )
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
