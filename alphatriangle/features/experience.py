"""Compact rows to ``Experience`` tuples and back, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from alphatriangle.features.encoder import decode, encode
from alphatriangle.game.geometry import MAX_LEGAL, SLOTS
from alphatriangle.game.kernels import legal_actions
from alphatriangle.utils.kernels import kernel
from alphatriangle.utils.types import Experience, Rows


def rows_from_experiences(experiences: Iterable[Experience]) -> Rows:
    """Code experiences as compact rows.

    Raises:
        ValueError: a state is not a position's features, a policy names an illegal action, or a
            number is not finite: no loss with it would be.
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
        if not (np.isfinite(rows.returns[i]) and np.isfinite(rows.policies[i]).all()):
            raise ValueError(f"experience {i}: its policy or its return is not finite")
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


@kernel
def fill_ragged(
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    policies: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int32],
    actions: npt.NDArray[np.int16],
    probabilities: npt.NDArray[np.float32],
) -> None:
    """Of :func:`ragged_policies`; there is room for every action of every row."""
    scratch = np.empty(MAX_LEGAL, np.int16)
    offsets[0] = 0
    for i in range(len(boards)):
        count = legal_actions(boards[i, 0], boards[i, 1], slots[i], scratch)
        start = offsets[i]
        for k in range(count):
            actions[start + k] = scratch[k]
            probabilities[start + k] = policies[i, k]
        offsets[i + 1] = start + count


@kernel
def _fill_padded(
    offsets: npt.NDArray[np.int32],
    probabilities: npt.NDArray[np.float32],
    policies: npt.NDArray[np.float32],
) -> None:
    for i in range(len(policies)):
        count = offsets[i + 1] - offsets[i]
        for k in range(policies.shape[1]):
            policies[i, k] = probabilities[offsets[i] + k] if k < count else np.float32(0.0)


def ragged_policies(
    rows: Rows,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16], npt.NDArray[np.float32]]:
    """Policies without padding: (offsets [N + 1], legal actions, their probabilities)."""
    offsets = np.empty(len(rows) + 1, np.int32)
    actions = np.empty(len(rows) * MAX_LEGAL, np.int16)
    probabilities = np.empty(len(rows) * MAX_LEGAL, np.float32)
    fill_ragged(rows.boards, rows.slots, rows.policies, offsets, actions, probabilities)
    return offsets, actions[: offsets[-1]], probabilities[: offsets[-1]]


def padded_policies(
    offsets: npt.NDArray[np.int32], probabilities: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The inverse of :func:`ragged_policies`: [N, L].

    Raises:
        ValueError: a row has more entries than there can be legal actions.
    """
    if len(offsets) > 1 and int(np.diff(offsets).max()) > MAX_LEGAL:
        raise ValueError(f"a policy has more than {MAX_LEGAL} entries")
    policies = np.empty((len(offsets) - 1, MAX_LEGAL), np.float32)
    _fill_padded(offsets, probabilities, policies)
    return policies
