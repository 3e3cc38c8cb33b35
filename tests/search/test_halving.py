"""The schedule of sequential halving."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.search.halving import visit_sequence, visit_table


def test_the_example_of_sixteen_simulations_over_eight_actions() -> None:
    """Three phases: eight actions once, four again, then the best two share the rest."""
    assert visit_sequence(8, 16) == [0] * 8 + [1] * 4 + [2, 2] + [3, 3]


@given(st.integers(1, 144), st.integers(1, 300))
def test_laws_of_the_schedule(actions: int, simulations: int) -> None:
    sequence = visit_sequence(actions, simulations)
    assert len(sequence) == simulations
    # Simulation after simulation, there is an action with the visits asked for.
    visits = [0] * actions
    for wanted in sequence:
        assert wanted in visits
        visits[visits.index(wanted)] += 1
    # No action is dropped before all that remain have been visited equally.
    for level in range(max(sequence) + 1):
        assert sequence.index(level) == min(i for i, v in enumerate(sequence) if v >= level)
    if simulations >= actions:
        assert sequence[:actions] == [0] * actions


def test_survivors_halve() -> None:
    for actions in (2, 4, 8, 16, 32):
        sequence = visit_sequence(actions, 2000)
        widths = [sequence.count(level) for level in range(max(sequence) + 1)]
        assert widths == sorted(widths, reverse=True)
        assert len(set(widths)) == math.log2(actions)


def test_the_table_has_a_row_for_every_number_of_actions() -> None:
    table = visit_table(10, 7)
    assert table.shape == (11, 7)
    assert table[3].tolist() == visit_sequence(3, 7)
