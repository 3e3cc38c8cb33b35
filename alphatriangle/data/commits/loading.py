"""From commits on disk to the state that training starts from: the newest sound one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import (
    CommitList,
    StoredCommit,
    list_commits,
    of_step,
    verify_commit,
)
from alphatriangle.data.errors import (
    CheckpointNotFoundError,
    CorruptBufferError,
    CorruptCheckpointError,
    DataError,
    FileUnavailableError,
    NoSoundCommitError,
)
from alphatriangle.data.path_manager import PathManager, existing_run
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.schemas import (
    BufferData,
    CheckpointData,
    Commit,
    LoadedTrainingState,
    RejectedCommit,
)
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
    """Check every byte a commit names, then load it.

    Raises:
        DataError: it is not sound.
    """
    commit = stored.commit
    damaged = verify_commit(paths.run, commit)
    for recording in damaged:
        logger.warning("recorded games are lost: %s", recording.reason)
    checkpoints = commit.of_kind("checkpoint")
    if len(checkpoints) != 1:
        raise CorruptCheckpointError(stored.path, f"it names {len(checkpoints)} checkpoints")
    checkpoint = serializer.load_checkpoint(paths.run / checkpoints[0].path)
    buffer = None
    for file in commit.of_kind("buffer"):
        buffer = serializer.load_buffer(paths.run / file.path)
    _check_belongs(stored.path, commit, checkpoint, buffer)
    return LoadedTrainingState(
        checkpoint_data=checkpoint,
        buffer_data=buffer,
        commit=commit,
        source=str(stored.path),
        rejected=rejected,
        damaged_recordings=damaged,
    )


def load_newest(
    paths: PathManager, known: CommitList, serializer: Serializer
) -> LoadedTrainingState:
    """The newest sound commit of a run, with the newer ones that were passed over.

    Raises:
        CheckpointNotFoundError: the run has no commit.
        NoSoundCommitError: it has commits and none is sound.
        FileUnavailableError: a file of a newer one cannot be read now.
    """
    rejected = list(known.unreadable)
    for stored in known.commits:
        try:
            return load_commit(paths, stored, serializer, rejected)
        except FileUnavailableError:
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


def _check_belongs(
    path: Path, commit: Commit, checkpoint: CheckpointData, buffer: BufferData | None
) -> None:
    """What the commit says and what its files say of each other must be the same."""
    if commit.global_step != checkpoint.global_step:
        raise CorruptCheckpointError(
            path, f"step {commit.global_step}, its checkpoint step {checkpoint.global_step}"
        )
    if buffer is not None and isinstance(buffer.buffer_list, SegmentedRows):
        named = {(Path(f.path).name, f.sha256) for f in commit.of_kind("segment")}
        for ref in buffer.buffer_list.refs:
            if (ref.name, ref.sha256) not in named:
                raise CorruptBufferError(path, f"its buffer needs {ref.name}, which it lacks")
