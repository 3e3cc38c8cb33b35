"""Sequential halving as a table (Karnin et al., 2013; Danihelka et al., 2022, section 3.3)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def visit_sequence(num_actions: int, num_simulations: int) -> list[int]:
    """For each simulation, how often the action it goes to must have been visited before.

    Phases share the budget equally; each gives all remaining actions the same number of visits
    and keeps the better half. Which half is better the search decides; who has how many visits
    does not depend on it, so the whole schedule is known beforehand.
    """
    if num_actions == 1:
        return list(range(num_simulations))
    phases = math.ceil(math.log2(num_actions))
    sequence: list[int] = []
    remaining = num_actions
    visits = 0
    while len(sequence) < num_simulations:
        for _ in range(max(1, num_simulations // (phases * remaining))):
            sequence += [visits] * remaining
            visits += 1
        remaining = max(2, remaining // 2)
    return sequence[:num_simulations]


def visit_table(max_actions: int, num_simulations: int) -> npt.NDArray[np.int32]:
    """[max_actions + 1, num_simulations] int32: row m is ``visit_sequence(m)``, row 0 unused."""
    table = np.zeros((max_actions + 1, num_simulations), np.int32)
    for m in range(1, max_actions + 1):
        table[m] = visit_sequence(m, num_simulations)
    return table
