"""Facts as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from alphatriangle.data.runs import RunSummary
from alphatriangle.training.evaluation import PlayerScore


def scores_table(scores: Sequence[PlayerScore], title: str) -> Table:
    """Players and their means with 95% intervals."""
    table = Table(title=title, title_justify="left")
    table.add_column("player")
    table.add_column("mean score", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("placements", justify="right")
    for s in scores:
        table.add_row(
            s.player, f"{s.mean:.1f}", f"{s.low:.1f} – {s.high:.1f}", f"{s.placements:.0f}"
        )
    return table


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.1f} MB"


def runs_table(runs: Sequence[RunSummary]) -> Table:
    """One line a run."""
    table = Table()
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for name in ("step", "games", "score", "best", "size"):
        table.add_column(name, justify="right")
    table.add_column("last commit (UTC)")
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
            (run.last_commit or "-").removesuffix("+00:00").replace("T", " "),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
