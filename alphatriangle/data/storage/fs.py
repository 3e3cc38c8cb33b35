"""The file system, as far as this package touches it: one way to write, one to link, one to read.

All changes go through :mod:`alphatriangle.data.storage.disk`. A file appears under its name only
when all its bytes are durable: it is written beside its place, flushed, fsynced, renamed, and the
folder is fsynced.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from alphatriangle.data.storage.digests import MAKERS, Algorithm, Digester, FileDigest
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.pace import rest

_CHUNK = 1 << 17
_WORTH_A_THREAD = 16 << 20
_READ = 1 << 20
TEMPORARY_SUFFIX = ".tmp"


class _HashingWriter(io.RawIOBase):
    """Passes writes on and digests them on the way.

    sha256 is as slow as a fast disk: of a large file digests are made on a thread beside the
    writing. Neither holds the interpreter's lock.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw
        self._digester = Digester()
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
            self._digester.update(view)
        else:
            self._helper.submit(self._digester.update, view)
        self._raw.write(view)
        rest()
        return len(view)

    def digest(self) -> FileDigest:
        """Of everything written; nothing can be written after it."""
        if self._helper is not None:
            self._helper.shutdown(wait=True)
        return self._digester.digest()

    def close(self) -> None:
        if self._helper is not None:
            self._helper.shutdown(wait=True, cancel_futures=True)
        super().close()


def write_atomically(
    path: Path,
    write: Callable[[IO[bytes]], None],
    check: Callable[[FileDigest], None] | None = None,
    size: int = 0,
) -> FileDigest:
    """Write a file through ``write`` so that it exists completely or not at all.

    What ``check`` raises of the bytes that were written keeps it from appearing. Whoever knows that
    it will have ``size`` bytes, and checks that it has, gets the space for them first.

    Raises:
        OSError: nothing has changed at ``path``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with disk.create(temporary) as raw, _HashingWriter(raw) as writer:
            disk.reserve(raw, size)
            write(writer)  # type: ignore[arg-type]
            disk.sync(raw)
            digest = writer.digest()
        if check is not None:
            check(digest)
        disk.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            disk.remove(temporary)
        raise
    disk.sync_folder(path.parent)
    rest()
    return digest


def write_bytes(path: Path, data: bytes) -> FileDigest:
    """:func:`write_atomically` for bytes at hand."""

    def write(f: IO[bytes]) -> None:
        f.write(data)

    return write_atomically(path, write)


def append_line(path: Path, line: str) -> None:
    """Append one line to a log that survives a crash up to its last complete line."""
    is_new = not path.exists()
    # What a crash has torn stays a line of its own.
    start = b"" if is_new or _ends_with_a_line(path) else b"\n"
    with disk.append(path) as f:
        f.write(start + line.encode() + b"\n")
        disk.sync(f)
    if is_new:
        disk.sync_folder(path.parent)


def _ends_with_a_line(path: Path) -> bool:
    with disk.open(path) as f:
        size = f.seek(0, os.SEEK_END)
        f.seek(max(size - 1, 0))
        return f.read(1) in (b"", b"\n")


def read_bytes(path: Path) -> bytes:
    """All of a file."""
    with disk.open(path) as f:
        return f.read()


def read_digested(path: Path, algorithm: Algorithm) -> tuple[memoryview, str]:
    """All of a file, and its digest (hex).

    sha256 of a large file is made on a thread beside the reading, xxh3 of each piece while it is
    still in the processor's cache.
    """
    digest = MAKERS[algorithm]()
    with disk.open(path) as f, contextlib.ExitStack() as beside:
        size = f.seek(0, os.SEEK_END)
        f.seek(0)
        # NumPy asks for huge pages: to get much memory in small ones takes longer than to fill it.
        content = np.empty(size, np.uint8).data
        helper = None
        if algorithm == "sha256" and size >= _WORTH_A_THREAD:
            helper = beside.enter_context(ThreadPoolExecutor(1, thread_name_prefix="digest"))
        end = 0
        while count := f.readinto(content[end : end + _READ]):  # type: ignore[attr-defined]
            piece = content[end : end + count]
            end += count
            if helper is None:
                digest.update(piece)
            else:
                helper.submit(digest.update, piece)
    return content[:end], digest.hexdigest()


def digest(content: bytes) -> FileDigest:
    """Digest bytes at hand."""
    digester = Digester()
    digester.update(content)
    return digester.digest()


def digest_of(path: Path) -> FileDigest:
    """Digest a file as it is now."""
    digester = Digester()
    with disk.open(path) as f:
        while chunk := f.read(_CHUNK):
            digester.update(chunk)
            rest()
    return digester.digest()


def point_link(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target`` in the same folder, in one step.

    A symbolic link where the file system has them, else a hard link, else a copy.
    """
    temporary = link.with_name(f".{link.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    disk.remove(temporary)
    try:
        disk.symbolic_link(target.name, temporary)
    except (OSError, NotImplementedError):
        share(target, temporary)
    disk.rename(temporary, link)
    disk.sync_folder(link.parent)


def share(existing: Path, new: Path) -> None:
    """A second name for an immutable file: a hard link where there can be one, else a copy.

    The name is durable when its folder is synced.

    Raises:
        FileNotFoundError: ``existing`` is not there.
    """
    try:
        disk.hard_link(existing, new)
    except FileNotFoundError:
        raise
    except OSError:
        with disk.open(existing) as source, disk.create(new) as copy:
            while chunk := source.read(_CHUNK):
                copy.write(chunk)
            disk.sync(copy)


def make_folder(folder: Path) -> None:
    """A folder that survives a power cut, and all above it that are not there yet."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    disk.make_folder(folder)
    disk.sync_folder(folder.parent)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    disk.remove(path)


def remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it."""
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            disk.remove(entry)
    disk.remove_folder(folder)


def folder_size(folder: Path) -> int:
    """Bytes of all regular files below ``folder`` that do not vanish and are not closed to us."""
    total = 0
    for entry in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if entry.is_file() and not entry.is_symlink():
                total += entry.stat().st_size
    return total
