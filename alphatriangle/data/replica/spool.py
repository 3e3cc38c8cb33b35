"""One commit that is being handed over, held fast: retention cannot take its files meanwhile.

A folder of hard links, which cost no space. It also says after a crash which commit was being
handed over; it is removed when that has been acknowledged or given up.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, NamedTuple

from alphatriangle.data.commits.files import StoredCommit, read_commit
from alphatriangle.data.errors import (
    CorruptRunInfoError,
    DataError,
    FileUnavailableError,
    UnsupportedFormatError,
)
from alphatriangle.data.json_files import read_json_if_any
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit, CommittedFile, RunInfo
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import FileDigest
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.failpoints import failpoint

logger = logging.getLogger(__name__)

_COMMIT: Final = "commit.json"
_CONFIGS: Final = "configs.json"


class LooseFile(NamedTuple):
    """A file as it is now that is no part of a commit."""

    path: Path
    digest: FileDigest


class Parcel(NamedTuple):
    """A commit with all that a restore needs, as files that stay."""

    commit: Commit
    files: dict[str, Path]
    """sha256 -> where its content is; only of those that were asked for."""
    run_info: RunInfo | None
    configs: LooseFile | None


class Spool:
    """Holds one parcel at a time."""

    def __init__(self, paths: PathManager) -> None:
        self._paths = paths
        self._folder = paths.replica / "spool"

    def fill(self, stored: StoredCommit, wanted: list[CommittedFile]) -> Parcel:
        """Hold a commit and the files ``wanted`` of it; what was held before is let go.

        Raises:
            FileNotFoundError: retention was faster.
            OSError: the disk says no.
        """
        self.clear()
        fs.make_folder(self._folder)
        files = {file.sha256: self._hold(self._paths.run / file.path, file) for file in wanted}
        configs = self._copy(self._paths.configs, _CONFIGS)
        # Written, not linked: it must be readable whatever becomes of the other.
        fs.write_bytes(self._folder / _COMMIT, fs.read_bytes(stored.path))
        failpoint("replica.linked")
        return Parcel(stored.commit, files, self._run_info(), configs)

    def left(self) -> Commit | None:
        """The commit that was being handed over when the process before this one ended.

        Raises:
            FileUnavailableError: nobody can tell now.
        """
        try:
            return read_commit(self._folder / _COMMIT)
        except FileUnavailableError:
            raise
        except DataError:
            return None

    def clear(self) -> None:
        """Let go of what is held.

        Raises:
            OSError: something cannot be removed.
        """
        if self._folder.is_dir():
            fs.remove_tree(self._folder)

    def _hold(self, path: Path, file: CommittedFile) -> Path:
        link = self._folder / file.sha256
        try:
            disk.hard_link(path, link)
        except FileExistsError:
            pass  # Two files of the same content.
        except FileNotFoundError:
            raise
        except OSError:
            # No copy, which could fill the disk: where there are no links the file itself must do.
            return path
        return link

    def _run_info(self) -> RunInfo | None:
        try:
            return read_json_if_any(self._paths.run_info, RunInfo, CorruptRunInfoError)
        except (CorruptRunInfoError, UnsupportedFormatError) as e:
            logger.warning("the replica goes on without run.json: %s", e)
            return None

    def _copy(self, path: Path, name: str) -> LooseFile | None:
        try:
            content = fs.read_bytes(path)
        except FileNotFoundError:
            return None
        copy = self._folder / name
        return LooseFile(copy, fs.write_bytes(copy, content))
