"""``train``: from a plan to a finished run. Prepares, loads, trains, evaluates, reports."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

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
from alphatriangle.stats import StatsCollector
from alphatriangle.training import setup
from alphatriangle.training.compiling import WaitForKernels, compiling_beside
from alphatriangle.training.display.display import Display
from alphatriangle.training.judging.baselines import Baselines
from alphatriangle.training.judging.evaluation import PlayerScore, evaluate_agent
from alphatriangle.training.judging.gating import Gating
from alphatriangle.training.learning.learner import Learner
from alphatriangle.training.learning.settings import JUDGED, make_network, same_settings
from alphatriangle.training.loop import TrainingLoop
from alphatriangle.training.mlflow_description import describe_for_mlflow
from alphatriangle.training.players import Between
from alphatriangle.training.process import log_to, threads_put_back
from alphatriangle.training.profiling import keep, profiled
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


@dataclass(frozen=True)
class Watching:
    """How closely somebody wants to look at a training; nothing that it computes depends on it."""

    log_level: str = "info"
    """debug, info, warning or error: from there on what happens goes into ``logs/train.log``."""
    profile: bool = False
    """Whether to find out where the time of the training thread goes, and that of one of the
    workers where there are any; it takes some itself."""


def train(
    plan: RunPlan,
    display: Display,
    stop: StopRequest | None = None,
    watching: Watching = Watching(),
) -> TrainingOutcome:
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
            return _train(plan, display, stop, watching)
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


def _train(
    plan: RunPlan, display: Display, stop: StopRequest, watching: Watching
) -> TrainingOutcome:
    started = time.monotonic()
    keep_freed_memory()
    choose_device(plan.config.train.device)
    data = DataManager(plan.config.persistence, plan.config.train)
    with contextlib.ExitStack() as at_end:
        at_end.push(_closing(data))
        try:
            # Until training begins there is nothing to lose.
            with stop.at_once(), compiling_beside(plan.config) as wait_for_kernels:
                state = _load(plan, data, display)
                at_end.enter_context(log_to(data.paths.logs / "train.log", watching.log_level))
                loop = _prepare(
                    plan, data, state, display, stop, watching, at_end, wait_for_kernels
                )
            outcome = _train_and_report(plan, loop, display, stop, started, watching)
        except NotFiniteError as e:
            logger.error("%s", e)
            # Its last commit may be in the making.
            _close(data, "FAILED", str(e))
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

    def close(kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        is_stopped = kind is not None and issubclass(kind, StopRequested)
        status: MlflowStatus = "KILLED" if is_stopped else "FAILED"
        _close(data, status, None if is_stopped else _in_words(error), in_a_hurry=is_stopped)

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
    watching: Watching,
    at_end: contextlib.ExitStack,
    wait_for_kernels: WaitForKernels,
) -> TrainingLoop:
    config = plan.config
    learner = setup.make_learner(config, data, plan.changed, profile=watching.profile)
    at_end.callback(lambda: learner.close(wait=not stop))
    checkpoint = state.checkpoint_data
    step = learner.load(state)
    if (place := learner.first_not_finite()) is not None:
        raise TrainingDivergedError(f"what was saved of step {step}: {place} is not finite")
    failpoint("start.loaded")
    learner.get_ready(display, stop, wait_for_kernels)
    failpoint("start.warm")
    learner.go_on(state)
    progress = setup.restore_progress(checkpoint)
    for line in [*plan.changes, *learner.what_begins()]:
        display.note(line)
        logger.info("%s", line)
    learner.begin()
    # Everything fits: only now may the run say something else of itself than before.
    data.write_run_info(setup.describe_run(plan, data.run_info, learner))
    data.save_run_config(config.model_dump(mode="json"))
    failpoint("start.recorded")
    if config.persistence.mlflow:
        with display.phase("describing the run to MLflow"):
            data.start_mlflow(describe_for_mlflow(config, learner.network))
    stats = StatsCollector(setup.make_sinks(config, data))
    gating = Gating(config, learner.network, data, exact=learner.exact)
    if checkpoint is not None:
        stats.set_state(checkpoint.stats_state)
        if "gate" in checkpoint.components:
            gating.resume(
                checkpoint.components["gate"],
                same_games=same_settings(checkpoint, config, *JUDGED),
            )
    games = config.stats.evaluation_games
    begins = checkpoint is not None and (plan.is_new or step == 0)
    if games and begins and progress.evaluation_before is None:
        with display.phase(f"the agent before training plays {games} games") as say:
            between = _between(stop, say, games)
            before = evaluate_agent(learner.network, config, games, _BEFORE, between=between)
        progress.evaluation_before = before._asdict()
    baselines = Baselines(config)
    at_end.callback(baselines.close)
    baselines.begin()
    failpoint("start.prepared")
    parts = setup.Parts(config, learner, progress, gating, stats, data, baselines, step)
    loop = TrainingLoop(parts, plan.target_steps, display, stop)
    setup.begin_generators(checkpoint, config.train.seed)
    return loop


def _keep_worker_profile(folder: Path, learner: Learner, display: Display) -> None:
    if (content := learner.worker_profile) is not None:
        display.note("and of a self-play worker:")
        keep(folder / "worker.prof", content, display.note)


def _train_and_report(
    plan: RunPlan,
    loop: TrainingLoop,
    display: Display,
    stop: StopRequest,
    started: float,
    watching: Watching,
) -> TrainingOutcome:
    parts = loop.parts
    try:
        with contextlib.ExitStack() as watched:
            if watching.profile:
                folder = parts.data.paths.profile_data
                watched.callback(_keep_worker_profile, folder, parts.learner, display)
                watched.enter_context(profiled(folder / "loop.prof", display.note))
            with display.training():
                loop.run()
    finally:
        parts.gating.close()
        parts.learner.close(wait=not stop)
        parts.stats.close()
    complete = parts.global_step >= plan.target_steps
    scores: list[PlayerScore] = []
    games = plan.config.stats.evaluation_games
    if complete and games:
        with (
            contextlib.suppress(StopRequested),
            stop.at_once(),
            display.phase(f"the agent after training plays {games} games") as say,
        ):
            scores = _final_scores(parts, games, _between(stop, say, games))
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


def _between(stop: StopRequest, say: Callable[[str], None], games: int) -> Between:
    """Between moves: say how many games are over, unless somebody wants to stop."""

    def between(finished: int) -> None:
        stop.check()
        say(f"{finished} of {games} are over")

    return between


def _final_scores(parts: setup.Parts, games: int, between: Between) -> list[PlayerScore]:
    network = parts.learner.network
    network.refresh()
    config = parts.config
    scores = parts.baselines.finish(between)
    if (before := _score_before(parts, games, between)) is not None:
        scores.append(before)
    name = "agent after training"
    precision = config.stats.evaluation_precision
    scores.append(
        evaluate_agent(network, config, games, name, precision=precision, between=between)
    )
    return scores


def _score_before(parts: setup.Parts, games: int, between: Between) -> PlayerScore | None:
    """Of the agent that the run began with: its weights follow from the seed, unless it took over
    another run's; then they have played when it began."""
    config, info = parts.config, parts.data.run_info
    before = parts.progress.evaluation_before
    if before is not None and before["games"] == games:
        return PlayerScore(**before)
    if info is not None and info.started_from is not None:
        return None
    network = make_network(config, info)
    return evaluate_agent(network, config, games, _BEFORE, between=between)


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


def _in_words(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])


def _close(
    data: DataManager,
    status: MlflowStatus,
    error_message: str | None = None,
    *,
    in_a_hurry: bool = False,
    is_drained: bool = False,
) -> None:
    """Close; without effect when it is closed."""
    is_short = in_a_hurry or is_drained
    try:
        data.close(
            upload_seconds=_HURRY_SECONDS if in_a_hurry else 30.0,
            replica_seconds=_HURRY_SECONDS if is_short else _REPLICA_HURRY_SECONDS,
            mlflow_status=status,
            error_message=error_message,
        )
    except DataError as e:
        # Already shown and counted by the loop; closing must not hide what ended it.
        logger.error("%s", e)
