"""The sum tree against plain arithmetic."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.utils.sum_tree import SumTree

priorities = st.lists(st.floats(0, 1000, width=32), min_size=1, max_size=70)


@given(priorities, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_find_is_the_prefix_sum_search(values: list[float], shares: list[float]) -> None:
    tree = SumTree(len(values))
    tree.set(np.arange(len(values)), np.array(values, np.float32))
    np.testing.assert_allclose(tree.total, np.sum(values), rtol=1e-12)
    if tree.total == 0:
        return
    masses = np.array(shares) * tree.total
    found = tree.find(masses, len(values))
    ends = np.cumsum(values)
    tolerance = 1e-9 * tree.total
    for mass, leaf in zip(masses, found, strict=True):
        assert values[leaf] > 0, "a leaf of zero priority is never found"
        assert ends[leaf] - values[leaf] - tolerance <= mass <= ends[leaf] + tolerance


@given(priorities, st.data())
def test_the_history_of_updates_does_not_matter(values: list[float], data: st.DataObject) -> None:
    """Rebuilt from its leaves the tree is equal bit for bit: what exact resume rests on."""
    tree = SumTree(len(values))
    for _ in range(3):
        indices = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1))
        noise = np.random.default_rng(len(indices)).random(len(indices))
        tree.set(np.array(indices), noise.astype(np.float32))
    tree.set(np.arange(len(values)), np.array(values, np.float32))
    rebuilt = SumTree(len(values))
    rebuilt.set_all(np.array(values, np.float32))
    np.testing.assert_array_equal(tree._nodes, rebuilt._nodes)
    np.testing.assert_array_equal(tree.leaves, rebuilt.leaves)


def test_of_repeated_indices_the_last_counts() -> None:
    tree = SumTree(4)
    tree.set(np.array([1, 1, 1]), np.array([5.0, 6.0, 2.0], np.float32))
    assert tree.total == 2.0
