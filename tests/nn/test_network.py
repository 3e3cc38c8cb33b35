"""The network: what it computes, and that weights go in and out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alphatriangle.config import Config, ModelConfig
from alphatriangle.features import encode
from alphatriangle.nn import NeuralNetwork, WeightsMismatchError
from alphatriangle.nn.inference import FusedNet, InferenceNet, can_fuse
from alphatriangle.utils.device import choose_device
from alphatriangle.utils.errors import DeviceNotAvailableError
from tests.conftest import make_network, tiny_config
from tests.features.test_encoder import random_rows


def trained_a_little(config: Config) -> NeuralNetwork:
    """Batch-norm statistics that are not the initial ones."""
    network = make_network(config)
    rows = random_rows(64)
    grid, other = encode(rows.boards, rows.slots)
    network.model.train()
    for _ in range(3):
        network.model(torch.from_numpy(grid), torch.from_numpy(other))
    network.refresh()
    return network


def test_folded_batch_norm_computes_the_same(config: Config) -> None:
    network = trained_a_little(config)
    rows = random_rows(32, seed=1)
    grid, other = (torch.from_numpy(a) for a in encode(rows.boards, rows.slots))
    network.model.eval()
    with torch.no_grad():
        expected = network.model(grid, other)
        folded = InferenceNet(network.model).eval()(grid, other)
    for ours, theirs in zip(folded, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    evaluation = network.evaluate(rows.boards, rows.slots)
    np.testing.assert_allclose(evaluation.logits, expected[0].numpy(), atol=1e-4, rtol=1e-4)
    values = network.model.expected_value(expected[1]).numpy()
    np.testing.assert_allclose(evaluation.values, values, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [1, 7, 128])
def test_fused_convolutions_compute_the_same(dtype: str, batch: int) -> None:
    """Whole networks in which nothing is zero."""
    network = trained_a_little(tiny_config(model={"inference_dtype": dtype}))
    torch.nn.init.normal_(network.model.policy_head.weight)
    torch.nn.init.normal_(network.model.value_head.weight)
    precision = getattr(torch, dtype)
    plain = InferenceNet(network.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = plain.with_precision(network.device, precision).eval()
    if not can_fuse(plain, network.device, precision):
        pytest.skip("this torch or this processor has no fused convolutions")
    rows = random_rows(batch)
    grid, other = encode(rows.boards, rows.slots)
    inputs = (
        torch.from_numpy(grid).to(precision, memory_format=torch.channels_last),
        torch.from_numpy(other).to(precision),
    )
    with torch.inference_mode():
        expected, fused = plain(*inputs), FusedNet(plain)(*inputs)
    rough = 0.05 if dtype == "bfloat16" else 1e-4
    for one, reference in zip(fused, expected, strict=True):
        spread = float(reference.float().std())
        assert float((one.float() - reference.float()).abs().mean()) < rough * spread


def test_fusing_is_for_cpus_and_can_be_switched_off() -> None:
    network = make_network(tiny_config(model={"fused_inference": "off"}))
    assert network.fused is False
    assert network.arithmetic().fused_inference == "off"
    assert not can_fuse(InferenceNet(network.model), torch.device("cuda"), torch.float32)


def test_bfloat16_stays_near_float32() -> None:
    rows = random_rows(64)
    answers = []
    for dtype in ("float32", "bfloat16"):
        network = make_network(tiny_config(model={"inference_dtype": dtype}))
        answers.append(network.evaluate(rows.boards, rows.slots))
    exact, coarse = answers
    spread = exact.values.std()
    assert np.abs(exact.values - coarse.values).mean() < 0.1 * spread + 0.05


def test_a_position_is_valued_alike_in_any_batch(network: NeuralNetwork) -> None:
    rows = random_rows(40)
    together = network.evaluate(rows.boards, rows.slots)
    alone = network.evaluate(rows.boards[7:8], rows.slots[7:8])
    np.testing.assert_allclose(together.values[7], alone.values[0], atol=1e-4)
    np.testing.assert_allclose(together.logits[7], alone.logits[0], atol=1e-4)


def test_weights_go_out_and_in(config: Config) -> None:
    source, target = trained_a_little(config), make_network(config, seed=9)
    rows = random_rows(8)
    target.set_weights(source.get_weights())
    np.testing.assert_array_equal(
        source.evaluate(rows.boards, rows.slots).logits,
        target.evaluate(rows.boards, rows.slots).logits,
    )
    live = target.state_dict()
    target.set_weights({k: v + 1 if v.is_floating_point() else v for k, v in live.items()})
    assert torch.equal(live["stem.weight"], target.model.state_dict()["stem.weight"])
    assert live["stem.weight"].data_ptr() == target.model.state_dict()["stem.weight"].data_ptr()
    weights = source.get_weights()
    weights["stem.weight"].zero_()
    assert source.get_weights()["stem.weight"].abs().sum() > 0, "get_weights copies"


def test_evaluation_uses_the_weights_of_the_last_refresh(network: NeuralNetwork) -> None:
    rows = random_rows(8)
    before = network.evaluate(rows.boards, rows.slots)
    with torch.no_grad():
        network.model.policy_head.weight.mul_(2)
    np.testing.assert_array_equal(network.evaluate(rows.boards, rows.slots).logits, before.logits)
    network.refresh()
    assert not np.array_equal(network.evaluate(rows.boards, rows.slots).logits, before.logits)


def test_weights_that_do_not_fit_are_named(network: NeuralNetwork) -> None:
    wider = NeuralNetwork(ModelConfig(conv_channels=12, num_residual_blocks=1), "cpu")
    before = network.get_weights()
    with pytest.raises(WeightsMismatchError, match=r"stem.weight: file \(12, 9, 3, 3\), model \(8"):
        network.set_weights(wider.get_weights())
    with pytest.raises(WeightsMismatchError, match=r"stem.weight is missing;.*; and \d+ more$"):
        network.set_weights({})
    missing = {k: v for k, v in before.items() if k != "policy_head.bias"}
    with pytest.raises(WeightsMismatchError, match=r"policy_head.bias is missing"):
        network.set_weights(missing)
    for name, tensor in network.get_weights().items():
        assert torch.equal(tensor, before[name]), "a refused load changes nothing"


def test_the_value_lies_in_the_support_and_starts_low() -> None:
    config = ModelConfig(value_min=0, value_max=30)
    network = NeuralNetwork(config, "cpu")
    rows = random_rows(16)
    values = network.evaluate(rows.boards, rows.slots).values
    assert (values >= 0).all()
    assert (values < 5).all()


def test_a_device_that_is_not_there_is_said_so() -> None:
    assert choose_device("cpu").type == "cpu"
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(DeviceNotAvailableError, match=r"available: cpu"):
        choose_device(missing)
