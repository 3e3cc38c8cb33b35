"""Compiled kernels on disk, ours to check: whatever is wrong with one, it is compiled again.

numba's own cache trusts its files: one that a power cut has left empty or full of zeros ends every
later start, with a segmentation fault where it was machine code. Here each compiled signature is
one file, sealed by a digest over all of it, written beside its place and renamed. A file that is
not what was written is as good as none, and nothing about the disk can end a command: without a
folder to write to, kernels are compiled in memory.

Loading a kernel runs what is in its file, so only folders are read that nobody else can write to;
a folder that the person names (NUMBA_CACHE_DIR) is the person's own choice.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps

logger = logging.getLogger(__name__)

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
    digest = hashlib.sha256(f"{sys.version} {numba.__version__}".encode())
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


class _Place:
    """What numba's classes ask of the place of a function's kernels."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._py_file = function.__code__.co_filename

    def ensure_cache_path(self) -> None:
        """See :func:`cache_folders`."""


class _Kernels(CompileResultCacheImpl):  # type: ignore[misc]
    """How a compiled kernel is taken apart and put together: numba's way."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # Without numba's search for a place, which ends in an error where it finds none.
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Place(function)


class KernelCache(FunctionCache):  # type: ignore[misc]
    """The kernels of one function, a file for each signature and processor."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._py_func = function
        self._name = repr(function)
        self._impl = _Kernels(function)
        self._stem = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}"
        self.enable()

    @property
    def cache_path(self) -> str:
        """Where kernels are looked for first."""
        return str(next(iter(cache_folders()), ""))

    def flush(self) -> None:
        """Forget them."""
        for folder in cache_folders():
            for path in folder.glob(f"{self._stem}-*.kernel"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def holds_any(self) -> bool:
        """Whether there is a file of it, sound or not."""
        return any(any(folder.glob(f"{self._stem}-*.kernel")) for folder in cache_folders())

    def _load_overload(self, signature: Any, target: Any) -> Any:
        if not self._enabled:
            return None
        name = self._file_name(signature, target.codegen())
        for content in _sealed_contents(name):
            try:
                return self._impl.rebuild(target, pickle.loads(content))
            except Exception as e:  # noqa: BLE001 - whatever it is, the kernel is compiled again
                logger.warning("the kernel %s is compiled again: %s: %s", name, type(e).__name__, e)
        return None

    def _save_overload(self, signature: Any, data: Any) -> None:
        if not (self._enabled and cache_folders() and self._impl.check_cachable(data)):
            return
        name = self._file_name(signature, data.codegen)
        content = dumps(self._impl.reduce(data))
        for folder in cache_folders():
            if _write_sealed(folder / name, content):
                return

    def _file_name(self, signature: Any, codegen: Any) -> str:
        """Of signature, processor and bytecode, so that no two kernels share a file."""
        key = repr(self._index_key(signature, codegen)).encode()
        return f"{self._stem}-{hashlib.sha256(key).hexdigest()[:24]}.kernel"


def _sealed_contents(name: str) -> Iterator[bytes]:
    """What was written under the name, from every folder where it is whole."""
    for folder in cache_folders():
        try:
            content = (folder / name).read_bytes()
        except OSError:
            continue
        seal, payload = content[: len(_MAGIC) + 32], content[len(_MAGIC) + 32 :]
        if seal == _seal(name, payload):
            yield payload
        else:
            logger.warning("%s is not what was written; it is compiled again", folder / name)


def _seal(name: str, payload: bytes) -> bytes:
    """A kernel under another one's name is wrong too."""
    return _MAGIC + hashlib.sha256(name.encode() + b"\0" + payload).digest()


def _write_sealed(path: Path, payload: bytes) -> bool:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(_seal(path.name, payload) + payload)
        temporary.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        logger.warning("%s: %s; kernels are compiled again at the next start", path.parent, e)
        return False
    return True
