"""Kernels for kernels only: they do without an entry from Python, and say so."""

from __future__ import annotations

import numpy as np
import pytest

from alphatriangle.utils.kernels import copy_into, inner, kernel


@inner
def _twice(x: int) -> int:
    return 2 * x


@kernel
def _four_times(x: int) -> int:
    return _twice(_twice(x))  # type: ignore[no-any-return]


def test_kernels_call_it_and_python_is_refused() -> None:
    assert _four_times(3) == 12
    for call in (lambda: _twice(3), lambda: copy_into(np.zeros(2), np.ones(2))):
        with pytest.raises(TypeError, match=r"(_twice|copy_into) can be called by kernels only"):
            call()
