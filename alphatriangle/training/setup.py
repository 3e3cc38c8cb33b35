"""Builds the objects of a run."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alphatriangle.config import Config
from alphatriangle.data.data_manager import DataManager
from alphatriangle.data.errors import StateMismatchError
from alphatriangle.data.records import RunInfo
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.stats import StatsCollector
from alphatriangle.stats.sinks import Sink, TensorBoardSink
from alphatriangle.training.judging.baselines import Baselines
from alphatriangle.training.judging.gating import Gating
from alphatriangle.training.learning.batches import BatchLearner
from alphatriangle.training.learning.learner import Learner
from alphatriangle.training.learning.rounds import RoundLearner
from alphatriangle.training.progress import Progress
from alphatriangle.training.run_plan import RunPlan
from alphatriangle.utils.global_rng import seed_everything, set_rng_state


@dataclass
class Parts:
    """Everything the loop works with."""

    config: Config
    learner: Learner
    progress: Progress
    gating: Gating
    stats: StatsCollector
    data: DataManager
    baselines: Baselines
    """Players that do not learn, for comparison."""
    global_step: int = 0


def make_learner(
    config: Config, data: DataManager, changed: Container[str], *, profile: bool = False
) -> Learner:
    """Who learns, of the kind that the configuration names.

    ``changed`` are settings that are not those the run had. ``profile``: whether one of those who
    play elsewhere finds out where its time goes.
    """
    if config.model.kind == "ntuple":
        return RoundLearner(config, data.run_info, changed)
    log = data.paths.logs / "ray.log"
    return BatchLearner(config, data.run_info, changed, log, profile=profile)


def describe_run(plan: RunPlan, info: RunInfo | None, learner: Learner) -> RunInfo:
    """``run.json`` for what is about to be done."""
    fields: dict[str, Any] = {
        "run_name": plan.run_name,
        "preset": plan.preset,
        "target_steps": plan.target_steps,
        "steps_per_round": plan.steps_per_round,
        "started_from": plan.started_from,
        **learner.recorded(),
    }
    if info is not None:
        return RunInfo.model_validate(info.model_dump() | fields)
    return RunInfo(created_at=datetime.now(UTC).isoformat(timespec="seconds"), **fields)


def restore_progress(checkpoint: CheckpointData | None) -> Progress:
    """The counters of the run.

    Raises:
        StateMismatchError: they are none.
    """
    progress = Progress()
    if checkpoint is not None and "progress" in checkpoint.components:
        try:
            progress.load_state_dict(checkpoint.components["progress"])
        except (KeyError, ValueError) as e:
            raise StateMismatchError(f"the counters cannot go on: {e}") from e
    return progress


def begin_generators(checkpoint: CheckpointData | None, seed: int) -> None:
    """Let the global generators go on as saved, or seed them.

    The last thing before training: what was drawn until then, by whatever was looked at, imported
    or warmed up, is forgotten.
    """
    if checkpoint is not None and checkpoint.rng_state:
        set_rng_state(checkpoint.rng_state)
    else:
        seed_everything(seed)


def make_sinks(config: Config, data: DataManager) -> list[Sink]:
    """Where the curves go."""
    sinks: list[Sink] = []
    if config.stats.tensorboard:
        sinks.append(TensorBoardSink(data.paths.tensorboard))
    if data.mlflow_points is not None:
        sinks.append(data.mlflow_points)
    return sinks
