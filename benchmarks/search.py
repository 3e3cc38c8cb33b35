"""Search against the bare network, network and learner against their convolutions, one thread."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.config import EnvConfig, ModelConfig, SearchConfig, TrainConfig
from alphatriangle.game.geometry import COLS, ROWS
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, SelfPlay, Trainer
from alphatriangle.utils.device import choose_dtype
from alphatriangle.utils.types import Rows
from benchmarks.timing import Result, seconds

GAMES = 128
BATCH = 256
CALLS = 150


def run() -> list[Result]:
    """Measure on the ``convolutional-laptop`` network, 64 channels x 4 blocks."""
    torch.set_num_threads(1)
    results = []
    rates: dict[str, float] = {}
    best = str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    for dtype, fused in (("float32", "off"), (best, "off"), (best, "auto"), ("auto", "auto")):
        model = ModelConfig.model_validate(
            {"inference_dtype": dtype, "fused_inference": fused, "value_max": 120.0}
        )
        network = NeuralNetwork(model, "cpu")
        dtype = network.arithmetic().inference_dtype
        name = f"{dtype}, fused" if network.fused else dtype
        boards = np.random.default_rng(0).integers(0, 2**60, (GAMES, 2)).astype(np.uint64)
        slots = np.tile(np.array([3, 7, 11], np.int8), (GAMES, 1))
        rates[name] = GAMES / _mean_seconds(network, boards, slots)
        ratio = f"{rates[name] / rates['float32']:.2f} x float32"
        results.append(Result(f"positions/s, bare network, {name}", f"{rates[name]:,.0f}", ratio))
    limit = _convolutions(model, getattr(torch, best), GAMES, learn=False)
    share = f"{rates[name] / limit:.2f} of it reached"
    results.append(Result(f"positions/s, its convolutions alone, {best}", f"{limit:,.0f}", share))
    player = SelfPlay(
        network, SearchConfig(), EnvConfig(), games=GAMES, gamma=0.99, n_step=3, seed=1
    )
    player.add_episodes(range(100_000))
    player.play(1500)  # until games are at all stages: few moves left, more simulations are free
    begin = time.perf_counter()
    played = player.play(1500)
    elapsed = time.perf_counter() - begin
    positions = played.health["positions"] / elapsed
    simulations = played.health["simulations"] / elapsed
    against = f"{positions / rates[name]:.2f} x bare network"
    results.append(Result("positions/s in self-play", f"{positions:,.0f}", against))
    free = f"{simulations / positions:.2f} a position"
    results.append(Result("simulations/s in self-play", f"{simulations:,.0f}", free))
    for dtype in dict.fromkeys(("float32", best)):
        rate = _learner(network, played.rows, dtype)
        limit = _convolutions(model, getattr(torch, dtype), BATCH, learn=True)
        share = f"{rate / limit:.2f} of its convolutions alone"
        results.append(Result(f"learner rows/s, batch {BATCH}, {dtype}", f"{rate:,.0f}", share))
    return results


def _mean_seconds(
    network: NeuralNetwork, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]
) -> float:
    """Of a call, over a stretch as long as that of self-play: whatever disturbs, disturbs both."""
    network.evaluate(boards, slots)
    begin = time.perf_counter()
    for _ in range(CALLS):
        network.evaluate(boards, slots)
    return (time.perf_counter() - begin) / CALLS


def _learner(network: NeuralNetwork, rows: Rows, dtype: str) -> float:
    """Rows a second of whole training steps, sampling included."""
    train = TrainConfig.model_validate(
        {"buffer_capacity": 5000, "gamma": 0.99, "training_dtype": dtype}
    )
    buffer = ExperienceBuffer(train)
    buffer.add_rows(rows)
    trainer = Trainer(network, train)
    return BATCH / seconds(lambda: trainer.train_step(buffer.sample(BATCH, 0)), 8)


def _convolutions(model: ModelConfig, dtype: torch.dtype, batch: int, *, learn: bool) -> float:
    """Boards a second of the trunk's 3x3 convolutions and nothing else, backward too to learn."""
    channels = model.conv_channels
    trunk = torch.nn.Sequential(
        *(
            torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            for _ in range(2 * model.num_residual_blocks)
        )
    ).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    boards = torch.randn(batch, channels, ROWS, COLS)
    boards = boards.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(learn)

    def work() -> None:
        with torch.set_grad_enabled(learn):
            result = trunk(boards)
        if learn:
            result.backward(result.detach())

    return batch / seconds(work, 10)
