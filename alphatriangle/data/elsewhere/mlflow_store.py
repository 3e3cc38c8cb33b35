"""Which MLflow a run is logged to, and the MLflow run that is its own."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from alphatriangle.data.storage import fs
from alphatriangle.utils.mlflow_errors import masked

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

_CREATION_SECONDS = 120.0
"""How long the one process that makes the database is waited for."""
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Store:
    """Where to log to."""

    uri: str = field(repr=False)
    """MLflow's tracking URI. It may hold a password: use :attr:`name` to speak of it."""
    mlruns: Path | None
    """The folder of the SQLite default; None for anything else."""
    active_run: str | None = None
    """The run that the caller has begun and will end."""

    @property
    def name(self) -> str:
        """The URI without user and password."""
        return masked(self.uri)


@dataclass(frozen=True)
class RunDescription:
    """What MLflow is told of a run beside its curves and files."""

    parameters: dict[str, str] = field(default_factory=dict)
    """Settings. MLflow keeps the first value of each; what is there already is not sent again."""
    tags: dict[str, str] = field(default_factory=dict)
    texts: dict[str, Callable[[], str]] = field(default_factory=dict)
    """Artifact path -> contents, for what is no file of the run folder; asked for on MLflow's own
    thread, so that it may import MLflow, which two threads must not do at once."""


def tracking_uri(mlruns: Path) -> str:
    """The SQLite database under ``mlruns``; today's MLflow refuses plain file stores."""
    return _sqlite_uri(mlruns.absolute() / "mlflow.db")


def _sqlite_uri(database: Path, *, again: int = 0) -> str:
    """``again`` makes URIs of the same file that differ: MLflow keeps what it has once opened."""
    text = f"{database.parent}/{'./' * again}{database.name}"
    plain = f"sqlite:///{text}"
    if not set(text) & set("?#%") and text.isascii():
        return plain
    from sqlalchemy import URL

    # With the driver named, MLflow makes no folder of the name as it is quoted here.
    return URL.create("sqlite+pysqlite", database=text).render_as_string()


def choose_store(setting: str | None, mlruns: Path) -> Store:
    """The caller's active run; else the server of the setting, else of ``MLFLOW_TRACKING_URI``;
    else SQLite under the data folder. To be called on the caller's thread, whose run it is."""
    # Who has an active run has imported all of MLflow; a thread may be in the middle of it.
    mlflow: Any = sys.modules.get("mlflow")
    if hasattr(mlflow, "active_run"):
        active = mlflow.active_run()
        if active is not None:
            return Store(mlflow.get_tracking_uri(), None, str(active.info.run_id))
    uri = setting or os.environ.get("MLFLOW_TRACKING_URI")
    return Store(uri, None) if uri else Store(tracking_uri(mlruns), mlruns.absolute())


@dataclass(frozen=True)
class OpenRun:
    """An MLflow run to log to."""

    client: MlflowClient
    store: Store
    run_id: str
    run_name: str
    artifact_uri: str
    artifacts: Path | None
    """Its artifacts, where they are a folder of the SQLite default."""
    database: tuple[int, int] | None
    """Device and inode of the SQLite default."""

    @property
    def is_still_there(self) -> bool:
        """Whether the database has not been removed or replaced: an open one would go on to take
        what nobody will ever see."""
        mlruns = self.store.mlruns
        return mlruns is None or _identity(mlruns / "mlflow.db") == self.database

    def check_database(self) -> None:
        """
        Raises:
            FileNotFoundError: what was told last is lost.
        """
        if not self.is_still_there:
            raise FileNotFoundError("MLflow's database was removed while it was open")


def _identity(database: Path) -> tuple[int, int] | None:
    try:
        status = database.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def open_run(
    store: Store,
    experiment: str,
    run_name: str,
    run_id: str | None,
    *,
    same_name: bool = False,
) -> OpenRun:
    """The MLflow run to log to: ``run_id`` if it is there and its files go where they belong,
    else a new one. With ``same_name`` it has to be called ``run_name`` too.

    Raises:
        Exception: one of :func:`mlflow_errors`.
    """
    from mlflow.tracking import MlflowClient

    if store.mlruns is None:
        client = MlflowClient(store.uri)
        if store.active_run is not None:
            return _opened(client, store, store.active_run)
        return _own_run(client, store, experiment, run_name, run_id, same_name=same_name)
    fs.make_folder(store.mlruns)
    # Two that make the tables, or the experiment, at once would both fail.
    with FileLock(store.mlruns / ".lock", timeout=_CREATION_SECONDS):
        _create_database(store.mlruns)
        database = store.mlruns / "mlflow.db"
        client = MlflowClient(_sqlite_uri(database, again=_times_replaced(database)))
        return _own_run(client, store, experiment, run_name, run_id, same_name=same_name)


def _create_database(mlruns: Path) -> None:
    """Under a name of its own: one whose making was interrupted could never be opened again."""
    database = mlruns / "mlflow.db"
    if database.exists():
        return
    from mlflow.tracking import MlflowClient

    for torn in mlruns.glob("mlflow.*.new*"):
        fs.remove(torn)
    made = mlruns / f"mlflow.{os.getpid()}-{time.time_ns()}.new"
    MlflowClient(_sqlite_uri(made)).search_experiments(max_results=1)
    made.rename(database)


_databases: dict[Path, list[tuple[int, int] | None]] = {}
"""Path -> what this process has found there, the first one first."""


def _times_replaced(database: Path) -> int:
    found = _databases.setdefault(database, [])
    identity = _identity(database)
    if identity not in found:
        found.append(identity)
    return found.index(identity)


def _own_run(
    client: MlflowClient,
    store: Store,
    experiment: str,
    run_name: str,
    run_id: str | None,
    *,
    same_name: bool,
) -> OpenRun:
    from mlflow.entities import RunStatus
    from mlflow.exceptions import MlflowException

    if run_id is not None:
        try:
            found = _opened(client, store, run_id)
            is_inside = store.mlruns is None or found.artifacts is not None
            if is_inside and (found.run_name == run_name or not same_name):
                client.update_run(run_id, RunStatus.to_string(RunStatus.RUNNING))
                return found
            logger.warning("MLflow run %s is that of another folder; a new one is begun", run_id)
        except MlflowException as e:
            if e.error_code not in _GONE:
                raise
            logger.warning("MLflow run %s is gone; a new one takes its place: %s", run_id, e)
    run = client.create_run(_experiment(client, store, experiment), run_name=run_name)
    return _opened(client, store, str(run.info.run_id))


def _experiment(client: MlflowClient, store: Store, wanted: str) -> str:
    """The experiment of this name, in a folder that was moved or copied the next like it: an
    experiment keeps the place where its files went when it was made."""
    number = 1
    while True:
        name = wanted if number == 1 else f"{wanted} ({number})"
        found = client.get_experiment_by_name(name)
        if found is None:
            location = None if store.mlruns is None else (store.mlruns / "artifacts").as_uri()
            return str(client.create_experiment(name, artifact_location=location))
        usable = store.mlruns is None or _inside(found.artifact_location, store.mlruns) is not None
        if usable and found.lifecycle_stage == "active":
            return str(found.experiment_id)
        number += 1


def _opened(client: MlflowClient, store: Store, run_id: str) -> OpenRun:
    info = client.get_run(run_id).info
    uri, name = str(info.artifact_uri), str(info.run_name)
    if store.mlruns is None:
        return OpenRun(client, store, run_id, name, uri, None, None)
    database = _identity(store.mlruns / "mlflow.db")
    artifacts = _inside(uri, store.mlruns)
    return OpenRun(client, store, run_id, name, uri, artifacts, database)


def _inside(uri: str, mlruns: Path) -> Path | None:
    """The folder that an artifact URI means, if it lies in ``mlruns``."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    if not uri.startswith("file:"):
        return None
    folder = Path(local_file_uri_to_path(uri))
    return folder if folder.resolve().is_relative_to(mlruns.resolve()) else None


def describe_run(run: OpenRun, description: RunDescription, *, is_own: bool) -> None:
    """Tell MLflow what the run is, and that it is running; leave what a caller's run has.

    Raises:
        Exception: one of :func:`mlflow_errors`.
    """
    from mlflow.entities import Param, RunTag
    from mlflow.utils.validation import MAX_PARAMS_TAGS_PER_BATCH

    known = run.client.get_run(run.run_id).data
    parameters = [Param(k, v) for k, v in description.parameters.items() if k not in known.params]
    for first in range(0, len(parameters), MAX_PARAMS_TAGS_PER_BATCH):
        part = parameters[first : first + MAX_PARAMS_TAGS_PER_BATCH]
        run.client.log_batch(run.run_id, params=part)
    tags = {**description.tags, "state": "running"}
    if not is_own:
        tags = {k: v for k, v in description.tags.items() if k not in known.tags}
    run.client.log_batch(run.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
    for path, contents in description.texts.items():
        run.client.log_text(run.run_id, contents(), path)
