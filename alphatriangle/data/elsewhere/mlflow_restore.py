"""A run made again of what MLflow was given of it: its commits and the files that they name."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import CommitList, StoredCommit, of_step, parse_commit
from alphatriangle.data.elsewhere.mlflow_store import Store, choose_store
from alphatriangle.data.errors import (
    CheckpointNotFoundError,
    CorruptCommitError,
    CorruptFileError,
    CorruptRunInfoError,
    DataError,
    MlflowUnavailableError,
    NoSoundCommitError,
    RunNotFoundError,
    UnsafePickleError,
    UnsupportedFormatError,
)
from alphatriangle.data.json_files import parse_json
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit, CommittedFile, RejectedCommit, RunInfo
from alphatriangle.data.runs.fork import Origin, make_run
from alphatriangle.data.runs.summary import parse_configs
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from alphatriangle.utils.mlflow_errors import masked, mlflow_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

PREFIX: Final = "mlflow:"
"""What stands before the ID of an MLflow run where a file or an address could be meant."""
_COMMITS: Final = "commits"
_RUN_INFO: Final = "run.json"
_LARGEST_RECORD: Final = 64 << 20  # bytes
_CHUNK: Final = 1 << 20
_LOOKS: Final = 5
"""How often MLflow is looked through that changes meanwhile."""
_GONE: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# What makes a commit one that is passed over. All else would be the same for an older one.
_UNSOUND: Final = (CorruptFileError, UnsafePickleError, UnsupportedFormatError)


class Restored(NamedTuple):
    """What has become of it."""

    commit: Commit
    """The one commit of the new run."""
    rejected: list[RejectedCommit]
    """Newer ones that MLflow has too, and that are not sound."""


def restore_from_mlflow(
    config: PersistenceConfig,
    run_id: str,
    new_name: str | None = None,
    step: int | None = None,
) -> Restored:
    """Make a run, under its old name or a new one, of the newest sound commit in an MLflow run, or
    of one of ``step``; every byte is checked.

    Raises:
        MlflowUnavailableError: MLflow cannot be read now.
        RunNotFoundError: MLflow has no such run.
        CheckpointNotFoundError: it has no commit.
        CommitNotFoundError: it has none of that step.
        NoSoundCommitError: it has commits and none is sound.
        RunExistsError: there is a run of that name here.
        SaveFailedError: the disk says no.
        DataError: ``run.json`` or ``configs.json`` there is damaged.
    """
    # The name decides about nothing but the folder of the run.
    paths = PathManager(config, new_name or "restored")
    source = _open(choose_store(config.mlflow_tracking_uri, paths.mlruns), run_id)
    fs.make_folder(paths.root)
    for look in range(_LOOKS):
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=paths.root) as folder:
            artifacts = _Artifacts(source, Path(folder))
            known = artifacts.commits()
            rejected = [] if step is not None else list(known.unreadable)
            if not known.commits and not known.unreadable:
                raise CheckpointNotFoundError(f"{source.where} has no commit of a run")
            wanted = known if step is None else of_step(known, str(source.where), step)
            info, configs = artifacts.run_info(), artifacts.configs(config.config_filename)
            for stored in wanted.commits:
                origin = Origin(stored.commit.run_name, stored.commit, info, configs)
                try:
                    made = make_run(config, new_name or origin.run_name, origin, artifacts.place)
                    return Restored(made, rejected)
                except _UNSOUND as e:
                    # A training has removed what was kept no more: nothing older stands in for it.
                    if look < _LOOKS - 1 and artifacts.have_changed():
                        break
                    rejected.append(RejectedCommit(path=str(stored.path), reason=str(e)))
                    logger.warning("commit %s is passed over: %s", stored.path, e)
            else:
                break
    reasons = "\n  ".join(r.reason for r in rejected)
    raise NoSoundCommitError(
        f"{source.where} has {len(rejected)} commits and none is sound:\n  {reasons}"
    )


class _Source(NamedTuple):
    """An MLflow run, and where its artifacts are if they are files here."""

    client: MlflowClient
    run_id: str
    store: str
    folder: Path | None

    @property
    def where(self) -> Path:
        """For messages."""
        return Path(f"{PREFIX}{self.run_id}")


def _open(store: Store, run_id: str) -> _Source:
    if store.mlruns is not None and not (store.mlruns / "mlflow.db").is_file():
        raise RunNotFoundError(
            f"there is no MLflow run {run_id}: {store.mlruns} holds no database of MLflow, and "
            "MLFLOW_TRACKING_URI names no server"
        )
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    with _reported(store.name):
        try:
            client = MlflowClient(store.uri)
            uri = str(client.get_run(run_id).info.artifact_uri)
        except MlflowException as e:
            if e.error_code not in _GONE:
                raise
            raise RunNotFoundError(f"{store.name} has no MLflow run {run_id}") from e
        return _Source(client, run_id, store.name, _folder(store, uri, run_id))


def _folder(store: Store, uri: str, run_id: str) -> Path | None:
    """Where the artifacts are files: where MLflow says, or beside a database that was moved."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    if store.mlruns is None or not uri.startswith("file:"):
        return None
    folder = Path(local_file_uri_to_path(uri))
    moved = store.mlruns / "artifacts" / run_id / "artifacts"
    return moved if moved.is_dir() and not folder.is_dir() else folder


@contextlib.contextmanager
def _reported(where: str) -> Iterator[None]:
    """
    Raises:
        MlflowUnavailableError: MLflow fails.
    """
    try:
        yield
    except mlflow_errors() as e:
        reason = masked(f"{type(e).__name__}: {e}").splitlines()[0]
        raise MlflowUnavailableError(
            f"MLflow at {where} cannot be read now, nothing was changed: {reason}"
        ) from None


class _Artifacts:
    """The files of an MLflow run; what comes from a server is fetched once."""

    def __init__(self, source: _Source, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._names = self._list()

    def _list(self) -> set[str]:
        if self._source.folder is not None:
            files = (p for p in self._source.folder.rglob("*") if p.is_file())
            return {p.relative_to(self._source.folder).as_posix() for p in files}
        names: set[str] = set()
        folders: list[str | None] = [None]
        with _reported(self._source.store):
            while folders:
                for item in self._source.client.list_artifacts(self._source.run_id, folders.pop()):
                    if item.is_dir:
                        folders.append(item.path)
                    else:
                        names.add(item.path)
        return names

    def have_changed(self) -> bool:
        """Whether MLflow holds other artifacts than at first."""
        return self._list() != self._names

    def _fetch(self, name: str) -> Path:
        """A file with the content of an artifact, unchecked."""
        if self._source.folder is not None:
            return self._source.folder / name
        fetched = self._folder / name
        if not fetched.exists():
            with _reported(self._source.store):
                run_id, folder = self._source.run_id, str(self._folder)
                fetched = Path(self._source.client.download_artifacts(run_id, name, folder))
        return fetched

    def _read(self, name: str) -> bytes | None:
        if name not in self._names:
            return None
        path = self._fetch(name)
        with _reported(self._source.store), disk.open(path) as f:
            content = f.read(_LARGEST_RECORD + 1)
        if len(content) > _LARGEST_RECORD:
            raise CorruptCommitError(self._source.where / name, "it is no record of a run")
        return content

    def commits(self) -> CommitList:
        """Those that MLflow has, newest first, and those that are none."""
        commits: list[StoredCommit] = []
        unreadable: list[RejectedCommit] = []
        for name in sorted(self._names):
            if PurePosixPath(name).parent.name != _COMMITS or not name.endswith(".json"):
                continue
            path = self._source.where / name
            try:
                content = self._read(name) or b""
                commit = parse_commit(content, path)
                commits.append(StoredCommit(path, commit, hashlib.sha256(content).hexdigest()))
            except MlflowUnavailableError:
                raise
            except DataError as e:
                unreadable.append(RejectedCommit(path=str(path), reason=str(e)))
        commits.sort(key=lambda stored: stored.commit.sequence, reverse=True)
        return CommitList(commits, unreadable)

    def run_info(self) -> RunInfo | None:
        """What the run said of itself."""
        content = self._read(_RUN_INFO)
        if content is None:
            return None
        return parse_json(content, self._source.where / _RUN_INFO, RunInfo, CorruptRunInfoError)

    def configs(self, name: str) -> dict[str, Any] | None:
        """Its settings."""
        content = self._read(name)
        return None if content is None else parse_configs(content, self._source.where / name)

    def place(self, file: CommittedFile, target: Path) -> None:
        """Copy a file of a commit, as ``make_run`` asks for it; its bytes are checked there.

        Raises:
            FileNotFoundError: it is a recording of games that MLflow does not have.
            CorruptCommitError: it is another one that MLflow does not have.
        """
        if file.path not in self._names:
            if file.kind == "episodes":
                raise FileNotFoundError(file.path)
            raise CorruptCommitError(self._source.where / file.path, "MLflow does not have it")
        source = self._fetch(file.path)
        try:
            content = disk.open(source)
        except FileNotFoundError as e:
            raise CorruptCommitError(
                self._source.where / file.path, "MLflow does not have it any more"
            ) from e
        with content, disk.create(target) as copy:
            while chunk := content.read(_CHUNK):
                copy.write(chunk)
            disk.sync(copy)
