"""MLflow's share of persistence: its run, and the files it is given after they are committed.

What has to be uploaded follows from the commits and from a log of what has been uploaded, both on
disk, so nothing is forgotten over a restart. MLflow is never allowed to fail or hold up a save:
uploads have a thread of their own, and a failing one is tried again later.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alphatriangle.data.commits.files import best_commit, list_commits
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.failpoints import failpoint
from alphatriangle.utils.mlflow_errors import mlflow_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

MlflowStatus = Literal["FINISHED", "KILLED", "FAILED"]
"""FINISHED: all steps done; KILLED: stopped before; FAILED: an error ended it."""

_STATES: dict[MlflowStatus, str] = {
    "FINISHED": "complete",
    "KILLED": "stopped",
    "FAILED": "failed",
}

_FIRST_RETRY_SECONDS = 2.0
_LONGEST_RETRY_SECONDS = 300.0


@dataclass(frozen=True)
class RunDescription:
    """What MLflow is told of a run beside its curves and files."""

    parameters: dict[str, str] = field(default_factory=dict)
    """Settings. MLflow keeps the first value of each; what is there already is not sent again."""
    tags: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """Artifact path -> contents, for what is no file of the run folder."""


def tracking_uri(mlruns: Path) -> str:
    """The SQLite database under ``mlruns``; today's MLflow refuses plain file stores."""
    return f"sqlite:///{mlruns / 'mlflow.db'}"


def open_run(
    mlruns: Path, experiment: str, run_name: str, run_id: str | None
) -> tuple[MlflowClient, str]:
    """The client and the MLflow run to log to: ``run_id`` if it still exists, else a new one.

    Raises:
        Exception: one of :func:`mlflow_errors`.
    """
    from mlflow.entities import RunStatus
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri(mlruns))
    if run_id is not None:
        try:
            client.get_run(run_id)
            client.update_run(run_id, RunStatus.to_string(RunStatus.RUNNING))
            return client, run_id
        except MlflowException as e:
            logger.warning("MLflow run %s is gone (%s); a new one takes its place", run_id, e)
    found = client.get_experiment_by_name(experiment)
    experiment_id = (
        found.experiment_id
        if found is not None
        else client.create_experiment(
            experiment, artifact_location=(mlruns / "artifacts").absolute().as_uri()
        )
    )
    run = client.create_run(experiment_id, run_name=run_name)
    return client, str(run.info.run_id)


def describe_run(client: MlflowClient, run_id: str, description: RunDescription) -> None:
    """Tell MLflow what the run is, and that it is running.

    Raises:
        Exception: one of :func:`mlflow_errors`.
    """
    from mlflow.entities import Param, RunTag
    from mlflow.utils.validation import MAX_PARAMS_TAGS_PER_BATCH

    known = client.get_run(run_id).data.params
    parameters = [Param(k, v) for k, v in description.parameters.items() if k not in known]
    for first in range(0, len(parameters), MAX_PARAMS_TAGS_PER_BATCH):
        part = parameters[first : first + MAX_PARAMS_TAGS_PER_BATCH]
        client.log_batch(run_id, params=part)
    tags = {**description.tags, "state": "running"}
    client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])
    for path, contents in description.texts.items():
        client.log_text(run_id, contents, path)


class MlflowUploads:
    """Uploads each immutable file once, in the background."""

    def __init__(self, client: MlflowClient, run_id: str, paths: PathManager) -> None:
        self._client = client
        self._run_id = run_id
        self._paths = paths
        self._done = uploaded_files(paths.uploads)
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._stopping = False
        self._tagged: str | None = None
        self.last_error: str | None = None
        self.waiting = 0
        """Files that are committed and not uploaded, as last counted."""
        self._thread = threading.Thread(target=self._work, name="mlflow-uploads", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """There is something new."""
        self._idle.clear()
        self._wake.set()

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until everything is uploaded, at most so long; returns whether it is."""
        self.notify()
        return self._idle.wait(timeout_seconds)

    def close(self, timeout_seconds: float = 30.0) -> bool:
        """Upload what is left, within the time given, and end; returns whether all of it went."""
        finished = self.drain(timeout_seconds)
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        self.waiting = len(self._pending())
        return finished

    def end_run(self, status: MlflowStatus) -> None:
        """Say in MLflow that nobody is training any more."""
        try:
            self._client.set_tag(self._run_id, "state", _STATES[status])
            self._client.set_terminated(self._run_id, status)
        except mlflow_errors() as e:
            logger.warning("MLflow run %s stays open: %s", self._run_id, e)

    def _pending(self) -> list[tuple[str, str]]:
        """(relative path, sha256) of what is to be uploaded, oldest commit first."""
        pending: dict[str, str] = {}
        for stored in reversed(list_commits(self._paths).commits):
            for file in stored.commit.files:
                if self._done.get(file.path) != file.sha256:
                    pending[file.path] = file.sha256
        if self._paths.configs.exists():
            sha256 = fs.digest_of(self._paths.configs).sha256
            if self._done.get("configs.json") != sha256:
                pending["configs.json"] = sha256
        return list(pending.items())

    def _work(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while not self._stopping:
            self._wake.clear()
            try:
                self._upload_pending()
                self.last_error = None
                delay = _FIRST_RETRY_SECONDS
                if not self._wake.is_set():
                    self._idle.set()
                self._wake.wait()
            except mlflow_errors() as e:
                self.last_error = f"{type(e).__name__}: {e}"
                logger.warning("MLflow upload failed, next try in %.0f s: %s", delay, e)
                self._wake.wait(delay)
                delay = min(2 * delay, _LONGEST_RETRY_SECONDS)

    def _upload_pending(self) -> None:
        pending = self._pending()
        for done, (relative, sha256) in enumerate(pending):
            self.waiting = len(pending) - done
            local = self._paths.run / relative
            folder = str(Path(relative).parent)
            try:
                self._client.log_artifact(
                    self._run_id, str(local), None if folder == "." else folder
                )
            except FileNotFoundError:
                if local.exists():
                    raise
                continue  # Retention was faster; the commit is gone too.
            failpoint("outbox.uploaded")
            self._done[relative] = sha256
            fs.append_line(self._paths.uploads, json.dumps({"path": relative, "sha256": sha256}))
            failpoint("outbox.logged")
        self.waiting = 0
        self._tag_best()

    def _tag_best(self) -> None:
        """Say which of the uploaded checkpoints is the best."""
        best = best_commit(list_commits(self._paths).commits)
        path = best.commit.of_kind("checkpoint")[0].path if best else None
        if path is not None and path != self._tagged:
            self._client.set_tag(self._run_id, "best_checkpoint", path)
            self._tagged = path


def uploaded_files(log: Path) -> dict[str, str]:
    """Path -> sha256 of what the log says has been uploaded; a torn line is an upload to repeat."""
    done: dict[str, str] = {}
    if log.exists():
        for line in log.read_bytes().splitlines():
            try:
                entry: Any = json.loads(line)
                done[entry["path"]] = entry["sha256"]
            except (ValueError, KeyError, TypeError):
                continue
    return done
