"""What a run computes with is decided once, and kept."""

from __future__ import annotations

import pytest
import torch

from alphatriangle.data.records import RunInfo
from alphatriangle.nn.int8 import can_run_int8
from alphatriangle.training.learning.batches import make_trainer, thread_count
from alphatriangle.training.learning.settings import make_network
from alphatriangle.utils.machine import core_count
from tests.conftest import tiny_config


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_keeps_the_arithmetic_it_began_with(dtype: str) -> None:
    # As on another machine, where the choice would be another.
    config = tiny_config(model={"inference_dtype": "auto"}, train={"training_dtype": "auto"})
    info = RunInfo(
        run_name="tiny",
        created_at="",
        target_steps=9,
        steps_per_round=9,
        inference_dtype=dtype,
        training_dtype=dtype,
    )
    network = make_network(config, info)
    assert network.inference_dtype == getattr(torch, dtype)
    assert make_trainer(config, info, network).dtype == getattr(torch, dtype)
    # What is asked for instead counts, and so does another look at what the machine can do.
    other = "bfloat16" if dtype == "float32" else "float32"
    asked = tiny_config(model={"inference_dtype": other}, train={"training_dtype": other})
    assert make_network(asked, info).inference_dtype == getattr(torch, other)
    assert make_trainer(asked, info, network).dtype == getattr(torch, other)
    fresh = make_network(config, None)
    again = make_network(config, info, {"model.inference_dtype"})
    assert (again.inference_dtype, again.fused) == (fresh.inference_dtype, fresh.fused)
    decided = make_trainer(config, info, network, {"train.training_dtype"}).dtype
    assert decided == make_trainer(config, None, network).dtype


def test_a_run_that_began_in_integers_goes_on_in_them() -> None:
    info = RunInfo(
        run_name="tiny",
        created_at="",
        target_steps=9,
        steps_per_round=9,
        inference_dtype="int8",
        fused_inference=True,
    )
    network = make_network(tiny_config(model={"inference_dtype": "auto"}), info)
    assert network.inference_dtype == torch.int8
    assert network.fused == can_run_int8(network.device)


def test_a_run_from_before_the_choice_goes_on_in_float32() -> None:
    info = RunInfo(run_name="tiny", created_at="", target_steps=9, steps_per_round=9)
    config = tiny_config(train={"training_dtype": "auto"})
    assert make_trainer(config, info, make_network(config, info)).dtype == torch.float32


def test_a_run_in_one_process_keeps_its_threads() -> None:
    info = RunInfo(run_name="tiny", created_at="", target_steps=9, steps_per_round=9, num_threads=7)
    assert thread_count(tiny_config(train={"num_threads": 0}), info) == 7
    assert thread_count(tiny_config(train={"num_threads": 3}), info) == 3
    for changed in ("train.num_threads", "train.num_workers"):
        assert thread_count(tiny_config(train={"num_threads": 0}), info, {changed}) == core_count()
