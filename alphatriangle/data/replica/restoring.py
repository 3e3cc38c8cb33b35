"""From a replica to a run here: the newest sound commit, every byte of it checked.

Files appear under their names only when they are what their commit says, and the commit itself
last: so it is sound when its digests are right, since it was read back before it was handed over. A
restore that was cut off goes on where it was. Newer commits that are passed over are
reported, and remembered: so that the run can go on replicating where they were.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import list_commits, sealed
from alphatriangle.data.errors import (
    CommitNotFoundError,
    CorruptCheckpointError,
    CorruptFileError,
    CorruptReplicaError,
    DataError,
    DataFolderError,
    ExportError,
    FileUnavailableError,
    NoSoundCommitError,
    ReplicaNotFoundError,
    ReplicaUnavailableError,
    RunExistsError,
    RunLockedError,
    SaveFailedError,
    UnknownCodecError,
    UnsupportedFormatError,
)
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit, CommittedFile, DamagedFile, Pins, RejectedCommit
from alphatriangle.data.replica.fetching import Fetcher
from alphatriangle.data.replica.finding import Passed, ReplicaReader
from alphatriangle.data.replica.layout import Layout, ObjectPlace, Position
from alphatriangle.data.replica.records import Held, RemoteCommit, StoredObject
from alphatriangle.data.replica.state import ReplicaState, acknowledged_now, write_state
from alphatriangle.data.runs.export import export_state
from alphatriangle.data.runs.fork import Origin, make_run
from alphatriangle.data.runs.summary import parse_configs
from alphatriangle.data.schemas import CheckpointData, LoadedTrainingState
from alphatriangle.data.serializer import Serializer
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.lock import RunLock
from alphatriangle.data.stores.store import Store
from alphatriangle.utils.invocation import command

logger = logging.getLogger(__name__)

_STOP: Final = (
    FileUnavailableError,
    ReplicaUnavailableError,
    RunExistsError,
    RunLockedError,
    SaveFailedError,
    DataFolderError,
    ExportError,
    UnknownCodecError,
    UnsupportedFormatError,
)
"""None of these says that a commit is unsound: nothing older may stand in for it."""


class Restored(NamedTuple):
    """A run that was made of a replica."""

    commit: Commit
    position: Position
    rejected: list[RejectedCommit]
    """Newer commits that were passed over."""
    damaged: list[DamagedFile]
    """What is lost and no part of the training state: recorded games, ``configs.json``."""
    bytes_downloaded: int
    newer: int
    """Commits that the replica keeps and that are newer, where another step was asked for: under
    its own name the run cannot go on being replicated there."""


def restore_replica(
    config: PersistenceConfig,
    store: Store,
    run_name: str,
    *,
    new_name: str | None = None,
    step: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Restored:
    """Make a run of the newest sound commit of a replica, or of one step of it.

    It is the same run and can go on being replicated, unless it gets a ``new_name``: then it is
    another one, as after a fork. A run of that name must not have commits here.

    Raises:
        RunExistsError: there is a run of that name here.
        ReplicaNotFoundError: there is no replica of that run.
        CommitNotFoundError: it has no commit of that step.
        NoSoundCommitError: it has commits and none is sound.
        ReplicaUnavailableError: the store cannot be reached now; what has been restored so far
            stays for the next try.
        UnsupportedFormatError: a newer version wrote it.
        SaveFailedError: the disk says no.
    """
    target = PathManager(config, new_name or run_name)
    known = list_commits(target)
    if known.commits or known.unreadable:
        raise RunExistsError(
            f"run {target.run_name!r} exists here; choose another name for the restored one"
        )
    restore = _Restore(config, store, run_name, target, pause)
    is_fork = new_name is not None and new_name != run_name
    return restore.newest(step, restore.make_fork if is_fork else restore.make_run)


class Weights(NamedTuple):
    """A file of weights."""

    path: Path
    step: int
    size: int  # bytes
    rejected: list[RejectedCommit]
    """Newer commits that were passed over."""


def restore_weights(
    config: PersistenceConfig,
    store: Store,
    run_name: str,
    path: Path | None = None,
    *,
    step: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Weights:
    """Write the weights of the newest sound commit of a replica, or of one step of it, as
    safetensors; only its checkpoint is downloaded. ``path`` is by default named after run and step.

    Raises:
        ExportError: the file exists, or cannot be written.
        DataError: as :func:`restore_replica`.
    """
    written: list[Weights] = []
    with tempfile.TemporaryDirectory(prefix="alphatriangle-weights-") as folder:
        elsewhere = config.model_copy(update={"root_data_dir": Path(folder)})
        restore = _Restore(elsewhere, store, run_name, PathManager(elsewhere, run_name), pause)

        def write(record: RemoteCommit, _: list[Position]) -> list[DamagedFile]:
            checkpoint = restore.checkpoint(record)
            reached = record.commit.global_step
            target = path or Path(f"{run_name}_step_{reached}.safetensors")
            state = LoadedTrainingState(checkpoint_data=checkpoint)
            size = export_state(state, "weights", target).size
            written.append(Weights(target, reached, size, []))
            return []

        rejected = restore.newest(step, write).rejected
    return written[0]._replace(rejected=rejected)


Make = Callable[[RemoteCommit, list[Position]], list[DamagedFile]]
"""Makes something of a commit, with the newer ones that were passed over; returns what is lost."""


class _Restore:
    """One restore; a connection that fails is tried again, a few times."""

    def __init__(
        self,
        config: PersistenceConfig,
        store: Store,
        run_name: str,
        target: PathManager,
        pause: Callable[[float], None],
    ) -> None:
        self._config = config
        self._store = store
        self._layout = Layout(run_name)
        self._reader = ReplicaReader(store, self._layout)
        self._target = target
        self._fetcher = Fetcher(store, self._layout, pause)

    def newest(self, step: int | None, make: Make) -> Restored:
        while True:
            found = self._fetcher.asked(self._reader.look)
            record, passed = self._fetcher.asked(partial(self._reader.newest_readable, found))
            try:
                return self._best_of(record, passed, step, make)
            except NoSoundCommitError:
                # Perhaps the replica went on meanwhile, and what was tried is kept no more.
                if self._fetcher.asked(self._reader.look) == found:
                    raise

    def _best_of(
        self, record: RemoteCommit | None, passed: list[Passed], step: int | None, make: Make
    ) -> Restored:
        where = f"run {self._layout.run_name!r} in {self._store.url}"
        if record is None and not passed:
            raise ReplicaNotFoundError(
                f"there is no replica of {where}; {command('runs', 'list')} shows what is here"
            )
        passed = list(passed)
        candidates = kept = [] if record is None else _newest_first(record.holds)
        if step is not None:
            chosen = [held for held in candidates if held.step == step]
            if candidates and not chosen:
                steps = ", ".join(str(held.step) for held in candidates)
                raise CommitNotFoundError(
                    f"the replica of {where} has no commit of step {step}; "
                    f"its commits are of steps: {steps}"
                )
            candidates, passed = chosen, []
        for held in candidates:
            try:
                found = record
                if found is None or held.position != found.position:
                    found = self._fetcher.asked(partial(self._reader.read, held.position))
                damaged = make(found, [p.position for p in passed])
            except _STOP:
                raise
            except DataError as e:
                passed.append(Passed(held.position, f"step {held.step}: {e}"))
                logger.warning("commit %s of the replica is passed over: %s", held.position, e)
                continue
            rejected = [
                RejectedCommit(path=self._layout.commit(p.position), reason=p.reason)
                for p in passed
            ]
            newer = 0 if step is None else kept.index(held)
            return Restored(
                found.commit,
                held.position,
                rejected,
                damaged,
                self._fetcher.bytes_downloaded,
                newer,
            )
        reasons = "\n  ".join(p.reason for p in passed)
        raise NoSoundCommitError(
            f"the replica of {where} has {len(passed)} commits that were tried and none is sound:"
            f"\n  {reasons}\nnothing was made of it; mend or restore the objects there, or begin "
            "under another run name"
        )

    def make_fork(self, record: RemoteCommit, _: list[Position]) -> list[DamagedFile]:
        """A new run that begins with a commit."""
        damaged: list[DamagedFile] = []
        settings = self._settings(record.configs, damaged)
        configs = None if settings is None else parse_configs(settings, self._target.configs)
        origin = Origin(self._layout.run_name, record.commit, record.run_info, configs)
        make_run(self._config, self._target.run_name, origin, self._placing(record, damaged))
        return damaged

    def make_run(self, record: RemoteCommit, passed: list[Position]) -> list[DamagedFile]:
        """The same run, which may go on being replicated."""
        damaged: list[DamagedFile] = []
        self._checkpoint_of(record)
        settings = self._settings(record.configs, damaged)
        target = self._target
        target.make_folders()
        lock = RunLock(target.run)
        lock.acquire()
        try:
            self._fill(record, self._placing(record, damaged))
            self._describe(record, passed, settings)
            fs.write_bytes(target.commit(record.commit.global_step), sealed(record.commit))
            self._point_links(record.commit)
        except OSError as e:
            raise SaveFailedError(
                f"run {target.run_name!r} could not be restored in {target.run}: "
                f"{e.strerror or e}; what is there stays for the next try"
            ) from e
        finally:
            lock.release()
        return damaged

    def checkpoint(self, record: RemoteCommit) -> CheckpointData:
        """The checkpoint of a commit, downloaded to its place.

        Raises:
            CorruptCheckpointError: it is damaged, or there is not one.
            SaveFailedError: there is no place for it.
        """
        file = self._checkpoint_of(record)
        path = self._target.run / file.path
        try:
            fs.make_folder(path.parent)
            self._placing(record, [])(file, path)
        except OSError as e:
            raise SaveFailedError(f"{path} cannot be written: {e.strerror or e}") from e
        return Serializer(self._config.allowed_globals).load_checkpoint(path)

    def _checkpoint_of(self, record: RemoteCommit) -> CommittedFile:
        """
        Raises:
            CorruptCheckpointError: it names not one, or more buffers than one.
        """
        checkpoints, buffers = record.commit.of_kind("checkpoint"), record.commit.of_kind("buffer")
        if len(checkpoints) != 1 or len(buffers) > 1:
            raise CorruptCheckpointError(
                Path(self._layout.commit(record.position)),
                f"it names {len(checkpoints)} checkpoints and {len(buffers)} buffers",
            )
        return checkpoints[0]

    def _placing(
        self, record: RemoteCommit, damaged: list[DamagedFile]
    ) -> Callable[[CommittedFile, Path], None]:
        """What puts a file where it belongs; recordings that are lost are added to ``damaged``."""
        places = {
            file.path: ObjectPlace(epoch, file.sha256)
            for file, epoch in zip(record.commit.files, record.epochs, strict=True)
        }

        def place(file: CommittedFile, path: Path) -> None:
            try:
                self._fetcher.file(places[file.path], file, path)
            except CorruptReplicaError as e:
                if file.kind != "episodes":
                    raise
                damaged.append(DamagedFile(path=file.path, reason=str(e)))

        return place

    def _fill(self, record: RemoteCommit, place: Callable[[CommittedFile, Path], None]) -> None:
        """Have all files of the commit, in their places.

        Each is what was read back when the commit was made; whoever trains from it reads it again.
        """
        run, commit = self._target.run, record.commit
        for folder in {(run / file.path).parent for file in commit.files}:
            fs.make_folder(folder)
        self._fetcher.files(commit.files, lambda file: place(file, run / file.path))

    def _settings(self, stored: StoredObject | None, damaged: list[DamagedFile]) -> bytes | None:
        """``configs.json``: every checkpoint holds the settings as well, so that it may be lost."""
        if stored is None:
            return None
        try:
            return self._fetcher.small(stored, parse_configs)
        except CorruptFileError as e:
            logger.warning("the settings of the run are lost: %s", e)
            damaged.append(DamagedFile(path=self._target.configs.name, reason=str(e)))
            return None

    def _describe(
        self, record: RemoteCommit, passed: list[Position], settings: bytes | None
    ) -> None:
        target = self._target
        if record.run_info is not None:
            info = record.run_info.model_dump_json(indent=2).encode() + b"\n"
            fs.write_bytes(target.run_info, info)
        if settings is not None:
            fs.write_bytes(target.configs, settings)
        if record.pins:
            pins = Pins(sequences=record.pins)
            fs.write_bytes(target.pins, pins.model_dump_json().encode() + b"\n")
        state = ReplicaState(
            url=self._store.url,
            run_name=self._layout.run_name,
            acknowledged=acknowledged_now(record.position, record.commit),
            passed_over=[list(position) for position in passed],
        )
        write_state(target.replica_state, state)

    def _point_links(self, commit: Commit) -> None:
        target = self._target
        checkpoint = target.run / commit.of_kind("checkpoint")[0].path
        fs.point_link(checkpoint.with_name(target.latest_checkpoint.name), checkpoint)
        if commit.best_sequence == commit.sequence:
            fs.point_link(checkpoint.with_name(target.best_checkpoint.name), checkpoint)
        for file in commit.of_kind("buffer"):
            buffer = target.run / file.path
            fs.point_link(buffer.with_name(target.latest_buffer.name), buffer)


def _newest_first(holds: Iterable[Held]) -> list[Held]:
    return sorted(holds, key=lambda held: held.sequence, reverse=True)
