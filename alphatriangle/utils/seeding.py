"""Counter-based random numbers: a value depends on its key and counter only, never on who draws it.

The mixing function is the SplitMix64 finaliser (Steele, Lea, Flood 2014, "Fast splittable
pseudorandom number generators", fig. 17). A key is derived from (run seed, stream, episode); the
counter is the move or the deal. Nothing has to be carried from draw to draw, so an episode plays
the same whoever plays it, whenever, and whatever was played before.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.utils.kernels import kernel
from alphatriangle.utils.streams import STREAM_DEAL as STREAM_DEAL  # with keys, for other programs
from alphatriangle.utils.streams import STREAM_PLAYER as STREAM_PLAYER

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MUL1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MUL2: Final = np.uint64(0x94D049BB133111EB)
_S27: Final = np.uint64(27)
_S30: Final = np.uint64(30)
_S31: Final = np.uint64(31)
_S32: Final = np.uint64(32)
_S11: Final = np.uint64(11)
_TWO_M53: Final = 2.0**-53


@kernel(inline="always")
def mix64(x: np.uint64) -> np.uint64:
    """One SplitMix64 output for the state ``x``."""
    z = x + _GOLDEN
    z = (z ^ (z >> _S30)) * _MUL1
    z = (z ^ (z >> _S27)) * _MUL2
    return z ^ (z >> _S31)


@kernel
def derive_key(seed: int, stream: int, episode: int) -> np.uint64:
    """The key of one (seed, stream, episode)."""
    k = mix64(np.uint64(seed))
    k = mix64(k ^ np.uint64(stream))
    return mix64(k ^ np.uint64(episode))


@kernel(inline="always")
def draw_u64(key: np.uint64, counter: np.uint64) -> np.uint64:
    """64 uniform bits for (key, counter)."""
    return mix64(key + counter * _GOLDEN)


@kernel(inline="always")
def draw_below(key: np.uint64, counter: np.uint64, n: np.uint64) -> np.uint64:
    """A uniform integer in [0, n), n < 2**32 (multiply-shift; bias below n / 2**32)."""
    return ((draw_u64(key, counter) >> _S32) * n) >> _S32


@kernel(inline="always")
def draw_unit(key: np.uint64, counter: np.uint64) -> float:
    """A uniform float in (0, 1): never exactly 0 or 1."""
    return (float(draw_u64(key, counter) >> _S11) + 0.5) * _TWO_M53


@kernel(inline="always")
def draw_gumbel(key: np.uint64, counter: np.uint64) -> float:
    """A standard Gumbel variate, -log(-log U)."""
    return -math.log(-math.log(draw_unit(key, counter)))


@kernel
def draw_shares(key: np.uint64, count: int) -> npt.NDArray[np.float64]:
    """[count] float64 in [0, 1): the draws of counters 0, 1, ... as multiples of 2**-53."""
    out = np.empty(count, np.float64)
    for i in range(count):
        out[i] = float(draw_u64(key, np.uint64(i)) >> _S11) * _TWO_M53
    return out
