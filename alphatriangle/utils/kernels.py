"""How kernels are compiled.

Compiling is most of what a first start does. Half of a small kernel's machine code unpacks Python
arguments, dozens of arrays for a tree or for lanes: what only other kernels call does without, and
is nothing to keep on disk, since the kernels that call it hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy.typing as npt
from numba import njit
from numba.core.registry import CPUDispatcher

from alphatriangle.utils.kernel_cache import KernelCache


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """For a kernel that Python calls; kernels may call it too."""
    if function is None:
        return lambda function: kernel(function, **options)
    compiled = njit(no_cfunc_wrapper=True, **options)(function)
    compiled._cache = KernelCache(function)
    return compiled


class _OfKernels(CPUDispatcher):  # type: ignore[misc]
    """Has no entry from Python: numba would jump to address 0."""

    def __call__(self, *arguments: Any, **more: Any) -> NoReturn:
        raise TypeError(f"{self.py_func.__qualname__} can be called by kernels only")


def inner(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """For a kernel that only other kernels call; from Python it is a TypeError."""
    if function is None:
        return lambda function: inner(function, **options)
    compiled = njit(no_cfunc_wrapper=True, no_cpython_wrapper=True, **options)(function)
    compiled.__class__ = _OfKernels
    return compiled


def is_on_disk(compiled: Any) -> bool:
    """Whether the cache has machine code of a :func:`kernel`, for whatever arguments."""
    cache: KernelCache = compiled._cache
    return cache.holds_any()


@inner(forceinline=True)
def copy_into(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """``target[:] = source`` of one length; that itself compiles broadcasting and its errors."""
    for i in range(len(target)):
        target[i] = source[i]
