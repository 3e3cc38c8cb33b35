"""From commits on disk to the state that training starts from: the newest sound one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from alphatriangle.config import PersistenceConfig, TrainConfig
from alphatriangle.data.commits.files import (
    CommitList,
    StoredCommit,
    list_commits,
    of_step,
)
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.newest import noted_newest
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.errors import (
    CheckpointNotFoundError,
    DataError,
    FileUnavailableError,
    NoSoundCommitError,
    UnknownCodecError,
)
from alphatriangle.data.path_manager import PathManager, existing_run
from alphatriangle.data.records import RejectedCommit
from alphatriangle.data.schemas import BufferData, LoadedTrainingState
from alphatriangle.data.serializer import Serializer

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 20
"""A reader that retention overtakes looks again so often, then takes what it could read."""


def load_commit(
    paths: PathManager,
    stored: StoredCommit,
    serializer: Serializer,
    rejected: list[RejectedCommit],
) -> LoadedTrainingState:
    """Load a commit that is sound: see :func:`read_sound`.

    Raises:
        DataError: it is not.
    """
    state = read_sound(paths.run, stored.path, stored.commit, serializer)
    for recording in state.damaged_recordings:
        logger.warning("recorded games are lost: %s", recording.reason)
    return LoadedTrainingState(
        checkpoint_data=state.checkpoint,
        buffer_data=state.buffer,
        commit=stored.commit,
        source=str(stored.path),
        rejected=rejected,
        damaged_recordings=state.damaged_recordings,
    )


def load_newest(
    paths: PathManager, known: CommitList, serializer: Serializer
) -> LoadedTrainingState:
    """The newest sound commit of a run, with the newer ones that were passed over.

    Raises:
        CheckpointNotFoundError: the run has no commit.
        NoSoundCommitError: it has commits and none is sound.
        FileUnavailableError: a file of a newer one cannot be read now.
        UnknownCodecError: how its rows are coded is not known here.
    """
    rejected = list(known.unreadable)
    for stored in known.commits:
        try:
            return load_commit(paths, stored, serializer, rejected)
        except (FileUnavailableError, UnknownCodecError):
            raise
        except DataError as e:
            rejected.append(RejectedCommit(path=str(stored.path), reason=str(e)))
            logger.warning("commit %s is passed over: %s", stored.path, e)
    if not rejected:
        raise CheckpointNotFoundError(f"run {paths.run_name!r} has no commit yet")
    reasons = "\n  ".join(r.reason for r in rejected)
    raise NoSoundCommitError(
        f"run {paths.run_name!r} has {len(rejected)} commits and none is sound:\n  {reasons}\n"
        "nothing was changed; mend or restore the files, or choose another --run-name"
    )


def load_start(
    paths: PathManager, run: KnownCommits, names: set[str], serializer: Serializer
) -> LoadedTrainingState:
    """:func:`load_newest`, which reads the other commits only where that is needed.

    ``names``: of all commit files, just listed.

    Raises:
        DataError: as there.
    """
    newest = noted_newest(paths, names)
    if newest is not None:
        try:
            return load_commit(paths, newest, serializer, [])
        except (FileUnavailableError, UnknownCodecError):
            raise
        except DataError as e:
            logger.info("the newest commit is not sound, and all are looked at: %s", e)
    return load_newest(paths, run.look(), serializer)


def load_for_reading(
    persist_config: PersistenceConfig, run_name: str, step: int | None = None
) -> LoadedTrainingState:
    """The newest sound commit of a run, or of one step of it; takes no lock and changes nothing.

    Raises:
        RunNotFoundError: there is no such run.
        CommitNotFoundError: it has no commit of that step.
        CheckpointNotFoundError: it has no commit yet.
        NoSoundCommitError: it has commits and none is sound.
    """
    paths = existing_run(persist_config, run_name)
    serializer = Serializer(persist_config.allowed_globals)
    for attempt in range(1, _ATTEMPTS + 1):
        known = list_commits(paths)
        wanted = known if step is None else of_step(known, run_name, step)
        try:
            state = load_newest(paths, wanted, serializer)
        except NoSoundCommitError:
            if attempt == _ATTEMPTS or not _some_are_gone(s.path for s in wanted.commits):
                raise
        else:
            if attempt == _ATTEMPTS or not _some_are_gone(Path(r.path) for r in state.rejected):
                break
        # Retention of a training process removed some under our eyes: there are newer ones.
    return state


def _some_are_gone(commits: Iterable[Path]) -> bool:
    return any(not path.exists() for path in commits)


def load_explicit(
    persist_config: PersistenceConfig, train_config: TrainConfig, serializer: Serializer
) -> LoadedTrainingState | None:
    """What ``load_checkpoint_path`` and ``load_buffer_path`` name; None without either.

    A checkpoint that lies in a run comes with the buffer of its commit.

    Raises:
        DataError: one of them is missing or damaged.
    """
    checkpoint_path, buffer_path = train_config.load_checkpoint_path, train_config.load_buffer_path
    if checkpoint_path is None and buffer_path is None:
        return None
    state = LoadedTrainingState(source=checkpoint_path or buffer_path)
    if checkpoint_path is not None:
        path = Path(checkpoint_path).expanduser()
        state.checkpoint_data = serializer.load_checkpoint(path)
        if buffer_path is None:
            state.buffer_data = _buffer_beside(path.resolve(), persist_config, serializer)
    if buffer_path is not None:
        state.buffer_data = serializer.load_buffer(Path(buffer_path).expanduser())
    return state


def _buffer_beside(
    checkpoint: Path, persist_config: PersistenceConfig, serializer: Serializer
) -> BufferData | None:
    """The buffer of the commit that names ``checkpoint``, where it lies in a run."""
    run = checkpoint.parent.parent
    names = (persist_config.checkpoint_dir_name, persist_config.runs_dir_name)
    if (checkpoint.parent.name, run.parent.name) != names:
        return None
    elsewhere = persist_config.model_copy(update={"root_data_dir": run.parent.parent})
    paths = PathManager(elsewhere, run.name)
    for stored in list_commits(paths).commits:
        if any(run / f.path == checkpoint for f in stored.commit.files):
            return load_commit(paths, stored, serializer, []).buffer_data
    return None
