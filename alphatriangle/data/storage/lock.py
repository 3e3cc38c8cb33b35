"""One writer per run.

The lock is the operating system's (it ends with its process, however that ends); a file beside it
says whose it is, for people.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from alphatriangle.data.errors import DataFolderError, RunLockedError
from alphatriangle.data.storage import fs

PATIENCE_SECONDS = 1.0
"""How long a lock is waited for: somebody may just be looking whether the run is in use."""


class RunLock:
    """Of the run in ``folder``: held from :meth:`acquire` to :meth:`release` or the end of the
    process."""

    def __init__(self, folder: Path) -> None:
        self._run_name = folder.name
        self._lock = FileLock(folder / ".lock")
        self._owner = folder / ".lock-owner.json"

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunLockedError: another process holds it; the message names that process.
            DataFolderError: the lock file cannot be made.
        """
        try:
            self._lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=0.05)
        except Timeout as e:
            raise RunLockedError(
                f"run {self._run_name!r} is being written by {self._describe_owner()}; "
                "wait for it, stop it, or choose another --run-name"
            ) from e
        except OSError as e:
            raise DataFolderError(f"cannot lock {self._lock.lock_file}: {e.strerror}") from e
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            fs.write_bytes(self._owner, json.dumps(owner).encode())
        except OSError as e:
            self._lock.release()
            raise DataFolderError(f"cannot write {self._owner}: {e.strerror}") from e

    def release(self) -> None:
        """Give it back; without effect when it is not held."""
        if self._lock.is_locked:
            # The note is for people; the lock is what counts.
            with contextlib.suppress(OSError):
                fs.remove(self._owner)
            self._lock.release()

    def is_held_elsewhere(self) -> bool:
        """Whether some process holds the lock now."""
        if self._lock.is_locked or not self._owner.exists():
            return False
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            # Not ours to lock, a read-only copy for example: nobody writes there either.
            return False
        self._lock.release()
        return False

    def _describe_owner(self) -> str:
        try:
            owner = json.loads(self._owner.read_bytes())
            return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
