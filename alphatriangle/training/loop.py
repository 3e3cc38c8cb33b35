"""The training loop: the one place that knows everybody.

learner -> rows -> buffer              learner -> one step, again and again
everybody -> events -> stats           every save_freq_steps: everything -> DataManager
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from alphatriangle.data.errors import FencedError, SaveFailedError, StateNotFiniteError
from alphatriangle.data.storage.failpoints import failpoint
from alphatriangle.rl import PlayResult
from alphatriangle.search.search import evaluate
from alphatriangle.stats import Event
from alphatriangle.training.display.display import Display
from alphatriangle.training.display.view import Saved, View
from alphatriangle.training.setup import Parts
from alphatriangle.utils.errors import NotFiniteError
from alphatriangle.utils.machine import machine_line
from alphatriangle.utils.signals import StopRequest, StopRequested
from alphatriangle.utils.types import Episode

# Of what self-play says of itself: what it did, and the seconds that its parts took.
_COUNTED: Final = ("simulations", "deals", "moves")
_PARTS: Final = ("network", "features", "tree")
_LEARNING: Final = {
    "loss": "loss/total",
    "learning_rate": "train/learning_rate",
    "value_error": "train/value_error",
}
"""What the display shows of learning, and the metrics of that."""
_ASKED: Final = 64
"""Positions that the network is asked about before a save: the newest rows."""


class TrainingLoop:
    """Trains until the target step or until asked to stop; saves on the way and at the end."""

    def __init__(self, parts: Parts, target: int, display: Display, stop: StopRequest) -> None:
        self.parts = parts
        self.target = target
        self._display = display
        self._stop = stop
        self._unsaved_episodes: list[Episode] = []
        self._blocked_seconds = 0.0
        self._changed = False
        self._is_torn = False
        self._is_fenced = False
        self._play_problem: str | None = None
        self._speed = _Speed()
        self._machine = _every_second(lambda: machine_line(parts.data.paths.run))
        # A save that waits for the replica shows since when.
        parts.data.stop_waiting = lambda: not self._go_on()
        self.view = View(
            run_name=parts.data.run_name,
            step=parts.global_step,
            first_step=parts.global_step,
            target=target,
            buffer_capacity=parts.learner.buffer.capacity,
        )

    def run(self) -> None:
        """Train. Whatever ends it, what has been learned is saved first.

        Raises:
            NotFiniteError: a step, the network's answers or the state are not finite any more. What
                is there then is not worth a save: games may have stopped in the middle of a round.
        """
        try:
            self._train()
            self._finish()
        except NotFiniteError:
            raise
        except BaseException as e:
            self._save_before(e)
            raise

    def _train(self) -> None:
        p = self.parts
        if self._verdict_was_not_waited_for():
            self._save_and_propose()
        while p.global_step < self.target and not self._stop:
            if self._collect() > 0:
                continue
            self._train_step()
            if p.global_step % p.config.persistence.save_freq_steps == 0 and not self._at_target:
                self._save_and_propose()

    def _finish(self) -> None:
        self._finish_save()
        if self._changed:
            self._save(is_best=self._at_target and self._is_best_at_the_end())
            self._finish_save()
        if self._at_target:
            # No interval ends after the last save, whose own figures belong to the curves.
            self.parts.stats.write(self.parts.global_step)

    def _save_before(self, error: BaseException) -> None:
        """Training ends by ``error``: save what has been learned since the last commit."""
        if self._is_torn or self.parts.learner.is_torn:
            error.add_note("it came in the middle of a step: the last commit is what there is")
            return
        try:
            self._finish_save()
            if self._changed:
                self._save(is_best=False)
                self._finish_save()
        except Exception as e:  # noqa: BLE001  (what ends training is the error that came first)
            error.add_note(f"what was learned since the last commit could not be saved: {e}")
            return
        if not self._changed:
            self._display.note(f"step {self.parts.global_step} is saved; training ends by an error")

    @contextlib.contextmanager
    def _as_one(self) -> Iterator[None]:
        """What changes together: a state between is none that could be saved."""
        self._is_torn = True
        yield
        self._is_torn = False

    @property
    def _at_target(self) -> bool:
        return self.parts.global_step >= self.target

    def _verdict_was_not_waited_for(self) -> bool:
        """Whether this step was saved, but by a stop in the middle of :meth:`_save_and_propose`."""
        p, step = self.parts, self.parts.global_step
        is_saved = step > 0 and step % p.config.persistence.save_freq_steps == 0
        return is_saved and not self._at_target and p.gating.exact and p.gating.is_due(step)

    def _save_and_propose(self) -> None:
        """A regular save, whose checkpoint is a candidate for the best when one is due."""
        p = self.parts
        due = p.gating.is_due(p.global_step)
        if due and not p.gating.wait(self._go_on):
            return  # the end saves, the next start waits
        if due:
            self._log(p.gating.take_verdict(p.global_step))
            due = p.gating.gate.candidate_step is None
        if due:
            p.gating.propose(p.global_step)
        self._save(is_best=False)
        if due:
            p.gating.play()

    def _is_best_at_the_end(self) -> bool:
        if not self.parts.gating.is_on or self._stop:
            return False
        self._display.note("the last checkpoint plays for being the best ...")
        is_best, events = self.parts.gating.finish(self.parts.global_step, self._go_on)
        self._log(events)
        return is_best

    def _go_on(self) -> bool:
        self._show()
        return not self._stop

    def _log(self, events: list[Event]) -> None:
        self.parts.stats.log(events)

    def _rows_missing(self) -> int:
        """Rows that must still come before the next step; negative when self-play is ahead."""
        p = self.parts
        self.view.rows_wanted = wanted = p.learner.rows_wanted(p.global_step)
        return wanted - p.learner.buffer.total_added

    def _collect(self) -> int:
        """Take what self-play has; returns the rows still missing."""
        for result in self.parts.learner.collect(self.parts.global_step):
            with self._as_one():
                self._absorb(result)
            self._tell(result)
            failpoint("train.rows")
        self._show()
        if self.parts.learner.take_wish_to_save() and self._changed:
            self._save(is_best=False)
        # No step may come for long that would look.
        self._poll_save()
        return self._rows_missing()

    def _absorb(self, result: PlayResult) -> None:
        """Make what was played part of the state."""
        p = self.parts
        p.learner.buffer.add_rows(result.rows)
        p.progress.add(result.episodes, result.health["simulations"])
        kept = result.recorded
        self._unsaved_episodes += result.episodes if kept is None else kept
        self._changed = True

    def _tell(self, result: PlayResult) -> None:
        """What was played, to curves and display."""
        step, health = self.parts.global_step, result.health
        events = [Event(f"search/{name}", value, step) for name, value in health.items()]
        events += [Event("episode/score", e.score, step) for e in result.episodes]
        events += [Event("episode/placements", len(e.moves), step) for e in result.episodes]
        events += [Event("episode/games", float(len(result.episodes)), step)]
        events += [Event("search/rows", float(len(result.rows)), step)]
        self.parts.stats.log(events)
        for episode in result.episodes:
            self.view.add_point("score", episode.score)
        parts = {part: health[f"{part}_seconds"] for part in _PARTS if f"{part}_seconds" in health}
        done = {name: health[name] for name in _COUNTED if name in health}
        self._speed.add(episodes=len(result.episodes), **done, **parts)
        self.view.health = health

    def _train_step(self) -> None:
        p = self.parts
        try:
            done = p.learner.step(p.global_step)
        except StopRequested:
            return
        with self._as_one():
            for result in done.played:
                self._absorb(result)
            p.global_step += 1
            self._changed = True
        for result in done.played:
            self._tell(result)
            failpoint("train.rows")
        self._speed.add(learner=done.seconds)
        step = p.global_step
        metrics = {**done.metrics, "buffer/rows": float(len(p.learner.buffer))}
        if (workers := p.learner.workers) is not None:
            metrics["workers/running"] = float(workers.get("running", 0))
        p.stats.log([Event(name, value, step) for name, value in metrics.items()])
        if step % p.config.stats.log_freq_steps == 0:
            p.stats.write(step)
        for name, metric in _LEARNING.items():
            if metric in metrics:
                setattr(self.view, name, metrics[metric])
                self.view.add_point(name, metrics[metric])

    def _save(self, *, is_best: bool) -> None:
        """Capture now, write behind; a save that failed before is reported and not the end."""
        p = self.parts
        self._check_answers()
        started = time.perf_counter()
        self._finish_save()
        episodes, self._unsaved_episodes = self._unsaved_episodes, []
        scores = {"score": p.progress.score, "best_score": p.gating.gate.best_mean}
        try:
            p.data.save_training_state(
                p.learner.network,
                p.learner.optimizer,
                p.stats,
                p.learner.buffer,
                p.global_step,
                p.progress.episodes_played,
                p.progress.total_simulations,
                is_best,
                components={
                    **p.learner.components,
                    "progress": p.progress,
                    "gate": p.gating.gate,
                },
                episodes=episodes,
                metrics={name: score for name, score in scores.items() if score is not None},
            )
        except FencedError:
            # It is saved here, and the replica will never have it.
            self._changed = False
            if not self._is_fenced:
                self._is_fenced = True
                raise
        self._changed = False
        self.view.saving = p.global_step
        self._blocked_seconds = time.perf_counter() - started
        event = Event("persistence/blocked_seconds", self._blocked_seconds, p.global_step)
        p.stats.log([event])

    def _check_answers(self) -> None:
        """Finite weights may multiply to what is not: no start could go on from such a commit."""
        network, buffer = self.parts.learner.network, self.parts.learner.buffer
        end = buffer.total_added
        rows = buffer.rows(max(buffer.oldest, end - _ASKED), end)
        if len(rows) > 0:
            network.refresh()
            evaluate(network, rows.boards, rows.slots)

    def _poll_save(self) -> None:
        self._take_report(wait=False)

    def _finish_save(self) -> None:
        self._take_report(wait=True)

    def _take_report(self, *, wait: bool) -> None:
        data = self.parts.data
        if (
            data.replica is not None
            and (fenced := data.replica.fenced) is not None
            and not self._is_fenced
        ):
            # What has been learned is saved here by whoever catches this.
            self._is_fenced = True
            raise fenced
        try:
            report = data.flush() if wait else data.poll()
        except StateNotFiniteError:
            raise
        except SaveFailedError as e:
            self.view.saving = None
            self.view.problem = str(e)
            self._display.note(f"SAVE FAILED: {e}")
            self._changed = True
            return
        if report is not None:
            self.view.saving = None
            self.view.problem = None
            step = report.commit.global_step
            self.view.saved = Saved(
                step, report.bytes_written, self._blocked_seconds, report.seconds
            )
            self.parts.stats.log(
                [
                    Event("persistence/save_seconds", report.seconds, step),
                    Event("persistence/bytes_written", float(report.bytes_written), step),
                ],
            )

    def _show(self) -> None:
        p, view = self.parts, self.view
        view.step = p.global_step
        view.rows_total = p.learner.buffer.total_added
        view.buffer_rows = len(p.learner.buffer)
        view.episodes = p.progress.episodes_played
        view.score = p.progress.score
        view.score_games = len(p.progress.recent_scores)
        rates = self._speed.per_second()
        view.simulations_per_second = rates.pop("simulations", 0.0)
        view.placements_per_second = rates.pop("moves", 0.0)
        view.deals_per_second = rates.pop("deals", 0.0)
        view.episodes_per_second = rates.pop("episodes", 0.0)
        view.machine = self._machine()
        view.shares = rates
        view.uploads_waiting = p.data.uploads_waiting
        view.replica = None if p.data.replica is None else p.data.replica.status
        gate = p.gating.gate
        view.best_step, view.best_score = gate.best_step, gate.best_mean
        view.candidate_step = gate.candidate_step
        view.baselines = {score.player: score.mean for score in p.baselines.known()}
        view.workers = p.learner.workers
        if p.learner.problem != self._play_problem:
            if view.problem == self._play_problem:
                view.problem = None
            self._play_problem = p.learner.problem
        if view.problem is None:
            view.problem = self._play_problem
        if p.gating.problem and view.problem is None:
            view.problem = p.gating.problem
        if p.data.upload_error and view.problem is None:
            view.problem = f"MLflow: {p.data.upload_error}"
        self._display.update(view)


class _Speed:
    """Sums a second, by name, over the last half minute or so."""

    WINDOW_SECONDS = 15.0

    def __init__(self) -> None:
        self._windows = [(time.monotonic(), Counter[str]())]

    def add(self, **amounts: float) -> None:
        began, totals = self._windows[-1]
        totals.update(amounts)
        now = time.monotonic()
        if now - began > self.WINDOW_SECONDS:
            self._windows = [self._windows[-1], (now, Counter())]

    def per_second(self) -> dict[str, float]:
        elapsed = max(time.monotonic() - self._windows[0][0], 1e-9)
        names = {name for _, totals in self._windows for name in totals}
        return {n: sum(totals[n] for _, totals in self._windows) / elapsed for n in names}


def _every_second(find_out: Callable[[], str]) -> Callable[[], str]:
    """``find_out``, asked once a second and otherwise remembered: it costs a few system calls."""
    known, asked = "", -1.0

    def latest() -> str:
        nonlocal known, asked
        if time.monotonic() - asked >= 1.0:
            known, asked = find_out(), time.monotonic()
        return known

    return latest
