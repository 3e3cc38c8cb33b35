"""The shapes of everything that crosses a package border, defined here and nowhere else.

Letters: B batch, C planes of the grid, F length of the vector, A = 360 actions, L = MAX_LEGAL = 144
legal actions at most, K atoms of the value distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch

FloatArray = npt.NDArray[np.float32]


class StateType(TypedDict):
    """What the network sees of one position."""

    grid: FloatArray  # [C, 8, 15] float32
    other_features: FloatArray  # [F] float32


PolicyTargetMapping = Mapping[int, float]
"""Action -> probability, summing to 1; empty for an afterstate, which has no action to learn."""

Experience = tuple[StateType, PolicyTargetMapping, float]
"""(state, policy target, n-step return)."""


@dataclass(frozen=True)
class Rows:
    """Experiences in compact columns; ``features`` decodes them exactly. N rows.

    ``policy[i, j]`` is the probability of the j-th legal action (ascending) of position i. An
    afterstate has three empty slots, hence no legal action, hence an all-zero policy.
    """

    boards: npt.NDArray[np.uint64]  # [N, 2] occupied cells, see game.geometry
    slots: npt.NDArray[np.int8]  # [N, 3] shape in each slot, -1 empty
    policies: npt.NDArray[np.float32]  # [N, L]
    returns: npt.NDArray[np.float32]  # [N] n-step return

    @classmethod
    def zeros(cls, count: int) -> Rows:
        """Rows to be filled."""
        return cls(
            np.zeros((count, 2), np.uint64),
            np.zeros((count, 3), np.int8),
            np.zeros((count, 144), np.float32),
            np.zeros(count, np.float32),
        )

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The same arrays by name; ``Rows(**columns)`` is the way back."""
        return dict(self.__dict__)

    def __len__(self) -> int:
        return len(self.returns)

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> Rows:
        return Rows(
            self.boards[index], self.slots[index], self.policies[index], self.returns[index]
        )

    @staticmethod
    def concatenate(parts: list[Rows]) -> Rows:
        """The rows of ``parts``, in order; at least one part."""
        return Rows(
            np.concatenate([p.boards for p in parts]),
            np.concatenate([p.slots for p in parts]),
            np.concatenate([p.policies for p in parts]),
            np.concatenate([p.returns for p in parts]),
        )


class Batch(NamedTuple):
    """What one training step consumes."""

    grid: torch.Tensor  # [B, C, 8, 15] float32
    other_features: torch.Tensor  # [B, F] float32
    legal: torch.Tensor  # [B, A] bool, True = may be played
    policy: torch.Tensor  # [B, A] float32, rows sum to 1, or to 0 for an afterstate
    returns: torch.Tensor  # [B] float32
    weights: torch.Tensor  # [B] float32 importance weights
    indices: npt.NDArray[np.int64]  # [B] positions in the buffer, for the TD errors


class Evaluation(NamedTuple):
    """What the network says of a batch of positions."""

    logits: FloatArray  # [B, A] policy logits, illegal actions not masked
    values: FloatArray  # [B] expected discounted return


class Episode(NamedTuple):
    """One finished game: seed and moves replay it exactly."""

    episode: int
    seed: int
    moves: npt.NDArray[np.int16]  # [T] actions
    score: float
    simulations: int
    truncated: bool  # stopped at max_moves_per_episode rather than over
