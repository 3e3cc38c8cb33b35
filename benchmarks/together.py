"""Self-play and the learner on a core each: how much of their speed they keep side by side."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection

import torch

from alphatriangle.config import EnvConfig, ModelConfig, SearchConfig, TrainConfig
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, SelfPlay, Trainer
from alphatriangle.utils.environment import keep_freed_memory
from benchmarks.timing import Result

SECONDS = 15.0
_MODEL = ModelConfig(value_max=120.0)


def _player() -> SelfPlay:
    player = SelfPlay(
        NeuralNetwork(_MODEL, "cpu"),
        SearchConfig(),
        EnvConfig(),
        games=128,
        gamma=0.99,
        n_step=3,
        seed=1,
    )
    player.add_episodes(range(100_000))
    return player


def _prepare() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)


def self_play(pipe: Connection) -> None:
    """Positions a second, whenever asked."""
    _prepare()
    player = _player()
    player.play(300)
    pipe.send(0.0)
    while pipe.recv():
        begin, positions = time.perf_counter(), 0.0
        while time.perf_counter() - begin < SECONDS:
            positions += player.play(100).health["positions"]
        pipe.send(positions / (time.perf_counter() - begin))


def learner(pipe: Connection) -> None:
    """Rows a second, whenever asked."""
    _prepare()
    train = TrainConfig(buffer_capacity=5000, gamma=0.99)
    buffer = ExperienceBuffer(train)
    buffer.add_rows(_player().play(1000).rows)
    trainer = Trainer(NeuralNetwork(_MODEL, "cpu"), train)
    trainer.train_step(buffer.sample(256, 0))
    pipe.send(0.0)
    while pipe.recv():
        begin, steps = time.perf_counter(), 0
        while time.perf_counter() - begin < SECONDS:
            trainer.train_step(buffer.sample(256, 0))
            steps += 1
        pipe.send(256 * steps / (time.perf_counter() - begin))


def run() -> list[Result]:
    """Each alone, then both at once, in processes of their own."""
    spawn = multiprocessing.get_context("spawn")
    pipes = []
    for work in (self_play, learner):
        ours, theirs = spawn.Pipe()
        spawn.Process(target=work, args=(theirs,), daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    alone = []
    for pipe in pipes:
        pipe.send(True)
        alone.append(pipe.recv())
    for pipe in pipes:
        pipe.send(True)
    both = [pipe.recv() for pipe in pipes]
    for pipe in pipes:
        pipe.send(False)
    shares = [b / a for b, a in zip(both, alone, strict=True)]
    return [
        Result("self-play beside the learner, positions/s", f"{both[0]:,.0f}", _of(shares[0])),
        Result("learner beside self-play, rows/s", f"{both[1]:,.0f}", _of(shares[1])),
        Result("both together", f"{sum(shares) / 2:.2f}", "of each alone"),
    ]


def _of(share: float) -> str:
    return f"{share:.2f} x alone"
