"""What there is to be seen of a run in training, and its two forms for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alphatriangle.data.replica.replicator import ReplicaStatus

_BARS: Final = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH: Final = 16


class Curve:
    """A whole curve in few points: of a long one only every second, fourth, ... is kept."""

    MOST = 256

    def __init__(self) -> None:
        self.points: list[float] = []
        self._stride = 1
        self._seen = 0

    def add(self, value: float) -> None:
        """The next point."""
        self._seen += 1
        if self._seen % self._stride:
            return
        self.points.append(value)
        if len(self.points) == self.MOST:
            self.points = self.points[1::2]
            self._stride *= 2


@dataclass(frozen=True)
class Saved:
    """The newest commit."""

    step: int
    bytes_written: int
    blocked_seconds: float
    """What training waited for."""
    durable_seconds: float
    """From the capture until it could not be lost any more."""
    at: float = field(default_factory=time.monotonic)

    @property
    def age_seconds(self) -> float:
        """Since it was known to be durable."""
        return time.monotonic() - self.at


@dataclass
class View:
    """The facts of the moment."""

    run_name: str
    step: int
    first_step: int  # where this process began
    target: int
    rows_wanted: int = 0  # rows that the next step waits for
    rows_total: int = 0
    buffer_rows: int = 0
    buffer_capacity: int = 0
    episodes: int = 0
    score: float | None = None  # mean of recent games
    score_games: int = 0
    best_step: int | None = None  # of the checkpoint that the gate holds best
    best_score: float | None = None  # its mean score in the gate's games
    candidate_step: int | None = None  # whose games are being played
    loss: float | None = None
    learning_rate: float | None = None
    value_error: float | None = None  # of who learns online
    baselines: dict[str, float] = field(default_factory=dict)  # mean scores of players, if known
    curves: dict[str, Curve] = field(default_factory=dict)  # what the sparklines show
    simulations_per_second: float = 0.0
    health: dict[str, float] = field(default_factory=dict)  # search health, of the last results
    shares: dict[str, float] = field(default_factory=dict)  # seconds of a core a second, by part
    placements_per_second: float = 0.0
    deals_per_second: float = 0.0
    episodes_per_second: float = 0.0
    machine: str = ""  # memory and disk
    saved: Saved | None = None
    saving: int | None = None  # step of the save in flight
    uploads_waiting: int = 0  # files that MLflow has not been given
    replica: ReplicaStatus | None = None  # the copy elsewhere
    workers: dict[str, Any] | None = None  # of self-play; None without any
    problem: str | None = None
    started: float = field(default_factory=time.monotonic)

    def add_point(self, curve: str, value: float) -> None:
        """One more point of a curve."""
        self.curves.setdefault(curve, Curve()).add(value)

    @property
    def steps_per_second(self) -> float:
        """Of this process."""
        elapsed = time.monotonic() - self.started
        return (self.step - self.first_step) / elapsed if elapsed > 0 else 0.0

    @property
    def best(self) -> str | None:
        """The best checkpoint and the candidate that wants its place; None without either."""
        parts = []
        if self.best_step is not None and self.best_score is not None:
            parts.append(f"{self.best_score:.1f} (step {self.best_step})")
        elif self.best_step is not None:
            # Its games were played in another way than games are now.
            parts.append(f"step {self.best_step}")
        if self.candidate_step is not None:
            parts.append(f"step {self.candidate_step} plays for it")
        return ", ".join(parts) or None

    @property
    def marks(self) -> str:
        """The players whose mean score the recent games have passed, and the next one."""
        if self.score is None or not self.baselines:
            return ""
        ordered = sorted(self.baselines.items(), key=lambda player: player[1])
        past = [name for name, mean in ordered if mean < self.score]
        ahead = [f"{name} {mean:.1f}" for name, mean in ordered if mean >= self.score]
        parts = [f"past {', '.join(past)}"] if past else []
        parts += [f"next {ahead[0]}"] if ahead else []
        return "; ".join(parts)

    @property
    def persistence(self) -> str:
        """The last save, the one in flight, and what waits for MLflow."""
        parts = ["nothing yet"]
        if self.saved is not None:
            age = _clock(self.saved.age_seconds)
            parts = [f"step {self.saved.step} {age} ago"]
        if self.saving is not None:
            parts.append(f"saving step {self.saving}")
        if self.uploads_waiting:
            parts.append(f"{self.uploads_waiting} uploads waiting")
        return ", ".join(parts)

    @property
    def seconds_left(self) -> float | None:
        """At this speed, once there is one."""
        speed = self.steps_per_second
        return (self.target - self.step) / speed if speed > 0 else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sparkline(points: Sequence[float], width: int) -> str:
    """The curve in ``width`` characters, from its lowest to its highest value."""
    if len(points) < 2:
        return ""
    parts = np.array_split(np.asarray(points, np.float64), min(width, len(points)))
    means = np.array([part.mean() for part in parts])
    low, high = float(means.min()), float(means.max())
    levels = (means - low) / (high - low) * (len(_BARS) - 1) if high > low else means * 0
    return "".join(_BARS[round(level)] for level in levels)


def plain_line(view: View) -> str:
    """One line for logs and pipes."""
    if view.step == view.first_step and view.rows_total < view.rows_wanted:
        begun = (
            f"playing for the first rows: {view.rows_total}/{view.rows_wanted}, "
            f"{view.episodes} games, {view.simulations_per_second:,.0f} simulations/s"
        )
        return f"{begun} | PROBLEM: {view.problem}" if view.problem else begun
    parts = [f"step {view.step}/{view.target}"]
    if view.score is not None:
        marks = f", {view.marks}" if view.marks else ""
        parts.append(f"score {view.score:.1f} (last {view.score_games} games{marks})")
    if view.best is not None:
        parts.append(f"best {view.best}")
    if view.loss is not None:
        parts.append(f"loss {view.loss:.3f}")
    if view.value_error is not None:
        parts.append(f"value error {view.value_error:.4f}")
    parts.append(f"{view.steps_per_second:.1f} steps/s")
    unit = "boards/s" if view.deals_per_second > 0 else "sims/s"
    parts.append(f"{view.simulations_per_second:,.0f} {unit}")
    if view.seconds_left is not None:
        parts.append(f"{_clock(view.seconds_left)} left")
    parts.append(f"saved: {view.persistence}")
    if view.replica is not None:
        parts.append(f"replica: {view.replica.text}")
    if view.workers and len(view.workers.get("nodes", ())) > 1:
        parts.append(f"workers: {workers_line(view)}")
    if view.problem:
        parts.append(f"PROBLEM: {view.problem}")
    return " | ".join(parts)


def facts(view: View) -> dict[str, Any]:
    """For programs: names that stay, numbers without rounding, None where nothing is known yet."""
    return {
        "run": view.run_name,
        "step": view.step,
        "target_steps": view.target,
        "seconds_left": view.seconds_left,
        "steps_per_second": view.steps_per_second,
        "simulations_per_second": view.simulations_per_second,
        "placements_per_second": view.placements_per_second,
        "deals_per_second": view.deals_per_second,
        "episodes_per_second": view.episodes_per_second,
        "score": view.score,
        "episodes": view.episodes,
        "best_step": view.best_step,
        "best_score": view.best_score,
        "loss": view.loss,
        "learning_rate": view.learning_rate,
        "value_error": view.value_error,
        "baselines": view.baselines,
        "buffer_rows": view.buffer_rows,
        "buffer_capacity": view.buffer_capacity,
        "search": view.health,
        "core_seconds_per_second": view.shares,
        "saved": None if view.saved is None else _saved_facts(view.saved),
        "saving_step": view.saving,
        "uploads_waiting": view.uploads_waiting,
        "replica": None if view.replica is None else view.replica.as_dict(),
        "workers": view.workers,
        "problem": view.problem,
    }


def _saved_facts(saved: Saved) -> dict[str, Any]:
    return {
        "step": saved.step,
        "age_seconds": saved.age_seconds,
        "bytes_written": saved.bytes_written,
        "blocked_seconds": saved.blocked_seconds,
        "durable_seconds": saved.durable_seconds,
    }


def _saved_line(saved: Saved) -> str:
    return (
        f"{saved.bytes_written / 1e6:.1f} MB, durable after {saved.durable_seconds:.1f} s; "
        f"training waited {saved.blocked_seconds * 1e3:.1f} ms"
    )


def panel(view: View) -> RenderableType:
    """Everything, for a terminal of any width."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    filling = view.step == view.first_step and view.rows_total < view.rows_wanted
    if filling:
        done, target, what = view.rows_total, view.rows_wanted, "rows before training starts"
    else:
        done, target, what = view.step, view.target, "steps"
    # Above the table: a long name would leave its columns little room.
    title = Table.grid(padding=(0, 2))
    title.add_row(view.run_name, ProgressBar(total=max(target, 1), completed=done, width=36))
    left = f", {_clock(view.seconds_left)} left" if view.seconds_left is not None else ""
    table.add_row("progress", f"{done:,} of {target:,} {what}{left}")
    score = "no game finished yet"
    if view.score is not None:
        score = f"[bold]{view.score:.1f}[/bold] mean of the last {view.score_games} games"
    table.add_row("score", f"{score}, {view.episodes:,} played{_spark(view, 'score')}")
    if view.marks:
        table.add_row("", view.marks)
    if view.best is not None:
        table.add_row("best", view.best)
    if view.loss is not None:
        loss = f"loss {view.loss:.3f}{_spark(view, 'loss')}"
        rate = f"rate {view.learning_rate:.2g}{_spark(view, 'learning_rate')}"
        table.add_row("learning", f"{loss}  {rate}")
    if view.value_error is not None:
        error = f"value error {view.value_error:.4f}{_spark(view, 'value_error')}"
        table.add_row("learning", error)
    table.add_row(
        "speed",
        f"{view.steps_per_second:.1f} steps/s, {_moves_line(view)}, "
        f"{view.episodes_per_second:.1f} games/s",
    )
    if "batch_fill" in view.health:
        table.add_row("search", _search_line(view.health))
    if view.shares:
        table.add_row("time", _shares_line(view.shares))
    if view.workers and "wanted" in view.workers:
        table.add_row("workers", Text(workers_line(view)))
    table.add_row("replay", f"{view.buffer_rows:,} of {view.buffer_capacity:,} rows")
    table.add_row("saved", view.persistence)
    if view.saved is not None:
        table.add_row("", _saved_line(view.saved))
    if view.replica is not None:
        table.add_row("replica", Text(view.replica.text))
    if view.machine:
        table.add_row("machine", view.machine)
    if view.problem:
        table.add_row("[red]problem", f"[red]{view.problem}")
    return Group(
        title, table, Text("Ctrl-C saves and stops; the same command goes on.", style="dim")
    )


def workers_line(view: View) -> str:
    """How many there are of how many, where, how fast, and who waits for whom."""
    workers = view.workers
    assert workers is not None
    parts = [f"{workers['running']} of {workers['wanted']} play"]
    if len(workers["nodes"]) > 1:
        where = ", ".join(f"{node['name']} {node['running']}" for node in workers["nodes"])
        parts[0] += f" ({where})"
    if workers["pending"]:
        parts.append(f"{workers['pending']} starting")
    parts.append(f"{workers['rows_per_second']:,.0f} rows/s")
    if workers["weights_age"] is not None:
        parts.append(f"weights {workers['weights_age']:.0f} s old")
    if view.rows_total < view.rows_wanted:
        parts.append("training waits for them")
    elif workers["waits_for"] == "training":
        parts.append("they wait for training")
    if workers["replaced"]:
        parts.append(f"{workers['replaced']} replaced, last {workers['last_replaced']}")
    return ", ".join(parts)


def _spark(view: View, curve: str) -> str:
    if curve not in view.curves:
        return ""
    return f"  [cyan]{sparkline(view.curves[curve].points, _SPARK_WIDTH)}[/cyan]"


def _moves_line(view: View) -> str:
    judged = f"{view.simulations_per_second:,.0f}"
    if view.deals_per_second > 0:
        return f"{judged} boards/s, {view.deals_per_second:,.0f} deals/s"
    return f"{judged} simulations/s, {view.placements_per_second:,.0f} placements/s"


def _search_line(health: dict[str, float]) -> str:
    return (
        f"batches {health['batch_fill']:.0%} full, {health['distinct']:.1%} distinct, "
        f"depth {health['depth']:.1f}, policy entropy {health['policy_entropy']:.2f}, "
        f"value error {health['value_error']:.1f}"
    )


def _shares_line(shares: dict[str, float]) -> str:
    """Of the time of everybody together, so that it adds up whatever the number of processes."""
    total = max(sum(shares.values()), 1e-9)
    parts = sorted(shares.items(), key=lambda part: part[1], reverse=True)
    return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts)
