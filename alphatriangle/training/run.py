"""``train``: from a plan to a finished run. Prepares, loads, trains, evaluates, reports."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import torch

from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.data_manager import DataManager
from alphatriangle.data.elsewhere.mlflow_log import MlflowStatus
from alphatriangle.data.errors import (
    CheckpointNotFoundError,
    DataError,
    RunExistsError,
    RunLockedError,
)
from alphatriangle.data.replica.replicator import ReplicaStatus
from alphatriangle.data.runs.fork import fork_newest
from alphatriangle.data.schemas import LoadedTrainingState
from alphatriangle.data.serializer import Serializer
from alphatriangle.data.storage.failpoints import failpoint
from alphatriangle.rl import ExperienceBuffer
from alphatriangle.stats import StatsCollector
from alphatriangle.training import setup
from alphatriangle.training.compiling import (
    WaitForKernels,
    compile_answers,
    compile_learner,
    compile_self_play,
    compiling_beside,
)
from alphatriangle.training.courses import restore_pace, what_begins
from alphatriangle.training.display.display import Display
from alphatriangle.training.judging.evaluation import (
    BASELINES,
    PlayerScore,
    evaluate_agent,
    evaluate_baseline,
)
from alphatriangle.training.judging.gating import Gating
from alphatriangle.training.loop import TrainingLoop
from alphatriangle.training.mlflow_description import describe_for_mlflow
from alphatriangle.training.process import log_to, threads_put_back
from alphatriangle.training.progress import Progress
from alphatriangle.training.run_plan import RunPlan
from alphatriangle.training.way_back import way_back
from alphatriangle.utils.device import choose_device
from alphatriangle.utils.environment import keep_freed_memory
from alphatriangle.utils.errors import NotFiniteError, TrainingDivergedError
from alphatriangle.utils.global_rng import undisturbed
from alphatriangle.utils.signals import StopRequest, StopRequested, stop_on_signals

logger = logging.getLogger(__name__)

_HURRY_SECONDS: Final = 0.5
"""For MLflow, when somebody wants to stop: the next start gives it the rest."""
_REPLICA_SECONDS: Final = 60.0
_REPLICA_HURRY_SECONDS: Final = 20.0
"""The machine may be gone when somebody stops it: what is not in the replica then is lost."""
_BEFORE: Final = "agent before training"


@dataclass
class TrainingOutcome:
    """How a ``train`` ended."""

    run_name: str
    complete: bool
    stopped_by: str | None
    global_step: int
    target_steps: int
    seconds: float
    save_failed: bool
    uploads_waiting: int
    scores: list[PlayerScore] = field(default_factory=list)
    state_digest: str | None = None
    replica: ReplicaStatus | None = None
    """How the copy elsewhere was at the end; None without one."""

    @classmethod
    def nothing_to_do(cls, plan: RunPlan) -> TrainingOutcome:
        """The run already has the steps that were asked for."""
        return cls(
            run_name=plan.run_name,
            complete=True,
            stopped_by=None,
            global_step=plan.steps_done,
            target_steps=plan.target_steps,
            seconds=0.0,
            save_failed=False,
            uploads_waiting=0,
        )

    @classmethod
    def stopped_before_training(cls, plan: RunPlan, stop: StopRequest) -> TrainingOutcome:
        """Somebody stopped it while it was getting ready; the run is as it was."""
        return cls(
            run_name=plan.run_name,
            complete=False,
            stopped_by=stop.stopped_by,
            global_step=0 if plan.is_new else plan.steps_done,
            target_steps=plan.target_steps,
            seconds=0.0,
            save_failed=False,
            uploads_waiting=0,
        )

    @property
    def is_fenced(self) -> bool:
        """Whether another writer has taken over the replica: what is saved is saved here alone."""
        return self.replica is not None and self.replica.health == "fenced"

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "scores": [score.summary() for score in self.scores]}


def train(plan: RunPlan, display: Display, stop: StopRequest | None = None) -> TrainingOutcome:
    """Carry out a plan, also one that finds nothing left to do.

    ``stop`` where the caller listens for signals already; without it they are listened for here.

    Raises:
        DataError: the run cannot be loaded, locked or written to.
        TrainingDivergedError: what training computes is not finite any more; the message has the
            command that goes back to a commit that is.
        WorkersFailedError: self-play workers cannot be kept alive.
        DeviceNotAvailableError: the device asked for is not there; nothing has been written.
    """
    with contextlib.ExitStack() as around:
        if stop is None:
            stop = around.enter_context(stop_on_signals())
        around.enter_context(threads_put_back())
        around.enter_context(undisturbed())
        if plan.nothing_to_do:
            return _hand_over(plan, display, stop)
        try:
            return _train(plan, display, stop)
        except StopRequested:
            return TrainingOutcome.stopped_before_training(plan, stop)


def _hand_over(plan: RunPlan, display: Display, stop: StopRequest) -> TrainingOutcome:
    """There is nothing left to train; MLflow and the replica may lack what a process that was
    killed has left."""
    outcome = TrainingOutcome.nothing_to_do(plan)
    data = DataManager(plan.config.persistence, plan.config.train)
    if data.uploads_missing or data.replica_lacks_newest:
        # Whoever has the run hands over.
        with contextlib.suppress(RunLockedError):
            data.load_initial_state()
            data.start_mlflow()
            _finish_uploads(data, outcome, display, stop)
        outcome.uploads_waiting = data.uploads_left
        outcome.replica = data.replica_left
    return outcome


def _train(plan: RunPlan, display: Display, stop: StopRequest) -> TrainingOutcome:
    started = time.monotonic()
    keep_freed_memory()
    choose_device(plan.config.train.device)
    data = DataManager(plan.config.persistence, plan.config.train)
    with contextlib.ExitStack() as at_end:
        at_end.push(_closing(data))
        try:
            # Until training begins there is nothing to lose.
            with stop.at_once(), compiling_beside() as wait_for_kernels:
                state = _load(plan, data, display)
                loop = _prepare(plan, data, state, display, stop, at_end, wait_for_kernels)
            outcome = _train_and_report(plan, loop, display, stop, started)
        except NotFiniteError as e:
            # Its last commit may be in the making.
            _close(data, "FAILED")
            advice = way_back(plan.config, plan.run_name, plan.steps_done)
            raise TrainingDivergedError(f"{e}; {advice}") from e
        _finish_uploads(data, outcome, display, stop)
    outcome.uploads_waiting = data.uploads_left
    outcome.replica = data.replica_left
    outcome.save_failed = data.last_save_failed
    if not outcome.save_failed:
        outcome.state_digest = _newest_digest(plan)
    return outcome


def _load(plan: RunPlan, data: DataManager, display: Display) -> LoadedTrainingState:
    persistence = plan.config.persistence
    if plan.fork_of is not None:
        with display.phase(f"sharing the files of run {plan.fork_of!r}"):
            serializer = Serializer(persistence.allowed_globals)
            fork_newest(persistence, plan.fork_of, plan.run_name, serializer)
    with display.phase("loading the run"):
        state = data.load_initial_state()
    if plan.is_new and plan.fork_of is None and state.commit is not None:
        raise RunExistsError(
            f"run {plan.run_name!r} was begun by another process meanwhile; start again to "
            "go on with it, or choose another --run-name"
        )
    for rejected in state.rejected:
        display.note(f"passed over a damaged commit: {rejected.reason}")
    for recording in state.damaged_recordings:
        display.note(f"recorded games are lost, nothing else: {recording.reason}")
    if not data.syncs_folders:
        display.note(
            f"the file system of {data.paths.root} does not sync folders: a power cut may take the "
            "newest commits, a killed process does not"
        )
    return state


def _closing(data: DataManager) -> Callable[..., None]:
    """The last to be called, whatever ends training."""

    def close(kind: type[BaseException] | None, *_: object) -> None:
        is_stopped = kind is not None and issubclass(kind, StopRequested)
        _close(data, "KILLED" if is_stopped else "FAILED", in_a_hurry=is_stopped)

    return close


def _newest_digest(plan: RunPlan) -> str | None:
    """Of the newest commit; None where nothing was ever committed."""
    persistence = plan.config.persistence
    try:
        latest = load_for_reading(persistence, plan.run_name)
    except CheckpointNotFoundError:
        return None
    assert latest.checkpoint_data is not None
    return state_digest(latest.checkpoint_data, latest.buffer_data)


def _prepare(
    plan: RunPlan,
    data: DataManager,
    state: LoadedTrainingState,
    display: Display,
    stop: StopRequest,
    at_end: contextlib.ExitStack,
    wait_for_kernels: WaitForKernels,
) -> TrainingLoop:
    config = plan.config
    at_end.enter_context(log_to(data.paths.logs / "train.log"))
    torch.set_num_threads(setup.thread_count(config, data.run_info, plan.changed))
    network = setup.make_network(config, data.run_info, plan.changed)
    trainer = setup.make_trainer(config, data.run_info, network, plan.changed)
    buffer = ExperienceBuffer(config.train)
    step = setup.restore_learner(state, network, trainer, buffer)
    if (place := trainer.first_not_finite()) is not None:
        raise TrainingDivergedError(f"what was saved of step {step}: {place} is not finite")
    failpoint("start.loaded")
    workers = setup.worker_count(config)
    # Ray starts while kernels are compiled; its workers need them when they play.
    play = setup.make_play(network, config, workers, data.paths.logs / "ray.log")
    at_end.callback(lambda: play.close(wait=not stop))
    with display.phase("compiling kernels"):
        compile_learner(config)
        compile_answers(config)
        wait_for_kernels(stop.check)
        if workers == 0:
            compile_self_play(config)
    failpoint("start.warm")
    if workers > 0:
        with display.phase(setup.starting_words(workers)):
            while not play.wait_until_ready(0.2):
                stop.check()
    progress = Progress()
    if state.checkpoint_data is not None:
        setup.restore_play(state.checkpoint_data, play, progress, config)
    for line in [*plan.changes, *what_begins(config.train, trainer, buffer)]:
        display.note(line)
        logger.info("%s", line)
    play.begin()
    # Everything fits: only now may the run say something else of itself than before.
    data.write_run_info(setup.describe_run(plan, data.run_info, trainer))
    data.save_run_config(config.model_dump(mode="json"))
    failpoint("start.recorded")
    if config.persistence.mlflow:
        with display.phase("describing the run to MLflow"):
            data.start_mlflow(describe_for_mlflow(config, network.device.type))
    stats = StatsCollector(setup.make_sinks(config, data))
    if state.checkpoint_data is not None:
        stats.set_state(state.checkpoint_data.stats_state)
    gating = Gating(config, network, data, exact=workers == 0)
    if state.checkpoint_data is not None and "gate" in state.checkpoint_data.components:
        gating.resume(
            state.checkpoint_data.components["gate"],
            same_games=setup.same_settings(state.checkpoint_data, config, *setup.PLAYING),
        )
    pace = restore_pace(state, config.train)
    parts = setup.Parts(
        config, network, trainer, buffer, play, progress, gating, stats, data, pace, step
    )
    games = config.stats.evaluation_games
    begins = state.checkpoint_data is not None and (plan.is_new or step == 0)
    if games and begins and progress.evaluation_before is None:
        with display.phase(f"the agent before training plays {games} games"):
            before = evaluate_agent(network, config, games, _BEFORE, between=stop.check)
        progress.evaluation_before = before._asdict()
    failpoint("start.prepared")
    loop = TrainingLoop(parts, plan.target_steps, display, stop)
    setup.begin_generators(state.checkpoint_data, config.train.seed)
    return loop


def _train_and_report(
    plan: RunPlan, loop: TrainingLoop, display: Display, stop: StopRequest, started: float
) -> TrainingOutcome:
    parts = loop.parts
    try:
        with display.training():
            loop.run()
    finally:
        parts.gating.close()
        parts.play.close(wait=not stop)
        parts.stats.close()
    complete = parts.global_step >= plan.target_steps
    scores: list[PlayerScore] = []
    games = plan.config.stats.evaluation_games
    if complete and games:
        with (
            contextlib.suppress(StopRequested),
            stop.at_once(),
            display.phase(f"the agent after training plays {games} games"),
        ):
            scores = _final_scores(parts, games, stop)
    return TrainingOutcome(
        run_name=plan.run_name,
        complete=complete,
        stopped_by=stop.stopped_by,
        global_step=parts.global_step,
        target_steps=plan.target_steps,
        seconds=time.monotonic() - started,
        save_failed=parts.data.last_save_failed,
        uploads_waiting=0,
        scores=scores,
    )


def _final_scores(parts: setup.Parts, games: int, stop: StopRequest) -> list[PlayerScore]:
    parts.network.refresh()
    config = parts.config
    scores = [evaluate_baseline(player, config, games, stop.check) for player in BASELINES]
    if (before := _score_before(parts, games, stop)) is not None:
        scores.append(before)
    name = "agent after training"
    scores.append(evaluate_agent(parts.network, config, games, name, between=stop.check))
    return scores


def _score_before(parts: setup.Parts, games: int, stop: StopRequest) -> PlayerScore | None:
    """Of the agent that the run began with: its weights follow from the seed, unless it took over
    another run's; then they have played when it began."""
    config, info = parts.config, parts.data.run_info
    before = parts.progress.evaluation_before
    if before is not None and before["games"] == games:
        return PlayerScore(**before)
    if info is not None and info.started_from is not None:
        return None
    network = setup.make_network(config, info)
    return evaluate_agent(network, config, games, _BEFORE, between=stop.check)


def _finish_uploads(
    data: DataManager, outcome: TrainingOutcome, display: Display, stop: StopRequest
) -> None:
    """Give the replica and MLflow what is left, for a while; who wants to stop waits for the
    replica alone, and not for long."""
    status: MlflowStatus = "FINISHED" if outcome.complete else "KILLED"
    if data.replica is not None:
        with display.phase("finishing the replica"):
            if not stop:
                data.replica.drain(_REPLICA_SECONDS, lambda: bool(stop))
            if stop:
                data.replica.drain(_REPLICA_HURRY_SECONDS)
    if data.persist_config.mlflow:
        with (
            contextlib.suppress(StopRequested),
            stop.at_once(),
            display.phase("finishing uploads to MLflow"),
        ):
            _close(data, status, is_drained=True)
    _close(data, status, in_a_hurry=bool(stop), is_drained=True)


def _close(
    data: DataManager, status: MlflowStatus, *, in_a_hurry: bool = False, is_drained: bool = False
) -> None:
    """Close; without effect when it is closed."""
    is_short = in_a_hurry or is_drained
    try:
        data.close(
            upload_seconds=_HURRY_SECONDS if in_a_hurry else 30.0,
            replica_seconds=_HURRY_SECONDS if is_short else _REPLICA_HURRY_SECONDS,
            mlflow_status=status,
        )
    except DataError as e:
        # Already shown and counted by the loop; closing must not hide what ended it.
        logger.error("%s", e)
