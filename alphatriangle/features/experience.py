"""Compact rows to ``Experience`` tuples and back, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from alphatriangle.features.encoder import decode, encode
from alphatriangle.game.geometry import MAX_LEGAL, SLOTS
from alphatriangle.game.kernels import legal_actions
from alphatriangle.utils.types import Experience, Rows


def rows_from_experiences(experiences: Iterable[Experience]) -> Rows:
    """Code experiences as compact rows.

    Raises:
        ValueError: a state is not a position's features, or a policy names an illegal action.
    """
    items = list(experiences)
    n = len(items)
    rows = Rows(
        np.zeros((n, 2), np.uint64),
        np.zeros((n, SLOTS), np.int8),
        np.zeros((n, MAX_LEGAL), np.float32),
        np.zeros(n, np.float32),
    )
    actions = np.empty(MAX_LEGAL, np.int16)
    for i, (state, policy, n_step_return) in enumerate(items):
        try:
            rows.boards[i], rows.slots[i] = decode(state)
        except ValueError as e:
            raise ValueError(f"experience {i}: {e}") from e
        count = legal_actions(rows.boards[i, 0], rows.boards[i, 1], rows.slots[i], actions)
        index = {int(action): j for j, action in enumerate(actions[:count])}
        for action, probability in policy.items():
            if action not in index:
                raise ValueError(f"experience {i}: action {action} of its policy is not legal")
            rows.policies[i, index[action]] = probability
        rows.returns[i] = n_step_return
    return rows


def experiences_from_rows(rows: Rows) -> Iterator[Experience]:
    """Decode rows one by one; a policy holds the actions whose probability is not zero."""
    actions = np.empty(MAX_LEGAL, np.int16)
    for i in range(len(rows)):
        grid, other = encode(rows.boards[i : i + 1], rows.slots[i : i + 1])
        count = legal_actions(rows.boards[i, 0], rows.boards[i, 1], rows.slots[i], actions)
        policy = {
            int(actions[j]): float(rows.policies[i, j])
            for j in range(count)
            if rows.policies[i, j] != 0
        }
        yield {"grid": grid[0], "other_features": other[0]}, policy, float(rows.returns[i])
