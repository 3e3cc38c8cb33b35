"""A disk that says no at the n-th operation."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from alphatriangle.data.storage.disk import Disk, disk


class Fault:
    """Fails operation ``at`` (the first is 0), and with ``lasting`` every one after it too."""

    def __init__(
        self,
        at: int,
        error: int,
        *,
        lasting: bool = False,
        short: bool = False,
        lying: bool = False,
    ) -> None:
        self.at = at
        self.error = error
        self.lasting = lasting
        self.short = short
        """Write half of what should be written, once, without an error."""
        self.lying = lying
        """Write something else than what should be written, once, without an error."""
        self.count = 0
        self.struck = False

    def now(self) -> bool:
        """Count an operation; whether this is the one."""
        hit = self.count == self.at or (self.lasting and self.count > self.at)
        self.count += 1
        self.struck |= hit
        return hit

    def check(self) -> None:
        if self.now() and not (self.short or self.lying):
            raise OSError(self.error, os.strerror(self.error))


class _FaultyFile(io.FileIO):
    fault: Fault

    def write(self, data: Any) -> int:
        if not self.fault.now():
            return super().write(data)
        if self.fault.lying:
            wrong = bytearray(data)
            wrong[len(wrong) // 2] ^= 1
            return super().write(wrong)
        if self.fault.short:
            return super().write(memoryview(data)[: max(len(data) // 2, 1)])
        raise OSError(self.fault.error, os.strerror(self.fault.error))


class FaultyDisk(Disk):
    """The real disk but for one operation."""

    fault: Fault

    def create(self, path: Path) -> IO[bytes]:
        return self._opened(path, "w")

    def append(self, path: Path) -> IO[bytes]:
        return self._opened(path, "a")

    def _opened(self, path: Path, mode: str) -> IO[bytes]:
        self.fault.check()
        raw = _FaultyFile(path, mode)
        raw.fault = self.fault
        return io.BufferedWriter(raw)

    def open(self, path: Path) -> IO[bytes]:
        self.fault.check()
        return super().open(path)

    def reserve(self, file: IO[bytes], size: int) -> None:
        if size:
            self.fault.check()
        super().reserve(file, size)

    def sync(self, file: IO[bytes]) -> None:
        self.fault.check()
        super().sync(file)

    def sync_folder(self, folder: Path) -> None:
        self.fault.check()
        super().sync_folder(folder)

    def rename(self, source: Path, target: Path) -> None:
        self.fault.check()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self.fault.check()
        super().remove(path)

    def hard_link(self, existing: Path, new: Path) -> None:
        self.fault.check()
        super().hard_link(existing, new)

    def symbolic_link(self, target: str, link: Path) -> None:
        self.fault.check()
        super().symbolic_link(target, link)

    def make_folder(self, folder: Path) -> None:
        self.fault.check()
        super().make_folder(folder)


@contextlib.contextmanager
def failing(fault: Fault) -> Iterator[Fault]:
    """Let the package's disk fail so."""
    disk.__class__ = FaultyDisk
    disk.fault = fault  # type: ignore[attr-defined]
    try:
        yield fault
    finally:
        disk.__class__ = Disk
        del disk.fault  # type: ignore[attr-defined]


class _DiskWithoutAFile(Disk):
    """The real disk but for one file, which nobody may open."""

    missing: tuple[Path, int]

    def open(self, path: Path) -> IO[bytes]:
        if path == self.missing[0]:
            raise OSError(self.missing[1], os.strerror(self.missing[1]), str(path))
        return super().open(path)


@contextlib.contextmanager
def unreadable(path: Path, error: int) -> Iterator[None]:
    """Let the package's disk answer so whenever this file is opened to be read."""
    disk.__class__ = _DiskWithoutAFile
    disk.missing = path, error  # type: ignore[attr-defined]
    try:
        yield
    finally:
        disk.__class__ = Disk
        del disk.missing  # type: ignore[attr-defined]
