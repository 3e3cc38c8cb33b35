"""MLflow's share of persistence: curves, and the files it is given after they are committed.

What has to be uploaded follows from the commits and from a log of what has been uploaded, both on
disk, so nothing is forgotten over a restart. MLflow is never allowed to fail or hold up a save or
a training step: everything that calls it, also to open it, is on one thread, and what fails is
tried again later.
"""

from __future__ import annotations

import logging
import threading
from typing import Literal

from alphatriangle.data.commits.files import best_commit
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.elsewhere.mlflow_points import MlflowPoints
from alphatriangle.data.elsewhere.mlflow_store import (
    OpenRun,
    RunDescription,
    Store,
    describe_run,
    open_run,
)
from alphatriangle.data.elsewhere.mlflow_uploads import (
    UploadLog,
    bind_log,
    files_to_have,
    missing_files,
    read_log,
    remember,
    remove_stale_links,
    run_to_continue,
    stale_files,
    upload,
)
from alphatriangle.utils.mlflow_errors import masked, mlflow_errors

logger = logging.getLogger(__name__)

MlflowStatus = Literal["FINISHED", "KILLED", "FAILED"]
"""FINISHED: all steps done; KILLED: stopped before; FAILED: an error ended it."""

_STATES: dict[MlflowStatus, str] = {
    "FINISHED": "complete",
    "KILLED": "stopped",
    "FAILED": "failed",
}

_ERROR_TAG = "error_message"
_LONGEST_TAG = 5000
"""In characters: what the oldest MLflow servers take."""
_FIRST_RETRY_SECONDS = 2.0
_LONGEST_RETRY_SECONDS = 300.0
_END_SECONDS = 2.0
"""For a thread that may be waiting for an answer which does not come."""


class MlflowLog:
    """Logs a run to MLflow in the background: each file and each point once."""

    def __init__(
        self,
        store: Store,
        commits: KnownCommits,
        experiment: str,
        *,
        description: RunDescription,
        legacy_run: str | None,
        keep_all: bool,
    ) -> None:
        self._store = store
        self._commits = commits
        self._paths = paths = commits.paths
        self._experiment = experiment
        self._description = description
        self._legacy_run = legacy_run
        self._keep_all = keep_all
        self._run: OpenRun | None = None
        self._log = UploadLog()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._retry = threading.Event()
        self._stopping = False
        self._status: MlflowStatus | None = None
        self._error: str | None = None
        self._tagged: str | None = None
        self.points = MlflowPoints(paths.mlflow_points, self.notify)
        """The sink for the run's curves."""
        self.run_id: str | None = None
        """The MLflow run, once it is open."""
        self.last_error: str | None = None
        self.waiting = 0
        """Files that are committed and not uploaded, as last counted."""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """There is something new."""
        self._idle.clear()
        self._wake.set()

    def describe(self, description: RunDescription) -> None:
        """Say what the run is, from the next contact on."""
        self._description = description
        self._run = None
        self.notify()

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until MLflow has everything, at most so long; returns whether it has."""
        self.notify()
        self._retry.set()
        return self._idle.wait(timeout_seconds)

    def close(
        self, timeout_seconds: float, status: MlflowStatus, error_message: str | None = None
    ) -> bool:
        """Hand over what is left, within the time given, and end; returns whether all of it went.
        Where it did not, an answer that somebody may be waiting for is not waited for long.

        An MLflow run that is our own is said to be ``status`` from now on, for the reason given.
        """
        finished = self.drain(timeout_seconds)
        self._status, self._error = status, error_message
        self._stopping = True
        self._wake.set()
        self._retry.set()
        self._thread.join(timeout_seconds if finished else min(timeout_seconds, _END_SECONDS))
        self.points.sync()
        self.waiting = missing_files(self._paths, self._commits.look())
        return finished

    def _work(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while not self._stopping:
            self._wake.clear()
            self._retry.clear()
            try:
                self._catch_up()
                self.last_error = None
                delay = _FIRST_RETRY_SECONDS
                if not self._wake.is_set():
                    self._idle.set()
                self._wake.wait()
            except mlflow_errors() as e:
                self.points.forget_what_was_taken()
                self.last_error = masked(f"{type(e).__name__}: {e}").splitlines()[0]
                logger.warning("MLflow failed, next try in %.0f s: %s", delay, masked(str(e)))
                # News are no reason to try sooner.
                self._retry.wait(delay)
                delay = min(2 * delay, _LONGEST_RETRY_SECONDS)
        self._end_run()

    def _catch_up(self) -> None:
        log = read_log(self._paths.uploads) if self._run is None else self._log
        remove_stale_links(self._paths, self._commits.look(), log)
        run = self._open()
        self.points.deliver(run)
        known = self._commits.look()
        wanted = files_to_have(self._paths, known)
        pending = [(p, sha) for p, sha in wanted.items() if self._log.done.get(p) != sha]
        for done, (relative, sha256) in enumerate(pending):
            self.waiting = len(pending) - done
            if self._stopping:
                return
            try:
                upload(run, self._paths, relative)
            except FileNotFoundError:
                if (self._paths.run / relative).exists():
                    raise
                continue  # Retention was faster; the commit is gone too.
            remember(self._paths, self._log, relative, sha256)
            self.points.deliver(run)
        self.waiting = 0
        self._remove_stale(run)
        self._tag_best(run)
        run.check_database()

    def _open(self) -> OpenRun:
        """The run, opened anew where the database is another than before."""
        run = self._run
        if run is not None and run.is_still_there:
            return run
        log = read_log(self._paths.uploads)
        is_old = log.run_id is None and self._store.mlruns is not None
        run = open_run(
            self._store,
            self._experiment,
            self._paths.run_name,
            self._legacy_run if is_old else run_to_continue(log, self._paths, self._store),
            same_name=is_old,
        )
        self._log = bind_log(log, self._paths, self._store, run)
        self.run_id = run.run_id
        self.points.forget_what_was_taken()
        describe_run(run, self._description, is_own=self._store.active_run is None)
        self._tagged = None
        self._run = run
        return run

    def _remove_stale(self, run: OpenRun) -> None:
        """From a server what the run has no more; from SQLite's folder it is gone already."""
        if self._keep_all or self._store.mlruns is not None:
            return
        stale = stale_files(self._paths, self._log, self._commits.look())
        if not stale:
            return
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(run.artifact_uri, tracking_uri=self._store.uri)
        for relative in stale:
            repository.delete_artifacts(relative)
            remember(self._paths, self._log, relative, None)

    def _tag_best(self, run: OpenRun) -> None:
        """Say which of the uploaded checkpoints is the best."""
        best = best_commit(self._commits.look().commits)
        path = best.commit.of_kind("checkpoint")[0].path if best else None
        if path is not None and path != self._tagged:
            run.client.set_tag(run.run_id, "best_checkpoint", path)
            self._tagged = path

    def _tell_error(self, run: OpenRun) -> None:
        """What ended it, in place of what ended it the time before."""
        if self._error is not None:
            run.client.set_tag(run.run_id, _ERROR_TAG, masked(self._error)[:_LONGEST_TAG])
        elif _ERROR_TAG in run.client.get_run(run.run_id).data.tags:
            run.client.delete_tag(run.run_id, _ERROR_TAG)

    def _end_run(self) -> None:
        """Say in MLflow that nobody is training any more; a caller's run is the caller's to end."""
        run, status = self._run, self._status
        if run is None or status is None or self._store.active_run is not None or self.last_error:
            return
        try:
            self._tell_error(run)
            run.client.set_tag(run.run_id, "state", _STATES[status])
            for log in sorted(self._paths.logs.glob("*.log")):
                run.client.log_artifact(run.run_id, str(log), self._paths.relative(log.parent))
            run.client.set_terminated(run.run_id, status)
        except mlflow_errors() as e:
            logger.warning("MLflow run %s stays open: %s", run.run_id, masked(str(e)))
