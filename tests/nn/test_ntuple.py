"""The n-tuple kind behind the interface that both kinds have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import ModelConfig
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork, NTupleNetwork, WeightsMismatchError
from alphatriangle.nn.ntuple import points

NTUPLE = ModelConfig(kind="ntuple")
SMALL = ModelConfig(conv_channels=8, num_residual_blocks=1)


def learned(seed: int) -> dict[str, torch.Tensor]:
    """Weights that say something."""
    generator = torch.Generator().manual_seed(seed)
    weights = NeuralNetwork(NTUPLE).get_weights()
    return {n: torch.randn(t.shape, generator=generator) / 100 for n, t in weights.items()}


def positions() -> tuple[np.ndarray, np.ndarray]:
    games = [GameState(seed) for seed in range(5)]
    return np.stack([g.board for g in games]), np.stack([g.slots for g in games])


def test_the_configuration_names_the_kind() -> None:
    network = NeuralNetwork(NTUPLE)
    assert isinstance(network, NTupleNetwork)
    assert not isinstance(NeuralNetwork(SMALL, "cpu"), NTupleNetwork)


def test_weights_go_out_and_in_and_decide_the_answers() -> None:
    network, other = NeuralNetwork(NTUPLE), NeuralNetwork(NTUPLE)
    unlearned = network.evaluate(*positions())
    network.set_weights(learned(1))
    answers = network.evaluate(*positions())
    assert not np.array_equal(answers.values, unlearned.values)
    other.set_weights(network.get_weights())
    for mine, theirs in zip(answers, other.evaluate(*positions()), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_weights_share_the_memory_of_the_tables_and_copies_do_not() -> None:
    network = NeuralNetwork(NTUPLE)
    assert isinstance(network, NTupleNetwork)
    given_weights = learned(1)
    network.set_weights(given_weights)
    state = network.state_dict()
    assert state["average"].data_ptr() == network.tables.average.ctypes.data
    for outside in (given_weights, network.get_weights()):
        assert all(t.data_ptr() != state[n].data_ptr() for n, t in outside.items())
    assert state.nbytes == sum(t.nbytes for t in given_weights.values())


@pytest.mark.parametrize(("one", "other"), [(NTUPLE, SMALL), (SMALL, NTUPLE)])
def test_weights_of_the_other_kind_are_refused_by_name(
    one: ModelConfig, other: ModelConfig
) -> None:
    network = NeuralNetwork(one, "cpu")
    before = network.get_weights()
    message = f"network of kind {one.kind}: {next(iter(before))} is missing"
    with pytest.raises(WeightsMismatchError, match=message):
        network.set_weights(NeuralNetwork(other, "cpu").get_weights())
    assert all(torch.equal(before[n], t) for n, t in network.get_weights().items())


@given(st.floats(0.0, 1.0), st.floats(0.5, 0.999))
def test_a_chance_in_points_is_worth_a_deal_and_what_follows(chance: float, gamma: float) -> None:
    """Surviving one deal more is what that deal brings, and the chance after it, discounted."""
    none = np.full((1, 3), -1, np.int8)
    one = np.float32(1.0)

    def worth(x: float) -> float:
        return float(points(np.array([x], np.float32), none, gamma)[0])

    a_deal = worth(one) * (1.0 - gamma)
    assert worth(1 - gamma + gamma * chance) == pytest.approx(
        a_deal + gamma * worth(chance), rel=1e-3
    )
    slots = GameState(3).slots[None]
    shapes = float(points(np.zeros(1, np.float32), slots, gamma)[0])
    assert shapes > 0.0 == worth(0.0)
    with_shapes = float(points(np.array([chance], np.float32), slots, gamma)[0])
    assert with_shapes == pytest.approx(shapes + worth(chance), rel=1e-5)
