"""The trunk in integers: what it computes, that it is near float32, and when it is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alphatriangle.features import encode
from alphatriangle.nn import NeuralNetwork
from alphatriangle.nn.inference import InferenceNet
from alphatriangle.nn.int8 import Int8Net, SimulatedInt8Net, activation_scales, can_run_int8
from alphatriangle.utils.device import choose_dtype, has_int8
from tests.conftest import make_network, tiny_config
from tests.features.test_encoder import random_rows

CPU = torch.device("cpu")
needs_integers = pytest.mark.skipif(
    not can_run_int8(CPU), reason="this torch or this processor has no exact integer convolutions"
)


def learned(dtype: str, fused: str = "auto", channels: int = 32) -> NeuralNetwork:
    """The same weights every time, none zero, statistics that are not the initial ones."""
    model = {"inference_dtype": dtype, "fused_inference": fused, "conv_channels": channels}
    network = make_network(tiny_config(model=model | {"num_residual_blocks": 3}))
    torch.manual_seed(5)
    torch.nn.init.normal_(network.model.policy_head.weight)
    torch.nn.init.normal_(network.model.value_head.weight)
    rows = random_rows(64)
    grid, other = (torch.from_numpy(a) for a in encode(rows.boards, rows.slots))
    network.model.train()
    for _ in range(3):
        network.model(grid, other)
    network.refresh()
    return network


def folded(network: NeuralNetwork) -> InferenceNet:
    with torch.no_grad():
        net = InferenceNet(network.model).eval()
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@needs_integers
@pytest.mark.parametrize("batch", [1, 7, 128])
@pytest.mark.parametrize("channels", [8, 20, 64])
def test_integers_compute_what_is_simulated(batch: int, channels: int) -> None:
    network = learned("int8", channels=channels)
    with torch.no_grad():
        simulated = SimulatedInt8Net(network.model).eval()
    rows = random_rows(batch)
    grid, other = (torch.from_numpy(a) for a in encode(rows.boards, rows.slots))
    grid = grid.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        fast = Int8Net(folded(network))(grid, other)
        reference = simulated(grid, other)
        exact = folded(network)(grid, other)
    for ours, theirs, unrounded in zip(fast, reference, exact, strict=True):
        spread = float(theirs.std())
        assert float((ours - theirs).abs().mean()) < 0.01 * spread
        # Rounding is seen by this comparison: both are farther from what has not been rounded.
        assert float((ours - unrounded).abs().mean()) > 2 * float((ours - theirs).abs().mean())


@pytest.mark.parametrize("fused", ["auto", "off"])
def test_it_stays_as_near_to_float32_as_bfloat16(fused: str) -> None:
    rows = random_rows(256)
    exact = learned("float32").evaluate(rows.boards, rows.slots)

    def error(dtype: str) -> tuple[float, float]:
        answer = learned(dtype, fused).evaluate(rows.boards, rows.slots)
        differences = zip(answer, exact, strict=True)
        logits, values = (float(np.square(a - b).mean() ** 0.5) for a, b in differences)
        return logits, values

    for ours, theirs, unit in zip(error("int8"), error("bfloat16"), exact, strict=True):
        assert 0 < ours < max(3 * theirs, 0.03 * float(unit.std()))


def test_the_same_weights_play_the_same_in_every_network() -> None:
    """Scales follow from the weights: not from what was evaluated before, nor from the copy."""
    one, other = learned("int8"), learned("int8")
    rows = random_rows(64, seed=4)
    one.evaluate(rows.boards, rows.slots)
    one.refresh()
    other.set_weights(one.get_weights())
    for ours, theirs in zip(
        one.evaluate(rows.boards, rows.slots), other.evaluate(rows.boards, rows.slots), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_scales_follow_the_weights() -> None:
    network = learned("int8")
    before = activation_scales(folded(network))
    assert len(before) == 1 + 2 * len(network.model.blocks)
    with torch.no_grad():
        network.model.stem_norm.weight.mul_(2)
        network.model.stem_norm.bias.mul_(2)
    assert activation_scales(folded(network))[0] == pytest.approx(2 * before[0], rel=1e-4)


def test_a_network_of_zeros_has_no_zero_scale() -> None:
    network = learned("int8")
    network.set_weights({k: torch.zeros_like(v) for k, v in network.get_weights().items()})
    rows = random_rows(4)
    assert np.isfinite(network.evaluate(rows.boards, rows.slots).values).all()


def test_auto_takes_it_where_the_hardware_has_it() -> None:
    network = make_network(tiny_config(model={"inference_dtype": "auto"}))
    expected = torch.int8 if has_int8(CPU) and can_run_int8(CPU) else choose_dtype("auto", CPU)
    assert network.inference_dtype == expected
    assert network.arithmetic().inference_dtype == str(expected).removeprefix("torch.")
    plain = make_network(tiny_config(model={"inference_dtype": "auto", "fused_inference": "off"}))
    assert plain.inference_dtype == choose_dtype("auto", CPU)


def test_what_was_chosen_is_simulated_where_it_cannot_be_run() -> None:
    assert not can_run_int8(torch.device("cuda"))
    assert not has_int8(torch.device("cuda"))
    network = learned("int8", fused="off")
    assert network.fused is False
    assert network.inference_dtype == torch.int8
    assert network.arithmetic().fused_inference == "off"
