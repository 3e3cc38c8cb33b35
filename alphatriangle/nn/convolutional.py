"""The convolutional kind of network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.config import ModelConfig
from alphatriangle.features.encoder import OTHER_FEATURES, PLANES, encode_into
from alphatriangle.game.geometry import CELLS, COLS, ROWS
from alphatriangle.nn.inference import FusedNet, InferenceNet, can_fuse
from alphatriangle.nn.int8 import Int8Net, SimulatedInt8Net, can_run_int8
from alphatriangle.nn.model import AlphaTriangleNet
from alphatriangle.nn.network import NeuralNetwork
from alphatriangle.utils.device import choose_dtype, has_int8
from alphatriangle.utils.flat import FlatState, flatten
from alphatriangle.utils.global_rng import torch_seeded
from alphatriangle.utils.types import Evaluation

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


def _channels_last(module: ModuleT) -> ModuleT:
    """The layout in which convolutions are fastest on every device we use."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _flat_state(model: torch.nn.Module, flat_parameters: torch.Tensor) -> FlatState:
    """The model's state dict, its batch-norm statistics flat as well, one tensor for each type."""
    state = model.state_dict()
    storages = [flat_parameters]
    saved = [buffer for name, buffer in model.named_buffers() if name in state]
    for dtype in {b.dtype: None for b in saved}:
        storages.append(flatten([b for b in saved if b.dtype == dtype]))
    return FlatState(dict(model.state_dict()), storages)


def _choose_inference_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """As named; ``auto`` takes int8, bfloat16 or float32, the first that the hardware has."""
    fast = config.inference_dtype == "auto" and config.fused_inference == "auto"
    if config.inference_dtype == "int8" or (fast and has_int8(device) and can_run_int8(device)):
        return torch.int8
    return choose_dtype(config.inference_dtype, device)


class ConvolutionalNetwork(NeuralNetwork, kind="convolutional"):
    """Weights, a training module, and a fast read-only copy for evaluation.

    ``model`` is trained in place; :meth:`evaluate` keeps using the weights of the last
    :meth:`refresh` (or :meth:`set_weights`), which is what makes self-play independent of when
    exactly the learner steps.

    Initial weights are a function of ``config`` and ``seed``; no global generator is drawn from.
    """

    def __init__(self, config: ModelConfig, device: str = "auto", *, seed: int = 0) -> None:
        super().__init__(config, device)
        self.inference_dtype = _choose_inference_dtype(config, self.device)
        """float32, bfloat16 or int8: see ``alphatriangle.nn.int8``."""
        self.fused: bool | None = None if config.fused_inference == "auto" else False
        """Whether :meth:`evaluate` uses oneDNN's fused convolutions; decided by capability."""
        with torch_seeded(seed):
            model = AlphaTriangleNet(config)
        self.model = _channels_last(model.to(self.device))
        # It stays true: the model is trained in place, and torch loads weights in place.
        self.flat_parameters = flatten(list(self.model.parameters()))
        self._state = _flat_state(self.model, self.flat_parameters)
        self._grid = np.empty((0, PLANES, CELLS), np.float32)
        self._other = np.empty((0, OTHER_FEATURES), np.float32)
        self.refresh()

    @property
    def parameter_count(self) -> int:
        """See :attr:`NeuralNetwork.parameter_count`."""
        return self.flat_parameters.numel()

    def refresh(self) -> None:
        """Let :meth:`evaluate` use the present weights of ``model``."""
        with torch.no_grad():
            self._inference = self._int8() if self.inference_dtype == torch.int8 else self._float()

    def _float(self) -> InferenceNet | FusedNet:
        plain = InferenceNet(self.model).with_precision(self.device, self.inference_dtype)
        plain = _channels_last(plain).eval()
        if self.fused is None:
            self.fused = can_fuse(plain, self.device, self.inference_dtype)
        return FusedNet(plain) if self.fused else plain

    def _int8(self) -> InferenceNet | FusedNet:
        if self.fused is None:
            self.fused = can_run_int8(self.device)
        if self.fused:
            return Int8Net(_channels_last(InferenceNet(self.model)).eval())
        return _channels_last(SimulatedInt8Net(self.model)).eval()

    def arithmetic(self) -> ModelConfig:
        """The configuration with what was decided by capability written out."""
        decided = {
            "inference_dtype": str(self.inference_dtype).removeprefix("torch."),
            "fused_inference": "auto" if self.fused else "off",
        }
        return self.config.model_copy(update=decided)

    def state_dict(self) -> FlatState:
        """All weights and batch-norm statistics, as they are in use: torch's convention."""
        return self._state

    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        self.model.load_state_dict(weights)
        self.refresh()

    @torch.inference_mode()
    def evaluate(self, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> Evaluation:
        """Policy logits [N, A] and values [N] of N positions ([N, 2] boards, [N, 3] slots)."""
        n = len(boards)
        if n > len(self._grid):
            self._grid = np.empty((n, PLANES, CELLS), np.float32)
            self._other = np.empty((n, OTHER_FEATURES), np.float32)
        begin = time.perf_counter()
        encode_into(boards, slots, self._grid[:n], self._other[:n])
        self.features_seconds += time.perf_counter() - begin
        grid = torch.from_numpy(self._grid[:n].reshape(n, PLANES, ROWS, COLS))
        other = torch.from_numpy(self._other[:n])
        dtype = torch.float32 if self.inference_dtype == torch.int8 else self.inference_dtype
        logits, value_logits = self._inference(
            grid.to(self.device, dtype, memory_format=torch.channels_last),
            other.to(self.device, dtype),
        )
        values = self.model.expected_value(value_logits)
        return Evaluation(logits.float().cpu().numpy(), values.cpu().numpy())
