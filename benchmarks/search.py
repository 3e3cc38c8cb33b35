"""The search against the bare network, one thread: what the tree costs on top of it."""

from __future__ import annotations

import time

import numpy as np
import torch

from alphatriangle.config import EnvConfig, ModelConfig, SearchConfig, TrainConfig
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, SelfPlay, Trainer
from alphatriangle.utils.device import choose_dtype
from benchmarks.timing import Result, seconds

GAMES = 128


def run() -> list[Result]:
    """Measure on the ``laptop`` network, 64 channels x 4 blocks."""
    torch.set_num_threads(1)
    results = []
    rates: dict[str, float] = {}
    best = str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    for dtype, fused in (("float32", "off"), (best, "off"), (best, "auto")):
        model = ModelConfig.model_validate(
            {"inference_dtype": dtype, "fused_inference": fused, "value_max": 120.0}
        )
        network = NeuralNetwork(model, "cpu")
        name = f"{dtype}, fused" if network.fused else dtype
        boards = np.random.default_rng(0).integers(0, 2**60, (GAMES, 2)).astype(np.uint64)
        slots = np.tile(np.array([3, 7, 11], np.int8), (GAMES, 1))
        bare = seconds(lambda n=network, b=boards, s=slots: n.evaluate(b, s), 20)  # type: ignore[misc]
        rates[name] = GAMES / bare
        ratio = f"{rates[name] / rates['float32']:.2f} x float32"
        results.append(Result(f"positions/s, bare network, {name}", f"{rates[name]:,.0f}", ratio))
    player = SelfPlay(
        network, SearchConfig(), EnvConfig(), games=GAMES, gamma=0.99, n_step=3, seed=1
    )
    player.add_episodes(range(100_000))
    player.play(200)
    begin = time.perf_counter()
    played = player.play(1500)
    elapsed = time.perf_counter() - begin
    positions = played.health["positions"] / elapsed
    simulations = played.health["simulations"] / elapsed
    against = f"{positions / rates[name]:.2f} x bare network"
    results.append(Result("positions/s in self-play", f"{positions:,.0f}", against))
    free = f"{simulations / positions:.2f} a position"
    results.append(Result("simulations/s in self-play", f"{simulations:,.0f}", free))
    train = TrainConfig(buffer_capacity=5000, gamma=0.99)
    buffer = ExperienceBuffer(train)
    buffer.add_rows(played.rows)
    trainer = Trainer(network, train)
    step = seconds(lambda: trainer.train_step(buffer.sample(256, 0)), 3)
    forward = 256 / step / rates["float32"]
    results.append(
        Result("learner rows/s, batch 256", f"{256 / step:,.0f}", f"{forward:.2f} x float32 rate")
    )
    return results
