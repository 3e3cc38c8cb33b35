"""Learning from batches of a replay: the convolutional kind.

self-play -> rows -> buffer -> batch -> trainer -> TD errors -> buffer
                                        trainer -> weights -> self-play
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from alphatriangle.config import Config
from alphatriangle.data.commits.capture import Stateful
from alphatriangle.data.errors import StateMismatchError
from alphatriangle.data.records import RunInfo
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.schemas import BufferData, LoadedTrainingState
from alphatriangle.features import rows_from_experiences
from alphatriangle.nn import ConvolutionalNetwork, WeightsMismatchError
from alphatriangle.rl import ExperienceBuffer, PlayResult, Trainer, schedule
from alphatriangle.training.cluster.ray_session import named_address
from alphatriangle.training.compiling import (
    WaitForKernels,
    compile_answers,
    compile_learner,
    compile_saves,
    compile_self_play,
)
from alphatriangle.training.courses import restore_pace, saved_course, what_begins
from alphatriangle.training.display.display import Display
from alphatriangle.training.learning.learner import Step
from alphatriangle.training.learning.settings import (
    PLAYING,
    make_network,
    same_settings,
    saved_games,
)
from alphatriangle.training.play.in_process import InProcessPlay
from alphatriangle.training.play.ray_play import RayPlay
from alphatriangle.training.play.source import PlaySource
from alphatriangle.utils.machine import core_count
from alphatriangle.utils.signals import StopRequest
from alphatriangle.utils.types import Rows

_LANES: Final = ("train.games_per_worker", "train.n_step_returns")
"""How self-play holds its games."""


class BatchLearner:
    """A step is one batch of the replay; self-play in this process or in Ray workers fills it."""

    def __init__(
        self,
        config: Config,
        info: RunInfo | None,
        changed: Container[str],
        ray_log: Path,
        *,
        profile: bool = False,
    ) -> None:
        """``changed`` are settings that are not those the run had; of the others, what was decided
        at its start is kept (``info``). ``profile``: whether a worker finds out where its time
        goes."""
        torch.set_num_threads(thread_count(config, info, changed))
        network = make_network(config, info, changed)
        assert isinstance(network, ConvolutionalNetwork)
        self.network = network
        self.trainer = make_trainer(config, info, self.network, changed)
        self.buffer = ExperienceBuffer(config.train)
        self.pace = schedule.pace(config.train)
        """Rows that must have been played before a step."""
        self._config = config
        self._workers = worker_count(config)
        self.exact = self._workers == 0
        self._ray_log = ray_log
        self._profile = profile
        self._play: PlaySource | None = None
        self._is_ending_a_step = False

    @property
    def play(self) -> PlaySource:
        """Where rows come from, once :meth:`get_ready` was called."""
        assert self._play is not None
        return self._play

    def load(self, state: LoadedTrainingState) -> int:
        """See :meth:`Learner.load`."""
        step = restore_learner(state, self.network, self.trainer, self.buffer)
        self.pace = restore_pace(state, self._config.train)
        return step

    def get_ready(self, display: Display, stop: StopRequest, wait: WaitForKernels) -> None:
        """See :meth:`Learner.get_ready`.

        Raises:
            WorkersFailedError: no Ray can be started or reached.
        """
        config = self._config
        # Ray starts while kernels are compiled; its workers need them when they play.
        self._play = self._start_play()
        with display.phase("compiling kernels"):
            compile_learner(config)
            compile_answers(config)
            compile_saves()
            wait(stop.check)
            if self.exact:
                compile_self_play(config)
        if not self.exact:
            with display.phase(starting_words(self._workers)):
                while not self._play.wait_until_ready(0.2):
                    stop.check()

    def _start_play(self) -> PlaySource:
        if self.exact:
            return InProcessPlay(self.network, self._config)
        address = named_address()
        if address is None:
            return RayPlay(
                self.network,
                self._config,
                self._workers,
                log=self._ray_log,
                profile=self._profile,
            )
        is_auto = self._config.train.num_workers < 0
        return RayPlay(
            self.network,
            self._config,
            None if is_auto else self._workers,
            address=address,
            reserve=cpus_of_training(self._config),
            log=self._ray_log,
            on_own_workers=self._leave_cores_to,
            profile=self._profile,
        )

    def _leave_cores_to(self, own_workers: int) -> None:
        """So many workers have come to this machine."""
        if not self._config.train.num_threads:
            torch.set_num_threads(threads_beside(own_workers))

    def go_on(self, state: LoadedTrainingState) -> None:
        """Games in flight begin again from their seeds when they would be played in another way.
        Under another seed the episodes are other games: then self-play begins with its first.

        Raises:
            StateMismatchError: the games in flight do not fit the configuration.
        """
        games = saved_games(state, self._config, "play")
        if games is None:
            return
        assert state.checkpoint_data is not None
        try:
            if not same_settings(state.checkpoint_data, self._config, *_LANES, *PLAYING):
                games = {**games, "games": None}
            self.play.load_state_dict(games)
        except (KeyError, ValueError) as e:
            raise StateMismatchError(f"the games in flight cannot go on: {e}") from e

    def begin(self) -> None:
        """See :meth:`Learner.begin`."""
        self.play.begin()

    def what_begins(self) -> list[str]:
        """Courses that begin with this start."""
        return what_begins(self._config.train, self.trainer, self.buffer)

    def recorded(self) -> dict[str, Any]:
        """Arithmetic and threads."""
        return {
            "inference_dtype": str(self.network.inference_dtype).removeprefix("torch."),
            "fused_inference": bool(self.network.fused),
            "training_dtype": str(self.trainer.dtype).removeprefix("torch."),
            "num_threads": torch.get_num_threads(),
        }

    def rows_wanted(self, step: int) -> int:
        """See :meth:`Learner.rows_wanted`; fewer than there are where self-play is ahead."""
        return int(self.pace.at(step + 1))

    def collect(self, step: int) -> list[PlayResult]:
        """See :meth:`Learner.collect`."""
        return self.play.collect(self.rows_wanted(step) - self.buffer.total_added)

    def step(self, step: int) -> Step:
        """One batch.

        Raises:
            TrainingDivergedError: see :meth:`Trainer.train_step`.
        """
        size, sampled = self._config.train.batch_size, self.buffer.batches_sampled
        try:
            batch = self.buffer.sample(size, step)
            begin = time.perf_counter()
            metrics, td_errors = self.trainer.train_step(batch)
        except BaseException:
            # The step that takes the place of this one has its batch.
            self.buffer.batches_sampled = sampled
            raise
        seconds = time.perf_counter() - begin
        self._is_ending_a_step = True
        self.buffer.update_priorities(batch.indices, td_errors)
        self.play.update_weights()
        self._is_ending_a_step = False
        metrics |= {
            "train/rows": float(size),
            "train/learner_seconds": seconds,
            "buffer/beta": self.buffer.beta.at(step + 1),
        }
        return Step(metrics, seconds, [])

    @property
    def workers(self) -> dict[str, Any] | None:
        """See :attr:`Learner.workers`."""
        return self.play.facts()

    @property
    def worker_profile(self) -> bytes | None:
        """See :attr:`Learner.worker_profile`."""
        return self._play.worker_profile if isinstance(self._play, RayPlay) else None

    @property
    def problem(self) -> str | None:
        """See :attr:`Learner.problem`."""
        return self.play.problem

    def take_wish_to_save(self) -> bool:
        """See :meth:`Learner.take_wish_to_save`."""
        return self.play.take_wish_to_save()

    @property
    def is_torn(self) -> bool:
        """See :meth:`Learner.is_torn`."""
        return self.trainer.is_stepping or self._is_ending_a_step

    @property
    def optimizer(self) -> Stateful:
        """See :meth:`Learner.optimizer`."""
        return self.trainer.optimizer

    @property
    def components(self) -> Mapping[str, Stateful]:
        """Courses, and the games in flight."""
        return {
            "scheduler": self.trainer.scheduler,
            "play": self.play,
            "beta": self.buffer.beta,
            "pace": self.pace,
        }

    def first_not_finite(self) -> str | None:
        """See :meth:`Learner.first_not_finite`."""
        return self.trainer.first_not_finite()

    def close(self, *, wait: bool = True) -> None:
        """See :meth:`Learner.close`."""
        if self._play is not None:
            self._play.close(wait=wait)


def worker_count(config: Config) -> int:
    """Self-play processes: as configured, or cores - 1 within the bounds configured. In a cluster
    that are not configured it is the cluster that decides."""
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


def starting_words(workers: int) -> str:
    """What starting self-play is called."""
    if (address := named_address()) is not None:
        return f"joining the Ray at {address}"
    return f"starting Ray with {workers} self-play worker(s)"


def make_trainer(
    config: Config,
    info: RunInfo | None,
    network: ConvolutionalNetwork,
    changed: Container[str] = (),
) -> Trainer:
    """The trainer. What ``auto`` was decided to mean is kept, unless the setting is ``changed``."""
    train = config.train
    kept = train.training_dtype == "auto" and "train.training_dtype" not in changed
    if info is not None and kept:
        train = train.model_copy(update={"training_dtype": info.training_dtype})
    return Trainer(network, train)


def restore_learner(
    state: LoadedTrainingState,
    network: ConvolutionalNetwork,
    trainer: Trainer,
    buffer: ExperienceBuffer,
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
            restore_buffer(state.buffer_data, buffer)
    except WeightsMismatchError as e:
        raise StateMismatchError(f"{source}: {e}") from e
    except (KeyError, ValueError) as e:
        raise StateMismatchError(f"{source} does not fit this configuration: {e}") from e
    return checkpoint.global_step if checkpoint is not None else 0


def restore_buffer(data: BufferData, buffer: ExperienceBuffer) -> None:
    """Put the saved rows into the buffer.

    Raises:
        ValueError: they do not fit.
    """
    items = data.buffer_list
    if isinstance(items, SegmentedRows):
        pieces = (Rows(**piece) for piece in items.pieces())
        buffer.load_state_dict(data.buffer_state(), pieces)
        return
    rows = rows_from_experiences(items)
    buffer.load_state_dict(data.buffer_state(), rows)
