"""The few operations through which this package changes the disk.

Everything that must survive a power cut goes through here, so that tests can record it, cut it off
at any point, and let any single operation fail.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from pathlib import Path
from typing import IO, Final

logger = logging.getLogger(__name__)

# What file systems say that have no such thing as syncing a folder (CIFS, some FUSE). The bytes of
# files are synced there; how soon a rename is durable is the server's business.
_CANNOT_SYNC_FOLDERS: Final = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)

_CANNOT_RESERVE: Final = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Disk:
    """The operating system's files. Every method raises OSError when it fails."""

    def __init__(self) -> None:
        self._without_folder_sync: set[int] = set()

    def create(self, path: Path) -> IO[bytes]:
        """An empty file, open for writing; what was there is gone."""
        return path.open("wb")

    def append(self, path: Path) -> IO[bytes]:
        """A file, open for writing at its end; made if it is not there."""
        return path.open("ab")

    def open(self, path: Path) -> IO[bytes]:
        """A file, open for reading."""
        return path.open("rb")

    def reserve(self, file: IO[bytes], size: int) -> None:
        """Take the space of ``size`` bytes for a file that is being written, where the file system
        can: a full disk says so before anything is fetched, and syncing takes half as long."""
        if size == 0 or not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as e:
            if e.errno not in _CANNOT_RESERVE:
                raise

    def sync(self, file: IO[bytes]) -> None:
        """Make what has been written to ``file`` durable. After an error nobody knows what is."""
        file.flush()
        if sys.platform == "darwin":
            import fcntl

            # There, fsync leaves the bytes in the drive's cache.
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
        else:
            os.fsync(file.fileno())

    def sync_folder(self, folder: Path) -> None:
        """Make the names in ``folder`` durable. Windows does so by itself."""
        if sys.platform == "win32":
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as e:
            if e.errno not in _CANNOT_SYNC_FOLDERS:
                raise OSError(e.errno, e.strerror, str(folder)) from e
            self._note_unsynced(os.fstat(descriptor).st_dev, folder)
        finally:
            os.close(descriptor)

    def _note_unsynced(self, device: int, folder: Path) -> None:
        if device not in self._without_folder_sync:
            self._without_folder_sync.add(device)
            logger.warning(
                "the file system of %s does not sync folders: after a power cut names may be lost",
                folder,
            )

    def syncs_folders(self, folder: Path) -> bool:
        """Whether the file system of ``folder`` has synced all folders it was asked to, so far."""
        try:
            return folder.stat().st_dev not in self._without_folder_sync
        except OSError:
            return True

    def rename(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target``, in one step; what had that name is gone."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file or a link, if it is there."""
        path.unlink(missing_ok=True)

    def hard_link(self, existing: Path, new: Path) -> None:
        """A second name for a file."""
        os.link(existing, new)

    def symbolic_link(self, target: str, link: Path) -> None:
        """A file that leads to another name in its folder."""
        link.symlink_to(target)

    def make_folder(self, folder: Path) -> None:
        """A folder; its parent is there."""
        folder.mkdir(exist_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove an empty folder."""
        folder.rmdir()


disk = Disk()
"""The one in use."""
