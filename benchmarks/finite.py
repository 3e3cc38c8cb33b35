"""Looking whether all numbers are finite: what it costs a training step and a network call."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alphatriangle.config import Config, build, preset
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, SelfPlay, Trainer
from alphatriangle.search.search import evaluate
from benchmarks.timing import Result, seconds

ROWS = 300


def run() -> Iterator[Result]:
    """One line for the step and one for the call, for each preset that a CPU trains."""
    for name in ("convolutional-quick", "convolutional-laptop"):
        config = build(preset(name))
        yield from _measured(name, config)


def _measured(name: str, config: Config) -> Iterator[Result]:
    network = NeuralNetwork(config.model, "cpu")
    player = SelfPlay(network, config.search, config.env, games=64, gamma=0.99, n_step=3, seed=1)
    player.add_episodes(range(1_000))
    rows = player.play(ROWS).rows
    buffer, trainer = ExperienceBuffer(config.train), Trainer(network, config.train)
    buffer.add_rows(rows)
    batch = buffer.sample(config.train.batch_size, 0)
    step = seconds(lambda: trainer.train_step(batch), 10)
    look = seconds(trainer.first_not_finite, 200)
    yield Result(
        f"numbers of a step looked at, {name}",
        f"{look * 1e6:.0f} us of {step * 1e3:.0f} ms",
        f"{look / step:.2%}",
    )
    games = config.train.games_per_worker
    chosen = rows[np.arange(games) % len(rows)]
    call = seconds(lambda: evaluate(network, chosen.boards, chosen.slots), 20)
    answer = network.evaluate(chosen.boards, chosen.slots)
    look = seconds(lambda: [np.isfinite(numbers).all() for numbers in answer], 200)
    yield Result(
        f"numbers of a network call looked at, {name}",
        f"{look * 1e6:.0f} us of {call * 1e3:.1f} ms",
        f"{look / call:.2%}",
    )
