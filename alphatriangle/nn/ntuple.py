"""The n-tuple kind of network: tables of what patches of the board are worth, on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.config import ModelConfig
from alphatriangle.game.geometry import DEAL_TABLE, SHAPE_SIZE, SLOTS
from alphatriangle.nn.network import NeuralNetwork
from alphatriangle.ntuple.evaluate import evaluate
from alphatriangle.ntuple.tables import Tables
from alphatriangle.utils.frozen import FrozenState
from alphatriangle.utils.types import Evaluation

_POINTS: Final = 0.51
"""What a triangle brings from when it is placed until it is cleared, sooner or later."""
_A_DEAL: Final = _POINTS * SLOTS * float(np.mean(SHAPE_SIZE[DEAL_TABLE]))
"""What a deal brings."""


def points(
    chances: npt.NDArray[np.float32], slots: npt.NDArray[np.int8], gamma: float
) -> npt.NDArray[np.float32]:
    """Chances to survive [N] as scores to come [N], discounted by ``gamma`` a deal.

    A chance is (1 - gamma) times the discounted number of deals survived, and every triangle of a
    deal brings 0.51 points, now or later. ``slots`` [N, 3] are to be placed before.
    """
    sizes = np.append(SHAPE_SIZE, 0)[slots].sum(axis=1)  # an empty slot is -1
    scores: npt.NDArray[np.float32] = (
        _POINTS * sizes + _A_DEAL * chances.astype(np.float64) / (1.0 - gamma)
    ).astype(np.float32)
    return scores


class NTupleNetwork(NeuralNetwork, kind="ntuple"):
    """Tables, and the average of their weights, by which positions are evaluated.

    It begins with zeros, whatever the seed. ``tables`` are learned by
    :class:`alphatriangle.ntuple.learner.OnlineLearner`; their arrays never change.
    """

    def __init__(self, config: ModelConfig, device: str = "auto", *, seed: int = 0) -> None:
        # Its tables are looked up in, not multiplied: there is nothing for a GPU to do.
        super().__init__(config, "cpu", seed=seed)
        self.tables = Tables.zeros()
        self.refresh()

    @property
    def played(self) -> npt.NDArray[np.float32]:
        """The weights [SIZE] that positions are evaluated with."""
        return self._played

    @property
    def parameter_count(self) -> int:
        """See :attr:`NeuralNetwork.parameter_count`."""
        return int(self.tables.weights.size)

    def refresh(self) -> None:
        """See :meth:`NeuralNetwork.refresh`."""
        self._played = self.tables.average

    def arithmetic(self) -> ModelConfig:
        """Nothing of it depends on the machine."""
        return self.config

    def state_dict(self) -> FrozenState:
        """The weights that are learned, and their average, which is played."""
        return frozen(self.tables, "weights", "average")

    def evaluate(self, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> Evaluation:
        """Policy logits [N, A], values [N]: chances to survive; see :func:`points`."""
        return evaluate(self._played, boards, slots)

    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        arrays = {name: tensor.numpy(force=True).copy() for name, tensor in weights.items()}
        self.tables.load_state_dict(self.tables.state_dict() | arrays)
        self.refresh()


def frozen(tables: Tables, *names: str) -> FrozenState:
    """Some of the tables as tensors, which share their memory."""
    arrays = tables.state_dict()
    return FrozenState({name: torch.from_numpy(arrays[name]) for name in names})
