"""The optimizer: torch's, over all parameters as one."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from alphatriangle.config import TrainConfig
from alphatriangle.nn import ConvolutionalNetwork
from alphatriangle.utils.flat import FlatState, flat_zeros, views

Kind = TypeVar("Kind", bound=Optimizer)


class OptimizerMismatchError(ValueError):
    """Optimizer state that does not fit the network; the message names the first difference."""


class FlatOptimizer:
    """A torch optimizer that sees one flat parameter, its state written parameter by parameter.

    One parameter makes a step and a copy of the state a few large operations instead of hundreds of
    small ones; all of our optimizers work element by element, so nothing else changes. The state
    dict has torch's format for the separate parameters, which is what other tools read.
    """

    def __init__(self, network: ConvolutionalNetwork, config: TrainConfig) -> None:
        self._parameters = list(network.model.parameters())
        self._flat = torch.nn.Parameter(network.flat_parameters)
        self._flat.grad = flat_zeros(self._parameters)
        for parameter, gradient in zip(
            self._parameters, views(self._flat.grad, self._parameters), strict=True
        ):
            # Backward adds to a gradient that is there already.
            parameter.grad = gradient
        self.torch = _make([self._flat], config)
        self._state = FlatState({}, ())

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.torch.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self.torch.param_groups[0]["lr"] = rate

    def zero_grad(self) -> None:
        """Set all gradients to zero, in place."""
        assert self._flat.grad is not None
        self._flat.grad.zero_()

    def clip_gradient(self, limit: float | None) -> torch.Tensor:
        """Scale the gradient down to the norm ``limit``, if it is longer; returns its norm []."""
        return torch.nn.utils.clip_grad_norm_([self._flat], limit or math.inf)

    def gradients(self) -> list[torch.Tensor]:
        """Those of the parameters, in their order."""
        assert self._flat.grad is not None
        return views(self._flat.grad, self._parameters)

    def numbers(self) -> list[torch.Tensor]:
        """The parameters and what the optimizer remembers of each, flat."""
        kept = self.torch.state.get(self._flat, {}).values()
        return [
            self._flat,
            *(v for v in kept if torch.is_tensor(v) and v.shape == self._flat.shape),
        ]

    def step(self) -> None:
        """Change the parameters."""
        self.torch.step()

    def state_dict(self) -> dict[str, Any]:
        """State and settings as torch writes them, parameter by parameter; aliases what is used."""
        (group,) = self.torch.param_groups
        everything = list(range(len(self._parameters)))
        return {"state": self._views(), "param_groups": [{**group, "params": everything}]}

    def _views(self) -> FlatState:
        """The optimizer's state as views, made anew only when its tensors are others."""
        flat = self.torch.state.get(self._flat, {})
        tensors = {k: v for k, v in flat.items() if isinstance(v, torch.Tensor)}
        known = self._state.storages
        if len(known) != len(tensors) or any(
            a is not b for a, b in zip(known, tensors.values(), strict=True)
        ):
            columns = {
                name: views(tensor, self._parameters)
                if tensor.shape == self._flat.shape
                # One counter of steps is the counter of each.
                else [tensor] * len(self._parameters)
                for name, tensor in tensors.items()
            }
            entries = {
                i: {name: column[i] for name, column in columns.items()}
                for i in range(len(self._parameters) if columns else 0)
            }
            self._state = FlatState(entries, list(tensors.values()))
        return self._state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned, but for the learning rate and weight decay.

        Raises:
            OptimizerMismatchError: it belongs to other parameters.
        """
        entries, (group,) = state["state"], state["param_groups"]
        count = len(self._parameters)
        if len(group["params"]) != count or len(entries) not in (0, count):
            raise OptimizerMismatchError(
                f"the optimizer state has {len(entries)} entries for {len(group['params'])} "
                f"parameters, the network has {count} parameters"
            )
        flat: dict[str, Any] = {}
        for name, value in entries.get(0, {}).items():
            if not isinstance(value, torch.Tensor) or value.ndim == 0:
                flat[name] = deepcopy(value)
                continue
            flat[name] = flat_zeros(self._parameters)
            for i, view in enumerate(views(flat[name], self._parameters)):
                saved = entries[i].get(name)
                found = tuple(saved.shape) if isinstance(saved, torch.Tensor) else None
                if found != view.shape:
                    raise OptimizerMismatchError(
                        f"the optimizer state does not fit the network: {name} of parameter {i}: "
                        f"file {found}, model {tuple(view.shape)}"
                    )
                view.copy_(saved)
        (own,) = self.torch.param_groups
        group = group | {"params": [0]} | {name: own[name] for name in ("lr", "weight_decay")}
        # Schedulers of torch leave it in files of theirs.
        group.pop("initial_lr", None)
        self.torch.load_state_dict({"state": {0: flat} if flat else {}, "param_groups": [group]})


def _make(parameters: list[torch.nn.Parameter], config: TrainConfig) -> Optimizer:
    lr, decay = config.learning_rate, config.weight_decay
    if config.optimizer_type == "AdamW":
        return _eager(AdamW)(parameters, lr=lr, weight_decay=decay)
    if config.optimizer_type == "Adam":
        return _eager(Adam)(parameters, lr=lr, weight_decay=decay)
    return _eager(SGD)(parameters, lr=lr, weight_decay=decay, momentum=0.9)


def _eager(kind: type[Kind]) -> type[Kind]:
    """The same optimizer, for those who do not compile it.

    torch wraps these methods for its compiler, and the wrappers import that: more than a second and
    70 MB at every start of a training, for something that is not used here.
    """

    def plain(name: str) -> Any:
        method = getattr(kind, name)
        return getattr(method, "__wrapped__", method)

    methods = {name: plain(name) for name in ("add_param_group", "load_state_dict")}
    methods["step"] = torch.no_grad()(plain("step"))
    return type(kind.__name__, (kind,), methods)
