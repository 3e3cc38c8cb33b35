"""The optimizer over one flat parameter: torch's own, in every step and in its files."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, AdamW

from alphatriangle.rl.optimizer import FlatOptimizer, OptimizerMismatchError
from tests.conftest import make_network, tiny_config

PLAIN: dict[str, Any] = {
    "AdamW": AdamW,
    "Adam": Adam,
    "SGD": lambda p, **k: SGD(p, momentum=0.9, **k),
}


def make(kind: str) -> tuple[FlatOptimizer, torch.nn.Module]:
    config = tiny_config(train={"optimizer_type": kind, "learning_rate": 0.01})
    network = make_network(config)
    return FlatOptimizer(network, config.train), network.model


def gradients(model: torch.nn.Module, seed: int) -> None:
    """Backward of something that depends on every parameter."""
    generator = torch.Generator().manual_seed(seed)
    loss = sum((p * torch.randn(p.shape, generator=generator)).sum() for p in model.parameters())
    assert isinstance(loss, torch.Tensor)
    loss.backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", PLAIN)
def test_it_steps_as_torch_does_with_separate_parameters(kind: str) -> None:
    ours, model = make(kind)
    twin = deepcopy(model)
    plain = PLAIN[kind](twin.parameters(), lr=0.01, weight_decay=tiny_config().train.weight_decay)
    for seed in range(3):
        ours.zero_grad()
        plain.zero_grad()
        gradients(model, seed)
        gradients(twin, seed)
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 3.0)
        ours.clip_gradient(3.0)
        ours.step()
        plain.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    # The same file, too: what torch reads and writes for separate parameters.
    theirs = plain.state_dict()["state"]
    for index, entries in ours.state_dict()["state"].items():
        assert entries.keys() == theirs[index].keys()
        for name, value in entries.items():
            if value is not None:
                torch.testing.assert_close(value, theirs[index][name])
    fresh = PLAIN[kind](twin.parameters(), lr=0.5)
    fresh.load_state_dict(ours.state_dict())
    assert fresh.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("kind", PLAIN)
def test_it_goes_on_from_its_own_state_and_from_torchs(kind: str) -> None:
    ours, model = make(kind)
    gradients(model, 0)
    ours.step()
    saved, weights = deepcopy(ours.state_dict()), deepcopy(model.state_dict())

    def go_on(optimizer: FlatOptimizer, network: torch.nn.Module) -> list[torch.Tensor]:
        optimizer.zero_grad()
        gradients(network, 1)
        optimizer.step()
        return [p.detach().clone() for p in network.parameters()]

    expected = go_on(ours, model)
    twin = deepcopy(model)
    twin.load_state_dict(weights)
    plain = PLAIN[kind](twin.parameters(), lr=0.01)
    plain.load_state_dict(saved)
    for state in (saved, plain.state_dict()):
        again, network = make(kind)
        network.load_state_dict(weights)
        again.load_state_dict(state)
        for one, other in zip(go_on(again, network), expected, strict=True):
            assert torch.equal(one, other)


def test_state_from_before_the_first_step_is_none() -> None:
    ours, model = make("AdamW")
    assert ours.state_dict()["state"] == {}
    ours.load_state_dict(deepcopy(ours.state_dict()))
    gradients(model, 0)
    ours.step()
    assert len(ours.state_dict()["state"]) == len(list(model.parameters()))


def test_state_of_another_network_is_refused_by_name() -> None:
    ours, model = make("AdamW")
    gradients(model, 0)
    ours.step()
    state = deepcopy(ours.state_dict())
    last = max(state["state"])
    state["state"][last]["exp_avg"] = torch.zeros(3)
    with pytest.raises(OptimizerMismatchError, match=rf"exp_avg of parameter {last}: file \(3,\)"):
        ours.load_state_dict(state)
    del state["state"][last]
    with pytest.raises(OptimizerMismatchError, match="parameters"):
        ours.load_state_dict(state)


@pytest.mark.parametrize("kind", ["AdamW", "Adam", "SGD"])
def test_a_step_does_not_import_torchs_compiler(kind: str) -> None:
    """It takes longer than everything else at the start of a training."""
    code = f"""
import sys
from alphatriangle.config import ModelConfig, TrainConfig
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl.optimizer import FlatOptimizer
network = NeuralNetwork(ModelConfig(conv_channels=8, num_residual_blocks=1), "cpu")
optimizer = FlatOptimizer(network, TrainConfig(optimizer_type="{kind}"))
optimizer.clip_gradient(1.0)
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
