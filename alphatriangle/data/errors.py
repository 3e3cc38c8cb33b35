"""Everything that can go wrong with saved state: one family, one sentence each."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Final

from alphatriangle.utils.errors import NotFiniteError


class DataError(Exception):
    """Base of all errors of :mod:`alphatriangle.data`; the message says what, where, what next."""


class InvalidRunNameError(DataError):
    """A run name cannot be a folder name."""


class DataFolderError(DataError):
    """The data folder cannot be made, read or written."""


class RunNotFoundError(DataError):
    """No run of that name exists where one was asked for."""


class RunExistsError(DataError):
    """A run of that name exists where a new one was asked for."""


class RunLockedError(DataError):
    """Another process is writing to the run."""


class CheckpointNotFoundError(DataError):
    """No checkpoint exists where one was asked for."""


class BufferNotFoundError(DataError):
    """No replay buffer exists where one was asked for."""


class CorruptFileError(DataError):
    """A file is not what was written, or not what it should be."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class FileUnavailableError(DataError):
    """A file cannot be read now; nothing says that it is damaged, so nothing older stands in."""


# The medium or the folder is at fault, and will be the next time.
_LOST: Final = (errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)


def reading_failed(path: Path, error: OSError, corrupt: type[CorruptFileError]) -> DataError:
    """What an error while reading means: the file is lost, or only out of reach for now."""
    if error.errno in _LOST:
        return corrupt(path, f"cannot be read: {error.strerror}")
    return FileUnavailableError(
        f"{path} cannot be read now: {error.strerror}; nothing was changed, mend that and try again"
    )


class CorruptCommitError(CorruptFileError):
    """A commit file is damaged, or names files that are."""


class CorruptCheckpointError(CorruptFileError):
    """A checkpoint file is damaged."""


class CorruptBufferError(CorruptFileError):
    """A replay buffer file or segment is damaged."""


class CommitNotFoundError(DataError):
    """No commit of that step exists where one was asked for."""


class ExportError(DataError):
    """An export cannot be written."""


class CorruptPinsError(CorruptFileError):
    """A run's ``pins.json`` is damaged."""


class CorruptRunInfoError(CorruptFileError):
    """A run's ``run.json`` is damaged."""


class CorruptConfigsError(CorruptFileError):
    """A run's ``configs.json`` is damaged."""


class ArchiveNotFoundError(DataError):
    """No archive exists where one was asked for."""


class MlflowUnavailableError(DataError):
    """MLflow cannot be read now; nothing says that what it holds is damaged."""


class CorruptArchiveError(CorruptFileError):
    """An archive of a run is damaged, or is none."""


class UnsupportedFormatError(DataError):
    """A file was written by a newer version of this package."""


class UnsafePickleError(DataError):
    """A pickle names a global that is not on the allow-list; nothing of it was run."""


class NoSoundCommitError(DataError):
    """A run has commits, and not one of them is sound."""


class StateMismatchError(DataError):
    """Saved state does not fit what it is to be loaded into."""


class SaveFailedError(DataError):
    """A save did not become a commit; the commits before it are untouched."""


class StateTypeError(DataError, pickle.PicklingError):
    """State holds a value of a type that could not be read again; the message says where."""


class StateNotFiniteError(SaveFailedError, NotFiniteError):
    """What was to be saved holds a NaN or an infinity: training could not go on from it."""


class UnknownCodecError(DataError):
    """Replay rows were coded by a codec that nobody has registered here."""


class ColumnsError(DataError):
    """Replay columns cannot be saved, or are not those that the rows before them have."""


class ReplicaNotFoundError(DataError):
    """The store holds no replica of that run, or none with a commit."""


class ReplicaUnavailableError(DataError):
    """A replica cannot be read now; nothing says that it is damaged, so nothing older stands in."""


class CorruptReplicaError(CorruptFileError):
    """Something in a replica is not what was put there, or is gone; the path is its key."""


class FencedError(DataError):
    """Another writer has taken the replica of the run over: nothing more is acknowledged to us."""


class DivergedError(FencedError):
    """The replica holds commits that the run's folder here does not go on from: it has another
    history, or is behind."""
