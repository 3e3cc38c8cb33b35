"""Bit operations numba does not offer: population count and trailing zeros of a 64-bit word."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from alphatriangle.utils.kernels import kernel


@intrinsic
def popcount(typingctx: Any, word: Any) -> Any:
    """The number of set bits of a uint64, as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """The index of the lowest set bit of a uint64, as int64; 64 for zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@kernel(inline="always")
def select_bit(lo: np.uint64, hi: np.uint64, k: int) -> int:
    """The position of the k-th (from 0) set bit of the 128-bit word (lo, hi)."""
    in_lo = popcount(lo)
    word = lo
    base = 0
    if k >= in_lo:
        k -= in_lo
        word = hi
        base = 64
    one = np.uint64(1)
    for _ in range(k):
        word &= word - one
    return base + trailing_zeros(word)
