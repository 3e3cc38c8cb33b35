"""The bits of a word under a mask, packed together: by one instruction, or by six rounds of shifts.

x86 processors with BMI2 have PEXT; AMD's before Zen 3 have it in microcode, slower than any other
way. Everywhere else the bits move by powers of two, each round by the moves of the mask (H. S.
Warren, *Hacker's Delight*, section 7-4, "compress"). Both give the same numbers.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

ROUNDS: Final = 6
"""Of moves: 2**6 places in a word."""
_SLOW_PEXT: Final = ("bdver4", "znver1", "znver2")


class ByPext(NamedTuple):
    """For kernels compiled with PEXT; each type of way is compiled, and kept on disk, by itself."""

    folded: bool = False  # whether weights are folded, so that small tuples need no look-up


class ByMoves(NamedTuple):
    """For kernels compiled with shifts, which run everywhere."""

    folded: bool = False


Way = ByPext | ByMoves


def best_way(*, folded: bool = False) -> Way:
    """The faster way of this processor."""
    return ByPext(folded) if has_fast_pext() else ByMoves(folded)


def has_fast_pext() -> bool:
    """Whether kernels are compiled for a processor whose PEXT is worth using."""
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    return (
        str(triple).startswith("x86_64")
        and "+bmi2" in str(features).split(",")
        and name not in _SLOW_PEXT
    )


@intrinsic
def pext(typingctx: Any, word: Any, mask: Any) -> Any:
    """PEXT of two uint64. To be compiled only where :func:`has_fast_pext` or BMI2 is certain."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word_type = ir.IntType(64)
        kind = ir.FunctionType(word_type, [word_type, word_type])
        name = "llvm.x86.bmi.pext.64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return types.uint64(types.uint64, types.uint64), codegen


def moves_of(mask: int) -> npt.NDArray[np.uint64]:
    """[6] uint64: the bits that move down by 1, 2, 4, ... 32 places when ``mask`` is packed."""
    moves = np.zeros(ROUNDS, np.uint64)
    places = [bit for bit in range(64) if mask >> bit & 1]
    ways = [bit - packed for packed, bit in enumerate(places)]
    for i in range(ROUNDS):
        moves[i] = sum(1 << bit for bit, way in zip(places, ways, strict=True) if way >> i & 1)
        places = [bit - (way & 1 << i) for bit, way in zip(places, ways, strict=True)]
    return moves
