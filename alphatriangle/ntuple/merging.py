"""How copies of the tables that learned at the same time become one again.

What they changed is added up: where each of them changed a weight by little, that is what one copy
would have learned from all of their deals. A weight that every board looks up goes, in each copy,
most of the way to where it should be; the sum of many such ways leads far beyond. So a weight moves
by at most :data:`MOVES` times what the copies that changed it did on average. Errors and absolute
errors are sums over all that was seen, and are added up whole.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.ntuple.online import ABSOLUTE, ERRORS, WEIGHT, Learned
from alphatriangle.utils.kernels import kernel

MOVES: Final = 2.0

FloatArray = npt.NDArray[np.float32]


@kernel(nogil=True)
def lay_out(weights: FloatArray, errors: FloatArray, absolute: FloatArray, out: Learned) -> None:
    """Write tables the way a copy learns on them: ``out`` [SIZE, 3]."""
    for i in range(len(weights)):
        out[i, WEIGHT], out[i, ERRORS], out[i, ABSOLUTE] = weights[i], errors[i], absolute[i]


@kernel(nogil=True)
def merge(
    weights: FloatArray,
    errors: FloatArray,
    absolute: FloatArray,
    copies: npt.NDArray[np.float32],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """New tables, from those that all ``copies`` [C, SIZE, 3] began with; in the copies' order."""
    new_weights = np.empty_like(weights)
    new_errors = np.empty_like(errors)
    new_absolute = np.empty_like(absolute)
    for i in range(len(weights)):
        touched, weight, error, size = 0.0, 0.0, 0.0, 0.0
        for c in range(len(copies)):
            more = copies[c, i, ABSOLUTE] - absolute[i]
            if not more <= 0.0:  # what is not a number has to be seen, too
                touched += 1.0
                weight += copies[c, i, WEIGHT] - weights[i]
                error += copies[c, i, ERRORS] - errors[i]
                size += more
        if touched > MOVES:
            weight *= MOVES / touched
        new_weights[i] = weights[i] + weight
        new_errors[i] = errors[i] + error
        new_absolute[i] = absolute[i] + size
    return new_weights, new_errors, new_absolute


@kernel(nogil=True)
def move_towards(average: FloatArray, weights: FloatArray, share: float) -> FloatArray:
    """``average + share * (weights - average)``, in a new array."""
    out = np.empty_like(average)
    small = np.float32(share)
    for i in range(len(average)):
        out[i] = average[i] + small * (weights[i] - average[i])
    return out
