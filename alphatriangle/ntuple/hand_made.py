"""A value by hand for the planner: the more open places, the likelier to survive.

What the search alone is worth, for comparison with what is learned.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import DEAL_TABLE, NUM_SHAPES
from alphatriangle.ntuple.layout import COUNTS, LAYOUT, SIZE

_OPEN: Final = 10.0
"""At so many places does the average shape fit where survival is as likely as not."""
_STEEP: Final = 0.3
"""The logit of one more."""


def hand_made_weights() -> npt.NDArray[np.float32]:
    """[SIZE] weights by which the logit is linear in the number of placements of the average
    shape; of 0.15, 0.3 and 0.5 for its slope and several curves of it none was better."""
    weights = np.zeros(SIZE, np.float32)
    share = np.bincount(DEAL_TABLE, minlength=NUM_SHAPES) / len(DEAL_TABLE)
    for shape in range(NUM_SHAPES):
        first = LAYOUT.counts + shape * COUNTS
        weights[first : first + COUNTS] = share[shape] * _STEEP * (np.arange(COUNTS) - _OPEN)
    return weights
