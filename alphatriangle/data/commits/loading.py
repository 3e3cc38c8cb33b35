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
)
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
from alphatriangle.data.schemas import LoadedTrainingState
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
