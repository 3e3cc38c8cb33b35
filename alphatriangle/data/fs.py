"""The file system, as far as this package touches it: one way to write, one to link, one to read.

A file appears under its name only when all its bytes are durable: it is written beside its place,
flushed, fsynced, renamed, and the folder is fsynced.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

_CHUNK = 1 << 17
_WORTH_A_THREAD = 16 << 20
TEMPORARY_SUFFIX = ".tmp"


class FileDigest(NamedTuple):
    """What identifies the content of a file."""

    size: int  # bytes
    sha256: str  # hex


class _HashingWriter(io.RawIOBase):
    """Passes writes on and digests them on the way.

    Digesting is as slow as a fast disk: of a large file it is done on a thread beside the writing.
    Neither holds the interpreter's lock.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._helper: ThreadPoolExecutor | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._size += len(view)
        if self._helper is None and self._size > _WORTH_A_THREAD:
            self._helper = ThreadPoolExecutor(1, thread_name_prefix="digest")
        if self._helper is None:
            self._sha256.update(view)
        else:
            self._helper.submit(self._sha256.update, view)
        self._raw.write(view)
        return len(view)

    def digest(self) -> FileDigest:
        """Of everything written; nothing can be written after it."""
        if self._helper is not None:
            self._helper.shutdown(wait=True)
        return FileDigest(self._size, self._sha256.hexdigest())

    def close(self) -> None:
        if self._helper is not None:
            self._helper.shutdown(wait=True, cancel_futures=True)
        super().close()


def fsync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> FileDigest:
    """Write a file through ``write`` so that it exists completely or not at all.

    Raises:
        OSError: nothing has changed at ``path``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as raw, _HashingWriter(raw) as writer:
            write(writer)  # type: ignore[arg-type]
            raw.flush()
            os.fsync(raw.fileno())
            digest = writer.digest()
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)
    return digest


def write_bytes(path: Path, data: bytes) -> FileDigest:
    """:func:`write_atomically` for bytes at hand."""

    def write(f: IO[bytes]) -> None:
        f.write(data)

    return write_atomically(path, write)


def append_line(path: Path, line: str) -> None:
    """Append one line to a log that survives a crash up to its last complete line."""
    with path.open("ab") as f:
        f.write(line.encode() + b"\n")
        f.flush()
        os.fsync(f.fileno())


def digest_of(path: Path) -> FileDigest:
    """Digest a file as it is now."""
    sha256 = hashlib.sha256()
    size = 0
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            sha256.update(chunk)
            size += len(chunk)
    return FileDigest(size, sha256.hexdigest())


def point_link(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target`` in the same folder, in one step.

    A symbolic link where the file system has them, else a hard link, else a copy.
    """
    temporary = link.with_name(f".{link.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target.name)
    except (OSError, NotImplementedError):
        try:
            temporary.hardlink_to(target)
        except OSError:
            shutil.copyfile(target, temporary)
    temporary.replace(link)
    fsync_folder(link.parent)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    path.unlink(missing_ok=True)


def folder_size(folder: Path) -> int:
    """Bytes of all regular files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for entry in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if entry.is_file() and not entry.is_symlink():
                total += entry.stat().st_size
    return total
