"""What the person sees while training: a live view in a terminal, plain lines anywhere else.

Never silent for long: a phase of which nothing is heard repeats what it is doing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_LINE_SECONDS = 3.0  # between two plain lines


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
    simulations_per_second: float = 0.0
    health: dict[str, float] = field(default_factory=dict)  # search health, of the last results
    shares: dict[str, float] = field(default_factory=dict)  # seconds of a core a second, by part
    save: str = "nothing yet"
    saving: int | None = None  # step of the save in flight
    uploads_waiting: int = 0  # files that MLflow has not been given
    problem: str | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def steps_per_second(self) -> float:
        """Of this process."""
        elapsed = time.monotonic() - self.started
        return (self.step - self.first_step) / elapsed if elapsed > 0 else 0.0

    @property
    def best(self) -> str | None:
        """The best checkpoint and the candidate that wants its place; None without either."""
        parts = []
        if self.best_step is not None:
            parts.append(f"{self.best_score:.1f} (step {self.best_step})")
        if self.candidate_step is not None:
            parts.append(f"step {self.candidate_step} plays for it")
        return ", ".join(parts) or None

    @property
    def persistence(self) -> str:
        """The last save, the one in flight, and what waits for MLflow."""
        parts = [self.save]
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


def plain_line(view: View) -> str:
    """One line for logs and pipes."""
    if view.step == view.first_step and view.rows_total < view.rows_wanted:
        return (
            f"playing for the first rows: {view.rows_total}/{view.rows_wanted}, "
            f"{view.episodes} games, {view.simulations_per_second:,.0f} simulations/s"
        )
    parts = [f"step {view.step}/{view.target}"]
    if view.score is not None:
        parts.append(f"score {view.score:.1f} (last {view.score_games} games)")
    if view.best is not None:
        parts.append(f"best {view.best}")
    if view.loss is not None:
        parts.append(f"loss {view.loss:.3f}")
    parts.append(f"{view.steps_per_second:.1f} steps/s")
    parts.append(f"{view.simulations_per_second:,.0f} sims/s")
    if view.seconds_left is not None:
        parts.append(f"{_clock(view.seconds_left)} left")
    parts.append(f"saved: {view.persistence}")
    if view.problem:
        parts.append(f"PROBLEM: {view.problem}")
    return " | ".join(parts)


def _panel(view: View) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    filling = view.step == view.first_step and view.rows_total < view.rows_wanted
    if filling:
        done, target, what = view.rows_total, view.rows_wanted, "rows before training starts"
    else:
        done, target, what = view.step, view.target, "steps"
    table.add_row(view.run_name, ProgressBar(total=max(target, 1), completed=done, width=36))
    left = f", {_clock(view.seconds_left)} left" if view.seconds_left is not None else ""
    table.add_row("progress", f"{done:,} of {target:,} {what}{left}")
    score = "no game finished yet"
    if view.score is not None:
        score = f"[bold]{view.score:.1f}[/bold] mean of the last {view.score_games} games"
    table.add_row("score", f"{score}, {view.episodes:,} played")
    if view.best is not None:
        table.add_row("best", view.best)
    if view.loss is not None:
        table.add_row("learning", f"loss {view.loss:.3f}, rate {view.learning_rate:.2g}")
    table.add_row(
        "speed",
        f"{view.steps_per_second:.1f} steps/s, {view.simulations_per_second:,.0f} simulations/s",
    )
    if view.health:
        table.add_row("search", _search_line(view.health))
    if view.shares:
        table.add_row("time", _shares_line(view.shares))
    table.add_row("replay", f"{view.buffer_rows:,} of {view.buffer_capacity:,} rows")
    table.add_row("saved", view.persistence)
    if view.problem:
        table.add_row("[red]problem", f"[red]{view.problem}")
    return Group(table, Text("Ctrl-C saves and stops; the same command goes on.", style="dim"))


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


class Display:
    """Shows phases and views."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._last_line = 0.0
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Something that stays on the screen."""
        if self._quiet:
            return
        with self._lock:
            self._last_line = time.monotonic()
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Something that takes a while and says nothing itself."""
        if self._quiet:
            yield
            return
        began = time.monotonic()
        if self.console.is_terminal and self._live is None:
            with Live(Spinner("dots", what), console=self.console, transient=True):
                yield
        else:
            self.note(f"{what} ...")
            done = threading.Event()
            thread = threading.Thread(target=self._repeat, args=(what, began, done), daemon=True)
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()
        if self.console.is_terminal:
            self.note(f"{what}: {time.monotonic() - began:.1f} s")

    def _repeat(self, what: str, began: float, done: threading.Event) -> None:
        while not done.wait(_LINE_SECONDS):
            self.note(f"{what} ... {time.monotonic() - began:.0f} s")

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """While it lasts, :meth:`update` shows views."""
        if self.console.is_terminal and not self._quiet:
            with Live(console=self.console, refresh_per_second=4, transient=True) as live:
                self._live = live
                try:
                    yield
                finally:
                    self._live = None
        else:
            yield

    def update(self, view: View, *, force: bool = False) -> None:
        """Show the facts of the moment; in plain lines, every few seconds."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(_panel(view))
        elif force or time.monotonic() - self._last_line >= _LINE_SECONDS:
            self.note(plain_line(view))
