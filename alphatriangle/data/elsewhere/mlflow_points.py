"""The curves on their way to MLflow: taken at once, handed over by another thread."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alphatriangle.data.elsewhere.mlflow_store import OpenRun
from alphatriangle.data.storage import fs

logger = logging.getLogger(__name__)

_PER_BATCH = 1000
"""Metrics that MLflow takes in one call."""


class Point(NamedTuple):
    """Values of one step, and when it was, in milliseconds since 1970."""

    time_ms: int
    step: int
    values: dict[str, float]


class MlflowPoints:
    """A sink of statistics (see ``stats.sinks.Sink``) that never waits for MLflow.

    What MLflow has not taken when a state is saved is kept in ``kept``, for the next process: with
    the steps since that save, which are trained again, every point arrives, and each once.
    """

    def __init__(self, kept: Path, notify: Callable[[], None] = lambda: None) -> None:
        self.notify = notify
        """Called when there is something to deliver."""
        self._kept = kept
        self._waiting = read_points(kept)
        self._kept_count = len(self._waiting)
        self._guard = threading.Lock()
        self._taken: dict[str, int] | None = None
        self.last_steps: dict[str, int] = {}
        for point in self._waiting:
            self.last_steps.update(dict.fromkeys(point.values, point.step))

    @property
    def waiting(self) -> int:
        """Steps whose points MLflow has not taken."""
        return len(self._waiting)

    def write(self, step: int, points: Mapping[str, float]) -> None:
        """Take points of a step; MLflow knows no NaN and no infinities."""
        finite = {name: value for name, value in points.items() if math.isfinite(value)}
        self.last_steps.update(dict.fromkeys(points, step))
        # Without the guard, which is held while the disk is waited for.
        self._waiting.append(Point(int(time.time() * 1000), step, finite))
        self.notify()

    def sync(self) -> None:
        """Keep what MLflow has not taken; a disk that fails is no reason to stop."""
        with self._guard:
            new = self._waiting[self._kept_count :]
            if not new:
                return
            try:
                fs.append_line(self._kept, "\n".join(json.dumps(point) for point in new))
                self._kept_count += len(new)
            except OSError as e:
                logger.warning("points for MLflow are kept in memory only: %s", e)

    def close(self) -> None:
        """Sync."""
        self.sync()

    def forget_what_was_taken(self) -> None:
        """Ask MLflow again before the next delivery: an answer was lost, or it is another run."""
        self._taken = None

    def deliver(self, run: OpenRun) -> None:
        """Hand over all that waits, without what the MLflow run has already.

        Raises:
            Exception: one of ``mlflow_errors``; what was not taken waits.
        """
        from mlflow.entities import Metric

        while self._waiting:
            if self._taken is None:
                self._taken = _last_steps(run)
            taken, count = dict(self._taken), 0
            batch: list[Metric] = []
            for point in self._waiting[:]:
                if count and len(batch) + len(point.values) > _PER_BATCH:
                    break
                count += 1
                for name, value in point.values.items():
                    if taken.get(name, -1) < point.step:
                        batch.append(Metric(name, value, point.time_ms, point.step))
                        taken[name] = point.step
            if batch:
                self._taken = None
                run.client.log_batch(run.run_id, batch)
                run.check_database()
                self._taken = taken
            self._drop(count)

    def _drop(self, count: int) -> None:
        with self._guard:
            del self._waiting[:count]
            self._kept_count = max(self._kept_count - count, 0)
            if not self._waiting:
                fs.remove(self._kept)


def _last_steps(run: OpenRun) -> dict[str, int]:
    names = run.client.get_run(run.run_id).data.metrics
    return {
        name: max(m.step for m in run.client.get_metric_history(run.run_id, name)) for name in names
    }


def read_points(kept: Path) -> list[Point]:
    """What an earlier process has kept; a torn line is passed over."""
    points: list[Point] = []
    try:
        lines = kept.read_bytes().splitlines()
    except FileNotFoundError:
        return points
    except OSError as e:
        logger.warning("points for MLflow cannot be read: %s", e)
        return points
    for line in lines:
        try:
            entry: Any = json.loads(line)
            time_ms, step, values = entry
            points.append(Point(int(time_ms), int(step), {k: float(v) for k, v in values.items()}))
        except (ValueError, TypeError, AttributeError):
            continue
    return points
