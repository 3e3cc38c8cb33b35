"""On a GPU training computes what it does on a CPU, saves all of it, and goes on elsewhere."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alphatriangle.config import Config
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork
from tests.conftest import make_network, tiny_config
from tests.training.command import alphatriangle, commits, send_when, show, start, train_arguments

ON_GPU = ("--workers", "0", "--set", "train.device=cuda")


def positions(count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int8]]:
    """The first ``count`` positions of a game in which the first legal action is played."""
    game = GameState(3, 0)
    boards: list[npt.NDArray[np.uint64]] = []
    slots: list[npt.NDArray[np.int8]] = []
    while len(boards) < count:
        boards.append(game.board.copy())
        slots.append(game.slots.copy())
        game.step(int(game.legal_actions()[0]))
        if game.is_over:
            game = GameState(3, len(boards))
    return np.array(boards, np.uint64), np.array(slots, np.int8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_are_those_of_the_cpu(dtype: str) -> None:
    config = tiny_config(model={"inference_dtype": dtype}).model
    weights = make_network(tiny_config()).get_weights()
    answers = []
    for device in ("cpu", "cuda"):
        network = NeuralNetwork(config, device)
        network.set_weights(weights)
        answers.append(network.evaluate(*positions(40)))
    tolerance = 1e-3 if dtype == "float32" else 0.1
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the GPU that was never stopped."""
    data = tmp_path_factory.mktemp("uninterrupted")
    result = alphatriangle(*train_arguments(data, *ON_GPU, "--json"))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["complete"]
    return data


def test_a_run_that_was_killed_has_all_its_steps(tmp_path: Path) -> None:
    """Not its digest: sums on a GPU come in another order every time."""
    arguments = train_arguments(tmp_path, *ON_GPU)
    process = start(arguments)
    assert send_when(process, lambda: len(commits(tmp_path)) >= 2, signal.SIGKILL)
    process.communicate(timeout=60)
    before = show(tmp_path)["step"]
    assert before > 0
    assert alphatriangle(*arguments).returncode == 0
    after = show(tmp_path)
    assert (after["step"], after["state"]) == (24, "complete")
    assert alphatriangle("runs", "verify", "r", "--data-dir", str(tmp_path)).returncode == 0


def test_it_goes_on_on_a_cpu_and_back_on_the_gpu(uninterrupted: Path) -> None:
    for device, steps in (("cpu", 30), ("cuda", 36)):
        arguments = train_arguments(
            uninterrupted, "--workers", "0", "--set", f"train.device={device}", steps=steps
        )
        result = alphatriangle(*arguments)
        assert result.returncode == 0, result.stderr
        assert show(uninterrupted)["step"] == steps


def test_self_play_workers_leave_the_gpu_to_the_learner(tmp_path: Path) -> None:
    arguments = train_arguments(tmp_path, "--workers", "1", "--set", "train.device=cuda")
    result = alphatriangle(*arguments)
    assert result.returncode == 0, result.stderr
    assert show(tmp_path)["state"] == "complete"


def test_the_arithmetic_that_is_chosen_is_one_that_the_gpu_has(config: Config) -> None:
    auto = config.model.model_copy(update={"inference_dtype": "auto", "fused_inference": "auto"})
    network = NeuralNetwork(auto, "cuda")
    assert network.inference_dtype in (torch.float32, torch.bfloat16)
    assert network.fused is False
