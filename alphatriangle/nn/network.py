"""``NeuralNetwork``: the network as the rest of the system uses it, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.config import ModelConfig
from alphatriangle.utils.device import choose_device
from alphatriangle.utils.types import Evaluation

_PROBLEMS_SHOWN: Final = 5


class WeightsMismatchError(ValueError):
    """Weights do not fit the network; the message names the tensor and both shapes."""


class NeuralNetwork:
    """Weights, and an evaluation of positions by them.

    ``NeuralNetwork(config, device)`` is of the kind that ``config.kind`` names, a subclass of this.
    :meth:`evaluate` keeps using the weights of the last :meth:`refresh` (or :meth:`set_weights`),
    which makes self-play independent of when exactly the learner steps.

    Initial weights are a function of ``config`` and ``seed``; no global generator is drawn from.
    """

    _kinds: ClassVar[dict[str, type[NeuralNetwork]]] = {}

    def __init_subclass__(cls, *, kind: str) -> None:
        cls._kinds[kind] = cls

    def __new__(cls, config: ModelConfig, device: str = "auto", *, seed: int = 0) -> Self:
        return object.__new__(cls if cls is not NeuralNetwork else cls._kinds[config.kind])  # type: ignore[return-value]

    def __init__(self, config: ModelConfig, device: str = "auto", *, seed: int = 0) -> None:
        self.config = config
        self.device = choose_device(device)
        self.features_seconds = 0.0
        """Spent on features in :meth:`evaluate` so far, where they are made apart."""

    @property
    def parameter_count(self) -> int:
        """How many numbers are learned."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Let :meth:`evaluate` use the present weights."""
        raise NotImplementedError

    def arithmetic(self) -> ModelConfig:
        """The configuration with what was decided by capability written out."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All weights and statistics, as they are in use: torch's convention."""
        raise NotImplementedError

    def evaluate(self, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> Evaluation:
        """Policy logits [N, A] and values [N] of N positions ([N, 2] boards, [N, 3] slots)."""
        raise NotImplementedError

    def get_weights(self) -> dict[str, torch.Tensor]:
        """A copy of all weights and statistics, on the CPU."""
        return {k: v.detach().cpu().clone() for k, v in self.state_dict().items()}

    def set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load weights and refresh.

        Raises:
            WeightsMismatchError: a tensor is missing, unknown, or has another shape.
        """
        own = self.state_dict()
        problems = [f"{name} is missing" for name in own if name not in weights]
        problems += [f"{name} is not in the model" for name in weights if name not in own]
        problems += [
            f"{name}: file {tuple(weights[name].shape)}, model {tuple(own[name].shape)}"
            for name in own
            if name in weights and weights[name].shape != own[name].shape
        ]
        if problems:
            shown = "; ".join(problems[:_PROBLEMS_SHOWN])
            more = f"; and {len(problems) - _PROBLEMS_SHOWN} more"
            raise WeightsMismatchError(
                f"weights do not fit the network of kind {self.config.kind}: {shown}"
                + (more if len(problems) > _PROBLEMS_SHOWN else "")
            )
        self._load(weights)

    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take over weights that fit, and refresh."""
        raise NotImplementedError
