"""``DataManager``: the one place through which training state is saved and loaded."""

from __future__ import annotations

import atexit
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alphatriangle.config import PersistenceConfig, TrainConfig
from alphatriangle.data.commits.capture import (
    Capture,
    Stateful,
    capture_replay,
    stats_state,
)
from alphatriangle.data.commits.files import best_commit, commit_names, has_begun, of_step, without
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.loading import load_explicit, load_start
from alphatriangle.data.commits.staging import Staging
from alphatriangle.data.commits.writer import CommitWriter, SaveReport
from alphatriangle.data.elsewhere.mlflow_log import MlflowLog, MlflowStatus
from alphatriangle.data.elsewhere.mlflow_points import MlflowPoints
from alphatriangle.data.elsewhere.mlflow_store import RunDescription, choose_store
from alphatriangle.data.elsewhere.mlflow_uploads import missing_files
from alphatriangle.data.errors import (
    RunExistsError,
    SaveFailedError,
)
from alphatriangle.data.path_manager import PathManager, new_run_name
from alphatriangle.data.records import RunInfo
from alphatriangle.data.replay.segments import RowsKind
from alphatriangle.data.replay.source import ReplaySource
from alphatriangle.data.replica.opening import bring_here, remembered, start_replicating
from alphatriangle.data.replica.replicator import ReplicaStatus, Replicator
from alphatriangle.data.runs.fork import fork_newest
from alphatriangle.data.runs.summary import (
    latest_run,
    read_run_info,
    run_to_continue,
    summarize_runs,
)
from alphatriangle.data.schemas import LoadedTrainingState
from alphatriangle.data.serializer import Serializer
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.failpoints import failpoint
from alphatriangle.data.storage.lock import RunLock
from alphatriangle.utils.global_rng import rng_state
from alphatriangle.utils.types import Episode

logger = logging.getLogger(__name__)

_AT_EXIT_SECONDS = 10.0
"""For what the replica and MLflow lack when a program ends that has not closed its manager."""
_A_LOOK_SECONDS = 0.5
"""How often a save that waits for the replica looks whether it still should."""


class DataManager:
    """Saves and loads the training state of one run.

    Example::

        manager = DataManager(persistence_config, train_config)
        state = manager.load_initial_state()  # empty for a fresh start
        ...
        manager.save_training_state(network, optimizer, stats, buffer, step, episodes, simulations)
        manager.close()

    Saves are captured on the caller's thread and written behind it, one at a time; what went wrong
    is raised by the next call.
    """

    def __init__(self, persist_config: PersistenceConfig, train_config: TrainConfig) -> None:
        self.persist_config = persist_config
        self.train_config = train_config
        self.serializer = Serializer(persist_config.allowed_globals)
        self.paths = PathManager(persist_config, train_config.run_name or self._choose_run())
        self.commits = KnownCommits(self.paths)
        """The run's commits, as this process knows them."""
        self.run_info: RunInfo | None = None
        self.config: dict[str, Any] = {}
        self._lock = RunLock(self.paths.run)
        self._writer: CommitWriter | None = None
        self._staging = Staging()
        self._mlflow: MlflowLog | None = None
        self.replica: Replicator | None = None
        """Copies the run's commits elsewhere, once it is taken; see ``persistence.replica``."""
        self.stop_waiting: Callable[[], bool] = lambda: False
        """With ``persistence.replica_sync``: whether a save gives up waiting for the replica."""
        self._unsaved_episodes: list[Episode] = []
        self._episodes_in_flight = 0
        self._last_report: SaveReport | None = None
        self._unreported: SaveReport | SaveFailedError | None = None
        """How the save ended that was waited for: the next call says it, as of any other."""
        self._best_sequence: int | None = None
        self.held: set[int] = set()
        """Steps whose commits retention must leave alone while this is open."""
        self.last_save_failed = False
        self.uploads_left = 0
        """Files that MLflow had not been given when the manager was closed."""
        self.replica_left: ReplicaStatus | None = None
        """How the replica was when the manager was closed."""

    def _choose_run(self) -> str:
        """Without a name: the latest unfinished run where that is asked for, or a new one."""
        if self.train_config.auto_resume_latest and not self._explicit_paths():
            found = run_to_continue(summarize_runs(self.persist_config))
            if found is not None:
                return found.name
        return new_run_name(self.persist_config, "run")

    def _explicit_paths(self) -> list[str]:
        train = self.train_config
        return [p for p in (train.load_checkpoint_path, train.load_buffer_path) if p is not None]

    @property
    def run_name(self) -> str:
        """The run that is written to."""
        return self.paths.run_name

    @property
    def syncs_folders(self) -> bool:
        """Whether the run's file system makes names durable when asked to, as far as is known."""
        return disk.syncs_folders(self.paths.run)

    @property
    def mlflow_run_id(self) -> str | None:
        """The MLflow run, once it is open."""
        return self._mlflow.run_id if self._mlflow else None

    @property
    def mlflow_points(self) -> MlflowPoints | None:
        """The sink that takes the run's curves to MLflow, once :meth:`start_mlflow` was called."""
        return self._mlflow.points if self._mlflow else None

    @property
    def uploads_waiting(self) -> int:
        """Committed files that MLflow has not been given yet."""
        return self._mlflow.waiting if self._mlflow else 0

    @property
    def uploads_missing(self) -> int:
        """The same, found out on disk: also before MLflow is opened."""
        return missing_files(self.paths, self.commits.look()) if self.persist_config.mlflow else 0

    @property
    def replica_lacks_newest(self) -> bool:
        """Whether the newest commit here was not acknowledged, as far as this folder remembers.

        Raises:
            StoreAddressError: the address of the replica is none.
        """
        known = self.commits.look().commits
        if self.persist_config.replica is None or not known:
            return False
        done = remembered(self.persist_config.replica, self.paths).acknowledged
        return done is None or done.sequence < known[0].commit.sequence

    @property
    def upload_error(self) -> str | None:
        """Why MLflow cannot be used, while it cannot."""
        return self._mlflow.last_error if self._mlflow else None

    @property
    def captured_bytes(self) -> int:
        """Size of the last capture in memory."""
        return self._staging.nbytes

    @property
    def last_report(self) -> SaveReport | None:
        """The last save that became a commit in this process."""
        return self._last_report

    def get_checkpoint_path(
        self, step: int | None = None, *, is_latest: bool = False, is_best: bool = False
    ) -> Path:
        """Where the checkpoint of a step is, or the link to the best; else that to the latest.

        Raises:
            ValueError: more than one of the three is asked for.
        """
        if (step is not None) + is_latest + is_best > 1:
            raise ValueError("give a step, or is_latest=True, or is_best=True, or none of them")
        if step is not None:
            return self.paths.checkpoint(step)
        return self.paths.best_checkpoint if is_best else self.paths.latest_checkpoint

    def get_buffer_path(self, step: int | None = None) -> Path:
        """Where the buffer of a step is; without a step, the link to the newest."""
        return self.paths.latest_buffer if step is None else self.paths.buffer(step)

    def load_initial_state(self) -> LoadedTrainingState:
        """Take the run for writing and load what training starts from.

        In this order: an explicit checkpoint or buffer path; the newest sound commit of the run;
        where it has none here, that of its replica, if one is configured and has it; for a run
        that is new, and only with ``auto_resume_latest``, the newest sound commit of the
        latest other run, whose files the new one shares; nothing, for a fresh start. So a run name
        begins where it is new and goes on where it is not. From now on this process is the run's
        one writer.

        Raises:
            RunLockedError: another process writes to the run.
            NoSoundCommitError: the run has commits and all are damaged.
            ReplicaUnavailableError: the run has no commits here, and whether its replica has any
                cannot be found out.
            FencedError: the replica is written to by somebody else, or has another history.
            RunExistsError: an explicit path is given and the run has commits of its own.
            DataError: an explicit path is missing or damaged.
        """
        # What was asked for by path is read first: if it cannot be, no run has been begun.
        explicit = load_explicit(self.persist_config, self.train_config, self.serializer)
        restored = None
        if explicit is None:
            restored = bring_here(self.persist_config, self.paths)
        if explicit is None and self.train_config.auto_resume_latest:
            self._fork_latest()
        self.paths.make_folders()
        self._lock.acquire()
        try:
            state = self._load(explicit)
            if restored is not None:
                state.rejected += restored.rejected
                state.damaged_recordings += restored.damaged
            self.replica = start_replicating(self.persist_config, self.commits)
            if self.replica is not None:
                atexit.register(self._close_at_exit)
            return state
        except BaseException:
            self._lock.release()
            raise

    def _fork_latest(self) -> None:
        """Let a run that is new begin as the latest other one, if there is any."""
        if has_begun(self.paths):
            return
        other = latest_run(self.persist_config)
        if other is not None:
            fork_newest(self.persist_config, other.name, self.run_name, self.serializer)

    def _load(self, explicit: LoadedTrainingState | None) -> LoadedTrainingState:
        self.run_info = read_run_info(self.paths)
        there = commit_names(self.paths)
        if there and explicit:
            raise RunExistsError(
                f"run {self.run_name!r} has {len(there)} commits and cannot start from "
                f"{explicit.source}; choose another run name, or leave the path away to go on"
            )
        state = explicit or LoadedTrainingState()
        if there:
            state = load_start(self.paths, self.commits, there, self.serializer)
        self._writer = CommitWriter(
            self.commits, self.persist_config, self.serializer, self._tell_replica
        )
        if state.commit is not None:
            buffer = state.buffer_data
            kind = RowsKind(buffer.codec, buffer.schema_of_rows) if buffer else None
            commit = without(state.commit, state.damaged_recordings)
            self._writer.continue_from(commit, buffer.lineage if buffer else None, kind)
            self._best_sequence = self._best_until(state)
        return state

    def _best_until(self, state: LoadedTrainingState) -> int | None:
        """Which commit was the best when training was where it goes on now, if one says so.

        Where none was passed over, commits that only say it of themselves still say it tomorrow.
        """
        assert state.commit is not None
        newest = state.commit.sequence
        if state.commit.best_sequence is not None or not state.rejected:
            return state.commit.best_sequence
        best = best_commit([s for s in self.commits.look().commits if s.commit.sequence <= newest])
        return best.commit.sequence if best else None

    def write_run_info(self, info: RunInfo) -> None:
        """Record what the run is.

        Raises:
            SaveFailedError: it cannot be written.
        """
        info = info.model_copy(update={"syncs_folders": self.syncs_folders})
        try:
            fs.write_bytes(self.paths.run_info, info.model_dump_json(indent=2).encode() + b"\n")
        except OSError as e:
            raise SaveFailedError(f"cannot write {self.paths.run_info}: {e.strerror}") from e
        self.run_info = info

    def start_mlflow(self, description: RunDescription | None = None) -> None:
        """Begin to log to MLflow, in the background, if ``persist_config.mlflow`` says so.

        The saves do it by themselves; this is for saying more of the run. It goes to the run that
        is active in MLflow on the calling thread; else to the server that the configuration or
        ``MLFLOW_TRACKING_URI`` names; else to a SQLite database under the data folder.
        """
        if not self.persist_config.mlflow:
            return
        if self._mlflow is not None:
            if description is not None:
                self._mlflow.describe(description)
            return
        self._mlflow = MlflowLog(
            choose_store(self.persist_config.mlflow_tracking_uri, self.paths.mlruns),
            self.commits,
            self.persist_config.mlflow_experiment_name,
            description=description or RunDescription(),
            legacy_run=self.run_info.mlflow_run_id if self.run_info else None,
            keep_all=self.persist_config.mlflow_keep_all,
        )
        atexit.register(self._close_at_exit)

    def _close_at_exit(self) -> None:
        """For those who do not close: their last save has yet to reach the replica and MLflow."""
        try:
            self.close(
                upload_seconds=_AT_EXIT_SECONDS,
                replica_seconds=_AT_EXIT_SECONDS,
                mlflow_status="KILLED",
            )
        except SaveFailedError as e:
            logger.error("%s", e)

    def save_run_config(self, configs: dict[str, Any]) -> None:
        """Save the run's configuration as ``configs.json``, here and in MLflow; before anything is
        loaded or saved, too.

        Raises:
            DataFolderError: the run's folder cannot be made.
            SaveFailedError: it cannot be written.
        """
        if self._writer is None:
            self.paths.make_folders()
        try:
            self.serializer.save_config_json(configs, self.paths.configs)
        except OSError as e:
            raise SaveFailedError(f"cannot write {self.paths.configs}: {e.strerror}") from e
        self.config = configs
        self.start_mlflow()
        if self._mlflow:
            self._mlflow.notify()

    def save_training_state(
        self,
        nn: Stateful,
        optimizer: Stateful,
        stats_collector_actor: Any,
        buffer: ReplaySource | None,
        global_step: int,
        episodes_played: int,
        total_simulations_run: int,
        is_best: bool = False,
        *,
        components: Mapping[str, Stateful] | None = None,
        episodes: Sequence[Episode] = (),
        metrics: Mapping[str, float] | None = None,
        allow_not_finite: bool = False,
    ) -> None:
        """Capture the state now and commit it in the background.

        Waits for the save before it, if that is still being written. ``episodes`` are those that
        finished since the last call; ``components`` is further state by name. Without a load
        before it the first save begins the run, which must be new.

        A NaN or an infinity in the tensors of ``nn`` or ``optimizer`` makes this save fail, which
        the next call says, unless ``allow_not_finite``: for a network that keeps infinities on
        purpose, as in an attention mask. Components are not judged.

        With ``persistence.replica_sync`` it waits until the replica has this save, or until
        :attr:`stop_waiting` says so.

        Raises:
            FencedError: only when it waits: this save is whole here, and the replica will never
                have it.
            StateNotFiniteError: the save before this one was refused for what it holds.
            SaveFailedError: the save *before* this one failed. This one has not been started; call
                again.
            RunExistsError: nothing was loaded, and there is something that should have been.
            RunLockedError: nothing was loaded, and another process writes to the run.
            ValueError: a metric is not finite.
        """
        for name, value in (metrics or {}).items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} is {value}: a commit holds finite numbers only")
        if self._writer is None:
            self._begin()
        assert self._writer is not None
        self.start_mlflow()
        self._unsaved_episodes += episodes
        self._collect(wait=True)
        self._writer.start(
            self._capture(
                nn,
                optimizer,
                buffer,
                components or {},
                global_step,
                {
                    "episodes_played": episodes_played,
                    "total_simulations_run": total_simulations_run,
                    "is_best": is_best,
                },
                stats_state(stats_collector_actor),
                dict(metrics or {}),
                allow_not_finite=allow_not_finite,
            )
        )
        if self.persist_config.replica_sync:
            self._wait_for_replica()

    def _begin(self) -> None:
        """Take a run for writing that nothing was loaded of: there must be nothing to load."""
        known = self.commits.look()
        if known.commits or known.unreadable:
            problem = f"run {self.run_name!r} has commits"
        elif self._explicit_paths():
            problem = f"{self._explicit_paths()[0]} is to be started from"
        elif self.train_config.auto_resume_latest:
            problem = "auto_resume_latest is set"
        else:
            self.load_initial_state()
            return
        raise RunExistsError(
            f"{problem}, and nothing was loaded: load_initial_state() comes before this save, so "
            "that training goes on from there"
        )

    def _capture(
        self,
        nn: Stateful,
        optimizer: Stateful,
        buffer: ReplaySource | None,
        components: Mapping[str, Stateful],
        global_step: int,
        counters: Mapping[str, Any],
        stats: Callable[[], dict[str, Any]],
        metrics: dict[str, float],
        *,
        allow_not_finite: bool,
    ) -> Capture:
        """Copy everything, into the memory of the capture before: that one has been written."""
        assert self._writer is not None
        staging = self._staging
        failpoint("capture.begin")
        staging.begin()
        fields = {
            **counters,
            "run_name": self.run_name,
            "config": self.config,
            "model_state_dict": staging.copy(nn.state_dict()),
            "optimizer_state_dict": staging.copy(optimizer.state_dict()),
            "components": {name: staging.copy(p.state_dict()) for name, p in components.items()},
            "rng_state": rng_state(),
        }
        replay = None
        if buffer is not None:
            counters_of_rows = buffer.counters()
            lineage = counters_of_rows["lineage"]
            replay = capture_replay(
                staging,
                buffer,
                counters_of_rows,
                self._writer.rows_written(lineage),
                self._writer.rows_of(lineage),
                f"the replay of run {self.run_name!r}",
            )
        staging.finish()
        failpoint("capture.end")
        self._episodes_in_flight = len(self._unsaved_episodes)
        return Capture(
            global_step,
            fields,
            replay,
            list(self._unsaved_episodes),
            metrics,
            stats,
            staging.nbytes,
            best_sequence=self._best_sequence,
            allow_not_finite=allow_not_finite,
            held=frozenset(self.held),
            late=staging.late,
        )

    def mark_best(self, step: int) -> None:
        """The checkpoint of this step has proved to be the best: the next commit says so.

        For a verdict that takes longer than the save; where it is known at once, save with
        ``is_best``. Until then the step belongs into :attr:`held`.

        Raises:
            CommitNotFoundError: it was never committed, or has been removed meanwhile.
        """
        known = self.commits.look()
        self._best_sequence = of_step(known, self.run_name, step).commits[0].commit.sequence

    def poll(self) -> SaveReport | None:
        """The report of a save that has finished since the last call, without waiting.

        Raises:
            SaveFailedError: it failed.
        """
        return self._collect(wait=False)

    def flush(self) -> SaveReport | None:
        """Wait for the save in flight.

        Raises:
            SaveFailedError: it failed.
        """
        return self._collect(wait=True)

    def _collect(self, *, wait: bool) -> SaveReport | None:
        if self._writer is None:
            return None
        if self._unreported is not None:
            waiting, self._unreported = self._unreported, None
            if isinstance(waiting, SaveFailedError):
                raise waiting
            return waiting
        try:
            report = self._writer.collect(wait=wait)
        except SaveFailedError:
            self.last_save_failed = True
            raise
        if report is not None:
            self.last_save_failed = False
            del self._unsaved_episodes[: self._episodes_in_flight]
            self._episodes_in_flight = 0
            self._last_report = report
            if report.commit.is_best:
                self._best_sequence = report.commit.sequence
            if self._mlflow:
                self._mlflow.notify()
        return report

    def _tell_replica(self) -> None:
        if self.replica is not None:
            self.replica.notify()

    def _wait_for_replica(self) -> None:
        """
        Raises:
            FencedError: it will never have this save; which is whole here.
        """
        if self.replica is None:
            return
        # It belongs to the next who asks.
        try:
            self._unreported = report = self._collect(wait=True)
        except SaveFailedError as e:
            self._unreported = e
            return
        if report is None:
            return
        while not self.replica.wait_for(report.commit.sequence, _A_LOOK_SECONDS):
            if self.stop_waiting():
                return

    def close(
        self,
        *,
        upload_seconds: float = 30.0,
        replica_seconds: float = 60.0,
        mlflow_status: MlflowStatus = "FINISHED",
        error_message: str | None = None,
    ) -> None:
        """Finish the save in flight, give the replica and then MLflow up to so long for the rest,
        release the run.

        ``mlflow_status`` is what the MLflow run is said to be from now on, and ``error_message``
        what ended it, where that was an error.

        Raises:
            SaveFailedError: the last save failed; everything is closed all the same.
        """
        try:
            self._collect(wait=True)
        finally:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if self.replica is not None:
                self.replica.close(replica_seconds)
                self.replica_left = self.replica.status
                self.replica = None
            atexit.unregister(self._close_at_exit)
            if self._mlflow is not None:
                self._mlflow.close(upload_seconds, mlflow_status, error_message)
                self.uploads_left = self._mlflow.waiting
                self._mlflow = None
            self._lock.release()
