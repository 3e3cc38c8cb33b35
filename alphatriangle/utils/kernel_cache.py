"""Compiled kernels on disk, ours to check: whatever is wrong with one, it is compiled again.

numba's own cache trusts its files: one that a power cut has left empty or full of zeros ends every
later start, with a segmentation fault where it was machine code. Here each compiled signature is
one file, sealed by a digest over all of it, written beside its place and renamed
(``kernel_files.py``). A file that is not what was written is as good as none, and nothing about the
disk can end a command: without a folder to write to, kernels are compiled in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps

from alphatriangle.utils.kernel_files import cache_folders, sealed_contents, write_sealed

logger = logging.getLogger(__name__)


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
        for content in sealed_contents(name):
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
            if write_sealed(folder / name, content):
                return

    def _file_name(self, signature: Any, codegen: Any) -> str:
        """Of signature, processor and bytecode, so that no two kernels share a file."""
        key = repr(self._index_key(signature, codegen)).encode()
        return f"{self._stem}-{hashlib.sha256(key).hexdigest()[:24]}.kernel"
