"""Which commit is the newest, noted beside the commits: a start need not read all of them to know.

Only commits say what their order is, and with thousands kept, reading them takes a second. The note
holds for exactly the commit files that were there when it was made; where others are, it says
nothing, and all are read. So it can be lost, stale or damaged, but not wrong.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alphatriangle.data.commits.files import (
    CommitList,
    StoredCommit,
    commit_names,
    read_commits,
)
from alphatriangle.data.errors import CorruptCommitError, DataError
from alphatriangle.data.json_files import read_json_if_any
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Sha256
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk

logger = logging.getLogger(__name__)


class _Note(BaseModel):
    """``newest.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1] = 1
    names_sha256: Sha256
    """Of the names of all commit files."""
    newest: str
    """The name of the newest among them."""
    highest_step: int = Field(ge=0)
    """Of the steps of all of them: files of higher steps have names that are not among these."""


def _names_digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()


def _read_note(paths: PathManager) -> _Note | None:
    try:
        return read_json_if_any(paths.newest, _Note, CorruptCommitError)
    except DataError as e:
        logger.info("all commits are read, since the note of the newest cannot be: %s", e)
        return None


def noted_newest(paths: PathManager, names: set[str] | None = None) -> StoredCommit | None:
    """The newest commit, where that is noted; else nobody knows without reading all.

    ``names``: of all commit files, for those who have just listed them.

    Raises:
        FileUnavailableError: it cannot be read now.
    """
    note = _read_note(paths)
    if note is None:
        return None
    if names is None:
        names = commit_names(paths)
    if note.newest not in names or note.names_sha256 != _names_digest(names):
        return None
    read = read_commits(paths, [note.newest])
    return read.commits[0] if read.commits else None


class NewestNote:
    """Keeps the note of a run that this process writes to."""

    def __init__(self, paths: PathManager) -> None:
        self._paths = paths
        self._note = _read_note(paths)

    def before_commit(self, step: int) -> None:
        """A commit of this step is about to appear.

        Its name may be one that was there when the note was made and has been removed since. Then
        the names would be those of the note again, with a newest that it does not know.

        Raises:
            OSError: nobody may write the commit.
        """
        if self._note is not None and step > self._note.highest_step:
            return
        fs.remove(self._paths.newest)
        disk.sync_folder(self._paths.run)
        self._note = None

    def after_commit(self, known: CommitList) -> None:
        """Note the newest of ``known``, which are all that this process has left there.

        Where somebody else has removed one since, the note says nothing, as if it went now.

        Raises:
            OSError: the note is not there, or that of before, which does no harm.
        """
        if known.unreadable or not known.commits:
            return
        self._note = _Note(
            names_sha256=_names_digest(stored.path.name for stored in known.commits),
            newest=known.commits[0].path.name,
            highest_step=max(stored.commit.global_step for stored in known.commits),
        )
        fs.write_bytes(self._paths.newest, self._note.model_dump_json().encode() + b"\n")
