"""The learner: one optimizer step on one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.config import TrainConfig
from alphatriangle.nn import ConvolutionalNetwork
from alphatriangle.rl import schedule
from alphatriangle.rl.optimizer import FlatOptimizer
from alphatriangle.rl.schedule import Course
from alphatriangle.utils.device import choose_dtype
from alphatriangle.utils.errors import TrainingDivergedError
from alphatriangle.utils.finite import all_finite, first_not_finite
from alphatriangle.utils.types import Batch


def project_onto_atoms(returns: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    """Returns [B] as distributions over the atoms [K]: [B, K], rows sum to 1.

    The projection of C51 (Bellemare et al., 2017, algorithm 1) for a target that is one number:
    its mass goes to the two nearest atoms so that the mean is kept, or to the end of the support.
    """
    spacing = support[1] - support[0]
    position = ((returns.clamp(support[0], support[-1]) - support[0]) / spacing)[:, None]
    return (1.0 - (position - torch.arange(len(support), device=support.device)).abs()).clamp(0, 1)


class Trainer:
    """Optimizer, learning-rate schedule and the loss."""

    def __init__(self, network: ConvolutionalNetwork, config: TrainConfig) -> None:
        self.network = network
        self.config = config
        self.dtype = choose_dtype(config.training_dtype, network.device)
        self.optimizer = FlatOptimizer(network, config)
        self.scheduler = schedule.learning_rate(config)
        """The learning rate's course; the optimizer has the rate of the next step."""
        self.steps = 0
        self._set_rate()
        self.is_stepping = False
        """Whether a step has begun to change the weights and has not ended: nothing to be saved."""

    def train_step(self, batch: Batch) -> tuple[dict[str, float], npt.NDArray[np.float32]]:
        """One step; returns metrics and the TD errors [B], return minus expected value.

        Policy loss: cross-entropy over the legal actions, rows with a policy only (afterstates have
        none). Value loss: cross-entropy with the projected return. Both are weighted by the
        importance weights; the mean policy entropy is subtracted with its own weight.

        Raises:
            TrainingDivergedError: loss, gradient or batch-norm statistics are not finite, and the
                weights have not been touched; or the weights are not, after the step.
        """
        model, config, device = self.network.model, self.config, self.network.device
        model.train()
        grid = batch.grid.to(device, memory_format=torch.channels_last, non_blocking=True)
        legal, policy = batch.legal.to(device), batch.policy.to(device)
        returns, weights = batch.returns.to(device), batch.weights.to(device)
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits, value_logits = model(grid, batch.other_features.to(device))
        logits, value_logits = logits.float(), value_logits.float()

        decides = legal.any(dim=1)
        # A finite mask keeps 0 * log 0 at 0 in rows without legal actions.
        log_policy = torch.log_softmax(logits.masked_fill(~legal, -1e9), dim=1)
        log_policy = log_policy.masked_fill(~legal, 0.0)
        cross_entropy = -(policy * log_policy).sum(dim=1)
        entropy = -(log_policy.exp() * log_policy * legal).sum(dim=1)
        deciding = decides.sum().clamp(min=1)
        policy_loss = (weights * cross_entropy).sum() / deciding
        mean_entropy = (entropy * decides).sum() / deciding

        target = project_onto_atoms(returns, model.support)
        value_loss = (
            -(target * torch.log_softmax(value_logits, dim=1)).sum(dim=1) * weights
        ).mean()
        loss = (
            config.policy_loss_weight * policy_loss
            + config.value_loss_weight * value_loss
            - config.entropy_bonus_weight * mean_entropy
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.optimizer.clip_gradient(config.gradient_clip_value)
        if not all_finite([loss, norm, *self._statistics()]):
            raise self._diverged(loss)
        learning_rate = self.optimizer.learning_rate
        self.is_stepping = True
        self.optimizer.step()
        if not all_finite(self.optimizer.numbers()):
            raise self._diverged(loss)
        self.steps += 1
        self._set_rate()
        with torch.no_grad():
            td_errors = returns - model.expected_value(value_logits.detach())
        metrics = {
            "loss/total": loss.item(),
            "loss/policy": policy_loss.item(),
            "loss/value": value_loss.item(),
            "train/policy_entropy": mean_entropy.item(),
            "train/gradient_norm": norm.item(),
            "train/learning_rate": learning_rate,
            "train/td_error": td_errors.abs().mean().item(),
        }
        errors = td_errors.cpu().numpy()
        self.is_stepping = False
        return metrics, errors

    def _set_rate(self) -> None:
        self.optimizer.learning_rate = self.scheduler.at(self.steps)

    def _statistics(self) -> list[torch.Tensor]:
        """The network's batch-norm statistics, which the forward pass has changed already."""
        storages = self.network.state_dict().storages
        return [s for s in storages[1:] if s.is_floating_point()]

    def first_not_finite(self) -> str | None:
        """The first tensor of network or optimizer that holds a NaN or an infinity; None when there
        is none: a state that may be saved, published, and gone on from."""
        everything = [*self._statistics(), *self.optimizer.numbers()]
        if all_finite(everything):
            return None
        return first_not_finite(self.network.state_dict(), "network") or first_not_finite(
            self.optimizer.state_dict(), "optimizer"
        )

    def _diverged(self, loss: torch.Tensor) -> TrainingDivergedError:
        """What to say of a step whose numbers are not finite: the first thing that went wrong."""
        if not torch.isfinite(loss):
            what = f"the loss is {loss.item()}"
        elif (place := self.first_not_finite()) is not None:
            what = f"{place} is not finite"
        else:
            names = [name for name, _ in self.network.model.named_parameters()]
            gradients = dict(zip(names, self.optimizer.gradients(), strict=True))
            place = first_not_finite(gradients, "gradient")
            what = f"{place} is not finite" if place else "the norm of the gradient is not finite"
        remedy = "lower train.learning_rate"
        if self.config.gradient_clip_value is None:
            remedy += " and set train.gradient_clip_value"
        return TrainingDivergedError(f"training step {self.steps + 1}: {what}; {remedy}")

    def state_dict(self) -> dict[str, Any]:
        """Optimizer, schedule and step counter."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned.

        The settings are those of the configuration: weight decay at once, a learning rate that has
        been changed with its new course, from the present step on.
        """
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = int(state["steps"])
        saved, wanted = Course(**state["scheduler"]), schedule.learning_rate(self.config)
        self.scheduler = saved.followed(wanted, self.steps)
        self._set_rate()
