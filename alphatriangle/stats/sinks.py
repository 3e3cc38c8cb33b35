"""Where points go. Each sink knows the last step it was given for each name, also from before a
restart, and takes no step twice."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from alphatriangle.utils.mlflow_errors import mlflow_errors

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes points; ``last_steps`` is what it has."""

    last_steps: dict[str, int]

    def write(self, step: int, points: Mapping[str, float]) -> None:
        """Take points of a step that is new for each of them."""

    def flush(self) -> None:
        """Make everything taken so far durable."""

    def close(self) -> None:
        """Flush and let go."""


class TensorBoardSink:
    """Event files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.last_steps = _steps_in_event_files(folder)
        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, points: Mapping[str, float]) -> None:
        for name, value in points.items():
            self._writer.add_scalar(name, value, step)
            self.last_steps[name] = step

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _steps_in_event_files(folder: Path) -> dict[str, int]:
    """The highest step of each tag; the torn end of a killed writer's file is passed over."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps: dict[str, int] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                steps[value.tag] = max(steps.get(value.tag, -1), event.step)
    return steps


class MlflowSink:
    """Metrics of an MLflow run.

    Points that MLflow does not take are kept and offered again with the next ones; training does
    not stop for it.
    """

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri)
        self._run_id = run_id
        self._waiting: list[tuple[int, int, dict[str, float]]] = []
        names = self._client.get_run(run_id).data.metrics
        self.last_steps: dict[str, int] = {
            name: max(m.step for m in self._client.get_metric_history(run_id, name))
            for name in names
        }

    def write(self, step: int, points: Mapping[str, float]) -> None:
        finite = {name: value for name, value in points.items() if math.isfinite(value)}
        self._waiting.append((int(time.time() * 1000), step, finite))
        self.last_steps.update(dict.fromkeys(points, step))
        self.flush()

    def flush(self) -> None:
        from mlflow.entities import Metric

        try:
            while self._waiting:
                timestamp, step, points = self._waiting[0]
                self._client.log_batch(
                    self._run_id, [Metric(k, v, timestamp, step) for k, v in points.items()]
                )
                del self._waiting[0]
        except mlflow_errors() as e:
            logger.warning("MLflow took no metrics, %d kept: %s", len(self._waiting), e)

    def close(self) -> None:
        self.flush()
