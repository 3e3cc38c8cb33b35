"""The parts of somebody's training loop: what each of them has to be saved, and putting it back."""

from __future__ import annotations

import random
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from alphatriangle.data.errors import StateMismatchError
from alphatriangle.data.schemas import CheckpointData


@runtime_checkable
class Restorable(Protocol):
    """Most things of torch: modules, optimizers, schedulers, scalers, stateful loaders."""

    def state_dict(self) -> Any:
        """Its state."""

    def load_state_dict(self, state: Any) -> Any:
        """Put it back."""


class Parts:
    """Named parts of a loop; any number of networks and optimizers among them.

    Networks go into the checkpoint's ``model_state_dict`` (their names in front of their tensors'
    where there are several), optimizers into its ``optimizer_state_dict``, all else into its
    components.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        """
        Raises:
            TypeError: a part has no state that could be saved; the message names it.
        """
        for name, part in parts.items():
            if "." in name or not name:
                raise TypeError(f"{name!r} cannot be the name of a part: no dots, not empty")
            if _kind(part) is None:
                raise TypeError(
                    f"part {name!r} is a {type(part).__name__}: it needs state_dict() and "
                    "load_state_dict(), or is a generator of torch, NumPy or Python, or a dict"
                )
        self._all = dict(parts)
        self._models = _of_kind(parts, torch.nn.Module)
        self._optimizers = _of_kind(parts, torch.optim.Optimizer)
        self._others = {
            name: part
            for name, part in parts.items()
            if name not in self._models and name not in self._optimizers
        }

    @property
    def models(self) -> _Saved:
        """What :meth:`DataManager.save_training_state` takes as the network."""
        return _Saved(self._model_state)

    @property
    def optimizers(self) -> _Saved:
        """What it takes as the optimizer."""
        return _Saved(lambda: {n: o.state_dict() for n, o in self._optimizers.items()})

    @property
    def components(self) -> dict[str, _Saved]:
        """What it takes as components."""
        return {name: _Saved(_reader(part)) for name, part in self._others.items()}

    def _model_state(self) -> dict[str, Any]:
        return {
            f"{self._prefix(name)}{key}": tensor
            for name, model in self._models.items()
            for key, tensor in model.state_dict().items()
        }

    def _prefix(self, name: str) -> str:
        return f"{name}." if len(self._models) > 1 else ""

    def load(self, checkpoint: CheckpointData) -> None:
        """Put everything back; :meth:`check` comes first."""
        for name, model in self._models.items():
            prefix = self._prefix(name)
            model.load_state_dict(
                {key: checkpoint.model_state_dict[f"{prefix}{key}"] for key in model.state_dict()}
            )
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(checkpoint.optimizer_state_dict[name])
        for name, part in self._others.items():
            _put_back(part, checkpoint.components[name])

    def check(self, checkpoint: CheckpointData) -> None:
        """
        Raises:
            StateMismatchError: the parts are not those that were saved, or a tensor does not fit.
        """
        wanted = self._model_state()
        saved = checkpoint.model_state_dict
        problems = [f"{key} is not in the file" for key in wanted if key not in saved]
        problems += [f"{key} is not in the model" for key in saved if key not in wanted]
        problems += [
            f"{key}: file {tuple(saved[key].shape)}, model {tuple(tensor.shape)}"
            for key, tensor in wanted.items()
            if key in saved
            and isinstance(tensor, torch.Tensor)
            and saved[key].shape != tensor.shape
        ]
        problems += _names("optimizer", self._optimizers, checkpoint.optimizer_state_dict)
        problems += _names("part", self._others, checkpoint.components)
        if problems:
            raise StateMismatchError(
                f"the state of step {checkpoint.global_step} does not fit these parts: "
                + "; ".join(problems)
            )


class _Saved:
    """Something whose state is read when it is captured."""

    def __init__(self, read: Any) -> None:
        self.state_dict = read


def _names(kind: str, wanted: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    missing = [f"{kind} {name!r} was not saved" for name in wanted if name not in saved]
    return missing + [f"{kind} {name!r} is missing" for name in saved if name not in wanted]


def _of_kind(parts: Mapping[str, Any], kind: type) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if isinstance(part, kind)}


def _kind(part: Any) -> type | None:
    kinds = (
        torch.Generator,
        np.random.Generator,
        np.random.RandomState,
        random.Random,
        Restorable,
        MutableMapping,
    )
    return next((kind for kind in kinds if isinstance(part, kind)), None)


def _reader(part: Any) -> Any:
    match part:
        case torch.Generator():
            return lambda: {"state": part.get_state()}
        case np.random.Generator():
            return lambda: {"state": part.bit_generator.state}
        case np.random.RandomState():
            return lambda: {"state": part.get_state(legacy=False)}
        case random.Random():
            return lambda: {"state": part.getstate()}
        case Restorable():
            return part.state_dict
    return lambda: dict(part)


def _put_back(part: Any, state: Any) -> None:
    match part:
        case torch.Generator():
            part.set_state(state["state"])
        case np.random.Generator():
            part.bit_generator.state = state["state"]
        case np.random.RandomState():
            part.set_state(state["state"])
        case random.Random():
            version, internal, gauss = state["state"]
            part.setstate((version, tuple(internal), gauss))
        case Restorable():
            part.load_state_dict(state)
        case _:
            part.clear()
            part.update(state)
