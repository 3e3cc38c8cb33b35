"""The files of compiled kernels: where they are, whom they are trusted from, and their seals.

A folder holds the kernels of exactly these sources. Loading a kernel runs what is in its file, so
only folders are read that nobody else can write to; a folder that the person names
(NUMBA_CACHE_DIR) is the person's own choice. Without numba: whoever only hands kernels on has no
need of it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

KernelFiles = dict[str, bytes]
"""Sealed contents by name."""

_PACKAGE: Final = Path(__file__).parent.parent
_KERNEL_SOURCES: Final = ("game", "features", "search", "utils", "rl", "ntuple")
_MAGIC: Final = b"alphatriangle kernel 1\n"
_PREFIX: Final = "kernels-"
_KEPT_FOLDERS: Final = 4
"""Of sources that have changed since, the newest so many keep their kernels."""


@functools.cache
def sources_digest() -> str:
    """A short digest over every module that may hold a kernel or a table that one uses.

    A kernel also depends on tables and helpers of other modules, so that its own file alone does
    not say whether it is still the same.
    """
    # Asked of the installation only by those who have not imported it.
    numba = sys.modules.get("numba")
    number = version("numba") if numba is None else numba.__version__
    digest = hashlib.sha256(f"{sys.version} {number}".encode())
    for folder in _KERNEL_SOURCES:
        for path in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folders() -> tuple[Path, ...]:
    """Folders of the kernels of exactly these sources, which can be trusted, the first choice
    first; none where there is no place for any."""
    name = _PREFIX + sources_digest()
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        folder = Path(chosen).absolute() / name
        return (folder,) if _made(folder) else ()
    found = []
    home = _cache_home()
    if home is not None and _made(home / "alphatriangle" / name) and _is_safe(home, name):
        found.append(home / "alphatriangle" / name)
        _remove_old(home / "alphatriangle")
    if not found or not os.access(found[0], os.W_OK):
        user = os.getuid() if hasattr(os, "getuid") else "user"
        private = Path(tempfile.gettempdir()) / f"alphatriangle-{user}" if _temporary() else None
        if private is not None and _made(private / name) and _is_private(private):
            found.append(private / name)
    return tuple(found)


def _cache_home() -> Path | None:
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():
        return Path(given)
    try:
        return Path.home() / ".cache"
    except (RuntimeError, KeyError):
        return None


def _temporary() -> bool:
    try:
        tempfile.gettempdir()
    except OSError:
        return False
    return True


def _made(folder: Path) -> bool:
    """Whether it is there, made with a last part that is nobody else's where it was not."""
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
    try:
        return folder.is_dir()
    except OSError:
        return False


def _is_safe(home: Path, name: str) -> bool:
    """Whether nobody but this user and root can have written what is in the folder."""
    with contextlib.suppress(OSError):
        # A umask of 002 leaves folders to the group.
        parent = home / "alphatriangle"
        parent.chmod(parent.stat().st_mode & ~(stat.S_IWGRP | stat.S_IWOTH))
    return all(
        _belongs_to_us(folder) for folder in (home / "alphatriangle", home / "alphatriangle" / name)
    )


def _belongs_to_us(folder: Path) -> bool:
    if not hasattr(os, "getuid"):
        return True  # Windows: a home is its user's.
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid in (0, os.getuid())
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _is_private(folder: Path) -> bool:
    """A folder in a place that all can write to: ours, and not a link that somebody has laid."""
    try:
        ours = folder.lstat().st_uid == os.getuid() if hasattr(os, "getuid") else True
    except OSError:
        return False
    return ours and _belongs_to_us(folder) and all(map(_belongs_to_us, folder.iterdir()))


def _remove_old(folder: Path) -> None:
    """Kernels of older sources, but for the newest few; those of the cache before this one too."""
    with contextlib.suppress(OSError):
        entries = [
            p for p in folder.iterdir() if p.name.startswith((_PREFIX, "numba-")) and p.is_dir()
        ]
        entries.sort(key=lambda p: p.stat().st_mtime, reverse=True)
        for old in entries[_KEPT_FOLDERS:]:
            if old.name != _PREFIX + sources_digest():
                shutil.rmtree(old, ignore_errors=True)


def sealed_contents(name: str) -> Iterator[bytes]:
    """What was written under the name, from every folder where it is whole."""
    for folder in cache_folders():
        try:
            content = (folder / name).read_bytes()
        except OSError:
            continue
        if _is_whole(name, content):
            yield content[len(_MAGIC) + 32 :]
        else:
            logger.warning("%s is not what was written; it is compiled again", folder / name)


def seal(name: str, payload: bytes) -> bytes:
    """A kernel under another one's name is wrong too."""
    return _MAGIC + hashlib.sha256(name.encode() + b"\0" + payload).digest()


def write_sealed(path: Path, payload: bytes) -> bool:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(seal(path.name, payload) + payload)
        temporary.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        logger.warning("%s: %s; kernels are compiled again at the next start", path.parent, e)
        return False
    return True


def kernels_here() -> KernelFiles:
    """Every whole kernel at hand, as :func:`put_kernels` takes them."""
    found: KernelFiles = {}
    for folder in reversed(cache_folders()):
        for path in folder.glob("*.kernel"):
            with contextlib.suppress(OSError):
                found[path.name] = path.read_bytes()
    return {name: content for name, content in found.items() if _is_whole(name, content)}


def missing_kernels(names: list[str]) -> list[str]:
    """Which of these are not at hand."""
    here = kernels_here()
    return [name for name in names if name not in here]


def put_kernels(kernels: KernelFiles) -> int:
    """Keep kernels that were compiled elsewhere, of these sources and for this processor.

    Returns:
        How many are what their seals say and have been written. The others are as good as none.
    """
    put = 0
    for name, content in kernels.items():
        if _is_whole(name, content) and Path(name).name == name and name.endswith(".kernel"):
            payload = content[len(_MAGIC) + 32 :]
            put += any(write_sealed(folder / name, payload) for folder in cache_folders())
    return put


def _is_whole(name: str, content: bytes) -> bool:
    payload = content[len(_MAGIC) + 32 :]
    return content[: len(_MAGIC) + 32] == seal(name, payload)
