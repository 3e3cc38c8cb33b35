"""The learner: losses, projections, schedules, and that it learns."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, Trainer, TrainingDivergedError
from alphatriangle.rl.trainer import project_onto_atoms
from tests.conftest import make_network, tiny_config
from tests.features.test_encoder import random_rows

SUPPORT = torch.linspace(-2.0, 8.0, 21)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=10))
def test_the_projection_keeps_mass_and_mean(returns: list[float]) -> None:
    projected = project_onto_atoms(torch.tensor(returns, dtype=torch.float32), SUPPORT)
    torch.testing.assert_close(projected.sum(dim=1), torch.ones(len(returns)))
    assert (projected >= 0).all()
    assert ((projected > 0).sum(dim=1) <= 2).all()
    clamped = torch.tensor(returns, dtype=torch.float32).clamp(-2, 8)
    torch.testing.assert_close((projected * SUPPORT).sum(dim=1), clamped, atol=1e-4, rtol=1e-4)


def setup(config: Config) -> tuple[Trainer, ExperienceBuffer]:
    buffer = ExperienceBuffer(config.train)
    buffer.add_rows(random_rows(100))
    return Trainer(make_network(config), config.train), buffer


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam", "SGD"])
def test_it_learns_a_fixed_batch(optimizer: str) -> None:
    config = tiny_config(
        train={"optimizer_type": optimizer, "learning_rate": 0.01, "lr_scheduler_eta_min": 0.0}
    )
    trainer, buffer = setup(config)
    batch = buffer.sample(16, 0)
    losses = [trainer.train_step(batch)[0] for _ in range(40)]
    assert losses[-1]["loss/policy"] < losses[0]["loss/policy"]
    assert losses[-1]["loss/value"] < losses[0]["loss/value"]
    assert losses[-1]["train/td_error"] < losses[0]["train/td_error"]


def test_bfloat16_learns_what_float32_learns() -> None:
    steps = {}
    for dtype in ("float32", "bfloat16"):
        trainer, buffer = setup(tiny_config(train={"training_dtype": dtype}))
        batch = buffer.sample(64, 0)
        first, _ = trainer.train_step(batch)
        losses = [trainer.train_step(batch)[0]["loss/total"] for _ in range(30)]
        steps[dtype] = (first, losses[-1])
        assert {p.dtype for p in trainer.network.model.parameters()} == {torch.float32}
    (exact, end), (coarse, coarse_end) = steps.values()
    assert coarse["loss/total"] == pytest.approx(exact["loss/total"], rel=0.01)
    assert coarse["train/gradient_norm"] == pytest.approx(exact["train/gradient_norm"], rel=0.05)
    assert coarse != exact, "it was another arithmetic"
    assert coarse_end == pytest.approx(end, rel=0.05)


def test_losses_are_the_cross_entropies(config: Config) -> None:
    """Policy over legal actions of rows that have a policy, value over atoms, both weighted."""
    trainer, buffer = setup(config)
    batch = buffer.sample(16, 0)._replace(weights=torch.linspace(0.1, 1.0, 16))
    model = trainer.network.model
    model.train()
    reference = NeuralNetwork(config.model, "cpu")
    reference.set_weights(trainer.network.get_weights())
    reference.model.train()
    with torch.no_grad():
        logits, value_logits = reference.model(batch.grid, batch.other_features)
    policy_loss, rows = 0.0, 0
    for i in range(16):
        legal = batch.legal[i]
        if legal.any():
            rows += 1
            log_p = torch.log_softmax(logits[i][legal], dim=0)
            policy_loss -= float(batch.weights[i] * (batch.policy[i][legal] * log_p).sum())
    target = project_onto_atoms(batch.returns, model.support)
    value_loss = -(target * torch.log_softmax(value_logits, 1)).sum(1) * batch.weights
    metrics, td_errors = trainer.train_step(batch)
    assert 0 < rows < 16
    assert metrics["loss/policy"] == pytest.approx(policy_loss / rows, rel=1e-4)
    assert metrics["loss/value"] == pytest.approx(float(value_loss.mean()), rel=1e-4)
    expected = batch.returns - reference.model.expected_value(value_logits)
    np.testing.assert_allclose(td_errors, expected.numpy(), atol=1e-4)


def test_afterstates_teach_no_policy(config: Config) -> None:
    trainer, buffer = setup(config)
    batch = buffer.sample(16, 0)
    afterstates = ~batch.legal.any(dim=1)
    assert afterstates.any()
    only = batch._replace(
        **{
            name: getattr(batch, name)[afterstates]
            for name in ("grid", "other_features", "legal", "policy", "returns", "weights")
        }
    )
    trainer.train_step(only)
    head = trainer.network.model.policy_head
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() == 0


def test_the_entropy_bonus_flattens_the_policy() -> None:
    entropies = []
    for weight in (0.0, 1.0):
        config = tiny_config(
            train={"entropy_bonus_weight": weight, "learning_rate": 0.01, "policy_loss_weight": 0.1}
        )
        trainer, buffer = setup(config)
        batch = buffer.sample(16, 0)
        for _ in range(30):
            metrics, _ = trainer.train_step(batch)
        entropies.append(metrics["train/policy_entropy"])
    assert entropies[1] > entropies[0]


def test_gradients_are_clipped() -> None:
    config = tiny_config(
        train={
            "gradient_clip_value": 1e-6,
            "optimizer_type": "SGD",
            "learning_rate": 1.0,
            "weight_decay": 0.0,
        }
    )
    trainer, buffer = setup(config)
    before = trainer.network.get_weights()
    trainer.train_step(buffer.sample(16, 0))
    moved = sum(
        float((tensor.detach() - before[name]).norm() ** 2)
        for name, tensor in trainer.network.model.named_parameters()
    )
    assert moved**0.5 == pytest.approx(1e-6, rel=1e-2)


def test_divergence_stops_before_the_weights_are_touched(config: Config) -> None:
    trainer, buffer = setup(config)
    before = trainer.network.get_weights()
    batch = buffer.sample(16, 0)
    with pytest.raises(TrainingDivergedError, match="learning_rate"):
        trainer.train_step(batch._replace(returns=torch.full((16,), float("nan"))))
    for name, parameter in trainer.network.model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_optimizer_and_schedule_go_on_where_they_were(config: Config) -> None:
    trainer, buffer = setup(config)
    for step in range(4):
        trainer.train_step(buffer.sample(16, step))
    copy = Trainer(make_network(config, seed=77), config.train)
    copy.network.set_weights(trainer.network.get_weights())
    copy.load_state_dict(deepcopy(trainer.state_dict()))
    batch = buffer.sample(16, 4)
    ours, theirs = trainer.train_step(batch)[0], copy.train_step(batch)[0]
    assert ours == theirs
    for name, tensor in trainer.network.get_weights().items():
        assert torch.equal(tensor, copy.network.get_weights()[name])
