"""Builds the objects of a run and puts the loaded state into them."""

from __future__ import annotations

import logging
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from alphatriangle.config import Config
from alphatriangle.data.data_manager import DataManager
from alphatriangle.data.errors import StateMismatchError
from alphatriangle.data.records import RunInfo
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.schemas import BufferData, CheckpointData, LoadedTrainingState
from alphatriangle.features import rows_from_experiences
from alphatriangle.nn import NeuralNetwork, WeightsMismatchError
from alphatriangle.rl import ExperienceBuffer, Trainer, schedule
from alphatriangle.rl.schedule import Course
from alphatriangle.stats import StatsCollector
from alphatriangle.stats.sinks import Sink, TensorBoardSink
from alphatriangle.training.cluster.ray_session import named_address
from alphatriangle.training.courses import saved_course
from alphatriangle.training.judging.gating import Gating
from alphatriangle.training.play.in_process import InProcessPlay
from alphatriangle.training.play.ray_play import RayPlay
from alphatriangle.training.play.source import PlaySource
from alphatriangle.training.progress import Progress
from alphatriangle.training.run_plan import RunPlan
from alphatriangle.utils.global_rng import seed_everything, set_rng_state
from alphatriangle.utils.machine import core_count
from alphatriangle.utils.streams import STREAM_INIT, library_seed
from alphatriangle.utils.types import Rows

logger = logging.getLogger(__name__)


@dataclass
class Parts:
    """Everything the loop works with."""

    config: Config
    network: NeuralNetwork
    trainer: Trainer
    buffer: ExperienceBuffer
    play: PlaySource
    progress: Progress
    gating: Gating
    stats: StatsCollector
    data: DataManager
    pace: Course
    """Rows that must have been played before a step."""
    global_step: int = 0


def worker_count(config: Config) -> int:
    """Self-play processes: as configured, or cores - 1 within the bounds configured. In a cluster
    that are not configured it is the cluster that decides: see :func:`make_play`."""
    train = config.train
    if train.num_workers >= 0:
        return train.num_workers
    return min(max(core_count() - 1, train.min_workers), train.max_workers)


def thread_count(config: Config, info: RunInfo | None, changed: Container[str] = ()) -> int:
    """torch threads of the training process: as configured, as before, or the cores left over.

    In-process runs keep the number they began with, because it decides the order of sums, until
    something else is asked for: ``changed`` are settings that are not those of before. With workers
    in a cluster it begins with all cores and follows from those that come to this machine.
    """
    if config.train.num_threads:
        return config.train.num_threads
    workers = worker_count(config)
    asked_for = "train.num_threads" in changed or "train.num_workers" in changed
    if workers == 0:
        return info.num_threads if info and info.num_threads and not asked_for else core_count()
    return core_count() if named_address() else threads_beside(workers)


def threads_beside(workers: int) -> int:
    """Cores of this machine that so many workers leave, at least 1."""
    return max(core_count() - workers, 1)


def cpus_of_training(config: Config) -> int:
    """What the learner, and the gate's games where there are cores enough, need of a node."""
    gate = 1 if config.stats.gate_games and core_count() > 2 else 0
    return max(config.train.num_threads, 1) + gate


def make_network(
    config: Config, info: RunInfo | None, changed: Container[str] = ()
) -> NeuralNetwork:
    """The network. What ``auto`` was decided to mean is kept, unless the setting is ``changed``."""
    model = config.model
    asked_for = "model.inference_dtype" in changed or "model.fused_inference" in changed
    if info is not None and info.inference_dtype is not None and not asked_for:
        kept = {}
        if model.inference_dtype == "auto":
            kept["inference_dtype"] = info.inference_dtype
        if not info.fused_inference:
            kept["fused_inference"] = "off"
        model = model.model_copy(update=kept)
    return NeuralNetwork(
        model, config.train.device, seed=library_seed(config.train.seed, STREAM_INIT)
    )


def make_trainer(
    config: Config, info: RunInfo | None, network: NeuralNetwork, changed: Container[str] = ()
) -> Trainer:
    """The learner, likewise."""
    train = config.train
    kept = train.training_dtype == "auto" and "train.training_dtype" not in changed
    if info is not None and kept:
        train = train.model_copy(update={"training_dtype": info.training_dtype})
    return Trainer(network, train)


def describe_run(plan: RunPlan, info: RunInfo | None, trainer: Trainer) -> RunInfo:
    """``run.json`` for what is about to be done."""
    fields: dict[str, Any] = {
        "run_name": plan.run_name,
        "preset": plan.preset,
        "target_steps": plan.target_steps,
        "steps_per_round": plan.steps_per_round,
        "started_from": plan.started_from,
        "inference_dtype": str(trainer.network.inference_dtype).removeprefix("torch."),
        "fused_inference": bool(trainer.network.fused),
        "training_dtype": str(trainer.dtype).removeprefix("torch."),
        "num_threads": torch.get_num_threads(),
    }
    if info is not None:
        return RunInfo.model_validate(info.model_dump() | fields)
    return RunInfo(created_at=datetime.now(UTC).isoformat(timespec="seconds"), **fields)


def restore_learner(
    state: LoadedTrainingState, network: NeuralNetwork, trainer: Trainer, buffer: ExperienceBuffer
) -> int:
    """Put the loaded state into the learner; returns the training step it stands at.

    Raises:
        StateMismatchError: it does not fit; the message names what.
    """
    checkpoint = state.checkpoint_data
    source = state.source or "the saved state"
    try:
        if checkpoint is not None:
            network.set_weights(checkpoint.model_state_dict)
            trainer.load_state_dict(
                {
                    "optimizer": checkpoint.optimizer_state_dict,
                    "scheduler": saved_course(
                        checkpoint, "scheduler", trainer.config, schedule.learning_rate
                    ).state_dict(),
                    "steps": checkpoint.global_step,
                }
            )
            saved = saved_course(checkpoint, "beta", trainer.config, schedule.beta)
            buffer.beta = saved.followed(buffer.beta, checkpoint.global_step)
        if state.buffer_data is not None:
            _restore_buffer(state.buffer_data, buffer)
    except WeightsMismatchError as e:
        raise StateMismatchError(f"{source}: {e}") from e
    except (KeyError, ValueError) as e:
        raise StateMismatchError(f"{source} does not fit this configuration: {e}") from e
    return checkpoint.global_step if checkpoint is not None else 0


def _restore_buffer(data: BufferData, buffer: ExperienceBuffer) -> None:
    items = data.buffer_list
    if isinstance(items, SegmentedRows):
        pieces = (Rows(**piece) for piece in items.pieces())
        buffer.load_state_dict(data.buffer_state(), pieces)
        return
    rows = rows_from_experiences(items)
    buffer.load_state_dict(data.buffer_state(), rows)


def restore_play(
    checkpoint: CheckpointData, play: PlaySource, progress: Progress, config: Config
) -> None:
    """Put the loaded state into self-play and the counters.

    Games in flight begin again from their seeds when they would be played in another way. Under
    another seed the episodes are other games: then self-play begins with its first.

    Raises:
        StateMismatchError: the games in flight do not fit the configuration.
    """
    components = checkpoint.components
    try:
        if "play" in components and same_settings(checkpoint, config, "train.seed"):
            state = components["play"]
            if not same_settings(checkpoint, config, *_LANES, *PLAYING):
                state = {**state, "games": None}
            play.load_state_dict(state)
        if "progress" in components:
            progress.load_state_dict(components["progress"])
    except (KeyError, ValueError) as e:
        raise StateMismatchError(f"the games in flight cannot go on: {e}") from e


# What decides how a game goes, and how self-play holds it.
PLAYING: Final = ("search", "env")
_LANES: Final = ("train.games_per_worker", "train.n_step_returns")


def same_settings(checkpoint: CheckpointData, config: Config, *keys: str) -> bool:
    """Whether these sections, or fields of sections, are what they were at the checkpoint."""
    now = config.model_dump(mode="json")
    for key in keys:
        section, _, only = key.partition(".")
        then = checkpoint.config.get(section, {})
        for name in [only] if only else now[section]:
            if name in then and then[name] != now[section][name]:
                return False
    return True


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


def make_play(network: NeuralNetwork, config: Config, workers: int, log: Path) -> PlaySource:
    """Self-play in this process or in Ray workers, which begin to start: so many; in a cluster as
    many as are configured, or all that it has a CPU for.

    Raises:
        WorkersFailedError: no Ray can be started or reached.
    """
    if workers == 0:
        return InProcessPlay(network, config)
    address = named_address()
    if address is None:
        return RayPlay(network, config, workers, log=log)

    def follow(own_workers: int) -> None:
        if not config.train.num_threads:
            torch.set_num_threads(threads_beside(own_workers))

    return RayPlay(
        network,
        config,
        None if config.train.num_workers < 0 else workers,
        address=address,
        reserve=cpus_of_training(config),
        log=log,
        on_own_workers=follow,
    )


def starting_words(workers: int) -> str:
    """What starting self-play is called."""
    if (address := named_address()) is not None:
        return f"joining the Ray at {address}"
    return f"starting Ray with {workers} self-play worker(s)"
