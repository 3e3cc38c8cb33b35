"""Ray workers, one for each core and fewer, and how many of them a learner keeps up with.

In the ``convolutional-laptop`` preset, workers and learner on one thread each, not at the same
time.
"""

from __future__ import annotations

import time

import torch

from alphatriangle.config import Config, build, preset
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, Trainer
from alphatriangle.training.play.ray_play import RayPlay
from alphatriangle.utils.machine import core_count
from benchmarks.timing import Result, seconds

SECONDS = 20.0


def run() -> list[Result]:
    """Workers first, then the learner on their rows."""
    torch.set_num_threads(1)
    config = build(preset("convolutional-laptop"))
    network = NeuralNetwork(config.model, "cpu")
    buffer = ExperienceBuffer(config.train)
    results = []
    first = 0.0
    for workers in range(1, core_count() + 1):
        positions, rows = _rates(config, network, buffer, workers)
        first = first or positions
        of = f"{positions / first:.2f} x one worker, {rows:,.0f} rows/s"
        name = f"positions/s, {workers} Ray worker{'s' if workers > 1 else ''}"
        results.append(Result(name, f"{positions:,.0f}", of))
    takes = _learner(config, network, buffer) / config.train.replay_ratio
    results.append(
        Result(
            f"new rows/s that a learner takes, replay ratio {config.train.replay_ratio:g}",
            f"{takes:,.0f}",
            f"what {takes / (rows / workers):.1f} workers play",
        )
    )
    return results


def _rates(
    config: Config, network: NeuralNetwork, buffer: ExperienceBuffer, workers: int
) -> tuple[float, float]:
    """(positions, rows) a second; the rows go to the buffer."""
    play = RayPlay(network, config, workers)
    try:
        # The first games all begin at once; afterwards they are at all stages.
        for _ in range(20 * workers):
            while not play.collect(1):
                pass
        positions = rows = 0.0
        begin = time.perf_counter()
        while time.perf_counter() - begin < SECONDS:
            for result in play.collect(1):
                positions += result.health["positions"]
                rows += len(result.rows)
                buffer.add_rows(result.rows)
        elapsed = time.perf_counter() - begin
    finally:
        play.close()
    return positions / elapsed, rows / elapsed


def _learner(config: Config, network: NeuralNetwork, buffer: ExperienceBuffer) -> float:
    """Rows a second."""
    size = config.train.batch_size
    trainer = Trainer(network, config.train)
    return size / seconds(lambda: trainer.train_step(buffer.sample(size, 0)), 8)
