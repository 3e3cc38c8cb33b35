"""Independent uses of randomness, and seeds for generators of libraries, without numba."""

from __future__ import annotations

from typing import Final

# Streams: one number per independent use of randomness. Never renumber: saved runs depend on it.
STREAM_DEAL: Final = 1
STREAM_GUMBEL: Final = 2
STREAM_PLAYER: Final = 3
STREAM_INIT: Final = 4
STREAM_SAMPLE: Final = 5
STREAM_VIEW: Final = 6

_MASK: Final = 2**64 - 1


def library_seed(seed: int, stream: int) -> int:
    """A non-negative 63-bit seed for a library's own generator, from (seed, stream).

    Half of the key of episode 0, as :func:`alphatriangle.utils.seeding.derive_key` has it.
    """
    return _mix64(_mix64(_mix64(seed & _MASK) ^ stream)) >> 1


def _mix64(x: int) -> int:
    z = (x + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
